//! IPv6 through the fabric: the same ways as IPv4, and no address of the host's on any of them.

use std::net::{Ipv6Addr, UdpSocket};
use std::thread;
use std::time::Duration;

use netio::{EgressRule, Fabric, FabricAssociation, Outlet};

use crate::packet::{Down, Tunnel, parse_v6, ping_v6, udp_v6};
use crate::removal::traces;
use crate::site::{ECHO, Site, association, open};

pub fn all() -> Vec<(&'static str, fn())> {
    vec![
        ("ipv6_goes_up_and_comes_down_as_it_is", ipv6_goes_up_and_comes_down_as_it_is as fn()),
        ("ipv6_has_no_other_doors", ipv6_has_no_other_doors),
        ("ipv6_egress_rules_decide", ipv6_egress_rules_decide),
        ("errors_of_the_host_reach_the_client_by_ipv6", errors_of_the_host_reach_the_client),
    ]
}

fn target(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd20, 0, 0, number, 0, 0, 0, 2)
}

fn gateway(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd20, 0, 0, number, 0, 0, 0, 1)
}

/// Client `host` of association `number`.
fn client(number: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd88, 0, 0, number, 0, 0, 0, host)
}

/// The site with IPv6 beside IPv4; the targets know a way back.
fn site() -> Site {
    let site = Site::new();
    for (number, space) in (1..).zip(&site.targets) {
        site.gateway.sh(&format!("ip -6 address add {}/64 dev net{number} nodad", gateway(number)));
        space.sh(&format!(
            "ip -6 address add {}/64 dev net{number} nodad; ip -6 route add default via {}",
            target(number),
            gateway(number)
        ));
        space.run(|| {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, ECHO + 1)).unwrap();
            thread::spawn(move || crate::site::echo(&socket));
        });
    }
    site
}

fn dual(number: u8) -> FabricAssociation {
    let mut wanted = association(number);
    wanted.client_cidr.v6 = Some(format!("fd88:0:0:{number}::/64").parse().unwrap());
    wanted.outlet.toward.push(format!("fd20:0:0:{number}::/64").parse().unwrap());
    wanted.outlet.egress.push(EgressRule { protocol: None, ports: None, cidr: "::/0".parse().unwrap() });
    wanted
}

/// Sends a question to an echo service of a target; the answer has to come, as asked by the client itself.
fn ask(tunnel: &Tunnel, from: Ipv6Addr, to: Ipv6Addr, question: &str) {
    tunnel.send(&udp_v6((from, 4000), (to, ECHO + 1), question.as_bytes()));
    let payload = format!("{from} {question}").into_bytes();
    assert_eq!(
        tunnel.next_by(parse_v6),
        Down::Udp { from: (to.into(), ECHO + 1), to: (from.into(), 4000), payload }
    );
}

fn force_forwarding(site: &Site, interface: &str) -> String {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}");
    site.gateway
        .sh(&format!("cat {path}/force_forwarding 2>/dev/null || cat {path}/forwarding"))
        .trim()
        .to_owned()
}

fn ipv6_goes_up_and_comes_down_as_it_is() {
    let site = site();
    site.gateway
        .sh("nft add table inet own; nft add chain inet own c '{ type filter hook output priority 0; }'");
    let before = traces(&site);
    let mut fabric = site.fabric();
    fabric.sweep().unwrap();
    for _ in 0..2 {
        let tunnels = [1, 2].map(|number| open(&mut fabric, &dual(number)));
        for (tunnel, number) in tunnels.iter().zip([1, 2]) {
            ask(tunnel, client(number, 2), target(number), "hello");
            tunnel.send(&ping_v6(client(number, 3), target(number), 77, 64));
            let (from, to) = (target(number).into(), client(number, 3).into());
            assert_eq!(tunnel.next_by(parse_v6), Down::Icmp { from, to, kind: 129, code: 0, id: 77 });
        }
        let main = site.gateway.sh("ip -6 route show table main");
        assert!(!main.contains("fd88:"), "client addresses in the main table: {main}");
        fabric.remove(&dual(1).key).unwrap();
        ask(&tunnels[1], client(2, 2), target(2), "still there");
        fabric.remove(&dual(2).key).unwrap();
        assert_eq!(traces(&site), before);
    }
    // IPv6 alone, and what an earlier life left.
    let mut alone = dual(1);
    alone.client_cidr.v4 = None;
    ask(&open(&mut fabric, &alone), client(1, 2), target(1), "alone");
    fabric.sweep().unwrap();
    assert_eq!(traces(&site), before);
}

fn ipv6_has_no_other_doors() {
    let site = site();
    let mut fabric = site.fabric();
    let tunnel = open(&mut fabric, &dual(1));
    let _second = open(&mut fabric, &dual(2));
    assert_eq!((force_forwarding(&site, "net1"), force_forwarding(&site, "net2")), ("1".into(), "1".into()));
    let quiet = |socket: UdpSocket| {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    };
    let bind = |port: u16| move || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
    let (service, far) = (quiet(site.gateway.run(bind(7600))), quiet(site.targets[1].run(bind(7600))));
    // Not to the host, by whatever address; not as somebody else; not between the networks behind.
    for address in [gateway(1), gateway(2)] {
        tunnel.send(&udp_v6((client(1, 2), 4000), (address, 7600), b"forbidden"));
    }
    for from in [client(2, 2), gateway(1), target(1)] {
        tunnel.send(&udp_v6((from, 4000), (target(2), 7600), b"forbidden"));
    }
    let outside = site.targets[0].run(bind(0));
    outside.send_to(b"forbidden", (target(2), 7600)).unwrap();
    // Nor from outside to a client that has not asked.
    outside.send_to(b"forbidden", (client(1, 2), 4000)).unwrap();
    ask(&tunnel, client(1, 2), target(1), "allowed");
    tunnel.send(&udp_v6((client(1, 2), 4000), (target(2), 7600), b"allowed"));
    outside.send_to(b"allowed", (gateway(1), 7600)).unwrap();
    let mut buffer = [0; 64];
    for (socket, name) in [(&far, "far"), (&service, "service")] {
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"allowed", "{name}");
    }
}

fn ipv6_egress_rules_decide() {
    let site = site();
    let mut fabric = site.fabric();
    let wanted = dual(1);
    let tunnel = open(&mut fabric, &wanted);
    let rule = |protocol: u8, ports, cidr: &str| EgressRule {
        protocol: Some(protocol),
        ports,
        cidr: cidr.parse().unwrap(),
    };
    let listener = site.targets[0].run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 7600)).unwrap());
    listener.set_nonblocking(true).unwrap();
    let send = |port: u16| tunnel.send(&udp_v6((client(1, 2), 4000), (target(1), port), b"x"));
    for (rule, udp_passes, echo_passes) in [
        (rule(17, Some((7600, 7600)), "fd20::/16"), true, false),
        (rule(17, Some((7601, 7602)), "fd20::/16"), false, false),
        (rule(17, None, "fd20:0:0:2::/64"), false, false),
        (rule(17, None, "0.0.0.0/0"), false, false),
        (rule(58, Some((128, u16::MAX)), "::/0"), false, true),
        (rule(58, Some((129, 0)), "::/0"), false, false),
        (rule(1, Some((8, u16::MAX)), "::/0"), false, false),
    ] {
        // The last of each round passes by a rule of its own: what came before it and passed comes first.
        let last =
            EgressRule { protocol: Some(17), ports: Some((7700, 7700)), cidr: "::/0".parse().unwrap() };
        let outlet = Outlet { egress: vec![rule.clone(), last], ..wanted.outlet.clone() };
        fabric.set_outlet(&wanted.key, &outlet).unwrap();
        send(7600);
        tunnel.send(&ping_v6(client(1, 2), target(1), 5, 64));
        send(7700);
        let mut echoed = false;
        loop {
            match tunnel.next_by(parse_v6) {
                // Port unreachable: nobody listens there.
                Down::Icmp { kind: 1, code: 4, .. } => break,
                Down::Icmp { kind: 129, .. } => echoed = true,
                other => panic!("{other:?}"),
            }
        }
        let heard = listener.recv_from(&mut [0; 64]).is_ok();
        assert_eq!((heard, echoed), (udp_passes, echo_passes), "{rule:?}");
    }
}

fn errors_of_the_host_reach_the_client() {
    let site = site();
    // What the host sends of its own accord, it sends by its own routing: it must have some for the client's address.
    site.gateway.sh(&format!("ip -6 route add default via {}", target(1)));
    site.gateway.sh("ip link set net2 mtu 1300");
    let mut fabric = site.fabric();
    let tunnel = open(&mut fabric, &dual(2));
    // Nothing goes from client to client: the answer to the next question is the first to come.
    tunnel.send(&udp_v6((client(2, 2), 40), (client(2, 3), 40), b"astray"));
    ask(&tunnel, client(2, 2), target(2), "small");
    for (packet, kind) in [
        (ping_v6(client(2, 2), target(2), 9, 1), 3),
        (udp_v6((client(2, 2), 4000), (target(2), ECHO + 1), &[0; 1400]), 2),
    ] {
        tunnel.send(&packet);
        match tunnel.next_by(parse_v6) {
            Down::Icmp { to, kind: k, code, .. } => {
                assert_eq!((to, k, code), (client(2, 2).into(), kind, 0));
            }
            other => panic!("{other:?}"),
        }
    }
}
