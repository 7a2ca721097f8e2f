//! IPv4: addresses, headers, options and fragments.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::tries::{By, Tries};
use super::{Bend, Family, PORT};
use crate::common::wire::{ICMP, TCP, UDP, ipv4, ipv6, marked, mend, transport};

const TARGET: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 10);

/// Sources that are not the client's own.
const SOURCES: [(&str, &str); 14] = [
    ("another client", "10.88.0.3"),
    ("an address nobody has", "10.88.3.7"),
    ("the gateway in the tunnel", "10.88.0.1"),
    ("the network of the pool", "10.88.0.0"),
    ("the broadcast of the pool", "10.88.3.255"),
    ("beside the pool", "10.88.4.1"),
    ("the target itself", "10.77.1.10"),
    ("the server inside", "10.77.1.1"),
    ("the server outside", "10.99.0.1"),
    ("the client outside", "10.99.0.10"),
    ("loopback", "127.0.0.1"),
    ("no address", "0.0.0.0"),
    ("multicast", "224.0.0.5"),
    ("broadcast", "255.255.255.255"),
];

/// Destinations that no rule allows, or that no rule can.
const DESTINATIONS: [(&str, &str); 14] = [
    ("a subnet without a rule", "10.77.2.10"),
    ("the server inside", "10.77.2.1"),
    ("the server outside", "10.99.0.1"),
    ("a host outside", "10.99.0.11"),
    ("another client without a local route", "10.88.0.3"),
    ("itself", "10.88.0.2"),
    ("the gateway in the tunnel", "10.88.0.1"),
    ("the broadcast of the pool", "10.88.3.255"),
    ("loopback", "127.0.0.1"),
    ("link-local", "169.254.169.254"),
    ("multicast", "224.0.0.5"),
    ("broadcast", "255.255.255.255"),
    ("no address", "0.0.0.0"),
    ("somewhere else", "203.0.113.5"),
];

/// Headers that are no headers.
const BENT: [(&str, Bend); 9] = [
    ("version 0", |packet| packet[0] &= 0x0f),
    ("version 5", |packet| packet[0] = 0x50 | packet[0] & 0x0f),
    ("version 6", |packet| packet[0] = 0x60 | packet[0] & 0x0f),
    ("a header of 16 bytes", |packet| packet[0] = 0x44),
    ("a header beyond the packet", |packet| {
        packet[0] = 0x4f;
        packet[3] = 40;
    }),
    ("a length beyond the packet", |packet| {
        packet[3] += 8;
        mend(packet);
    }),
    ("a length below the header", |packet| {
        packet[3] = 19;
        mend(packet);
    }),
    ("a wrong checksum", |packet| packet[10] ^= 0xff),
    ("cut short", |packet| packet.truncate(19)),
];

/// Options that would carry it past the destination that was judged, or that do not parse.
const OPTIONS: [(&str, [u8; 8]); 5] = [
    ("a loose source route", [131, 7, 4, 10, 77, 2, 10, 0]),
    ("a strict source route", [137, 7, 4, 10, 77, 2, 10, 0]),
    ("a source route behind padding", [1, 131, 7, 4, 10, 77, 2, 10]),
    ("an option of no length", [7, 0, 0, 0, 0, 0, 0, 0]),
    ("an option beyond the header", [7, 40, 4, 0, 0, 0, 0, 0]),
];
/// Options that do no harm.
const HARMLESS: [u8; 8] = [1, 1, 1, 1, 1, 1, 1, 0];

fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

pub(crate) fn family(own: Ipv4Addr, another: Ipv4Addr) -> Family {
    let all =
        |rows: &[(&'static str, &str)]| rows.iter().map(|(name, text)| (*name, ip(text).into())).collect();
    Family {
        own: own.into(),
        another: another.into(),
        target: TARGET.into(),
        neighbour: ip("10.77.1.77").into(),
        stranger: ip("10.99.0.11").into(),
        // By NAT.
        answer_to: ip("10.77.1.1").into(),
        kinds: [("UDP", UDP), ("TCP", TCP), ("ICMP", ICMP)],
        sources: all(&SOURCES),
        destinations: all(&DESTINATIONS),
        bent: &BENT,
        unasked: vec![
            ("the target", TARGET.into()),
            ("its neighbour", ip("10.77.1.77").into()),
            ("the other subnet", ip("10.77.2.10").into()),
            ("the server", ip("10.77.1.1").into()),
            ("a client", another.into()),
            ("the client itself", own.into()),
            ("the gateway in the tunnel", ip("10.88.0.1").into()),
        ],
    }
}

/// What a client may try besides, at an endpoint that carries nothing else.
pub(crate) fn up(own: Ipv4Addr, tries: &mut Tries) {
    let good = (own, 7_000);
    for (kind, protocol) in [("UDP", UDP), ("TCP", TCP), ("ICMP", ICMP)] {
        for (what, options) in OPTIONS {
            let make = |options: [u8; 8]| {
                move |number| {
                    let payload = transport(protocol, good, (TARGET, PORT), number);
                    vec![ipv4(own, TARGET, protocol, &options, &payload)]
                }
            };
            tries.attempt(format!("up, {kind} with {what}"), By::Client, make(options));
            tries.twin(By::Client, make(HARMLESS));
        }
    }
    for (id, at) in (0..).zip([0, 1, 13]) {
        let (what, destination) = DESTINATIONS[at];
        let make = |destination, id| move |number| pieces(own, destination, id, number);
        tries.attempt(format!("up, in fragments to {what}"), By::Client, make(ip(destination), id));
        tries.twin(By::Client, make(TARGET, 100 + id));
    }
    for source in ["fe80::1", "fd00::2", "::ffff:10.88.0.2", "::1", "::"] {
        for destination in ["::ffff:10.77.1.10", "fd77:0:0:1::10", "2001:db8::1", "ff02::1", "::1"] {
            let parse = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
            let (from, to) = (parse(source), parse(destination));
            tries.attempt(format!("up, IPv6 from {source} to {destination}"), By::Client, |number| {
                let payload = transport(UDP, (IpAddr::V6(from), 7_000), (to.into(), PORT), number);
                vec![ipv6(from, to, &[], UDP, &payload)]
            });
            tries.twin(By::Client, |number| vec![marked(UDP, good, (TARGET, PORT), number)]);
        }
    }
}

/// One packet in two pieces.
fn pieces(own: Ipv4Addr, destination: Ipv4Addr, id: u8, number: u32) -> Vec<Vec<u8>> {
    let payload = transport(UDP, (own, 7_000), (destination, PORT), number);
    let (first, second) = payload.split_at(8);
    let part = |bytes: &[u8], flags: u8, offset: u8| {
        let mut packet = ipv4(own, destination, UDP, &[], bytes);
        packet[5] = id;
        packet[6] = flags;
        packet[7] = offset;
        mend(&mut packet);
        packet
    };
    vec![part(first, 0x20, 0), part(second, 0, 1)]
}
