//! Echo requests of one identifier to one address, by a ping socket: the kernel chooses the identifier that goes out, and
//! gives us the answers to it only.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Key, Next, Work};
use crate::packet;
use crate::stats::Refusal;

/// Answers taken before others have their turn.
const ANSWERS_PER_TURN: usize = 64;

#[derive(Debug)]
pub(crate) struct Echo {
    socket: Socket,
    seen_at: Instant,
    readable: bool,
}

impl Echo {
    /// `PermissionDenied` where this user may not have one.
    pub(crate) fn open(far: IpAddr, now: Instant) -> io::Result<Self> {
        let (domain, protocol) = match far {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(protocol))?;
        socket.connect(&std::net::SocketAddr::new(far, 0).into())?;
        Ok(Self { socket, seen_at: now, readable: false })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn ready(&mut self, ready: super::Ready) {
        self.readable |= ready.readable;
    }

    /// A request of the client.
    pub(crate) fn send(&mut self, key: &Key, number: u16, data: &[u8], work: &mut Work<'_>) {
        self.seen_at = work.now;
        packet::echo_request(key.far.is_ipv6(), number, data, &mut work.buffers.packet);
        // An error of an earlier request is reported instead of sending this one.
        if self.socket.send(&work.buffers.packet).is_err() && self.socket.send(&work.buffers.packet).is_err()
        {
            work.share.stats.refused(Refusal::FarSideFull);
        }
    }

    /// Takes what was answered.
    pub(crate) fn step(&mut self, key: &Key, work: &mut Work<'_>) -> Next {
        for _ in 0..ANSWERS_PER_TURN {
            if !self.readable {
                break;
            }
            if work.queue.is_blocked() {
                return Next::Starved;
            }
            match rustix::net::recv(&self.socket, &mut work.buffers.data[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    self.seen_at = work.now;
                    // No longer than what one packet of the client asked for, but who knows who answers.
                    let room = packet::echo_max_bytes(key.far.ip());
                    let message = work.buffers.data.get(..length).unwrap_or_default();
                    if let Some((number, data)) = packet::echo_answer(message)
                        && data.len() <= room
                    {
                        let (far, client) = (key.far.ip(), key.client);
                        packet::echo_reply(
                            far,
                            client.ip(),
                            client.port(),
                            number,
                            data,
                            &mut work.buffers.packet,
                        );
                        work.send_packet();
                    }
                }
                Err(rustix::io::Errno::WOULDBLOCK) => self.readable = false,
                // An error of an earlier request, and more may follow.
                Err(_) => work.share.stats.refused(Refusal::FarSide),
            }
        }
        if self.readable {
            return Next::Again;
        }
        let until = self.seen_at + work.share.timeouts.echo;
        if work.now >= until { Next::Over } else { Next::Wait(Some(until)) }
    }
}
