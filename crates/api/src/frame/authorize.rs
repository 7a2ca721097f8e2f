//! Permission for every resource a call touches (spec: aws-client-vpn §4.7). The root may do everything.

use aws_auth::policy::{self, Decision, StatementRef};

use super::audit::Audit;
use super::resources::{Context, put};
use super::{Api, Authentic, Call, Decoded};
use crate::clock;
use crate::identities::{Caller, Policies, Rights};
use crate::service::{Refusal, Service};

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
            let decision = match &authentic.caller.rights {
                Rights::Root => Judgement::Root,
                Rights::Policies(policies) => {
                    let mut context = base.clone();
                    self.describe(&touch, &authentic.scope, &mut context).await?;
                    judge(policies, action, &resource, &context)
                }
            };
            let allowed = decision.is_allowed();
            audit.ruled(Ruling { action: action.to_owned(), resource, decision });
            if !allowed {
                return Err(Refusal::Denied);
            }
        }
        Ok(())
    }

    pub(super) fn global_context(&self, call: &Call, service: Service, authentic: &Authentic) -> Context {
        let now = (self.clock)();
        let Caller { name, account, tags, .. } = &authentic.caller;
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
            ("aws:username", name.clone()),
            ("aws:userid", authentic.caller.user_id()),
            ("aws:PrincipalArn", authentic.caller.arn()),
            ("aws:PrincipalAccount", account.to_string()),
            ("aws:PrincipalType", "User".to_owned()),
            ("aws:RequestedRegion", region.clone()),
        ] {
            put(&mut context, key, &value);
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
