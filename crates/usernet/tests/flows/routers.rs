//! What a router between the two sides does: it drops what has no hop left, and says what the client says of datagrams.

use std::io::ErrorKind;

use smoltcp::wire::{Icmpv4DstUnreachable as Why, Icmpv4Message, Ipv4Packet};

use super::*;

#[test]
fn what_has_no_hop_left_is_dropped_and_the_client_told() {
    let Some((site, mut client)) = Site::open() else { return };
    let (server, far) = udp_server();
    let (listener, tcp) = listener();
    let own = SocketAddr::new(CLIENT, 7_000);
    for hops in [0, 1] {
        client.send_raw(&raw::datagram(own, far, hops, b"too far"));
        client.send_raw(&raw::syn(own, tcp, hops, |_| ()));
    }
    site.until(&mut client, "the refusals", |figures| figures.refused["ttl"] == 4);
    client.until("the messages", |client| (client.icmp().len() == 4).then_some(()));
    for (kind, code, about) in client.icmp() {
        assert_eq!((*kind, *code), (Icmpv4Message::TimeExceeded, 0));
        assert_eq!(IpAddr::from(Ipv4Packet::new_unchecked(&about[..]).dst_addr()), far.ip());
    }
    // A fragment of the kind is dropped, and with it what it is part of.
    let mut part = raw::datagram(own, far, 1, &pattern(64));
    let mut view = Ipv4Packet::new_unchecked(&mut part[..]);
    view.set_dont_frag(false);
    view.set_more_frags(true);
    view.fill_checksum();
    client.send_raw(&part);
    site.until(&mut client, "the refusal", |figures| figures.refused["ttl"] == 5);
    let figures = site.figures();
    assert!(figures.begun.values().all(|begun| *begun == 0), "{figures:?}");
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // With one hop more it goes on from here as anew.
    client.send_raw(&raw::datagram(own, far, 2, b"near enough"));
    let mut buffer = [0; 64];
    let (length, _) = client.until("the datagram", |_| server.recv_from(&mut buffer).ok());
    assert_eq!(&buffer[..length], b"near enough");
    assert_eq!(client.icmp().len(), 4);
}

#[test]
fn a_datagram_that_nobody_waits_for_ends_its_flow_and_the_far_side_hears_of_it() {
    let Some((site, mut client)) = Site::open() else { return };
    let (server, far) = udp_server();
    let (_listener, tcp) = listener();
    let connection = client.connected(tcp);
    let own = SocketAddr::new(CLIENT, 7_000);
    // While somebody listens there, the client's stack has nothing to say of it itself.
    client.udp_at(own.port());
    client.send_raw(&raw::datagram(own, far, 64, b"a stream, please"));
    let (_, from) = client.until("the datagram", |_| server.recv_from(&mut [0; 64]).ok());
    server.connect(from).unwrap();
    server.send(b"a stream").unwrap();
    // What is not this flow's, or not the client's own word about it, ends nothing.
    let stranger: IpAddr = "10.8.0.3".parse().unwrap();
    let elsewhere: IpAddr = "10.99.0.9".parse().unwrap();
    let port = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() ^ 1);
    let stream = raw::datagram(far, own, 60, b"a stream");
    let connection_port = client.tcp(connection).local_endpoint().unwrap().port;
    let of_connection =
        raw::syn(tcp, SocketAddr::new(own.ip(), connection_port), 60, |segment| segment.set_ack(true));
    let datagram_of_connection = raw::datagram(tcp, SocketAddr::new(own.ip(), connection_port), 60, b"");
    let rows = [
        (CLIENT, far.ip(), Why::NetUnreachable, stream.clone()),
        (CLIENT, far.ip(), Why::FragRequired, stream.clone()),
        (CLIENT, far.ip(), Why::CommProhibited, stream.clone()),
        (stranger, far.ip(), Why::PortUnreachable, stream.clone()),
        (CLIENT, elsewhere, Why::PortUnreachable, stream.clone()),
        (CLIENT, far.ip(), Why::PortUnreachable, raw::datagram(port(far), own, 60, b"a stream")),
        (CLIENT, far.ip(), Why::PortUnreachable, raw::datagram(far, port(own), 60, b"a stream")),
        (CLIENT, far.ip(), Why::PortUnreachable, raw::datagram(own, far, 60, b"a stream")),
        (CLIENT, tcp.ip(), Why::PortUnreachable, of_connection),
        (CLIENT, tcp.ip(), Why::PortUnreachable, datagram_of_connection),
    ];
    let count = u64::try_from(rows.len()).unwrap();
    for (from, to, why, about) in &rows {
        client.send_raw(&raw::unreachable(*from, *to, *why, about));
    }
    site.until(&mut client, "the refusals", |figures| figures.refused["protocol"] == count);
    assert_eq!((site.figures().open["udp"], site.figures().open["tcp"]), (1, 1));
    server.send(b"still a stream").unwrap();

    client.send_raw(&raw::unreachable(CLIENT, far.ip(), Why::PortUnreachable, &stream));
    site.until(&mut client, "the flow's end", |figures| figures.open["udp"] == 0);
    // The far side hears of it as it would from the client itself.
    let kind = client.until("the refusal", |_| match server.send(b"more of it") {
        Ok(_) => None,
        Err(error) => Some(error.kind()),
    });
    assert_eq!(kind, ErrorKind::ConnectionRefused);
    // A client's whole host may be gone.
    let (server, far) = udp_server();
    client.send_raw(&raw::datagram(own, far, 64, b"another, please"));
    client.until("the datagram", |_| server.recv_from(&mut [0; 64]).ok());
    assert_eq!(site.figures().open["udp"], 1);
    let stream = raw::datagram(far, own, 60, b"a stream");
    client.send_raw(&raw::unreachable(CLIENT, far.ip(), Why::HostUnreachable, &stream));
    site.until(&mut client, "the flow's end", |figures| figures.open["udp"] == 0);
    // And a client's own stack says it where nobody listens.
    client.send_raw(&raw::datagram(port(own), far, 64, b"who listens?"));
    let (_, from) = client.until("the datagram", |_| server.recv_from(&mut [0; 64]).ok());
    server.send_to(b"you do not", from).unwrap();
    site.until(&mut client, "the flow's end", |figures| figures.open["udp"] == 0);
    assert_eq!(site.refused("protocol"), count);
}

#[test]
fn a_segment_that_contradicts_itself_begins_nothing() {
    let Some((site, mut client)) = Site::open() else { return };
    let (listener, far) = listener();
    let own = SocketAddr::new(CLIENT, 7_000);
    client.send_raw(&raw::syn(own, far, 64, |segment| segment.set_rst(true)));
    client.send_raw(&raw::syn(own, far, 64, |segment| segment.set_fin(true)));
    site.until(&mut client, "the refusals", |figures| figures.refused["stray"] == 2);
    assert_eq!(site.figures().begun["tcp"], 0);
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    client.connected(far);
}
