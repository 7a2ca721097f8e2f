//! Datagrams, echo requests, and what is no flow at all.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Message, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::*;

#[test]
fn datagrams_find_their_way_back_and_nobody_else_answers() {
    let Some((site, mut client)) = Site::open() else { return };
    let (server, far) = udp_server();
    let (one, other) = (client.udp(), client.udp());
    let mut buffer = [0; 2048];
    let mut sources = Vec::new();
    for (handle, text) in [(one, b"one"), (other, b"two")] {
        client.send_udp(handle, far, text);
        let (length, from) = client.until("the datagram", |_| server.recv_from(&mut buffer).ok());
        assert_eq!(&buffer[..length], text);
        sources.push(from);
    }
    assert_ne!(sources[0], sources[1], "each flow has a socket of its own");
    // A stranger's answer comes first, and is not delivered.
    let stranger = UdpSocket::bind((own().unwrap(), 0)).unwrap();
    stranger.send_to(b"stranger", sources[0]).unwrap();
    server.send_to(b"answer", sources[0]).unwrap();
    let came = client.until("the answer", |client| client.receive_udp(one));
    assert_eq!(came, b"answer");
    assert_eq!(client.receive_udp(other), None);
    assert_eq!(site.figures().open["udp"], 2);
}

#[test]
fn a_datagram_longer_than_the_tunnel_comes_in_fragments() {
    let Some((_site, mut client)) = Site::open() else { return };
    let (server, far) = udp_server();
    let handle = client.udp();
    client.send_udp(handle, far, b"long, please");
    let mut buffer = [0; 64];
    let (_, from) = client.until("the datagram", |_| server.recv_from(&mut buffer).ok());
    let long = pattern(5_000);
    server.send_to(&long, from).unwrap();
    client.until("the last fragment", |client| {
        let last = |part: &Vec<u8>| !Ipv4Packet::new_unchecked(&part[..]).more_frags();
        client.fragments().iter().any(last).then_some(())
    });
    let whole: Vec<u8> = client
        .fragments()
        .iter()
        .flat_map(|part| Ipv4Packet::new_unchecked(&part[..]).payload().to_vec())
        .collect();
    assert_eq!(whole[8..], long);
}

/// A datagram of the client in fragments, their own order.
pub(super) fn in_fragments(source_port: u16, far: SocketAddr, data: &[u8], ident: u16) -> Vec<Vec<u8>> {
    let IpAddr::V4(dst_addr) = far.ip() else { return Vec::new() };
    let src_addr = "10.8.0.2".parse().unwrap();
    let udp = UdpRepr { src_port: source_port, dst_port: far.port() };
    let mut inside = vec![0; 8 + data.len()];
    udp.emit(
        &mut UdpPacket::new_unchecked(&mut inside[..]),
        &IpAddr::from(src_addr).into(),
        &far.ip().into(),
        data.len(),
        |into| into.copy_from_slice(data),
        &ChecksumCapabilities::default(),
    );
    let count = inside.len().div_ceil(1_200);
    let part = |(place, part): (usize, &[u8])| {
        let ip = Ipv4Repr {
            src_addr,
            dst_addr,
            next_header: IpProtocol::Udp,
            payload_len: part.len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; ip.buffer_len()];
        let mut view = Ipv4Packet::new_unchecked(&mut packet[..]);
        ip.emit(&mut view, &ChecksumCapabilities::default());
        view.set_dont_frag(false);
        view.set_ident(ident);
        view.set_more_frags(place + 1 < count);
        view.set_frag_offset(u16::try_from(place * 1_200).unwrap());
        view.fill_checksum();
        packet.extend_from_slice(part);
        packet
    };
    inside.chunks(1_200).enumerate().map(part).collect()
}

#[test]
fn a_datagram_in_fragments_arrives_whole_and_is_judged_once() {
    let (server, far) = match own() {
        Some(_) => udp_server(),
        None => return,
    };
    let (allowed, port) = (Some(UDP), far.port());
    let Some((site, mut client)) = Site::new(Limits::default(), &[(allowed, Some((port, port)))]) else {
        return;
    };
    let elsewhere = SocketAddr::new(far.ip(), port.wrapping_add(1));
    let long = pattern(20_000);
    for part in in_fragments(7_000, elsewhere, &long, 1) {
        client.send_raw(&part);
    }
    site.until(&mut client, "the refusal", |figures| figures.refused["egress"] == 1);
    let mut buffer = vec![0; 65_536];
    for (ident, reversed) in [(2, false), (3, true)] {
        let mut parts = in_fragments(7_000, far, &long, ident);
        if reversed {
            parts.reverse();
        }
        for part in parts {
            client.send_raw(&part);
        }
        let (length, _) = client.until("the datagram", |_| server.recv_from(&mut buffer).ok());
        assert_eq!(buffer[..length], long);
    }
    let figures = site.figures();
    assert_eq!((figures.begun["udp"], figures.refused["egress"]), (1, 1));
    assert_eq!(figures.refused.values().sum::<u64>(), 1, "{figures:?}");
    // What contradicts itself is counted, and nothing of it arrives.
    let mut parts = in_fragments(7_000, far, &long, 4);
    parts.insert(1, parts[1].clone());
    *parts[2].last_mut().unwrap() ^= 1;
    let count = u64::try_from(parts.len()).unwrap();
    for part in parts {
        client.send_raw(&part);
    }
    // The first two were in order.
    site.until(&mut client, "the refusals", |figures| figures.refused["fragment"] == count - 2);
    assert!(server.recv_from(&mut buffer).is_err());
}

#[test]
fn a_closed_port_is_unreachable() {
    let Some((site, mut client)) = Site::open() else { return };
    let (server, far) = udp_server();
    drop(server);
    let handle = client.udp();
    client.send_udp(handle, far, b"anybody?");
    let (kind, code, about) = client.until("the message", |client| client.icmp().first().cloned());
    assert_eq!((kind, code), (Icmpv4Message::DstUnreachable, 3));
    // It quotes the datagram that was refused.
    let quoted = Ipv4Packet::new_unchecked(&about[..]);
    assert_eq!(IpAddr::from(quoted.dst_addr()), far.ip());
    assert_eq!(site.refused("far-side"), 1);
}

#[test]
fn an_echo_request_is_answered_where_the_host_allows_ping_sockets() {
    let Some((site, mut client)) = Site::open() else { return };
    let IpAddr::V4(far) = own().unwrap() else { return };
    let echo = |request: bool| {
        let (ident, seq_no, data) = (77, 5, &b"are you there"[..]);
        let icmp = if request {
            Icmpv4Repr::EchoRequest { ident, seq_no, data }
        } else {
            Icmpv4Repr::EchoReply { ident, seq_no, data }
        };
        let ip = Ipv4Repr {
            src_addr: "10.8.0.2".parse().unwrap(),
            dst_addr: far,
            next_header: IpProtocol::Icmp,
            payload_len: icmp.buffer_len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; ip.buffer_len() + icmp.buffer_len()];
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &ChecksumCapabilities::default());
        let mut inside = Icmpv4Packet::new_unchecked(&mut packet[ip.buffer_len()..]);
        icmp.emit(&mut inside, &ChecksumCapabilities::default());
        packet
    };
    // A reply is nothing that a client may begin with.
    client.send_raw(&echo(false));
    site.until(&mut client, "the refusal", |figures| figures.refused["protocol"] == 1);
    client.send_raw(&echo(true));
    let allowed =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::ICMPV4));
    match allowed {
        Ok(_) => {
            let (kind, _, data) = client.until("the reply", |client| client.icmp().first().cloned());
            assert_eq!((kind, &data[..]), (Icmpv4Message::EchoReply, &b"are you there"[..]));
        }
        Err(_) => {
            println!("this user may have no ping socket (net.ipv4.ping_group_range): no answer, counted");
            site.until(&mut client, "the refusal", |figures| figures.refused["no-ping"] == 1);
            assert!(client.icmp().is_empty());
        }
    }
}

#[test]
fn garbage_is_counted_and_harms_nobody() {
    let Some((site, mut client)) = Site::open() else { return };
    let mut sent = 0;
    let mut state = 0x9e37_79b9_u32;
    for length in (1..1500).step_by(3) {
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        // Half of them look as if.
        if length % 2 == 0 {
            bytes[0] = 0x45;
        }
        client.send_raw(&bytes);
        sent += 1;
    }
    site.until(&mut client, "all to be refused", |figures| figures.refused.values().sum::<u64>() == sent);
    let (server, far) = udp_server();
    let handle = client.udp();
    client.send_udp(handle, far, b"still there");
    client.until("the datagram", |_| server.recv_from(&mut [0; 64]).ok());
}
