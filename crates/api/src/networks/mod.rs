//! The networks of an upstream (`networks = "upstream"`): what endpoints here refer to there is copied into the store as
//! records of the same kinds, marked as mirrored. So there is one place that the API, the controllers and the agent ask,
//! the store, and it answers when the upstream does not: the last good answer stands.
//!
//! Copies are made when a call names something ([`Networks::look`]) and brought up to date by a timer and after writes
//! that went through here ([`Networks::run`]). The mirror writes nothing that a caller could not have written: networks
//! as if they were made here, and the end of an association as `DisassociateClientVpnTargetNetwork` marks it.

mod ask;
mod certificates;
mod copy;
mod judge;
mod prefix_lists;
mod refresh;
mod remembered;
mod rows;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::{counter, gauge};
use model::{
    AccountId, Certificate, Key, RegionName, Scope, SecurityGroup, SecurityGroupId, Subnet, SubnetId, Vpc,
    VpcId,
};
use serde_json::Value;
use store::{MasterKey, Store, typed};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::arn;
use crate::error::ApiError;
use crate::upstream::Upstream;
use remembered::{Outcome, Remembered};

/// Questions to the upstream at a time, beside the calls that are forwarded.
const MAX_QUESTIONS_AT_ONCE: usize = 8;
/// Shortest pause between two refreshes that writes ask for.
const MIN_PAUSE: Duration = Duration::from_millis(200);

/// One thing of the networks, by its own id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Neighbour {
    /// A VPC.
    Vpc(VpcId),
    /// A subnet.
    Subnet(SubnetId),
    /// A security group.
    Group(SecurityGroupId),
    /// A certificate by its ARN.
    Certificate(String),
    /// A certificate with its private key.
    ServerCertificate(String),
}

/// What there is under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// What the store says.
    AsStored,
    /// The upstream has said for certain that there is nothing.
    Gone,
}

/// The copies of one account's networks.
pub struct Networks {
    store: Arc<dyn Store>,
    master_key: Arc<MasterKey>,
    upstream: Arc<Upstream>,
    account: AccountId,
    regions: Vec<RegionName>,
    interval: Duration,
    remembered: Remembered,
    questions: Semaphore,
    written: Notify,
    /// Whether the last refresh was answered in full: only a change of that is worth a line in the log.
    well: AtomicBool,
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Networks").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl Networks {
    /// Of this account (in these regions; none: in any), read anew every `interval`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        master_key: Arc<MasterKey>,
        upstream: Arc<Upstream>,
        account: AccountId,
        regions: Vec<RegionName>,
        interval: Duration,
    ) -> Self {
        Self {
            store,
            master_key,
            upstream,
            account,
            regions,
            interval,
            remembered: Remembered::default(),
            questions: Semaphore::new(MAX_QUESTIONS_AT_ONCE),
            written: Notify::new(),
            well: AtomicBool::new(true),
        }
    }

    /// Whether the networks of this scope are the upstream's. Accounts of other users have their own.
    pub(crate) fn serves(&self, scope: &Scope) -> bool {
        scope.account == self.account && (self.regions.is_empty() || self.regions.contains(&scope.region))
    }

    /// Reads everything anew until it is dropped: every interval, and soon after a write that went through here.
    pub async fn run(&self) {
        let mut since = Instant::now();
        loop {
            self.refresh().await;
            let timer = tokio::time::sleep_until(since + self.interval);
            tokio::select! {
                () = timer => {}
                () = self.written.notified() => tokio::time::sleep_until(since + MIN_PAUSE).await,
            }
            since = Instant::now();
        }
    }

    /// A write has gone to the upstream: what is known may be old.
    pub(crate) fn written(&self) {
        self.remembered.forget();
        self.written.notify_one();
    }

    /// Brings the copy of one thing up to date, or makes it, before somebody reads it from the store.
    ///
    /// # Errors
    /// The upstream cannot say and there is no copy.
    pub(crate) async fn look(&self, scope: &Scope, of: &Neighbour) -> Result<Presence, ApiError> {
        if !self.serves(scope) {
            return Ok(Presence::AsStored);
        }
        let Some(stored) = self.stored(scope, of).await? else { return Ok(Presence::AsStored) };
        if stored == Stored::Own {
            return Ok(Presence::AsStored);
        }
        // A copy that was swept after it was last asked for is made again.
        let swept = |outcome: &Outcome| stored == Stored::Nothing && *outcome == Outcome::Known;
        let outcome = match self.remembered.outcome(scope, of).filter(|outcome| !swept(outcome)) {
            Some(outcome) => outcome,
            None => {
                let outcome = self.copy(scope, of).await?;
                self.remembered.keep(scope, of, &outcome);
                outcome
            }
        };
        match outcome {
            Outcome::Known => Ok(Presence::AsStored),
            Outcome::Gone => {
                if stored == Stored::Copy {
                    // What refers to it need not wait for the timer.
                    self.written.notify_one();
                }
                Ok(Presence::Gone)
            }
            Outcome::Unsaid(_) if stored == Stored::Copy => Ok(Presence::AsStored),
            Outcome::Unsaid(fault) => Err(ApiError::new("Unavailable", fault.to_string()).status(503)),
        }
    }

    /// A page of the upstream's own list of certificates.
    ///
    /// # Errors
    /// The service's, or that there is no answer.
    pub(crate) async fn list_certificates(&self, scope: &Scope, asked: &Value) -> Result<Value, ApiError> {
        self.acm(scope.region.as_str(), "ListCertificates", asked).await.map_err(|fault| match fault {
            ask::Fault::Away(why) | ask::Fault::Unclear(why) => {
                ApiError::new("ServiceUnavailableException", why).status(503)
            }
            ask::Fault::Refused { status, code, message } => ApiError { code: code.into(), status, message },
        })
    }

    /// What the store has of it; `None`: it cannot be the upstream's.
    async fn stored(&self, scope: &Scope, of: &Neighbour) -> Result<Option<Stored>, ApiError> {
        let store = self.store.as_ref();
        let mirrored = match of {
            Neighbour::Vpc(id) => typed::get::<Vpc>(store, Key::vpc(scope, id).as_str())
                .await?
                .map(|found| found.value.mirrored),
            Neighbour::Subnet(id) => typed::get::<Subnet>(store, Key::subnet(scope, id).as_str())
                .await?
                .map(|found| found.value.mirrored),
            Neighbour::Group(id) => {
                typed::get::<SecurityGroup>(store, Key::security_group(scope, id).as_str())
                    .await?
                    .map(|found| found.value.mirrored)
            }
            Neighbour::Certificate(arn) | Neighbour::ServerCertificate(arn) => {
                let Some(id) = arn::certificate_id(arn, scope) else { return Ok(None) };
                typed::get::<Certificate>(store, Key::certificate(scope, id).as_str())
                    .await?
                    .map(|found| found.value.mirrored)
            }
        };
        Ok(Some(match mirrored {
            None => Stored::Nothing,
            Some(true) => Stored::Copy,
            Some(false) => Stored::Own,
        }))
    }

    /// Tells of a refresh: `failures` say what was not answered.
    fn refreshed(&self, failures: &[String]) {
        if failures.is_empty() {
            counter!("bascule_networks_refreshes_total", "result" => "ok").increment(1);
            #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
            gauge!("bascule_networks_last_good_timestamp_seconds").set(crate::clock::wall().0 as f64);
            if !self.well.swap(true, Ordering::Relaxed) {
                tracing::info!("the upstream's networks are read again");
            }
            return;
        }
        counter!("bascule_networks_refreshes_total", "result" => "failed").increment(1);
        if self.well.swap(false, Ordering::Relaxed) {
            let why = failures.join("; ");
            tracing::warn!(why, "the upstream's networks cannot be read in full; what was read last stands");
        }
    }
}

/// What the store has under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// Nothing.
    Nothing,
    /// A copy of the upstream's.
    Copy,
    /// What was made or imported here.
    Own,
}
