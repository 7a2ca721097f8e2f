//! A gateway with target networks beside it, and an echo service on each target.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use netio::{EgressRule, Fabric, FabricAssociation, HelperFabric, Outlet};

use crate::net::Namespace;
use crate::packet::Tunnel;

/// Where every target echoes UDP: the answer is who asked, a space, and the question.
pub const ECHO: u16 = 7000;

/// The gateway's namespace and two targets': 10.20.N.0/24, the gateway .1, the target .2.
pub struct Site {
    pub gateway: Namespace,
    pub targets: [Namespace; 2],
}

pub fn target(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 20, number, 2)
}

pub fn gateway(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 20, number, 1)
}

pub fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 8, 0, number)
}

impl Site {
    pub fn new() -> Self {
        let site = Self { gateway: Namespace::new(), targets: [Namespace::new(), Namespace::new()] };
        for (number, space) in (1..).zip(&site.targets) {
            site.gateway.connect(
                &format!("net{number}"),
                &format!("{}/24", gateway(number)),
                space,
                &format!("{}/24", target(number)),
            );
            space.run(|| {
                let socket = UdpSocket::bind(("0.0.0.0", ECHO)).unwrap();
                thread::spawn(move || echo(&socket));
            });
        }
        site
    }

    /// A fabric in a helper process inside the gateway's namespace.
    pub fn fabric(&self) -> HelperFabric {
        self.gateway.run(|| HelperFabric::spawn().unwrap())
    }

    /// A socket on a target.
    pub fn socket(&self, number: u8, port: u16) -> UdpSocket {
        let socket =
            self.targets[usize::from(number - 1)].run(move || UdpSocket::bind(("0.0.0.0", port)).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    pub fn forwarding(&self, interface: &str) -> String {
        self.gateway.sh(&format!("cat /proc/sys/net/ipv4/conf/{interface}/forwarding")).trim().to_owned()
    }
}

pub fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        let answer = [format!("{} ", peer.ip()).as_bytes(), &buffer[..length]].concat();
        let _ = socket.send_to(&answer, peer);
    }
}

pub fn anywhere() -> Vec<EgressRule> {
    vec![EgressRule { protocol: None, ports: None, cidr: "0.0.0.0/0".parse().unwrap() }]
}

pub fn udp_to(cidr: &str, port: u16) -> EgressRule {
    EgressRule { protocol: Some(17), ports: Some((port, port)), cidr: cidr.parse::<IpNet>().unwrap() }
}

/// Association `number`, onto target network `number`. All have the same client CIDR.
pub fn association(number: u8) -> FabricAssociation {
    FabricAssociation {
        key: format!("cvpn-assoc-{number:02x}123456789abcdef"),
        index: number.into(),
        client_cidr: "10.8.0.0/22".parse().unwrap(),
        source_nat: true,
        uplink: None,
        queues: 2,
        mtu: 1500,
        outlet: Outlet { egress: anywhere(), toward: vec![format!("10.20.{number}.0/24").parse().unwrap()] },
    }
}

/// Adds one.
pub fn open(fabric: &mut dyn Fabric, association: &FabricAssociation) -> Tunnel {
    let queues: Vec<OwnedFd> = fabric.add(association).unwrap();
    assert_eq!(queues.len(), usize::from(association.queues));
    Tunnel(queues)
}
