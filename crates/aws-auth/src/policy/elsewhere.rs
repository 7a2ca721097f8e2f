//! Deciding a request of which little is known: the action, or no more than its service, and nothing of what it touches.
//! Whatever could be meant for it forbids it; only what certainly means it permits it.

use std::collections::BTreeMap;

use super::document::{Effect, Policy, Statement};
use super::evaluate::{Decision, StatementRef};
use super::pattern::lookup;

/// What is asked for.
#[derive(Copy, Clone, Debug)]
pub struct Elsewhere<'a> {
    /// The service's prefix in actions, such as `ssm`.
    pub service: &'a str,
    /// The action's name without it; `None`: any of the service's.
    pub action: Option<&'a str>,
    /// Condition keys with their values: those that do not depend on what is touched.
    pub context: &'a BTreeMap<String, Vec<String>>,
}

/// Decides. A deny counts for any resource, and when it depends on a condition key that has no value here; an allow
/// counts when its resources cover `*`. Without an action, an allow must cover all actions of the service, and a deny of
/// any one of them counts.
pub fn evaluate_elsewhere(policies: &[Policy], request: &Elsewhere<'_>) -> Decision {
    match (first(policies, |one| forbids(one, request)), first(policies, |one| permits(one, request))) {
        (Some(statement), _) => Decision::ExplicitDeny { statement },
        (None, Some(statement)) => Decision::Allow { statement },
        (None, None) => Decision::ImplicitDeny,
    }
}

fn first(policies: &[Policy], applies: impl Fn(&Statement) -> bool) -> Option<StatementRef> {
    policies.iter().enumerate().find_map(|(policy, document)| {
        let at = document.statements.iter().position(&applies)?;
        let sid = document.statements.get(at).and_then(|statement| statement.sid.clone());
        Some(StatementRef { policy, statement: at, sid })
    })
}

fn forbids(statement: &Statement, request: &Elsewhere<'_>) -> bool {
    let Elsewhere { service, action, context } = *request;
    statement.effect == Effect::Deny
        && match action {
            Some(name) => statement.actions.covers(&format!("{service}:{name}"), context, Effect::Deny),
            None => statement.actions.covers_some(service, context),
        }
        && statement.conditions.iter().all(|condition| {
            lookup(context, condition.key()).is_none() || condition.holds(context, Effect::Deny)
        })
}

fn permits(statement: &Statement, request: &Elsewhere<'_>) -> bool {
    let Elsewhere { service, action, context } = *request;
    statement.effect == Effect::Allow
        && match action {
            Some(name) => statement.actions.covers(&format!("{service}:{name}"), context, Effect::Allow),
            None => statement.actions.covers_all(service, context),
        }
        && statement.resources.covers("*", context, Effect::Allow)
        && statement.conditions.iter().all(|condition| condition.holds(context, Effect::Allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(statements: &str, action: Option<&str>) -> &'static str {
        let policy =
            Policy::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)).unwrap();
        let context = BTreeMap::from([("aws:SourceIp".to_owned(), vec!["192.0.2.1".to_owned()])]);
        match evaluate_elsewhere(&[policy], &Elsewhere { service: "lambda", action, context: &context }) {
            Decision::Allow { .. } => "allow",
            Decision::ExplicitDeny { .. } => "deny",
            Decision::ImplicitDeny => "no",
        }
    }

    #[test]
    fn what_is_certain_permits_and_what_is_possible_forbids() {
        let all = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
        let get = Some("GetFunction");
        for (statements, named, any) in [
            (all.to_owned(), "allow", "allow"),
            (r#"{"Effect":"Allow","Action":"lambda:*","Resource":"*"}"#.into(), "allow", "allow"),
            (r#"{"Effect":"Allow","Action":"Lambda:*","Resource":"*"}"#.into(), "allow", "allow"),
            (r#"{"Effect":"Allow","Action":"lambda:Get*","Resource":"*"}"#.into(), "allow", "no"),
            (r#"{"Effect":"Allow","Action":"lambda:?","Resource":"*"}"#.into(), "no", "no"),
            (r#"{"Effect":"Allow","Action":"lambdas:*","Resource":"*"}"#.into(), "no", "no"),
            (r#"{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}"#.into(), "allow", "allow"),
            (r#"{"Effect":"Allow","NotAction":"lambda:Delete*","Resource":"*"}"#.into(), "allow", "no"),
            (
                r#"{"Effect":"Allow","Action":"lambda:*","Resource":"arn:aws:lambda:*:*:function:x"}"#.into(),
                "no",
                "no",
            ),
            (
                format!(r#"{all},{{"Effect":"Deny","Action":"lambda:Delete*","Resource":"*"}}"#),
                "allow",
                "deny",
            ),
            (format!(r#"{all},{{"Effect":"Deny","Action":"iam:*","Resource":"*"}}"#), "allow", "allow"),
            (format!(r#"{all},{{"Effect":"Deny","NotAction":"lambda:*","Resource":"*"}}"#), "allow", "allow"),
            (
                format!(r#"{all},{{"Effect":"Deny","NotAction":"lambda:Get*","Resource":"*"}}"#),
                "allow",
                "deny",
            ),
            (
                format!(
                    r#"{all},{{"Effect":"Deny","Action":"lambda:*","Resource":"arn:aws:lambda:*:*:function:x"}}"#
                ),
                "deny",
                "deny",
            ),
            (
                format!(
                    r#"{all},{{"Effect":"Deny","Action":"*","Resource":"*","Condition":{{"StringEquals":{{"aws:ResourceTag/a":"b"}}}}}}"#
                ),
                "deny",
                "deny",
            ),
            (
                format!(
                    r#"{all},{{"Effect":"Deny","Action":"*","Resource":"*","Condition":{{"IpAddress":{{"aws:SourceIp":"198.51.100.0/24"}}}}}}"#
                ),
                "allow",
                "allow",
            ),
        ] {
            assert_eq!(decide(&statements, get), named, "{statements}");
            assert_eq!(decide(&statements, None), any, "any action: {statements}");
        }
    }
}
