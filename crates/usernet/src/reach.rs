//! Which destinations are out of reach whatever the rules say: this host itself, above all.
//!
//! We dial from the server's own process, so what the kernel fabric gets from the hook a packet passes has to be asked
//! for here: a dialled connection to this host would look like one of the operator's own programs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};

use crate::packet::{TCP, UDP};
use crate::route;

/// Of the list of anycast addresses, what is read at most: thousands of rows.
const ANYCAST_LIST_MAX_BYTES: u64 = 1 << 20;

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// This host, or what no host has.
    OfReach,
    /// The host has no way there.
    NoRoute,
}

/// The host's own addresses that may be reached, and the ports that may not even then.
#[derive(Debug)]
pub(crate) struct Reach {
    own: Vec<IpNet>,
    own_ports: Mutex<BTreeSet<u16>>,
}

impl Reach {
    pub(crate) fn new(own: Vec<IpNet>, own_ports: Vec<u16>) -> Self {
        Self { own, own_ports: Mutex::new(own_ports.into_iter().collect()) }
    }

    /// The server listens here too from now on.
    pub(crate) fn refuse_port(&self, port: u16) {
        self.own_ports.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    /// Whether `far` may be dialled. Sends nothing.
    pub(crate) fn check(&self, protocol: u8, far: SocketAddr) -> Result<(), Out> {
        if special(far.ip()) {
            return Err(Out::OfReach);
        }
        if is_own(far.ip()) {
            return self.check_own(protocol, far);
        }
        if let IpAddr::V6(v6) = far.ip()
            && ends_here(v6)
        {
            return self.check_own(protocol, far);
        }
        match local_address_towards(far) {
            // An address that is routed to this host without an interface of it.
            Ok(own) if own == far.ip() => self.check_own(protocol, far),
            // The kernel routes it to this host by another name.
            Ok(own) if own.is_loopback() => Err(Out::OfReach),
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Err(Out::NoRoute),
                // Broadcast addresses of the host's networks, among others.
                _ => Err(Out::OfReach),
            },
        }
    }

    /// The address by which this host, as a router, speaks of what goes there: its own on that side.
    pub(crate) fn router_towards(far: IpAddr) -> Option<IpAddr> {
        let own = local_address_towards(SocketAddr::new(far, 0)).ok()?;
        (!special(far) && !special(own)).then_some(own)
    }

    fn check_own(&self, protocol: u8, far: SocketAddr) -> Result<(), Out> {
        let named = self.own.iter().any(|net| net.contains(&far.ip()));
        let ports = self.own_ports.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = matches!(protocol, TCP | UDP) && ports.contains(&far.port());
        if named && !taken { Ok(()) } else { Err(Out::OfReach) }
    }
}

/// Whether it is an address of this host: only those may be bound, where the system does not let any be. The source address
/// that would be taken towards it does not tell: for the second address of a network it is the first.
fn is_own(address: IpAddr) -> bool {
    let bound =
        Socket::new(Domain::for_address((address, 0).into()), Type::DGRAM.cloexec(), Some(Protocol::UDP))
            .and_then(|socket| socket.bind(&SocketAddr::new(address, 0).into()));
    match bound {
        Ok(()) if any_may_be_bound(address) => netio::is_host_address(address),
        Ok(()) => true,
        // It is looked at again when it is dialled.
        Err(_) => false,
    }
}

/// Whether the host takes it for itself without an interface that has it: above all the anycast address of a network of
/// which it is a router (RFC 4291, 2.6.1). Neither binding nor the source address tells: for IPv6 both are as for another
/// host's.
fn ends_here(address: Ipv6Addr) -> bool {
    // A kernel that does not answer has its list; if not even that, nothing is dialled.
    route::ends_here(address).unwrap_or_else(|_| anycast_list().is_none_or(|list| is_listed(&list, address)))
}

/// The host's anycast addresses as `/proc` has them.
fn anycast_list() -> Option<String> {
    let mut list = String::new();
    File::open("/proc/net/anycast6").ok()?.take(ANYCAST_LIST_MAX_BYTES).read_to_string(&mut list).ok()?;
    Some(list)
}

/// Rows of it are interface's number, interface's name, address, users.
fn is_listed(list: &str, address: Ipv6Addr) -> bool {
    let address = format!("{:032x}", address.to_bits());
    list.lines().any(|row| row.split_ascii_whitespace().nth(2) == Some(address.as_str()))
}

/// `ip_nonlocal_bind`, which some set for addresses that move between hosts.
fn any_may_be_bound(address: IpAddr) -> bool {
    let version = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    std::fs::read_to_string(format!("/proc/sys/net/{version}/ip_nonlocal_bind"))
        .is_ok_and(|value| value.trim() != "0")
}

/// The address this host would send from: its own destination's, if that is an address of this host. Connecting a UDP
/// socket asks the routing tables and sends nothing.
fn local_address_towards(far: SocketAddr) -> io::Result<IpAddr> {
    let socket = Socket::new(Domain::for_address(far), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    // Port 0 is not accepted everywhere.
    let port = if far.port() == 0 { 9 } else { far.port() };
    socket.connect(&SocketAddr::new(far.ip(), port).into())?;
    let own = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(own.ip())
}

/// Loopback, link-local (metadata services), multicast, broadcast, and what is no host's address.
fn special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                // Old forms that name an IPv4 address (mapped, compatible, NAT64): the way round the rules for those.
                || v6.to_ipv4().is_some()
                || matches!(v6.segments(), [0x64, 0xff9b, ..])
                || v6 == AWS_METADATA
        }
    }
}

/// Where instances find their metadata over IPv6.
const AWS_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn special_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first == 0 || first == 127 || first >= 224 || address.is_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_of_this_host_is_dialled() {
        let reach = Reach::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()], Vec::new());
        for far in [
            "127.0.0.1:80",
            "127.64.0.1:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "169.254.169.254:80",
            "169.254.170.2:80",
            "224.0.0.5:80",
            "240.0.0.1:80",
            "255.255.255.255:80",
            "[::1]:80",
            "[::]:80",
            "[::ffff:127.0.0.1]:80",
            "[::127.0.0.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[fe80::1]:80",
            "[ff02::1]:80",
            "[fd00:ec2::254]:80",
        ] {
            assert_eq!(reach.check(TCP, far.parse().unwrap()), Err(Out::OfReach), "{far}");
        }
    }

    #[test]
    fn anycast_addresses_are_found_in_the_list() {
        let list = "2    eth0            fd990077000000000000000000000000     1\n\
                    3    eth1            fe800000000000000000000000000000     2\n";
        assert!(is_listed(list, "fd99:77::".parse().unwrap()));
        assert!(!is_listed(list, "fd99:77::1".parse().unwrap()));
        assert!(!is_listed("", "fd99:77::".parse().unwrap()));
    }

    #[test]
    fn own_addresses_only_where_named_and_never_our_own_ports() {
        let Some(own) = netio::host_addresses().into_iter().find(IpAddr::is_ipv4) else {
            println!("SKIP: this host has no address but loopback");
            return;
        };
        let far = SocketAddr::new(own, 80);
        assert_eq!(Reach::new(Vec::new(), Vec::new()).check(TCP, far), Err(Out::OfReach));
        let named = Reach::new(vec![own.into()], vec![8585]);
        assert_eq!(named.check(TCP, far), Ok(()));
        for protocol in [TCP, UDP] {
            assert_eq!(named.check(protocol, SocketAddr::new(own, 8585)), Err(Out::OfReach));
        }
        named.refuse_port(80);
        assert_eq!(named.check(TCP, far), Err(Out::OfReach));
    }
}
