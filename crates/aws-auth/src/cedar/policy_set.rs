//! A document that has been read, and what it says of a connection.

use std::collections::BTreeSet;
use std::str::FromStr;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, EntityUid, PolicyId, Request, Response,
};

use super::depth::is_too_deep;
use super::value::{Record, pairs};

/// Most bytes of a document (AWS's guide: considerations when writing policies).
pub const MAX_DOCUMENT_BYTES: usize = 10_000;

/// Stack for what recurses over a document's expressions, in bytes: chains of operators nest as deep as a document is
/// long. Cedar's evaluator looks after itself, its parser and the end of what it made do not.
const STACK_BYTES: usize = 16 << 20;

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than [`MAX_DOCUMENT_BYTES`].
    #[error("it is longer than {MAX_DOCUMENT_BYTES} bytes")]
    TooLong,
    /// Nested deeper than is read.
    #[error("its expressions are nested too deep")]
    TooDeep,
    /// Without a single statement.
    #[error("it has no permit or forbid statement")]
    Empty,
    /// With a template: nothing would ever fill it in, so it would never apply.
    #[error("it has a template slot")]
    Template,
    /// Not Cedar. The text is about the document's own words.
    #[error("{0}")]
    Syntax(String),
}

/// What comes of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// A permit matches and no forbid does.
    Permit,
    /// A forbid matches, or no permit does.
    Deny,
    /// Nothing matches, and of some statement it cannot be said whether it does. Not let in either.
    Error,
}

impl Decision {
    /// AWS's word for it, in connection logs (spec: aws-client-vpn, Appendix B).
    pub const fn as_str(self) -> &'static str {
        match self {
            Decision::Permit => "permit",
            Decision::Deny => "deny",
            Decision::Error => "error",
        }
    }
}

/// A decision with the statements it comes from: by their `@id`, else `policy` and their place, counted from 0. In the
/// document's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is decided.
    pub decision: Decision,
    /// The statements that decide it: the forbids that match, else the permits that match.
    pub matched: Vec<String>,
    /// The statements passed over because they could not be evaluated.
    pub failed: Vec<String>,
}

impl Verdict {
    /// Of a document that cannot be read.
    pub fn unreadable() -> Self {
        Self { decision: Decision::Error, matched: Vec::new(), failed: Vec::new() }
    }
}

/// The statements of a document.
#[derive(Clone, Debug)]
pub struct PolicySet {
    set: cedar_policy::PolicySet,
    /// Each statement's id in the set and the name it goes by, in the document's order.
    names: Vec<(PolicyId, String)>,
}

impl PolicySet {
    /// Reads a document.
    ///
    /// # Errors
    /// It is not a set of `permit` and `forbid` statements, or beyond a bound.
    pub fn parse(document: &str) -> Result<Self, Malformed> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(Malformed::TooLong);
        }
        if is_too_deep(document) {
            return Err(Malformed::TooDeep);
        }
        stacker::grow(STACK_BYTES, || Self::read(document))
    }

    fn read(document: &str) -> Result<Self, Malformed> {
        let set = cedar_policy::PolicySet::from_str(document)
            .map_err(|errors| Malformed::Syntax(errors.to_string()))?;
        if set.num_of_templates() > 0 {
            return Err(Malformed::Template);
        }
        let names: Vec<(PolicyId, String)> = (0..set.num_of_policies())
            .filter_map(|n| {
                let id = PolicyId::new(format!("policy{n}"));
                let name = set.policy(&id)?.annotation("id").filter(|name| !name.is_empty());
                let name = name.map_or_else(|| id.to_string(), str::to_owned);
                Some((id, name))
            })
            .collect();
        if names.is_empty() { Err(Malformed::Empty) } else { Ok(Self { set, names }) }
    }

    /// How many statements it has.
    pub fn statement_count(&self) -> usize {
        self.names.len()
    }

    /// Decides by a context.
    pub fn evaluate(&self, context: &Record) -> Verdict {
        let Some(response) = self.response(context) else { return Verdict::unreadable() };
        let diagnostics = response.diagnostics();
        let reason: BTreeSet<&PolicyId> = diagnostics.reason().collect();
        let errors: BTreeSet<&PolicyId> = diagnostics.errors().map(policy_of).collect();
        let named = |ids: &BTreeSet<&PolicyId>| {
            let of = self.names.iter().filter(|(id, _)| ids.contains(id));
            of.map(|(_, name)| name.clone()).collect::<Vec<_>>()
        };
        let decision = match response.decision() {
            cedar_policy::Decision::Allow => Decision::Permit,
            cedar_policy::Decision::Deny if reason.is_empty() && !errors.is_empty() => Decision::Error,
            cedar_policy::Decision::Deny => Decision::Deny,
        };
        Verdict { decision, matched: named(&reason), failed: named(&errors) }
    }

    fn response(&self, context: &Record) -> Option<Response> {
        // UNVERIFIED: who principal, action and resource are. AWS's examples constrain none of them.
        let uid = |text: &str| EntityUid::from_str(text).ok();
        let request = Request::new(
            uid(r#"ClientVpn::Client::"client""#)?,
            uid(r#"ClientVpn::Action::"connect""#)?,
            uid(r#"ClientVpn::Endpoint::"endpoint""#)?,
            Context::from_pairs(pairs(context)?).ok()?,
            None,
        );
        Some(Authorizer::new().is_authorized(&request.ok()?, &self.set, &Entities::empty()))
    }
}

impl Drop for PolicySet {
    fn drop(&mut self) {
        let set = std::mem::take(&mut self.set);
        stacker::grow(STACK_BYTES, move || drop(set));
    }
}

fn policy_of(error: &AuthorizationError) -> &PolicyId {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
    }
}
