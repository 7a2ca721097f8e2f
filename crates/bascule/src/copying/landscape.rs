//! What a region has: endpoints, and what they refer to.

use std::collections::BTreeMap;

/// Tags.
pub(super) type Tags = BTreeMap<String, String>;

/// What was read, by id.
#[derive(Debug, Default)]
pub(super) struct Landscape {
    pub vpcs: BTreeMap<String, Vpc>,
    pub subnets: BTreeMap<String, Subnet>,
    pub groups: BTreeMap<String, Group>,
    pub log_groups: BTreeMap<String, LogGroup>,
    /// By ARN.
    pub providers: BTreeMap<String, Provider>,
    pub endpoints: BTreeMap<String, Endpoint>,
}

#[derive(Debug)]
pub(super) struct Vpc {
    pub cidr: String,
    /// Further blocks, by the id of their association.
    pub more_cidrs: Vec<(String, String)>,
    pub ipv6_blocks: Vec<Ipv6Block>,
    pub tenancy: String,
    pub dns_support: bool,
    pub dns_hostnames: bool,
    pub tags: Tags,
}

impl Vpc {
    /// The IPv6 block that Terraform's provider takes for the VPC's own when it imports one: the last.
    pub(super) fn own_ipv6_block(&self) -> Option<&Ipv6Block> {
        self.ipv6_blocks.last()
    }

    /// The others.
    pub(super) fn further_ipv6_blocks(&self) -> impl Iterator<Item = &Ipv6Block> {
        self.ipv6_blocks.iter().rev().skip(1)
    }
}

/// An IPv6 block of a VPC.
#[derive(Debug)]
pub(super) struct Ipv6Block {
    /// The id of its association.
    pub association: String,
    pub cidr: String,
    /// `None`: the service chose it.
    pub pool: Option<String>,
}

#[derive(Debug)]
pub(super) struct Subnet {
    pub vpc: String,
    pub cidr: String,
    pub ipv6_cidr: Option<String>,
    pub zone: String,
    pub public_addresses: bool,
    pub ipv6_addresses: bool,
    pub tags: Tags,
}

#[derive(Debug)]
pub(super) struct Group {
    pub vpc: String,
    pub name: String,
    pub description: String,
    pub tags: Tags,
    pub rules: Vec<GroupRule>,
}

impl Group {
    /// The one that came with its VPC.
    pub(super) fn is_default(&self) -> bool {
        self.name == "default"
    }
}

#[derive(Clone, Debug)]
pub(super) struct GroupRule {
    pub id: String,
    pub says: Says,
    pub tags: Tags,
}

/// What a rule of a group says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Says {
    pub egress: bool,
    pub protocol: String,
    pub from: String,
    pub to: String,
    pub peer: Peer,
    pub description: Option<String>,
}

/// Whom a rule of a group is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    V4(String),
    V6(String),
    Group(String),
    PrefixList(String),
}

#[derive(Debug)]
pub(super) struct LogGroup {
    pub retention_days: Option<i64>,
    pub streams: Vec<String>,
    pub tags: Tags,
}

#[derive(Debug)]
pub(super) struct Provider {
    pub name: String,
    pub metadata: String,
    pub tags: Tags,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub options: Options,
    pub dns_name: String,
    pub tags: Tags,
    /// By id.
    pub associations: BTreeMap<String, Association>,
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
    pub revocation_list: Option<String>,
    pub policy: Option<AuthorizationPolicy>,
    /// What it has that is not read.
    pub beyond: Vec<&'static str>,
}

/// What an endpoint is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub description: Option<String>,
    pub client_cidr: Option<String>,
    /// Which IP versions its tunnels carry, and which its clients come by: `ipv4`, `ipv6`, `dual-stack`.
    pub traffic: String,
    pub addresses: String,
    pub server_certificate: String,
    pub ways: Vec<Way>,
    pub log: Option<(String, Option<String>)>,
    pub dns_servers: Vec<String>,
    pub transport: String,
    pub port: String,
    pub split_tunnel: bool,
    pub vpc: Option<String>,
    pub groups: Vec<String>,
    pub portal: bool,
    pub connect_handler: Option<String>,
    pub session_hours: String,
    pub disconnect: bool,
    pub banner: Option<String>,
    pub enforce_routes: bool,
}

/// How clients prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Certificate { root: String },
    Directory { id: String },
    Federated { provider: String, portal_provider: Option<String> },
}

#[derive(Debug)]
pub(super) struct Association {
    pub subnet: String,
    pub status: String,
}

#[derive(Debug)]
pub(super) struct Route {
    pub destination: String,
    pub target: String,
    pub description: Option<String>,
}

impl Route {
    /// Whether it leads from client to client by IPv6: its destination is then the endpoint's block, which nobody chooses.
    pub(super) fn is_of_own_ipv6_block(&self) -> bool {
        self.target == "local" && self.destination.contains(':')
    }
}

#[derive(Debug)]
pub(super) struct Rule {
    pub destination: String,
    /// `None`: everybody.
    pub group: Option<String>,
    pub description: Option<String>,
}

#[derive(Debug)]
pub(super) struct AuthorizationPolicy {
    pub document: String,
    pub shadow: bool,
}

impl Landscape {
    /// Whether a VPC's default group says what AWS gives it.
    pub(super) fn is_as_born(&self, id: &str, group: &Group) -> bool {
        let says = |egress: bool, peer: Peer| Says {
            egress,
            protocol: "-1".to_owned(),
            from: "-1".to_owned(),
            to: "-1".to_owned(),
            peer,
            description: None,
        };
        let mut born =
            vec![says(false, Peer::Group(id.to_owned())), says(true, Peer::V4("0.0.0.0/0".to_owned()))];
        if self.vpcs.get(&group.vpc).is_some_and(|vpc| !vpc.ipv6_blocks.is_empty()) {
            born.push(says(true, Peer::V6("::/0".to_owned())));
        }
        group.tags.is_empty()
            && group.rules.len() == born.len()
            && born.iter().all(|one| group.rules.iter().any(|rule| rule.says == *one))
    }
}
