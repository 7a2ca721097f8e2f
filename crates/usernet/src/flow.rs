//! One flow of a client: what it is known by, and what becomes of it.

pub(crate) mod dial;
pub(crate) mod echo;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::clients::Clients;
use crate::fragment;
use crate::packet::{self, TCP, UDP, Unreachable};
use crate::queue::Queue;
use crate::share::Share;
use crate::stats::{Counted, Refusal};

use dial::Dial;
use echo::Echo;
use tcp::Tcp;
use udp::Udp;

/// What a flow is known by, within an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) protocol: u8,
    /// The client's side; for an echo request its identifier is the port.
    pub(crate) client: SocketAddr,
    /// The far side; for an echo request port 0.
    pub(crate) far: SocketAddr,
}

impl Key {
    pub(crate) fn new(protocol: u8, client: (IpAddr, u16), far: (IpAddr, u16)) -> Self {
        Self { protocol, client: client.into(), far: far.into() }
    }

    pub(crate) fn counted(&self) -> Counted {
        match self.protocol {
            TCP => Counted::Tcp,
            UDP => Counted::Udp,
            _ => Counted::Icmp,
        }
    }
}

/// What a flow works with while it is at work.
pub(crate) struct Work<'w> {
    pub(crate) queue: &'w mut Queue,
    pub(crate) clients: &'w mut Clients,
    pub(crate) share: &'w Share,
    pub(crate) buffers: &'w mut Buffers,
    /// Read once per wake-up.
    pub(crate) now: Instant,
    /// When the thread began: the stacks' time counts from there.
    pub(crate) started: Instant,
}

/// A thread's own room for packets: nothing is allocated for one.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// Data of the far side.
    pub(crate) data: Vec<u8>,
    /// A packet that is being written.
    pub(crate) packet: Vec<u8>,
    /// A fragment of it, or a segment.
    pub(crate) part: Vec<u8>,
    /// Identifies the next packet that goes in fragments.
    pub(crate) ident: u32,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self {
            data: vec![0; packet::LENGTH_MAX_BYTES],
            packet: Vec::with_capacity(packet::IPV6_HEADER_BYTES + packet::LENGTH_MAX_BYTES),
            part: vec![0; usize::from(netio::MAX_TUN_MTU)],
            ident: 0,
        }
    }
}

impl Work<'_> {
    /// Sends what stands in the packet buffer to the client.
    pub(crate) fn send_packet(&mut self) {
        let Buffers { packet, part, ident, .. } = self.buffers;
        *ident = ident.wrapping_add(1);
        let queue = &mut *self.queue;
        let mtu = queue.mtu();
        if !fragment::cut(packet, mtu, *ident, part, |part| queue.send(part)) {
            self.share.stats.refused(Refusal::TunnelFull);
        }
        // Stacks find it as long as ever.
        part.resize(usize::from(netio::MAX_TUN_MTU), 0);
    }

    /// Tells the client that a packet of its was not delivered.
    pub(crate) fn tell(&mut self, about: &[u8], why: Unreachable) {
        self.tell_as(None, about, why);
    }

    /// The same in the name of a router, if one is given.
    pub(crate) fn tell_as(&mut self, router: Option<IpAddr>, about: &[u8], why: Unreachable) {
        if packet::unreachable(about, why, router, &mut self.buffers.packet) {
            self.send_packet();
        }
    }
}

/// What becomes of a flow after it has worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It waits for its descriptor, a packet, or the time.
    Wait(Option<Instant>),
    /// There is more to do; others first.
    Again,
    /// It waits for room towards the client.
    Starved,
    /// It is over.
    Over,
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// A flow's own part.
pub(crate) enum Kind {
    /// A TCP connection whose far side has not answered.
    Dial(Dial),
    Tcp(Box<Tcp>),
    Udp(Udp),
    Echo(Echo),
}

/// Closing it from now on is a reset.
fn reset_on_close(far: &Socket) {
    // It fails for a socket that is broken already.
    let _ = far.set_linger(Some(Duration::ZERO));
}

impl Kind {
    /// Its socket towards the far side.
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Self::Dial(dial) => dial.socket(),
            Self::Tcp(tcp) => tcp.socket(),
            Self::Udp(udp) => udp.socket(),
            Self::Echo(echo) => echo.socket(),
        }
    }

    /// Ends it at once; both sides of a connection are told.
    pub(crate) fn end(&mut self, work: &mut Work<'_>) {
        if let Self::Tcp(tcp) = self {
            tcp.abort(work);
        }
    }

    /// The same for a client that has left, and hears nothing: the far side of a connection is reset.
    pub(crate) fn abandon(&self) {
        if let Self::Dial(_) | Self::Tcp(_) = self {
            reset_on_close(self.socket());
        }
    }
}
