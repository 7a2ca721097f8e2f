//! Rules as callers give them: a list of permissions, or one rule in the parameters of the call itself.

use aws_query::FromQuery;
use ipnet::IpNet;
use model::{SecurityGroup, SecurityGroupId, SecurityRule};

use crate::cx::Cx;
use crate::error::{ApiError, short};

/// Most characters of a rule's description.
const MAX_DESCRIPTION_CHARS: usize = 255;

/// One protocol and port range, for many far sides.
#[derive(Clone, Debug, FromQuery)]
pub(crate) struct IpPermission {
    ip_protocol: Option<String>,
    from_port: Option<i32>,
    to_port: Option<i32>,
    #[query(name = "Groups")]
    user_id_group_pairs: Vec<GroupPair>,
    ip_ranges: Vec<IpRange>,
    ipv6_ranges: Vec<Ipv6Range>,
    prefix_list_ids: Vec<PrefixList>,
}

#[derive(Clone, Debug, FromQuery)]
struct GroupPair {
    description: Option<String>,
    user_id: Option<String>,
    group_name: Option<String>,
    group_id: Option<String>,
    vpc_id: Option<String>,
    vpc_peering_connection_id: Option<String>,
    peering_status: Option<String>,
}

#[derive(Clone, Debug, FromQuery)]
struct IpRange {
    description: Option<String>,
    cidr_ip: Option<String>,
}

#[derive(Clone, Debug, FromQuery)]
struct Ipv6Range {
    description: Option<String>,
    cidr_ipv6: Option<String>,
}

#[derive(Clone, Debug, FromQuery)]
struct PrefixList {
    description: Option<String>,
    prefix_list_id: Option<String>,
}

/// One rule in the call's own parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CidrIpRule<'r> {
    pub protocol: Option<&'r str>,
    pub from_port: Option<i32>,
    pub to_port: Option<i32>,
    pub cidr_ip: Option<&'r str>,
    pub source_group: Option<&'r str>,
}

/// A rule as `ModifySecurityGroupRules` gives it.
#[derive(Clone, Debug, FromQuery)]
pub(crate) struct RuleRequest {
    ip_protocol: Option<String>,
    from_port: Option<i32>,
    to_port: Option<i32>,
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    prefix_list_id: Option<String>,
    referenced_group_id: Option<String>,
    description: Option<String>,
}

/// A rule's new description, by the rule's id.
#[derive(Clone, Debug, FromQuery)]
pub(crate) struct RuleDescription {
    pub security_group_rule_id: Option<String>,
    pub description: Option<String>,
}

/// A rule that somebody asks for; the group is the caller's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub says: SecurityRule,
    pub group: Option<Named>,
    pub description: Option<String>,
}

/// A group as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Id(String),
    Name(String),
}

/// Every single rule of a call.
pub(crate) fn ask(own: &CidrIpRule<'_>, permissions: &[IpPermission]) -> Result<Vec<Asked>, ApiError> {
    let mut asked = Vec::new();
    if own.source_group.is_some() {
        let message = "SourceSecurityGroupName is for a default VPC only. Use IpPermissions instead.";
        return Err(ApiError::invalid(message));
    }
    if let Some(text) = own.cidr_ip {
        if !permissions.is_empty() {
            return Err(ApiError::combination("CidrIp and IpPermissions cannot be specified together"));
        }
        let says = says(own.protocol, own.from_port, own.to_port, Some(cidr(text)?))?;
        asked.push(Asked { says, group: None, description: None });
    }
    for permission in permissions {
        permission.each(&mut asked)?;
    }
    if asked.is_empty() {
        return Err(ApiError::missing("IpPermissions"));
    }
    Ok(asked)
}

/// The rules whose descriptions change, besides those named by id.
pub(crate) fn ask_again(
    permissions: &[IpPermission],
    by_id: &[RuleDescription],
) -> Result<Vec<Asked>, ApiError> {
    for one in by_id {
        if one.security_group_rule_id.is_none() {
            return Err(ApiError::missing("SecurityGroupRuleDescription.1.SecurityGroupRuleId"));
        }
        description(one.description.as_deref())?;
    }
    if permissions.is_empty() && !by_id.is_empty() {
        return Ok(Vec::new());
    }
    let nothing =
        CidrIpRule { protocol: None, from_port: None, to_port: None, cidr_ip: None, source_group: None };
    ask(&nothing, permissions)
}

impl IpPermission {
    fn each(&self, asked: &mut Vec<Asked>) -> Result<(), ApiError> {
        let before = asked.len();
        let mut push = |far: Option<IpNet>, group: Option<Named>, text: &Option<String>| {
            let says = says(self.ip_protocol.as_deref(), self.from_port, self.to_port, far)?;
            asked.push(Asked { says, group, description: description(text.as_deref())? });
            Ok::<(), ApiError>(())
        };
        for range in &self.ip_ranges {
            let text = range.cidr_ip.as_deref().ok_or_else(|| ApiError::missing("CidrIp"))?;
            push(Some(cidr(text)?), None, &range.description)?;
        }
        for range in &self.ipv6_ranges {
            let text = range.cidr_ipv6.as_deref().ok_or_else(|| ApiError::missing("CidrIpv6"))?;
            push(Some(cidr_v6(text)?), None, &range.description)?;
        }
        for pair in &self.user_id_group_pairs {
            // Whose the group is, and in which VPC, follows from the group.
            let _ = (&pair.user_id, &pair.vpc_id, &pair.peering_status);
            if pair.vpc_peering_connection_id.is_some() {
                return Err(ApiError::new("UnsupportedOperation", "VPC peering is not built"));
            }
            let group = match (&pair.group_id, &pair.group_name) {
                (Some(id), _) => Named::Id(id.clone()),
                (None, Some(name)) => Named::Name(name.clone()),
                (None, None) => return Err(ApiError::missing("GroupId")),
            };
            push(None, Some(group), &pair.description)?;
        }
        if let Some(list) = self.prefix_list_ids.first() {
            let _ = &list.description;
            return Err(no_prefix_list(list.prefix_list_id.as_deref().unwrap_or_default()));
        }
        if asked.len() == before {
            // UNVERIFIED: the code for a permission without a far side.
            return Err(ApiError::invalid("A permission must name a CIDR block or a security group"));
        }
        Ok(())
    }
}

impl RuleRequest {
    /// The rule, if it has one far side.
    pub(crate) fn asked(&self) -> Result<Asked, ApiError> {
        let far = [&self.cidr_ipv4, &self.cidr_ipv6, &self.prefix_list_id, &self.referenced_group_id];
        if far.iter().filter(|far| far.is_some()).count() != 1 {
            let message = "Exactly one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId is needed";
            return Err(ApiError::combination(message));
        }
        if let Some(list) = &self.prefix_list_id {
            return Err(no_prefix_list(list));
        }
        let block = match (&self.cidr_ipv4, &self.cidr_ipv6) {
            (Some(text), _) => Some(cidr(text)?),
            (None, Some(text)) => Some(cidr_v6(text)?),
            (None, None) => None,
        };
        Ok(Asked {
            says: says(self.ip_protocol.as_deref(), self.from_port, self.to_port, block)?,
            group: self.referenced_group_id.clone().map(Named::Id),
            description: description(self.description.as_deref())?,
        })
    }
}

impl Asked {
    /// The group of the far side, within the VPC of the rule's own; `None`: a block, or the rule's own group.
    pub(crate) async fn far_group(
        &self,
        cx: &Cx<'_>,
        own: &SecurityGroup,
    ) -> Result<Option<SecurityGroupId>, ApiError> {
        let found = match &self.group {
            None => return Ok(None),
            Some(Named::Id(id)) if own.id.as_str() == id => return Ok(None),
            Some(Named::Name(name)) if own.name == *name => return Ok(None),
            Some(Named::Id(id)) => {
                let group = cx.security_group(id).await?.value;
                if group.vpc_id != own.vpc_id {
                    return Err(super::no_group(id));
                }
                group.id
            }
            Some(Named::Name(name)) => {
                let groups = cx.security_groups().await?;
                let mut here = groups.into_iter().map(|record| record.value);
                here.find(|group| group.vpc_id == own.vpc_id && group.name == *name)
                    .map(|group| group.id)
                    .ok_or_else(|| super::no_group(name))?
            }
        };
        Ok(Some(found))
    }
}

fn no_prefix_list(id: &str) -> ApiError {
    let message = format!("The prefix list ID '{}' does not exist", short(id));
    ApiError::new("InvalidPrefixListID.NotFound", message)
}

fn description(text: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let fine = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if text.chars().nth(MAX_DESCRIPTION_CHARS).is_some() || !text.chars().all(fine) {
        let message = "Invalid rule description. Valid descriptions are strings less than 256 characters from \
                       the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*";
        return Err(ApiError::invalid(message));
    }
    Ok(Some(text.to_owned()))
}

pub(super) fn says(
    given: Option<&str>,
    from_port: Option<i32>,
    to_port: Option<i32>,
    cidr: Option<IpNet>,
) -> Result<SecurityRule, ApiError> {
    let protocol = protocol(given.ok_or_else(|| ApiError::missing("IpProtocol"))?)?;
    let (from_port, to_port) = port_range(&protocol, from_port, to_port)?;
    Ok(SecurityRule { protocol, from_port, to_port, cidr })
}

/// AWS's word for a protocol: a name where there is one, else the number.
fn protocol(text: &str) -> Result<String, ApiError> {
    let lower = text.to_ascii_lowercase();
    let known = match lower.as_str() {
        "-1" | "all" => "-1",
        "tcp" | "6" => "tcp",
        "udp" | "17" => "udp",
        "icmp" | "1" => "icmp",
        "icmpv6" | "58" => "icmpv6",
        number if number.parse::<u8>().is_ok_and(|n| n.to_string() == number) => number,
        _ => {
            let message = format!("Invalid value '{}' for IP protocol. Unknown protocol.", short(text));
            return Err(ApiError::invalid(message));
        }
    };
    Ok(known.to_owned())
}

/// Ports of TCP and UDP, type and code of ICMP; nothing for other protocols, whatever was given.
fn port_range(
    protocol: &str,
    from: Option<i32>,
    to: Option<i32>,
) -> Result<(Option<i32>, Option<i32>), ApiError> {
    match protocol {
        "tcp" | "udp" => match (from, to) {
            (Some(from), Some(to)) if (0..=to).contains(&from) && to <= i32::from(u16::MAX) => {
                Ok((Some(from), Some(to)))
            }
            (Some(from), Some(to)) => {
                Err(ApiError::invalid(format!("Invalid TCP/UDP port range ({from}:{to})")))
            }
            _ => Err(ApiError::invalid(
                "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
            )),
        },
        "icmp" | "icmpv6" => {
            let (kind, code) = (from.unwrap_or(-1), to.unwrap_or(-1));
            let fits = |value: i32| (-1..=i32::from(u8::MAX)).contains(&value);
            if fits(kind) && fits(code) && (kind != -1 || code == -1) {
                Ok((Some(kind), Some(code)))
            } else {
                let message = format!("ICMP type ({kind}) or code ({code}) out of range");
                Err(ApiError::invalid(message))
            }
        }
        _ => Ok((None, None)),
    }
}

fn cidr(text: &str) -> Result<IpNet, ApiError> {
    block(text).filter(|net| matches!(net, IpNet::V4(_))).ok_or_else(|| malformed(text))
}

fn cidr_v6(text: &str) -> Result<IpNet, ApiError> {
    block(text).filter(|net| matches!(net, IpNet::V6(_))).ok_or_else(|| malformed(text))
}

fn block(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().filter(|net| net.trunc() == *net)
}

fn malformed(text: &str) -> ApiError {
    ApiError::invalid(format!("CIDR block {} is malformed", short(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_and_ports() {
        type Row = (&'static str, Option<i32>, Option<i32>, Result<(Option<i32>, Option<i32>), ()>);
        let rows: [Row; 12] = [
            ("tcp", Some(80), Some(443), Ok((Some(80), Some(443)))),
            ("6", Some(0), Some(65_535), Ok((Some(0), Some(65_535)))),
            ("tcp", Some(81), Some(80), Err(())),
            ("udp", Some(1), None, Err(())),
            ("udp", Some(-1), Some(-1), Err(())),
            ("tcp", Some(1), Some(65_536), Err(())),
            ("icmp", Some(8), None, Ok((Some(8), Some(-1)))),
            ("icmp", None, None, Ok((Some(-1), Some(-1)))),
            ("icmp", Some(-1), Some(0), Err(())),
            ("icmpv6", Some(128), Some(0), Ok((Some(128), Some(0)))),
            ("-1", Some(0), Some(0), Ok((None, None))),
            ("50", Some(7), None, Ok((None, None))),
        ];
        for (given, from, to, expected) in rows {
            let word = protocol(given).unwrap();
            assert_eq!(port_range(&word, from, to).map_err(drop), expected, "{given} {from:?} {to:?}");
        }
        for bad in ["", "256", "-2", "TCPX", "06"] {
            assert!(protocol(bad).is_err(), "{bad}");
        }
    }
}
