//! A real client: the client's session over a real socket and real TLS.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use gateway::Instant;
use gateway::desired::{Endpoint, ServerIdentity};
use openvpn::client::{Event, Session, SessionConfig};
use openvpn::data::{Channel, InBand, Role, classify};
use openvpn::tls::{RustlsClient, Tls, client_config};
use openvpn::wire::{Opcode, SessionId, frame, opcode};
use pki::issue;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, ServerName};

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// A year around now, for certificates.
const YEAR_S: i64 = 31_536_000;

/// A certification authority with a server's certificate.
pub struct Authority {
    ca: issue::Issued,
    server: issue::Issued,
    now: i64,
}

fn der(pem: &str) -> Vec<Vec<u8>> {
    pki::certificates_from_pem(pem).unwrap()
}

impl Authority {
    pub fn new() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = i64::try_from(since.as_secs()).unwrap();
        let ca = issue::ca("Test CA", now - YEAR_S, now + YEAR_S).unwrap();
        let server = issue::server(
            &ca.certificate_pem,
            &ca.key_pem,
            "vpn.example.com",
            now - YEAR_S,
            now + YEAR_S,
            issue::KeyKind::P256,
        )
        .unwrap();
        Self { ca, server, now }
    }

    /// Gives the endpoint this certificate and trust.
    pub fn equip(&self, mut endpoint: Endpoint) -> Endpoint {
        endpoint.server = ServerIdentity {
            fingerprint: [1; 32],
            chain: Arc::new(der(&self.server.certificate_pem)),
            key: Arc::new(pki::key_from_pem(&self.server.key_pem).unwrap()),
        };
        endpoint.client_roots = Arc::new(der(&self.ca.certificate_pem));
        endpoint
    }

    fn tls(&self, common_name: &str) -> Arc<rustls::ClientConfig> {
        let (ca, now) = (&self.ca, self.now);
        let client = issue::client(
            &ca.certificate_pem,
            &ca.key_pem,
            common_name,
            now - YEAR_S,
            now + YEAR_S,
            issue::KeyKind::P256,
        )
        .unwrap();
        let mut roots = RootCertStore::empty();
        for root in der(&ca.certificate_pem) {
            roots.add(CertificateDer::from(root)).unwrap();
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let key = pki::key_from_pem(&client.key_pem).unwrap();
        client_config(verifier, Some((der(&client.certificate_pem), &key))).unwrap()
    }
}

/// How the session ended, as the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    Restart(String),
    Halt(String),
    Rejected(String),
    Failed,
}

/// What packets come and go by.
enum Line {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, held: Vec<u8>, closed: bool },
}

impl Line {
    fn udp(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((if server.is_ipv4() { "127.0.0.1" } else { "::1" }, 0)).unwrap();
        socket.connect(server).unwrap();
        Line::Udp(socket)
    }

    fn tcp(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        Line::Tcp { stream, held: Vec::new(), closed: false }
    }

    fn port(&self) -> u16 {
        match self {
            Line::Udp(socket) => socket.local_addr().unwrap().port(),
            Line::Tcp { stream, .. } => stream.local_addr().unwrap().port(),
        }
    }

    /// Refused where nobody listens any more: as good as lost.
    fn send(&mut self, packet: &[u8]) {
        match self {
            Line::Udp(socket) => {
                let _ = socket.send(packet);
            }
            Line::Tcp { stream, .. } => {
                let mut framed = Vec::new();
                assert!(frame::append(&mut framed, |out| {
                    out.extend_from_slice(packet);
                    true
                }));
                let _ = stream.write_all(&framed);
            }
        }
    }

    fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        match self {
            Line::Udp(socket) => {
                socket.set_read_timeout(Some(patience)).unwrap();
                let mut buffer = [0; 2048];
                let len = socket.recv(&mut buffer).ok()?;
                Some(buffer[..len].to_vec())
            }
            Line::Tcp { stream, held, closed } => {
                stream.set_read_timeout(Some(patience)).unwrap();
                loop {
                    if let Some(packet) = frame::cut(&mut held.as_mut_slice()).unwrap() {
                        let packet = packet.to_vec();
                        held.drain(..frame::HEADER_BYTES + packet.len());
                        return Some(packet);
                    }
                    let mut buffer = [0; 16_384];
                    match stream.read(&mut buffer) {
                        Ok(len @ 1..) => held.extend_from_slice(&buffer[..len]),
                        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                            return None;
                        }
                        _ => {
                            *closed = true;
                            return None;
                        }
                    }
                }
            }
        }
    }
}

pub struct Client {
    origin: std::time::Instant,
    server: SocketAddr,
    line: Line,
    session: Session,
    channel: Channel,
    inner: VecDeque<Vec<u8>>,
    pub pushed: Option<Vec<String>>,
    pub farewell: Option<Farewell>,
}

impl Client {
    /// Begins to connect; `v1`: as one that knows no peer ids.
    pub fn new(authority: &Authority, server: SocketAddr, name: &str, v1: bool) -> Self {
        Self::over(Line::udp(server), authority, server, name, v1)
    }

    /// The same over TCP.
    pub fn over_tcp(authority: &Authority, server: SocketAddr, name: &str, v1: bool) -> Self {
        Self::over(Line::tcp(server), authority, server, name, v1)
    }

    fn over(line: Line, authority: &Authority, server: SocketAddr, name: &str, v1: bool) -> Self {
        let tls = authority.tls(name);
        let factory = move || {
            let name = ServerName::try_from("vpn.example.com").unwrap();
            Ok(Box::new(RustlsClient::new(Arc::clone(&tls), name)?) as Box<dyn Tls>)
        };
        let mut config =
            SessionConfig { push_request_after: Duration::from_millis(1), ..SessionConfig::default() };
        if v1 {
            config.peer_info = config.peer_info.replace("IV_PROTO=990", "IV_PROTO=988");
        }
        let mut seed = [0; 32];
        let port = line.port();
        seed[..2].copy_from_slice(&port.to_be_bytes());
        let sid = SessionId([seed[0], seed[1], 1, 1, 1, 1, 1, 1]);
        let origin = std::time::Instant::now();
        let session = Session::new(Arc::new(config), Box::new(factory), sid, seed, Instant(0)).unwrap();
        Self {
            origin,
            server,
            line,
            session,
            channel: Channel::new(Role::Client),
            inner: VecDeque::new(),
            pushed: None,
            farewell: None,
        }
    }

    /// Connects, to the end.
    pub fn connect(authority: &Authority, server: SocketAddr, name: &str) -> Self {
        let mut client = Self::new(authority, server, name, false);
        client.until(|client| client.pushed.is_some());
        client
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap())
    }

    /// The address it was given.
    pub fn address(&self) -> Ipv4Addr {
        let pushed = self.pushed.as_ref().unwrap();
        let ifconfig = pushed.iter().find_map(|option| option.strip_prefix("ifconfig ")).unwrap();
        ifconfig.split(' ').next().unwrap().parse().unwrap()
    }

    /// Runs until `done`.
    pub fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !done(self) {
            assert!(std::time::Instant::now() < end, "{:?} {:?}", self.pushed, self.farewell);
            self.turn(Duration::from_millis(5));
        }
    }

    /// One turn: send, wait for a datagram no longer than this, take it. False if none came.
    pub fn turn(&mut self, patience: Duration) -> bool {
        self.transmit();
        let received = self.line.receive(patience);
        let came = received.is_some();
        if let Some(mut packet) = received {
            self.take(&mut packet);
        }
        self.session.handle_timeout(self.now());
        while let Some(event) = self.session.poll_event() {
            self.hear(event);
        }
        self.transmit();
        came
    }

    fn transmit(&mut self) {
        let mut out = Vec::new();
        while self.session.poll_transmit(self.now(), &mut out) {
            self.line.send(&out);
        }
    }

    fn take(&mut self, packet: &mut [u8]) {
        if !matches!(opcode(packet), Some((Opcode::DataV1 | Opcode::DataV2, _))) {
            let _ = self.session.handle_packet(packet, self.now());
            return;
        }
        if let Ok(opened) = self.channel.open(packet)
            && classify(opened.payload) == InBand::Ip4
        {
            self.inner.push_back(opened.payload.to_vec());
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Pushed(options) | Event::Updated(options) => self.pushed = Some(options),
            Event::KeysReady { key_id, keys, cipher, v2_peer_id } => {
                self.channel.install(key_id, &keys, cipher, v2_peer_id).unwrap();
            }
            Event::SendKey { key_id } => self.channel.send_with(key_id),
            // Kept: a client that ignores its farewell and goes on sending is what the tests need.
            Event::KeyRetired { .. } => {}
            Event::Rejected(text) => self.farewell = Some(Farewell::Rejected(text)),
            Event::Restart(text) => self.farewell = Some(Farewell::Restart(text)),
            Event::Halt(text) => self.farewell = Some(Farewell::Halt(text)),
            Event::Failed(_) => self.farewell = self.farewell.take().or(Some(Farewell::Failed)),
        }
    }

    /// Says that it leaves.
    pub fn exit(&mut self) {
        self.session.exit();
        self.transmit();
    }

    /// Goes on from another port, as behind a NAT that forgot it.
    pub fn float(&mut self) {
        self.line = Line::udp(self.server);
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        matches!(self.line, Line::Tcp { closed: true, .. })
    }

    /// An inner packet as it goes into the stream.
    pub fn framed(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(frame::append(&mut out, |out| self.channel.seal(inner, out).is_ok()));
        out
    }

    /// Bytes as they are, into the stream.
    pub fn write(&mut self, bytes: &[u8]) {
        let Line::Tcp { stream, .. } = &mut self.line else { panic!("not over TCP") };
        let _ = stream.write_all(bytes);
    }

    /// Sends an inner packet.
    pub fn send(&mut self, inner: &[u8]) {
        let mut out = Vec::new();
        self.channel.seal(inner, &mut out).unwrap();
        self.line.send(&out);
    }

    /// The next inner packet, if one comes at all before nothing has come for this long.
    pub fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        loop {
            if let Some(inner) = self.inner.pop_front() {
                return Some(inner);
            }
            if !self.turn(patience) {
                return self.inner.pop_front();
            }
        }
    }
}

/// An inner UDP packet with this text in it.
pub fn packet(source: Ipv4Addr, destination: Ipv4Addr, text: &str) -> Vec<u8> {
    let payload = text.as_bytes();
    let udp_len = u16::try_from(8 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_len).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend([0x30, 0x39, 0x00, 0x35]);
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}
