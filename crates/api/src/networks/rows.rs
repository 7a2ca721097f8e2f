//! Rows of an upstream's answers. A row that lacks what a record needs is none; a rule of a group that cannot be enforced
//! here is left out, which lets nothing out that it would have.

use std::collections::BTreeMap;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{GroupRule, SecurityGroupId, SecurityRuleId, SubnetId, VpcId, ZoneName};
use roxmltree::Node;

use super::ask::{child, items, text_of};
use super::prefix_lists::ListRule;
use crate::ec2::security_rule;

/// Most tags of one row.
const MAX_TAGS: usize = 50;
/// Most single rules of one direction of a group (AWS's quota allows 1,000 of all groups of an interface).
pub(super) const MAX_RULES: usize = 1_000;
/// Most blocks of a VPC.
const MAX_BLOCKS: usize = 64;

/// A VPC as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VpcRow {
    pub id: VpcId,
    pub cidrs: Vec<Ipv4Net>,
    pub ipv6_cidrs: Vec<Ipv6Net>,
    pub tenancy: String,
    pub tags: BTreeMap<String, String>,
}

/// A subnet as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubnetRow {
    pub id: SubnetId,
    pub vpc_id: VpcId,
    pub cidr: Ipv4Net,
    pub ipv6_cidr: Option<Ipv6Net>,
    pub zone: ZoneName,
    pub public_addresses: bool,
    pub tags: BTreeMap<String, String>,
}

/// A security group as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupRow {
    pub id: SecurityGroupId,
    pub vpc_id: VpcId,
    pub name: String,
    pub description: String,
    pub ingress: Vec<GroupRule>,
    pub egress: Vec<GroupRule>,
    /// What may leave, but for the blocks of the lists.
    pub egress_to_lists: Vec<ListRule>,
    pub tags: BTreeMap<String, String>,
}

/// A VPC; the primary block first.
pub(super) fn vpc(row: Node<'_, '_>) -> Option<VpcRow> {
    let first: Ipv4Net = text_of(row, "cidrBlock")?.parse().ok()?;
    let mut cidrs = vec![first];
    cidrs.extend(blocks::<Ipv4Net>(row, "cidrBlock").into_iter().filter(|cidr| *cidr != first));
    cidrs.truncate(MAX_BLOCKS);
    Some(VpcRow {
        id: text_of(row, "vpcId")?.parse().ok()?,
        cidrs,
        ipv6_cidrs: blocks(row, "ipv6CidrBlock"),
        tenancy: text_of(row, "instanceTenancy").unwrap_or_else(|| "default".to_owned()),
        tags: tags(row),
    })
}

/// The blocks of a row that are in use, each once; `name` is `cidrBlock` or `ipv6CidrBlock`.
fn blocks<T: FromStr + PartialEq>(row: Node<'_, '_>, name: &str) -> Vec<T> {
    let mut found = Vec::new();
    for block in child(row, &format!("{name}AssociationSet")).into_iter().flat_map(items) {
        let state = child(block, &format!("{name}State")).and_then(|state| text_of(state, "state"));
        if let (Some(Ok(cidr)), true) =
            (text_of(block, name).map(|text| text.parse()), state.is_none_or(|state| state == "associated"))
            && !found.contains(&cidr)
            && found.len() < MAX_BLOCKS
        {
            found.push(cidr);
        }
    }
    found
}

/// A subnet with an IPv4 block.
pub(super) fn subnet(row: Node<'_, '_>) -> Option<SubnetRow> {
    Some(SubnetRow {
        id: text_of(row, "subnetId")?.parse().ok()?,
        vpc_id: text_of(row, "vpcId")?.parse().ok()?,
        cidr: text_of(row, "cidrBlock")?.parse().ok()?,
        ipv6_cidr: blocks(row, "ipv6CidrBlock").into_iter().next(),
        zone: text_of(row, "availabilityZone")?.parse().ok()?,
        public_addresses: text_of(row, "mapPublicIpOnLaunch").as_deref() == Some("true"),
        tags: tags(row),
    })
}

/// A security group of a VPC, with its rules: both lists must be there, though they may be empty.
pub(super) fn group(row: Node<'_, '_>) -> Option<GroupRow> {
    let id: SecurityGroupId = text_of(row, "groupId")?.parse().ok()?;
    Some(GroupRow {
        vpc_id: text_of(row, "vpcId")?.parse().ok()?,
        name: text_of(row, "groupName")?,
        description: text_of(row, "groupDescription").unwrap_or_default(),
        ingress: rules(child(row, "ipPermissions")?, &id)?,
        egress: rules(child(row, "ipPermissionsEgress")?, &id)?,
        egress_to_lists: list_rules(child(row, "ipPermissionsEgress")?),
        tags: tags(row),
        id,
    })
}

fn rules(permissions: Node<'_, '_>, own: &SecurityGroupId) -> Option<Vec<GroupRule>> {
    let mut found = Vec::new();
    for permission in items(permissions) {
        let protocol = text_of(permission, "ipProtocol")?;
        let port = |name| text_of(permission, name).and_then(|text| text.parse().ok());
        let (from, to): (Option<i32>, Option<i32>) = (port("fromPort"), port("toPort"));
        let mut push = |cidr: Option<IpNet>, group: Option<SecurityGroupId>, description: Option<String>| {
            if let Some(says) = security_rule(&protocol, from, to, cidr)
                && found.len() < MAX_RULES
            {
                // Their ids are the upstream's to tell: nothing here shows or needs them.
                let id = SecurityRuleId::from_entropy(0);
                found.push(GroupRule { id, says, group, description });
            }
        };
        for (list, name) in [("ipRanges", "cidrIp"), ("ipv6Ranges", "cidrIpv6")] {
            for range in child(permission, list).into_iter().flat_map(items) {
                if let Some(cidr) = text_of(range, name).and_then(|text| text.parse().ok()) {
                    push(Some(cidr), None, text_of(range, "description"));
                }
            }
        }
        for pair in child(permission, "groups").into_iter().flat_map(items) {
            let group = text_of(pair, "groupId").and_then(|text| text.parse().ok());
            if let Some(group) = group {
                push(None, Some(group).filter(|group| group != own), text_of(pair, "description"));
            }
        }
    }
    Some(found)
}

/// Rules about prefix lists.
fn list_rules(permissions: Node<'_, '_>) -> Vec<ListRule> {
    let mut found = Vec::new();
    for permission in items(permissions) {
        let Some(protocol) = text_of(permission, "ipProtocol") else { continue };
        let port = |name| text_of(permission, name).and_then(|text| text.parse().ok());
        for row in child(permission, "prefixListIds").into_iter().flat_map(items) {
            let list = text_of(row, "prefixListId").and_then(|text| text.parse().ok());
            if let Some(list) = list.filter(|_| found.len() < MAX_RULES) {
                found.push(ListRule {
                    list,
                    protocol: protocol.clone(),
                    from_port: port("fromPort"),
                    to_port: port("toPort"),
                    description: text_of(row, "description"),
                });
            }
        }
    }
    found
}

fn tags(row: Node<'_, '_>) -> BTreeMap<String, String> {
    let rows = child(row, "tagSet").into_iter().flat_map(items);
    rows.filter_map(|tag| Some((text_of(tag, "key")?, text_of(tag, "value").unwrap_or_default())))
        .take(MAX_TAGS)
        .collect()
}
