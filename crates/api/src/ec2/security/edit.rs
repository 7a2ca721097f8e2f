//! Changing the rules of a group: the same for both directions.

use std::collections::BTreeMap;

use model::{GroupRule, Key, SecurityGroup, SecurityGroupId, SecurityRuleId};
use store::typed::Record;

use super::{
    Asked, Direction, RevokedRule, RuleAnswer, RuleDescription, no_rule, number, revoked, rule_answer,
};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::{ApiError, short};

/// Adds rules, none of which may be there already.
pub(crate) async fn authorize(
    cx: &Cx<'_>,
    group: &Record<SecurityGroup>,
    direction: Direction,
    asked: Vec<Asked>,
    tags: &BTreeMap<String, String>,
) -> Result<(Vec<RuleAnswer>, Draft), ApiError> {
    let mut changed = group.value.clone();
    let mut draft = Draft::default();
    let mut far_groups: Vec<SecurityGroupId> = Vec::new();
    let mut answers = Vec::new();
    for one in asked {
        let far = one.far_group(cx, &group.value).await?;
        if direction.rules(&changed).iter().any(|rule| same(rule, &one, far.as_ref())) {
            return Err(duplicate(&one, far.as_ref()));
        }
        let rule = GroupRule {
            id: SecurityRuleId::from_entropy(cx.entropy()),
            says: one.says,
            group: far.clone(),
            description: one.description,
        };
        number(&mut draft, cx.scope, &changed.id, &rule.id, tags.clone());
        answers.push(rule_answer(&rule, &changed, direction, tags));
        direction.rules_mut(&mut changed).push(rule);
        far_groups.extend(far);
    }
    let most = cx.config.quotas.rules_per_security_group;
    if direction.rules(&changed).len() > most {
        let message = format!("The maximum number of rules per security group ({most}) has been reached.");
        return Err(ApiError::new("RulesPerSecurityGroupLimitExceeded", message));
    }
    hold(cx, &mut draft, far_groups).await?;
    draft.replace(group, &changed);
    Ok((answers, draft))
}

/// Takes rules out, by id or by what they say.
///
/// # Errors
/// One that is not there: nothing is done.
pub(crate) async fn revoke(
    cx: &Cx<'_>,
    group: &Record<SecurityGroup>,
    direction: Direction,
    ids: &[String],
    asked: Vec<Asked>,
) -> Result<(Vec<RevokedRule>, Draft), ApiError> {
    let mut changed = group.value.clone();
    let mut gone = Vec::new();
    let rules = direction.rules_mut(&mut changed);
    for id in ids {
        let at = rules.iter().position(|rule| rule.id.as_str() == id).ok_or_else(|| no_rule(id))?;
        gone.push(rules.remove(at));
    }
    for one in asked {
        let far = match one.far_group(cx, &group.value).await {
            Ok(far) => far,
            Err(_) => return Err(absent()),
        };
        let at = rules.iter().position(|rule| same(rule, &one, far.as_ref())).ok_or_else(absent)?;
        gone.push(rules.remove(at));
    }
    let mut draft = Draft::default();
    for rule in &gone {
        draft.remove(Key::security_rule(cx.scope, &rule.id));
    }
    draft.replace(group, &changed);
    Ok((gone.iter().map(|rule| revoked(rule, &group.value, direction)).collect(), draft))
}

/// Gives rules other descriptions, by id or by what they say.
pub(crate) async fn describe_anew(
    cx: &Cx<'_>,
    group: &Record<SecurityGroup>,
    direction: Direction,
    by_id: &[RuleDescription],
    asked: Vec<Asked>,
) -> Result<Draft, ApiError> {
    let mut changed = group.value.clone();
    let rules = direction.rules_mut(&mut changed);
    for RuleDescription { security_group_rule_id, description } in by_id {
        let id = security_group_rule_id.as_deref().unwrap_or_default();
        let rule = rules.iter_mut().find(|rule| rule.id.as_str() == id).ok_or_else(|| no_rule(id))?;
        rule.description = description.clone().filter(|text| !text.is_empty());
    }
    for one in asked {
        let far = one.far_group(cx, &group.value).await?;
        let rule = rules.iter_mut().find(|rule| same(rule, &one, far.as_ref())).ok_or_else(absent)?;
        rule.description = one.description;
    }
    let mut draft = Draft::default();
    draft.replace(group, &changed);
    Ok(draft)
}

/// The far groups of new rules are not deleted meanwhile.
pub(crate) async fn hold(
    cx: &Cx<'_>,
    draft: &mut Draft,
    mut far_groups: Vec<SecurityGroupId>,
) -> Result<(), ApiError> {
    far_groups.sort();
    far_groups.dedup();
    for id in far_groups {
        draft.touch(&cx.security_group(id.as_str()).await?);
    }
    Ok(())
}

/// Descriptions do not tell rules apart.
pub(crate) fn same(rule: &GroupRule, asked: &Asked, far: Option<&SecurityGroupId>) -> bool {
    rule.says == asked.says && rule.group.as_ref() == far
}

fn absent() -> ApiError {
    ApiError::new("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
}

/// A rule that is there already.
pub(crate) fn duplicate(asked: &Asked, far: Option<&SecurityGroupId>) -> ApiError {
    let peer = match (&asked.says.cidr, far) {
        (Some(net), _) => net.to_string(),
        (None, Some(id)) => id.to_string(),
        (None, None) => "the group itself".to_owned(),
    };
    let what = match asked.says.protocol.as_str() {
        "-1" => "ALL".to_owned(),
        word => word.to_ascii_uppercase(),
    };
    let ports = match (asked.says.from_port, asked.says.to_port) {
        (Some(from), Some(to)) => format!(", from port: {from}, to port: {to}"),
        _ => String::new(),
    };
    let message =
        format!("the specified rule \"peer: {}, {what}{ports}, ALLOW\" already exists", short(&peer));
    ApiError::new("InvalidPermission.Duplicate", message)
}
