//! What is not let out, what is too much, and what ends with an association or a rule.

use std::io::{ErrorKind, Read};

use smoltcp::socket::tcp::State;
use smoltcp::wire::Icmpv4Message;

use super::*;

#[test]
fn what_no_rule_lets_out_is_dropped_and_counted() {
    let (allowed, allowed_at) = listener();
    let (forbidden, forbidden_at) = listener();
    let port = allowed_at.port();
    let Some((site, mut client)) = Site::new(Limits::default(), &[(Some(TCP), Some((port, port)))]) else {
        return;
    };
    let denied = client.connect(forbidden_at);
    let udp = client.udp();
    client.send_udp(udp, allowed_at, b"no rule for UDP");
    site.until(&mut client, "both refusals", |figures| figures.refused["egress"] >= 2);
    // What was asked later has come through meanwhile; what was denied has not.
    client.connected(allowed_at);
    accept(&allowed, &mut client);
    forbidden.set_nonblocking(true).unwrap();
    assert_eq!(forbidden.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(client.tcp(denied).state(), State::SynSent, "nothing was answered");
    assert!(client.icmp().is_empty());
}

#[test]
fn this_host_is_out_of_reach() {
    if own().is_none() {
        return;
    }
    let mut fabric = UserFabric::new(Options::default());
    let queue = fabric.add(&association(1, &[(None, None)])).unwrap().remove(0);
    let mut client = Client::new(queue, "10.8.0.2".parse().unwrap());
    let (listener, far) = listener();
    let handle = client.connect(far);
    client.until("the refusal", |_| (fabric.stats().figures().refused["destination"] >= 1).then_some(()));
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(client.tcp(handle).state(), State::SynSent);
}

#[test]
fn what_is_routed_to_this_host_is_out_of_reach_as_its_addresses_are() {
    if !namespace::is_inside("limits::what_is_routed_to_this_host_is_out_of_reach_as_its_addresses_are") {
        return;
    }
    let server = UdpSocket::bind("[::]:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    // The anycast addresses that routers have (RFC 4291, 2.6.1), an address, and one of a network that is this host's.
    let own: [IpAddr; 4] =
        ["fd99:77::", "fd99:78::", "fd99:77::1", "fd99:88::5"].map(|text| text.parse().unwrap());
    let program = UdpSocket::bind("[::]:0").unwrap();
    let arrives = |address: IpAddr| {
        let end = deadline();
        while server.recv_from(&mut [0; 64]).is_err() {
            assert!(Instant::now() < end, "{address} is not this host's");
        }
    };
    for address in own {
        program.send_to(b"a program of this host", (address, port)).unwrap();
        arrives(address);
    }
    let everything = EgressRule { protocol: None, ports: None, cidr: "::/0".parse().unwrap() };
    let outlet = Outlet { egress: vec![everything], toward: Vec::new() };
    let from = "[fd08::2]:7000".parse().unwrap();
    let send = |fabric: &mut UserFabric, address: IpAddr| {
        let association = FabricAssociation { outlet: outlet.clone(), ..association(1, &[]) };
        let queue = fabric.add(&association).unwrap().remove(0);
        let packet = raw::datagram(from, SocketAddr::new(address, port), 64, b"a client");
        netio::tun::write(&queue, &packet).unwrap();
        let end = deadline();
        loop {
            let figures = fabric.stats().figures();
            let judged = figures.begun["udp"] + figures.refused.values().sum::<u64>();
            if judged > 0 {
                return (figures.begun["udp"], figures.refused["destination"]);
            }
            assert!(Instant::now() < end, "{figures:?}");
        }
    };
    for address in own {
        assert_eq!(send(&mut UserFabric::new(Options::default()), address), (0, 1), "{address}");
        assert_eq!(server.recv_from(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock, "{address}");
        let options = Options { own: vec![address.into()], ..Options::default() };
        assert_eq!(send(&mut UserFabric::new(options), address), (1, 0), "{address}, where it is named");
        arrives(address);
    }
    let elsewhere = "fd99:77::2".parse().unwrap();
    assert_eq!(send(&mut UserFabric::new(Options::default()), elsewhere), (1, 0));
}

#[test]
fn one_flow_too_many_is_refused_politely_and_another_has_its_place_later() {
    let limits = Limits { client_flows: 4, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let Some((site, [mut client, mut other])) = Site::with(options, &[(None, None)]) else { return };
    let (listener, far) = listener();
    let first: Vec<_> = (0..4).map(|_| client.connected(far)).collect();
    let servers: Vec<_> = (0..4).map(|_| accept(&listener, &mut client)).collect();
    let refused = client.connect(far);
    client.closed(refused);
    assert_eq!(site.refused("client-flows"), 1);
    let udp = client.udp();
    let (_server, server_at) = udp_server();
    client.send_udp(udp, server_at, b"one too many");
    let (kind, code, _) = client.until("the message", |client| client.icmp().first().cloned());
    assert_eq!((kind, code), (Icmpv4Message::DstUnreachable, 13));
    // Another client has its own places, all of them.
    for _ in 0..4 {
        other.connected(far);
    }
    let refused = other.connect(far);
    other.closed(refused);
    assert_eq!((site.figures().open["tcp"], site.refused("client-flows")), (8, 3));
    // One ends, and another begins.
    client.tcp(first[0]).abort();
    site.until(&mut client, "the end of one", |figures| figures.open["tcp"] == 7);
    client.connected(far);
    assert_eq!(site.figures().refused["association-flows"], 0);
    drop(servers);
}

#[test]
fn an_association_has_its_most_flows_over_all_clients() {
    let limits = Limits { association_flows: 2, ..Limits::default() };
    let Some((site, mut client)) = Site::new(limits, &[(None, None)]) else { return };
    let (_listener, far) = listener();
    client.connected(far);
    client.connected(far);
    let refused = client.connect(far);
    client.closed(refused);
    assert_eq!(site.refused("association-flows"), 1);
}

#[test]
fn memory_is_bounded_and_one_too_many_is_reset() {
    let limits = Limits { buffer_bytes: 28 << 10, ..Limits::default() };
    let Some((site, mut client)) = Site::new(limits, &[(None, None)]) else { return };
    let (_listener, far) = listener();
    for _ in 0..3 {
        client.connected(far);
    }
    let refused = client.connect(far);
    client.closed(refused);
    assert_eq!(site.refused("memory"), 1);
    assert_eq!(site.figures().buffer_bytes, (3 * 8) << 10);
    assert_eq!(site.figures().open["tcp"], 3);
}

#[test]
fn a_client_with_many_connections_leaves_the_most_of_the_memory_to_others() {
    // At the beginning a connection has 16 KiB.
    let limits = Limits { buffer_bytes: 2 << 20, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let Some((site, [mut greedy, mut other])) = Site::with(options, &[(None, None)]) else { return };
    let (_listener, far) = listener();
    let (mut last, mut sizes) = (0, Vec::new());
    let mut connect = |client: &mut Client| {
        client.connected(far);
        let now = site.figures().buffer_bytes;
        sizes.push((now - std::mem::replace(&mut last, now)) >> 10);
    };
    for _ in 0..12 {
        connect(&mut greedy);
    }
    connect(&mut other);
    assert_eq!(sizes.first(), Some(&32));
    assert_eq!(sizes[11..], [8, 16], "{sizes:?}");
}

#[test]
fn flows_end_with_their_association() {
    let Some((mut site, mut client)) = Site::open() else { return };
    let (listener, far) = listener();
    client.connected(far);
    let mut server = accept(&listener, &mut client);
    let udp = client.udp();
    client.send_udp(udp, far, b"a flow");
    site.until(&mut client, "the flows", |figures| figures.begun["udp"] == 1);
    site.fabric.remove(KEY).unwrap();
    site.fabric.remove(KEY).unwrap();
    // At once: nothing of it is left when the call returns.
    let figures = site.figures();
    assert!(figures.open.values().all(|open| *open == 0), "{figures:?}");
    assert_eq!(figures.buffer_bytes, 0);
    let end = deadline();
    let kind = loop {
        match server.read(&mut [0; 16]) {
            Ok(count) => panic!("{count} bytes"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => assert!(Instant::now() < end),
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(kind, ErrorKind::ConnectionReset);
    let queue = client.into_queue();
    while let Ok(1..) = netio::tun::read(&queue, &mut [0; 2048]) {}
    assert!(is_closed(&queue));
}

#[test]
fn another_outlet_cuts_what_it_does_not_allow_and_nothing_else() {
    let (stays, stays_at) = listener();
    let (goes, goes_at) = listener();
    let Some((mut site, mut client)) = Site::open() else { return };
    let (kept, cut) = (client.connected(stays_at), client.connected(goes_at));
    let (mut kept_server, mut cut_server) = (accept(&stays, &mut client), accept(&goes, &mut client));
    let udp = client.udp();
    client.send_udp(udp, stays_at, b"a flow");
    site.until(&mut client, "the flows", |figures| figures.open["udp"] == 1);
    let port = stays_at.port();
    site.fabric.set_outlet(KEY, &outlet(&[(Some(TCP), Some((port, port)))])).unwrap();
    assert_eq!(site.figures().open["tcp"], 1);
    assert_eq!(site.figures().open["udp"], 0);
    client.closed(cut);
    let end = deadline();
    while let Err(error) = cut_server.read(&mut [0; 16]) {
        if error.kind() == ErrorKind::ConnectionReset {
            break;
        }
        assert!(Instant::now() < end, "{error}");
    }
    client.tcp(kept).send_slice(b"still here").unwrap();
    let mut buffer = [0; 16];
    client.until("the bytes", |_| {
        kept_server.read(&mut buffer).ok().filter(|count| &buffer[..*count] == b"still here")
    });
    // A new one of the kind that was cut does not begin; with the rules back, it does.
    let before = site.refused("egress");
    client.connect(goes_at);
    site.until(&mut client, "the refusal", |figures| figures.refused["egress"] > before);
    site.fabric.set_outlet(KEY, &outlet(&[(None, None), (Some(UDP), None)])).unwrap();
    client.connected(goes_at);
    assert!(site.fabric.set_outlet("unknown", &outlet(&[])).is_err());
}

#[test]
fn what_it_cannot_do_it_says() {
    let mut fabric = UserFabric::new(Options::default());
    let transit = FabricAssociation { source_nat: false, ..association(1, &[]) };
    let error = fabric.add(&transit).unwrap_err().to_string();
    assert!(error.contains("transit gateway"), "{error}");
    let uplink = netio::Uplink {
        interface: "eth1".to_owned(),
        next_hop: None,
        next_hop_ipv6: None,
        nat_address: None,
    };
    let elsewhere = FabricAssociation { uplink: Some(uplink), ..association(1, &[]) };
    let error = fabric.add(&elsewhere).unwrap_err().to_string();
    assert!(error.contains("interface eth1") && error.contains("--fabric kernel"), "{error}");
    for queues in [0, 65] {
        assert!(fabric.add(&association(queues, &[])).is_err());
    }
    // Several queues: each has its end.
    let queues = fabric.add(&association(2, &[])).unwrap();
    assert_eq!(queues.len(), 2);
    fabric.remove(KEY).unwrap();
    assert!(queues.iter().all(is_closed));
}

#[test]
fn a_port_that_may_not_be_bound_is_moved() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = Options { moved_ports: vec![(443, free)], ..Options::default() };
    let mut fabric = UserFabric::new(options);
    let sockets = fabric.bind_udp("127.0.0.1:443".parse().unwrap(), 2).unwrap();
    for socket in &sockets {
        let bound = rustix::net::getsockname(socket).unwrap();
        assert_eq!(SocketAddr::try_from(bound).unwrap().port(), free);
    }
}
