//! Between store and engine: watches records, compiles the whole desired snapshot, hands it to the engine, and
//! writes back what came of it. The only crate that knows both; it holds neither protocol nor policy.
//!
//! [`Agent`] is a gateway's half, [`Controller`] the control plane's: they meet in the store only, so that each can
//! run anywhere.

mod compile;
mod connection_logs;
mod controller;
mod publish;
mod reader;
mod revocation;

use std::sync::Arc;
use std::time::Duration;

use controllers::World;
use engine::DataPlane;
use model::{Failure, GatewayStatus, Key};
use store::{MasterKey, Store};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

pub use connection_logs::{ConnectionLogWriter, ConnectionLogs, Lines, UPDATE_INTERVAL, connection_logs};
pub use controller::Controller;
pub use publish::live_connections;

use crate::compile::{Changed, Compiler};
use crate::publish::Publisher;
use crate::reader::Reader;

/// How often a failing apply is tried again, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often everything is read anew and applied, whatever the watch says.
const FULL_PASS: Duration = Duration::from_secs(60);

/// What goes wrong between store and engine.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The store did not answer.
    #[error("the store did not answer")]
    Store(#[from] store::StoreError),
    /// Connection rows kept changing under every try.
    #[error("connection rows changed under every try to write them")]
    Contended,
    /// The data plane has stopped by itself.
    #[error("the data plane has stopped: a thread or the fabric's helper has ended")]
    Stopped,
}

/// Waits for the order to stop; one who can no longer give it has given it.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Why following the store ended without an error.
enum End {
    Relist,
    Stopping,
}

/// A gateway's half: store watch → desired → engine → applied revision and connection rows.
pub struct Agent {
    store: Arc<dyn Store>,
    plane: Arc<dyn DataPlane>,
    compiler: Compiler,
    publisher: Publisher,
    node: String,
    update_interval: Duration,
    ready: watch::Sender<bool>,
}

impl Agent {
    /// An agent for the gateway `node`. `ready` turns true once the stored state is in force.
    pub fn new(
        store: Arc<dyn Store>,
        plane: Arc<dyn DataPlane>,
        master_key: Arc<MasterKey>,
        node: &str,
        ready: watch::Sender<bool>,
    ) -> Self {
        let publisher = Publisher::new(store.clone(), Key::gateway(node).into());
        Self {
            store,
            plane,
            compiler: Compiler::new(master_key),
            publisher,
            node: node.to_owned(),
            update_interval: UPDATE_INTERVAL,
            ready,
        }
    }

    /// Tells connection logs what happens, and every `interval` of those who are connected.
    #[must_use]
    pub fn with_connection_logs(mut self, logs: ConnectionLogs, interval: Duration) -> Self {
        self.publisher.logs = Some(logs);
        self.update_interval = interval;
        self
    }

    /// Lets an hour of a session timeout last this long instead: for trying out what happens when it is over.
    #[must_use]
    pub fn with_session_hour(mut self, session_hour: Duration) -> Self {
        self.compiler.session_hour = session_hour;
        self
    }

    /// Runs until `stopping` turns true (it then sends every client away and writes their ends), or until the data
    /// plane stops by itself, which is an error. A store that fails is read anew; sessions go on meanwhile (I-3).
    ///
    /// # Errors
    /// [`AgentError::Stopped`].
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) -> Result<(), AgentError> {
        let mut pause = RETRY_MIN;
        // Beside every pass over the store: passes are more frequent than updates.
        let first = tokio::time::Instant::now() + self.update_interval;
        let mut update = tokio::time::interval_at(first, self.update_interval);
        update.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let failed = match self.follow(&mut stopping, &mut update).await {
                Ok(End::Stopping) => return Ok(()),
                Ok(End::Relist) => {
                    pause = RETRY_MIN;
                    continue;
                }
                Err(AgentError::Stopped) => return Err(AgentError::Stopped),
                Err(error) => error,
            };
            self.ready.send_replace(false);
            tracing::warn!(
                node = self.node,
                error = &failed as &dyn std::error::Error,
                pause_ms = pause.as_millis(),
                "reading the store anew"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Lists everything, then follows the watch until it breaks or a full pass is due.
    async fn follow(
        &mut self,
        stopping: &mut watch::Receiver<bool>,
        update: &mut Interval,
    ) -> Result<End, AgentError> {
        let (mut world, mut reader) = Reader::start(self.store.clone()).await?;
        while self.publisher.close_interrupted(&world, &*self.plane).await? {
            (world, reader) = Reader::start(self.store.clone()).await?;
        }
        let full_pass = tokio::time::Instant::now() + FULL_PASS;
        let mut retry = RETRY_MIN;
        let mut status = GatewayStatus::default();
        let mut changes = Changed::All;
        loop {
            let failing = self.apply(&world, &changes, &mut status).await?;
            changes = Changed::nothing();
            self.ready.send_replace(true);
            let again = tokio::time::Instant::now() + retry;
            retry = if failing { (retry * 2).min(RETRY_MAX) } else { RETRY_MIN };
            loop {
                tokio::select! {
                    touched = reader.next(&mut world) => {
                        let touched = touched?;
                        if touched.concerns_gateway {
                            changes.add(&touched);
                            break;
                        }
                    }
                    event = self.plane.next_event() => {
                        let mut events = vec![event.ok_or(AgentError::Stopped)?];
                        events.extend(self.plane.take_events());
                        self.publisher.events(events, &world).await?;
                    }
                    _ = update.tick() => self.publisher.update_logs(&*self.plane, &world),
                    () = tokio::time::sleep_until(again), if failing => break,
                    () = tokio::time::sleep_until(full_pass) => return Ok(End::Relist),
                    () = stopped(stopping) => {
                        self.plane.drain().await;
                        self.publisher.events(self.plane.take_events(), &world).await?;
                        return Ok(End::Stopping);
                    }
                }
            }
        }
    }

    /// One pass of desired → engine → store; says whether something failed and is to be tried again.
    async fn apply(
        &mut self,
        world: &World,
        changes: &Changed,
        status: &mut GatewayStatus,
    ) -> Result<bool, AgentError> {
        let compiled = self.compiler.compile(world, changes);
        let applied = self.plane.apply(Arc::new(compiled.desired)).await;
        let mut failures: std::collections::BTreeMap<_, Failure> = applied.failures;
        failures.extend(compiled.failures);
        let failing = failures.values().any(|failure| !failure.permanent);
        // Rows of ended sessions first: who sees the final status also sees them terminated.
        self.publisher.events(self.plane.take_events(), world).await?;
        let next = GatewayStatus { applied_revision: applied.revision, failures };
        if next != *status {
            self.publisher.status(&next).await?;
            *status = next;
        }
        Ok(failing)
    }
}
