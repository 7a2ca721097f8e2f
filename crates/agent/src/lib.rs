//! Between store and engine: watches records, compiles the whole desired snapshot, hands it to the engine, and
//! writes back what came of it. The only crate that knows both; it holds neither protocol nor policy.
//!
//! [`Agent`] is a gateway's half, [`Controller`] the control plane's: they meet in the store only, so that each can
//! run anywhere.

mod compile;
mod connection_logs;
mod controller;
mod expiry;
mod former;
mod publish;
mod reader;
mod report;
mod revocation;
mod shortage;

use std::sync::Arc;
use std::time::Duration;

use controllers::World;
use engine::DataPlane;
use model::{Failure, Uplinks};
use store::{MasterKey, Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};

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

/// Everything read anew beside the work: changes do not wait for it, however much is stored.
#[derive(Default)]
struct Renewal(Option<JoinHandle<Result<(World, Reader), AgentError>>>);

impl Renewal {
    fn start(&mut self, store: Arc<dyn Store>) {
        self.0 = Some(tokio::spawn(Reader::start(store)));
    }

    fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// What was read. Never, while nothing is under way. Cancel safe.
    async fn done(&mut self) -> Result<(World, Reader), AgentError> {
        let Some(reading) = &mut self.0 else { return std::future::pending().await };
        let read = reading.await;
        self.0 = None;
        read.map_err(|_| StoreError::Failed("reading everything was cut off".to_owned()))?
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(reading) = &self.0 {
            reading.abort();
        }
    }
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
        let publisher = Publisher::new(store.clone(), node);
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

    /// Takes packets of these subnets out by networks of the host that the operator has named.
    #[must_use]
    pub fn with_uplinks(mut self, uplinks: Arc<Uplinks>) -> Self {
        self.compiler.uplinks = uplinks;
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
            let started = Instant::now();
            let failed = match self.follow(&mut stopping, &mut update).await {
                Ok(()) => return Ok(()),
                Err(AgentError::Stopped) => return Err(AgentError::Stopped),
                Err(error) => error,
            };
            if started.elapsed() > FULL_PASS {
                // A run that lasted was no part of a row of failures.
                pause = RETRY_MIN;
            }
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

    /// Lists everything, then follows the watch until it breaks or the order to stop comes.
    async fn follow(
        &mut self,
        stopping: &mut watch::Receiver<bool>,
        update: &mut Interval,
    ) -> Result<(), AgentError> {
        let (mut world, mut reader) = Reader::start(self.store.clone()).await?;
        // Before their rows are closed; later lists name those of this life as well.
        self.compiler.former.get_or_insert_with(|| former::holders(&world, controller::now()));
        self.publisher.report.begin(&world);
        while self.publisher.close_interrupted(&world, &*self.plane).await? {
            (world, reader) = Reader::start(self.store.clone()).await?;
        }
        let (mut full_pass, mut renewal) = (Instant::now() + FULL_PASS, Renewal::default());
        let mut retry = RETRY_MIN;
        let mut changes = Changed::All;
        loop {
            let failing = self.apply(&world, &changes).await?;
            changes = Changed::nothing();
            self.ready.send_replace(true);
            let again = Instant::now() + retry;
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
                    () = tokio::time::sleep_until(full_pass), if !renewal.is_under_way() => {
                        renewal.start(self.store.clone());
                    }
                    renewed = renewal.done() => {
                        let (mut anew, mut from_now) = renewed?;
                        // What is in force must not go back.
                        from_now.catch_up(&mut anew, world.revision).await?;
                        reader = from_now;
                        let old = std::mem::replace(&mut world, anew);
                        tokio::task::spawn_blocking(move || drop(old));
                        self.publisher.close_interrupted(&world, &*self.plane).await?;
                        full_pass = Instant::now() + FULL_PASS;
                        changes = Changed::All;
                        break;
                    }
                    () = stopped(stopping) => {
                        self.plane.drain().await;
                        self.publisher.events(self.plane.take_events(), &world).await?;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One pass of desired → engine → store; says whether something failed and is to be tried again.
    async fn apply(&mut self, world: &World, changes: &Changed) -> Result<bool, AgentError> {
        let compiled = self.compiler.compile(world, changes);
        let applied = self.plane.apply(Arc::new(compiled.desired)).await;
        let mut failures: std::collections::BTreeMap<_, Failure> = applied.failures;
        failures.extend(compiled.failures);
        let failing = failures.values().any(|failure| !failure.permanent);
        // Rows of ended sessions first: who sees the final status also sees them terminated.
        self.publisher.events(self.plane.take_events(), world).await?;
        self.publisher.report.write(world, applied.revision, failures).await?;
        Ok(failing)
    }
}
