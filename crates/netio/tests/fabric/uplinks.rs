//! Associations with a network of the host of their own: two with the same addresses, routers, addresses, and what comes
//! of an interface that is not there.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use netio::kernel::KernelFabric;
use netio::{EgressRule, Fabric, FabricAssociation, FabricError, Uplink};

use crate::cases::ask;
use crate::net::Namespace;
use crate::packet::{Down, Tunnel, parse_v6, ping, ping_v6, udp};
use crate::site::{ECHO, Site, association, client, gateway, open, target, udp_to};

pub fn all() -> Vec<(&'static str, fn())> {
    vec![
        ("networks_with_the_same_addresses_are_kept_apart", networks_with_the_same_addresses as fn()),
        ("strict_checks_ask_the_uplink", strict_checks_ask_the_uplink),
        ("a_next_hop_leads_beyond_the_link", a_next_hop_leads_beyond_the_link),
        ("packets_leave_with_the_address_of_the_uplink", packets_leave_with_the_address_of_the_uplink),
        ("an_uplink_that_is_missing_is_waited_for", an_uplink_that_is_missing_is_waited_for),
        ("an_uplink_that_goes_down_leads_nowhere_else", an_uplink_that_goes_down_leads_nowhere_else),
        ("ipv6_goes_by_the_uplink_or_nowhere", ipv6_goes_by_the_uplink_or_nowhere),
        ("routes_follow_their_interface", routes_follow_their_interface),
        ("a_change_rewrites_nobody_elses_rules", a_change_rewrites_nobody_elses_rules),
    ]
}

/// Both networks are this one: the gateway .1, the target .2.
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 2);
const NAMES: [&str; 2] = ["blue", "red"];

pub fn by(interface: &str) -> Uplink {
    Uplink { interface: interface.to_owned(), next_hop: None, next_hop_ipv6: None, nat_address: None }
}

fn through(number: u8, uplink: Uplink) -> FabricAssociation {
    let mut association = association(number);
    association.outlet.toward = vec!["10.50.0.0/24".parse().unwrap()];
    FabricAssociation { uplink: Some(uplink), ..association }
}

/// A gateway between two networks of the same addresses, each with a service that says its name.
struct Twins {
    site: Site,
    spaces: [Namespace; 2],
}

impl Twins {
    fn new() -> Self {
        let twins = Self { site: Site::new(), spaces: [Namespace::new(), Namespace::new()] };
        for (name, space) in NAMES.into_iter().zip(&twins.spaces) {
            twins.site.gateway.connect(name, "10.50.0.1/24", space, "10.50.0.2/24");
            let socket = space.run(|| UdpSocket::bind(("0.0.0.0", ECHO)).unwrap());
            thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    let answer = [format!("{name} {} ", peer.ip()).as_bytes(), &buffer[..length]].concat();
                    let _ = socket.send_to(&answer, peer);
                }
            });
        }
        twins
    }

    fn socket(&self, number: usize, port: u16) -> UdpSocket {
        let socket = self.spaces[number].run(move || UdpSocket::bind(("0.0.0.0", port)).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }
}

/// A datagram that came down.
fn heard(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Down {
    Down::Udp { from: (from.0.into(), from.1), to: (to.0.into(), to.1), payload: payload.to_vec() }
}

/// Asks the service at the address that both have; the answer has to come from this one.
fn asks(tunnel: &Tunnel, name: &str, seen_as: &str, question: &str) {
    let from = (client(2), 4000);
    tunnel.send(&udp(from, (TARGET, ECHO), question.as_bytes()));
    let payload = format!("{name} {seen_as} {question}").into_bytes();
    assert_eq!(tunnel.next(), heard((TARGET, ECHO), from, &payload));
}

fn networks_with_the_same_addresses() {
    let twins = Twins::new();
    let mut fabric = twins.site.fabric();
    fabric.sweep().unwrap();
    let plain = open(&mut fabric, &association(3));
    let tunnels =
        [(1, "blue"), (2, "red")].map(|(number, name)| open(&mut fabric, &through(number, by(name))));
    for round in 0..3 {
        for (tunnel, name) in tunnels.iter().zip(NAMES) {
            asks(tunnel, name, "10.50.0.1", &format!("round {round}"));
        }
    }
    // Nor by another interface's network, which the host itself could reach.
    let listener = twins.site.socket(1, 7001);
    tunnels[0].send(&udp((client(2), 4000), (target(1), 7001), b"astray"));
    plain.send(&udp((client(2), 4000), (target(1), 7001), b"by the host's own routing"));
    let mut buffer = [0; 64];
    let (length, _) = listener.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"by the host's own routing");
    // An answer from the network that was not asked is none, however well it knows the conversation.
    let [blue, red] = [0, 1].map(|number| twins.socket(number, 7002));
    tunnels[1].send(&udp((client(2), 4001), (TARGET, 7002), b"question"));
    let (_, peer) = red.recv_from(&mut buffer).unwrap();
    blue.send_to(b"forged", peer).unwrap();
    red.send_to(b"answer", peer).unwrap();
    assert_eq!(tunnels[1].next(), heard((TARGET, 7002), (client(2), 4001), b"answer"));
    fabric.remove(&through(1, by("blue")).key).unwrap();
    asks(&tunnels[1], "red", "10.50.0.1", "alone");
    fabric.remove(&through(2, by("red")).key).unwrap();
    let rest =
        twins.site.gateway.sh("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all");
    assert!(!rest.contains("ba40001") && !rest.contains("195297"), "{rest}");
    assert_eq!(twins.site.forwarding("red"), "1", "one is left that may still use it");
    fabric.remove(&association(3).key).unwrap();
    assert_eq!(twins.site.forwarding("red"), "0");
}

/// What `fabric check` advises.
fn strict_checks_ask_the_uplink() {
    let twins = Twins::new();
    twins
        .site
        .gateway
        .sh("cd /proc/sys/net/ipv4/conf; for place in all blue red; do echo 1 > $place/rp_filter; done; \
         echo 1 > blue/src_valid_mark; echo 1 > red/src_valid_mark");
    let mut fabric = twins.site.fabric();
    let tunnels =
        [(1, "blue"), (2, "red")].map(|(number, name)| open(&mut fabric, &through(number, by(name))));
    for (tunnel, name) in tunnels.iter().zip(NAMES) {
        asks(tunnel, name, "10.50.0.1", "strict");
    }
}

fn a_next_hop_leads_beyond_the_link() {
    let twins = Twins::new();
    let beyond = Ipv4Addr::new(10, 60, 0, 1);
    twins.spaces[0].sh("ip address add 10.60.0.1/32 dev lo");
    // Where the host itself would look for it.
    twins.site.gateway.sh("ip route add 10.60.0.0/24 dev red");
    let mut fabric = twins.site.fabric();
    let tunnel = open(&mut fabric, &through(1, Uplink { next_hop: Some(TARGET), ..by("blue") }));
    tunnel.send(&ping(client(2), beyond, 7, 64, b"far"));
    assert_eq!(
        tunnel.next(),
        Down::Icmp { from: beyond.into(), to: client(2).into(), kind: 0, code: 0, id: 7 }
    );
    asks(&tunnel, "blue", "10.50.0.1", "near");
    let table = twins.site.gateway.sh("ip route show table 195297281 | sed 's/proto static //'");
    for route in ["default via 10.50.0.2 dev blue onlink", "10.50.0.0/24 dev blue", "unreachable default"] {
        assert!(table.contains(route), "{route} in {table}");
    }
}

fn packets_leave_with_the_address_of_the_uplink() {
    let twins = Twins::new();
    let own = Ipv4Addr::new(10, 50, 0, 9);
    let wanted = through(1, Uplink { nat_address: Some(own), ..by("red") });
    let mut fabric = twins.site.fabric();
    match fabric.add(&wanted) {
        Err(FabricError::Transient(text)) => {
            assert!(text.contains("ip address add 10.50.0.9/32 dev red"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    twins.site.gateway.sh("ip address add 10.50.0.9/32 dev red");
    let tunnel = open(&mut fabric, &wanted);
    asks(&tunnel, "red", "10.50.0.9", "as an address of its own");
    // Two clients from one port to one service: told apart by the port then.
    let twice = [client(2), client(3)].map(|from| {
        tunnel.send(&udp((from, 4000), (TARGET, ECHO), b"twice"));
        tunnel.next() == heard((TARGET, ECHO), (from, 4000), b"red 10.50.0.9 twice")
    });
    assert_eq!(twice, [true, true]);
    drop(tunnel);
    // Without source NAT the client is seen, if the network knows the way back.
    twins.spaces[1].sh("ip route add 10.8.0.0/22 via 10.50.0.1");
    let plain = open(&mut fabric, &FabricAssociation { source_nat: false, ..wanted });
    asks(&plain, "red", "10.8.0.2", "as the client");
}

fn an_uplink_that_is_missing_is_waited_for() {
    let twins = Twins::new();
    let mut fabric = twins.site.fabric();
    fabric.prepare(&[through(1, by("green")), association(2)]);
    for (line, hint) in [
        ("true", "no interface green"),
        ("ip link add green type veth peer name other", "ip link set green up"),
    ] {
        twins.site.gateway.sh(line);
        match fabric.add(&through(1, by("green"))) {
            Err(FabricError::Transient(text)) => assert!(text.contains(hint), "{text}"),
            other => panic!("{other:?}"),
        }
        assert!(!twins.site.gateway.sh("ip link; nft list ruleset").contains("bsc01"), "nothing is left");
    }
    twins.site.gateway.sh("ip link set green up");
    open(&mut fabric, &through(1, by("green")));
    for interface in ["", "lo", "two words", "a\"b", "bsc0123456789ab", "longer-than-this"] {
        let refused = fabric.add(&through(4, by(interface)));
        assert!(matches!(refused, Err(FabricError::Permanent(_))), "{interface}: {refused:?}");
    }
    let tunnel = open(&mut fabric, &association(2));
    ask(&tunnel, (client(2), 4000), target(2), "beside it", gateway(2));
}

fn an_uplink_that_goes_down_leads_nowhere_else() {
    let twins = Twins::new();
    // The host has a way to the other network of these addresses, and to everywhere.
    twins.site.gateway.sh("ip route add default via 10.20.1.2");
    let mut fabric = twins.site.fabric();
    let tunnel = open(&mut fabric, &through(1, by("blue")));
    asks(&tunnel, "blue", "10.50.0.1", "before");
    twins.site.gateway.sh("ip link set blue down");
    let packet = udp((client(2), 4001), (TARGET, ECHO), b"astray");
    tunnel.send(&packet);
    match tunnel.next() {
        Down::Icmp { to, kind: 3, .. } => assert_eq!(to, client(2)),
        other => panic!("{other:?}"),
    }
    twins.site.gateway.sh("ip link set blue up");
    // The fabric looks after it every few seconds.
    let table = || twins.site.gateway.sh("ip route show table 195297281");
    let began = std::time::Instant::now();
    while !table().contains("dev blue") {
        assert!(began.elapsed() < Duration::from_secs(10), "{}", table());
        thread::sleep(Duration::from_millis(20));
    }
    asks(&tunnel, "blue", "10.50.0.1", "again");
}

/// IPv6 in two networks of the same addresses. What each knows is the way back to the clients of its own association.
fn ipv6_goes_by_the_uplink_or_nowhere() {
    const NEAR: Ipv6Addr = Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, 2);
    const FAR: Ipv6Addr = Ipv6Addr::new(0xfd60, 0, 0, 0, 0, 0, 0, 1);
    let twins = Twins::new();
    for (number, (name, space)) in (1..).zip(NAMES.into_iter().zip(&twins.spaces)) {
        twins.site.gateway.sh(&format!("ip address add fd50::1/64 dev {name} nodad"));
        space.sh(&format!(
            "ip address add {NEAR}/64 dev {name} nodad; ip address add {FAR}/128 dev lo; \
             ip route add fd88:0:0:{number}::/64 via fd50::1"
        ));
    }
    // Where the host itself would look for the rest.
    twins
        .site
        .gateway
        .sh(&format!("ip route add fd60::/64 dev red; ip -6 route add default via {NEAR} dev red"));
    let dual = |number: u8, uplink: Uplink| {
        let mut wanted = through(number, uplink);
        wanted.client_cidr.v6 = Some(format!("fd88:0:0:{number}::/64").parse().unwrap());
        wanted.outlet.toward.push("fd50::/64".parse().unwrap());
        wanted.outlet.egress.push(EgressRule { protocol: None, ports: None, cidr: "::/0".parse().unwrap() });
        wanted
    };
    let mut fabric = twins.site.fabric();
    fabric.sweep().unwrap();
    let before = crate::removal::traces(&twins.site);
    let tunnels = [(1, "blue"), (2, "red")].map(|(number, name)| open(&mut fabric, &dual(number, by(name))));
    // Either it answers itself, or the gateway says that there is no way.
    let reaches = |tunnel: &Tunnel, number: u16, to: Ipv6Addr| {
        tunnel.send(&ping_v6(Ipv6Addr::new(0xfd88, 0, 0, number, 0, 0, 0, 2), to, 9, 64));
        match tunnel.next_by(parse_v6) {
            Down::Icmp { from, kind: 129, .. } if from == to => true,
            Down::Icmp { kind: 1, .. } => false,
            other => panic!("{other:?}"),
        }
    };
    for (number, tunnel) in (1..).zip(&tunnels) {
        assert!(reaches(tunnel, number, NEAR), "{number}");
    }
    // Not on the link, and no router is named.
    twins.spaces[0].sh(&format!("ip address del {FAR}/128 dev lo"));
    assert!(!reaches(&tunnels[0], 1, FAR));
    // With the interface gone the other one's network is no substitute.
    twins.site.gateway.sh("ip link set blue down");
    assert!(!reaches(&tunnels[0], 1, NEAR));
    assert!(reaches(&tunnels[1], 2, NEAR));
    let routed = open(&mut fabric, &dual(2, Uplink { next_hop_ipv6: Some(NEAR), ..by("red") }));
    assert!(reaches(&routed, 2, FAR) && reaches(&routed, 2, NEAR));
    for number in [1, 2] {
        fabric.remove(&association(number).key).unwrap();
    }
    // But for what the kernel does to an interface that was down.
    let settled = |traces: &str| {
        traces.lines().filter(|line| !line.contains("blue")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(settled(&crate::removal::traces(&twins.site)), settled(&before));
}

/// What a shell line prints in this thread's namespace.
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn routes_follow_their_interface() {
    let site = Site::new();
    site.gateway.run(|| {
        let make = "ip link add green type veth peer name other && ip link set other up && \
                    ip address add 10.70.0.1/24 dev green && ip link set green up";
        let nowhere = "unreachable default metric 4294967295";
        let table = || {
            sh("ip route show table 195297281 | sed 's/proto static //'")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        sh(make);
        let uplink = Uplink {
            next_hop: Some(Ipv4Addr::new(10, 70, 0, 254)),
            next_hop_ipv6: Some("fd70::fe".parse().unwrap()),
            ..by("green")
        };
        let mut fabric = KernelFabric::new(false).unwrap();
        let mut wanted = through(1, uplink);
        wanted.client_cidr.v6 = Some("fd88::/64".parse().unwrap());
        let key = wanted.key.clone();
        let queues = fabric.add(&wanted).unwrap();
        let whole =
            format!("default via 10.70.0.254 dev green onlink {nowhere} 10.70.0.0/24 dev green scope link");
        assert_eq!(table(), whole);
        let six = sh("ip -6 rule; ip -6 route show table 195297281");
        for part in [
            "lookup 195297281",
            "default via fd70::fe dev green",
            "fe80::/64 dev green",
            "unreachable default",
        ] {
            assert!(six.contains(part), "{part} in {six}");
        }
        assert_eq!(sh("cat /proc/sys/net/ipv4/conf/green/forwarding").trim(), "1");
        for (change, expected) in [
            ("true", whole.as_str()),
            ("ip link set green down", nowhere),
            ("ip link set green up", &whole),
            ("ip link del green", nowhere),
            (make, &whole),
            ("ip route flush table 195297281", &whole),
            ("ip route add 10.71.0.0/24 dev green table 195297281", &whole),
            ("ip address add 10.72.0.1/24 dev green", &format!("{whole} 10.72.0.0/24 dev green scope link")),
        ] {
            sh(change);
            fabric.maintain();
            assert_eq!(table(), expected, "{change}");
            assert_eq!(fabric.look(&key).is_ok(), expected != nowhere, "{change}");
        }
        assert_eq!(sh("cat /proc/sys/net/ipv4/conf/green/forwarding").trim(), "1", "it came back closed");
        fabric.sweep().unwrap();
        assert_eq!(table(), "");
        assert_eq!(sh("cat /proc/sys/net/ipv4/conf/green/forwarding").trim(), "0");
        drop(queues);
    });
}

fn a_change_rewrites_nobody_elses_rules() {
    let site = Site::new();
    let mut fabric = site.fabric();
    let queues = [1, 2].map(|number| open(&mut fabric, &association(number)));
    // A handle is given once: the rules are the same, not only alike.
    let handles = || {
        let listed = site.gateway.sh("nft -a list table inet bascule");
        let rest = listed.split("chain ").filter(|chain| {
            let name = chain.split_whitespace().next().unwrap_or_default();
            !name.ends_with("_1") && !name.ends_with("_3")
        });
        let rules =
            rest.flat_map(str::lines).filter(|line| !line.contains("elements") && !line.contains("bsc0"));
        // Sets are listed over several lines; a rule has its handle at the end.
        rules
            .filter_map(|line| line.split_once("# handle ").map(|(_, handle)| handle.to_owned()))
            .collect::<Vec<_>>()
    };
    let before = handles();
    assert!(before.len() > 20, "{before:?}");
    let mut outlet = association(1).outlet;
    outlet.egress = vec![udp_to("10.20.1.0/24", ECHO)];
    fabric.set_outlet(&association(1).key, &outlet).unwrap();
    assert_eq!(handles(), before, "another outlet");
    drop(open(&mut fabric, &through(3, by("net2"))));
    assert_eq!(handles(), before, "another association");
    fabric.remove(&association(3).key).unwrap();
    assert_eq!(handles(), before, "one less");
    ask(&queues[0], (client(2), 4000), target(1), "changed", gateway(1));
    ask(&queues[1], (client(2), 4000), target(2), "as it was", gateway(2));
    // Where a part was spoilt by others the whole is made anew.
    site.gateway.sh("nft flush chain inet bascule postrouting; nft delete map inet bascule out_of");
    fabric.set_outlet(&association(1).key, &association(1).outlet).unwrap();
    fabric.remove(&association(1).key).unwrap();
    let mended = handles();
    assert_ne!(mended, before);
    assert_eq!(mended.len(), before.len());
}
