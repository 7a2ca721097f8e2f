//! Flows through the fabric: a client's stack at an association's queue, and sockets at an address of this host as the
//! far side. Skipped where the host has no address but loopback, which is never dialled.

#![allow(clippy::unwrap_used)]

mod client;
mod connections;
mod leaving;
mod limits;
mod others;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use netio::{EgressRule, Fabric, FabricAssociation, Outlet};

use client::Client;
use usernet::{Figures, Limits, Options, UserFabric};

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
const TCP: u8 = 6;
const UDP: u8 = 17;
const KEY: &str = "cvpn-assoc-0123456789abcdef0";

/// An address of this host that is not loopback.
fn own() -> Option<IpAddr> {
    let own = netio::host_addresses().into_iter().find(IpAddr::is_ipv4);
    if own.is_none() {
        println!("SKIP: this host has no IPv4 address but loopback");
    }
    own
}

/// A fabric that may dial this host, and its only association.
struct Site {
    fabric: UserFabric,
}

impl Site {
    fn new(limits: Limits, egress: &[(Option<u8>, Option<(u16, u16)>)]) -> Option<(Self, Client)> {
        let options = Options { own: vec![own()?.into()], limits, ..Options::default() };
        let mut fabric = UserFabric::new(options);
        fabric.sweep().unwrap();
        let mut queues = fabric.add(&association(1, egress)).unwrap();
        let client = Client::new(queues.remove(0), "10.8.0.2".parse().unwrap());
        Some((Self { fabric }, client))
    }

    /// Everything is let out.
    fn open() -> Option<(Self, Client)> {
        Self::new(Limits::default(), &[(None, None)])
    }

    fn figures(&self) -> Figures {
        self.fabric.stats().figures()
    }

    fn refused(&self, why: &str) -> u64 {
        self.figures().refused[why]
    }

    /// Waits, the client at work meanwhile, until figures are as wanted.
    fn until(&self, client: &mut Client, what: &str, wanted: impl Fn(&Figures) -> bool) {
        client.until(what, |_| wanted(&self.figures()).then_some(()));
    }
}

fn association(queues: u16, egress: &[(Option<u8>, Option<(u16, u16)>)]) -> FabricAssociation {
    FabricAssociation {
        key: KEY.to_owned(),
        index: 1,
        client_cidr: "10.8.0.0/22".parse().unwrap(),
        source_nat: true,
        queues,
        mtu: 1500,
        uplink: None,
        outlet: outlet(egress),
    }
}

fn outlet(egress: &[(Option<u8>, Option<(u16, u16)>)]) -> Outlet {
    let rule = |(protocol, ports): &(Option<u8>, Option<(u16, u16)>)| EgressRule {
        protocol: *protocol,
        ports: *ports,
        cidr: "0.0.0.0/0".parse().unwrap(),
    };
    Outlet { egress: egress.iter().map(rule).collect(), toward: Vec::new() }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((own().unwrap(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn udp_server() -> (UdpSocket, SocketAddr) {
    let server = UdpSocket::bind((own().unwrap(), 0)).unwrap();
    server.set_nonblocking(true).unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

/// The far side of the next connection.
fn accept(listener: &TcpListener, client: &mut Client) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = client.until("a connection at the far side", |_| listener.accept().ok());
    stream.set_nonblocking(true).unwrap();
    stream
}

/// What a test sends: `length` bytes that do not repeat with any power of two.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Whether the other end of a queue is closed.
fn is_closed(queue: &OwnedFd) -> bool {
    matches!(netio::tun::read(queue, &mut [0; 2048]), Ok(0))
}
