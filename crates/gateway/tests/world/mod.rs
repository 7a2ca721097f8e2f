//! A whole world around a gateway under virtual time: workers, clients, a network that the test may disturb.
//! Invariants are checked after every single call.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

pub mod pki;
pub mod real;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::pki::{Crl, TrustAnchors};
use gateway::desired::{
    Association, AuthorizationPolicy, Desired, Endpoint, Route, Rule, ServerIdentity, Target,
};
use gateway::{
    Attempt, ConnectionEnd, ConnectionStart, DataPath, Down, DropReason, Effect, EndReason, Gateway,
    GatewayConfig, Handshakes, Instant, Limits, PathNotice, PolicyEvaluation, Question, SessionTls, StreamId,
    Tick, UnixTime, Up,
};
use model::{AssociationId, ClientAddresses, ConnectionId, EndpointId, RuleGroup, Scope, Transport};
use openvpn::client;
use openvpn::data::{self, Channel, Role};
use openvpn::server::TlsFactory;
use openvpn::tls::double::{Double, Script};
use openvpn::tls::{Tls, TlsError};
use openvpn::wire::{self, SessionId};

/// When the virtual world begins, in Unix seconds.
pub const EPOCH: i64 = 1_750_000_000;
pub const WORKERS: u16 = 2;

pub fn endpoint_id(n: u128) -> EndpointId {
    EndpointId::from_entropy(n)
}

pub fn association_id(n: u128) -> AssociationId {
    AssociationId::from_entropy(n)
}

/// An endpoint without associations: 10.9.0.0/22, everything allowed.
pub fn endpoint(n: u128) -> Endpoint {
    Endpoint {
        id: endpoint_id(n),
        scope: Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() },
        listen: None,
        listen_second: None,
        transport: Transport::Udp,
        client_cidr: "10.9.0.0/22".parse().unwrap(),
        dns_servers: vec![],
        split_tunnel: false,
        session_timeout: Duration::from_hours(24),
        route_enforcement: false,
        former: Arc::default(),
        disconnect_on_session_timeout: true,
        banner: None,
        connect_handler: None,
        server: ServerIdentity {
            fingerprint: [1; 32],
            chain: Arc::new(vec![]),
            key: Arc::new(vec![].into()),
        },
        client_roots: Arc::new(vec![pki::pki().ca_der.clone()]),
        crl: None,
        policy: None,
        admits: true,
        associations: BTreeMap::new(),
        rules: vec![rule("0.0.0.0/0")],
        terminate: BTreeSet::new(),
    }
}

pub fn rule(destination: &str) -> Rule {
    Rule { destination: destination.parse().unwrap(), group: RuleGroup::All }
}

/// What a policy of [`only`] begins with.
const ONLY: &str = "// only these\n";

/// A policy that lets in clients with these common names, in earnest. [`World::check`] holds the gateway to it.
pub fn only(names: &[&str]) -> Option<AuthorizationPolicy> {
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    let document = format!(
        "{ONLY}permit(principal, action, resource) when {{ \
         [{}].contains(context[\"mutual-authentication\"].commonName) }};",
        names.join(", ")
    );
    Some(AuthorizationPolicy { document: document.as_str().into(), shadow: false })
}

/// Whether a policy of [`only`] keeps this client out.
pub fn keeps_out(policy: &AuthorizationPolicy, common_name: &str) -> bool {
    !policy.shadow
        && policy.document.starts_with(ONLY)
        && !policy.document.contains(&format!("{common_name:?}"))
}

pub fn route(destination: &str) -> Route {
    Route { destination: destination.parse().unwrap(), target: Target::Association }
}

pub fn association(n: u128) -> Association {
    Association {
        id: association_id(n),
        toward: vec!["10.0.0.0/24".parse().unwrap()],
        source_nat: true,
        uplink: None,
        routes: vec![route("10.0.0.0/16")],
        security: vec![],
    }
}

/// TLS doubles. The server's certificate is its fingerprint, so that clients can tell which they met.
#[derive(Clone, Default)]
pub struct Doubles {
    made: Arc<Mutex<u64>>,
}

impl Handshakes for Doubles {
    fn prepare(
        &mut self,
        server: &ServerIdentity,
        _anchors: Arc<TrustAnchors>,
        _crl: Option<Arc<Crl>>,
    ) -> Result<SessionTls, TlsError> {
        let (made, shown) = (Arc::clone(&self.made), server.fingerprint.to_vec());
        Ok(Box::new(move || {
            let (made, shown) = (Arc::clone(&made), shown.clone());
            Box::new(move || {
                let mut made = made.lock().unwrap();
                *made += 1;
                let script =
                    Script { seed: 1 << 32 | *made, certificates: vec![shown.clone()], ..Script::default() };
                Ok(Box::new(Double::server(script)) as Box<dyn Tls>)
            })
        }))
    }
}

/// What a client was told, in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Rejected(String),
    Restart(String),
    Halt(String),
    Failed,
}

pub struct Client {
    pub endpoint: EndpointId,
    pub address: SocketAddr,
    /// Its connection, if it comes over TCP.
    pub stream: Option<StreamId>,
    pub session: client::Session,
    pub channel: Channel,
    pub pushed: Option<Vec<String>>,
    pub told: Option<Told>,
    /// The certificate shown on new keys.
    pub certificate: Arc<Mutex<Vec<u8>>>,
    pub sends: bool,
    pub v2_peer_id: Option<u32>,
}

impl Client {
    /// The address that was pushed.
    pub fn ip(&self) -> Option<Ipv4Addr> {
        let options = self.pushed.as_ref()?;
        let ifconfig = options.iter().find_map(|o| o.strip_prefix("ifconfig "))?;
        ifconfig.split(' ').next()?.parse().ok()
    }
}

pub struct Path {
    pub worker: u16,
    pub association: AssociationId,
    pub addresses: ClientAddresses,
    /// Packets to them are this path's.
    pub has_addresses: bool,
    pub path: Box<DataPath>,
}

/// A datagram on its way.
#[derive(Clone)]
pub struct Flying {
    pub client: usize,
    pub to_gateway: bool,
    /// The client's address when it was sent, or the one it is sent to.
    pub address: SocketAddr,
    pub bytes: Vec<u8>,
}

pub struct World {
    pub gateway: Gateway,
    pub now: Instant,
    pub desired: Desired,
    pub applied: Desired,
    pub ready: BTreeSet<AssociationId>,
    pub clients: Vec<Client>,
    pub paths: BTreeMap<u32, (EndpointId, Path)>,
    pub wire: Vec<Flying>,
    /// Connections that the gateway has closed.
    pub closed: BTreeSet<StreamId>,
    pub starts: BTreeMap<ConnectionId, ConnectionStart>,
    pub ends: Vec<ConnectionEnd>,
    /// Connections that have begun and not ended.
    lives: BTreeSet<ConnectionId>,
    /// How many sessions have this session id.
    pub known: BTreeMap<(SocketAddr, SessionId), usize>,
    /// Clients that moved, and where to.
    pub moved: Vec<(ConnectionId, SocketAddr)>,
    pub refused: Vec<Attempt>,
    /// For the connect handler.
    pub questions: Vec<Question>,
    pub evaluations: Vec<Arc<PolicyEvaluation>>,
    /// Connections that no policy is asked about any more.
    pub lifted: Vec<ConnectionId>,
    /// When an address or a peer id was last taken away.
    released_addresses: BTreeMap<(EndpointId, ClientAddresses), Instant>,
    released_ids: BTreeMap<u32, Instant>,
    /// Where clients have had a path, until it is told that nobody is there any more.
    pub stays: BTreeSet<(u16, AssociationId, ClientAddresses)>,
    drained: bool,
    seed: u64,
}

impl World {
    pub fn new(limits: Limits) -> Self {
        Self::with(limits, Box::new(Doubles::default()))
    }

    pub fn with(limits: Limits, handshakes: Box<dyn Handshakes>) -> Self {
        let config = GatewayConfig { seed: [9; 32], workers: WORKERS, limits };
        Self {
            gateway: Gateway::with_handshakes(config, handshakes, Instant(0)),
            now: Instant(0),
            desired: Desired::default(),
            applied: Desired::default(),
            ready: BTreeSet::new(),
            clients: vec![],
            paths: BTreeMap::new(),
            wire: vec![],
            closed: BTreeSet::new(),
            starts: BTreeMap::new(),
            ends: vec![],
            lives: BTreeSet::new(),
            moved: vec![],
            known: BTreeMap::new(),
            refused: vec![],
            questions: vec![],
            evaluations: vec![],
            lifted: vec![],
            released_addresses: BTreeMap::new(),
            released_ids: BTreeMap::new(),
            stays: BTreeSet::new(),
            drained: false,
            seed: 0,
        }
    }

    /// One endpoint with these associations, all up.
    pub fn serving(associations: &[u128]) -> Self {
        Self::serving_within(Limits::default(), associations)
    }

    /// The same within other limits.
    pub fn serving_within(limits: Limits, associations: &[u128]) -> Self {
        let mut world = Self::new(limits);
        let mut wanted = endpoint(1);
        wanted.associations = associations.iter().map(|n| (association_id(*n), association(*n))).collect();
        world.desired.endpoints.insert(wanted.id.clone(), Arc::new(wanted));
        world.apply();
        for n in associations {
            world.set_ready(*n, true);
        }
        world
    }

    pub fn wall(&self) -> UnixTime {
        UnixTime(EPOCH + i64::try_from(self.now.0 / 1_000_000).unwrap())
    }

    pub fn endpoint(&mut self) -> &mut Endpoint {
        self.wanted(1).unwrap()
    }

    /// An endpoint to change; in force after [`World::apply`].
    pub fn wanted(&mut self, n: u128) -> Option<&mut Endpoint> {
        self.desired.endpoints.get_mut(&endpoint_id(n)).map(Arc::make_mut)
    }

    pub fn apply(&mut self) {
        self.desired.revision += 1;
        self.applied = self.desired.clone();
        let wanted: BTreeSet<_> =
            self.applied.endpoints.values().flat_map(|e| e.associations.keys().cloned()).collect();
        self.ready.retain(|id| wanted.contains(id));
        let before = self.gateway.stats().admitted;
        self.gateway.apply(Arc::new(self.desired.clone()), self.now, self.wall());
        assert_eq!(self.gateway.stats().admitted, before, "an apply admits nobody");
        self.drain_gateway();
    }

    pub fn set_ready(&mut self, association: u128, ready: bool) {
        let id = association_id(association);
        let wanted = self.applied.endpoints.values().any(|e| e.associations.contains_key(&id));
        if ready && wanted {
            self.ready.insert(id.clone())
        } else {
            self.ready.remove(&id)
        };
        self.gateway.set_ready(&id, ready);
        self.drain_gateway();
    }

    pub fn drain(&mut self) {
        self.drained = true;
        self.gateway.drain(self.now);
        self.drain_gateway();
    }

    /// Whether anybody may be admitted to this endpoint now, by the test's own book.
    fn open(&self, endpoint: &EndpointId) -> bool {
        let wanted = self.applied.endpoints.get(endpoint);
        !self.drained
            && wanted.is_some_and(|e| e.admits && e.associations.keys().any(|id| self.ready.contains(id)))
    }

    pub fn client(&mut self, certificate: &[u8]) -> usize {
        let port = 40_000 + u16::try_from(self.clients.len()).unwrap();
        self.client_at(
            SocketAddr::from(([198, 51, 100, 7], port)),
            certificate,
            client::SessionConfig::default(),
        )
    }

    pub fn client_at(
        &mut self,
        address: SocketAddr,
        certificate: &[u8],
        config: client::SessionConfig,
    ) -> usize {
        self.client_to(endpoint_id(1), address, certificate, config)
    }

    pub fn client_to(
        &mut self,
        endpoint: EndpointId,
        address: SocketAddr,
        certificate: &[u8],
        config: client::SessionConfig,
    ) -> usize {
        let certificate = Arc::new(Mutex::new(certificate.to_vec()));
        let shown = Arc::clone(&certificate);
        self.seed += 1;
        let seed = self.seed;
        let mut keys = 0;
        let tls: TlsFactory = Box::new(move || {
            keys += 1;
            let certificates = vec![shown.lock().unwrap().clone()];
            let script = Script { seed: seed << 8 | keys, certificates, ..Script::default() };
            Ok(Box::new(Double::client(script)) as Box<dyn Tls>)
        });
        self.client_with(endpoint, address, certificate, config, tls)
    }

    pub fn client_with(
        &mut self,
        endpoint: EndpointId,
        address: SocketAddr,
        certificate: Arc<Mutex<Vec<u8>>>,
        config: client::SessionConfig,
        tls: TlsFactory,
    ) -> usize {
        self.seed += 1;
        let sid = SessionId(self.seed.to_be_bytes());
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&sid.0);
        let session = client::Session::new(Arc::new(config), tls, sid, seed, self.now).unwrap();
        let channel = Channel::new(Role::Client);
        let number = u64::try_from(self.clients.len()).unwrap();
        let over_tcp = self.desired.endpoints.get(&endpoint).is_some_and(|e| e.transport == Transport::Tcp);
        let stream = over_tcp.then_some(StreamId { worker: WORKERS - 1, number });
        let (pushed, told, v2_peer_id) = (None, None, None);
        self.clients.push(Client {
            endpoint,
            address,
            stream,
            session,
            channel,
            pushed,
            told,
            certificate,
            sends: false,
            v2_peer_id,
        });
        let client = self.clients.len() - 1;
        self.drain_client(client);
        client
    }

    pub fn drain_client(&mut self, client: usize) {
        let it = &mut self.clients[client];
        let mut bytes = Vec::new();
        while it.session.poll_transmit(self.now, &mut bytes) {
            self.wire.push(Flying { client, to_gateway: true, address: it.address, bytes: bytes.clone() });
        }
        while let Some(event) = it.session.poll_event() {
            match event {
                client::Event::Pushed(options) | client::Event::Updated(options) => it.pushed = Some(options),
                client::Event::KeysReady { key_id, keys, cipher, v2_peer_id } => {
                    it.v2_peer_id = v2_peer_id;
                    it.channel.install(key_id, &keys, cipher, v2_peer_id).unwrap();
                }
                client::Event::SendKey { key_id } => {
                    it.channel.send_with(key_id);
                    it.sends = true;
                }
                client::Event::KeyRetired { key_id } => it.channel.retire(key_id),
                client::Event::Rejected(text) => it.told = Some(Told::Rejected(text)),
                client::Event::Restart(text) => it.told = Some(Told::Restart(text)),
                client::Event::Halt(text) => it.told = Some(Told::Halt(text)),
                client::Event::Failed(_) => {
                    it.told.get_or_insert(Told::Failed);
                }
            }
        }
    }

    pub fn drain_gateway(&mut self) {
        self.take_effects();
        let mut bytes = Vec::new();
        while let Some(transmit) = self.gateway.poll_transmit(self.now, &mut bytes) {
            assert!(bytes.len() <= 1250, "control packets fit old clients");
            // All sessions of one address get it; they tell it apart by session id.
            for (client, it) in self.clients.iter().enumerate() {
                if it.address == transmit.peer && it.endpoint == transmit.endpoint {
                    assert_eq!(it.stream, transmit.stream);
                    assert!(it.stream.is_none_or(|stream| !self.closed.contains(&stream)));
                    let (address, bytes) = (transmit.peer, bytes.clone());
                    self.wire.push(Flying { client, to_gateway: false, address, bytes });
                }
            }
        }
        self.take_effects();
        self.check();
    }

    fn take_effects(&mut self) {
        while let Some(effect) = self.gateway.poll_effect() {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        let rested =
            |at: Option<&Instant>| at.is_none_or(|at| self.now.since(*at) >= Duration::from_secs(60));
        match effect {
            Effect::Install { worker, endpoint, association, peer_id, addresses, shared, stream, path } => {
                assert!(
                    stream.is_none_or(|stream| stream.worker == worker),
                    "a session is with its connection"
                );
                let carries = |it: &Client| it.address == path.peer() && it.stream == stream;
                assert!(stream.is_none() || self.clients.iter().any(carries), "and it is the client's");
                assert!(
                    rested(self.released_addresses.get(&(endpoint.clone(), addresses))),
                    "addresses rest"
                );
                assert!(rested(self.released_ids.get(&peer_id)), "peer id rests");
                assert_eq!(peer_id % u32::from(WORKERS), u32::from(worker));
                let mut holders =
                    self.paths.values().filter(|(at, it)| *at == endpoint && it.addresses == addresses);
                assert_eq!((holders.next().is_some(), holders.next().is_some()), (shared, false));
                self.stays.insert((worker, association.clone(), addresses));
                let path = Path { worker, association, addresses, has_addresses: !shared, path };
                assert!(self.paths.insert(peer_id, (endpoint, path)).is_none(), "peer ids are unique");
            }
            Effect::Inherit { worker, endpoint, peer_id } => {
                let (at, path) = self.paths.get_mut(&peer_id).expect("whoever inherits is there");
                assert_eq!((&*at, path.worker), (&endpoint, worker));
                path.has_addresses = true;
            }
            Effect::Update { worker, endpoint, peer_id, update } => {
                let (at, path) = self.paths.get_mut(&peer_id).expect("updates of what there is");
                assert_eq!((&*at, path.worker), (&endpoint, worker));
                path.path.apply(update, self.now);
            }
            Effect::Remove { worker, endpoint, peer_id } => {
                let (at, path) = self.paths.remove(&peer_id).expect("removals of what there is");
                assert_eq!((&at, path.worker), (&endpoint, worker));
                if !self.paths.values().any(|(at, it)| *at == endpoint && it.addresses == path.addresses) {
                    self.released_addresses.insert((endpoint, path.addresses), self.now);
                }
                self.released_ids.insert(peer_id, self.now);
            }
            Effect::Vacated { worker, association, addresses } => {
                let there = |it: &Path| {
                    (it.worker, &it.association, it.addresses) == (worker, &association, addresses)
                };
                assert!(!self.paths.values().any(|(_, it)| there(it)), "somebody is there");
                self.stays.remove(&(worker, association, addresses));
            }
            Effect::CloseStream { stream } => {
                assert!(self.closed.insert(stream), "once");
            }
            Effect::Connected(start) => {
                self.lives.insert(start.id.clone());
                assert!(self.starts.insert(start.id.clone(), start).is_none(), "connection ids are unique");
            }
            Effect::Ask(question) => self.questions.push(*question),
            Effect::Refused(attempt) => self.refused.push(attempt),
            Effect::Known { client } => *self.known.entry(client).or_default() += 1,
            Effect::Forgotten { client } => {
                let left = self.known.get_mut(&client).expect("only what is known is forgotten");
                *left -= 1;
            }
            Effect::Floated { connection, peer, .. } => self.moved.push((connection, peer)),
            Effect::Ended(end) => {
                assert!(self.lives.remove(&end.id), "only what began ends, and only once");
                self.ends.push(end);
            }
            Effect::PolicyEvaluated(evaluation) => self.evaluations.push(evaluation),
            Effect::PolicyLifted { connection } => self.lifted.push(connection),
        }
    }

    /// What must hold after every call.
    fn check(&self) {
        let mut held = BTreeSet::new();
        for (endpoint, path) in self.paths.values() {
            let wanted = self.applied.endpoints.get(endpoint).expect("paths of wanted endpoints only");
            assert!(wanted.associations.contains_key(&path.association), "paths of wanted associations only");
            assert!(wanted.admits && !self.drained);
            for address in path.addresses.iter() {
                assert!(wanted.client_cidr.contains(address));
                assert!(!path.has_addresses || held.insert((endpoint, address)), "no address twice");
            }
        }
        for start in self.live() {
            let wanted = self.applied.endpoints.get(&start.endpoint);
            assert!(wanted.is_some_and(|e| !e.terminate.contains(&start.id)), "terminated is terminated");
            let policy = wanted.and_then(|endpoint| endpoint.policy.as_ref());
            let denied = policy.is_some_and(|policy| keeps_out(policy, &start.common_name));
            assert!(!denied, "the policy keeps out {}", start.common_name);
        }
        assert!(self.paths.len() <= self.gateway.session_count());
        for (_, path) in self.paths.values() {
            let stay = (path.worker, path.association.clone(), path.addresses);
            assert!(self.stays.contains(&stay), "whoever is there has not left");
        }
        assert!(self.gateway.session_count() > 0 || self.stays.is_empty(), "whoever left is told of");
    }

    /// Live connections.
    pub fn live(&self) -> Vec<&ConnectionStart> {
        self.lives.iter().map(|id| &self.starts[id]).collect()
    }

    pub fn end_of(&self, id: &ConnectionId) -> Option<EndReason> {
        self.ends.iter().find(|end| end.id == *id).map(|end| end.reason)
    }

    /// Hands over one datagram.
    pub fn deliver(&mut self, flying: Flying) {
        let Flying { client, to_gateway, address, mut bytes } = flying;
        let data = wire::opcode(&bytes).is_some_and(|(opcode, _)| opcode.is_data());
        match (to_gateway, data) {
            (true, false) => {
                let endpoint = self.clients[client].endpoint.clone();
                let (before, open) = (self.gateway.stats().admitted, self.open(&endpoint));
                match self.clients[client].stream {
                    Some(stream) if self.closed.contains(&stream) => {}
                    Some(stream) => {
                        self.gateway.handle_stream(&endpoint, stream, address, &bytes, self.now, self.wall())
                    }
                    None => {
                        self.gateway.handle_control(&endpoint, address, &bytes, self.now, self.wall());
                    }
                }
                assert!(open || self.gateway.stats().admitted == before, "a shut gate admits nobody");
                self.drain_gateway();
            }
            (true, true) => {
                let _ = self.data_up(&mut bytes, address);
            }
            (false, true) => {
                let _ = self.clients[client].channel.open(&mut bytes);
            }
            (false, false) if self.clients[client].address == address => {
                let _ = self.clients[client].session.handle_packet(&bytes, self.now);
                self.drain_client(client);
            }
            (false, false) => {}
        }
    }

    /// A client's connection is gone.
    pub fn hang_up(&mut self, client: usize) {
        let stream = self.clients[client].stream.unwrap();
        self.gateway.handle_stream_closed(stream, self.now);
        self.closed.insert(stream);
        self.drain_gateway();
    }

    /// A data packet at its worker; what the TUN gets.
    pub fn data_up(&mut self, bytes: &mut [u8], from: SocketAddr) -> Result<Option<Vec<u8>>, DropReason> {
        let by_id = wire::peer_id(bytes);
        let by_address = || self.paths.iter().find(|(_, (_, p))| p.path.peer() == from).map(|(id, _)| *id);
        let Some(id) = by_id.or_else(by_address) else { return Err(DropReason::NotData) };
        let Some((endpoint, path)) = self.paths.get_mut(&id) else { return Err(DropReason::NotData) };
        let result = match path.path.up(bytes, from, self.now) {
            Up::Forward(packet) => Ok(Some(packet.to_vec())),
            Up::Local(packet) => Ok(Some(packet.to_vec())),
            Up::Consumed => Ok(None),
            Up::Drop(reason) => Err(reason),
        };
        let endpoint = endpoint.clone();
        let notices: Vec<_> = std::iter::from_fn(|| path.path.poll_notice()).collect();
        for notice in notices {
            self.gateway.handle_notice(&endpoint, id, notice.into(), self.now);
            self.drain_gateway();
        }
        result
    }

    /// Sends an inner payload from a client straight to its worker.
    pub fn send(&mut self, client: usize, payload: &[u8]) -> Result<Option<Vec<u8>>, DropReason> {
        let it = &mut self.clients[client];
        let (mut datagram, address) = (Vec::new(), it.address);
        if it.channel.seal(payload, &mut datagram).is_err() {
            return Err(DropReason::NoSendKey);
        }
        self.data_up(&mut datagram, address)
    }

    /// Sends an inner packet from the TUN to whoever has its destination; whether the client could open it.
    pub fn send_down(&mut self, client: usize, packet: &[u8]) -> Result<(), DropReason> {
        let ip = self.clients[client].ip();
        let path = self
            .paths
            .values_mut()
            .map(|(_, path)| path)
            .find(|path| path.has_addresses && ip.is_some() && path.addresses.v4 == ip);
        let Some(path) = path else { return Err(DropReason::NotForClient) };
        let mut datagram = Vec::new();
        match path.path.down(&mut packet.to_vec(), self.now, &mut datagram) {
            Down::Send => {
                self.clients[client].channel.open(&mut datagram).expect("what we seal, the client opens");
                Ok(())
            }
            Down::Drop(reason) => Err(reason),
        }
    }

    /// Moves to a moment and lets everything do what is due.
    pub fn advance_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
        if self.gateway.poll_timeout().is_some_and(|due| due <= self.now) {
            let before = self.gateway.stats().admitted;
            self.gateway.handle_timeout(self.now, self.wall());
            let open = self.applied.endpoints.keys().any(|id| self.open(id));
            assert!(open || self.gateway.stats().admitted == before, "a shut gate admits nobody");
        }
        self.drain_gateway();
        for client in 0..self.clients.len() {
            if self.clients[client].session.poll_timeout().is_some_and(|due| due <= self.now) {
                self.clients[client].session.handle_timeout(self.now);
                self.drain_client(client);
            }
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(|c| c.session.poll_timeout());
        clients.chain(self.gateway.poll_timeout()).min()
    }

    /// Delivers everything in order, without loss and without time passing.
    pub fn flow(&mut self) {
        while !self.wire.is_empty() {
            let flying = self.wire.remove(0);
            self.deliver(flying);
        }
    }

    /// Delivers everything and lets this much time pass. Live clients send keepalives, workers tick.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut tick = self.now;
        loop {
            self.flow();
            let due = self.next_timeout().unwrap_or(end).min(tick);
            if due > end {
                break;
            }
            self.advance_to(due);
            if self.now >= tick {
                tick = self.now + Duration::from_millis(500);
                self.tick();
            }
            if self.now >= end && self.wire.is_empty() {
                break;
            }
        }
        self.advance_to(end);
        self.flow();
    }

    /// Workers look after their paths; clients that are up say that they live.
    pub fn tick(&mut self) {
        for client in 0..self.clients.len() {
            if self.clients[client].told.is_none() && self.clients[client].sends {
                let _ = self.send(client, &data::PING);
            }
        }
        let ids: Vec<u32> = self.paths.keys().copied().collect();
        for id in ids {
            let Some((endpoint, path)) = self.paths.get_mut(&id) else { continue };
            let endpoint = endpoint.clone();
            match path.path.handle_tick(self.now) {
                Tick::Nothing => {}
                Tick::Ping => {
                    path.path.ping(&mut Vec::new());
                }
                Tick::Dead => {
                    self.gateway.handle_notice(&endpoint, id, PathNotice::Dead, self.now);
                    self.drain_gateway();
                }
            }
        }
    }

    /// Connects a client and expects it to be up.
    pub fn connected(&mut self, certificate: &[u8]) -> usize {
        let client = self.client(certificate);
        self.run(Duration::from_secs(3));
        assert!(self.clients[client].pushed.is_some(), "connected: {:?}", self.clients[client].told);
        client
    }
}

/// An IPv4 UDP packet.
pub fn udp(source: Ipv4Addr, destination: &str) -> Vec<u8> {
    let mut p = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    p.extend(source.octets());
    p.extend(destination.parse::<Ipv4Addr>().unwrap().octets());
    p.extend([0, 53, 0, 53, 0, 8, 0, 0]);
    p
}

/// The same from the far side.
pub fn udp_back(source: &str, destination: Ipv4Addr) -> Vec<u8> {
    udp(source.parse().unwrap(), &destination.to_string())
}
