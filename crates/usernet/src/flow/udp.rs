//! Datagrams between one address and port of a client and one of the far side: a connected socket, so that nobody else
//! can answer.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use rustix::net::RecvFlags;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Key, Next, Work};
use crate::packet::{self, Unreachable};
use crate::stats::Refusal;

/// Datagrams taken from the far side before others have their turn.
const DATAGRAMS_PER_TURN: usize = 64;

#[derive(Debug)]
pub(crate) struct Udp {
    socket: Socket,
    seen_at: Instant,
    is_answered: bool,
    readable: bool,
}

impl Udp {
    pub(crate) fn open(far: SocketAddr, now: Instant) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(far), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        // Whatever the client may send is sent, in fragments where the path is narrower.
        if far.is_ipv4() {
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
        } else {
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DONT)?;
        }
        socket.connect(&far.into())?;
        Ok(Self { socket, seen_at: now, is_answered: false, readable: false })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn ready(&mut self, ready: super::Ready) {
        self.readable |= ready.readable;
    }

    /// A datagram of the client; `whole` is the packet it came in.
    pub(crate) fn send(&mut self, data: &[u8], whole: &[u8], work: &mut Work<'_>) {
        self.seen_at = work.now;
        // An error of an earlier datagram is reported instead of sending this one.
        for _ in 0..2 {
            let Err(error) = self.socket.send(data) else { return };
            if error.kind() == io::ErrorKind::WouldBlock {
                work.share.stats.refused(Refusal::FarSideFull);
                return;
            }
            if let Some(why) = reason(&error) {
                work.share.stats.refused(Refusal::FarSide);
                work.tell(whole, why);
            }
        }
    }

    /// Takes what the far side has sent.
    pub(crate) fn step(&mut self, key: &Key, work: &mut Work<'_>) -> Next {
        let max_bytes = packet::datagram_max_bytes(key.far.ip());
        for _ in 0..DATAGRAMS_PER_TURN {
            if !self.readable {
                break;
            }
            if work.queue.is_blocked() {
                // What does not fit into the socket meanwhile is lost, as it is at any router.
                return Next::Starved;
            }
            let Some(room) = work.buffers.data.get_mut(..max_bytes) else { break };
            match rustix::net::recv(&self.socket, room, RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    (self.seen_at, self.is_answered) = (work.now, true);
                    let data = work.buffers.data.get(..length).unwrap_or_default();
                    packet::datagram(key.far, key.client, data, &mut work.buffers.packet);
                    work.send_packet();
                }
                Err(rustix::io::Errno::WOULDBLOCK) => self.readable = false,
                Err(error) => {
                    // The far side has refused a datagram of ours.
                    let Some(why) = reason(&error.into()) else { continue };
                    work.share.stats.refused(Refusal::FarSide);
                    let mut about = Vec::new();
                    packet::datagram(key.client, key.far, &[], &mut about);
                    work.tell(&about, why);
                }
            }
        }
        if self.readable {
            return Next::Again;
        }
        let timeouts = &work.share.timeouts;
        let idle = if self.is_answered { timeouts.udp } else { timeouts.udp_unanswered };
        let until = self.seen_at + idle;
        if work.now >= until { Next::Over } else { Next::Wait(Some(until)) }
    }
}

/// What an error of a datagram means to the client.
pub(crate) fn reason(error: &io::Error) -> Option<Unreachable> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Unreachable::Port),
        io::ErrorKind::HostUnreachable => Some(Unreachable::Host),
        io::ErrorKind::NetworkUnreachable => Some(Unreachable::Network),
        io::ErrorKind::PermissionDenied => Some(Unreachable::Prohibited),
        _ => None,
    }
}
