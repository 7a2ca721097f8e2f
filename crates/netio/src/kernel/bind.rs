//! Binds groups of UDP sockets, or of listening TCP sockets, that share one address.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::fabric::{FabricError, MAX_SOCKETS};

/// Buffer of each socket, either way. Bursts of many clients wait here while a worker is busy.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Connections waiting to be accepted, at each socket; the kernel answers no more than that (it has SYN cookies).
const BACKLOG: i32 = 1024;
/// How often, and how long apart, a taken address is tried: whoever closes its sockets now may need a moment.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// What is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Udp,
    Tcp,
}

/// Binds a `SO_REUSEPORT` group as this process may: non-blocking UDP sockets in worker order.
///
/// # Errors
/// The address is not ours, or is taken, or the port is kept from this user.
pub fn bind_udp(address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
    group(Kind::Udp, address, sockets)
}

/// The same of listening TCP sockets.
///
/// # Errors
/// As for [`bind_udp`].
pub fn bind_tcp(address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
    group(Kind::Tcp, address, sockets)
}

/// `sockets` of them, in order. Steering counts on the order of binding.
pub(super) fn group(kind: Kind, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
    if !(1..=MAX_SOCKETS).contains(&sockets) {
        return Err(FabricError::Permanent(format!("1 to {MAX_SOCKETS} sockets")));
    }
    let mut tried = 0;
    let bound = loop {
        match try_group(kind, address, sockets) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tried < TRIES => {
                tried += 1;
                thread::sleep(PAUSE);
            }
            other => break other,
        }
    };
    bound.map_err(|error| FabricError::Permanent(explain(kind, address, &error)))
}

fn explain(kind: Kind, address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    let (name, flag) = match kind {
        Kind::Udp => ("UDP", 'u'),
        Kind::Tcp => ("TCP", 't'),
    };
    let ip = address.ip();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{name} {address} is taken by another program: see which (ss -l{flag}np sport = :{port}) and stop it"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            format!(
                "{ip} is not an address of this host: add it (ip address add {ip}/{bits} dev …) or choose another"
            )
        }
        _ => format!("cannot bind {name} {address}: {error}"),
    }
}

fn try_group(kind: Kind, address: SocketAddr, sockets: u16) -> io::Result<Vec<OwnedFd>> {
    let open = |address| match kind {
        Kind::Udp => open_udp(address),
        Kind::Tcp => open_tcp(address),
    };
    // Sharing a port is granted to any program of the same user: look whether it is free without sharing first.
    let probe = open(address)?;
    probe.bind(&address.into())?;
    // Port 0 is any free port: the whole group takes the one that the probe got.
    let chosen = probe.local_addr()?;
    drop(probe);
    let bound: Vec<Socket> = (0..sockets)
        .map(|_| {
            let socket = open(address)?;
            socket.set_reuse_port(true)?;
            socket.bind(&chosen)?;
            Ok(socket)
        })
        .collect::<io::Result<_>>()?;
    if kind == Kind::Tcp {
        // All are bound before the first one listens: no connection comes while something may still fail.
        bound.iter().try_for_each(|socket| socket.listen(BACKLOG))?;
    }
    Ok(bound.into_iter().map(OwnedFd::from).collect())
}

fn open_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier life that linger must not keep the address; a listening socket still does.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn open_udp(address: SocketAddr) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // No don't-fragment bit: the outer packet of a full inner one may be larger than the path takes.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DONT)?;
    } else {
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
    }
    // Beyond the host's limit, which is for programs without our privilege; without it, as much as that allows.
    if set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    }
    if set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    }
    Ok(socket)
}
