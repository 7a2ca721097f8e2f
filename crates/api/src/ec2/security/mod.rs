//! Security groups: rules as callers give them in either style, as records keep them, and as answers show them.

mod answers;
mod asked;
mod edit;

use std::collections::BTreeMap;

use ipnet::IpNet;
use model::{
    GroupRule, Key, RuleTags, Scope, SecurityGroup, SecurityGroupId, SecurityRule, SecurityRuleId, Vpc,
};
use store::typed::Record;

use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::{ApiError, short};

pub(crate) use answers::{Permission, RevokedRule, RuleAnswer, permissions, revoked, rule_answer};
pub(crate) use asked::{Asked, CidrIpRule, IpPermission, RuleDescription, RuleRequest, ask, ask_again};
pub(crate) use edit::{authorize, describe_anew, duplicate, hold, revoke, same};

/// What tags of a rule are given for.
pub(crate) const RULE: &str = "security-group-rule";
/// What tags of a group are given for.
pub(crate) const GROUP: &str = "security-group";

/// Which way the traffic of a rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Towards the members of the group.
    Ingress,
    /// Away from them.
    Egress,
}

impl Direction {
    /// The group's rules of this direction.
    pub(crate) fn rules(self, group: &SecurityGroup) -> &[GroupRule] {
        match self {
            Self::Ingress => &group.ingress,
            Self::Egress => &group.egress,
        }
    }

    /// The same, to be changed.
    pub(crate) fn rules_mut(self, group: &mut SecurityGroup) -> &mut Vec<GroupRule> {
        match self {
            Self::Ingress => &mut group.ingress,
            Self::Egress => &mut group.egress,
        }
    }
}

/// The default group of a new VPC: everything may go out, and what comes from the group itself may come in.
pub(crate) fn default_group(cx: &Cx<'_>, id: SecurityGroupId, vpc: &Vpc) -> SecurityGroup {
    SecurityGroup {
        id,
        scope: cx.scope.clone(),
        vpc_id: vpc.id.clone(),
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        ingress: vec![everything(cx, None)],
        egress: everything_out(cx, vpc),
        tags: BTreeMap::new(),
        prefix_lists: BTreeMap::new(),
        mirrored: false,
    }
}

/// What lets everything out that a VPC has addresses for.
pub(crate) fn everything_out(cx: &Cx<'_>, vpc: &Vpc) -> Vec<GroupRule> {
    let v6 = (!vpc.ipv6_cidrs.is_empty()).then(|| IpNet::V6(Default::default()));
    let far = [Some(IpNet::V4(Default::default())), v6];
    far.into_iter().flatten().map(|far| everything(cx, Some(far))).collect()
}

/// Lets IPv6 out of a group whose egress is as the service made it, as a VPC gets its first such block.
pub(crate) fn let_ipv6_out(cx: &Cx<'_>, draft: &mut Draft, group: &Record<SecurityGroup>) {
    let [only] = group.value.egress.as_slice() else { return };
    let everywhere = Some(IpNet::V4(Default::default()));
    if only.says.protocol != "-1" || only.says.cidr != everywhere {
        return;
    }
    let rule = everything(cx, Some(IpNet::V6(Default::default())));
    number(draft, &group.value.scope, &group.value.id, &rule.id, BTreeMap::new());
    let mut changed = group.value.clone();
    changed.egress.push(rule);
    draft.replace(group, &changed);
}

/// The rule for all protocols: to a block, or among the members of the group.
fn everything(cx: &Cx<'_>, far: Option<IpNet>) -> GroupRule {
    GroupRule {
        id: SecurityRuleId::from_entropy(cx.entropy()),
        says: SecurityRule { protocol: "-1".to_owned(), from_port: None, to_port: None, cidr: far },
        group: None,
        description: None,
    }
}

/// Writes a new group with the tags of its rules.
pub(crate) fn create(draft: &mut Draft, group: &SecurityGroup) {
    draft.create(Key::security_group(&group.scope, &group.id), group);
    for rule in group.ingress.iter().chain(&group.egress) {
        number(draft, &group.scope, &group.id, &rule.id, BTreeMap::new());
    }
}

/// Deletes a group with the tags of its rules.
pub(crate) fn delete(draft: &mut Draft, group: &Record<SecurityGroup>) {
    draft.delete(group);
    for rule in group.value.ingress.iter().chain(&group.value.egress) {
        draft.remove(Key::security_rule(&group.value.scope, &rule.id));
    }
}

/// The record under a rule's id.
fn number(
    draft: &mut Draft,
    scope: &Scope,
    group: &SecurityGroupId,
    id: &SecurityRuleId,
    tags: BTreeMap<String, String>,
) {
    draft.create(Key::security_rule(scope, id), &RuleTags { group: group.clone(), tags });
}

/// The group a call names: by id, or by name if just one group is called so.
pub(crate) async fn named(
    cx: &Cx<'_>,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<Record<SecurityGroup>, ApiError> {
    match (id, name) {
        (Some(id), _) => cx.security_group(id).await,
        (None, Some(name)) => {
            let mut found: Vec<_> =
                cx.security_groups().await?.into_iter().filter(|group| group.value.name == name).collect();
            match (found.pop(), found.is_empty()) {
                (Some(group), true) => Ok(group),
                // The service looks for names in the default VPC only, which there is none of here.
                _ => Err(no_group(name)),
            }
        }
        (None, None) => Err(ApiError::missing("GroupId")),
    }
}

/// What a rule says that another server tells of; `None`: it makes no sense.
pub(crate) fn read_rule(
    protocol: &str,
    from_port: Option<i32>,
    to_port: Option<i32>,
    cidr: Option<ipnet::IpNet>,
) -> Option<SecurityRule> {
    asked::says(Some(protocol), from_port, to_port, cidr).ok()
}

/// No such group.
pub(crate) fn no_group(id: &str) -> ApiError {
    ApiError::new("InvalidGroup.NotFound", format!("The security group '{}' does not exist", short(id)))
}

/// No such rule.
pub(crate) fn no_rule(id: &str) -> ApiError {
    let message = format!("The security group rule ID '{}' does not exist", short(id));
    ApiError::new("InvalidSecurityGroupRuleId.NotFound", message)
}
