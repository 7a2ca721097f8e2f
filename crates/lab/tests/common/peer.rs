//! A client of our own over a real socket: quick to start, and whatever it sends can be copied and bent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::Net;
use openvpn::client::{Event, Line, Session, SessionConfig};
use openvpn::data::{Channel, Role};
use openvpn::tls::{RustlsClient, Tls, client_config};
use openvpn::wire::{AckIds, Control, Opcode, SessionId, frame, opcode};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, ServerName};

use super::bent::{Bent, Tongue};

/// How long the socket is listened to in one turn.
const TURN: Duration = Duration::from_millis(5);
/// Between two inner packets of one that talks.
const TALK_EVERY: Duration = Duration::from_millis(10);

/// Called beside each datagram that is sent: the socket, and the datagram.
pub type Beside = Box<dyn FnMut(&UdpSocket, &[u8]) + Send>;

/// How a client behaves.
#[derive(Default)]
pub struct Habits {
    /// Once connected it sends small inner packets.
    pub talks: bool,
    pub beside: Option<Beside>,
    pub config: SessionConfig,
    /// It bends what it says.
    pub tongue: Option<Tongue>,
}

/// A hard reset as clients send it first, without a wrapping.
pub fn reset(opcode: Opcode, session: SessionId) -> Vec<u8> {
    let mut out = Vec::new();
    Control {
        opcode,
        key_id: 0,
        session,
        acks: AckIds::default(),
        peer_session: None,
        message_id: Some(0),
        payload: &[],
    }
    .encode(&mut out);
    out
}

/// TLS as a client with the lab's first client certificate.
pub fn tls(certificates: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let read = |name: &str| std::fs::read_to_string(certificates.join(name));
    let mut roots = RootCertStore::empty();
    for root in pki::certificates_from_pem(&read("ca.crt")?)? {
        roots.add(CertificateDer::from(root))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    let chain = pki::certificates_from_pem(&read("client1.crt")?)?;
    let key = pki::key_from_pem(&read("client1.key")?)?;
    Ok(client_config(verifier, Some((chain, &key)))?)
}

/// One TLS connection of it.
pub fn connection(config: &Arc<rustls::ClientConfig>) -> Result<RustlsClient, openvpn::tls::TlsError> {
    let name = ServerName::try_from("vpn.example.com").expect("invariant: a valid name");
    RustlsClient::new(Arc::clone(config), name)
}

#[derive(Default)]
struct Told {
    pushed: Option<Vec<String>>,
    over: Option<String>,
    sent: Vec<Vec<u8>>,
    /// Inner packets that are to be sent.
    waiting: Vec<Vec<u8>>,
    /// Inner packets that came.
    received: Vec<Vec<u8>>,
    /// It is to ask for new keys, and to say that it leaves.
    renegotiates: bool,
    exits: bool,
}

impl Told {
    /// What stands behind a word of the push reply, up to one of these marks.
    fn pushed<T: FromStr>(&self, word: &str, until: &[char]) -> Option<T> {
        let options = self.pushed.as_ref()?;
        options.iter().find_map(|option| option.strip_prefix(word)?.split(until).next()?.parse().ok())
    }

    fn address(&self) -> Option<Ipv4Addr> {
        self.pushed("ifconfig ", &[' '])
    }
}

/// What a client's packets go by.
enum Link {
    Udp(UdpSocket),
    /// With what has come of a frame.
    Tcp(TcpStream, Vec<u8>),
}

impl Link {
    fn udp(net: &Net, server: SocketAddr) -> Result<Self> {
        let socket = net.run(|| UdpSocket::bind("0.0.0.0:0"))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(TURN))?;
        Ok(Self::Udp(socket))
    }

    fn tcp(net: &Net, server: SocketAddr) -> Result<Self> {
        let stream = net.run(|| TcpStream::connect(server))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TURN))?;
        Ok(Self::Tcp(stream, Vec::new()))
    }

    fn send(&mut self, packet: &[u8]) {
        match self {
            Self::Udp(socket) => drop(socket.send(packet)),
            Self::Tcp(stream, _) => {
                let mut framed = Vec::new();
                frame::append(&mut framed, |out| {
                    out.extend_from_slice(packet);
                    true
                });
                let _ = stream.write_all(&framed);
            }
        }
    }

    /// What has come within a turn. Refused where nobody listens (any more): as good as lost.
    fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 4_096];
        match self {
            Self::Udp(socket) => {
                let length = socket.recv(&mut buffer).ok();
                length.and_then(|length| buffer.get(..length)).map(<[u8]>::to_vec).into_iter().collect()
            }
            Self::Tcp(stream, begun) => {
                let length = stream.read(&mut buffer).unwrap_or_default();
                begun.extend(buffer.iter().take(length));
                let (mut packets, mut rest) = (Vec::new(), begun.as_mut_slice());
                while let Ok(Some(packet)) = frame::cut(&mut rest) {
                    packets.push(packet.to_vec());
                }
                *begun = rest.to_vec();
                packets
            }
        }
    }
}

/// A running client; silent for good with this value.
pub struct Peer {
    told: Arc<Mutex<Told>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Begins to connect from a namespace. `talks`: once connected it sends small inner packets.
    pub fn start(
        net: &Net,
        server: SocketAddr,
        tls: Arc<rustls::ClientConfig>,
        talks: bool,
        beside: Option<Beside>,
    ) -> Result<Self> {
        Self::start_as(net, server, tls, Habits { talks, beside, ..Habits::default() })
    }

    /// The same with other habits.
    pub fn start_as(
        net: &Net,
        server: SocketAddr,
        tls: Arc<rustls::ClientConfig>,
        habits: Habits,
    ) -> Result<Self> {
        Self::begin(Link::udp(net, server)?, tls, habits)
    }

    /// The same over TCP, and it says nothing by itself.
    pub fn start_over_tcp(net: &Net, server: SocketAddr, tls: Arc<rustls::ClientConfig>) -> Result<Self> {
        let config = Line::V2_6.config_over_tcp();
        Self::begin(Link::tcp(net, server)?, tls, Habits { config, ..Habits::default() })
    }

    fn begin(link: Link, tls: Arc<rustls::ClientConfig>, habits: Habits) -> Result<Self> {
        let Habits { talks, beside, config, tongue } = habits;
        let mut tongues = tongue.clone();
        let factory = move || {
            let inner = Box::new(connection(&tls)?) as Box<dyn Tls>;
            Ok(match &mut tongues {
                // Each key has another way of bending.
                Some(tongue) => Box::new(Bent { inner, tongue: tongue.another() }) as Box<dyn Tls>,
                None => inner,
            })
        };
        let config = SessionConfig { push_request_after: Duration::from_millis(1), ..config };
        let mut seed = [0; 32];
        aws_lc_rs::default_provider().secure_random.fill(&mut seed).ok().context("no randomness")?;
        let sid = SessionId([7, seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6]]);
        let session = Session::new(Arc::new(config), Box::new(factory), sid, seed, openvpn::Instant(0))?;
        let told = Arc::new(Mutex::new(Told::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let driver = Driver {
            origin: Instant::now(),
            link,
            session,
            channel: Channel::new(Role::Client),
            told: Arc::clone(&told),
            beside,
            talk_at: talks.then(Instant::now),
            tongue,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || driver.run(&stopped));
        Ok(Self { told, stop, thread: Some(thread) })
    }

    fn told<T>(&self, read: impl FnOnce(&Told) -> T) -> T {
        read(&self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it has had its push reply, and no end.
    pub fn is_up(&self) -> bool {
        self.told(|told| told.pushed.is_some() && told.over.is_none())
    }

    /// How its session ended.
    pub fn over(&self) -> Option<String> {
        self.told(|told| told.over.clone())
    }

    /// Its address in the tunnel, once it is up.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.told(Told::address)
    }

    /// Its IPv6 address in the tunnel, once it is up and if it has one.
    pub fn address_v6(&self) -> Option<Ipv6Addr> {
        self.told(|told| told.pushed("ifconfig-ipv6 ", &['/', ' ']))
    }

    /// Sends inner packets, whatever they are.
    pub fn send(&self, packets: impl IntoIterator<Item = Vec<u8>>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).waiting.extend(packets);
    }

    /// Asks for new keys.
    pub fn renegotiate(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).renegotiates = true;
    }

    /// Says that it leaves, in the way of its line.
    pub fn exit(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).exits = true;
    }

    /// Every inner packet that came to it.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.told(|told| told.received.clone())
    }

    /// Every datagram it has sent.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        self.told(|told| told.sent.clone())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Driver {
    origin: Instant,
    link: Link,
    session: Session,
    channel: Channel,
    told: Arc<Mutex<Told>>,
    beside: Option<Beside>,
    /// When to send the next inner packet; `None`: never.
    talk_at: Option<Instant>,
    tongue: Option<Tongue>,
}

impl Driver {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.transmit();
            for mut packet in self.link.receive() {
                let packet = packet.as_mut_slice();
                if matches!(opcode(packet), Some((Opcode::DataV1 | Opcode::DataV2, _))) {
                    if let Ok(opened) = self.channel.open(packet) {
                        let inner = opened.payload.to_vec();
                        self.tell(|told| told.received.push(inner));
                    }
                } else {
                    let _ = self.session.handle_packet(packet, self.now());
                }
            }
            self.session.handle_timeout(self.now());
            while let Some(event) = self.session.poll_event() {
                self.hear(event);
            }
            let (waiting, renegotiates, exits) = {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                let asked = (std::mem::take(&mut told.renegotiates), std::mem::take(&mut told.exits));
                (std::mem::take(&mut told.waiting), asked.0, asked.1)
            };
            if renegotiates {
                self.session.renegotiate(self.now());
            }
            if exits {
                self.session.exit();
            }
            for packet in waiting {
                let mut out = Vec::new();
                if self.channel.seal(&packet, &mut out).is_ok() {
                    self.send(&out);
                }
            }
            self.talk();
        }
    }

    fn now(&self) -> openvpn::Instant {
        openvpn::Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn transmit(&mut self) {
        let mut out = Vec::new();
        while self.session.poll_transmit(self.now(), &mut out) {
            match &mut self.tongue {
                Some(tongue) => {
                    let bent = tongue.packet(&out);
                    self.send(&bent);
                }
                None => self.send(&out),
            }
        }
    }

    fn send(&mut self, datagram: &[u8]) {
        self.link.send(datagram);
        if let (Some(beside), Link::Udp(socket)) = (&mut self.beside, &self.link) {
            beside(socket, datagram);
        }
        self.tell(|told| told.sent.push(datagram.to_vec()));
    }

    fn talk(&mut self) {
        let now = Instant::now();
        if self.talk_at.is_none_or(|at| now < at) {
            return;
        }
        let address = self.told.lock().unwrap_or_else(PoisonError::into_inner).address();
        let Some(address) = address else { return };
        self.talk_at = Some(now + TALK_EVERY);
        let mut out = Vec::new();
        if self.channel.seal(&inner(address), &mut out).is_ok() {
            self.send(&out);
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Pushed(options) | Event::Updated(options) => self.tell(|told| told.pushed = Some(options)),
            Event::KeysReady { key_id, keys, cipher, v2_peer_id } => {
                if let Err(error) = self.channel.install(key_id, &keys, cipher, v2_peer_id) {
                    self.tell(|told| told.over = Some(error.to_string()));
                }
            }
            Event::SendKey { key_id } => self.channel.send_with(key_id),
            Event::KeyRetired { key_id } => self.channel.retire(key_id),
            Event::Rejected(text) | Event::Restart(text) | Event::Halt(text) => {
                self.tell(|told| told.over = Some(format!("told: {text}")));
            }
            Event::Failed(reason) => self.tell(|told| told.over = Some(format!("{reason:?}"))),
        }
    }
}

/// A UDP packet from an inner address to the first target's discard port.
pub fn inner(source: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 36, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(source.octets());
    packet.extend([10, 77, 1, 10]);
    let header: u32 = packet.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = !(header % 0xffff) & 0xffff;
    packet[10..12].copy_from_slice(&u16::try_from(folded).unwrap_or_default().to_be_bytes());
    packet.extend([0x30, 0x39, 0, 9, 0, 16, 0, 0]);
    packet.extend(*b"hostile?");
    packet
}
