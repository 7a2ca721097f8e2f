//! The fabric's messages: one trait, the description of an association's kernel side, and its errors.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use ipnet::IpNet;
use model::{ClientAddresses, ClientNets};
use serde::{Deserialize, Serialize};

/// Most TUN queues of one association, and so most workers.
pub const MAX_QUEUES: u16 = 64;
/// Most sockets in one `SO_REUSEPORT` group.
pub const MAX_SOCKETS: u16 = 64;
/// Most egress rules of one association.
pub const MAX_EGRESS_RULES: usize = 2_000;
/// Most networks toward which one association opens the host's interfaces.
pub const MAX_TOWARD: usize = 4_000;
/// Longest association key, in bytes.
pub const MAX_KEY_BYTES: usize = 128;
/// Longest name of an interface, in bytes: the kernel's limit.
const MAX_INTERFACE_BYTES: usize = 15;
/// The interface that every host has.
pub(crate) const LOOPBACK: &str = "lo";
/// Smallest MTU of a TUN device, in bytes: the least that every IPv4 host must take.
pub const MIN_TUN_MTU: u16 = 576;
/// Largest MTU of a TUN device, in bytes.
pub const MAX_TUN_MTU: u16 = 9_000;

/// What lies behind the tunnel. Blocking calls, made from the engine's fabric thread.
pub trait Fabric: Send {
    /// Removes every leftover of an earlier life. Called once, before the first `add`.
    ///
    /// # Errors
    /// What could not be removed; everything else is.
    fn sweep(&mut self) -> Result<(), FabricError>;

    /// Says which associations are added next, each by an `add` of its own: what they have in common is then done once for
    /// all of them, as a start may bring thousands. A hint: what cannot be done here is left to their `add`.
    fn prepare(&mut self, associations: &[FabricAssociation]) {
        let _ = associations;
    }

    /// Makes the kernel side of an association: one non-blocking TUN queue per worker comes back, in worker order.
    /// An association already there under this key is removed first.
    ///
    /// # Errors
    /// Nothing of the association stays then, or a later [`Fabric::remove`] finishes the removal.
    fn add(&mut self, association: &FabricAssociation) -> Result<Vec<OwnedFd>, FabricError>;

    /// Removes device, rules, table, chains, and conntrack entries. Idempotent; an unknown key is no error.
    ///
    /// # Errors
    /// Names what stays; calling again finishes the rest.
    fn remove(&mut self, key: &str) -> Result<(), FabricError>;

    /// Replaces the outlet of a live association in one step, cutting no connection that both old and new allow.
    ///
    /// # Errors
    /// The old rules stay in force until a retry succeeds.
    fn set_outlet(&mut self, key: &str, outlet: &Outlet) -> Result<(), FabricError> {
        let _ = (key, outlet);
        Err(FabricError::Permanent("this fabric cannot change an outlet in place".to_owned()))
    }

    /// Says which clients have left a live association: nobody has their addresses at that queue any more, and all that they
    /// sent is in it already. What is kept for them is to end at once; an unknown key is no error. Here nothing is: of the
    /// kernel only connection tracking knows a client, and its entries end by the kernel's own times.
    ///
    /// # Errors
    /// What is kept for longer; it is not tried again.
    fn forget(&mut self, key: &str, clients: &[Departed]) -> Result<(), FabricError> {
        let _ = (key, clients);
        Ok(())
    }

    /// What has come to be wanting of a live association's uplink, as far as is known: it comes back by itself. Cheap.
    ///
    /// # Errors
    /// What the host lacks.
    fn look(&mut self, key: &str) -> Result<(), FabricError> {
        let _ = key;
        Ok(())
    }

    /// Binds a `SO_REUSEPORT` group: non-blocking UDP sockets in worker order, low ports too.
    ///
    /// # Errors
    /// The address is not ours, or is taken.
    fn bind_udp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError>;

    /// Binds the same of listening TCP sockets: the kernel spreads connections over them.
    ///
    /// # Errors
    /// The address is not ours, or is taken.
    fn bind_tcp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError>;
}

/// The kernel side of one association.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FabricAssociation {
    /// The association's id.
    pub key: String,
    /// Conntrack zone, mark, and table are made of this. 1 or more; unique among live associations.
    pub index: u16,
    /// Addresses of the clients. Other associations may have the same.
    pub client_cidr: ClientNets,
    /// Whether IPv4 packets leave with the address of the interface they leave by. Else they keep the client's, as IPv6
    /// ones always do, and the far side needs a route back.
    pub source_nat: bool,
    /// TUN queues, one per worker; 1 to [`MAX_QUEUES`].
    pub queues: u16,
    /// MTU of the TUN device, in bytes.
    pub mtu: u16,
    /// The host's network that packets leave by; `None`: whichever the host's own routing says.
    pub uplink: Option<Uplink>,
    /// The way out.
    pub outlet: Outlet,
}

/// One of the host's networks, as the only one that an association's packets leave by and that replies come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Uplink {
    /// The host's interface (see [`interface_name_fault`]).
    pub interface: String,
    /// The router there; `None`: everything is on the interface's own link.
    pub next_hop: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub next_hop_ipv6: Option<Ipv6Addr>,
    /// An address of this host that packets leave with, where there is source NAT; `None`: the interface's own.
    pub nat_address: Option<Ipv4Addr>,
}

/// A client that has left an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Departed {
    /// The number of the queue that its packets came by.
    pub queue: u16,
    /// Its addresses.
    pub addresses: ClientAddresses,
}

/// What may leave an association, and where to: all of it that can change while it is live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlet {
    /// What clients may reach beyond the tunnel. Empty: nothing.
    pub egress: Vec<EgressRule>,
    /// Networks whose interfaces shall forward for tunnels. That the host has no route to one is not an error.
    pub toward: Vec<IpNet>,
}

/// One permission for packets from clients to the outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressRule {
    /// IP protocol number; `None`: all.
    pub protocol: Option<u8>,
    /// First and last destination port (TCP, UDP, SCTP, DCCP). For ICMP (protocols 1 and 58): type and code, where 65535
    /// is any. Ignored for other protocols.
    pub ports: Option<(u16, u16)>,
    /// The far side; what goes to the other IP version never matches.
    pub cidr: IpNet,
}

/// Why a fabric step failed. The text says what is wrong and what to type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FabricError {
    /// Retrying alone does not help.
    #[error("{0}")]
    Permanent(String),
    /// May succeed when tried again.
    #[error("{0}")]
    Transient(String),
}

/// Why a name is none of an interface that packets may leave by, if so.
#[must_use]
pub fn interface_name_fault(name: &str) -> Option<&'static str> {
    let plain =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'*' | b'/' | b':' | b'\'' | b'`' | b'$');
    if name.is_empty() || name.len() > MAX_INTERFACE_BYTES {
        return Some("an interface's name has 1 to 15 bytes");
    }
    if !name.bytes().all(plain) || matches!(name, "." | "..") {
        return Some("not the name of an interface");
    }
    if name == LOOPBACK {
        return Some("the loopback interface leads nowhere");
    }
    is_our_link(name).then_some("the name of a tunnel's own device")
}

/// Whether a name has the form of [`link_name`]'s.
pub(crate) fn is_our_link(name: &str) -> bool {
    name.strip_prefix("bsc")
        .is_some_and(|hex| (8..=12).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Name of an association's TUN device: `bsc` and up to 12 hex digits of its id (15 bytes is the kernel's limit).
#[must_use]
pub fn link_name(key: &str) -> String {
    let tail = key.rsplit('-').next().unwrap_or(key);
    if (8..=32).contains(&tail.len())
        && tail.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    {
        return format!("bsc{}", tail.get(..12).unwrap_or(tail));
    }
    // Not of the usual form: FNV-1a, so that any key still names one device.
    let hash =
        key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("bsc{:012x}", hash & 0xffff_ffff_ffff)
}
