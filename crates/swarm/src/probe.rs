//! Questions through a tunnel: what is sent, and what counts as an answer.

use std::net::IpAddr;
use std::time::Duration;

use openvpn::Instant;
use serde::Serialize;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::IpAddress;

use crate::echo::{echo_reply, echo_socket, send_echo};
use crate::expect::{TRANSFER_BYTES, Talk};
use crate::pushed::Pushed;

/// Echo requests and datagrams are repeated after this time.
const AGAIN: Duration = Duration::from_millis(500);
/// Bytes of a connection that are on their way at most, each way.
const WINDOW_BYTES: usize = 64 << 10;
/// Bytes of an echo request or datagram.
pub(crate) const PAYLOAD_BYTES: usize = 56;
/// Bytes of an HTTP answer that are looked at.
const HTTP_BYTES: usize = 64;

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
    pub(crate) fn port(&mut self) -> u16 {
        let port = *self.next_port;
        *self.next_port = port.checked_add(1).unwrap_or(49_152);
        port
    }
}

/// What came back.
pub(crate) enum Answer {
    /// What was asked for.
    Good(String),
    /// Something else: whoever sent it was reached.
    Other(String),
}

enum Kind {
    Echo { sequence: u16 },
    Tcp { talk: Talk, connected: bool, sent: usize, got: Got },
    Udp { port: u16, talk: Talk },
}

/// What a connection has answered.
#[derive(Default)]
struct Got {
    bytes: usize,
    /// Something that was not sent came back.
    wrong: bool,
    /// The first bytes of an answer that is looked at.
    head: Vec<u8>,
}

/// One question.
pub(crate) struct Shot {
    kind: Kind,
    name: u16,
    target: IpAddr,
    pub(crate) socket: SocketHandle,
    /// When it is looked at or repeated, if nothing comes.
    pub(crate) again_at: Instant,
}

/// Byte `n` of a transfer.
fn pattern(n: usize) -> u8 {
    u8::try_from(n * 31 % 251).unwrap_or(0)
}

impl Shot {
    pub(crate) fn echo(target: IpAddr, parts: &mut Parts<'_>, now: Instant) -> Option<Self> {
        let name = parts.port();
        let socket = echo_socket(parts, name)?;
        Some(Self { kind: Kind::Echo { sequence: 0 }, name, target, socket, again_at: now })
    }

    pub(crate) fn tcp(
        target: IpAddr,
        port: u16,
        talk: Talk,
        parts: &mut Parts<'_>,
        now: Instant,
    ) -> Option<Self> {
        let name = parts.port();
        let window = match talk {
            Talk::Echo(bytes) => bytes.clamp(TRANSFER_BYTES, WINDOW_BYTES),
            Talk::Nothing | Talk::Http => TRANSFER_BYTES,
        };
        let buffer = || tcp::SocketBuffer::new(vec![0; window]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.connect(parts.interface.context(), (IpAddress::from(target), port), name).ok()?;
        let socket = parts.sockets.add(socket);
        let kind = Kind::Tcp { talk, connected: false, sent: 0, got: Got::default() };
        // The stack repeats by itself; this only bounds how long it is not looked at.
        Some(Self { kind, name, target, socket, again_at: now + AGAIN })
    }

    pub(crate) fn udp(
        target: IpAddr,
        port: u16,
        talk: Talk,
        parts: &mut Parts<'_>,
        now: Instant,
    ) -> Option<Self> {
        let name = parts.port();
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(name).ok()?;
        let socket = parts.sockets.add(socket);
        Some(Self { kind: Kind::Udp { port, talk }, name, target, socket, again_at: now })
    }

    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self.kind, Kind::Tcp { .. })
    }

    pub(crate) fn step(&mut self, parts: &mut Parts<'_>, now: Instant) -> Option<Answer> {
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
                    let good = *talk == Talk::Nothing || same;
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
    pub(crate) fn state(&self) -> Option<String> {
        match &self.kind {
            Kind::Tcp { talk: Talk::Echo(bytes), connected: true, got, .. } => {
                Some(format!("connected, but only {} of {bytes} bytes came back", got.bytes))
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
    got: &mut Got,
) -> Option<Answer> {
    match socket.state() {
        tcp::State::SynSent | tcp::State::SynReceived => return None,
        tcp::State::Closed if !*connected => {
            return Some(Answer::Other("refused: the host is there, the port is not".to_owned()));
        }
        _ => *connected = true,
    }
    match talk {
        Talk::Nothing => return Some(Answer::Good("connected".to_owned())),
        Talk::Echo(bytes) => {
            *sent += fill(socket, *sent, bytes);
            take(socket, |piece| {
                got.wrong |= got.bytes + piece.len() > bytes
                    || piece.iter().zip(got.bytes..).any(|(byte, n)| *byte != pattern(n));
                got.bytes += piece.len();
            });
            if got.wrong {
                return Some(Answer::Other("connected, but other bytes came back".to_owned()));
            }
            if got.bytes == bytes {
                return Some(Answer::Good(format!("{bytes} bytes there and back")));
            }
        }
        Talk::Http => {
            let host = if target.is_ipv6() { format!("[{target}]") } else { target.to_string() };
            let request = format!("HEAD / HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            if let Some(rest) = request.as_bytes().get(*sent..).filter(|rest| !rest.is_empty())
                && socket.can_send()
            {
                *sent += socket.send_slice(rest).unwrap_or(0);
            }
            take(socket, |piece| {
                let room = HTTP_BYTES.saturating_sub(got.head.len()).min(piece.len());
                got.head.extend_from_slice(piece.get(..room).unwrap_or_default());
                got.bytes += piece.len();
            });
            if let Some(answer) = http_answer(&got.head) {
                return Some(answer);
            }
        }
    }
    (!socket.may_recv()).then(|| Answer::Other(closed_after(got.bytes)))
}

/// Sends of a transfer what there is room for; how many bytes.
fn fill(socket: &mut tcp::Socket<'static>, sent: usize, whole: usize) -> usize {
    let mut more = 0;
    while sent + more < whole && socket.can_send() {
        let from = sent + more;
        let put = socket.send(|room| {
            let length = room.len().min(whole - from);
            room.iter_mut().take(length).zip(from..).for_each(|(byte, n)| *byte = pattern(n));
            (length, length)
        });
        match put {
            Ok(length @ 1..) => more += length,
            _ => break,
        }
    }
    more
}

/// Takes all that has come.
fn take(socket: &mut tcp::Socket<'static>, mut each: impl FnMut(&[u8])) {
    while socket.can_recv() {
        let taken = socket.recv(|bytes| {
            each(bytes);
            (bytes.len(), bytes.len())
        });
        if !matches!(taken, Ok(1..)) {
            break;
        }
    }
}

/// What the beginning of an answer says, once it can be said.
fn http_answer(head: &[u8]) -> Option<Answer> {
    if head.starts_with(b"HTTP/") && (head.contains(&b'\n') || head.len() >= HTTP_BYTES) {
        let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let shown = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' };
        return Some(Answer::Good(line.iter().map(shown).collect()));
    }
    let other = head.len() >= 5 && !head.starts_with(b"HTTP/");
    other.then(|| Answer::Other("connected, but that is no HTTP".to_owned()))
}

fn closed_after(bytes: usize) -> String {
    format!("connected, then closed by the other end after {bytes} bytes")
}
