//! Packets that nobody should send, from a client that has the tunnel's keys: what is read lies within the packet and is what
//! its bytes say, and what is answered can be read again.

use std::path::Path;

use super::*;

const ROUNDS: u64 = 40_000;
const CLIENT: [&str; 2] = ["10.8.0.2:5000", "[fd08::2]:5000"];
const FAR: [&str; 2] = ["10.0.0.1:53", "[fd00::1]:53"];

fn seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (client, far) in CLIENT.iter().zip(FAR) {
        let (client, far): (SocketAddr, SocketAddr) = (client.parse().unwrap(), far.parse().unwrap());
        let mut out = Vec::new();
        datagram(client, far, b"question", &mut out);
        all.push(out.clone());
        // An echo reply is one byte from a request.
        echo_reply(client.ip(), far.ip(), 7, 9, b"echo", &mut out);
        let kind = if client.is_ipv4() { IPV4_HEADER_BYTES } else { IPV6_HEADER_BYTES };
        out[kind] = if client.is_ipv4() { 8 } else { 128 };
        mend(&mut out);
        all.push(out);
        // A client's word about a datagram that came for it.
        let (mut came, mut word) = (Vec::new(), Vec::new());
        datagram(far, client, b"answer", &mut came);
        unreachable(&came, Unreachable::Port, None, &mut word);
        all.push(word);
    }
    all
}

/// Puts right the checksums of what is still a packet: otherwise few of the bent ones are looked at further.
fn mend(bytes: &mut [u8]) {
    let (source, destination, protocol, start, end) = match bytes.first().map(|first| first >> 4) {
        Some(4) => {
            let Ok(mut ip) = Ipv4Packet::new_checked(&mut *bytes) else { return };
            ip.fill_checksum();
            let ends = (usize::from(ip.header_len()), usize::from(ip.total_len()));
            let addresses = (IpAddress::Ipv4(ip.src_addr()), IpAddress::Ipv4(ip.dst_addr()));
            (addresses.0, addresses.1, ip.next_header(), ends.0, ends.1)
        }
        Some(6) => {
            let Ok(ip) = Ipv6Packet::new_checked(&*bytes) else { return };
            let addresses = (IpAddress::Ipv6(ip.src_addr()), IpAddress::Ipv6(ip.dst_addr()));
            (addresses.0, addresses.1, ip.next_header(), IPV6_HEADER_BYTES, ip.total_len())
        }
        _ => return,
    };
    let Some(payload) = bytes.get_mut(start..end) else { return };
    match (protocol, source, destination) {
        (IpProtocol::Tcp, ..) => {
            if let Ok(mut tcp) = TcpPacket::new_checked(payload) {
                tcp.fill_checksum(&source, &destination);
            }
        }
        (IpProtocol::Udp, ..) => {
            if let Ok(mut udp) = UdpPacket::new_checked(payload) {
                udp.fill_checksum(&source, &destination);
            }
        }
        (IpProtocol::Icmp, ..) => {
            if let Ok(mut icmp) = Icmpv4Packet::new_checked(payload) {
                icmp.fill_checksum();
            }
        }
        (IpProtocol::Icmpv6, IpAddress::Ipv6(source), IpAddress::Ipv6(destination)) => {
            if let Ok(mut icmp) = Icmpv6Packet::new_checked(payload) {
                icmp.fill_checksum(&source, &destination);
            }
        }
        _ => {}
    }
}

/// The addresses and the length that a packet states, read byte by byte.
fn stated(bytes: &[u8]) -> (IpAddr, IpAddr, usize) {
    let length = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    if bytes[0] >> 4 == 4 {
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap());
        (address(12), address(16), length(2))
    } else {
        let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap());
        (address(8), address(24), 40 + length(4))
    }
}

#[test]
fn foreign_packets() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/packet/corpus.txt");
    let (mut segments, mut datagrams, mut echoes, mut resets, mut told, mut words) = (0, 0, 0, 0, 0, 0);
    ::foreign::storm(&file, seeds(), ROUNDS, |bytes, dice| {
        let mut bytes = bytes.to_vec();
        if dice.chance(800) {
            mend(&mut bytes);
        }
        let mut out = Vec::new();
        for why in super::tests::ALL {
            if unreachable(&bytes, why, None, &mut out) {
                told += 1;
                let (_, to, length) = stated(&out);
                assert_eq!((to, length), (stated(&bytes).0, out.len()), "told to who has sent it");
                assert!(out.len() <= 40 + 8 + 60 + QUOTED_BYTES, "{} bytes", out.len());
            }
        }
        let _ = echo_answer(&bytes);
        if let Some(word) = super::told(&bytes) {
            words += 1;
            let (from, to, _) = stated(&bytes);
            assert_eq!((word.client.ip(), word.far.ip()), (from, to), "nobody speaks for others");
        }
        let Ok(packet) = parse(&bytes) else { return };
        let (source, destination, length) = stated(&bytes);
        assert_eq!((packet.source, packet.destination), (source, destination));
        assert_eq!(packet.whole, &bytes[..length], "no byte of what follows it");
        let header = if source.is_ipv4() { usize::from(bytes[0] & 0xf) * 4 } else { IPV6_HEADER_BYTES };
        let inner = &bytes[header..length];
        let word = |at: usize| u16::from_be_bytes([inner[at], inner[at + 1]]);
        match packet.inside {
            Inside::Tcp(segment) => {
                segments += 1;
                assert_eq!((segment.source, segment.destination), (word(0), word(2)));
                assert!(segment.length <= inner.len());
                if reset(&packet, &segment, &mut out) {
                    resets += 1;
                    let answer = parse(&out).unwrap();
                    let Inside::Tcp(answered) = answer.inside else { panic!("not TCP") };
                    assert_eq!((answer.source, answer.destination), (destination, source));
                    assert_eq!((answered.source, answered.destination), (word(2), word(0)));
                    assert!(answered.rst && !reset(&answer, &answered, &mut Vec::new()));
                }
            }
            Inside::Udp { source, destination, data } => {
                datagrams += 1;
                assert_eq!((source, destination), (word(0), word(2)));
                assert_eq!(data, &inner[8..usize::from(word(4))]);
            }
            Inside::Echo { ident, number, data } => {
                echoes += 1;
                assert_eq!((ident, number, data), (word(4), word(6), &inner[8..]));
            }
        }
    });
    let seen = [segments, datagrams, echoes, resets, told];
    assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
    // Of these more has to be right at once.
    assert!(words > 100, "{words}");
}
