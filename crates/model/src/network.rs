//! The networks a Client VPN refers to: VPCs, subnets, security groups.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{PrefixListId, Scope, SecurityGroupId, SecurityRuleId, SubnetId, Timestamp, VpcId, ZoneName};

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Whose it is.
    pub scope: Scope,
    /// Its CIDR blocks, the primary first.
    pub cidrs: Vec<Ipv4Net>,
    /// Its IPv6 CIDR blocks.
    #[serde(default)]
    pub ipv6_cidrs: Vec<Ipv6Net>,
    /// The pools that named blocks were said to be of; a block without one was given by the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ipv6_pools: BTreeMap<Ipv6Net, String>,
    /// `default` or `dedicated`.
    pub instance_tenancy: String,
    /// Its default security group.
    pub default_security_group: SecurityGroupId,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Counts the changes of its set of subnets, so that two overlapping ones cannot be made at once.
    pub subnet_epoch: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its attributes.
    #[serde(default)]
    pub attributes: VpcAttributes,
    /// Whether it is a copy of the upstream's, under its own id (`networks = "upstream"`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirrored: bool,
}

/// Attributes of a VPC: kept and answered; nothing here acts on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VpcAttributes {
    /// Whether the VPC's resolver answers.
    pub dns_support: bool,
    /// Whether instances get public names.
    pub dns_hostnames: bool,
    /// Whether address usage is measured.
    pub address_usage_metrics: bool,
}

impl Default for VpcAttributes {
    fn default() -> Self {
        Self { dns_support: true, dns_hostnames: false, address_usage_metrics: false }
    }
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Whose it is.
    pub scope: Scope,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// Its block.
    pub cidr: Ipv4Net,
    /// Its IPv6 block.
    #[serde(default)]
    pub ipv6_cidr: Option<Ipv6Net>,
    /// Its zone.
    pub zone: ZoneName,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its attributes.
    #[serde(default)]
    pub attributes: SubnetAttributes,
    /// Whether it is a copy of the upstream's, under its own id (`networks = "upstream"`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirrored: bool,
}

/// Attributes of a subnet: kept and answered; nothing here acts on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubnetAttributes {
    /// Whether interfaces get an IPv6 address.
    pub assign_ipv6: bool,
    /// Whether instances get a public address.
    pub map_public_ip: bool,
    /// Whether instances are named after their id rather than their address.
    pub resource_names: bool,
    /// Whether such a name has an A record.
    pub resource_name_a: bool,
    /// Whether such a name has an AAAA record.
    pub resource_name_aaaa: bool,
}

impl Vpc {
    /// All its blocks, IPv4 first.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.cidrs.iter().copied().map(IpNet::V4).chain(self.ipv6_cidrs.iter().copied().map(IpNet::V6))
    }
}

impl Subnet {
    /// Its blocks, IPv4 first.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> + use<> {
        std::iter::once(IpNet::V4(self.cidr)).chain(self.ipv6_cidr.map(IpNet::V6))
    }
}

/// What a rule of a security group says, as gateways enforce it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityRule {
    /// `-1` for all protocols, else the protocol's number or AWS's name for it.
    pub protocol: String,
    /// First port, or ICMP type.
    pub from_port: Option<i32>,
    /// Last port, or ICMP code.
    pub to_port: Option<i32>,
    /// The far side; `None`: the members of a group.
    pub cidr: Option<IpNet>,
}

/// A rule of a security group with what the API keeps beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRule {
    /// Its id.
    #[serde(default = "unnumbered")]
    pub id: SecurityRuleId,
    /// What it says.
    #[serde(flatten)]
    pub says: SecurityRule,
    /// The group whose members are the far side, when that is no block; `None`: the rule's own group.
    #[serde(default)]
    pub group: Option<SecurityGroupId>,
    /// Free text.
    #[serde(default)]
    pub description: Option<String>,
}

/// The tags of a rule, apart from it: they stand under the rule's id, and change without the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTags {
    /// The rule's group.
    pub group: SecurityGroupId,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// Rules of records older than rule ids.
fn unnumbered() -> SecurityRuleId {
    SecurityRuleId::from_entropy(0)
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Whose it is.
    pub scope: Scope,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// What may come in.
    pub ingress: Vec<GroupRule>,
    /// What may go out.
    pub egress: Vec<GroupRule>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Of a copy: the prefix lists that its rules of the upstream speak of, as they were read last. What they let out stands
    /// among `egress`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prefix_lists: BTreeMap<PrefixListId, PrefixList>,
    /// Whether it is a copy of the upstream's, under its own id (`networks = "upstream"`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirrored: bool,
}

/// What an upstream told of a prefix list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixList {
    /// Which version it was, of a list that counts them.
    pub version: Option<i64>,
    /// Its blocks.
    pub cidrs: Vec<IpNet>,
}
