//! Rules of security groups as answers show them: gathered by protocol and ports, or one by one.

use std::collections::BTreeMap;

use aws_query::ToXml;
use ipnet::IpNet;
use model::{GroupRule, SecurityGroup};

use super::{Direction, RULE};
use crate::arn;
use crate::ec2::shapes::{TagAnswer, tag_set};

/// All rules of one protocol and port range.
#[derive(ToXml)]
pub(crate) struct Permission {
    ip_protocol: String,
    from_port: Option<i32>,
    to_port: Option<i32>,
    #[xml(name = "groups")]
    user_id_group_pairs: Vec<GroupPair>,
    ip_ranges: Vec<IpRange>,
    ipv6_ranges: Vec<Ipv6Range>,
    prefix_list_ids: Vec<PrefixList>,
}

#[derive(ToXml)]
struct GroupPair {
    description: Option<String>,
    user_id: String,
    group_id: String,
}

#[derive(ToXml)]
struct IpRange {
    description: Option<String>,
    cidr_ip: String,
}

#[derive(ToXml)]
struct Ipv6Range {
    description: Option<String>,
    cidr_ipv6: String,
}

/// There are none here.
#[derive(ToXml)]
struct PrefixList {
    description: Option<String>,
    prefix_list_id: String,
}

/// The rules of a group's direction, gathered, in the order of the first of each kind.
pub(crate) fn permissions(rules: &[GroupRule], group: &SecurityGroup) -> Vec<Permission> {
    let mut gathered: Vec<Permission> = Vec::new();
    for rule in rules {
        let same = |p: &Permission| {
            p.ip_protocol == rule.says.protocol
                && (p.from_port, p.to_port) == (rule.says.from_port, rule.says.to_port)
        };
        let at = match gathered.iter().position(same) {
            Some(at) => at,
            None => {
                gathered.push(Permission {
                    ip_protocol: rule.says.protocol.clone(),
                    from_port: rule.says.from_port,
                    to_port: rule.says.to_port,
                    user_id_group_pairs: Vec::new(),
                    ip_ranges: Vec::new(),
                    ipv6_ranges: Vec::new(),
                    prefix_list_ids: Vec::new(),
                });
                gathered.len().saturating_sub(1)
            }
        };
        let Some(permission) = gathered.get_mut(at) else { continue };
        let description = rule.description.clone();
        match rule.says.cidr {
            Some(IpNet::V4(net)) => {
                permission.ip_ranges.push(IpRange { description, cidr_ip: net.to_string() });
            }
            Some(IpNet::V6(net)) => {
                permission.ipv6_ranges.push(Ipv6Range { description, cidr_ipv6: net.to_string() });
            }
            None => permission.user_id_group_pairs.push(GroupPair {
                description,
                user_id: group.scope.account.to_string(),
                group_id: rule.group.as_ref().unwrap_or(&group.id).to_string(),
            }),
        }
    }
    gathered
}

/// One rule.
#[derive(ToXml)]
pub(crate) struct RuleAnswer {
    security_group_rule_id: String,
    group_id: String,
    group_owner_id: String,
    is_egress: bool,
    ip_protocol: String,
    from_port: i32,
    to_port: i32,
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    referenced_group_info: Option<Referenced>,
    description: Option<String>,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
    security_group_rule_arn: String,
}

#[derive(ToXml)]
struct Referenced {
    group_id: String,
    user_id: String,
}

/// A rule as it is shown alone. Rules for every port say -1, unlike gathered ones.
pub(crate) fn rule_answer(
    rule: &GroupRule,
    group: &SecurityGroup,
    direction: Direction,
    tags: &BTreeMap<String, String>,
) -> RuleAnswer {
    let (cidr_ipv4, cidr_ipv6) = blocks(rule);
    RuleAnswer {
        security_group_rule_id: rule.id.to_string(),
        group_id: group.id.to_string(),
        group_owner_id: group.scope.account.to_string(),
        is_egress: direction == Direction::Egress,
        ip_protocol: rule.says.protocol.clone(),
        from_port: rule.says.from_port.unwrap_or(-1),
        to_port: rule.says.to_port.unwrap_or(-1),
        cidr_ipv4,
        cidr_ipv6,
        referenced_group_info: rule.says.cidr.is_none().then(|| Referenced {
            group_id: rule.group.as_ref().unwrap_or(&group.id).to_string(),
            user_id: group.scope.account.to_string(),
        }),
        description: rule.description.clone(),
        tags: tag_set(tags),
        security_group_rule_arn: arn::ec2(&group.scope, RULE, rule.id.as_str()),
    }
}

/// A rule that has just been taken out.
#[derive(ToXml)]
pub(crate) struct RevokedRule {
    security_group_rule_id: String,
    group_id: String,
    is_egress: bool,
    ip_protocol: String,
    from_port: i32,
    to_port: i32,
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    referenced_group_id: Option<String>,
    description: Option<String>,
}

/// A rule that has just been taken out.
pub(crate) fn revoked(rule: &GroupRule, group: &SecurityGroup, direction: Direction) -> RevokedRule {
    let (cidr_ipv4, cidr_ipv6) = blocks(rule);
    let far = rule.group.as_ref().unwrap_or(&group.id);
    RevokedRule {
        security_group_rule_id: rule.id.to_string(),
        group_id: group.id.to_string(),
        is_egress: direction == Direction::Egress,
        ip_protocol: rule.says.protocol.clone(),
        from_port: rule.says.from_port.unwrap_or(-1),
        to_port: rule.says.to_port.unwrap_or(-1),
        cidr_ipv4,
        cidr_ipv6,
        referenced_group_id: rule.says.cidr.is_none().then(|| far.to_string()),
        description: rule.description.clone(),
    }
}

fn blocks(rule: &GroupRule) -> (Option<String>, Option<String>) {
    match rule.says.cidr {
        Some(IpNet::V4(net)) => (Some(net.to_string()), None),
        Some(IpNet::V6(net)) => (None, Some(net.to_string())),
        None => (None, None),
    }
}
