//! A connection that a client asked for and the far side has not yet answered: the client waits with it.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Next, Ready, Work};
use crate::packet::{self, Inside, Unreachable};
use crate::stats::Refusal;

/// What came of it.
#[derive(Debug)]
pub(crate) enum Dialled {
    /// Nothing so far.
    Waits(Next),
    /// The far side has accepted.
    Up,
    /// It has not; what the client was to hear, it has heard.
    Refused,
}

#[derive(Debug)]
pub(crate) struct Dial {
    socket: Socket,
    /// The client's SYN, answered when the far side has answered ours.
    syn: Vec<u8>,
    until: Instant,
}

impl Dial {
    /// Begins to dial; the far side has until then.
    pub(crate) fn begin(far: SocketAddr, syn: &[u8], until: Instant) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(far), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&far.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(Self { socket, syn: syn.to_vec(), until })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn into_parts(self) -> (Socket, Vec<u8>) {
        (self.socket, self.syn)
    }

    pub(crate) fn step(&mut self, ready: Ready, work: &mut Work<'_>) -> Dialled {
        if ready.writable || ready.readable {
            match self.socket.take_error() {
                Ok(None) if self.socket.peer_addr().is_ok() => return Dialled::Up,
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => {
                    refuse(&self.syn, &error, work);
                    return Dialled::Refused;
                }
            }
        }
        if work.now >= self.until {
            work.share.stats.refused(Refusal::Silence);
            return Dialled::Refused;
        }
        Dialled::Waits(Next::Wait(Some(self.until)))
    }
}

/// Tells a client that its connection was not made, as the far side or the system has told us.
pub(crate) fn refuse(syn: &[u8], error: &io::Error, work: &mut Work<'_>) {
    let (refusal, unreachable) = match error.kind() {
        io::ErrorKind::TimedOut => {
            work.share.stats.refused(Refusal::Silence);
            return;
        }
        io::ErrorKind::NetworkUnreachable => (Refusal::FarSide, Some(Unreachable::Network)),
        io::ErrorKind::HostUnreachable => (Refusal::FarSide, Some(Unreachable::Host)),
        io::ErrorKind::PermissionDenied => (Refusal::FarSide, Some(Unreachable::Prohibited)),
        _ => (of_the_system(error).unwrap_or(Refusal::FarSide), None),
    };
    work.share.stats.refused(refusal);
    match unreachable {
        Some(why) => work.tell(syn, why),
        None => reset(syn, work),
    }
}

/// Whether it is the system that has no more, not the far side that refuses.
pub(crate) fn of_the_system(error: &io::Error) -> Option<Refusal> {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error)?;
    matches!(
        errno,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL | Errno::AGAIN
    )
    .then_some(Refusal::Descriptors)
}

/// Resets what a segment belongs to.
pub(crate) fn reset(packet: &[u8], work: &mut Work<'_>) {
    if let Ok(packet) = packet::parse(packet)
        && let Inside::Tcp(segment) = packet.inside
        && packet::reset(&packet, &segment, &mut work.buffers.packet)
    {
        work.send_packet();
    }
}
