//! The user-space fabric: what lies behind the tunnel where no TUN device may be opened. No capability, no device, no
//! route of the host is touched.
//!
//! # How packets go
//! To the engine an association's queue looks as a TUN queue does: it is one end of a socket pair. At the other end a
//! thread of ours, one per worker, ends the clients' flows and makes them again with ordinary sockets:
//!
//! * **TCP**: a SYN that may leave is dialled first; the client is answered when the far side has, so a refused
//!   connection is refused to the client too. Each connection has a stack of its own (smoltcp) towards the client.
//!   Bytes move only as fast as the slower side takes them.
//! * **UDP**: a connected socket per pair of addresses and ports, until it is idle.
//! * **ICMP echo**: an unprivileged ping socket, where `net.ipv4.ping_group_range` allows one.
//!
//! Fragments of clients are put together first: what follows sees whole packets only. Long answers go in fragments.
//!
//! What may leave is decided when a flow begins, by the rules of the association's outlet and by [`Options::own`]; when
//! the outlet changes, flows that it no longer allows end. A client's flows end when it has left, and a flow of datagrams
//! when it says that it takes no more of them. Everything else a client sends is dropped and counted.
//!
//! The same as in the kernel fabric: addresses of this host are out of reach, unless the operator names them.
//! Different from it: packets leave with the host's address always, so an association without source NAT is refused;
//! nothing from outside reaches a client but answers.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod association;
mod clients;
mod fabric;
mod flow;
mod fragment;
mod outlet;
mod packet;
mod queue;
mod reach;
mod reassembly;
mod route;
mod shard;
mod share;
mod stats;
mod timeouts;

pub use fabric::UserFabric;
pub use share::Limits;
pub use stats::{Figures, Refusal, Stats};
pub use timeouts::Timeouts;

use ipnet::IpNet;

/// How the fabric is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Addresses of this host that clients may reach. Loopback is never among them.
    pub own: Vec<IpNet>,
    /// Ports that are out of reach at this host's own addresses all the same: those the server itself listens on. The
    /// gateway's are added when they are bound.
    pub own_ports: Vec<u16>,
    /// Ports that this process may not bind, each with the one that is bound instead.
    pub moved_ports: Vec<(u16, u16)>,
    /// Bounds.
    pub limits: Limits,
    /// How long flows are kept.
    pub timeouts: Timeouts,
}
