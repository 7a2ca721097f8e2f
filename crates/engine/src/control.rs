//! The control thread: owns the pure gateway, feeds it packets, notices, time and desired snapshots, and does what it
//! asks for.

mod apply;
mod departures;
mod links;

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender};
use gateway::cedar::Decision;
use gateway::{
    ConnectionEnd, ConnectionStart, Desired, Effect, EvaluationType, Gateway, HandlerAnswer, HandlerFailure,
    PolicyEvaluation, Question, Transmit,
};
use model::{AssociationId, ConnectionId, EndpointId};
use netio::Departed;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::SessionEvent;
use crate::clock::Clock;
use crate::control::apply::{Built, Job, Place};
use crate::control::departures::Departures;
pub(crate) use crate::control::links::{COMMANDS_MAX, WorkerLink};
use crate::engine::Shared;
use crate::fabric::{Order, Results, Unforgotten};
use crate::handoff::Upward;
use crate::table::AddressTable;
use crate::worker::{Command, NOTES_MAX, Note};

/// Control packets taken in between two looks at timers and snapshots, at most.
const TURN_MAX: usize = 256;
/// Time given to them: some carry a TLS handshake's worth of work, and a snapshot must not wait behind them.
const TURN: Duration = Duration::from_millis(5);
/// Longest sleep of the control thread.
const IDLE: Duration = Duration::from_secs(1);

/// What the control thread is wired to.
pub(crate) struct Wiring {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) workers: Vec<WorkerLink>,
    pub(crate) bell: Receiver<()>,
    pub(crate) packets: Receiver<Upward>,
    pub(crate) notes: Receiver<Note>,
    pub(crate) fabric: Sender<Order>,
    pub(crate) fabric_results: Receiver<Results>,
    pub(crate) forgotten: Receiver<Unforgotten>,
    pub(crate) questions: mpsc::Sender<Question>,
    pub(crate) steering: bool,
}

/// One endpoint as this thread knows it.
struct Served {
    /// Of its own place and of the second one: they are told apart by the IP version of whoever comes.
    slots: [u32; 2],
    table: Arc<AddressTable>,
    listener: Option<Listener>,
    /// Whether the workers were told that it answers.
    answers: bool,
}

impl Served {
    /// Which of its places a client comes to.
    fn place_of(&self, peer: SocketAddr) -> usize {
        let second = self.listener.as_ref().and_then(|listener| listener.wanted.second);
        usize::from(second.is_some_and(|second| second.is_ipv6() == peer.is_ipv6()))
    }

    fn slot_of(&self, peer: SocketAddr) -> u32 {
        let [own, second] = self.slots;
        if self.place_of(peer) == 0 { own } else { second }
    }
}

/// The control thread's share of an endpoint's sockets.
struct Listener {
    /// As wanted; what was bound may differ in the port (tests bind port 0).
    wanted: Place,
    /// One for each place; none over TCP: the workers own the connections.
    sockets: Vec<UdpSocket>,
}

pub(crate) struct Control {
    wiring: Wiring,
    gateway: Gateway,
    endpoints: BTreeMap<EndpointId, Served>,
    /// Slot → endpoint, for what comes up from workers. Slots are not used again.
    slots: BTreeMap<u32, EndpointId>,
    next_slot: u32,
    built: BTreeMap<AssociationId, Built>,
    /// The newest barrier sent to the workers.
    generation: u64,
    /// Ended sessions whose counters a worker may still be writing, until it passed this barrier.
    ending: VecDeque<(u64, ConnectionEnd)>,
    departures: Departures,
    job: Option<Job>,
    /// The snapshot that waits for the job under way, once the gateway has heard of it.
    heard: Option<Arc<Desired>>,
    draining: bool,
    out: Vec<u8>,
}

impl Control {
    pub(crate) fn new(wiring: Wiring, gateway: Gateway) -> Self {
        Self {
            wiring,
            gateway,
            endpoints: BTreeMap::new(),
            slots: BTreeMap::new(),
            next_slot: 0,
            built: BTreeMap::new(),
            generation: 0,
            ending: VecDeque::new(),
            departures: Departures::default(),
            job: None,
            heard: None,
            draining: false,
            out: Vec::new(),
        }
    }

    /// Body of the thread.
    pub(crate) fn run(mut self) {
        while !self.wiring.shared.stopping() {
            self.wait();
            // Acknowledgements are read before the notices: a worker sends its notices first and acknowledges then,
            // so whatever preceded an acknowledgement has been taken in when it is acted on.
            let acknowledged = self.acknowledged();
            self.take_notes();
            self.take_answers();
            self.take_packets();
            let now = self.wiring.clock.now();
            if self.gateway.poll_timeout().is_some_and(|at| at <= now) {
                self.gateway.handle_timeout(now, self.wiring.clock.wall());
            }
            self.pump();
            self.release_ended(acknowledged);
            self.tell_departed(acknowledged);
            self.advance(acknowledged);
            self.pump();
            self.publish_stats();
        }
        for worker in &self.wiring.workers {
            worker.send(Command::Stop);
        }
    }

    /// Renews the copy that callers read; while one of them reads, at the next turn.
    fn publish_stats(&self) {
        if let Ok(mut stats) = self.wiring.shared.gateway.try_lock() {
            *stats = *self.gateway.stats();
        }
    }

    /// Until there may be something to do.
    fn wait(&self) {
        let now = self.wiring.clock.now();
        let deadline = [self.gateway.poll_timeout(), self.job_deadline()].into_iter().flatten().min();
        let patience = deadline.map_or(IDLE, |at| at.since(now)).min(IDLE);
        let mut select = Select::new();
        select.recv(&self.wiring.bell);
        select.recv(&self.wiring.packets);
        select.recv(&self.wiring.notes);
        // Only a hint: everything is looked at afterwards anyway.
        let _ = select.ready_timeout(patience);
        let _ = self.wiring.bell.try_recv();
    }

    fn take_notes(&mut self) {
        for _ in 0..NOTES_MAX {
            let Ok(note) = self.wiring.notes.try_recv() else { return };
            let Some(endpoint) = self.slots.get(&note.endpoint) else { continue };
            self.gateway.handle_notice(endpoint, note.peer_id, note.notice, self.wiring.clock.now());
        }
    }

    fn take_answers(&mut self) {
        let answers = std::mem::take(&mut self.wiring.shared.slot().answers);
        for answer in answers {
            self.gateway.handle_answer(answer, self.wiring.clock.now(), self.wiring.clock.wall());
        }
    }

    fn take_packets(&mut self) {
        let until = self.wiring.clock.now() + TURN;
        for _ in 0..TURN_MAX {
            if self.wiring.clock.now() >= until {
                return;
            }
            let Ok(upward) = self.wiring.packets.try_recv() else { return };
            let (now, wall) = (self.wiring.clock.now(), self.wiring.clock.wall());
            match upward {
                Upward::Packet(mut packet) => {
                    let Some(endpoint) = self.slots.get(&packet.endpoint) else { continue };
                    let (from, bytes) = (packet.from, packet.buffer.bytes());
                    match packet.stream {
                        Some(stream) => self.gateway.handle_stream(endpoint, stream, from, bytes, now, wall),
                        None => self.gateway.handle_control(endpoint, from, bytes, now, wall),
                    }
                }
                Upward::Closed(stream) => self.gateway.handle_stream_closed(stream, now),
            }
            // Answers go out at once; a burst of packets must not delay the first one's.
            self.pump();
        }
    }

    /// Does what the gateway asks for. Effects first: a client that is told it is connected may send at once.
    fn pump(&mut self) {
        self.perform_all();
        let mut out = std::mem::take(&mut self.out);
        while let Some(transmit) = self.gateway.poll_transmit(self.wiring.clock.now(), &mut out) {
            self.transmit(&transmit, &out);
        }
        self.out = out;
        // What has said its last word may go.
        self.perform_all();
    }

    fn perform_all(&mut self) {
        let (ended, left) = (self.ending.len(), self.departures.waiting.len());
        while let Some(effect) = self.gateway.poll_effect() {
            self.perform(effect);
        }
        if self.ending.len() > ended || self.departures.waiting.len() > left {
            let generation = self.barrier();
            let ended = self.ending.iter_mut().skip(ended).map(|(at, _)| at);
            let left = self.departures.waiting.iter_mut().skip(left).map(|(at, ..)| at);
            ended.chain(left).for_each(|at| *at = generation);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Install { worker, endpoint, association, peer_id, addresses, shared, stream, path } => {
                let (Some(served), Some(built)) =
                    (self.endpoints.get(&endpoint), self.built.get(&association))
                else {
                    tracing::error!(%endpoint, %association, "a session was admitted where nothing is up");
                    return;
                };
                if stream.is_none() {
                    let counters = Arc::clone(path.counters());
                    let slot = served.slot_of(path.peer());
                    self.wiring.shared.residents.arrive(peer_id, slot, path.peer(), counters);
                }
                let command = Command::Install {
                    endpoint: served.slot_of(path.peer()),
                    table: Arc::clone(&served.table),
                    association: built.index,
                    peer_id,
                    addresses,
                    shared,
                    stream: stream.map(|stream| stream.number),
                    path,
                };
                self.tell(worker, command);
            }
            Effect::Inherit { worker, peer_id, .. } => self.tell(worker, Command::Inherit { peer_id }),
            Effect::Update { worker, peer_id, update, .. } => {
                self.tell(worker, Command::Update { peer_id, update })
            }
            Effect::Remove { worker, peer_id, .. } => {
                self.wiring.shared.residents.leave(peer_id);
                self.tell(worker, Command::Remove { peer_id });
            }
            Effect::Vacated { worker, association, addresses } => {
                let departed = Departed { queue: worker, addresses };
                self.departures.waiting.push_back((u64::MAX, association, departed));
            }
            Effect::CloseStream { stream } => {
                self.tell(stream.worker, Command::CloseStream { number: stream.number })
            }
            Effect::Ask(question) => self.ask(*question),
            Effect::Connected(start) => {
                let shared = &self.wiring.shared;
                let mut live = shared.live.lock().unwrap_or_else(PoisonError::into_inner);
                live.insert(start.id.clone(), start.clone());
                shared.control.connections.set(u64::try_from(live.len()).unwrap_or(u64::MAX));
                drop(live);
                shared.events.push(SessionEvent::Connected(start));
            }
            Effect::Refused(attempt) => self.wiring.shared.events.push(SessionEvent::Refused(attempt)),
            Effect::Known { client } => self.tell_all(|| Command::Know { client }),
            Effect::Forgotten { client } => self.tell_all(|| Command::Forget { client }),
            Effect::Floated { connection, peer_id, peer } => {
                self.wiring.shared.residents.move_to(peer_id, peer);
                tracing::debug!(%connection, %peer, "the client moved");
                self.with_live(&connection, |start| start.peer = peer);
            }
            Effect::Ended(end) => self.ending.push_back((u64::MAX, end)),
            Effect::PolicyEvaluated(evaluation) => self.evaluated(evaluation),
            Effect::PolicyLifted { connection } => {
                self.with_live(&connection, |start| start.evaluation = None)
            }
        }
    }

    /// An evaluation of a client that wants in goes with what comes of it; the newest one of a client that is in
    /// stands with it.
    fn evaluated(&self, evaluation: Arc<PolicyEvaluation>) {
        tell_evaluation(&evaluation);
        if evaluation.evaluation_type == EvaluationType::Periodic {
            self.with_live(&evaluation.connection, |start| start.evaluation = Some(Arc::clone(&evaluation)));
            self.wiring.shared.events.push(SessionEvent::Evaluated(evaluation));
        }
    }

    fn with_live(&self, connection: &ConnectionId, change: impl FnOnce(&mut ConnectionStart)) {
        let mut live = self.wiring.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(start) = live.get_mut(connection) {
            change(start);
        }
    }

    /// Hands a question on; where nobody takes them any more it is answered at once.
    fn ask(&mut self, question: Question) {
        if let Err(TrySendError::Full(question) | TrySendError::Closed(question)) =
            self.wiring.questions.try_send(question)
        {
            let said = Err(HandlerFailure::Throttled);
            let answer = HandlerAnswer { connection: question.connection, said };
            self.gateway.handle_answer(answer, self.wiring.clock.now(), self.wiring.clock.wall());
        }
    }

    /// Publishes ended sessions whose worker has let go of them.
    fn release_ended(&mut self, acknowledged: u64) {
        while self.ending.front().is_some_and(|(generation, _)| *generation <= acknowledged) {
            let Some((_, end)) = self.ending.pop_front() else { return };
            let shared = &self.wiring.shared;
            let mut live = shared.live.lock().unwrap_or_else(PoisonError::into_inner);
            live.remove(&end.id);
            shared.control.connections.set(u64::try_from(live.len()).unwrap_or(u64::MAX));
            drop(live);
            shared.events.push(SessionEvent::Ended(end));
        }
    }

    fn transmit(&self, transmit: &Transmit, datagram: &[u8]) {
        let stats = &self.wiring.shared.control;
        if let Some(stream) = transmit.stream {
            let command = Command::SendControl { number: stream.number, packet: datagram.to_vec() };
            self.tell(stream.worker, command);
            stats.transmits.add(1);
            return;
        }
        let socket = self
            .endpoints
            .get(&transmit.endpoint)
            .and_then(|served| served.listener.as_ref()?.sockets.get(served.place_of(transmit.peer)));
        let Some(socket) = socket else {
            stats.transmit_drops.add(1);
            return;
        };
        match socket.send_to(datagram, transmit.peer) {
            Ok(_) => stats.transmits.add(1),
            // Retransmission is the protocol's business.
            Err(_) => stats.transmit_drops.add(1),
        }
    }

    fn tell(&self, worker: u16, command: Command) {
        if let Some(link) = self.wiring.workers.get(usize::from(worker)) {
            link.send(command);
        }
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for worker in &self.wiring.workers {
            worker.send(command());
        }
    }

    /// Tells the workers which endpoints answer now. To be called whenever a gate may have opened or shut.
    fn tell_gates(&mut self) {
        for (id, served) in &mut self.endpoints {
            let open = self.gateway.answers(id);
            if std::mem::replace(&mut served.answers, open) != open {
                for (worker, endpoint) in each(&self.wiring.workers, served.slots) {
                    worker.send(Command::Gate { endpoint, open });
                }
            }
        }
    }

    /// Has every worker acknowledge, at the top of its loop, that all it was told so far is done.
    fn barrier(&mut self) -> u64 {
        self.generation += 1;
        for worker in &self.wiring.workers {
            worker.send(Command::Barrier { generation: self.generation });
        }
        self.generation
    }

    /// The newest barrier that every worker has passed. A worker that is gone holds nothing any more.
    fn acknowledged(&self) -> u64 {
        self.wiring.workers.iter().map(WorkerLink::acknowledged).min().unwrap_or(u64::MAX)
    }
}

/// Every worker with each of these.
fn each(workers: &[WorkerLink], slots: [u32; 2]) -> impl Iterator<Item = (&WorkerLink, u32)> {
    slots.into_iter().flat_map(move |slot| workers.iter().map(move |worker| (worker, slot)))
}

/// An authorization policy was evaluated: the log has what it did not permit.
fn tell_evaluation(evaluation: &PolicyEvaluation) {
    let PolicyEvaluation { endpoint, connection, common_name, peer, shadow, verdict, .. } = evaluation;
    let (result, evaluation_type) = (verdict.decision.as_str(), evaluation.evaluation_type.as_str());
    let (matched, failed) = (&verdict.matched, &verdict.failed);
    if verdict.decision == Decision::Permit {
        tracing::debug!(%endpoint, %connection, result, evaluation_type, shadow, "authorization policy");
    } else {
        tracing::info!(
            %endpoint, %connection, common_name, %peer, result, evaluation_type, shadow, ?matched, ?failed,
            "authorization policy"
        );
    }
}
