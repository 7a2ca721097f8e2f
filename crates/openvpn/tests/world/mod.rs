//! A world under virtual time: one client, one server, and a network that drops, repeats, reorders and delays.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use foreign::Dice as Rng;
use openvpn::data::{Channel, OpenError, PING, Role};
use openvpn::server::{CookieJar, FailReason, Farewell, FirstPacket, Outcome};
use openvpn::tls::double::{Double, Script};
use openvpn::tls::{Tls, TlsError};
use openvpn::wire::{self, SessionId};
use openvpn::wrap::ControlWrap;
use openvpn::{Instant, UnixTime, client, server};

pub type MakeTls = Box<dyn FnMut() -> Result<Box<dyn Tls>, TlsError> + Send>;

#[derive(Clone, Debug)]
pub struct Net {
    pub drop_per_mille: u64,
    pub repeat_per_mille: u64,
    pub delay_us: (u64, u64),
}

impl Net {
    pub const PERFECT: Self = Self { drop_per_mille: 0, repeat_per_mille: 0, delay_us: (1000, 1000) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    ServerRenegotiates,
    ClientRenegotiates,
    BothRenegotiate,
    Farewell,
    ClientExits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Packet {
    ToClient,
    ToServer,
}

/// Arrival time, order, direction, bytes.
type Flying = (u64, u64, Packet, Vec<u8>);

pub struct World {
    pub now: Instant,
    pub rng: Rng,
    pub net: Net,
    air: BinaryHeap<Reverse<Flying>>,
    sequence: u64,
    pub client: client::Session,
    pub server: Option<server::Session>,
    server_born: Option<Instant>,
    server_config: Arc<server::SessionConfig>,
    server_tls: Option<MakeTls>,
    jar: CookieJar,
    /// How the server's control channel is wrapped; the client's is in its config.
    pub wrap: ControlWrap,
    pub auth_delay_us: u64,
    pub refuse_login: bool,
    pub push: Vec<String>,
    auth_at: VecDeque<(u64, u8)>,
    pub actions: VecDeque<(u64, Action)>,
    /// Since both ends are up; actions count from here.
    pub up_at: Option<Instant>,
    pub client_channel: Channel,
    pub server_channel: Channel,
    next_data: u64,
    /// Data packets are of the epoch format.
    pub has_epochs: bool,
    pub seen: Seen,
}

/// What has happened, for the test to look at.
#[derive(Debug, Default)]
pub struct Seen {
    pub pushed: Option<Vec<String>>,
    pub updates: u32,
    pub server_up: Option<Instant>,
    pub client_up: Option<Instant>,
    pub server_failed: Option<FailReason>,
    pub client_failed: Option<FailReason>,
    pub client_told: Option<String>,
    pub peer_exit: bool,
    pub logins: Vec<u8>,
    /// User name and password of each.
    pub credentials: Vec<(Option<String>, Option<String>)>,
    pub accepted: Vec<u8>,
    pub server_keys: Vec<u8>,
    pub client_keys: Vec<u8>,
    pub server_sends: Vec<u8>,
    pub client_sends: Vec<u8>,
    pub data_up: u64,
    pub data_down: u64,
    pub lost_to_missing_keys: u64,
    pub datagrams: u64,
    pub longest: usize,
    pub cookies: u64,
    pub farewell_at: Option<Instant>,
    pub farewell_done_at: Option<Instant>,
    pub first_packets: Vec<Vec<u8>>,
    /// Opcode of the packet that proved the address.
    pub first_accepted: Option<u8>,
    /// Highest epoch seen on the wire, of keys that have them.
    pub highest_epoch: u16,
    /// Control packets of renegotiated keys.
    pub renewed_packets: u64,
    /// Those of them that show acknowledgements.
    pub renewed_in_clear: u64,
}

const PEER: &str = "192.0.2.7:40001";

pub fn double_pair(rng: &mut Rng) -> (MakeTls, MakeTls) {
    let bytes = 100 + usize::try_from(rng.below(6000)).unwrap();
    let (mut c, mut s) = (rng.roll(), rng.roll());
    let next = |seed: &mut u64| {
        *seed = seed.wrapping_add(1);
        *seed
    };
    let next2 = next;
    (
        Box::new(move || {
            let script = Script {
                seed: next(&mut c),
                flight_bytes: bytes / 2,
                certificates: vec![vec![7; 600]],
                ..Script::default()
            };
            Ok(Box::new(Double::client(script)))
        }),
        Box::new(move || {
            Ok(Box::new(Double::server(Script {
                seed: next2(&mut s),
                flight_bytes: bytes,
                ..Script::default()
            })))
        }),
    )
}

/// Writes down what is written.
pub struct Spy(pub Box<dyn Tls>, pub Arc<Mutex<Vec<Vec<u8>>>>);

impl Tls for Spy {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.0.feed(bytes)
    }
    fn drain(&mut self, out: &mut Vec<u8>) {
        self.0.drain(out);
    }
    fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
        self.1.lock().unwrap().push(plaintext.to_vec());
        self.0.write(plaintext)
    }
    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.0.read(out)
    }
    fn handshaking(&self) -> bool {
        self.0.handshaking()
    }
    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        self.0.peer_certificates()
    }
    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError> {
        self.0.export(label, out)
    }
}

impl World {
    pub fn new(
        seed: u64,
        net: Net,
        client_config: client::SessionConfig,
        server_config: server::SessionConfig,
        tls: (MakeTls, MakeTls),
    ) -> Self {
        let mut rng = Rng(seed);
        let now = Instant(rng.below(1 << 40));
        let sid = SessionId((rng.roll() | 1).to_be_bytes());
        let client =
            client::Session::new(Arc::new(client_config), tls.0, sid, [seed.to_be_bytes()[7]; 32], now)
                .unwrap();
        let mut world = Self {
            now,
            rng,
            net,
            air: BinaryHeap::new(),
            sequence: 0,
            client,
            server: None,
            server_born: None,
            server_config: Arc::new(server_config),
            server_tls: Some(tls.1),
            jar: CookieJar::new([9; 32]),
            wrap: ControlWrap::Plain,
            auth_delay_us: 0,
            refuse_login: false,
            push: vec![
                "topology subnet".to_owned(),
                "ifconfig 10.8.0.2 255.255.255.0".to_owned(),
                "ping 1".to_owned(),
            ],
            auth_at: VecDeque::new(),
            actions: VecDeque::new(),
            up_at: None,
            client_channel: Channel::new(Role::Client),
            server_channel: Channel::new(Role::Server),
            next_data: u64::MAX,
            has_epochs: false,
            seen: Seen::default(),
        };
        world.settle();
        world
    }

    fn throw(&mut self, to: Packet, bytes: &[u8]) {
        self.seen.datagrams += 1;
        self.seen.longest = self.seen.longest.max(bytes.len());
        if self.seen.first_packets.len() < 6 {
            self.seen.first_packets.push(bytes.to_vec());
        }
        match (wire::opcode(bytes), bytes.get(4..6)) {
            (Some((opcode, _)), Some(&[high, low])) if opcode.is_data() && self.has_epochs => {
                self.seen.highest_epoch = self.seen.highest_epoch.max(u16::from_be_bytes([high, low]));
            }
            (Some((opcode, 1..)), _) if !opcode.is_data() => {
                self.seen.renewed_packets += 1;
                let acks = wire::Control::parse(bytes).is_ok_and(|control| control.peer_session.is_some());
                self.seen.renewed_in_clear += u64::from(acks);
            }
            _ => {}
        }
        let copies = 1 + u64::from(self.rng.chance(self.net.repeat_per_mille));
        for _ in 0..copies {
            if !self.rng.chance(self.net.drop_per_mille) {
                let (low, high) = self.net.delay_us;
                let at = self.now.0 + low + self.rng.below(high - low + 1);
                self.sequence += 1;
                self.air.push(Reverse((at, self.sequence, to, bytes.to_vec())));
            }
        }
    }

    fn land(&mut self, to: Packet, mut bytes: Vec<u8>) {
        let is_data = wire::opcode(&bytes).is_some_and(|(opcode, _)| opcode.is_data());
        match (to, is_data) {
            (Packet::ToClient, true) => {
                if let Some(key_id) = received(
                    self.client_channel.open(&mut bytes),
                    &mut self.seen.data_down,
                    &mut self.seen.lost_to_missing_keys,
                ) {
                    self.client.note_new_key_used(key_id, self.now);
                }
            }
            (Packet::ToServer, true) => {
                let Some(server) = &mut self.server else { return };
                if let Some(key_id) = received(
                    self.server_channel.open(&mut bytes),
                    &mut self.seen.data_up,
                    &mut self.seen.lost_to_missing_keys,
                ) {
                    server.note_new_key_used(key_id, self.now);
                }
            }
            (Packet::ToClient, false) => {
                let _ = self.client.handle_packet(&bytes, self.now);
            }
            (Packet::ToServer, false) => self.land_control(&bytes),
        }
    }

    fn land_control(&mut self, bytes: &[u8]) {
        let peer: SocketAddr = PEER.parse().unwrap();
        if let Some(server) = &mut self.server {
            let _ = server.handle_packet(bytes, self.now);
            return;
        }
        let mut out = Vec::new();
        let wall = UnixTime(1_700_000_000 + i64::try_from(self.now.0 / 1_000_000).unwrap());
        match self.jar.judge_wrapped(&self.wrap, peer, bytes, self.now, wall, &mut out) {
            FirstPacket::Answer => {
                self.seen.cookies += 1;
                self.throw(Packet::ToClient, &out);
            }
            FirstPacket::Drop => {}
            FirstPacket::Proven { client_sid, server_sid } => {
                let Some(tls) = self.server_tls.take() else { return }; // one life only: then a tombstone
                let mut session = server::Session::new(
                    Arc::clone(&self.server_config),
                    tls,
                    client_sid,
                    server_sid,
                    [3; 32],
                    self.now,
                )
                .unwrap()
                .with_wrap(self.wrap.session(bytes, wall).unwrap());
                session.handle_packet(bytes, self.now).unwrap();
                self.seen.first_accepted = bytes.first().map(|first| first >> 3);
                self.server_born = Some(self.now);
                self.server = Some(session);
            }
        }
    }

    /// Drains everything, as the driver contracts say.
    fn settle(&mut self) {
        let mut out = Vec::new();
        for _ in 0..1000 {
            let mut idle = true;
            while self.client.poll_transmit(self.now, &mut out) {
                idle = false;
                let bytes = std::mem::take(&mut out);
                self.throw(Packet::ToServer, &bytes);
            }
            while let Some(event) = self.client.poll_event() {
                idle = false;
                self.client_event(event);
            }
            while self.server.as_mut().is_some_and(|server| server.poll_transmit(self.now, &mut out)) {
                idle = false;
                let bytes = std::mem::take(&mut out);
                self.throw(Packet::ToClient, &bytes);
            }
            while let Some(event) = self.server.as_mut().and_then(server::Session::poll_event) {
                idle = false;
                self.server_event(event);
            }
            if idle {
                self.note_state();
                return;
            }
        }
        panic!("the ends never come to rest");
    }

    fn note_state(&mut self) {
        if let Some(server) = &self.server
            && self.seen.farewell_at.is_some()
            && self.seen.farewell_done_at.is_none()
            && server.farewell_done()
        {
            self.seen.farewell_done_at = Some(self.now);
        }
        if self.up_at.is_none() && self.seen.server_up.is_some() && self.seen.client_up.is_some() {
            self.up_at = Some(self.now);
            self.next_data = self.now.0 + 10_000;
        }
    }

    fn client_event(&mut self, event: client::Event) {
        match event {
            client::Event::Pushed(options) => {
                self.seen.pushed = Some(options);
                self.seen.client_up = Some(self.now);
            }
            client::Event::Updated(options) => {
                self.seen.pushed = Some(options);
                self.seen.updates += 1;
            }
            client::Event::KeysReady { key_id, keys, cipher, v2_peer_id } => {
                self.seen.client_keys.push(key_id);
                self.has_epochs = keys.has_epochs();
                self.client_channel.install(key_id, &keys, cipher, v2_peer_id).unwrap();
            }
            client::Event::SendKey { key_id } => {
                self.seen.client_sends.push(key_id);
                self.client_channel.send_with(key_id);
            }
            client::Event::KeyRetired { key_id } => self.client_channel.retire(key_id),
            client::Event::Rejected(text) => self.seen.client_told = Some(format!("rejected {text}")),
            client::Event::Restart(text) => self.seen.client_told = Some(format!("restart {text}")),
            client::Event::Halt(text) => self.seen.client_told = Some(format!("halt {text}")),
            client::Event::Failed(reason) => self.seen.client_failed = Some(reason),
        }
    }

    fn server_event(&mut self, event: server::Event) {
        match event {
            server::Event::AuthenticationNeeded(login) => {
                self.seen.logins.push(login.key_id);
                let password = login.password.as_ref().map(|password| password.as_str().to_owned());
                self.seen.credentials.push((login.username.clone(), password));
                self.auth_at.push_back((self.now.0 + self.auth_delay_us, login.key_id));
            }
            server::Event::KeysReady { key_id, keys, cipher, v2_peer_id } => {
                assert!(self.seen.accepted.contains(&key_id), "keys before the login was accepted");
                self.seen.server_keys.push(key_id);
                self.has_epochs = keys.has_epochs();
                self.server_channel.install(key_id, &keys, cipher, v2_peer_id).unwrap();
            }
            server::Event::SendKey { key_id } => {
                self.seen.server_sends.push(key_id);
                self.server_channel.send_with(key_id);
            }
            server::Event::KeyRetired { key_id } => self.server_channel.retire(key_id),
            server::Event::Established => {
                assert!(self.seen.accepted.contains(&0), "push before the login was accepted");
                self.seen.server_up = Some(self.now);
            }
            server::Event::PeerExit => self.seen.peer_exit = true,
            server::Event::Failed(reason) => self.seen.server_failed = Some(reason),
        }
    }

    /// Runs until `until` is true or `limit` of virtual time has passed; true if it was.
    pub fn run(&mut self, limit: Duration, mut until: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        for _ in 0..200_000 {
            if until(self) {
                return true;
            }
            let action = self.up_at.and_then(|up| Some(up.0 + self.actions.front()?.0));
            let times = [
                self.air.peek().map(|packet| packet.0.0),
                self.client.poll_timeout().map(|at| at.0),
                self.server.as_ref().and_then(server::Session::poll_timeout).map(|at| at.0),
                self.auth_at.front().map(|at| at.0),
                action,
                (self.next_data != u64::MAX).then_some(self.next_data),
            ];
            let Some(at) = times.into_iter().flatten().min() else { return false };
            if at > end.0 {
                self.now = end;
                return until(self);
            }
            self.now = self.now.max(Instant(at));
            self.step(action);
            self.settle();
        }
        panic!("too many steps: {:?}", self.seen);
    }

    fn step(&mut self, action: Option<u64>) {
        let now = self.now;
        if self.air.peek().is_some_and(|packet| packet.0.0 <= now.0) {
            let Some(Reverse((_, _, to, bytes))) = self.air.pop() else { return };
            self.land(to, bytes);
            return;
        }
        if self.client.poll_timeout().is_some_and(|at| at <= now) {
            self.client.handle_timeout(now);
        }
        if let Some(server) = &mut self.server {
            if server.poll_timeout().is_some_and(|at| at <= now) {
                server.handle_timeout(now);
            }
            if self.auth_at.front().is_some_and(|at| at.0 <= now.0) {
                let (_, key_id) = self.auth_at.pop_front().unwrap();
                let outcome = if self.refuse_login {
                    Outcome::Reject { reason: "no".to_owned() }
                } else {
                    self.seen.accepted.push(key_id);
                    Outcome::Accept { peer_id: 77, push: self.push.clone() }
                };
                server.authenticated(outcome, now);
            }
        }
        if action.is_some_and(|at| at <= now.0) {
            let (_, action) = self.actions.pop_front().unwrap();
            self.act(action);
        }
        if self.next_data <= now.0 {
            self.next_data = now.0 + 250_000;
            let mut out = Vec::new();
            if self.client_channel.seal(&PING, &mut out).is_ok() {
                self.throw(Packet::ToServer, &out);
            }
            out.clear();
            if self.server_channel.seal(b"E-something", &mut out).is_ok() {
                self.throw(Packet::ToClient, &out);
            }
        }
    }

    /// The server wants the client to have other push options; whether it could tell.
    pub fn retell(&mut self, push: Vec<String>) -> bool {
        let told = self.server.as_mut().unwrap().retell(push);
        self.settle();
        told
    }

    pub fn act(&mut self, action: Action) {
        let now = self.now;
        let server = self.server.as_mut().unwrap();
        match action {
            Action::ServerRenegotiates => server.renegotiate(now),
            Action::ClientRenegotiates => self.client.renegotiate(now),
            Action::BothRenegotiate => {
                server.renegotiate(now);
                self.client.renegotiate(now);
            }
            Action::Farewell => {
                server.farewell(Farewell::RestartKeep, now);
                self.seen.farewell_at = Some(now);
            }
            Action::ClientExits => self.client.exit(),
        }
        self.settle();
    }

    pub fn server_age(&self) -> Duration {
        self.server_born.map(|born| self.now.since(born)).unwrap_or_default()
    }
}

/// Counts an opened packet; yields its key id. Keys that are gone or not there yet are fine, wrong ones are not.
fn received(
    opened: Result<openvpn::data::Opened<'_>, OpenError>,
    counter: &mut u64,
    missing: &mut u64,
) -> Option<u8> {
    match opened {
        Ok(opened) => {
            *counter += 1;
            opened.first_use.then_some(opened.key_id)
        }
        Err(OpenError::Replayed) => None,
        Err(OpenError::UnknownKey) => {
            *missing += 1;
            None
        }
        Err(error) => panic!("data packet refused: {error}"),
    }
}
