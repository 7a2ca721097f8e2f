//! Packets that have to pass, and packets that must not. What must not arrive is followed by something that does, on
//! the same way: nothing is proved by waiting.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use netio::kernel::KernelFabric;
use netio::{EgressRule, Fabric, FabricAssociation, FabricError, Outlet};

use crate::packet::{Down, Tunnel, ping, udp};
use crate::site::{ECHO, Site, anywhere, association, client, gateway, open, target, udp_to};
use crate::uplinks::sh;

pub fn all() -> Vec<(&'static str, fn())> {
    vec![
        ("packets_go_up_and_replies_come_down", packets_go_up_and_replies_come_down as fn()),
        ("strict_reverse_path_checks_do_not_matter", strict_reverse_path_checks_do_not_matter),
        ("two_associations_share_a_client_cidr", two_associations_share_a_client_cidr),
        ("what_is_prepared_together_is_the_same", what_is_prepared_together_is_the_same),
        ("the_host_is_not_reachable_from_a_tunnel", the_host_is_not_reachable_from_a_tunnel),
        ("nobody_outside_opens_a_connection_to_a_client", nobody_outside_opens_a_connection_to_a_client),
        ("opened_interfaces_forward_nothing_else", opened_interfaces_forward_nothing_else),
        ("a_closed_door_of_an_open_host_is_guarded", a_closed_door_of_an_open_host_is_guarded),
        ("egress_rules_decide_and_change_live", egress_rules_decide_and_change_live),
        ("without_source_nat_clients_keep_their_addresses", without_source_nat_clients_keep_their_addresses),
        ("another_network_opens_its_interface_live", another_network_opens_its_interface_live),
        ("nothing_goes_from_client_to_client", nothing_goes_from_client_to_client),
        ("errors_of_the_host_reach_the_client", errors_of_the_host_reach_the_client),
        ("sockets_are_bound_in_groups", sockets_are_bound_in_groups),
        ("listening_sockets_are_bound_in_groups", listening_sockets_are_bound_in_groups),
    ]
}

/// An IPv4 address and a port as what came down names them.
fn any((address, port): (Ipv4Addr, u16)) -> (IpAddr, u16) {
    (address.into(), port)
}

/// Sends a question to an echo service; the answer has to come, from there, as asked by `seen_as`.
pub fn ask(tunnel: &Tunnel, from: (Ipv4Addr, u16), to: Ipv4Addr, question: &str, seen_as: Ipv4Addr) {
    tunnel.send(&udp(from, (to, ECHO), question.as_bytes()));
    let payload = format!("{seen_as} {question}").into_bytes();
    assert_eq!(tunnel.next(), Down::Udp { from: (to.into(), ECHO), to: (from.0.into(), from.1), payload });
}

fn ping_answer(from: Ipv4Addr, to: Ipv4Addr, id: u16) -> Down {
    Down::Icmp { from: from.into(), to: to.into(), kind: 0, code: 0, id }
}

fn packets_go_up_and_replies_come_down() {
    let site = Site::new();
    // A network behind a router of the target network, known to the host's own routing.
    site.targets[0].sh("ip address add 10.30.0.1/24 dev lo");
    site.gateway.sh("ip route add 10.30.0.0/24 via 10.20.1.2");
    assert_eq!((site.forwarding("all"), site.forwarding("net1")), ("0".into(), "0".into()));
    let mut fabric = site.fabric();
    fabric.sweep().unwrap();
    let tunnel = open(&mut fabric, &association(1));
    for round in 0..3 {
        ask(&tunnel, (client(2), 4000), target(1), &format!("round {round}"), gateway(1));
        tunnel.send(&ping(client(3), Ipv4Addr::new(10, 30, 0, 1), 76, 64, b"behind a router"));
        assert_eq!(tunnel.next(), ping_answer(Ipv4Addr::new(10, 30, 0, 1), client(3), 76));
    }
    tunnel.send(&ping(client(2), target(1), 77, 64, b"hello"));
    assert_eq!(tunnel.next(), ping_answer(target(1), client(2), 77));
    assert_eq!(site.forwarding("all"), "0", "the host's own setting stays");
    assert_eq!((site.forwarding("net1"), site.forwarding("net2")), ("1".into(), "0".into()));
    let main = site.gateway.sh("ip route show table main");
    assert!(!main.contains("10.8."), "client addresses in the main table: {main}");
    assert!(
        site.gateway
            .sh(&format!("ip -d link show {}", netio::link_name(&association(1).key)))
            .contains("mtu 1500")
    );
    // A source address that is no client's.
    let listener = site.socket(1, 7001);
    for (from, text) in [(Ipv4Addr::new(10, 9, 0, 2), "forbidden"), (client(2), "allowed")] {
        tunnel.send(&udp((from, 4000), (target(1), 7001), text.as_bytes()));
    }
    let mut buffer = [0; 64];
    let (length, _) = listener.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"allowed");
}

fn strict_reverse_path_checks_do_not_matter() {
    for rp_filter in [0, 1, 2] {
        for src_valid_mark in [0, 1] {
            let site = Site::new();
            site.gateway.sh(&format!(
                "cd /proc/sys/net/ipv4/conf && for place in all default net1 net2; do \
                 echo {rp_filter} > $place/rp_filter; echo {src_valid_mark} > $place/src_valid_mark; done"
            ));
            let mut fabric = site.fabric();
            let tunnel = open(&mut fabric, &association(1));
            ask(&tunnel, (client(2), 4000), target(1), "strict", gateway(1));
        }
    }
}

fn two_associations_share_a_client_cidr() {
    let site = Site::new();
    let mut fabric = site.fabric();
    shared_client_cidr(&mut fabric);
}

fn what_is_prepared_together_is_the_same() {
    let site = Site::new();
    let mut fabric = site.fabric();
    fabric.sweep().unwrap();
    // One is never added; another is added otherwise than it was prepared, and a third stands in the way of the first.
    let rival = FabricAssociation { key: "cvpn-assoc-ff123456789abcdef".into(), ..association(1) };
    let other = FabricAssociation { outlet: Outlet::default(), ..association(2) };
    fabric.prepare(&[association(1), other, association(3), rival.clone()]);
    let table = || site.gateway.sh("nft list table inet bascule");
    for number in [1, 2, 3] {
        assert!(table().contains(&format!("chain from_{number} ")), "{number}");
    }
    assert!(!site.gateway.sh("ip link").contains("bsc"), "rules come before devices");
    assert!(matches!(fabric.add(&rival), Err(FabricError::Transient(_))));
    shared_client_cidr(&mut fabric);
    fabric.remove(&association(3).key).unwrap();
    assert!(!table().contains("chain from_3 "));
}

fn shared_client_cidr(fabric: &mut dyn Fabric) {
    let tunnels = [1, 2].map(|number| open(fabric, &association(number)));
    // The same client address and port in both, to two networks, and then to the very same service.
    for (tunnel, number) in tunnels.iter().zip([1, 2]) {
        ask(tunnel, (client(2), 4000), target(number), &format!("net {number}"), gateway(number));
    }
    for round in 0..3 {
        for (tunnel, name) in tunnels.iter().zip(["first", "second"]) {
            ask(tunnel, (client(2), 4000), target(1), &format!("{name} {round}"), gateway(1));
            tunnel.send(&ping(client(2), target(2), 5, 64, name.as_bytes()));
            assert_eq!(tunnel.next(), ping_answer(target(2), client(2), 5));
        }
    }
    // The end of one does not touch the other.
    fabric.remove(&association(1).key).unwrap();
    ask(&tunnels[1], (client(2), 4000), target(1), "still there", gateway(1));
}

fn the_host_is_not_reachable_from_a_tunnel() {
    let site = Site::new();
    let service = site.gateway.run(|| UdpSocket::bind(("0.0.0.0", ECHO)).unwrap());
    service.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut fabric = site.fabric();
    let tunnel = open(&mut fabric, &association(1));
    for address in [gateway(1), gateway(2)] {
        tunnel.send(&udp((client(2), 4000), (address, ECHO), b"forbidden"));
        tunnel.send(&ping(client(2), address, 1, 64, b""));
    }
    ask(&tunnel, (client(2), 4000), target(1), "allowed", gateway(1));
    // The service hears others.
    let socket = site.socket(1, 0);
    socket.send_to(b"from outside", (gateway(1), ECHO)).unwrap();
    let mut buffer = [0; 64];
    let (length, _) = service.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"from outside");
}

fn nobody_outside_opens_a_connection_to_a_client() {
    let site = Site::new();
    site.targets[0].sh("ip route add 10.8.0.0/22 via 10.20.1.1");
    let mut fabric = site.fabric();
    let tunnels = [1, 2].map(|number| open(&mut fabric, &association(number)));
    // The operator even has a route there, and so may the host itself try.
    let link = netio::link_name(&association(1).key);
    site.gateway.sh(&format!("ip route add 10.8.0.0/22 dev {link}"));
    let outside = site.socket(1, 0);
    outside.send_to(b"forbidden", (client(2), 4000)).unwrap();
    let _ =
        site.gateway.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"forbidden", (client(2), 4000)));
    ask(&tunnels[0], (client(2), 4000), target(1), "allowed", gateway(1));
    // Answers from another port than the one that was asked are no answers.
    let here = outside.local_addr().unwrap().port();
    tunnels[0].send(&udp((client(2), 4001), (target(1), here), b"hello"));
    let mut buffer = [0; 64];
    let (_, masqueraded) = outside.recv_from(&mut buffer).unwrap();
    site.socket(1, 0).send_to(b"forbidden", masqueraded).unwrap();
    outside.send_to(b"answer", masqueraded).unwrap();
    let (from, to) = ((target(1), here), (client(2), 4001));
    assert_eq!(tunnels[0].next(), Down::Udp { from: any(from), to: any(to), payload: b"answer".to_vec() });
    // Nor from the other tunnel.
    tunnels[1].send(&udp((client(9), 4000), (client(2), 4001), b"forbidden"));
    ask(&tunnels[0], (client(2), 4000), target(1), "again", gateway(1));
}

fn opened_interfaces_forward_nothing_else() {
    let site = Site::new();
    site.targets[0].sh("ip route add 10.20.2.0/24 via 10.20.1.1");
    site.targets[1].sh("ip route add 10.20.1.0/24 via 10.20.2.1");
    let mut fabric = site.fabric();
    let _tunnels = [1, 2].map(|number| open(&mut fabric, &association(number)));
    assert_eq!((site.forwarding("net1"), site.forwarding("net2")), ("1".into(), "1".into()));
    let listener = site.socket(2, 7500);
    let through = site.socket(1, 0);
    through.send_to(b"through the gateway", (target(2), 7500)).unwrap();
    site.gateway
        .run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"its own", (target(2), 7500)).unwrap());
    let mut buffer = [0; 64];
    let (length, _) = listener.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"its own");
    // Once the operator forwards everywhere it is not for us to forbid.
    site.gateway.sh("echo 1 > /proc/sys/net/ipv4/conf/all/forwarding");
    listener.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let heard = (0..100).any(|_| {
        through.send_to(b"through the gateway", (target(2), 7500)).unwrap();
        listener.recv_from(&mut buffer).is_ok()
    });
    assert!(heard, "the guard outlived its reason");
    for number in [1, 2] {
        fabric.remove(&association(number).key).unwrap();
    }
    assert_eq!(site.forwarding("net1"), "1", "the operator's forwarding stays");
}

/// The host forwards everywhere but by one interface, as its operator wants: that opens for tunnels only, and closes again.
fn a_closed_door_of_an_open_host_is_guarded() {
    let site = Site::new();
    site.gateway.sh("cd /proc/sys/net/ipv4/conf; echo 1 > all/forwarding; echo 0 > net1/forwarding");
    site.gateway.run(|| {
        let mut fabric = KernelFabric::new(false).unwrap();
        let queues = fabric.add(&association(1)).unwrap();
        assert_eq!(sh("cat /proc/sys/net/ipv4/conf/net1/forwarding").trim(), "1");
        fabric.maintain();
        let guarded = sh("nft list set inet bascule opened");
        assert!(guarded.contains("\"net1\""), "{guarded}");
        drop(queues);
        fabric.remove(&association(1).key).unwrap();
    });
    assert_eq!(site.forwarding("net1"), "0");
}

fn egress_rules_decide_and_change_live() {
    let site = Site::new();
    let mut fabric = site.fabric();
    let listeners = [7001, 7002].map(|port| site.socket(1, port));
    let mut wanted = association(1);
    wanted.outlet.egress = vec![
        udp_to("10.20.1.0/24", ECHO),
        udp_to("10.20.1.2/32", 7001),
        EgressRule { protocol: Some(1), ports: Some((8, u16::MAX)), cidr: "10.20.1.2/32".parse().unwrap() },
        EgressRule { protocol: None, ports: None, cidr: "2001:db8::/32".parse().unwrap() },
        EgressRule { protocol: Some(6), ports: Some((1, 65535)), cidr: "0.0.0.0/0".parse().unwrap() },
        EgressRule { protocol: Some(47), ports: Some((1, 2)), cidr: "10.0.0.1/8".parse().unwrap() },
    ];
    let tunnel = open(&mut fabric, &wanted);
    let heard = |listener: &UdpSocket| {
        let mut buffer = [0; 64];
        let (length, _) = listener.recv_from(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let say =
        |port: u16, text: &str| tunnel.send(&udp((client(2), 4000), (target(1), port), text.as_bytes()));
    say(7001, "allowed");
    say(7002, "forbidden");
    assert_eq!(heard(&listeners[0]), "allowed");
    tunnel.send(&ping(client(2), target(1), 3, 64, b""));
    assert_eq!(tunnel.next(), ping_answer(target(1), client(2), 3));
    // The other way round, without cutting what both allow. A connection that is there already is no excuse.
    let mut set = |egress: Vec<EgressRule>| {
        fabric.set_outlet(&wanted.key, &Outlet { egress, ..wanted.outlet.clone() }).unwrap();
    };
    set(vec![udp_to("10.20.1.0/24", ECHO), udp_to("10.20.1.0/24", 7002)]);
    say(7001, "forbidden");
    say(7002, "allowed");
    assert_eq!(heard(&listeners[1]), "allowed");
    set(Vec::new());
    say(7001, "forbidden");
    say(7002, "forbidden");
    set(anywhere());
    for (listener, port) in listeners.iter().zip([7001, 7002]) {
        say(port, "last");
        assert_eq!(heard(listener), "last");
    }
    assert!(matches!(
        fabric.set_outlet("cvpn-assoc-none", &Outlet::default()),
        Err(FabricError::Permanent(_))
    ));
}

fn without_source_nat_clients_keep_their_addresses() {
    let site = Site::new();
    // The far side knows the way back.
    site.targets[0].sh("ip route add 10.8.0.0/22 via 10.20.1.1");
    let mut fabric = site.fabric();
    let plain = open(&mut fabric, &FabricAssociation { source_nat: false, ..association(1) });
    let masked = open(&mut fabric, &association(2));
    for round in 0..3 {
        ask(&plain, (client(2), 4000), target(1), &format!("plain {round}"), client(2));
        ask(&masked, (client(3), 4000), target(1), &format!("masked {round}"), gateway(1));
        plain.send(&ping(client(2), target(1), 7, 64, b"plain"));
        assert_eq!(plain.next(), ping_answer(target(1), client(2), 7));
    }
    // A way back is no way in.
    let socket = site.socket(1, 0);
    socket.send_to(b"forbidden", (client(2), 4001)).unwrap();
    ask(&plain, (client(2), 4001), target(1), "allowed", client(2));
}

fn another_network_opens_its_interface_live() {
    let site = Site::new();
    let mut fabric = site.fabric();
    let wanted = association(1);
    let tunnel = open(&mut fabric, &wanted);
    assert_eq!(site.forwarding("net2"), "0");
    let mut outlet = wanted.outlet.clone();
    outlet.toward.push("10.20.2.0/24".parse().unwrap());
    fabric.set_outlet(&wanted.key, &outlet).unwrap();
    assert_eq!(site.forwarding("net2"), "1");
    ask(&tunnel, (client(2), 4000), target(2), "beyond", gateway(2));
    // Open for tunnels only: what the host did not forward before, it does not now.
    let rules = site.gateway.sh("nft list set inet bascule opened");
    assert!(rules.contains("\"net2\""), "{rules}");
}

/// The engine gives such packets to the other session; here they would pass by its rules.
fn nothing_goes_from_client_to_client() {
    let site = Site::new();
    let mut fabric = site.fabric();
    let tunnels = [1, 2].map(|number| open(&mut fabric, &association(number)));
    for tunnel in &tunnels {
        for host in [2, 3] {
            tunnel.send(&udp((client(2), 40), (client(host), 40), b"astray"));
        }
    }
    for (tunnel, number) in tunnels.iter().zip([1, 2]) {
        ask(tunnel, (client(2), 4000), target(number), "nothing before it", gateway(number));
    }
}

fn errors_of_the_host_reach_the_client() {
    let site = Site::new();
    // What the host sends of its own accord, it sends by its own routing: it must have some for the client's address.
    site.gateway.sh("ip route add default via 10.20.1.2");
    site.gateway.sh("ip link set net2 mtu 1300");
    let mut fabric = site.fabric();
    let tunnel = open(&mut fabric, &association(2));
    ask(&tunnel, (client(2), 4000), target(2), "small", gateway(2));
    for (packet, kind, code) in [
        (ping(client(2), target(2), 9, 1, b""), 11, 0),
        (udp((client(2), 4000), (target(2), ECHO), &[0; 1400]), 3, 4),
    ] {
        tunnel.send(&packet);
        match tunnel.next() {
            Down::Icmp { to, kind: k, code: c, .. } => assert_eq!((to, k, c), (client(2).into(), kind, code)),
            other => panic!("{other:?}"),
        }
    }
}

fn sockets_are_bound_in_groups() {
    let site = Site::new();
    let mut fabric = site.fabric();
    for address in ["10.20.1.1:443", "127.0.0.1:1194", "[::1]:443", "0.0.0.0:0"] {
        let group = fabric.bind_udp(address.parse().unwrap(), 3).unwrap();
        let ports: Vec<_> =
            group.into_iter().map(|fd| UdpSocket::from(fd).local_addr().unwrap().port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }
    let held = fabric.bind_udp("10.20.1.1:443".parse().unwrap(), 1).unwrap();
    for (address, hint) in [("10.20.1.1:443", "ss -lunp"), ("10.99.0.1:443", "ip address add")] {
        match fabric.bind_udp(address.parse().unwrap(), 2) {
            Err(FabricError::Permanent(text)) => assert!(text.contains(hint), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    drop(held);
    fabric.bind_udp("10.20.1.1:443".parse().unwrap(), 2).unwrap();
    assert!(fabric.bind_udp("10.20.1.1:443".parse().unwrap(), 0).is_err());
}

fn listening_sockets_are_bound_in_groups() {
    let site = Site::new();
    let mut fabric = site.fabric();
    for address in ["10.20.1.1:443", "[::1]:443", "0.0.0.0:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let group: Vec<_> = fabric.bind_tcp(address, 3).unwrap().into_iter().map(TcpListener::from).collect();
        let bound = group[0].local_addr().unwrap();
        assert!(group.iter().all(|socket| socket.local_addr().unwrap() == bound));
        // Every connection comes to one of them, and their end is a refusal, lingering connections or not.
        let to = if address.ip().is_unspecified() {
            SocketAddr::from(([127, 0, 0, 1], bound.port()))
        } else {
            bound
        };
        let connect = || site.gateway.run(move || TcpStream::connect(to));
        let clients: Vec<_> = (0..16).map(|_| connect().unwrap()).collect();
        let accepted: Vec<_> = group
            .iter()
            .flat_map(|socket| std::iter::from_fn(move || netio::tcp::accept(socket).ok()))
            .collect();
        assert_eq!(accepted.len(), clients.len());
        match fabric.bind_tcp(bound, 2) {
            Err(FabricError::Permanent(text)) => assert!(text.contains("ss -ltnp"), "{text}"),
            other => panic!("{other:?}"),
        }
        drop(group);
        // A program that another test starts at this moment has the sockets too, until it runs.
        let refused = (0..1_000).find_map(|_| connect().err());
        assert_eq!(refused.map(|error| error.kind()), Some(std::io::ErrorKind::ConnectionRefused));
        drop(accepted);
        fabric.bind_tcp(bound, 2).unwrap();
    }
}
