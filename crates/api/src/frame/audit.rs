//! One line for each call, in the log and in the audit trail. Never a query string, a body, a secret.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use model::{Scope, Timestamp};
use serde_json::Value;

use super::Call;
use super::authorize::{Judgement, Ruling};
use crate::audit::{
    AuditSink, Decided, Forwarded, Identity, Judged, Line, Proof, SessionAttributes, SessionContext,
    SessionIssuer, of_form, of_json,
};
use crate::clock;
use crate::error::short;
use crate::identities::{Caller, Session};
use crate::registry::Input;
use crate::service::Service;
use crate::upstream::ForwardedAnswer;

/// Most resources named in a line; the rest is counted.
const MAX_RESOURCES: usize = 50;

/// A call's line in the making. Dropped unfinished (its client went away), it says so.
pub(crate) struct Audit {
    sink: Arc<dyn AuditSink>,
    request_id: String,
    peer: IpAddr,
    user_agent: Option<String>,
    came_at: Timestamp,
    started: Instant,
    /// The service the call is for, as soon as it is known.
    pub service: Service,
    /// The service's name when it is none of ours.
    elsewhere: Option<String>,
    forwarded: Option<Forwarded>,
    action: String,
    caller: Option<Identity>,
    proof: Proof,
    account: String,
    region: String,
    dry_run: bool,
    parameters: Value,
    parameters_left_out: usize,
    judged: Vec<Judged>,
    resources_left_out: usize,
    decided: Option<Decided>,
    /// The error's code; empty for success.
    pub code: String,
    written: bool,
}

impl Audit {
    pub(crate) fn start(sink: Arc<dyn AuditSink>, request_id: &str, call: &Call, now: Timestamp) -> Self {
        Self {
            sink,
            request_id: request_id.to_owned(),
            peer: call.peer,
            user_agent: call.header("user-agent").map(|agent| short(agent).into_owned()),
            came_at: now,
            started: Instant::now(),
            service: Service::OtherQuery,
            elsewhere: None,
            forwarded: None,
            action: String::new(),
            caller: None,
            proof: Proof::Unproven,
            account: String::new(),
            region: String::new(),
            dry_run: false,
            parameters: Value::Null,
            parameters_left_out: 0,
            judged: Vec::new(),
            resources_left_out: 0,
            decided: None,
            code: String::new(),
            written: false,
        }
    }

    /// The call names a key that somebody has; whether it is his is not known yet.
    pub(crate) fn claims(&mut self, access_key_id: &str) {
        self.caller = Some(Identity {
            kind: None,
            principal_id: String::new(),
            arn: String::new(),
            account_id: String::new(),
            user_name: None,
            session_context: None,
            access_key_id: short(access_key_id).into_owned(),
        });
    }

    /// The signature holds.
    pub(crate) fn caller(&mut self, caller: &Caller, scope: &Scope, access_key_id: &str) {
        self.proof = Proof::Signed;
        self.account = scope.account.to_string();
        self.region = scope.region.to_string();
        self.caller = Some(Identity {
            kind: Some(match (caller.is_root(), caller.role()) {
                (true, _) => "Root",
                (false, Some(_)) => "AssumedRole",
                (false, None) => "IAMUser",
            }),
            principal_id: caller.user_id(),
            arn: caller.arn(),
            account_id: caller.account.to_string(),
            user_name: (!caller.is_root() && caller.role().is_none()).then(|| caller.name.clone()),
            session_context: caller.session.as_ref().map(|session| session_context(caller, session)),
            access_key_id: short(access_key_id).into_owned(),
        });
    }

    /// An action of the service.
    pub(crate) fn action(&mut self, name: &str) {
        self.action = short(name).into_owned();
    }

    /// It is for a service at the upstream.
    pub(crate) fn elsewhere(&mut self, service: &str) {
        self.elsewhere = Some(service.to_owned());
    }

    /// It is on its way there.
    pub(crate) fn forwarded(&mut self, forwarded: Forwarded) {
        self.forwarded = Some(forwarded);
    }

    /// The upstream has answered.
    pub(crate) fn upstream_answered(&mut self, answer: &ForwardedAnswer) {
        if let Some(forwarded) = &mut self.forwarded {
            forwarded.answered(answer);
        }
    }

    /// The parameters, once they have the action's form: then no name is a stranger's.
    pub(crate) fn parameters(&mut self, input: &Input<'_>, dry_run: bool) {
        let kept = match input {
            Input::Form(form) => {
                of_form(form, (self.service == Service::Ec2).then_some(self.action.as_str()))
            }
            Input::Json(body) => of_json(body),
        };
        self.dry_run = dry_run;
        (self.parameters, self.parameters_left_out) = (kept.value, kept.left_out);
    }

    /// One resource was judged.
    pub(crate) fn ruled(&mut self, ruling: Ruling) {
        let decided = decided(&ruling.decision);
        self.decided = Some(decided.clone());
        if self.judged.len() < MAX_RESOURCES {
            let arn = short(&ruling.resource).into_owned();
            self.judged.push(Judged { arn, action: ruling.action, decided });
        } else {
            self.resources_left_out += 1;
        }
    }

    /// Answered with this HTTP status.
    pub(crate) async fn finish(mut self, status: u16) {
        let line = self.close(status);
        self.sink.record(self.proof, line).await;
    }

    /// The line; and the log has it too.
    fn close(&mut self, status: u16) -> String {
        self.written = true;
        let elapsed = self.started.elapsed();
        let service = self.service.name();
        let labels = [("service", service.to_owned()), ("status", status.to_string())];
        metrics::counter!("bascule_api_requests_total", &labels).increment(1);
        metrics::histogram!("bascule_api_request_seconds", "service" => service)
            .record(elapsed.as_secs_f64());
        let duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let service = self.elsewhere.as_deref().unwrap_or(service);
        let decided = self.decided.as_ref();
        tracing::info!(
            target: "audit",
            request_id = %self.request_id,
            peer = %self.peer,
            service,
            action = ?self.action,
            principal = %self.caller.as_ref().map_or("", |caller| caller.arn.as_str()),
            region = %self.region,
            decision = decided.map_or("", |decided| decided.effect),
            policy = decided.and_then(|decided| decided.policy.as_deref()).unwrap_or_default(),
            statement = decided.and_then(|decided| decided.statement.as_deref()).unwrap_or_default(),
            upstream = self.forwarded.as_ref().map_or("", |forwarded| forwarded.upstream.as_str()),
            status,
            code = %self.code,
            elapsed_us = duration_us,
            "call"
        );
        let line = Line {
            event_time: clock::iso(self.came_at),
            event_source: format!("{service}.amazonaws.com"),
            event_name: &self.action,
            aws_region: &self.region,
            recipient_account_id: &self.account,
            source_ip_address: self.peer.to_string(),
            user_agent: self.user_agent.as_deref(),
            user_identity: self.caller.as_ref(),
            dry_run: self.dry_run,
            request_parameters: &self.parameters,
            parameters_left_out: self.parameters_left_out,
            decision: decided,
            resources: &self.judged,
            resources_left_out: self.resources_left_out,
            forwarded: self.forwarded.as_ref(),
            error_code: &self.code,
            http_status: status,
            request_id: &self.request_id,
            duration_us,
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if !self.written {
            self.code = "ClientGone".to_owned();
            let line = self.close(0);
            self.sink.record_now(self.proof, line);
        }
    }
}

fn session_context(caller: &Caller, session: &Session) -> SessionContext {
    let issuer = session.role.as_ref().map(|_| SessionIssuer {
        kind: "Role",
        principal_id: caller.role_id(),
        arn: caller.principal_arn(),
        account_id: caller.account.to_string(),
        user_name: caller.name.clone(),
    });
    let attributes =
        SessionAttributes { creation_date: clock::iso(session.issued_at), mfa_authenticated: "false" };
    SessionContext { session_issuer: issuer, attributes }
}

fn decided(judgement: &Judgement) -> Decided {
    let statement = judgement.statement();
    Decided {
        effect: judgement.word(),
        policy: statement.map(|statement| statement.policy.clone()),
        statement: statement.map(|statement| statement.statement.clone()),
    }
}
