//! The engine: starts the threads, wires them, and is the [`DataPlane`] to everybody else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use crossbeam_channel::bounded;
use gateway::desired::Desired;
use gateway::{ConnectionStart, Gateway, GatewayConfig, HandlerAnswer, Question, UnixTime};
use model::{ConnectionId, EndpointId, Failure};
use netio::Fabric;
use rustix::event::epoll::{self, CreateFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::control::{COMMANDS_MAX, Control, Wiring, WorkerLink};
use crate::events::EventQueue;
use crate::fabric;
use crate::handoff::{Bell, CONTROL_PACKETS_MAX, HANDOFF_MAX, Waker};
use crate::residents::Residents;
use crate::seats::Seats;
use crate::stats::{ControlStats, Snapshot, WorkerStats};
use crate::worker::{self, NOTES_MAX, Worker};
use crate::{Applied, DataPlane, EngineConfig, EngineError, LiveConnection, SessionEvent};

/// A running data plane. Dropping it stops and joins its threads; [`DataPlane::drain`] first is the polite way.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Those for connect handlers; whoever asks holds it.
    questions: tokio::sync::Mutex<mpsc::Receiver<Question>>,
}

/// What the control thread shares with callers.
#[derive(Debug)]
pub(crate) struct Shared {
    slot: Mutex<Slot>,
    bell: Bell,
    clock: Clock,
    stop: AtomicBool,
    pub(crate) events: EventQueue,
    pub(crate) live: Mutex<BTreeMap<ConnectionId, ConnectionStart>>,
    pub(crate) listeners: Mutex<BTreeMap<EndpointId, SocketAddr>>,
    pub(crate) control: ControlStats,
    /// A copy of the gateway's own counts, renewed by the control thread.
    pub(crate) gateway: Mutex<gateway::Stats>,
    workers: Vec<Arc<WorkerStats>>,
    seats: Arc<Seats>,
    pub(crate) residents: Arc<Residents>,
}

/// What callers want next.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The newest snapshot not yet taken up, and everybody who waits for it or for one it replaced.
    pub(crate) next: Option<(Arc<Desired>, Vec<oneshot::Sender<Applied>>)>,
    pub(crate) drains: Vec<oneshot::Sender<()>>,
    /// Of connect handlers; no more than there are questions open.
    pub(crate) answers: Vec<HandlerAnswer>,
    /// Nobody will look here any more.
    stopped: bool,
}

impl Shared {
    pub(crate) fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// Lets nobody wait for a control thread that is gone, whatever the reason.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut slot = self.0.slot();
        slot.stopped = true;
        slot.next = None;
        slot.drains.clear();
        drop(slot);
        self.0.events.close();
    }
}

impl Engine {
    /// Clears what an earlier life left behind the tunnels, then starts the threads. Blocks for the former.
    ///
    /// # Errors
    /// The fabric cannot be cleared, or the system gives no more threads or descriptors.
    pub fn start(config: EngineConfig, mut fabric: Box<dyn Fabric>) -> Result<Arc<Self>, EngineError> {
        fabric.sweep()?;
        let clock = Clock::start();
        let count = config.worker_count();
        let (bell, bell_receiver) = Bell::new();
        let stats: Vec<_> = (0..count).map(|_| Arc::new(WorkerStats::default())).collect();
        let shared = Arc::new(Shared {
            slot: Mutex::default(),
            bell: bell.clone(),
            clock,
            stop: AtomicBool::new(false),
            events: EventQueue::default(),
            live: Mutex::default(),
            listeners: Mutex::default(),
            control: ControlStats::default(),
            gateway: Mutex::default(),
            workers: stats.clone(),
            seats: Arc::new(Seats::new(config.streams, descriptors())),
            residents: Arc::default(),
        });
        // From here on an error drops the engine, which joins what was started.
        let (questions, question_receiver) = mpsc::channel(config.limits.max_questions.max(1));
        let engine = Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
            questions: tokio::sync::Mutex::new(question_receiver),
        };

        let (packets, packet_receiver) = bounded(CONTROL_PACKETS_MAX);
        let (notes, note_receiver) = bounded(NOTES_MAX);
        let inboxes: Vec<_> = (0..count).map(|_| bounded(HANDOFF_MAX)).collect();
        let wakers = (0..count).map(|_| Waker::new().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let others: Vec<_> = inboxes
            .iter()
            .zip(&wakers)
            .map(|((inbox, _), waker)| (inbox.clone(), Arc::clone(waker)))
            .collect();
        let gateway_config = GatewayConfig { seed: config.seed, workers: count, limits: config.limits };
        let mut gateway = Gateway::new(gateway_config, clock.now()).with_wrap(config.wrap, clock.now());
        let mut links = Vec::new();
        for (((number, stats), (_, inbox)), waker) in (0..count).zip(stats).zip(inboxes).zip(&wakers) {
            let (commands, command_receiver) = bounded(COMMANDS_MAX);
            let passed = Arc::new(AtomicU64::new(0));
            links.push(WorkerLink { commands, waker: Arc::clone(waker), passed: Arc::clone(&passed) });
            let wiring = worker::Wiring {
                number,
                clock,
                stats,
                epoll: epoll::create(CreateFlags::CLOEXEC).map_err(std::io::Error::from)?,
                waker: Arc::clone(waker),
                commands: command_receiver,
                passed,
                bell: bell.clone(),
                packets: packets.clone(),
                notes: notes.clone(),
                others: others.clone(),
                inbox,
                seats: Arc::clone(&shared.seats),
                residents: Arc::clone(&shared.residents),
                door: gateway.door(count, clock.now()),
            };
            let shared = Arc::clone(&shared);
            engine.spawn(format!("worker-{number}"), move || run_worker(&shared, number, wiring))?;
        }

        let (orders, order_receiver) = bounded(fabric::ORDERS_MAX);
        let (results, result_receiver) = bounded(1);
        let (forgotten, forgotten_receiver) = bounded(1);
        engine.spawn("fabric".to_owned(), move || {
            fabric::run(fabric, count, &order_receiver, &results, &forgotten, &bell)
        })?;

        let wiring = Wiring {
            shared: Arc::clone(&shared),
            clock,
            workers: links,
            bell: bell_receiver,
            packets: packet_receiver,
            notes: note_receiver,
            fabric: orders,
            fabric_results: result_receiver,
            forgotten: forgotten_receiver,
            questions,
            steering: config.steering,
        };
        engine.spawn("control".to_owned(), move || {
            let _ended = Ended(shared);
            Control::new(wiring, gateway).run();
        })?;
        Ok(Arc::new(engine))
    }

    /// The counters and listeners as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            events_lost: self.shared.events.lost(),
            listeners: self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            gateway: self.shared.gateway.lock().unwrap_or_else(PoisonError::into_inner).iter().collect(),
            streams_open: u64::try_from(self.shared.seats.open()).unwrap_or(u64::MAX),
            ..Snapshot::default()
        };
        snapshot.add_control(&self.shared.control);
        for worker in &self.shared.workers {
            snapshot.add_worker(worker);
        }
        snapshot
    }

    fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
        let thread = std::thread::Builder::new().name(name).spawn(body)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

/// A worker that fails takes its sessions with it, which is safe: they carry nothing, and their clients come back to
/// another. The rest goes on.
fn run_worker(shared: &Shared, number: u16, wiring: worker::Wiring) {
    match catch_unwind(AssertUnwindSafe(|| Worker::run(wiring))) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => tracing::error!(worker = number, %error, "a worker ended"),
        Err(_) => tracing::error!(worker = number, "a worker panicked"),
    }
    shared.control.worker_losses.add(1);
    // Its sessions would be a black hole, and new ones would be sent there: the process is to end and start anew.
    shared.events.close();
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.ring();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // The last one started is the control thread, whose end ends the others.
        for thread in threads.into_iter().rev() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl DataPlane for Engine {
    async fn apply(&self, desired: Arc<Desired>) -> Applied {
        let (sender, receiver) = oneshot::channel();
        {
            let mut slot = self.shared.slot();
            if !slot.stopped {
                let mut waiters = match slot.next.take() {
                    Some((_, waiters)) => waiters,
                    None => Vec::new(),
                };
                waiters.push(sender);
                slot.next = Some((Arc::clone(&desired), waiters));
            }
        }
        self.shared.bell.ring();
        match receiver.await {
            Ok(applied) => applied,
            // The engine has stopped: nothing new is in force.
            Err(_) => stopped(&desired, self.shared.control.applied_revision.get()),
        }
    }

    fn live(&self) -> Vec<LiveConnection> {
        let (now, wall) = (self.shared.clock.now(), self.shared.clock.wall());
        let live = self.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.values()
            .map(|start| {
                let traffic = start.counters.read();
                let silent = i64::try_from(now.since(traffic.last_seen).as_secs()).unwrap_or(0);
                // Not before it was established: until the first packet there is no last one.
                let seen_at = UnixTime(wall.0.saturating_sub(silent).max(start.established_at.0));
                LiveConnection { start: start.clone(), traffic, seen_at }
            })
            .collect()
    }

    async fn next_question(&self) -> Option<Question> {
        self.questions.lock().await.recv().await
    }

    fn answer(&self, answer: HandlerAnswer) {
        let mut slot = self.shared.slot();
        if !slot.stopped {
            slot.answers.push(answer);
        }
        drop(slot);
        self.shared.bell.ring();
    }

    async fn next_event(&self) -> Option<SessionEvent> {
        self.shared.events.next().await
    }

    fn take_events(&self) -> Vec<SessionEvent> {
        self.shared.events.take()
    }

    async fn drain(&self) {
        let (sender, receiver) = oneshot::channel();
        {
            let mut slot = self.shared.slot();
            if !slot.stopped {
                slot.drains.push(sender);
            }
        }
        self.shared.bell.ring();
        // An error: it has stopped, and so holds nothing any more.
        let _ = receiver.await;
    }
}

/// Raises this process's limit of open descriptors as far as it may, since each TCP connection takes one; what it is
/// then, if there is one.
fn descriptors() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let most = if raised { maximum } else { current };
    most.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// What a data plane that takes nothing up any more answers.
pub(crate) fn stopped(desired: &Desired, revision: u64) -> Applied {
    let failure = Failure { reason: "this gateway is shutting down".to_owned(), permanent: false };
    let associations = desired.endpoints.values().flat_map(|endpoint| endpoint.associations.keys());
    Applied { revision, failures: associations.map(|id| (id.clone(), failure.clone())).collect() }
}
