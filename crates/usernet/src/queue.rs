//! Our end of an association's queue: packets to and from the engine's worker. It keeps at most one packet that found no
//! room, and says so until there is room again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};

/// Bytes on their way, each direction; the system may allow less.
const BUFFER_BYTES: usize = 1 << 20;

/// Both ends: the engine's, then ours.
pub(crate) fn pair(mtu: usize) -> io::Result<(OwnedFd, Queue)> {
    // Packets keep their bounds, and a closed end is seen at the other.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (theirs, ours) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&theirs, &ours] {
        set_socket_send_buffer_size(end, BUFFER_BYTES)?;
        set_socket_recv_buffer_size(end, BUFFER_BYTES)?;
    }
    Ok((theirs, Queue::new(ours, mtu)))
}

/// Our end.
#[derive(Debug)]
pub(crate) struct Queue {
    socket: OwnedFd,
    /// The packet that found no room, while `blocked`.
    held: Vec<u8>,
    blocked: bool,
    mtu: usize,
}

impl Queue {
    pub(crate) fn new(socket: OwnedFd, mtu: usize) -> Self {
        Self { socket, held: Vec::with_capacity(mtu), blocked: false, mtu }
    }

    /// There is no room towards the client; nothing may be sent now.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Longest packet, bytes.
    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    /// The next packet from clients. `WouldBlock`: none; 0: the other end is closed.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        netio::tun::read(&self.socket, buffer)
    }

    /// Sends a packet to a client; false if there is no room.
    pub(crate) fn send(&mut self, packet: &[u8]) -> bool {
        if self.blocked {
            return false;
        }
        if let Err(error) = netio::tun::write(&self.socket, packet)
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.held.clear();
            self.held.extend_from_slice(packet);
            self.blocked = true;
        }
        // Else the other end is closed: the association is being taken down.
        true
    }

    /// There may be room again; whether there is.
    pub(crate) fn resume(&mut self) -> bool {
        if self.blocked {
            self.blocked = false;
            let held = std::mem::take(&mut self.held);
            self.send(&held);
            if !self.blocked {
                self.held = held;
            }
        }
        !self.blocked
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A queue as a connection's stack sees it: one packet comes in, or none; what goes out is written at once.
pub(crate) struct Wire<'w> {
    pub(crate) incoming: Option<&'w [u8]>,
    pub(crate) queue: &'w mut Queue,
    pub(crate) scratch: &'w mut [u8],
}

pub(crate) struct Arrived<'p>(&'p [u8]);

pub(crate) struct Leaving<'p> {
    queue: &'p mut Queue,
    scratch: &'p mut [u8],
}

impl RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        match self.scratch.get_mut(..length) {
            Some(packet) => {
                let result = write(packet);
                self.queue.send(packet);
                result
            }
            // Longer than the MTU the stack was told: cannot be, and is not sent.
            None => write(&mut vec![0; length]),
        }
    }
}

impl Device for Wire<'_> {
    type RxToken<'a>
        = Arrived<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Leaving<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Arrived<'_>, Leaving<'_>)> {
        if self.queue.is_blocked() {
            return None;
        }
        let packet = self.incoming.take()?;
        Some((Arrived(packet), Leaving { queue: self.queue, scratch: self.scratch }))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Leaving<'_>> {
        (!self.queue.is_blocked()).then_some(Leaving { queue: self.queue, scratch: self.scratch })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.queue.mtu();
        capabilities
    }
}
