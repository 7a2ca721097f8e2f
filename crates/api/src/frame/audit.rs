//! One line for each call. Never a query string, a body, a secret.

use std::time::Instant;

use model::Scope;

use super::Call;
use crate::error::short;
use crate::identities::Caller;

/// A call's line in the making.
pub(crate) struct Audit {
    request_id: String,
    peer: std::net::IpAddr,
    pub service: &'static str,
    action: String,
    principal: String,
    region: String,
    pub code: String,
    started: Instant,
}

impl Audit {
    pub(crate) fn start(request_id: &str, call: &Call) -> Self {
        Self {
            request_id: request_id.to_owned(),
            peer: call.peer,
            service: "",
            action: String::new(),
            principal: String::new(),
            region: String::new(),
            code: String::new(),
            started: Instant::now(),
        }
    }

    pub(crate) fn caller(&mut self, caller: &Caller, scope: &Scope) {
        self.principal = caller.arn();
        self.region = scope.region.to_string();
    }

    pub(crate) fn action(&mut self, name: &str) {
        self.action = short(name).into_owned();
    }

    pub(crate) fn finish(self, status: u16) {
        let elapsed = self.started.elapsed();
        let labels = [("service", self.service.to_owned()), ("status", status.to_string())];
        metrics::counter!("bascule_api_requests_total", &labels).increment(1);
        metrics::histogram!("bascule_api_request_seconds", "service" => self.service)
            .record(elapsed.as_secs_f64());
        tracing::info!(
            target: "audit",
            request_id = %self.request_id,
            peer = %self.peer,
            service = self.service,
            action = ?self.action,
            principal = %self.principal,
            region = %self.region,
            status,
            code = %self.code,
            elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "call"
        );
    }
}
