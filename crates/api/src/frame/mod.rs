//! The frame: the one road every call takes, and its order. An action is a stop on it and cannot leave one out.
//!
//! method and path → form → signature → action known (else: forwarded, see `forward`) → throttle → decode and check → authorize every resource →
//! `DryRun` → client token → run and commit in one transaction → wait for the effect → answer → audit.

mod audit;
mod authorize;
mod call;
mod commit;
mod forward;
mod neighbours;
mod origin;
mod own;
mod resources;
mod session;
mod slots;
mod throttle;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_auth::{AuthFault, SignedRequest};
use aws_query::{Form, Limits};
use model::{RegionName, Scope, Timestamp};
use store::{MasterKey, Store};

use crate::action::AnyAction;
use crate::audit::{AuditSink, NoAudit};
use crate::config::{Config, MAX_BODY_BYTES};
use crate::cx::{Cx, Ports};
use crate::error::ApiError;
use crate::identities::{Caller, Identities};
use crate::networks::Networks;
use crate::ports::{Convergence, LiveConnections};
use crate::registry::{Input, Registered};
use crate::service::{Protocol, Refusal, Service};
use crate::sessions::Sessions;
use crate::upstream::{self, ForwardedAnswer, Upstream, Wanted};

pub use call::{Answer, Call};
pub(crate) use session::Origin;

type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;
type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The AWS services over one store.
pub struct Api {
    config: Config,
    store: Arc<dyn Store>,
    master_key: Arc<MasterKey>,
    sessions: Sessions,
    identities: Arc<dyn Identities>,
    live: Arc<dyn LiveConnections>,
    convergence: Arc<dyn Convergence>,
    slots: slots::Slots,
    busy: crate::account::Busy,
    buckets: throttle::Buckets,
    audit: Arc<dyn AuditSink>,
    clock: Clock,
    ready: Arc<AtomicBool>,
    metrics: Option<Metrics>,
    upstream: Option<Arc<Upstream>>,
    networks: Option<Arc<Networks>>,
}

/// What is known of a call once its signature is accepted.
struct Authentic {
    caller: Caller,
    /// The lasting key it goes back to.
    origin: Origin,
    scope: Scope,
}

/// What a call came to.
enum Done {
    /// An action of ours, and its encoded answer.
    Own(&'static str, String),
    /// The upstream's answer.
    Elsewhere(ForwardedAnswer),
}

/// An action ready to run, with what the frame read beside it.
struct Decoded {
    name: &'static str,
    action: Box<dyn AnyAction>,
    dry_run: bool,
    parameters_hash: String,
}

impl Api {
    /// On this store. Not ready until [`Api::readiness`] is set.
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        master_key: Arc<MasterKey>,
        identities: Arc<dyn Identities>,
        live: Arc<dyn LiveConnections>,
        convergence: Arc<dyn Convergence>,
    ) -> Self {
        Self {
            config,
            store,
            sessions: Sessions::new(&master_key),
            master_key,
            identities,
            live,
            convergence,
            slots: slots::Slots::default(),
            busy: crate::account::Busy::default(),
            buckets: throttle::Buckets::default(),
            audit: Arc::new(NoAudit),
            clock: Box::new(crate::clock::wall),
            ready: Arc::new(AtomicBool::new(false)),
            metrics: None,
            upstream: None,
            networks: None,
        }
    }

    /// Renders `/metrics` with this.
    #[must_use]
    pub fn with_metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Arc::new(render));
        self
    }

    /// Keeps an audit trail there.
    #[must_use]
    pub fn with_audit(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.audit = sink;
        self
    }

    /// Sends there what is not built here.
    #[must_use]
    pub fn with_upstream(mut self, upstream: Upstream) -> Self {
        self.upstream = Some(Arc::new(upstream));
        self
    }

    /// Takes the networks of the account from the upstream, if there is one, reading them anew at this interval:
    /// whoever holds [`Api::networks`] must run them.
    #[must_use]
    pub fn with_networks_of_upstream(mut self, interval: Duration) -> Self {
        self.networks = self.upstream.clone().map(|upstream| {
            Arc::new(Networks::new(
                Arc::clone(&self.store),
                Arc::clone(&self.master_key),
                upstream,
                self.config.account.clone(),
                self.config.regions.clone(),
                interval,
            ))
        });
        self
    }

    /// The networks that are read from the upstream.
    pub fn networks(&self) -> Option<Arc<Networks>> {
        self.networks.clone()
    }

    /// Takes the time from this instead of the machine's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// The flag behind `/health`: set it once the gateway has applied the stored state.
    pub fn readiness(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ready)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn render_metrics(&self) -> Option<String> {
        self.metrics.as_ref().map(|render| render())
    }

    /// Answers one call.
    pub async fn handle(&self, call: &Call) -> Answer {
        let request_id = uuid::Uuid::new_v4().to_string();
        let mut audit = audit::Audit::start(Arc::clone(&self.audit), &request_id, call, (self.clock)());
        if call.path.starts_with(crate::account::PREFIX) {
            return self.own(call, request_id, audit).await;
        }
        let (service, result) = self.road(call, &mut audit).await;
        audit.service = service;
        let (status, body) = match result {
            Ok(Done::Own(name, body)) => (200, service.success(name, &request_id, &body).into()),
            Ok(Done::Elsewhere(answer)) => {
                audit.finish(answer.status).await;
                return Answer::forwarded(answer, request_id);
            }
            Err(refusal) => {
                let error = service.error(refusal);
                audit.code = error.code.to_string();
                (error.status, service.failure(&error, &request_id))
            }
        };
        audit.finish(status).await;
        let content_type = service.content_type().into();
        Answer { status, content_type, request_id, headers: Vec::new(), body }
    }

    /// The road up to an action's encoded answer, and the service the answer is for.
    async fn road(&self, call: &Call, audit: &mut audit::Audit) -> (Service, Result<Done, Refusal>) {
        let signed = call.signed();
        let presented = aws_auth::parse(&signed);
        let scope = presented.as_ref().ok().map(|presented| presented.scope.clone());
        let signing_name = scope.as_ref().map(|scope| scope.service.as_str());
        let target = call.header("x-amz-target");
        let mut service = Service::of(target, signing_name, None);
        if let Some(wanted) = self.foreign(call, service, signing_name) {
            audit.service = wanted.form;
            let result = Box::pin(self.elsewhere(call, &signed, presented, &wanted, audit)).await;
            return (wanted.form, result);
        }
        if let Some(refusal) = call.wrong_http(service) {
            return (service, Err(refusal));
        }
        let form = match service.protocol() {
            Protocol::Json => Ok(Form::default()),
            Protocol::Query => {
                let limits = Limits { body_bytes: MAX_BODY_BYTES, ..Limits::default() };
                Form::parse_all(&[call.query.as_bytes(), &call.body], &limits)
            }
        };
        let mut form = match form {
            Ok(form) => form,
            Err(fault) => {
                let status = fault.http_status();
                return (service, Err(ApiError::new(fault.code, fault.message).status(status).into()));
            }
        };
        let common = form.strip_common();
        service = Service::of(target, signing_name, common.version.as_deref());
        audit.service = service;
        let result = async {
            let name = action_name(service, call, &common);
            if let Some(known) = name.and_then(|name| service.action(name).ok()) {
                audit.action(known.name);
            }
            let authentic = self.authenticate(call, &signed, presented, service, audit)?;
            let found = known(service, name, &common);
            let registered = match self.unless_theirs(call, service, found, &form, &authentic.scope).await {
                Err(Refusal::UnknownAction(name) | Refusal::NotBuilt(name))
                    if self.upstream_of(call).is_some() && upstream::own(call, service, &name).is_some() =>
                {
                    let wanted = upstream::own(call, service, &name).ok_or(Refusal::UnknownAction(name))?;
                    let region = scope.as_ref().map(|scope| scope.region.as_str()).unwrap_or_default();
                    return self.forward(call, &wanted, &authentic, region, audit).await.map(Done::Elsewhere);
                }
                known => known?,
            };
            session::may(service, registered.name, &authentic.caller)?;
            self.throttle(service, registered, &authentic.scope)?;
            let input = match service.protocol() {
                Protocol::Query => Input::Form(&form),
                Protocol::Json => Input::Json(&call.body),
            };
            let decoded = decode(registered, &input, &common, &authentic.scope, audit)?;
            self.authorize(call, service, &decoded, &authentic, audit).await?;
            if decoded.dry_run {
                return Err(Refusal::DryRun);
            }
            let body = self.run(&decoded, &authentic).await?;
            Ok(Done::Own(decoded.name, body))
        };
        let result = Box::pin(result).await;
        (service, result)
    }

    /// The road of a call for a service that is none of ours.
    async fn elsewhere(
        &self,
        call: &Call,
        signed: &SignedRequest<'_>,
        presented: Result<aws_auth::Presented, AuthFault>,
        wanted: &Wanted,
        audit: &mut audit::Audit,
    ) -> Result<Done, Refusal> {
        let region = presented.as_ref().map(|presented| presented.scope.region.clone()).unwrap_or_default();
        let authentic = self.authenticate(call, signed, presented, wanted.form, audit)?;
        self.forward(call, wanted, &authentic, &region, audit).await.map(Done::Elsewhere)
    }

    fn authenticate(
        &self,
        call: &Call,
        signed: &SignedRequest<'_>,
        presented: Result<aws_auth::Presented, AuthFault>,
        service: Service,
        audit: &mut audit::Audit,
    ) -> Result<Authentic, Refusal> {
        let presented = presented.map_err(Refusal::Auth)?;
        let (caller, origin) = if self.config.dev_open {
            origin::check(call)?;
            let caller = Caller::root(self.config.account.clone());
            let origin = Origin::of(&presented.access_key_id, &caller);
            (caller, origin)
        } else {
            self.verify(call, signed, &presented, audit)?
        };
        let authentic = self.scoped(caller, origin, service, &presented)?;
        audit.caller(&authentic.caller, &authentic.scope, &presented.access_key_id);
        Ok(authentic)
    }

    /// The account and region a call acts on.
    fn scoped(
        &self,
        caller: Caller,
        origin: Origin,
        service: Service,
        presented: &aws_auth::Presented,
    ) -> Result<Authentic, Refusal> {
        if service.signing_name().is_some_and(|name| name != presented.scope.service) {
            return Err(Refusal::Auth(AuthFault::Mismatch));
        }
        let region: RegionName = presented.scope.region.parse().map_err(|_| Refusal::Region)?;
        if service.is_global() {
            return Ok(Authentic { scope: Scope::global(&caller.account), caller, origin });
        }
        let elsewhere = upstream::is_global(&presented.scope.service);
        if !self.config.regions.is_empty() && !self.config.regions.contains(&region) && !elsewhere {
            return Err(Refusal::Region);
        }
        Ok(Authentic { scope: Scope { account: caller.account.clone(), region }, caller, origin })
    }

    fn throttle(&self, service: Service, action: &Registered, scope: &Scope) -> Result<(), Refusal> {
        let Some(limits) = &self.config.throttle else { return Ok(()) };
        if self.buckets.take(limits, scope, service.name(), action.name, (self.clock)()) {
            return Ok(());
        }
        metrics::counter!("bascule_api_throttled_total", "service" => service.name()).increment(1);
        Err(Refusal::Throttled)
    }

    async fn run(&self, decoded: &Decoded, authentic: &Authentic) -> Result<String, ApiError> {
        let most = self.config.endpoint_operations;
        let _slot = self.slots.take(most, &authentic.scope, decoded.action.occupies())?;
        let now = (self.clock)();
        let ports = Ports {
            config: &self.config,
            identities: self.identities.as_ref(),
            sessions: &self.sessions,
            master_key: &self.master_key,
            live: self.live.as_ref(),
            networks: self.networks.as_deref(),
        };
        let Authentic { scope, caller, origin } = authentic;
        let cx = Cx::new(self.store.as_ref(), now, scope, caller, origin, ports);
        commit::run(self, &cx, decoded).await
    }
}

/// The action as the call names it.
fn action_name<'c>(service: Service, call: &'c Call, common: &'c aws_query::Common) -> Option<&'c str> {
    match service.protocol() {
        Protocol::Query => common.action.as_deref().filter(|name| !name.is_empty()),
        Protocol::Json => {
            let target = call.header("x-amz-target").and_then(|target| target.split_once('.'));
            Some(target.map_or("", |(_, name)| name))
        }
    }
}

/// Version and action.
fn known(
    service: Service,
    name: Option<&str>,
    common: &aws_query::Common,
) -> Result<&'static Registered, Refusal> {
    if let (Some(version), Some(given)) = (service.version(), &common.version)
        && given != version
    {
        return Err(Refusal::Version(given.clone()));
    }
    service.action(name.ok_or(Refusal::NoAction)?)
}

/// Parameters: everything that needs no store. All faults are found, the first is answered.
fn decode(
    registered: &Registered,
    input: &Input<'_>,
    common: &aws_query::Common,
    scope: &Scope,
    audit: &mut audit::Audit,
) -> Result<Decoded, Refusal> {
    let dry_run = common.dry_run().map_err(|fault| ApiError::new(fault.code, fault.message))?;
    let first = |faults: Vec<ApiError>| faults.into_iter().next().unwrap_or_else(ApiError::internal);
    let action = (registered.decode)(input).map_err(first)?;
    audit.parameters(input, dry_run);
    let mut faults = Vec::new();
    action.check(scope, &mut faults);
    token::check(action.client_token(), &mut faults);
    if !faults.is_empty() {
        return Err(first(faults).into());
    }
    let parameters_hash = match input {
        Input::Form(form) => token::hash(form),
        Input::Json(_) => token::hash(&Form::default()),
    };
    Ok(Decoded { name: registered.name, action, dry_run, parameters_hash })
}
