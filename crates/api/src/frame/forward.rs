//! Calls that are not built here go to the upstream, if there is one: after the signature, throttling and permission, in
//! that order, as on the road of our own. What is built is never forwarded.

use std::time::Instant;

use aws_auth::policy::{Elsewhere, evaluate_elsewhere};
use metrics::{counter, histogram};

use super::audit::Audit;
use super::authorize::{Judgement, Ruling, judgement, within};
use super::{Api, Authentic, Call, session};
use crate::audit::Forwarded;
use crate::identities::Rights;
use crate::service::{Refusal, Service};
use crate::upstream::{self, ForwardedAnswer, Upstream, UpstreamFault, Wanted};

/// Names of the two token buckets that all forwarded calls of an account and region share.
const BUCKET: &str = "upstream";
const BUCKET_OF_READS: &str = "GetForwarded";
const BUCKET_OF_WRITES: &str = "PutForwarded";

impl Api {
    /// The upstream a call may go to: none for one that another server has forwarded already, and none while anybody's
    /// credentials are accepted.
    pub(super) fn upstream_of(&self, call: &Call) -> Option<&Upstream> {
        let upstream = self.upstream.as_deref().filter(|_| !self.config.dev_open)?;
        call.header(upstream::FORWARDED).is_none().then_some(upstream)
    }

    /// What a call asks of the upstream, if it is signed for a service that is none of ours.
    pub(super) fn foreign(
        &self,
        call: &Call,
        service: Service,
        signing_name: Option<&str>,
    ) -> Option<Wanted> {
        let foreign = matches!(service, Service::OtherQuery | Service::OtherJson);
        let signing_name = signing_name.filter(|name| foreign && Service::by_signing_name(name).is_none())?;
        self.upstream_of(call)?;
        upstream::foreign(call, signing_name)
    }

    /// Sends a call on whose signature holds, unless it is refused.
    pub(super) async fn forward(
        &self,
        call: &Call,
        wanted: &Wanted,
        authentic: &Authentic,
        region: &str,
        audit: &mut Audit,
    ) -> Result<ForwardedAnswer, Refusal> {
        let upstream = self.upstream_of(call).ok_or(Refusal::Http("path"))?;
        audit.action(wanted.action.as_deref().unwrap_or_default());
        audit.elsewhere(wanted.prefix());
        session::may_elsewhere(wanted.prefix(), &authentic.caller)?;
        self.throttle_forwarded(wanted, authentic)?;
        self.authorize_forwarded(call, wanted, authentic, audit)?;
        if !wanted.reads && !upstream.allows(wanted) {
            counter!("bascule_upstream_refused_total", "reason" => "not-allowed").increment(1);
            return Err(Refusal::NotForwarded(wanted.prefix().to_owned()));
        }
        let Some(_slot) = upstream.slot() else {
            counter!("bascule_upstream_refused_total", "reason" => "busy").increment(1);
            return Err(Refusal::Throttled);
        };
        let fault = |fault: UpstreamFault| {
            counter!("bascule_upstream_requests_total", "status" => "none").increment(1);
            Refusal::Unavailable(fault.to_string())
        };
        let to = upstream.url.destination(&wanted.service, region);
        let to = to.map_err(|_| fault(UpstreamFault::Unreachable))?;
        let now = (self.clock)().0;
        let request = upstream::request(upstream, &to, call, region, &wanted.service, now);
        let request = request.map_err(Refusal::Auth)?;
        // From here on it may have its effect, whoever waits for the answer.
        audit.forwarded(Forwarded::sent(&to, &upstream.credentials.access_key_id, &call.method));
        let started = Instant::now();
        let sent = tokio::time::timeout(upstream.timeout, upstream.transport.send(&to, request)).await;
        let response = sent.unwrap_or(Err(UpstreamFault::TooSlow)).map_err(fault)?;
        let answer = upstream::answer(response, call.method == "HEAD").map_err(fault)?;
        histogram!("bascule_upstream_seconds").record(started.elapsed());
        counter!("bascule_upstream_requests_total", "status" => class(answer.status)).increment(1);
        audit.upstream_answered(&answer);
        if let Some(networks) = self.networks.as_ref().filter(|_| !wanted.reads) {
            networks.written();
        }
        Ok(answer)
    }

    fn throttle_forwarded(&self, wanted: &Wanted, authentic: &Authentic) -> Result<(), Refusal> {
        let Some(limits) = &self.config.throttle else { return Ok(()) };
        let bucket = if wanted.reads { BUCKET_OF_READS } else { BUCKET_OF_WRITES };
        if self.buckets.take(limits, &authentic.scope, BUCKET, bucket, (self.clock)()) {
            return Ok(());
        }
        counter!("bascule_api_throttled_total", "service" => BUCKET).increment(1);
        Err(Refusal::Throttled)
    }

    /// On resource `*`, as nothing is known of what the call touches.
    fn authorize_forwarded(
        &self,
        call: &Call,
        wanted: &Wanted,
        authentic: &Authentic,
        audit: &mut Audit,
    ) -> Result<(), Refusal> {
        let service = wanted.prefix();
        let decision = match &authentic.caller.rights {
            Rights::Root => Judgement::Root,
            Rights::Policies(policies) => {
                let context = self.global_context(call, wanted.form, authentic);
                let request = Elsewhere { service, action: wanted.action.as_deref(), context: &context };
                within(&authentic.caller, policies, |policies| {
                    judgement(policies, evaluate_elsewhere(policies.documents(), &request))
                })
            }
        };
        let allowed = decision.is_allowed();
        let action = format!("{service}:{}", wanted.action.as_deref().unwrap_or("*"));
        audit.ruled(Ruling { action, resource: "*".to_owned(), decision });
        if allowed { Ok(()) } else { Err(Refusal::Denied) }
    }
}

fn class(status: u16) -> &'static str {
    match status {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
