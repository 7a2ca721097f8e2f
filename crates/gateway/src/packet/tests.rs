//! Headers as rows, the clamp against a checksum computed anew, and arbitrary bytes.

use proptest::prelude::*;

use super::*;

/// An IPv4 packet with the given options, protocol and payload; header checksum left zero (nothing here reads it).
fn v4(options: &[u8], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let total = u16::try_from(header + payload.len()).unwrap();
    let mut p = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
    p.extend(total.to_be_bytes());
    p.extend([0, 1]);
    p.extend(fragment.to_be_bytes());
    p.extend([64, protocol, 0, 0, 10, 0, 0, 2, 192, 0, 2, 7]);
    p.extend(options);
    p.extend(payload);
    p
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    p.extend([next, 64]);
    p.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    p.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    p.extend(payload);
    p
}

fn sum(words: &[u8]) -> u32 {
    words.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum()
}

/// The TCP checksum over pseudo header and segment; 0 when the one inside is right.
fn tcp_check(packet: &[u8], header: &Header) -> u16 {
    let addresses = if packet[0] >> 4 == 4 { &packet[12..20] } else { &packet[8..40] };
    let tcp = &packet[header.transport.unwrap().offset_bytes..header.packet_bytes];
    let mut total = sum(addresses) + u32::from(TCP) + u32::try_from(tcp.len()).unwrap() + sum(tcp);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).unwrap()
}

/// A TCP segment with options; its checksum is filled in for the packet `wrap` makes of it.
fn tcp_packet(flags: u8, options: &[u8], wrap: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let words = u8::try_from((20 + options.len()) / 4).unwrap();
    let mut tcp = vec![0x30, 0x39, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, words << 4, flags, 0xff, 0xff, 0, 0, 0, 0];
    tcp.extend(options);
    tcp.extend(b"data!");
    let mut packet = wrap(&tcp);
    let header = Header::parse(&packet).unwrap();
    let check = tcp_check(&packet, &header).to_be_bytes();
    let at = header.transport.unwrap().offset_bytes + 16;
    packet[at..at + 2].copy_from_slice(&check);
    packet
}

#[test]
fn headers() {
    let good = v4(&[], 17, 0, b"xx");
    let parsed = Header::parse(&good).unwrap();
    assert_eq!(parsed.source, "10.0.0.2".parse::<IpAddr>().unwrap());
    assert_eq!(parsed.destination, "192.0.2.7".parse::<IpAddr>().unwrap());
    assert_eq!(parsed.packet_bytes, 22);
    assert_eq!(parsed.transport, Some(Transport { protocol: 17, offset_bytes: 20 }));
    let mut padded = good.clone();
    padded.extend([0; 9]);
    assert_eq!(Header::parse(&padded), Ok(parsed));
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut p = good.clone();
        change(&mut p);
        Header::parse(&p)
    };
    let rows = [
        (with(&|p| p.clear()), Malformed::Version),
        (with(&|p| p[0] = 0x55), Malformed::Version),
        (with(&|p| p.truncate(19)), Malformed::Length),
        (with(&|p| p[0] = 0x44), Malformed::Length),
        (with(&|p| p[3] = 23), Malformed::Length),
        (with(&|p| p[3] = 19), Malformed::Length),
        (with(&|p| p[0] = 0x46), Malformed::Length),
        (Header::parse(&v4(&[7, 1, 0, 0], 6, 0, b"")), Malformed::Options),
        (Header::parse(&v4(&[7, 5, 0, 0], 6, 0, b"")), Malformed::Options),
        (Header::parse(&v4(&[1, 131, 3, 4], 6, 0, b"")), Malformed::SourceRoute),
        (Header::parse(&v4(&[137, 3, 4, 0], 6, 0, b"")), Malformed::SourceRoute),
        (Header::parse(&v6(43, &[6; 8])), Malformed::SourceRoute),
        // Behind an authentication header, which counts in words of four bytes.
        (Header::parse(&v6(51, &[&[43, 2][..], &[0; 14], &[6; 8]].concat())), Malformed::SourceRoute),
        (Header::parse(&v6(51, &[6, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])), Malformed::Length),
        (Header::parse(&v6(0, &[6])), Malformed::Length),
        (Header::parse(&v6(0, &[6, 9, 0, 0, 0, 0, 0, 0])), Malformed::Length),
        (Header::parse(&v6(6, b"")[..39]), Malformed::Length),
    ];
    for (at, (got, expected)) in rows.into_iter().enumerate() {
        assert_eq!(got, Err(expected), "row {at}");
    }
    let later_fragment = Header::parse(&v4(&[], 6, 0x2001, b"xxxxxxxx")).unwrap();
    assert_eq!(later_fragment.transport, None);
    let first_fragment = Header::parse(&v4(&[148, 4, 0, 0], 6, 0x2000, b"x")).unwrap();
    assert_eq!(first_fragment.transport, Some(Transport { protocol: 6, offset_bytes: 24 }));
    let behind = Header::parse(&v6(60, &[44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 9, 1, 2])).unwrap();
    assert_eq!(behind.transport, Some(Transport { protocol: 17, offset_bytes: 56 }));
    let authenticated = Header::parse(&v6(51, &[&[6, 2][..], &[0; 14], b"x"].concat())).unwrap();
    assert_eq!(authenticated.transport, Some(Transport { protocol: 6, offset_bytes: 56 }));
    assert_eq!(Header::parse(&v6(44, &[17, 0, 0, 8, 0, 0, 0, 9])).unwrap().transport, None);
}

#[test]
fn clamps_syns_only_and_keeps_the_checksum() {
    let mss = |n: u16| [2, 4, n.to_be_bytes()[0], n.to_be_bytes()[1]];
    let odd = [1, 2, 4, 0x05, 0xb4, 1, 1, 0];
    let rows: [(&str, u8, &[u8], Option<u16>); 8] = [
        ("syn", 0x02, &mss(1460), Some(1404)),
        ("syn ack", 0x12, &mss(8960), Some(1404)),
        ("odd offset", 0x02, &odd, Some(1404)),
        ("behind others", 0x02, &[3, 3, 7, 1, 2, 4, 0xff, 0xff], Some(1404)),
        ("low enough", 0x02, &mss(1404), None),
        ("no syn", 0x10, &mss(1460), None),
        ("none", 0x02, &[], None),
        ("cut short", 0x02, &[1, 1, 2, 4], None),
    ];
    for (name, flags, options, expect) in rows {
        let before = tcp_packet(flags, options, |tcp| v4(&[1, 1, 1, 0], TCP, 0, tcp));
        let mut after = before.clone();
        let header = Header::parse(&after).unwrap();
        assert_eq!(tcp_check(&after, &header), 0, "{name}: the test's own sum");
        let room = inner_room_bytes(&"192.0.2.1:1".parse().unwrap());
        assert_eq!(room, 1444);
        assert_eq!(clamp_mss(&mut after, &header, room), expect.is_some(), "{name}");
        assert_eq!(tcp_check(&after, &header), 0, "{name}");
        match expect {
            None => assert_eq!(after, before, "{name}"),
            Some(value) => {
                let at = mss::find_mss(&after[44..]).unwrap() + 44;
                assert_eq!(u16::from_be_bytes([after[at], after[at + 1]]), value, "{name}");
            }
        }
    }
    let mut six = tcp_packet(0x02, &mss(1440), |tcp| v6(TCP, tcp));
    let header = Header::parse(&six).unwrap();
    assert!(clamp_mss(&mut six, &header, inner_room_bytes(&"[2001:db8::9]:1".parse().unwrap())));
    assert_eq!(tcp_check(&six, &header), 0);
    assert_eq!(six[62..64], 1364_u16.to_be_bytes());
}

#[test]
fn an_error_speaks_for_the_conversation_it_quotes() {
    let quoted = v4(&[], 17, 0, b"");
    let nobody = ClientAddresses { v4: Some(Ipv4Addr::new(10, 0, 0, 3)), v6: None };
    let about =
        ClientAddresses { v4: Some(Ipv4Addr::new(10, 0, 0, 2)), v6: Some("2001:db8::1".parse().unwrap()) };
    let far = Some("192.0.2.7".parse::<IpAddr>().unwrap());
    let quote = |kind: u8, q: &[u8]| v4(&[], ICMP, 0, &[&[kind, 4, 0, 0, 0, 0, 5, 0], q].concat());
    for (name, packet, expect) in [
        ("unreachable", quote(3, &quoted), far),
        ("time exceeded", quote(11, &quoted), far),
        ("echo reply", quote(0, &quoted), None),
        ("quote too short", quote(3, &quoted[..19]), None),
        ("not ICMP", v4(&[], 17, 0, &[&[3, 4, 0, 0, 0, 0, 0, 0], &quoted[..]].concat()), None),
    ] {
        let header = Header::parse(&packet).unwrap();
        assert_eq!(quoted_destination(&packet, &header, about), expect, "{name}");
        assert_eq!(quoted_destination(&packet, &header, nobody), None, "{name}");
    }
    let quoted = v6(17, b"12345678");
    let far = Some("2001:db8::2".parse::<IpAddr>().unwrap());
    let quote = |protocol: u8, kind: u8, q: &[u8]| v6(protocol, &[&[kind, 0, 0, 0, 0, 0, 5, 0], q].concat());
    for (name, packet, expect) in [
        ("unreachable", quote(ICMP_V6, 1, &quoted), far),
        ("too big", quote(ICMP_V6, 2, &quoted), far),
        ("time exceeded", quote(ICMP_V6, 3, &quoted[..40]), far),
        ("parameter problem", quote(ICMP_V6, 4, &quoted), far),
        ("echo request", quote(ICMP_V6, 128, &quoted), None),
        ("quote too short", quote(ICMP_V6, 1, &quoted[..39]), None),
        ("the other version's ICMP", quote(ICMP, 3, &quoted), None),
        ("the other version quoted", quote(ICMP_V6, 1, &v4(&[], 17, 0, &[0; 40])), None),
    ] {
        let header = Header::parse(&packet).unwrap();
        assert_eq!(quoted_destination(&packet, &header, about), expect, "{name}");
        assert_eq!(quoted_destination(&packet, &header, nobody), None, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Arbitrary bytes, steered into the parsers by plausible first bytes.
    #[test]
    fn never_panics_and_writes_only_mss_and_checksum(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
        version in prop_oneof![Just(0x45_u8), Just(0x46), Just(0x4f), Just(0x60), any::<u8>()],
        lengths in any::<bool>(), protocol in prop_oneof![Just(TCP), Just(ICMP), Just(ICMP_V6), Just(0), Just(44), Just(60)],
        room in any::<u16>(),
    ) {
        if let Some(first) = bytes.first_mut() { *first = version; }
        let len = bytes.len();
        if lengths && len > 40 {
            let (at, len, protocol_at) = if version >> 4 == 6 { (5, len - 40, 6) } else { (3, len, 9) };
            bytes[at - 1] = 0;
            bytes[at] = u8::try_from(len).unwrap();
            bytes[protocol_at] = protocol;
        }
        let before = bytes.clone();
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert!(header.packet_bytes <= bytes.len());
            let _ = quoted_destination(&bytes, &header, Ipv4Addr::UNSPECIFIED.into());
            let wrote = clamp_mss(&mut bytes, &header, room);
            let changed = bytes.iter().zip(&before).filter(|(a, b)| a != b).count();
            let most = if wrote { 4 } else { 0 };
            prop_assert!(changed <= most);
        }
    }

    /// SYNs with arbitrary options never lose their checksum.
    #[test]
    fn checksum_survives(words in 0usize..10, fill in proptest::collection::vec(any::<u8>(), 40), room in 100u16..9000) {
        let options = &fill[..words * 4];
        let mut packet = tcp_packet(0x02, options, |tcp| v4(&[], TCP, 0, tcp));
        let header = Header::parse(&packet).unwrap();
        clamp_mss(&mut packet, &header, room);
        // All-ones and all-zeros are the same number in this arithmetic.
        prop_assert!(matches!(tcp_check(&packet, &header), 0 | 0xffff));
    }
}
