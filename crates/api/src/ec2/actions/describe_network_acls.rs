//! `DescribeNetworkAcls`: the default one of each VPC, which lets everything pass and cannot be changed.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Scope, Subnet, Vpc};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::derived;
use crate::ec2::shapes::TagAnswer;
use crate::error::{ApiError, short};
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &[
    "association.association-id",
    "association.network-acl-id",
    "association.subnet-id",
    "default",
    "entry.cidr",
    "entry.ipv6-cidr",
    "entry.protocol",
    "entry.rule-action",
    "network-acl-id",
    "owner-id",
    "vpc-id",
];

/// The number of the rule that is always last.
const LAST_RULE: i32 = 32_767;
/// All addresses, of either IP version.
const EVERYTHING: &str = "0.0.0.0/0";
const EVERYTHING_V6: &str = "::/0";

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeNetworkAcls {
    next_token: Option<String>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    #[query(name = "NetworkAclId")]
    network_acl_ids: Vec<String>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "networkAclSet")]
    network_acls: Vec<NetworkAcl>,
    next_token: Option<String>,
}

#[derive(ToXml)]
struct NetworkAcl {
    #[xml(name = "associationSet")]
    associations: Vec<Association>,
    #[xml(name = "entrySet")]
    entries: Vec<Entry>,
    #[xml(name = "default")]
    is_default: bool,
    network_acl_id: String,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
    vpc_id: String,
    owner_id: String,
}

#[derive(ToXml)]
struct Association {
    network_acl_association_id: String,
    network_acl_id: String,
    subnet_id: String,
}

#[derive(ToXml)]
struct Entry {
    cidr_block: Option<&'static str>,
    egress: bool,
    ipv6_cidr_block: Option<&'static str>,
    protocol: &'static str,
    rule_action: &'static str,
    rule_number: i32,
}

#[async_trait]
impl Action for DescribeNetworkAcls {
    const NAME: &'static str = "DescribeNetworkAcls";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        let subnets: Vec<Subnet> = cx.subnets().await?.into_iter().map(|record| record.value).collect();
        let vpcs = cx.vpcs().await?;
        let mut rows: Vec<NetworkAcl> = vpcs.iter().map(|vpc| network_acl(&vpc.value, &subnets)).collect();
        if let Some(unknown) =
            self.network_acl_ids.iter().find(|id| !rows.iter().any(|row| row.network_acl_id == **id))
        {
            let message = format!("The networkAcl ID '{}' does not exist", short(unknown));
            return Err(ApiError::new("InvalidNetworkAclID.NotFound", message));
        }
        rows.retain(|row| {
            let asked = self.network_acl_ids.is_empty() || self.network_acl_ids.contains(&row.network_acl_id);
            asked && passes(row, &filters)
        });
        rows.sort_by(|a, b| a.network_acl_id.cmp(&b.network_acl_id));
        let (rows, next_token) =
            page(rows, |row| &row.network_acl_id, self.next_token.as_deref(), self.max_results)?;
        Ok(Decision::read(Answer { network_acls: rows, next_token }))
    }
}

fn network_acl(vpc: &Vpc, subnets: &[Subnet]) -> NetworkAcl {
    let id = derived::network_acl(&vpc.id);
    let association = |subnet: &Subnet| Association {
        network_acl_association_id: derived::network_acl_association(&subnet.id),
        network_acl_id: id.clone(),
        subnet_id: subnet.id.to_string(),
    };
    let entry = |egress: bool, rule_number: i32, rule_action: &'static str| Entry {
        cidr_block: Some(EVERYTHING),
        egress,
        ipv6_cidr_block: None,
        protocol: "-1",
        rule_action,
        rule_number,
    };
    let mut entries = vec![
        entry(true, 100, "allow"),
        entry(true, LAST_RULE, "deny"),
        entry(false, 100, "allow"),
        entry(false, LAST_RULE, "deny"),
    ];
    if !vpc.ipv6_cidrs.is_empty() {
        let v6 = |entry: Entry| Entry {
            cidr_block: None,
            ipv6_cidr_block: Some(EVERYTHING_V6),
            rule_number: entry.rule_number.saturating_add(1),
            ..entry
        };
        let more = [
            v6(entry(true, 100, "allow")),
            v6(entry(true, LAST_RULE, "deny")),
            v6(entry(false, 100, "allow")),
            v6(entry(false, LAST_RULE, "deny")),
        ];
        entries.extend(more);
    }
    NetworkAcl {
        associations: subnets.iter().filter(|subnet| subnet.vpc_id == vpc.id).map(association).collect(),
        entries,
        is_default: true,
        network_acl_id: id,
        tags: Vec::new(),
        vpc_id: vpc.id.to_string(),
        owner_id: vpc.scope.account.to_string(),
    }
}

fn passes(row: &NetworkAcl, filters: &Filters<'_>) -> bool {
    let of = |text: fn(&Association) -> &String| row.associations.iter().map(|a| text(a).as_str()).collect();
    let facets = vec![
        ("association.association-id", of(|a| &a.network_acl_association_id)),
        ("association.network-acl-id", of(|a| &a.network_acl_id)),
        ("association.subnet-id", of(|a| &a.subnet_id)),
        ("default", vec!["true"]),
        ("entry.cidr", vec![EVERYTHING]),
        ("entry.ipv6-cidr", row.entries.iter().filter_map(|entry| entry.ipv6_cidr_block).collect()),
        ("entry.protocol", vec!["-1"]),
        ("entry.rule-action", vec!["allow", "deny"]),
        ("network-acl-id", vec![row.network_acl_id.as_str()]),
        ("owner-id", vec![row.owner_id.as_str()]),
        ("vpc-id", vec![row.vpc_id.as_str()]),
    ];
    filters.pass(&facets, &Default::default())
}
