//! Runs the control plane's decisions against the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use controllers::{Changes, EndpointWorld, Observed, World, Write, decide, expired};
use model::{EndpointId, Scope, Timestamp};
use store::{Check, Op, Outcome, Store, StoreError, Transaction};
use tokio::task::{JoinError, JoinSet};

use crate::AgentError;
use crate::reader::Reader;

/// How often expired records are swept.
const SWEEP: Duration = Duration::from_secs(30);
/// Pause before a failed store is read again, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Most commits under way at a time.
const COMMITS_MAX: usize = 64;

/// Whose endpoint.
type Owner = (Scope, EndpointId);

/// The control plane's half: store watch → decisions → store.
pub struct Controller {
    store: Arc<dyn Store>,
}

impl Controller {
    /// A controller over a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut pause = RETRY_MIN;
        loop {
            let started = tokio::time::Instant::now();
            let Err(error) = self.follow().await else { continue };
            // A run that lasted was no part of a row of failures.
            pause = if started.elapsed() > RETRY_MAX { RETRY_MIN } else { (pause * 2).min(RETRY_MAX) };
            tracing::warn!(error = &error as &dyn std::error::Error, "controllers read the store anew");
            tokio::time::sleep(pause).await;
        }
    }

    async fn follow(&self) -> Result<(), AgentError> {
        let (mut world, mut reader) = Reader::start(self.store.clone()).await?;
        let mut sweep = tokio::time::interval(SWEEP);
        let mut due: BTreeSet<Owner> = world.endpoints.keys().cloned().collect();
        let mut waiting: BTreeSet<Owner> = BTreeSet::new();
        loop {
            let observed = Observed::of(world.gateways.values().map(|record| &record.value));
            for owner in &due {
                if world.endpoints.get(owner).is_some_and(EndpointWorld::waits) {
                    waiting.insert(owner.clone());
                } else {
                    waiting.remove(owner);
                }
            }
            self.decide(&world, &observed, &due).await?;
            tokio::select! {
                touched = reader.next(&mut world) => {
                    let touched = touched?;
                    due = touched.endpoints;
                    if touched.gateways {
                        due.extend(waiting.iter().cloned());
                    }
                }
                _ = sweep.tick() => {
                    for changes in expired(&world, now()) {
                        commit(&*self.store, changes).await?;
                    }
                    due = world.endpoints.keys().cloned().collect();
                }
            }
        }
    }

    async fn decide(
        &self,
        world: &World,
        observed: &Observed,
        due: &BTreeSet<Owner>,
    ) -> Result<(), AgentError> {
        let mut commits = JoinSet::new();
        for owner in due {
            let Some(endpoint) = world.endpoints.get(owner) else { continue };
            let changes = decide(endpoint, observed);
            if changes.is_empty() {
                continue;
            }
            if commits.len() >= COMMITS_MAX {
                done(commits.join_next().await)?;
            }
            // Endpoints have nothing to do with each other, and what comes together shares the disk's syncs.
            let store = self.store.clone();
            commits.spawn(async move { commit(&*store, changes).await });
        }
        while !commits.is_empty() {
            done(commits.join_next().await)?;
        }
        Ok(())
    }
}

/// What came of a commit. A conflict means a newer record is on its way through the watch, and with it the next decision.
fn done(commit: Option<Result<Result<Option<u64>, AgentError>, JoinError>>) -> Result<(), AgentError> {
    match commit {
        Some(Ok(outcome)) => outcome.map(drop),
        Some(Err(_)) => Err(StoreError::Failed("a commit was cut off".to_owned()).into()),
        None => Ok(()),
    }
}

/// Commits changes; a conflict is no error.
pub(crate) async fn commit(store: &dyn Store, changes: Changes) -> Result<Option<u64>, AgentError> {
    if changes.is_empty() {
        return Ok(None);
    }
    let checks = changes.expect.into_iter().map(|(key, revision)| Check::Modified(key, revision)).collect();
    let puts = changes.put.into_iter().map(|(key, write)| Op::Put(key, encode(&write)));
    let deletes = changes.delete.into_iter().map(Op::Delete);
    let transaction = Transaction { checks, ops: puts.chain(deletes).collect(), soft: false };
    match store.transact(transaction).await? {
        Outcome::Committed(revision) => Ok(Some(revision)),
        Outcome::Conflict => Ok(None),
    }
}

fn encode(write: &Write) -> Vec<u8> {
    use store::typed::encode as json;
    match write {
        Write::Endpoint(record) => json(record),
        Write::Association(record) => json(record),
        Write::Route(record) => json(record),
        Write::Rule(record) => json(record),
        Write::RevocationList(record) => json(record),
        Write::AuthorizationPolicy(record) => json(record),
        Write::Connection(record) => json(record),
    }
}

/// The time of day.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
