//! One client: begun, looked at, asked to probe, stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::expect::Expectation;
use crate::probe::Verdict;
use crate::pushed::Pushed;
use crate::setup::Setup;
use crate::tally::Tally;
use crate::task::Task;

/// Orders that wait for a client.
const MAX_ORDERS: usize = 64;
/// How much longer than its own time a verdict is waited for.
const SLACK: Duration = Duration::from_secs(30);

/// How long a goodbye may take.
const PARTING: Duration = Duration::from_secs(3);

/// Where a client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun, or pauses before it tries again.
    #[default]
    Waiting,
    /// On its way to a tunnel.
    Connecting,
    /// The tunnel is up.
    Up(Arc<Pushed>),
    /// It is over, and why.
    Ended(String),
}

/// What is known of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Where it is.
    pub phase: Phase,
    /// How often its tunnel came up.
    pub ups: u32,
    /// How long the last way to a tunnel took.
    pub took: Duration,
    /// How often the server said RESTART.
    pub restarts: u32,
    /// How often the terms of its tunnel changed without an interruption.
    pub updates: u32,
    /// How often a new key came into use.
    pub rekeys: u32,
    /// Why it last had no tunnel.
    pub trouble: Option<String>,
}

impl Status {
    /// The terms of its tunnel, if it is up.
    #[must_use]
    pub fn tunnel(&self) -> Option<&Arc<Pushed>> {
        match &self.phase {
            Phase::Up(pushed) => Some(pushed),
            _ => None,
        }
    }
}

/// What a client is asked to do.
pub(crate) enum Order {
    Probe(Arc<Expectation>, oneshot::Sender<Verdict>),
    Renegotiate,
    Stop,
}

/// A running client. Dropping it ends it without a word to the server; [`Client::stop`] is the polite way.
pub struct Client {
    number: usize,
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Status>,
}

impl Client {
    /// One client by itself, which begins to connect at once. To be called inside of a tokio runtime, whose threads'
    /// network namespace is the client's.
    #[must_use]
    pub fn connect(setup: Arc<Setup>) -> Self {
        Self::start(setup, 1, Duration::ZERO, Arc::default())
    }

    /// Begins to connect, after a pause. `number` is for people.
    pub(crate) fn start(setup: Arc<Setup>, number: usize, after: Duration, tally: Arc<Tally>) -> Self {
        let (orders, receiver) = mpsc::channel(MAX_ORDERS);
        let (sender, status) = watch::channel(Status::default());
        let task = Task::new(setup, number, receiver, sender, tally);
        // On the heap at once: a thousand of them live beside each other.
        tokio::spawn(Box::pin(task.run(after)));
        Self { number, orders, status }
    }

    /// Its number in the swarm, from 1.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// What is known of it now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until its tunnel is up; else why it is not.
    ///
    /// # Errors
    /// It has ended, or the time is over.
    pub async fn up(&self, within: Duration) -> Result<Arc<Pushed>, String> {
        let mut status = self.status.clone();
        let settled = |status: &Status| matches!(status.phase, Phase::Up(_) | Phase::Ended(_));
        let reached = tokio::time::timeout(within, status.wait_for(settled)).await;
        let last = self.status();
        match (reached, last.phase) {
            (Ok(Ok(_)), Phase::Up(pushed)) => Ok(pushed),
            (_, Phase::Ended(why)) => Err(format!("no tunnel: {why}")),
            (_, _) => match last.trouble {
                Some(why) => Err(format!("no tunnel within {} s: {why}", within.as_secs_f32())),
                None => Err(format!("no tunnel within {} s", within.as_secs_f32())),
            },
        }
    }

    /// Waits until its tunnel has been up once, it has ended, or the time is over.
    pub(crate) async fn settled(&self, within: Duration) {
        let mut status = self.status.clone();
        let settled = status.wait_for(|status| status.ups > 0 || matches!(status.phase, Phase::Ended(_)));
        let _ = tokio::time::timeout(within, settled).await;
    }

    /// Tries an expectation, once the tunnel is up.
    pub async fn probe(&self, expectation: Arc<Expectation>, up_within: Duration) -> Verdict {
        if let Err(why) = self.up(up_within).await {
            return Verdict::not_tried(&why);
        }
        let limit = expectation.within + SLACK;
        let (reply, verdict) = oneshot::channel();
        if self.orders.send(Order::Probe(expectation, reply)).await.is_err() {
            return Verdict::not_tried("the client has ended");
        }
        match tokio::time::timeout(limit, verdict).await {
            Ok(Ok(verdict)) => verdict,
            _ => Verdict::not_tried("the client has ended"),
        }
    }

    /// Begins a renegotiation.
    pub async fn renegotiate(&self) {
        // One that has ended has no keys.
        let _ = self.orders.send(Order::Renegotiate).await;
    }

    /// Says goodbye, and waits until it has ended.
    pub async fn stop(&self) {
        let _ = self.orders.send(Order::Stop).await;
        let mut status = self.status.clone();
        let ended = status.wait_for(|status| matches!(status.phase, Phase::Ended(_)));
        let _ = tokio::time::timeout(PARTING, ended).await;
    }
}
