//! Binds groups of UDP sockets that share one address.

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
/// How often, and how long apart, a taken address is tried: whoever closes its sockets now may need a moment.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// `sockets` of them, in order. Steering counts on the order of binding.
pub(super) fn group(address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
    if !(1..=MAX_SOCKETS).contains(&sockets) {
        return Err(FabricError::Permanent(format!("1 to {MAX_SOCKETS} sockets")));
    }
    let mut tried = 0;
    let bound = loop {
        match try_group(address, sockets) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tried < TRIES => {
                tried += 1;
                thread::sleep(PAUSE);
            }
            other => break other,
        }
    };
    bound.map_err(|error| FabricError::Permanent(explain(address, &error)))
}

fn explain(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    let ip = address.ip();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "UDP {address} is taken by another program: see which (ss -lunp sport = :{port}) and stop it"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            format!(
                "{ip} is not an address of this host: add it (ip address add {ip}/{bits} dev …) or choose another"
            )
        }
        _ => format!("cannot bind UDP {address}: {error}"),
    }
}

fn try_group(address: SocketAddr, sockets: u16) -> io::Result<Vec<OwnedFd>> {
    // Sharing a port is granted to any program of the same user: look whether it is free without sharing first.
    let probe = open(address)?;
    probe.bind(&address.into())?;
    // Port 0 is any free port: the whole group takes the one that the probe got.
    let chosen = probe.local_addr()?;
    drop(probe);
    (0..sockets)
        .map(|_| {
            let socket = open(address)?;
            socket.set_reuse_port(true)?;
            socket.bind(&chosen)?;
            Ok(OwnedFd::from(socket))
        })
        .collect()
}

fn open(address: SocketAddr) -> io::Result<Socket> {
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
