//! Probes through a tunnel: what is sent, what counts as an answer, and the verdict.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use openvpn::Instant;
use serde::Serialize;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress};
use tokio::sync::oneshot;

use crate::expect::{Expectation, Protocol, Talk, Verb};
use crate::pushed::Pushed;
use crate::tally::Tally;

/// Echo requests and datagrams are repeated after this time.
const AGAIN: Duration = Duration::from_millis(500);
/// Bytes of a small transfer.
const TRANSFER_BYTES: usize = 4096;
/// Bytes of an echo request or datagram.
const PAYLOAD_BYTES: usize = 56;
/// Bytes of an HTTP answer that are looked at.
const HTTP_BYTES: usize = 64;
/// Where `deny` without a port tries to connect, beside its echo request: an answer of either kind breaks it.
const DENY_TCP_PORT: u16 = 443;
/// Unanswered echo requests that are remembered.
const MAX_PENDING: usize = 32;
/// How much longer than the server's keepalive period a sign of life is waited for.
const LIFE_SLACK: Duration = Duration::from_secs(2);

/// What became of an expectation at one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// It holds.
    pub held: bool,
    /// In words.
    pub detail: String,
    /// From the first packet to the answer, or to the end of the wait.
    #[serde(serialize_with = "milliseconds", rename = "ms")]
    pub took: Duration,
}

fn milliseconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((time.as_secs_f64() * 1_000_000.0).round() / 1000.0)
}

impl Verdict {
    /// It could not be tried.
    pub(crate) fn not_tried(why: &str) -> Self {
        Self { held: false, detail: why.to_owned(), took: Duration::ZERO }
    }
}

/// What probes need of their stack.
pub(crate) struct Parts<'s> {
    pub(crate) sockets: &'s mut SocketSet<'static>,
    pub(crate) interface: &'s mut Interface,
    pub(crate) pushed: &'s Pushed,
    pub(crate) next_port: &'s mut u16,
}

impl Parts<'_> {
    /// An ephemeral port; also the name of an echo request.
    fn port(&mut self) -> u16 {
        let port = *self.next_port;
        *self.next_port = port.checked_add(1).unwrap_or(49_152);
        port
    }
}

/// What came back.
enum Answer {
    /// What was asked for.
    Good(String),
    /// Something else: whoever sent it was reached.
    Other(String),
}

enum Kind {
    Echo { sequence: u16 },
    Tcp { talk: Talk, connected: bool, sent: usize, got: Vec<u8> },
    Udp { port: u16, talk: Talk },
}

/// One question.
struct Shot {
    kind: Kind,
    name: u16,
    target: IpAddr,
    socket: SocketHandle,
    again_at: Instant,
}

/// Byte `n` of a transfer.
fn pattern() -> Vec<u8> {
    (0..TRANSFER_BYTES).map(|n| u8::try_from(n * 31 % 251).unwrap_or(0)).collect()
}

fn echo_socket(parts: &mut Parts<'_>, name: u16) -> Option<SocketHandle> {
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 512]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(name)).ok()?;
    Some(parts.sockets.add(socket))
}

/// Sends an echo request; false if it cannot go now.
fn send_echo(parts: &mut Parts<'_>, socket: SocketHandle, target: IpAddr, name: u16, sequence: u16) -> bool {
    let data = [0x42; PAYLOAD_BYTES];
    let unchecked = ChecksumCapabilities::ignored();
    let from = parts.pushed.source_for(target);
    let socket = parts.sockets.get_mut::<icmp::Socket>(socket);
    match (from, target) {
        (Some(IpAddr::V4(_)), IpAddr::V4(_)) => {
            let request = Icmpv4Repr::EchoRequest { ident: name, seq_no: sequence, data: &data };
            let Ok(buffer) = socket.send(request.buffer_len(), target.into()) else { return false };
            request.emit(&mut Icmpv4Packet::new_unchecked(buffer), &unchecked);
            true
        }
        (Some(IpAddr::V6(from)), IpAddr::V6(to)) => {
            let request = Icmpv6Repr::EchoRequest { ident: name, seq_no: sequence, data: &data };
            let Ok(buffer) = socket.send(request.buffer_len(), target.into()) else { return false };
            request.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(buffer), &unchecked);
            true
        }
        _ => false,
    }
}

/// The sequence number of the next reply from the target, if one has come.
fn echo_reply(parts: &mut Parts<'_>, socket: SocketHandle, target: IpAddr, name: u16) -> Option<u16> {
    let own = parts.pushed.source_for(target);
    let socket = parts.sockets.get_mut::<icmp::Socket>(socket);
    let target_address: IpAddress = target.into();
    while let Ok((packet, from)) = socket.recv() {
        if from != target_address {
            continue;
        }
        let unchecked = ChecksumCapabilities::ignored();
        let reply = match (own, target) {
            (_, IpAddr::V4(_)) => {
                let packet = Icmpv4Packet::new_checked(packet).ok();
                match packet.as_ref().and_then(|packet| Icmpv4Repr::parse(packet, &unchecked).ok()) {
                    Some(Icmpv4Repr::EchoReply { ident, seq_no, .. }) => Some((ident, seq_no)),
                    _ => None,
                }
            }
            (Some(IpAddr::V6(own)), IpAddr::V6(target)) => {
                let packet = Icmpv6Packet::new_checked(packet).ok();
                match packet.as_ref().and_then(|it| Icmpv6Repr::parse(&target, &own, it, &unchecked).ok()) {
                    Some(Icmpv6Repr::EchoReply { ident, seq_no, .. }) => Some((ident, seq_no)),
                    _ => None,
                }
            }
            _ => None,
        };
        if let Some((ident, sequence)) = reply
            && ident == name
        {
            return Some(sequence);
        }
    }
    None
}

impl Shot {
    fn echo(target: IpAddr, parts: &mut Parts<'_>, now: Instant) -> Option<Self> {
        let name = parts.port();
        let socket = echo_socket(parts, name)?;
        Some(Self { kind: Kind::Echo { sequence: 0 }, name, target, socket, again_at: now })
    }

    fn tcp(target: IpAddr, port: u16, talk: Talk, parts: &mut Parts<'_>, now: Instant) -> Option<Self> {
        let name = parts.port();
        let buffer = || tcp::SocketBuffer::new(vec![0; TRANSFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.connect(parts.interface.context(), (IpAddress::from(target), port), name).ok()?;
        let socket = parts.sockets.add(socket);
        let kind = Kind::Tcp { talk, connected: false, sent: 0, got: Vec::new() };
        // The stack repeats by itself; this only bounds how long it is not looked at.
        Some(Self { kind, name, target, socket, again_at: now + AGAIN })
    }

    fn udp(target: IpAddr, port: u16, talk: Talk, parts: &mut Parts<'_>, now: Instant) -> Option<Self> {
        let name = parts.port();
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(name).ok()?;
        let socket = parts.sockets.add(socket);
        Some(Self { kind: Kind::Udp { port, talk }, name, target, socket, again_at: now })
    }

    fn is_tcp(&self) -> bool {
        matches!(self.kind, Kind::Tcp { .. })
    }

    fn step(&mut self, parts: &mut Parts<'_>, now: Instant) -> Option<Answer> {
        let due = self.again_at <= now;
        if due {
            self.again_at = now + AGAIN;
        }
        let Self { name, target, socket, .. } = *self;
        match &mut self.kind {
            Kind::Echo { sequence } => {
                if echo_reply(parts, socket, target, name).is_some() {
                    return Some(Answer::Good("an echo reply".to_owned()));
                }
                if due && send_echo(parts, socket, target, name, *sequence) {
                    *sequence = sequence.wrapping_add(1);
                }
                None
            }
            Kind::Udp { port, talk } => {
                let question = [0x55; PAYLOAD_BYTES];
                let far: smoltcp::wire::IpEndpoint = (IpAddress::from(target), *port).into();
                let socket = parts.sockets.get_mut::<udp::Socket>(socket);
                while let Ok((answer, from)) = socket.recv() {
                    if from.endpoint != far {
                        continue;
                    }
                    let same = answer == question.as_slice();
                    let said = format!("a datagram of {} bytes", answer.len());
                    let good = *talk != Talk::Echo || same;
                    return Some(if good {
                        Answer::Good(said)
                    } else {
                        Answer::Other(said + ", not what was sent")
                    });
                }
                if due {
                    let _ = socket.send_slice(&question, far);
                }
                None
            }
            Kind::Tcp { talk, connected, sent, got } => {
                let socket = parts.sockets.get_mut::<tcp::Socket>(socket);
                talk_tcp(socket, target, *talk, connected, sent, got)
            }
        }
    }

    /// What is missing, when its time is over.
    fn state(&self) -> Option<String> {
        match &self.kind {
            Kind::Tcp { talk: Talk::Echo, connected: true, got, .. } => {
                Some(format!("connected, but only {} of {TRANSFER_BYTES} bytes came back", got.len()))
            }
            Kind::Tcp { connected: true, .. } => Some("connected, but nothing was answered".to_owned()),
            _ => None,
        }
    }
}

/// One look at a connection.
fn talk_tcp(
    socket: &mut tcp::Socket<'static>,
    target: IpAddr,
    talk: Talk,
    connected: &mut bool,
    sent: &mut usize,
    got: &mut Vec<u8>,
) -> Option<Answer> {
    match socket.state() {
        tcp::State::SynSent | tcp::State::SynReceived => return None,
        tcp::State::Closed if !*connected => {
            return Some(Answer::Other("refused: the host is there, the port is not".to_owned()));
        }
        _ => *connected = true,
    }
    let request = match talk {
        Talk::Nothing => return Some(Answer::Good("connected".to_owned())),
        Talk::Echo => pattern(),
        Talk::Http => format!("HEAD / HTTP/1.0\r\nHost: {target}\r\nConnection: close\r\n\r\n").into_bytes(),
    };
    if let Some(rest) = request.get(*sent..).filter(|rest| !rest.is_empty())
        && socket.can_send()
    {
        *sent += socket.send_slice(rest).unwrap_or(0);
    }
    while socket.can_recv() {
        let room = if talk == Talk::Http { HTTP_BYTES } else { TRANSFER_BYTES }.saturating_sub(got.len());
        let taken = socket.recv(|bytes| {
            got.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
            (bytes.len(), bytes.len())
        });
        if !matches!(taken, Ok(1..)) {
            break;
        }
    }
    match talk {
        Talk::Echo if *got == request => {
            return Some(Answer::Good(format!("{TRANSFER_BYTES} bytes there and back")));
        }
        Talk::Echo if !request.starts_with(got) => {
            return Some(Answer::Other("connected, but other bytes came back".to_owned()));
        }
        Talk::Http if got.starts_with(b"HTTP/") && (got.contains(&b'\n') || got.len() >= HTTP_BYTES) => {
            let line = got.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
            let line: String = line
                .iter()
                .map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' })
                .collect();
            return Some(Answer::Good(line));
        }
        Talk::Http if got.len() >= 5 && !got.starts_with(b"HTTP/") => {
            return Some(Answer::Other("connected, but that is no HTTP".to_owned()));
        }
        _ => {}
    }
    (!socket.may_recv()).then(|| Answer::Other(self_closed(got.len())))
}

fn self_closed(bytes: usize) -> String {
    format!("connected, then closed by the other end after {bytes} bytes")
}

/// An expectation at work.
pub(crate) struct Trial {
    expectation: Arc<Expectation>,
    shots: Vec<Shot>,
    started: Instant,
    sent: u32,
    reply: Option<oneshot::Sender<Verdict>>,
}

impl Trial {
    pub(crate) fn new(expectation: Arc<Expectation>, reply: oneshot::Sender<Verdict>, now: Instant) -> Self {
        Self { expectation, shots: Vec::new(), started: now, sent: 0, reply: Some(reply) }
    }

    pub(crate) fn target(&self) -> IpAddr {
        self.expectation.target.address
    }

    pub(crate) fn note_sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// Begins; false if it is over already.
    pub(crate) fn open(&mut self, parts: &mut Parts<'_>, now: Instant) -> bool {
        let target = &self.expectation.target;
        let (address, talk) = (target.address, target.talk);
        let Some(from) = parts.pushed.source_for(address) else {
            self.finish(false, "the server gave no address of that family; nothing was sent".to_owned(), now);
            return false;
        };
        if self.expectation.verb != Verb::Deny && !parts.pushed.leads_to(address) {
            let detail =
                format!("no pushed route leads to {address}: clients would not send it into the tunnel");
            self.finish(false, detail, now);
            return false;
        }
        if from == address {
            self.finish(false, "that is the client's own address".to_owned(), now);
            return false;
        }
        let shots = match (self.expectation.verb, target.port) {
            (_, Some((Protocol::Tcp, port))) => vec![Shot::tcp(address, port, talk, parts, now)],
            (_, Some((Protocol::Udp, port))) => vec![Shot::udp(address, port, talk, parts, now)],
            (Verb::Deny, None) => vec![
                Shot::echo(address, parts, now),
                Shot::tcp(address, DENY_TCP_PORT, Talk::Nothing, parts, now),
            ],
            (_, None) => vec![Shot::echo(address, parts, now)],
        };
        let wanted = shots.len();
        self.shots = shots.into_iter().flatten().collect();
        if self.shots.len() < wanted {
            self.finish(false, "the probe cannot be sent".to_owned(), now);
            return false;
        }
        true
    }

    /// Moves on; true once it is over.
    pub(crate) fn step(&mut self, parts: &mut Parts<'_>, heard_at: Instant, now: Instant) -> bool {
        let deny = self.expectation.verb == Verb::Deny;
        for place in 0..self.shots.len() {
            let Some(answer) = self.shots.get_mut(place).and_then(|shot| shot.step(parts, now)) else {
                continue;
            };
            let (held, detail) = match answer {
                Answer::Good(said) if !deny => (true, said),
                Answer::Good(said) => (false, format!("answered: {said}")),
                Answer::Other(said) => (false, said),
            };
            self.finish(held, detail, now);
            return true;
        }
        if now < self.limit() {
            return false;
        }
        if !deny {
            let state = self.shots.iter().find_map(Shot::state);
            let detail = state.unwrap_or_else(|| format!("no answer to {} packets", self.sent));
            self.finish(false, detail, now);
            return true;
        }
        // That nobody answers means something only if the tunnel still lives.
        let alive = heard_at > self.started;
        if !alive && now < self.last_call(parts.pushed) {
            return false;
        }
        let (held, detail) = match (self.sent, alive || parts.pushed.ping.is_none()) {
            (0, _) => (false, "nothing could be sent through the tunnel".to_owned()),
            (_, false) => (false, "no answer, but no sign of life from the server either".to_owned()),
            (sent, true) => (true, format!("no answer to {sent} packets through the established tunnel")),
        };
        self.finish(held, detail, now);
        true
    }

    /// When the answer must have come.
    fn limit(&self) -> Instant {
        self.started + self.expectation.within
    }

    /// When a sign of life must have come, where one is to be expected.
    fn last_call(&self, pushed: &Pushed) -> Instant {
        let life = pushed.ping.filter(|_| self.expectation.verb == Verb::Deny);
        life.map_or(self.limit(), |every| self.limit().max(self.started + every + LIFE_SLACK))
    }

    /// When [`Trial::step`] is due.
    pub(crate) fn deadline(&self, pushed: &Pushed, now: Instant) -> Instant {
        let ends = [self.limit(), self.last_call(pushed)].into_iter().filter(|at| *at > now);
        self.shots.iter().map(|shot| shot.again_at).chain(ends).min().unwrap_or(now)
    }

    /// It cannot go on.
    pub(crate) fn give_up(mut self, why: &str, now: Instant) {
        self.finish(false, why.to_owned(), now);
    }

    fn finish(&mut self, held: bool, detail: String, now: Instant) {
        if let Some(reply) = self.reply.take() {
            // Whoever asked may have gone.
            let _ = reply.send(Verdict { held, detail, took: now.since(self.started) });
        }
    }

    /// Its sockets, and whether they are connections.
    pub(crate) fn into_sockets(self) -> impl Iterator<Item = (SocketHandle, bool)> {
        self.shots.into_iter().map(|shot| (shot.socket, shot.is_tcp()))
    }
}

/// Pings without end, for measurement.
pub(crate) struct Pinger {
    address: IpAddr,
    every: Duration,
    name: u16,
    socket: SocketHandle,
    sequence: u16,
    next_at: Instant,
    pending: VecDeque<(u16, Instant)>,
}

impl Pinger {
    pub(crate) fn new(address: IpAddr, every: Duration, parts: &mut Parts<'_>, now: Instant) -> Option<Self> {
        let name = parts.port();
        let socket = echo_socket(parts, name)?;
        Some(Self { address, every, name, socket, sequence: 0, next_at: now, pending: VecDeque::new() })
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next_at
    }

    pub(crate) fn step(&mut self, parts: &mut Parts<'_>, now: Instant, tally: &Tally) {
        while let Some(sequence) = echo_reply(parts, self.socket, self.address, self.name) {
            if let Some(place) = self.pending.iter().position(|(sent, _)| *sent == sequence)
                && let Some((_, at)) = self.pending.remove(place)
            {
                tally.ponged(now.since(at));
            }
        }
        if self.next_at > now {
            return;
        }
        self.next_at = now + self.every;
        if send_echo(parts, self.socket, self.address, self.name, self.sequence) {
            tally.pinged();
            if self.pending.len() >= MAX_PENDING {
                self.pending.pop_front();
            }
            self.pending.push_back((self.sequence, now));
            self.sequence = self.sequence.wrapping_add(1);
        }
    }
}
