//! Permission for every resource a call touches (spec: aws-client-vpn §4.7). The root may do everything.

use std::sync::Arc;

use aws_auth::policy::{self, Decision, StatementRef, Trust, TrustRequest};

use super::audit::Audit;
use super::resources::{Context, put};
use super::{Api, Authentic, Call, Decoded};
use crate::clock;
use crate::error::ApiError;
use crate::identities::{Caller, Policies, Rights, Role};
use crate::service::{Refusal, Service};
use crate::touch::{Resource, Touch};

/// How one resource of a call was judged, and by what: for the log and the audit trail.
#[derive(Clone, Debug)]
pub(super) struct Ruling {
    /// The action that was asked for on it, such as `ec2:CreateTags`.
    pub action: String,
    /// Its ARN, or `*`.
    pub resource: String,
    /// What came of it.
    pub decision: Judgement,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The root asks: nothing is looked at.
    Root,
    /// This statement allows it.
    Allow(Statement),
    /// This statement forbids it.
    ExplicitDeny(Statement),
    /// No statement speaks of it.
    ImplicitDeny,
}

/// A statement, as an operator finds it again in `users.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The policy's name.
    pub policy: String,
    /// The statement's `Sid`, else its index from 0.
    pub statement: String,
}

impl Judgement {
    /// In a word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Allow(_) => "allow",
            Self::ExplicitDeny(_) => "explicit-deny",
            Self::ImplicitDeny => "implicit-deny",
        }
    }

    /// The statement that decided, if one did.
    pub(super) fn statement(&self) -> Option<&Statement> {
        match self {
            Self::Allow(statement) | Self::ExplicitDeny(statement) => Some(statement),
            Self::Root | Self::ImplicitDeny => None,
        }
    }

    pub(super) fn is_allowed(&self) -> bool {
        matches!(self, Self::Root | Self::Allow(_))
    }
}

impl Api {
    /// Refuses unless the caller may do the action on each resource; says nothing about whether a resource exists.
    pub(super) async fn authorize(
        &self,
        call: &Call,
        service: Service,
        decoded: &Decoded,
        authentic: &Authentic,
        audit: &mut Audit,
    ) -> Result<(), Refusal> {
        let base = self.global_context(call, service, authentic);
        let own = format!("{}:{}", service.name(), decoded.name);
        let caller = authentic.caller.arn();
        for touch in decoded.action.touches() {
            let action = touch.action.unwrap_or(&own);
            let resource = touch.resource.arn(&authentic.scope, &caller);
            let decision = self.decide(&touch, action, &resource, &base, authentic).await?;
            let allowed = decision.is_allowed();
            let denied = (!allowed).then(|| denial(service, &authentic.caller, action, &resource));
            audit.ruled(Ruling { action: action.to_owned(), resource, decision });
            if let Some(refusal) = denied {
                return Err(refusal);
            }
        }
        Ok(())
    }

    pub(super) async fn decide(
        &self,
        touch: &Touch,
        action: &str,
        resource: &str,
        base: &Context,
        authentic: &Authentic,
    ) -> Result<Judgement, Refusal> {
        let caller = &authentic.caller;
        let assumed = match &touch.resource {
            Resource::Role(arn) => Some(self.role(arn)),
            _ => None,
        };
        let Rights::Policies(policies) = &caller.rights else {
            // Roles may not be assumed by the root, as AWS documents.
            return Ok(if assumed.is_some() { Judgement::ImplicitDeny } else { Judgement::Root });
        };
        let mut context = base.clone();
        self.describe(touch, &authentic.scope, &mut context).await?;
        let own = within(caller, policies, |policies| judge(policies, action, resource, &context));
        Ok(match assumed {
            None => own,
            Some(None) => Judgement::ImplicitDeny,
            Some(Some(role)) => trusted(&role, caller, action, &context, own),
        })
    }

    /// A role by its ARN.
    pub(super) fn role(&self, arn: &str) -> Option<Arc<Role>> {
        let (account, name) = crate::sts::role_of(arn)?;
        self.identities.role(&account.parse().ok()?, name)
    }

    pub(super) fn global_context(&self, call: &Call, service: Service, authentic: &Authentic) -> Context {
        let now = (self.clock)();
        let Caller { name, account, tags, session, .. } = &authentic.caller;
        let region = match service.is_global() {
            // What AWS documents for services without regions.
            true => "us-east-1".to_owned(),
            false => authentic.scope.region.to_string(),
        };
        let mut context = Context::new();
        for (key, value) in [
            ("aws:SourceIp", call.peer.to_canonical().to_string()),
            ("aws:CurrentTime", clock::iso(now)),
            ("aws:EpochTime", now.0.to_string()),
            ("aws:SecureTransport", call.secure.to_string()),
            ("aws:userid", authentic.caller.user_id()),
            ("aws:PrincipalArn", authentic.caller.principal_arn()),
            ("aws:PrincipalAccount", account.to_string()),
            ("aws:PrincipalType", authentic.caller.kind().to_owned()),
            ("aws:RequestedRegion", region.clone()),
        ] {
            put(&mut context, key, &value);
        }
        if authentic.caller.role().is_none() {
            put(&mut context, "aws:username", name);
        }
        if let Some(session) = session {
            put(&mut context, "aws:TokenIssueTime", &clock::iso(session.issued_at));
        }
        if service == Service::Ec2 {
            put(&mut context, "ec2:Region", &region);
        }
        if let Some(agent) = call.header("user-agent") {
            put(&mut context, "aws:UserAgent", agent);
        }
        for (key, value) in tags {
            put(&mut context, &format!("aws:PrincipalTag/{key}"), value);
        }
        context
    }
}

/// The refusal in the service's words; those of roles name who asked for what.
fn denial(service: Service, caller: &Caller, action: &str, resource: &str) -> Refusal {
    if service != Service::Sts {
        return Refusal::Denied;
    }
    let message = match caller.is_root() {
        true => "Roles may not be assumed by root accounts.".to_owned(),
        false => {
            let resource = crate::error::short(resource);
            format!("User: {} is not authorized to perform: {action} on resource: {resource}", caller.arn())
        }
    };
    ApiError::new("AccessDenied", message).status(403).into()
}

/// What the caller's policies say, and those that bound its session.
pub(super) fn within(
    caller: &Caller,
    policies: &Policies,
    judge: impl Fn(&Policies) -> Judgement,
) -> Judgement {
    let own = judge(policies);
    match caller.role().and_then(|session| session.limits.as_ref()) {
        Some(limits) if own.is_allowed() => match judge(limits) {
            Judgement::Allow(_) => own,
            denied => denied,
        },
        _ => own,
    }
}

/// What a role's trust policy makes of what the caller's own policies say: across accounts both must allow it; within
/// one, a trust policy that names the caller itself is enough.
fn trusted(role: &Role, caller: &Caller, action: &str, context: &Context, own: Judgement) -> Judgement {
    let arns = [caller.arn(), caller.principal_arn()];
    let request = TrustRequest { action, account: caller.account.as_str(), arns: &arns, context };
    let named = |statement: String| Statement { policy: format!("trust of {}", role.name), statement };
    // UNVERIFIED: whether a session policy bounds a role that a trust policy names; here it does.
    let bounded = caller.role().is_some_and(|session| session.limits.is_some());
    let enough = role.account == caller.account && !bounded;
    match (role.trust.judge(&request), own) {
        (Trust::Denied(statement), _) => Judgement::ExplicitDeny(named(statement)),
        (_, own @ Judgement::ExplicitDeny(_)) => own,
        (Trust::Silent, _) => Judgement::ImplicitDeny,
        (Trust::Caller(statement), Judgement::ImplicitDeny) if enough => Judgement::Allow(named(statement)),
        (Trust::Caller(_) | Trust::Account(_), own) => own,
    }
}

fn judge(policies: &Policies, action: &str, resource: &str, context: &Context) -> Judgement {
    let request = policy::Request { action, resource, context };
    judgement(policies, policy::evaluate(policies.documents(), &request))
}

/// A decision in the words of these policies.
pub(super) fn judgement(policies: &Policies, decision: Decision) -> Judgement {
    let named = |found: StatementRef| Statement {
        policy: policies.name(found.policy).to_owned(),
        statement: found.sid.unwrap_or_else(|| found.statement.to_string()),
    };
    match decision {
        Decision::Allow { statement } => Judgement::Allow(named(statement)),
        Decision::ExplicitDeny { statement } => Judgement::ExplicitDeny(named(statement)),
        Decision::ImplicitDeny => Judgement::ImplicitDeny,
    }
}
