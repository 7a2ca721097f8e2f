//! Packets on their way between threads, in buffers that are used again: nothing here allocates once warm.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use gateway::StreamId;
use openvpn::wire::MAX_PACKET_BYTES;
use rustix::event::{EventfdFlags, eventfd};

/// Largest datagram or inner packet taken in, in bytes: a 1,500-byte packet sealed, and then some.
pub(crate) const PACKET_MAX: usize = 2048;
/// Packets waiting for one worker from all others.
pub(crate) const HANDOFF_MAX: usize = 1024;
/// Buffers one worker lends out at most, to other workers and to the control thread.
pub(crate) const LENT_BUFFERS_MAX: usize = 2048;
/// Control packets waiting for the control thread, from all workers.
pub(crate) const CONTROL_PACKETS_MAX: usize = 1024;

/// A packet for another worker.
#[derive(Debug)]
pub(crate) struct HandOff {
    pub(crate) way: Way,
    pub(crate) buffer: Lent,
}

/// What the other worker shall do with it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// A data datagram received on `endpoint`'s socket.
    Up { endpoint: u32, from: SocketAddr },
    /// An inner packet for the session `peer_id`.
    Down { peer_id: u32 },
}

/// What goes up to the control thread, in order.
#[derive(Debug)]
pub(crate) enum Upward {
    Packet(ControlPacket),
    /// A connection that had sent some is gone.
    Closed(StreamId),
}

/// A control packet for the control thread.
#[derive(Debug)]
pub(crate) struct ControlPacket {
    pub(crate) endpoint: u32,
    pub(crate) from: SocketAddr,
    /// The TCP connection it came by, if it did.
    pub(crate) stream: Option<StreamId>,
    pub(crate) buffer: Lent,
}

/// A buffer that goes home to its worker's pool when dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    bytes: Vec<u8>,
    home: Sender<Vec<u8>>,
}

impl Lent {
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The pool has room for all it ever lent; a worker that is gone needs its buffers no more.
        let _ = self.home.try_send(std::mem::take(&mut self.bytes));
    }
}

/// One worker's buffers.
#[derive(Debug)]
pub(crate) struct Pool {
    home: Sender<Vec<u8>>,
    free: Receiver<Vec<u8>>,
    made: usize,
}

impl Pool {
    pub(crate) fn new() -> Self {
        let (home, free) = bounded(LENT_BUFFERS_MAX);
        Self { home, free, made: 0 }
    }

    /// A copy of `packet`, or `None` if too many are out or it is too long.
    pub(crate) fn lend(&mut self, packet: &[u8]) -> Option<Lent> {
        // Longer than most only where a TCP frame was.
        if packet.len() > MAX_PACKET_BYTES {
            return None;
        }
        let mut bytes = match self.free.try_recv() {
            Ok(bytes) => bytes,
            Err(_) if self.made < LENT_BUFFERS_MAX => {
                self.made += 1;
                Vec::with_capacity(PACKET_MAX)
            }
            Err(_) => return None,
        };
        bytes.clear();
        bytes.extend_from_slice(packet);
        Some(Lent { bytes, home: self.home.clone() })
    }
}

/// Wakes a worker out of its wait; many wakes before it looks cost one system call.
#[derive(Debug)]
pub(crate) struct Waker {
    fd: OwnedFd,
    rung: AtomicBool,
}

impl Waker {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            fd: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            rung: AtomicBool::new(false),
        })
    }

    pub(crate) fn wake(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Fails only when the counter is full: then it is readable anyway.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Must come before looking at the queues: what is queued later rings again.
    pub(crate) fn hush(&self) {
        if self.rung.load(Ordering::Acquire) {
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.fd, &mut count);
            // An exchange, not a store: what was queued before a ring that found it rung must be seen.
            self.rung.swap(false, Ordering::AcqRel);
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Wakes the control thread: a channel of one token.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Sender<()>);

impl Bell {
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (sender, receiver) = bounded(1);
        (Self(sender), receiver)
    }

    pub(crate) fn ring(&self) {
        match self.0.try_send(()) {
            // A token is there already, or nobody is left to wake.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_lends_a_bounded_number_and_takes_them_back() {
        let mut pool = Pool::new();
        let out: Vec<_> = (0..LENT_BUFFERS_MAX).map(|_| pool.lend(b"packet").unwrap()).collect();
        assert!(pool.lend(b"one more").is_none());
        drop(out);
        let mut again = pool.lend(b"again").unwrap();
        assert_eq!(again.bytes(), b"again");
        assert_eq!(pool.made, LENT_BUFFERS_MAX);
        assert!(pool.lend(&[0; MAX_PACKET_BYTES + 1]).is_none());
    }

    #[test]
    fn a_waker_rings_once_until_hushed() {
        let waker = Waker::new().unwrap();
        waker.wake();
        waker.wake();
        let mut count = [0; 8];
        assert_eq!(rustix::io::read(waker.fd(), &mut count), Ok(8));
        assert_eq!(u64::from_ne_bytes(count), 1);
        waker.hush();
        waker.wake();
        assert_eq!(rustix::io::read(waker.fd(), &mut count), Ok(8));
    }
}
