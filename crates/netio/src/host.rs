//! What the host has: whether a fabric can work here, and its addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::time::Duration;

use caps::{CapSet, Capability};
use ipnet::IpNet;
use socket2::{Domain, Socket, Type};

use crate::fabric::FabricError;
use crate::kernel::netlink::Netlink;

/// Where a datagram that makes a neighbour be asked for goes: nobody need be there.
const DISCARD_PORT: u16 = 9;
/// How often, and how long apart, it is looked whether the neighbour has answered. The kernel asks for three seconds.
const NEIGHBOUR_LOOKS: u32 = 80;
const NEIGHBOUR_PAUSE: Duration = Duration::from_millis(50);

/// Whether this process could run a fabric: the privilege, `/dev/net/tun`, and the `nft` program.
#[must_use]
pub fn fabric_available() -> bool {
    fabric_lacks().is_empty()
}

/// What this process lacks to run a fabric, in words.
#[must_use]
pub fn fabric_lacks() -> Vec<&'static str> {
    let has_cap = caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap_or(false);
    let has_tun = std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_ok();
    [
        (has_cap, "the privilege (CAP_NET_ADMIN)"),
        (has_tun, "/dev/net/tun"),
        (nft_program().is_some(), "the program nft"),
    ]
    .into_iter()
    .filter_map(|(has, what)| (!has).then_some(what))
    .collect()
}

/// Where `nft` is.
#[must_use]
pub fn nft_program() -> Option<PathBuf> {
    host_program("nft")
}

/// Where a program of the host is, by `PATH` and where distributions put those that change networks.
#[must_use]
pub fn host_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Global addresses of the interfaces that are up, IPv4 first. Empty when they cannot be read.
#[must_use]
pub fn host_addresses() -> Vec<IpAddr> {
    on_own_thread(Netlink::host_addresses).unwrap_or_default()
}

/// What is known of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceState {
    /// Whether it is up.
    pub up: bool,
    /// Whether neighbours are asked for on it; else all of it is one point-to-point link.
    pub has_neighbours: bool,
    /// Its addresses with their networks.
    pub addresses: Vec<IpNet>,
    index: u32,
}

/// An interface by its name; `None` if there is none, or it cannot be looked at.
#[must_use]
pub fn interface_state(name: &str) -> Option<InterfaceState> {
    on_own_thread(move |netlink| netlink.interface(name))?.map(|found| InterfaceState {
        up: found.up,
        has_neighbours: found.has_neighbours,
        addresses: found.addresses,
        index: found.index,
    })
}

/// Whether an address is this host's, on whatever interface.
#[must_use]
pub fn is_host_address(ip: IpAddr) -> bool {
    on_own_thread(|netlink| netlink.addresses())
        .is_some_and(|addresses| addresses.iter().any(|(_, own)| own.addr() == ip))
}

/// Interfaces by which the host's own routing may send packets to some of these networks; `None` if it cannot be asked.
#[must_use]
pub fn interfaces_toward(networks: &[IpNet]) -> Option<BTreeSet<String>> {
    on_own_thread(|netlink| netlink.interfaces_toward(networks))
}

/// Whether a neighbour answers on an interface, asked with a datagram to its discard port. Takes up to four seconds;
/// `None` when nobody can tell.
#[must_use]
pub fn answers(name: &str, interface: &InterfaceState, ip: IpAddr) -> Option<bool> {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = Socket::new(Domain::for_address((any, 0).into()), Type::DGRAM, None).ok()?;
    socket.bind_device(Some(name.as_bytes())).ok()?;
    let scope = if ip.is_ipv4() { 0 } else { interface.index };
    let to = match ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, DISCARD_PORT)),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, DISCARD_PORT, 0, scope).into(),
    };
    socket.send_to(b"bascule fabric check", &to.into()).ok()?;
    let index = interface.index;
    on_own_thread(move |netlink| {
        for _ in 0..NEIGHBOUR_LOOKS {
            if let Some(known) = netlink.neighbour(index, ip)? {
                return Ok(known);
            }
            std::thread::sleep(NEIGHBOUR_PAUSE);
        }
        Ok(false)
    })
}

/// A thread of its own: the caller may be inside an async runtime, where another cannot be driven.
fn on_own_thread<T: Send>(look: impl FnOnce(&Netlink) -> Result<T, FabricError> + Send) -> Option<T> {
    let outcome =
        std::thread::scope(|scope| scope.spawn(|| Netlink::open().and_then(|netlink| look(&netlink))).join());
    outcome.ok().and_then(Result::ok)
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_are_global() {
        assert!(
            super::host_addresses().iter().all(|address| !address.is_loopback() && !address.is_unspecified())
        );
    }
}
