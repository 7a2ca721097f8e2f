//! The whole gateway in the loop, under virtual time: clients, a bad network, two workers that lag behind the control
//! thread, and every check that must hold after each step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway::desired::Desired;
use gateway::{
    ConnectionEnd, DataPath, Down, DropReason, Effect, EndReason, Gateway, GatewayConfig, Handshakes,
    Instant, Limits, PathNotice, PathUpdate, Rustls, StreamId, Tick, UnixTime, Up,
};
use model::{AssociationId, ClientAddresses, ClientNets, ConnectionId, EndpointId, Transport};
use openvpn::data;
use openvpn::wire;

use crate::client::{Client, Plan};
use crate::lists::{self, NAMES, name};
use crate::model::{Who, comes_down, is_clients, may_enter, may_stay, passes};
use crate::network::{Air, Event, Inner, Net, Packet, Rng, Sent};
use crate::traffic::{Cut, Letter};
use crate::world::{Doubles, EPOCH, WORKERS};

const TICK: Duration = Duration::from_millis(500);
/// Every handshake has ended by then, one way or the other.
const DEADLINE: Duration = Duration::from_secs(61);
/// How long addresses and peer ids rest; a worker may have let go a little later than it was told.
const REST: Duration = Duration::from_secs(59);
/// Ticks at which a path may say that it is dead before it has to be gone.
const DEAD_TICKS: u32 = 4;
/// A client that hears nothing for this long begins anew: what is pushed as `ping-restart`.
const SILENCE: Duration = Duration::from_secs(20);
/// A client that has moved hears from the gateway by then, where nothing is lost: two ticks, a keepalive's pause and the
/// longest delays there and back, with room for a packet from its old address that comes late.
const FOLLOWED: Duration = Duration::from_secs(5);
/// Longer than any schedule lasts.
const HOUR: Duration = Duration::from_secs(3600);

/// A path at its worker.
struct Path {
    endpoint: EndpointId,
    association: AssociationId,
    worker: u16,
    address: ClientAddresses,
    stream: Option<StreamId>,
    path: Box<DataPath>,
    /// Since when it has a key.
    keys: BTreeMap<u8, Instant>,
    sending: Option<u8>,
    /// Keys beyond the first.
    renewals: usize,
    /// Whose it is, once a packet of theirs was opened.
    client: Option<usize>,
    dead_ticks: u32,
}

enum Order {
    Effect(Box<Effect>),
    /// Everything up to this revision has been carried out.
    Done(u64),
}

impl Order {
    fn removes(&self, path: u32) -> bool {
        matches!(self, Order::Effect(effect) if matches!(**effect, Effect::Remove { peer_id, .. } if peer_id == path))
    }
}

#[derive(Default)]
struct Worker {
    orders: VecDeque<(Instant, Order)>,
    done: u64,
}

/// A connection that has begun and not ended.
struct Live {
    endpoint: EndpointId,
    association: AssociationId,
    name: String,
    client: usize,
    address: ClientAddresses,
    since: Instant,
}

/// What happened, so that a run can prove that it tested something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub sessions: u64,
    pub connected: u64,
    pub passed: u64,
    pub held_back: u64,
    pub spoofed: u64,
    pub down: u64,
    /// Of clients that were followed, by the gateway's count.
    pub floats: u64,
    /// Packets that a client opened where it had moved to.
    pub heard_after_floats: u64,
    pub rekeys: u64,
    pub disassociated: u64,
    pub ended: u64,
    pub between_clients: u64,
    /// Packets of IPv6 that passed.
    pub of_ipv6: u64,
    /// Later fragments that passed.
    pub fragments: u64,
    /// Packets of an IP version that the tunnel does not carry.
    pub not_carried: u64,
    /// ICMP errors that passed for what they quote, and others.
    pub errors_passed: u64,
    pub errors_held_back: u64,
    /// Errors held back that other clients sent.
    pub errors_between_clients: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        let Self { sessions, connected, passed, held_back, spoofed, down, floats, rekeys, .. } = self;
        *sessions += other.sessions;
        *connected += other.connected;
        *passed += other.passed;
        *held_back += other.held_back;
        *spoofed += other.spoofed;
        *down += other.down;
        *floats += other.floats;
        *rekeys += other.rekeys;
        self.disassociated += other.disassociated;
        self.ended += other.ended;
        self.between_clients += other.between_clients;
        self.heard_after_floats += other.heard_after_floats;
        self.of_ipv6 += other.of_ipv6;
        self.fragments += other.fragments;
        self.not_carried += other.not_carried;
        self.errors_passed += other.errors_passed;
        self.errors_held_back += other.errors_held_back;
        self.errors_between_clients += other.errors_between_clients;
    }
}

pub struct Sim {
    pub rng: Rng,
    pub now: Instant,
    began: Instant,
    wall_shift: i64,
    pub gateway: Gateway,
    pub net: Net,
    pub real_tls: bool,
    pub desired: Desired,
    /// States that some worker may still judge by, the oldest first; the last is the newest.
    versions: VecDeque<Arc<Desired>>,
    ready: BTreeSet<AssociationId>,
    workers: Vec<Worker>,
    lag_us: u64,
    pub clients: Vec<Client>,
    pub active: Vec<usize>,
    at: BTreeMap<SocketAddr, usize>,
    closed: BTreeSet<StreamId>,
    paths: BTreeMap<u32, Path>,
    live: BTreeMap<ConnectionId, Live>,
    released_addresses: BTreeMap<(EndpointId, IpAddr), Instant>,
    released_ids: BTreeMap<u32, Instant>,
    /// Whether a data packet was opened, by serial number.
    opened: Vec<bool>,
    pub air: Air,
    next_tick: Instant,
    pub next_act: Instant,
    pub acts_left: u32,
    /// Clients that may still come.
    pub places: usize,
    pub seen: Seen,
    out: Vec<u8>,
}

impl Sim {
    pub fn new(seed: u64, real_tls: bool) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let now = Instant(rng.below(1 << 40));
        let handshakes: Box<dyn Handshakes> =
            if real_tls { Box::new(Rustls) } else { Box::new(Doubles::default()) };
        let mut key = [0; 32];
        key[..8].copy_from_slice(&rng.roll().to_be_bytes());
        let config = GatewayConfig { seed: key, workers: WORKERS, limits: Limits::default() };
        Self {
            gateway: Gateway::with_handshakes(config, handshakes, now),
            net: Net::draw(&mut rng),
            lag_us: 1 + {
                let most = if rng.chance(200) { 800_000 } else { 30_000 };
                rng.below(most)
            },
            rng,
            now,
            began: now,
            wall_shift: 0,
            real_tls,
            desired: Desired::default(),
            versions: VecDeque::from([Arc::default()]),
            ready: BTreeSet::new(),
            workers: (0..WORKERS).map(|_| Worker::default()).collect(),
            clients: vec![],
            active: vec![],
            at: BTreeMap::new(),
            closed: BTreeSet::new(),
            paths: BTreeMap::new(),
            live: BTreeMap::new(),
            released_addresses: BTreeMap::new(),
            released_ids: BTreeMap::new(),
            opened: vec![],
            air: Air::default(),
            next_tick: now + TICK,
            next_act: now,
            acts_left: 0,
            places: 0,
            seen: Seen::default(),
            out: vec![],
        }
    }

    fn newest(&self) -> &Arc<Desired> {
        self.versions.back().expect("there always is one")
    }

    fn wall(&self) -> UnixTime {
        let since = i64::try_from(self.now.since(self.began).as_secs()).unwrap();
        UnixTime(EPOCH + self.wall_shift + since)
    }

    /// The wall clock is put right, or wrong.
    pub fn shift_wall(&mut self, seconds: i64) {
        self.wall_shift += seconds;
        self.disturb(|_| true);
    }

    /// From now on somebody of these may well not come up.
    fn disturb(&mut self, of: impl Fn(&Client) -> bool) {
        for &client in &self.active {
            let it = &mut self.clients[client];
            if of(it) {
                it.must_come_up = false;
                it.moved = None;
            }
        }
    }

    // What is wanted.

    /// Hands the desired state to the gateway, as the agent does.
    pub fn apply(&mut self) {
        self.desired.revision += 1;
        let (former, wanted) = (Arc::clone(self.newest()), Arc::new(self.desired.clone()));
        let is_wanted =
            |id: &AssociationId| wanted.endpoints.values().any(|e| e.associations.contains_key(id));
        self.ready.retain(|id| is_wanted(id));
        for (id, endpoint) in &wanted.endpoints {
            if former.endpoints.get(id) != Some(endpoint) {
                self.disturb(|client| client.plan.endpoint == *id);
            }
            let before = former.endpoints.get(id);
            for association in endpoint.associations.keys() {
                if before.is_none_or(|before| !before.associations.contains_key(association)) {
                    let at = Instant(self.now.0 + self.rng.below(1_500_000));
                    self.air.push(at, Event::Ready(association.clone(), true));
                }
            }
        }
        self.disturb(|client| !wanted.endpoints.contains_key(&client.plan.endpoint));
        self.versions.push_back(Arc::clone(&wanted));
        let admitted = self.gateway.stats().admitted;
        self.gateway.apply(Arc::clone(&wanted), self.now, self.wall());
        assert_eq!(self.gateway.stats().admitted, admitted, "an apply admits nobody");
        self.drain_gateway();
        for (id, live) in &self.live {
            assert!(may_stay(&wanted, &live.who(Some(id))), "{id} of {} may not stay", live.name);
        }
        for worker in 0..self.workers.len() {
            self.order(worker, Order::Done(self.desired.revision));
        }
    }

    fn order(&mut self, worker: usize, order: Order) {
        let at = Instant(self.now.0 + self.rng.below(self.lag_us));
        let orders = &mut self.workers[worker].orders;
        let at = orders.back().map_or(at, |(last, _)| at.max(*last));
        orders.push_back((at, order));
    }

    /// Whether the gate of an endpoint is open, by the book of the test.
    fn open(&self, endpoint: &EndpointId) -> bool {
        self.newest().endpoints.get(endpoint).is_some_and(|endpoint| {
            endpoint.admits
                && lists::of(endpoint).is_none_or(|list| list.readable)
                && endpoint.associations.keys().any(|id| self.ready.contains(id))
        })
    }

    fn set_ready(&mut self, id: &AssociationId, ready: bool) {
        let wanted = Arc::clone(self.newest());
        let holder = wanted.endpoints.values().find(|endpoint| endpoint.associations.contains_key(id));
        if ready && holder.is_some() {
            self.ready.insert(id.clone());
        } else {
            self.ready.remove(id);
            self.disturb(|client| holder.is_some_and(|endpoint| endpoint.id == client.plan.endpoint));
        }
        self.gateway.set_ready(id, ready);
        self.drain_gateway();
    }

    /// What every worker has carried out is the oldest thing that may still be in force anywhere.
    fn acknowledge(&mut self) {
        let done = self.workers.iter().map(|worker| worker.done).min().unwrap_or(0);
        let mut passed = false;
        while self.versions.get(1).is_some_and(|version| version.revision <= done) {
            let former = self.versions.pop_front();
            passed = true;
            self.seen.disassociated += former.map_or(0, |former| gone(&former, &self.versions[0]));
        }
        if passed {
            for path in self.paths.values() {
                let who = Who {
                    endpoint: &path.endpoint,
                    association: &path.association,
                    name: path.client.map(|client| name(self.clients[client].plan.name)),
                    connection: None,
                };
                let may = self.versions.iter().any(|version| may_stay(version, &who));
                assert!(
                    may,
                    "a path of {:?} on {} outlives what was acknowledged",
                    who.name, who.association
                );
            }
        }
    }

    // Clients.

    pub fn connect(&mut self, plan: Plan) {
        let Some(places) = self.places.checked_sub(1) else { return };
        self.places = places;
        let Some(wanted) = self.newest().endpoints.get(&plan.endpoint) else { return };
        let over_tcp = wanted.transport == Transport::Tcp;
        let unix = self.wall().0;
        let good = |unix| plan.name < NAMES.len() && may_enter(wanted, NAMES[plan.name], unix);
        let roomy = wanted.client_cidr.last_place() >= 1023;
        let known = roomy && good(unix) && good(unix + 61);
        let must_come_up = self.net.is_lossless() && known && self.open(&plan.endpoint);
        let number = u64::try_from(self.clients.len()).unwrap();
        let worker = u16::try_from(number).unwrap() % WORKERS;
        let stream = over_tcp.then_some(StreamId { worker, number });
        let address = self.fresh_address();
        let mut client = Client::new(plan, address, stream, &mut self.rng, self.now);
        client.must_come_up = must_come_up;
        self.at.insert(address, self.clients.len());
        self.active.push(self.clients.len());
        self.clients.push(client);
        self.seen.sessions += 1;
        self.drain_client(self.clients.len() - 1);
    }

    fn fresh_address(&self) -> SocketAddr {
        let n = self.at.len();
        let host = 1 + u8::try_from(n / 5000).unwrap();
        SocketAddr::from(([198, 51, 100, host], 10_000 + u16::try_from(n % 5000).unwrap()))
    }

    /// A client is behind another address from now on.
    pub fn float(&mut self, client: usize) {
        let address = self.fresh_address();
        self.at.insert(address, client);
        let wanted = self.newest().endpoints.get(&self.clients[client].plan.endpoint);
        let lasts = wanted.is_some_and(|wanted| wanted.session_timeout > HOUR);
        let goes_on = self.live.values().any(|live| live.client == client);
        let it = &mut self.clients[client];
        it.address = address;
        // One that the gateway has not given up, and that nothing else could end meanwhile: a farewell goes where the
        // gateway last heard from it.
        let lives = goes_on && self.now.since(it.heard) <= FOLLOWED && !it.changed && !it.rekeyed;
        it.moved = (self.net.is_lossless() && lives && lasts).then_some(self.now);
    }

    fn throw(&mut self, client: usize, up: bool, address: SocketAddr, bytes: Vec<u8>, data: Option<Sent>) {
        let stream = self.clients[client].stream;
        if stream.is_some_and(|stream| self.closed.contains(&stream)) {
            return;
        }
        let packet = Packet { client, up, address, bytes, data };
        self.air.throw(packet, stream.is_some(), &self.net, &mut self.rng, self.now);
    }

    pub fn drain_client(&mut self, client: usize) {
        let mut out = std::mem::take(&mut self.out);
        while self.clients[client].session.poll_transmit(self.now, &mut out) {
            let address = self.clients[client].address;
            self.throw(client, true, address, out.clone(), None);
        }
        self.out = out;
        let it = &mut self.clients[client];
        let (was_up, was_told) = (it.ip.is_some(), it.told.is_some());
        it.take_events(self.now);
        if it.ip.is_some() && !was_up {
            assert!(self.now.since(it.born) <= DEADLINE, "up after its deadline");
            self.seen.connected += 1;
        }
        if it.told.is_some() && !was_told {
            assert!(!it.must_come_up || was_up, "kept out without a reason: {:?} {:?}", it.told, it.plan);
            let at = self.now + Duration::from_secs(6);
            self.air.push(at, Event::Gone(client));
            self.come_back(client);
        }
    }

    /// A client whose session is over tries again, most times.
    fn come_back(&mut self, client: usize) {
        if self.rng.chance(700) {
            let at = Instant(self.now.0 + 500_000 + self.rng.below(3_000_000));
            let mut plan = self.clients[client].plan.clone();
            if !plan.real_tls && self.rng.chance(200) {
                plan.name = self.rng.place(NAMES.len());
            }
            self.air.push(at, Event::Connect(plan));
        }
    }

    /// A client falls silent, and the connection with it.
    pub fn silence(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.is_active = false;
        self.active.retain(|other| *other != client);
        if let Some(stream) = it.stream
            && self.closed.insert(stream)
        {
            self.gateway.handle_stream_closed(stream, self.now);
            self.drain_gateway();
        }
    }

    /// Seals a payload at a client and sends it.
    pub fn send(&mut self, client: usize, payload: &[u8], inner: Inner) {
        let (mut bytes, it) = (Vec::new(), &mut self.clients[client]);
        if it.channel.seal(payload, &mut bytes).is_err() {
            return;
        }
        let (address, key_id) = (it.address, it.sending.expect("sealed with a key"));
        let sent = self.sent(key_id, inner);
        self.throw(client, true, address, bytes, Some(sent));
    }

    fn sent(&mut self, key_id: u8, inner: Inner) -> Sent {
        self.opened.push(false);
        Sent { serial: self.opened.len() - 1, key_id, at: self.now, inner }
    }

    // The gateway.

    pub fn drain_gateway(&mut self) {
        self.take_effects();
        let mut out = std::mem::take(&mut self.out);
        while let Some(to) = self.gateway.poll_transmit(self.now, &mut out) {
            assert!(out.len() <= 1250, "control packets fit old clients");
            if let Some(&client) = self.at.get(&to.peer) {
                assert_eq!(
                    (&self.clients[client].plan.endpoint, self.clients[client].stream),
                    (&to.endpoint, to.stream)
                );
                self.throw(client, false, to.peer, out.clone(), None);
            }
        }
        self.out = out;
        self.take_effects();
    }

    fn take_effects(&mut self) {
        while let Some(effect) = self.gateway.poll_effect() {
            match effect {
                Effect::Install { worker, ref endpoint, ref association, stream, .. } => {
                    let wanted = self.newest().endpoints.get(endpoint);
                    let stands = wanted.is_some_and(|e| e.admits && e.associations.contains_key(association));
                    assert!(stands, "admitted onto what is gone");
                    assert!(stream.is_none_or(|stream| stream.worker == worker));
                    self.order(usize::from(worker), Order::Effect(Box::new(effect)));
                }
                Effect::Update { worker, .. }
                | Effect::Inherit { worker, .. }
                | Effect::Remove { worker, .. } => {
                    self.order(usize::from(worker), Order::Effect(Box::new(effect)));
                }
                Effect::CloseStream { stream } => {
                    if self.closed.insert(stream) {
                        let at = Instant(self.now.0 + self.rng.below(self.net.delay_us));
                        self.air.push(at, Event::Closed(stream));
                    }
                }
                Effect::Connected(start) => {
                    let live = Live {
                        endpoint: start.endpoint,
                        association: start.association,
                        name: start.common_name,
                        client: self.at[&start.peer],
                        address: start.client,
                        since: self.now,
                    };
                    assert_eq!(live.name, name(self.clients[live.client].plan.name));
                    assert!(
                        may_stay(self.newest(), &live.who(Some(&start.id))),
                        "{} may not be here",
                        start.id
                    );
                    assert!(self.live.insert(start.id, live).is_none(), "connection ids are unique");
                }
                Effect::Ended(end) => self.ended(&end),
                Effect::Ask(_) => panic!("there is no handler"),
                Effect::Floated { peer_id, peer, .. } => {
                    self.seen.floats += 1;
                    let client = self.paths.get(&peer_id).and_then(|path| path.client);
                    assert!(
                        client.is_none_or(|client| self.at[&peer] == client),
                        "{peer} is somebody else's"
                    );
                }
                Effect::Known { .. } | Effect::Forgotten { .. } | Effect::Vacated { .. } => {}
                Effect::Refused(_) | Effect::PolicyEvaluated(_) | Effect::PolicyLifted { .. } => {}
            }
        }
    }

    /// No connection ends without a cause.
    fn ended(&mut self, end: &ConnectionEnd) {
        self.seen.ended += 1;
        let live = self.live.remove(&end.id).expect("only what began ends, and once");
        let wanted = self.newest().endpoints.get(&live.endpoint);
        let client = &self.clients[live.client];
        let cause = match (end.reason, wanted) {
            (EndReason::EndpointDeleted, wanted) => wanted.is_none(),
            (_, None) => false,
            (EndReason::ClientExit, _) => client.left,
            (EndReason::Disconnected, _) => client.stream.is_some_and(|s| self.closed.contains(&s)),
            (EndReason::PingTimeout, _) => self
                .paths
                .values()
                .any(|p| p.endpoint == live.endpoint && p.address == live.address && p.dead_ticks > 0),
            (EndReason::SessionTimeout, Some(wanted)) => {
                // It runs from the admission, a moment before the tunnel is up.
                self.now.since(live.since) + DEADLINE >= wanted.session_timeout
            }
            (EndReason::Terminated, Some(wanted)) => wanted.terminate.contains(&end.id),
            (EndReason::Disassociated, Some(wanted)) => !wanted.associations.contains_key(&live.association),
            (EndReason::NotAdmitted, Some(wanted)) => !wanted.admits,
            (EndReason::Revoked, Some(wanted)) => lists::of(wanted).is_some_and(|l| l.names(&live.name)),
            (EndReason::PolicyDenied, Some(wanted)) => !crate::model::permits(wanted, &live.name),
            (EndReason::Reconfigured, Some(wanted)) => {
                let before = self.versions.iter().rev().nth(1).and_then(|v| v.endpoints.get(&live.endpoint));
                before.is_some_and(|before| told_apart(before, wanted, &live.association))
            }
            (EndReason::ProtocolError, _) => client.rekeyed,
            (EndReason::IdentityChanged, Some(wanted)) => {
                // Of those beyond the names one has a certificate that runs out when clocks are put right.
                let runs_out = client.plan.name >= NAMES.len();
                client.changed || runs_out || !may_enter(wanted, &live.name, self.wall().0)
            }
            (
                EndReason::Replaced | EndReason::HandlerDenied | EndReason::WorkerLost | EndReason::Draining,
                _,
            ) => false,
        };
        assert!(cause, "{} of {} ended without a cause: {:?}", end.id, live.name, end.reason);
    }

    /// A worker carries out one order.
    fn work(&mut self, worker: usize) {
        let Some((_, order)) = self.workers[worker].orders.pop_front() else { return };
        let effect = match order {
            Order::Done(revision) => {
                self.workers[worker].done = revision;
                return self.acknowledge();
            }
            Order::Effect(effect) => *effect,
        };
        match effect {
            Effect::Install { worker, endpoint, association, peer_id, addresses, shared, stream, path } => {
                assert!(!shared, "nobody begins anew at its address");
                assert_eq!(peer_id % u32::from(WORKERS), u32::from(worker));
                let rested = |at: Option<&Instant>| at.is_none_or(|at| self.now.since(*at) >= REST);
                for address in addresses.iter() {
                    let last = self.released_addresses.get(&(endpoint.clone(), address));
                    assert!(rested(last), "{address} rests");
                }
                assert!(rested(self.released_ids.get(&peer_id)), "a peer id rests");
                let has = |p: &Path| addresses.iter().any(|address| p.address.has(address));
                let twice = self.paths.values().any(|p| p.endpoint == endpoint && has(p));
                assert!(!twice, "{addresses} is given twice");
                let known = |v: &Arc<Desired>| {
                    v.endpoints.get(&endpoint).is_some_and(|e| {
                        e.associations.contains_key(&association) && is_of(addresses, e.client_cidr)
                    })
                };
                assert!(
                    self.versions.iter().any(known),
                    "admitted after the end of {association} was acknowledged"
                );
                let keys = BTreeMap::from([(0, self.now)]);
                let path = Path {
                    endpoint,
                    association,
                    worker,
                    address: addresses,
                    stream,
                    path,
                    keys,
                    sending: None,
                    renewals: 0,
                    client: None,
                    dead_ticks: 0,
                };
                assert!(self.paths.insert(peer_id, path).is_none(), "peer ids are unique");
            }
            Effect::Update { endpoint, peer_id, update, .. } => {
                let path = self.paths.get_mut(&peer_id).expect("updates of what there is");
                assert_eq!(path.endpoint, endpoint);
                match &update {
                    PathUpdate::InstallKey { key_id, .. } => {
                        path.keys.insert(*key_id, self.now);
                        path.renewals += 1;
                        if let Some(client) = path.client.map(|client| &self.clients[client]) {
                            let shown = client.shown.lock().unwrap().get(path.renewals).copied();
                            let same = shown.is_none_or(|name| name == client.plan.name);
                            assert!(same, "a key for somebody else than who came in");
                        }
                        self.seen.rekeys += 1;
                    }
                    PathUpdate::RetireKey(key_id) => {
                        path.keys.remove(key_id);
                        if path.sending == Some(*key_id) {
                            path.sending = None;
                            let orders = &self.workers[usize::from(path.worker)].orders;
                            let goes = orders.iter().any(|(_, order)| order.removes(peer_id));
                            assert!(goes, "a session that stands has nothing to send with");
                        }
                    }
                    PathUpdate::SendKey(key_id) => path.sending = Some(*key_id),
                    PathUpdate::Policy(_) | PathUpdate::Unfloat { .. } => {}
                }
                path.path.apply(update, self.now);
            }
            Effect::Remove { endpoint, peer_id, .. } => {
                let path = self.paths.remove(&peer_id).expect("removals of what there is");
                assert_eq!(path.endpoint, endpoint);
                for address in path.address.iter() {
                    self.released_addresses.insert((endpoint.clone(), address), self.now);
                }
                self.released_ids.insert(peer_id, self.now);
            }
            _ => unreachable!("workers get nothing else"),
        }
    }

    // Packets.

    fn land(&mut self, packet: Packet) {
        match (packet.up, packet.data.is_some()) {
            (true, false) => self.land_control(&packet),
            (true, true) => self.land_up(packet),
            (false, false) => {
                let it = &mut self.clients[packet.client];
                if it.address == packet.address && it.is_active {
                    if it.session.handle_packet(&packet.bytes, self.now).is_ok() {
                        it.heard = self.now;
                    }
                    self.drain_client(packet.client);
                }
            }
            (false, true) => self.land_down(packet),
        }
    }

    fn land_control(&mut self, packet: &Packet) {
        let it = &self.clients[packet.client];
        let (endpoint, stream) = (it.plan.endpoint.clone(), it.stream);
        let (open, admitted) = (self.open(&endpoint), self.gateway.stats().admitted);
        let (now, wall) = (self.now, self.wall());
        match stream {
            Some(stream) if self.closed.contains(&stream) => return,
            Some(stream) => {
                self.gateway.handle_stream(&endpoint, stream, packet.address, &packet.bytes, now, wall);
            }
            None => self.gateway.handle_control(&endpoint, packet.address, &packet.bytes, now, wall),
        }
        assert!(open || self.gateway.stats().admitted == admitted, "a shut gate admits nobody");
        self.drain_gateway();
    }

    /// A data packet at its worker.
    fn land_up(&mut self, packet: Packet) {
        let Packet { client, address, mut bytes, data, .. } = packet;
        let Some(sent) = data else { return };
        let stream = self.clients[client].stream;
        if stream.is_some_and(|stream| self.closed.contains(&stream)) {
            return;
        }
        let by_stream = |p: &Path| stream.is_some() && p.stream == stream;
        let by_address = |p: &Path| p.stream.is_none() && p.path.peer() == address;
        let found = match (stream, wire::peer_id(&bytes)) {
            (Some(_), _) => self.paths.iter().find(|(_, p)| by_stream(p)).map(|(id, _)| *id),
            (None, Some(id)) => Some(id).filter(|id| self.paths.contains_key(id)),
            (None, None) => self.paths.iter().find(|(_, p)| by_address(p)).map(|(id, _)| *id),
        };
        let Some(id) = found else { return };
        let path = self.paths.get_mut(&id).expect("just found");
        let had_key = path.keys.get(&sent.key_id).is_some_and(|since| *since <= sent.at);
        let mut local = false;
        let up = match path.path.up(&mut bytes, address, self.now) {
            Up::Forward(packet) => Ok(Some(packet.to_vec())),
            Up::Local(packet) => {
                local = true;
                Ok(Some(packet.to_vec()))
            }
            Up::Consumed => Ok(None),
            Up::Drop(reason) => Err(reason),
        };
        let opened = !matches!(
            up,
            Err(DropReason::UnknownKey
                | DropReason::Replay
                | DropReason::WrongAddress
                | DropReason::WrongPeerId
                | DropReason::NotData
                | DropReason::Forged)
        );
        if opened {
            assert!(!std::mem::replace(&mut self.opened[sent.serial], true), "opened twice");
            assert_eq!(*path.client.get_or_insert(client), client, "a path has one client");
            path.dead_ticks = 0;
        }
        let endpoint = path.endpoint.clone();
        let notices: Vec<_> = std::iter::from_fn(|| path.path.poll_notice()).collect();
        if let (Ok(Some(_)), Inner::Ip { packet, .. }) = (&up, &sent.inner) {
            let of_client = self.versions.iter().any(|v| is_clients(v, &endpoint, packet.destination));
            assert_eq!(local, of_client, "to other clients by the local way, to nobody else");
        }
        self.judge_up(&sent, up, had_key, id, client);
        for notice in notices {
            self.gateway.handle_notice(&endpoint, id, notice.into(), self.now);
            self.drain_gateway();
        }
    }

    /// What became of a packet against what the reference says.
    fn judge_up(
        &mut self,
        sent: &Sent,
        up: Result<Option<Vec<u8>>, DropReason>,
        had_key: bool,
        id: u32,
        client: usize,
    ) {
        let Path { endpoint, association, address: own, .. } = &self.paths[&id];
        let (endpoint, association, own) = (endpoint.clone(), association.clone(), *own);
        let (allows, all) = match &sent.inner {
            Inner::InBand => (0, 0),
            Inner::Ip { packet, .. } => {
                self.verdicts(|v| passes(v, &endpoint, &association, packet.destination))
            }
        };
        let carried = |packet: &Letter| carries(own, packet);
        match (up, &sent.inner) {
            (Ok(None), Inner::InBand) => {}
            (Ok(Some(out)), Inner::Ip { packet, honest }) => {
                assert!(*honest, "a spoofed packet is delivered");
                assert_eq!(out, packet.bytes, "as it was sent");
                assert!(allows > 0, "delivered to {}, which is denied", packet.destination);
                self.seen.passed += 1;
                self.saw(packet);
                self.between(&endpoint, packet);
            }
            (Err(DropReason::Spoofed), Inner::Ip { packet, honest: false }) => {
                assert!(carried(packet));
                self.seen.spoofed += 1;
            }
            (Err(DropReason::Ipv4 | DropReason::Ipv6), Inner::Ip { packet, .. }) => {
                assert!(!carried(packet), "{} is carried", packet.source);
                self.seen.not_carried += 1;
            }
            (
                Err(DropReason::NoRoute | DropReason::NoRule | DropReason::NotAuthorized),
                Inner::Ip { packet, honest: true },
            ) => {
                assert!(allows < all, "held back from {}, which is allowed", packet.destination);
                self.seen.held_back += 1;
            }
            (Err(DropReason::Replay), _) => {
                assert!(self.opened[sent.serial], "never seen, and called a replay")
            }
            (Err(DropReason::UnknownKey), _) => assert!(!had_key, "the key was there"),
            (Err(DropReason::WrongAddress), _) => assert!(self.clients[client].peer_id.is_none()),
            (up, inner) => panic!("{up:?} of {inner:?}"),
        }
    }

    /// How many of the states that may be in force let a packet pass, and how many there are.
    fn verdicts(&self, passes: impl Fn(&Desired) -> bool) -> (usize, usize) {
        (self.versions.iter().filter(|version| passes(version)).count(), self.versions.len())
    }

    /// Something of this kind passed.
    fn saw(&mut self, packet: &Letter) {
        self.seen.of_ipv6 += u64::from(packet.source.is_ipv6());
        self.seen.fragments += u64::from(packet.cut == Cut::Later);
    }

    /// What is for another client comes down to it at once.
    fn between(&mut self, endpoint: &EndpointId, packet: &Letter) {
        let is_for = |p: &Path| p.endpoint == *endpoint && p.address.has(packet.destination);
        let other = self.paths.iter().find(|(_, p)| is_for(p));
        if let Some((&id, _)) = other {
            self.seen.between_clients += 1;
            self.down(id, packet);
        }
    }

    /// A packet from the TUN for the client of a path.
    pub fn down(&mut self, id: u32, packet: &Letter) {
        let path = self.paths.get_mut(&id).expect("a path that is there");
        let (mut bytes, mut inner) = (Vec::new(), packet.bytes.clone());
        let (endpoint, association, own) = (path.endpoint.clone(), path.association.clone(), path.address);
        let (sends, mine) = (path.sending.is_some(), own.has(packet.destination));
        let result = path.path.down(&mut inner, self.now, &mut bytes);
        let (peer, stream) = (path.path.peer(), path.stream);
        let far = packet.source;
        let (allows, all) = self.verdicts(|v| comes_down(v, &endpoint, &association, own, packet));
        match result {
            Down::Send => {
                assert!(mine && allows > 0, "from {far}, which is denied: {packet:?}");
                self.seen.down += 1;
                self.saw(packet);
                if packet.quotes.is_some() {
                    let (by_source, _) = self.verdicts(|v| passes(v, &endpoint, &association, far));
                    self.seen.errors_passed += u64::from(by_source == 0);
                }
                self.throw_down(peer, stream, bytes, Inner::Ip { packet: packet.clone(), honest: true });
            }
            Down::Drop(DropReason::NoRoute | DropReason::NoRule | DropReason::NotAuthorized) => {
                assert!(mine && allows < all, "held back from {far}, which is allowed: {packet:?}");
                if packet.quotes.is_some() {
                    self.seen.errors_held_back += 1;
                    let of_client = self.versions.iter().any(|v| is_clients(v, &endpoint, far));
                    self.seen.errors_between_clients += u64::from(of_client);
                }
            }
            Down::Drop(DropReason::Ipv4 | DropReason::Ipv6) => assert!(!carries(own, packet)),
            Down::Drop(DropReason::NotForClient) => assert!(!mine),
            Down::Drop(DropReason::NoSendKey) => assert!(!sends),
            Down::Drop(reason) => panic!("{reason:?}"),
        }
    }

    fn throw_down(&mut self, peer: SocketAddr, stream: Option<StreamId>, bytes: Vec<u8>, inner: Inner) {
        let Some(&client) = self.at.get(&peer) else { panic!("{peer} is nobody's") };
        assert_eq!(self.clients[client].stream, stream);
        let key_id = wire::opcode(&bytes).map_or(0, |(_, key_id)| key_id);
        let sent = self.sent(key_id, inner);
        self.throw(client, false, peer, bytes, Some(sent));
    }

    fn land_down(&mut self, packet: Packet) {
        let Packet { client, address, mut bytes, data, .. } = packet;
        let (Some(sent), it) = (data, &mut self.clients[client]) else { return };
        if it.address != address || !it.is_active {
            return;
        }
        let had_key = it.keys.get(&sent.key_id).is_some_and(|since| *since <= sent.at);
        match it.channel.open(&mut bytes) {
            Ok(opened) => {
                assert!(!std::mem::replace(&mut self.opened[sent.serial], true), "opened twice");
                match &sent.inner {
                    Inner::InBand => assert_eq!(*opened.payload, data::PING),
                    Inner::Ip { packet, .. } => assert_eq!(*opened.payload, packet.bytes[..]),
                }
                let (first_use, key_id) = (opened.first_use, opened.key_id);
                it.heard = self.now;
                self.seen.heard_after_floats += u64::from(it.moved.take().is_some());
                if first_use {
                    it.session.note_new_key_used(key_id, self.now);
                    self.drain_client(client);
                }
            }
            Err(data::OpenError::Replayed) => assert!(self.opened[sent.serial]),
            Err(data::OpenError::UnknownKey) => assert!(!had_key),
            Err(error) => panic!("what we seal, the client opens: {error}"),
        }
    }

    // Time.

    /// Runs until then.
    pub fn run(&mut self, until: Instant) {
        loop {
            let work =
                self.workers.iter().filter_map(|worker| worker.orders.front().map(|(at, _)| *at)).min();
            let clients =
                self.active.iter().filter_map(|&client| self.clients[client].session.poll_timeout());
            let clients = clients.min();
            let act = (self.acts_left > 0).then_some(self.next_act);
            let times =
                [self.air.next(), work, self.gateway.poll_timeout(), clients, act, Some(self.next_tick)];
            let Some(at) = times.into_iter().flatten().min() else { return };
            if at > until {
                self.now = self.now.max(until);
                return;
            }
            self.now = self.now.max(at);
            self.step(work, clients, act);
        }
    }

    fn step(&mut self, work: Option<Instant>, clients: Option<Instant>, act: Option<Instant>) {
        let now = self.now;
        if work.is_some_and(|at| at <= now) {
            let due = |worker: &Worker| worker.orders.front().is_some_and(|(at, _)| *at <= now);
            if let Some(worker) = self.workers.iter().position(due) {
                self.work(worker);
            }
        } else if clients.is_some_and(|at| at <= now) {
            for at in 0..self.active.len() {
                let Some(&client) = self.active.get(at) else { break };
                let session = &mut self.clients[client].session;
                if session.poll_timeout().is_some_and(|at| at <= now) {
                    session.handle_timeout(now);
                    self.drain_client(client);
                }
            }
        } else if self.air.next().is_some_and(|at| at <= now) {
            match self.air.pop() {
                Some(Event::Packet(packet)) => self.land(packet),
                Some(Event::Ready(id, ready)) => self.set_ready(&id, ready),
                Some(Event::Closed(stream)) => self.hung_up(stream),
                Some(Event::Connect(plan)) => self.connect(plan),
                Some(Event::Gone(client)) => self.silence(client),
                None => {}
            }
        } else if self.gateway.poll_timeout().is_some_and(|at| at <= now) {
            let open = self.newest().endpoints.keys().any(|id| self.open(id));
            let admitted = self.gateway.stats().admitted;
            self.gateway.handle_timeout(now, self.wall());
            assert!(open || self.gateway.stats().admitted == admitted, "a shut gate admits nobody");
            self.drain_gateway();
            assert!(self.gateway.poll_timeout().is_none_or(|at| at > now), "a timer that stays due");
        } else if act.is_some_and(|at| at <= now) {
            self.act();
        } else if self.next_tick <= now {
            self.next_tick = now + TICK;
            self.tick();
        }
    }

    /// The gateway has closed a connection.
    fn hung_up(&mut self, stream: StreamId) {
        let found = self.active.iter().copied().find(|c| self.clients[*c].stream == Some(stream));
        if let Some(client) = found {
            let it = &mut self.clients[client];
            assert!(!it.must_come_up || it.ip.is_some(), "a connection is closed without a reason");
            if it.told.is_none() {
                self.come_back(client);
            }
            self.silence(client);
        }
    }

    /// Workers look after their paths; clients say that they live, and give up.
    fn tick(&mut self) {
        for client in self.active.clone() {
            let it = &self.clients[client];
            assert!(
                it.ip.is_some() || it.told.is_some() || self.now.since(it.born) <= DEADLINE,
                "neither up nor failed by its deadline"
            );
            if it.sending.is_some() && it.told.is_none() && !it.left {
                let waits = it.moved.map(|at| self.now.since(at));
                assert!(waits.is_none_or(|waits| waits <= FOLLOWED), "{} was not followed", it.address);
                if self.now.since(it.heard) > SILENCE {
                    self.come_back(client);
                    self.silence(client);
                } else {
                    self.send(client, &data::PING, Inner::InBand);
                    self.speak(client);
                }
            }
        }
        let ids: Vec<u32> = self.paths.keys().copied().collect();
        for id in ids {
            let Some(path) = self.paths.get_mut(&id) else { continue };
            let endpoint = path.endpoint.clone();
            match path.path.handle_tick(self.now) {
                Tick::Nothing => {}
                Tick::Ping => {
                    let (peer, stream, mut bytes) = (path.path.peer(), path.stream, Vec::new());
                    if path.path.ping(&mut bytes) {
                        self.throw_down(peer, stream, bytes, Inner::InBand);
                    }
                }
                Tick::Dead => {
                    path.dead_ticks += 1;
                    assert!(path.dead_ticks <= DEAD_TICKS, "a dead peer stays");
                    self.gateway.handle_notice(&endpoint, id, PathNotice::Dead, self.now);
                    self.drain_gateway();
                }
            }
            self.answer(id);
        }
    }

    /// Everybody has gone: nothing is left of anybody.
    pub fn end(&mut self) {
        self.acts_left = 0;
        self.places = 0;
        for client in self.active.clone() {
            self.silence(client);
        }
        self.net = Net { drop_per_mille: 0, repeat_per_mille: 0, delay_us: 1, late_per_mille: 0 };
        self.run(self.now + Duration::from_secs(130));
        assert_eq!((self.paths.len(), self.live.len()), (0, 0), "paths and connections are left");
        assert_eq!(
            (self.gateway.session_count(), self.gateway.half_open_count()),
            (0, 0),
            "sessions are left"
        );
        assert_eq!(self.gateway.poll_timeout(), None, "timers are left");
        let stats = self.gateway.stats();
        assert_eq!((stats.floats, stats.floats_refused), (self.seen.floats, 0), "each float is told of");
        assert_eq!(self.versions.len(), 1, "something was never acknowledged");
    }

    /// The addresses of a path, for whoever wants to send something down it.
    pub fn addresses_of(&self, id: u32) -> Option<ClientAddresses> {
        self.paths.get(&id).map(|path| path.address)
    }

    pub fn live_ids(&self) -> Vec<(ConnectionId, EndpointId)> {
        self.live.iter().map(|(id, live)| (id.clone(), live.endpoint.clone())).collect()
    }

    pub fn rekey_path(&mut self, client: usize) {
        let found = self.paths.iter().find(|(_, path)| path.client == Some(client));
        if let Some((&id, path)) = found {
            let (endpoint, notice) = (path.endpoint.clone(), gateway::Notice::NeedsRekey);
            self.gateway.handle_notice(&endpoint, id, notice.into(), self.now);
            self.drain_gateway();
        }
    }
}

impl Live {
    fn who<'a>(&'a self, connection: Option<&'a ConnectionId>) -> Who<'a> {
        Who { endpoint: &self.endpoint, association: &self.association, name: Some(&self.name), connection }
    }
}

/// Associations of a state that another one no longer has.
fn gone(former: &Desired, newer: &Desired) -> u64 {
    let all = |of: &Desired| -> BTreeSet<AssociationId> {
        of.endpoints.values().flat_map(|endpoint| endpoint.associations.keys().cloned()).collect()
    };
    u64::try_from(all(former).difference(&all(newer)).count()).unwrap()
}

/// Whether clients of an association were told something else before (spec: aws-client-vpn §1.12).
fn told_apart(
    before: &gateway::desired::Endpoint,
    now: &gateway::desired::Endpoint,
    on: &AssociationId,
) -> bool {
    let routes = |endpoint: &gateway::desired::Endpoint| {
        endpoint.associations.get(on).map(|association| association.routes.clone())
    };
    before.split_tunnel != now.split_tunnel
        || before.dns_servers != now.dns_servers
        || (now.split_tunnel && routes(before) != routes(now))
}

/// Whether these are a client's addresses in these blocks: one in each.
fn is_of(addresses: ClientAddresses, blocks: ClientNets) -> bool {
    let inside = addresses.iter().all(|address| blocks.contains(address));
    inside && (addresses.v4.is_some(), addresses.v6.is_some()) == (blocks.v4.is_some(), blocks.v6.is_some())
}

/// Whether a tunnel with these addresses carries packets of such a version.
fn carries(own: ClientAddresses, packet: &Letter) -> bool {
    own.iter().any(|address| address.is_ipv4() == packet.source.is_ipv4())
}
