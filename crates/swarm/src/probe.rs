//! Questions through a tunnel: what is sent, and what counts as an answer.

use std::net::IpAddr;
use std::time::Duration;

use openvpn::Instant;
use serde::Serialize;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::IpAddress;

use crate::echo::{echo_reply, echo_socket, send_echo};
use crate::expect::Talk;
use crate::pushed::Pushed;

/// Echo requests and datagrams are repeated after this time.
const AGAIN: Duration = Duration::from_millis(500);
/// Bytes of a small transfer.
const TRANSFER_BYTES: usize = 4096;
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
    Tcp { talk: Talk, connected: bool, sent: usize, got: Vec<u8> },
    Udp { port: u16, talk: Talk },
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
fn pattern() -> Vec<u8> {
    (0..TRANSFER_BYTES).map(|n| u8::try_from(n * 31 % 251).unwrap_or(0)).collect()
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
        let buffer = || tcp::SocketBuffer::new(vec![0; TRANSFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.connect(parts.interface.context(), (IpAddress::from(target), port), name).ok()?;
        let socket = parts.sockets.add(socket);
        let kind = Kind::Tcp { talk, connected: false, sent: 0, got: Vec::new() };
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
    pub(crate) fn state(&self) -> Option<String> {
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
        Talk::Http => {
            let host = if target.is_ipv6() { format!("[{target}]") } else { target.to_string() };
            format!("HEAD / HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
        }
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
    (!socket.may_recv()).then(|| Answer::Other(closed_after(got.len())))
}

fn closed_after(bytes: usize) -> String {
    format!("connected, then closed by the other end after {bytes} bytes")
}
