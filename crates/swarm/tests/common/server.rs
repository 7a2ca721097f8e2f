//! The server: sessions behind one socket, with the host behind their tunnels.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use openvpn::data::{Channel, InBand, PING, Role, classify};
use openvpn::server::{CookieJar, Event, Farewell, FirstPacket, Outcome, Session, SessionConfig, tcp_reset};
use openvpn::tls::{RustlsServer, Tls, server_config};
use openvpn::wire::{Opcode, SessionId, frame, opcode};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;

use super::Certificates;
use super::host::Host;

/// How long the socket is listened to in one turn.
const TURN: Duration = Duration::from_millis(1);
/// The server says something at least this often, unless it is mute.
const PING_EVERY: Duration = Duration::from_millis(300);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Proto {
    Udp,
    Tcp,
}

#[derive(Clone)]
pub struct ServerOptions {
    pub proto: Proto,
    /// Pushed beside the address.
    pub push: Vec<String>,
    /// Logins are refused with these words.
    pub refuse: Option<String>,
    pub ipv6: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let push = ["route 10.0.0.0 255.255.0.0", "topology subnet", "ping 1", "ping-restart 20"];
        Self { proto: Proto::Udp, push: push.map(str::to_owned).to_vec(), refuse: None, ipv6: false }
    }
}

/// What a test asks of it.
pub enum Order {
    Farewell(Farewell),
    Renegotiate,
    Close,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Nothing is sent any more.
    mute: AtomicBool,
    up: AtomicUsize,
    exits: AtomicUsize,
    denied: AtomicUsize,
    orders: Mutex<VecDeque<Order>>,
    versions: Mutex<Vec<String>>,
}

pub struct Server {
    pub address: SocketAddr,
    pub proto: Proto,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(certificates: &Certificates, options: ServerOptions) -> Self {
        let local = if options.ipv6 { "[::1]:0" } else { "127.0.0.1:0" };
        let (door, address) = match options.proto {
            Proto::Udp => {
                let socket = UdpSocket::bind(local).unwrap();
                socket.set_read_timeout(Some(TURN)).unwrap();
                let address = socket.local_addr().unwrap();
                (Door::Udp(socket), address)
            }
            Proto::Tcp => {
                let listener = TcpListener::bind(local).unwrap();
                listener.set_nonblocking(true).unwrap();
                let address = listener.local_addr().unwrap();
                (Door::Tcp(listener), address)
            }
        };
        let mut roots = RootCertStore::empty();
        for der in pki::certificates_from_pem(&certificates.ca.certificate_pem).unwrap() {
            roots.add(CertificateDer::from(der)).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let tls = server_config(
            pki::certificates_from_pem(&certificates.server.certificate_pem).unwrap(),
            &pki::key_from_pem(&certificates.server.key_pem).unwrap(),
            Some(verifier),
        )
        .unwrap();
        let shared = Arc::new(Shared::default());
        let proto = options.proto;
        let driver = Driver {
            door,
            options,
            tls,
            shared: Arc::clone(&shared),
            jar: CookieJar::new([7; 32]),
            peers: BTreeMap::new(),
            host: Host::new(),
            origin: Instant::now(),
            made: 0,
        };
        let thread = std::thread::spawn(move || driver.run());
        Self { address, proto, shared, thread: Some(thread) }
    }

    pub fn order(&self, order: Order) {
        self.shared.orders.lock().unwrap().push_back(order);
    }

    pub fn mute(&self, mute: bool) {
        self.shared.mute.store(mute, Ordering::Relaxed);
    }

    /// Sessions that are established.
    pub fn up(&self) -> usize {
        self.shared.up.load(Ordering::Relaxed)
    }

    /// Clients that said goodbye.
    pub fn exits(&self) -> usize {
        self.shared.exits.load(Ordering::Relaxed)
    }

    /// Inner packets that were dropped for their destination.
    pub fn denied(&self) -> usize {
        self.shared.denied.load(Ordering::Relaxed)
    }

    /// What the clients say they are.
    pub fn versions(&self) -> Vec<String> {
        self.shared.versions.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let outcome = self.thread.take().unwrap().join();
        assert!(outcome.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

enum Door {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

struct Peer {
    session: Option<Session>,
    client_sid: SessionId,
    channel: Channel,
    inner: Ipv4Addr,
    established: bool,
    gone: bool,
    closing: bool,
    spoke: Instant,
    stream: Option<(TcpStream, Vec<u8>)>,
}

impl Peer {
    fn new(session: Option<Session>, client_sid: SessionId, number: u16, stream: Option<TcpStream>) -> Self {
        let [high, low] = number.to_be_bytes();
        Self {
            session,
            client_sid,
            channel: Channel::new(Role::Server),
            inner: Ipv4Addr::new(10, 8, high, low),
            established: false,
            gone: false,
            closing: false,
            spoke: Instant::now(),
            stream: stream.map(|stream| (stream, Vec::new())),
        }
    }
}

struct Driver {
    door: Door,
    options: ServerOptions,
    tls: Arc<rustls::ServerConfig>,
    shared: Arc<Shared>,
    jar: CookieJar,
    peers: BTreeMap<SocketAddr, Peer>,
    host: Host,
    origin: Instant,
    made: u16,
}

impl Driver {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            for (from, packet) in self.receive() {
                self.take(from, packet);
            }
            self.obey();
            let addresses: Vec<SocketAddr> = self.peers.keys().copied().collect();
            for address in &addresses {
                self.settle(*address);
            }
            for packet in self.host.poll() {
                let to = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
                let peer = self.peers.iter_mut().find(|(_, peer)| peer.inner == to && peer.established);
                let Some((address, peer)) = peer else { continue };
                let mut out = Vec::new();
                if peer.channel.seal(&packet, &mut out).is_ok() {
                    send(&self.door, &self.shared, *address, peer, &out);
                }
            }
            self.peers.retain(|_, peer| !peer.gone);
            let up = self.peers.values().filter(|peer| peer.established).count();
            self.shared.up.store(up, Ordering::Relaxed);
        }
    }

    fn now(&self) -> openvpn::Instant {
        openvpn::Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap())
    }

    fn tls(&self) -> openvpn::server::TlsFactory {
        let config = Arc::clone(&self.tls);
        Box::new(move || Ok(Box::new(RustlsServer::new(Arc::clone(&config))?) as Box<dyn Tls>))
    }

    fn receive(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut found = Vec::new();
        let mut buffer = [0; 4096];
        match &self.door {
            Door::Udp(socket) => {
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    found.push((from, buffer[..length].to_vec()));
                    if found.len() >= 64 {
                        break;
                    }
                }
            }
            Door::Tcp(listener) => {
                while let Ok((stream, from)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    stream.set_nodelay(true).unwrap();
                    self.made += 1;
                    self.peers.insert(from, Peer::new(None, SessionId([0; 8]), 1 + self.made, Some(stream)));
                }
                for (from, peer) in &mut self.peers {
                    let Some((stream, held)) = &mut peer.stream else { continue };
                    match stream.read(&mut buffer) {
                        Ok(length @ 1..) => held.extend_from_slice(&buffer[..length]),
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        _ => peer.gone = true,
                    }
                    while let Ok(Some(packet)) = frame::cut(&mut held.as_mut_slice()) {
                        let packet = packet.to_vec();
                        held.drain(..frame::HEADER_BYTES + packet.len());
                        found.push((*from, packet));
                    }
                }
                if found.is_empty() {
                    std::thread::sleep(TURN);
                }
            }
        }
        found
    }

    fn take(&mut self, from: SocketAddr, mut packet: Vec<u8>) {
        let now = self.now();
        if matches!(opcode(&packet), Some((Opcode::DataV1 | Opcode::DataV2, _))) {
            let Some(peer) = self.peers.get_mut(&from) else { return };
            let Ok(opened) = peer.channel.open(&mut packet) else { return };
            if opened.first_use
                && let Some(session) = &mut peer.session
            {
                session.note_new_key_used(opened.key_id, now);
            }
            match classify(opened.payload) {
                InBand::Ip4 => {
                    assert_eq!(opened.payload[12..16], peer.inner.octets(), "a client uses its own address");
                    if opened.payload[16..19] == [10, 0, 1] {
                        self.host.deliver(opened.payload);
                    } else {
                        self.shared.denied.fetch_add(1, Ordering::Relaxed);
                    }
                }
                InBand::OccExit => {
                    self.shared.exits.fetch_add(1, Ordering::Relaxed);
                    peer.gone = true;
                }
                _ => {}
            }
            return;
        }
        let sid = packet.get(1..9).map(|bytes| SessionId(bytes.try_into().unwrap()));
        let known = self.peers.get(&from).is_some_and(|peer| Some(peer.client_sid) == sid);
        if !known && !self.begin(from, &packet, now) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&from)
            && let Some(session) = &mut peer.session
        {
            let _ = session.handle_packet(&packet, now);
        }
        self.settle(from);
    }

    fn begin(&mut self, from: SocketAddr, packet: &[u8], now: openvpn::Instant) -> bool {
        let config = Arc::new(SessionConfig::default());
        let tls = self.tls();
        if self.options.proto == Proto::Tcp {
            let Some(client_sid) = tcp_reset(packet) else { return false };
            let Some(peer) = self.peers.get_mut(&from) else { return false };
            let server_sid = SessionId([9; 8]);
            peer.session =
                Some(Session::over_tcp(config, tls, client_sid, server_sid, [3; 32], now).unwrap());
            peer.client_sid = client_sid;
            // The reset was the session's first message already.
            self.settle(from);
            return false;
        }
        let mut answer = Vec::new();
        match self.jar.judge(from, packet, now, &mut answer) {
            FirstPacket::Drop => false,
            FirstPacket::Answer => {
                if let Door::Udp(socket) = &self.door
                    && !self.shared.mute.load(Ordering::Relaxed)
                {
                    let _ = socket.send_to(&answer, from);
                }
                false
            }
            FirstPacket::Proven { client_sid, server_sid } => {
                let session = Session::new(config, tls, client_sid, server_sid, [3; 32], now).unwrap();
                self.made += 1;
                self.peers.insert(from, Peer::new(Some(session), client_sid, 1 + self.made, None));
                true
            }
        }
    }

    fn obey(&mut self) {
        let now = self.now();
        let orders: Vec<Order> = self.shared.orders.lock().unwrap().drain(..).collect();
        for order in orders {
            for peer in self.peers.values_mut() {
                let Some(session) = &mut peer.session else { continue };
                match &order {
                    Order::Farewell(farewell) => {
                        session.farewell(farewell.clone(), now);
                        peer.established = false;
                        peer.closing = true;
                    }
                    Order::Renegotiate => session.renegotiate(now),
                    Order::Close => peer.gone = true,
                }
            }
        }
    }

    fn settle(&mut self, address: SocketAddr) {
        let now = self.now();
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let Some(mut session) = peer.session.take() else { return };
        session.handle_timeout(now);
        let mut out = Vec::new();
        loop {
            while session.poll_transmit(now, &mut out) {
                send(&self.door, &self.shared, address, peer, &out);
            }
            let Some(event) = session.poll_event() else { break };
            match event {
                Event::AuthenticationNeeded(login) => {
                    let outcome = match &self.options.refuse {
                        Some(reason) => Outcome::Reject { reason: reason.clone() },
                        None => {
                            let mut push = self.options.push.clone();
                            push.push(format!("ifconfig {} 255.255.0.0", peer.inner));
                            let [.., high, low] = peer.inner.octets();
                            Outcome::Accept { peer_id: u32::from_be_bytes([0, 0, high, low]), push }
                        }
                    };
                    if login.key_id == 0 {
                        let version = login.peer_info.version.unwrap_or_default();
                        self.shared.versions.lock().unwrap().push(version);
                    }
                    session.authenticated(outcome, now);
                }
                Event::KeysReady { key_id, keys, cipher, v2_peer_id } => {
                    peer.channel.install(key_id, &keys, cipher, v2_peer_id).unwrap();
                }
                Event::SendKey { key_id } => peer.channel.send_with(key_id),
                Event::KeyRetired { key_id } => peer.channel.retire(key_id),
                Event::Established => peer.established = true,
                Event::PeerExit => {
                    self.shared.exits.fetch_add(1, Ordering::Relaxed);
                    (peer.closing, peer.established) = (true, false);
                }
                Event::Failed(_) => peer.gone = true,
            }
        }
        if peer.established && peer.spoke.elapsed() >= PING_EVERY {
            out.clear();
            if peer.channel.seal(&PING, &mut out).is_ok() {
                send(&self.door, &self.shared, address, peer, &out);
                peer.spoke = Instant::now();
            }
        }
        peer.gone |= peer.closing && session.farewell_done();
        peer.session = Some(session);
    }
}

fn send(door: &Door, shared: &Shared, to: SocketAddr, peer: &mut Peer, packet: &[u8]) {
    if shared.mute.load(Ordering::Relaxed) {
        return;
    }
    match (door, &mut peer.stream) {
        (Door::Udp(socket), _) => {
            let _ = socket.send_to(packet, to);
        }
        (Door::Tcp(_), Some((stream, _))) => {
            let mut framed = Vec::new();
            frame::append(&mut framed, |out| {
                out.extend_from_slice(packet);
                true
            });
            // Small amounts on loopback: there is room, or the peer is gone.
            if stream.write_all(&framed).is_err() {
                peer.gone = true;
            }
        }
        (Door::Tcp(_), None) => {}
    }
}

/// The address of a family's loopback that tests may bind clients to.
pub fn other_loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))
}
