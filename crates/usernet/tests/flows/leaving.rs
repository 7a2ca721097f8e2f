//! What ends with a client's session.

use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;

use netio::Departed;
use smoltcp::socket::tcp::State;
use socket2::{Domain, Socket, Type};

use super::others::in_fragments;
use super::*;

const LEAVES: &str = "10.8.0.2";
const STAYS: &str = "10.8.0.3";

fn departed(queue: u16, address: &str) -> Departed {
    Departed { queue, addresses: address.parse::<Ipv4Addr>().unwrap().into() }
}

/// A listener that answers nobody: as many wait for it as may.
fn deaf() -> (Socket, TcpStream, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(own().unwrap(), 0).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, TcpStream::connect(address).unwrap(), address)
}

#[test]
fn what_a_client_that_left_had_ends_at_once_and_others_notice_nothing() {
    let Some(address) = own() else { return };
    let mut fabric = UserFabric::new(Options { own: vec![address.into()], ..Options::default() });
    let mut queues = fabric.add(&association(2, &[(None, None)])).unwrap().into_iter();
    let mut client = |address: &str| Client::new(queues.next().unwrap(), address.parse().unwrap());
    let (mut leaves, mut stays) = (client(LEAVES), client(STAYS));
    let stats = fabric.stats();
    let open = || stats.figures().open;
    let all = |tcp, udp| [("icmp", 0), ("tcp", tcp), ("udp", udp)].into();
    let ((listener, far), (_deaf, _waits, silent), (server, server_at)) = (listener(), deaf(), udp_server());

    // One that is up, one that is dialled, a datagram, and the most of another one.
    leaves.connected(far);
    let mut end = accept(&listener, &mut leaves);
    let kept = stays.connected(far);
    let mut kept_end = accept(&listener, &mut stays);
    let dialled = leaves.connect(silent);
    for client in [&mut leaves, &mut stays] {
        let socket = client.udp();
        client.send_udp(socket, server_at, b"a flow");
    }
    let long = pattern(3_000);
    let parts = in_fragments(7_000, server_at, &long, 1);
    let (last, parts) = parts.split_last().unwrap();
    parts.iter().for_each(|part| leaves.send_raw(part));
    leaves.until("the flows", |_| (open() == all(3, 2)).then_some(()));
    assert_eq!(leaves.tcp(dialled).state(), State::SynSent);
    let buffer_bytes = stats.figures().buffer_bytes;

    // Not those of others, nor of the same addresses elsewhere.
    let others = [departed(1, LEAVES), departed(7, LEAVES), departed(0, STAYS), departed(0, "10.8.0.9")];
    fabric.forget(KEY, &others).unwrap();
    fabric.forget("unknown", &[departed(0, LEAVES)]).unwrap();
    assert_eq!(open(), all(3, 2));

    fabric.forget(KEY, &[departed(0, LEAVES)]).unwrap();
    // Nothing of it is left when the call returns.
    assert_eq!(open(), all(1, 1));
    assert_eq!(stats.figures().buffer_bytes, buffer_bytes / 2);
    let until = deadline();
    let kind = loop {
        match end.read(&mut [0; 16]) {
            Ok(count) => panic!("{count} bytes"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => assert!(Instant::now() < until),
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(kind, ErrorKind::ConnectionReset);
    stays.tcp(kept).send_slice(b"still here").unwrap();
    let mut buffer = [0; 16];
    stays.until("the bytes", |_| {
        kept_end.read(&mut buffer).ok().filter(|count| &buffer[..*count] == b"still here")
    });

    // Whoever has the address next is served; what its former holder left unsaid is not said now.
    leaves.send_raw(last);
    let socket = leaves.udp();
    leaves.send_udp(socket, server_at, b"marker");
    let mut buffer = vec![0; 65_536];
    leaves.until("the marker", |_| {
        loop {
            let (length, _) = server.recv_from(&mut buffer).ok()?;
            assert!(length < long.len());
            if &buffer[..length] == b"marker" {
                return Some(());
            }
        }
    });
    leaves.connected(far);
}

#[test]
fn what_a_client_sent_before_it_left_begins_nothing_later() {
    const COUNT: u16 = 300;
    let Some((mut site, mut client)) = Site::open() else { return };
    let (server, far) = udp_server();
    for port in 1..=COUNT {
        in_fragments(port, far, b"late", port).iter().for_each(|part| client.send_raw(part));
    }
    site.fabric.forget(KEY, &[departed(0, LEAVES)]).unwrap();
    site.until(&mut client, "all of them", |figures| {
        figures.begun["udp"] + figures.refused["stray"] >= u64::from(COUNT)
    });
    assert_eq!(site.figures().open["udp"], 0);
    drop(server);
    let (_server, far) = udp_server();
    let socket = client.udp();
    client.send_udp(socket, far, b"anew");
    site.until(&mut client, "the next one's", |figures| figures.open["udp"] == 1);
}
