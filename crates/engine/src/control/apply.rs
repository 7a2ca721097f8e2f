//! Putting a snapshot in force, in stages, none of which blocks: control packets flow all the while.
//!
//! Gates close and sessions are swept → every worker has let go → farewells get a moment → sockets and TUN queues of
//! what is gone close → the fabric follows → gates open → done. Draining is the same road towards nothing.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use gateway::Instant;
use gateway::desired::Desired;
use model::{AssociationId, ClientNets, EndpointId, Failure, Transport};
use netio::{FabricAssociation, FabricError};
use tokio::sync::oneshot;

pub(super) use plan::Place;
use plan::{Plan, listen_address, same_but_outlet};

use super::{Control, Listener, Served, each};
use crate::Applied;
use crate::engine::stopped;
use crate::fabric::{Added, Batch, Order, Results};
use crate::table::AddressTable;
use crate::worker::Command;

/// How long sockets stay open for clients to acknowledge their farewell, when the whole gateway goes.
const DRAIN_LINGER: Duration = Duration::from_secs(1);

/// An association's kernel side.
pub(super) struct Built {
    pub(super) index: u16,
    /// As it stands there; `None`: it shall be gone, but could not be removed whole.
    spec: Option<FabricAssociation>,
}

/// A snapshot on its way into force.
pub(super) struct Job {
    goal: Goal,
    stage: Stage,
    plan: Plan,
    failures: BTreeMap<AssociationId, Failure>,
}

enum Goal {
    Apply { desired: Arc<Desired>, waiters: Vec<oneshot::Sender<Applied>> },
    Drain { waiters: Vec<oneshot::Sender<()>> },
}

/// What the job waits for.
#[derive(Clone, Copy)]
enum Stage {
    /// Every worker to have let go of what was swept.
    Swept { barrier: u64 },
    /// Farewells to be acknowledged, no longer than this.
    Farewells { until: Instant },
    /// Every worker to have closed what it must.
    Closed { barrier: u64 },
    /// The fabric thread.
    Fabric,
    /// The last `Ended` events.
    Settled { barrier: u64 },
}

impl Control {
    /// When the current job wants to be looked at again, if nothing else happens.
    pub(super) fn job_deadline(&self) -> Option<Instant> {
        match self.job.as_ref()?.stage {
            Stage::Farewells { until } => Some(until),
            _ => None,
        }
    }

    /// Moves the current job on as far as it goes, and takes up the next.
    pub(super) fn advance(&mut self, acknowledged: u64) {
        self.hear_drain();
        self.hear_newer();
        loop {
            let Some(mut job) = self.job.take() else {
                if !self.take_up() {
                    return;
                }
                continue;
            };
            match self.next_stage(&mut job, acknowledged) {
                Next::Wait => {
                    self.job = Some(job);
                    return;
                }
                Next::Stage(stage) => {
                    job.stage = stage;
                    self.job = Some(job);
                }
                Next::Done => self.complete(job),
            }
        }
    }

    /// Whether an association has a fabric side that the job under way does not remove.
    pub(super) fn stands(&self, id: &AssociationId) -> bool {
        let leaves = self.job.as_ref().is_some_and(|job| job.plan.leaving.contains(id));
        self.built.contains_key(id) && !leaves
    }

    /// A drain is obeyed at once as far as admission and farewells go, whatever job is under way.
    fn hear_drain(&mut self) {
        if !self.draining && !self.wiring.shared.slot().drains.is_empty() {
            self.draining = true;
            self.gateway.drain(self.wiring.clock.now());
            self.tell_gates();
            self.pump();
        }
    }

    /// What a newer snapshot forbids ends at once, however long the job under way takes: its gates close and its
    /// sessions are swept now, the rest follows when its turn comes.
    fn hear_newer(&mut self) {
        if self.job.is_none() || self.draining {
            return;
        }
        let newer = self.wiring.shared.slot().next.as_ref().map(|(desired, _)| Arc::clone(desired));
        let Some(newer) = newer else { return };
        if self.heard.as_ref().is_some_and(|heard| Arc::ptr_eq(heard, &newer)) {
            return;
        }
        self.gateway.apply(Arc::clone(&newer), self.wiring.clock.now(), self.wiring.clock.wall());
        self.heard = Some(newer);
        self.tell_gates();
        self.pump();
    }

    /// Whether a newer snapshot has this endpoint listen elsewhere: nobody is admitted where it is about to leave.
    fn about_to_move(&self, endpoint: &EndpointId, place: Place) -> bool {
        let newer = self.heard.as_ref().and_then(|newer| newer.endpoints.get(endpoint));
        newer.is_some_and(|wanted| listen_address(wanted) != Ok(place))
    }

    /// Starts the next job, if there is one.
    fn take_up(&mut self) -> bool {
        let (next, drains) = {
            let mut slot = self.wiring.shared.slot();
            (slot.next.take(), std::mem::take(&mut slot.drains))
        };
        if !drains.is_empty() {
            if let Some((desired, waiters)) = next {
                self.refuse(&desired, waiters);
            }
            let plan = Plan {
                closing: self.endpoints.keys().cloned().collect(),
                leaving: self.built.keys().cloned().collect(),
                linger: DRAIN_LINGER,
                ..Plan::default()
            };
            self.start(Goal::Drain { waiters: drains }, plan, BTreeMap::new());
            return true;
        }
        let Some((desired, waiters)) = next else { return false };
        if self.draining {
            self.refuse(&desired, waiters);
            return true;
        }
        if !self.heard.take().is_some_and(|heard| Arc::ptr_eq(&heard, &desired)) {
            self.gateway.apply(Arc::clone(&desired), self.wiring.clock.now(), self.wiring.clock.wall());
            self.tell_gates();
            self.pump();
        }
        let (plan, failures) = self.plan(&desired);
        self.start(Goal::Apply { desired, waiters }, plan, failures);
        true
    }

    fn start(&mut self, goal: Goal, plan: Plan, failures: BTreeMap<AssociationId, Failure>) {
        let stage = Stage::Swept { barrier: self.barrier() };
        self.job = Some(Job { goal, stage, plan, failures });
    }

    fn next_stage(&mut self, job: &mut Job, acknowledged: u64) -> Next {
        match job.stage {
            Stage::Swept { barrier } if acknowledged >= barrier => {
                Next::Stage(Stage::Farewells { until: self.wiring.clock.now() + job.plan.linger })
            }
            Stage::Farewells { until } => {
                let heard = |id: &&EndpointId| {
                    self.endpoints.get(*id).is_some_and(|served| served.listener.is_some())
                };
                let closing = job.plan.closing.iter().filter(heard);
                let pending = closing.filter(|id| self.gateway.farewells_pending(id)).count();
                if pending > 0 && self.wiring.clock.now() < until {
                    return Next::Wait;
                }
                let stats = &self.wiring.shared.control;
                stats.farewells_unacknowledged.add(u64::try_from(pending).unwrap_or(u64::MAX));
                Next::Stage(Stage::Closed { barrier: self.close(&job.plan) })
            }
            Stage::Closed { barrier } if acknowledged >= barrier => {
                self.forget_closed(job);
                let batch = self.batch(job);
                if batch.is_empty() {
                    return self.settle(job);
                }
                if self.wiring.fabric.send(Order::Apply(batch)).is_err() {
                    self.fail_all(
                        job,
                        "the thread that reaches behind the tunnels has died; restart the gateway",
                    );
                    return self.settle(job);
                }
                Next::Stage(Stage::Fabric)
            }
            Stage::Fabric => match self.wiring.fabric_results.try_recv() {
                Ok(results) => {
                    self.take_results(job, results);
                    self.settle(job)
                }
                Err(crossbeam_channel::TryRecvError::Empty) => Next::Wait,
                Err(crossbeam_channel::TryRecvError::Disconnected) => {
                    self.fail_all(
                        job,
                        "the thread that reaches behind the tunnels has died; restart the gateway",
                    );
                    self.settle(job)
                }
            },
            Stage::Settled { barrier } if acknowledged >= barrier => Next::Done,
            Stage::Swept { .. } | Stage::Closed { .. } | Stage::Settled { .. } => Next::Wait,
        }
    }

    /// Closes sockets and TUN queues of what goes, everywhere. The barrier after which they are closed.
    fn close(&mut self, plan: &Plan) -> u64 {
        let mut closed = false;
        for id in &plan.closing {
            let Some(served) = self.endpoints.get_mut(id) else { continue };
            if served.listener.take().is_none() {
                continue;
            }
            closed = true;
            served.answers = false;
            for (worker, endpoint) in each(&self.wiring.workers, served.slots) {
                worker.send(Command::CloseEndpoint { endpoint });
            }
            self.wiring.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        }
        for built in plan.leaving.iter().filter_map(|id| self.built.get(id)) {
            closed = true;
            for worker in &self.wiring.workers {
                worker.send(Command::CloseTun { association: built.index });
            }
        }
        if closed { self.barrier() } else { 0 }
    }

    /// Forgets endpoints that are not only closed but gone.
    fn forget_closed(&mut self, job: &Job) {
        for id in &job.plan.closing {
            let stays = match &job.goal {
                Goal::Apply { desired, .. } => desired.endpoints.contains_key(id),
                Goal::Drain { .. } => false,
            };
            if !stays && let Some(served) = self.endpoints.remove(id) {
                for slot in served.slots {
                    self.slots.remove(&slot);
                }
            }
        }
    }

    /// What the fabric has to do, now that nothing of ours holds what goes.
    fn batch(&mut self, job: &mut Job) -> Batch {
        let mut batch = Batch { removes: job.plan.leaving.clone(), ..Batch::default() };
        let mut free = None;
        for (id, spec) in &mut job.plan.associations {
            let stands = self.built.get(id).and_then(|built| built.spec.as_ref());
            match stands {
                Some(stands) if same_but_outlet(stands, spec) => {
                    if stands.outlet != spec.outlet {
                        batch.outlets.push((id.clone(), spec.outlet.clone()));
                    }
                    if spec.uplink.is_some() {
                        batch.looks.push(id.clone());
                    }
                }
                _ => match self.index(id, &mut free) {
                    Some(index) => {
                        spec.index = index;
                        batch.adds.push((id.clone(), spec.clone()));
                    }
                    None => {
                        let reason = "this gateway serves as many target networks as it can".to_owned();
                        job.failures.insert(id.clone(), Failure { reason, permanent: true });
                    }
                },
            }
        }
        for (id, (place, _)) in &job.plan.endpoints {
            if self.endpoints.get(id).is_none_or(|served| served.listener.is_none()) {
                batch.binds.push((id.clone(), place.addresses().collect(), place.transport));
            }
        }
        batch
    }

    /// The association's index, the lowest free one if it has none yet. Taken from here on. `free` is kept for a batch:
    /// there may be thousands in one.
    fn index(&mut self, id: &AssociationId, free: &mut Option<FreeIndices>) -> Option<u16> {
        if let Some(built) = self.built.get(id) {
            return Some(built.index);
        }
        let free = free.get_or_insert_with(|| FreeIndices {
            used: self.built.values().map(|built| built.index).collect(),
            rest: 1..=u16::MAX,
        });
        let index = free.take()?;
        self.built.insert(id.clone(), Built { index, spec: None });
        Some(index)
    }

    fn take_results(&mut self, job: &mut Job, results: Results) {
        for (id, outcome) in results.removed {
            match outcome {
                Ok(()) if job.plan.associations.contains_key(&id) => {
                    if let Some(built) = self.built.get_mut(&id) {
                        built.spec = None;
                    }
                }
                Ok(()) => {
                    self.built.remove(&id);
                }
                Err(error) => {
                    if let Some(built) = self.built.get_mut(&id) {
                        built.spec = None;
                    }
                    self.fail(job, id, &error);
                }
            }
        }
        for (id, outlet, outcome) in results.set {
            match (outcome, self.built.get_mut(&id)) {
                (Ok(()), Some(Built { spec: Some(spec), .. })) => spec.outlet = outlet,
                (Ok(()), _) => {}
                (Err(error), _) => self.fail(job, id, &error),
            }
        }
        for (id, error) in results.wanting {
            self.fail(job, id, &error);
        }
        let owners: BTreeMap<AssociationId, EndpointId> = if results.added.is_empty() {
            BTreeMap::new()
        } else {
            let endpoints = job.plan.endpoints.iter();
            let owned = |(endpoint, (_, associations)): (&EndpointId, &(Place, Vec<AssociationId>))| {
                associations.iter().map(|id| (id.clone(), endpoint.clone())).collect::<Vec<_>>()
            };
            endpoints.flat_map(owned).collect()
        };
        for (id, spec, added) in results.added {
            match added {
                Added::Up(queues) => {
                    if let Some(endpoint) = owners.get(&id) {
                        self.open_tun(endpoint, id, spec, queues);
                    }
                }
                Added::Failed { error, clean } => {
                    // What is left of it keeps its index until a later apply has removed it.
                    if clean {
                        self.built.remove(&id);
                    }
                    self.fail(job, id, &error);
                }
            }
        }
        for (id, bound) in results.bound {
            let listening = bound.and_then(|sockets| self.open_endpoint(&id, &job.plan, sockets));
            if let (Err(error), Some((_, associations))) = (listening, job.plan.endpoints.get(&id)) {
                for association in associations.clone() {
                    self.fail(job, association, &error);
                }
            }
        }
    }

    fn open_tun(
        &mut self,
        endpoint: &EndpointId,
        id: AssociationId,
        spec: FabricAssociation,
        queues: Vec<OwnedFd>,
    ) {
        let table = Arc::clone(&self.served(endpoint, spec.client_cidr).table);
        for (worker, queue) in self.wiring.workers.iter().zip(queues) {
            worker.send(Command::OpenTun { association: spec.index, queue, table: Arc::clone(&table) });
        }
        self.built.insert(id, Built { index: spec.index, spec: Some(spec) });
    }

    /// The endpoint's entry, made if there is none.
    fn served(&mut self, id: &EndpointId, client_cidr: ClientNets) -> &mut Served {
        self.endpoints.entry(id.clone()).or_insert_with(|| {
            let slots = [self.next_slot, self.next_slot + 1];
            self.next_slot += 2;
            self.slots.extend(slots.map(|slot| (slot, id.clone())));
            Served { slots, table: Arc::new(AddressTable::new(client_cidr)), listener: None, answers: false }
        })
    }

    fn open_endpoint(
        &mut self,
        id: &EndpointId,
        plan: &Plan,
        places: Vec<Vec<OwnedFd>>,
    ) -> Result<(), FabricError> {
        let Some((wanted, associations)) = plan.endpoints.get(id) else { return Ok(()) };
        let client_cidr =
            associations.iter().find_map(|id| plan.associations.get(id)).map(|spec| spec.client_cidr);
        let Some(client_cidr) = client_cidr else { return Ok(()) };
        let (wanted, transport) = (*wanted, wanted.transport);
        let (mut own, mut bound) = (Vec::new(), None);
        for sockets in &places {
            let (address, socket) = self.own_share(id, transport, sockets)?;
            own.extend(socket);
            bound.get_or_insert(address);
        }
        let served = self.served(id, client_cidr);
        served.listener = Some(Listener { wanted, sockets: own });
        let slots = served.slots;
        for (endpoint, sockets) in slots.into_iter().zip(places) {
            for (worker, socket) in self.wiring.workers.iter().zip(sockets) {
                worker.send(Command::OpenEndpoint { endpoint, socket, transport });
            }
        }
        let mut listeners = self.wiring.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.extend(bound.map(|bound| (id.clone(), bound)));
        Ok(())
    }

    /// Where the workers' sockets of one place are bound, and this thread's own of it over UDP.
    fn own_share(
        &self,
        id: &EndpointId,
        transport: Transport,
        sockets: &[OwnedFd],
    ) -> Result<(SocketAddr, Option<UdpSocket>), FabricError> {
        let failed =
            |error: std::io::Error| FabricError::Transient(format!("opening the listening sockets: {error}"));
        let first =
            sockets.first().ok_or_else(|| FabricError::Transient("no listening socket".to_owned()))?;
        if self.wiring.steering && transport == Transport::Udp && sockets.len() > 1 {
            let workers = u16::try_from(sockets.len()).unwrap_or(u16::MAX);
            if let Err(error) = netio::udp::steering(first, workers) {
                // Correct all the same: packets that arrive at the wrong worker are handed on.
                tracing::warn!(endpoint = %id, %error, "packets cannot be steered to their worker by the kernel");
            }
        }
        let first = first.try_clone().map_err(failed)?;
        let (bound, socket) = match transport {
            Transport::Udp => {
                let socket = UdpSocket::from(first);
                (socket.local_addr(), Some(socket))
            }
            Transport::Tcp => (TcpListener::from(first).local_addr(), None),
        };
        Ok((bound.map_err(failed)?, socket))
    }

    fn fail(&mut self, job: &mut Job, id: AssociationId, error: &FabricError) {
        self.wiring.shared.control.fabric_failures.add(1);
        let permanent = matches!(error, FabricError::Permanent(_));
        tracing::warn!(association = %id, permanent, %error, "an association is not as it shall be");
        job.failures.insert(id, Failure { reason: error.to_string(), permanent });
    }

    fn fail_all(&mut self, job: &mut Job, reason: &str) {
        let ids: Vec<_> = job.plan.associations.keys().chain(&job.plan.leaving).cloned().collect();
        for id in ids {
            self.fail(job, id, &FabricError::Transient(reason.to_owned()));
        }
    }

    /// Opens the gates of what is up, and only of that.
    fn settle(&mut self, job: &Job) -> Next {
        for (endpoint, (place, associations)) in &job.plan.endpoints {
            let listens = self.endpoints.get(endpoint).is_some_and(|served| served.listener.is_some())
                && !self.about_to_move(endpoint, *place);
            for id in associations {
                let up = self.built.get(id).is_some_and(|built| built.spec.is_some());
                self.gateway.set_ready(id, listens && up && !self.draining);
            }
        }
        self.tell_gates();
        self.pump();
        // Everything that ended up to here shall be known, with final counters, before this is called done.
        Next::Stage(Stage::Settled { barrier: self.ending.back().map_or(0, |(generation, _)| *generation) })
    }

    fn complete(&mut self, job: Job) {
        match job.goal {
            Goal::Apply { desired, waiters } => {
                let stats = &self.wiring.shared.control;
                stats.applies.add(1);
                stats.applied_revision.set(desired.revision);
                let applied = Applied { revision: desired.revision, failures: job.failures };
                for waiter in waiters {
                    // One that is gone does not care.
                    let _ = waiter.send(applied.clone());
                }
            }
            Goal::Drain { waiters } => {
                for waiter in waiters {
                    let _ = waiter.send(());
                }
            }
        }
    }

    /// A gateway that is going down takes nothing up any more, and does not pretend to.
    fn refuse(&self, desired: &Desired, waiters: Vec<oneshot::Sender<Applied>>) {
        let applied = stopped(desired, self.wiring.shared.control.applied_revision.get());
        for waiter in waiters {
            let _ = waiter.send(applied.clone());
        }
    }
}

/// Indices of associations that none has, rising.
struct FreeIndices {
    used: BTreeSet<u16>,
    rest: RangeInclusive<u16>,
}

impl FreeIndices {
    fn take(&mut self) -> Option<u16> {
        let used = &self.used;
        self.rest.find(|index| !used.contains(index))
    }
}

/// What came of looking at a job.
enum Next {
    Wait,
    Stage(Stage),
    Done,
}
