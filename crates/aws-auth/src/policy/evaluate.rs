//! Deciding a request by a caller's policies.

use std::collections::BTreeMap;

use super::document::{Effect, Policy, Statement};

/// What is asked for.
#[derive(Copy, Clone, Debug)]
pub struct Request<'a> {
    /// `ec2:DescribeVpcs`.
    pub action: &'a str,
    /// ARN of the resource, or `*` for an action that knows none.
    pub resource: &'a str,
    /// Condition keys with their values. A key that does not apply is absent.
    pub context: &'a BTreeMap<String, Vec<String>>,
}

/// A statement, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRef {
    /// Index of the policy in the slice that was evaluated.
    pub policy: usize,
    /// Index of the statement in the policy.
    pub statement: usize,
    /// Its `Sid`.
    pub sid: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none forbids it.
    Allow {
        /// The first that allows.
        statement: StatementRef,
    },
    /// A statement forbids it.
    ExplicitDeny {
        /// The first that forbids.
        statement: StatementRef,
    },
    /// No statement speaks of it.
    ImplicitDeny,
}

impl Decision {
    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

/// Decides: an explicit deny in any policy, else an allow in any, else no.
pub fn evaluate(policies: &[Policy], request: &Request<'_>) -> Decision {
    match (first(policies, Effect::Deny, request), first(policies, Effect::Allow, request)) {
        (Some(statement), _) => Decision::ExplicitDeny { statement },
        (None, Some(statement)) => Decision::Allow { statement },
        (None, None) => Decision::ImplicitDeny,
    }
}

fn first(policies: &[Policy], effect: Effect, request: &Request<'_>) -> Option<StatementRef> {
    policies.iter().enumerate().find_map(|(policy, document)| {
        let at = document.statements.iter().position(|statement| applies(statement, effect, request))?;
        let sid = document.statements.get(at).and_then(|statement| statement.sid.clone());
        Some(StatementRef { policy, statement: at, sid })
    })
}

fn applies(statement: &Statement, effect: Effect, request: &Request<'_>) -> bool {
    statement.effect == effect
        && statement.actions.covers(request.action, request.context, effect)
        && statement.resources.covers(request.resource, request.context, effect)
        && statement.conditions.iter().all(|condition| condition.holds(request.context, effect))
}
