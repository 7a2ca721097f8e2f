//! IPv6: addresses, headers, extension headers, fragments, and what ICMP says unasked.

use std::net::{IpAddr, Ipv6Addr};

use super::tries::{By, Tries};
use super::{Bend, CONVERSATION, Family, PORT};
use crate::common::wire::{
    AUTHENTICATION, Extension, FRAGMENT, HOPS, ICMP_V6, OPTIONS, ROUTING, TCP, UDP, ipv6, mark, marked, six,
    summed, transport,
};

const TARGET: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 1, 0, 0, 0, 0x10);

/// Sources that are not the client's own, beside those that come of its block.
const SOURCES: [(&str, &str); 14] = [
    ("the target itself", "fd77:0:0:1::10"),
    ("the target's neighbour", "fd77:0:0:1::77"),
    ("the server inside", "fd77:0:0:1::1"),
    ("the server outside", "fd99::1"),
    ("the client outside", "fd99::10"),
    ("somewhere else", "2001:db8::5"),
    ("loopback", "::1"),
    ("no address", "::"),
    ("link-local", "fe80::1"),
    ("a group of the link", "ff02::1"),
    ("a group of the world", "ff0e::5"),
    ("its IPv4 address, mapped", "::ffff:10.88.0.2"),
    ("its IPv4 address, as compatible", "::10.88.0.2"),
    ("its IPv4 address, by 6to4", "2002:a58:2::1"),
];

/// Destinations that no rule allows, or that no rule can, beside those that come of its block.
const DESTINATIONS: [(&str, &str); 14] = [
    ("a subnet without a rule", "fd77:0:0:2::10"),
    ("the target's neighbour", "fd77:0:0:1::77"),
    ("the server inside", "fd77:0:0:1::1"),
    ("the server on the other side", "fd77:0:0:2::1"),
    ("the server outside", "fd99::1"),
    ("a host outside", "fd99::11"),
    ("somewhere else", "2001:db8::5"),
    ("loopback", "::1"),
    ("no address", "::"),
    ("link-local", "fe80::1"),
    ("a group of the link", "ff02::1"),
    ("a group of the world", "ff0e::5"),
    ("the target's IPv4 address, mapped", "::ffff:10.77.1.10"),
    ("the target's IPv4 address, by NAT64", "64:ff9b::10.77.1.10"),
];

/// Headers that are no headers.
const BENT: [(&str, Bend); 5] = [
    ("version 0", |packet| packet[0] = 0),
    ("version 4", |packet| packet[0] = 0x45),
    ("version 5", |packet| packet[0] = 0x50),
    ("a length beyond the packet", |packet| packet[5] += 8),
    ("cut short", |packet| packet.truncate(39)),
];

/// Padding only.
const PAD: &[u8] = &[0, 0, 1, 4, 0, 0, 0, 0];
/// The same, as long as a route.
const LONG_PAD: &[u8] = &[0, 2, 1, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The first piece of one.
const ONE_PIECE: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 7];
const SEAL: &[u8] = &[0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];

/// What may stand before what comes from the client.
const CHAINS: [(&str, &[Extension<'static>]); 6] = [
    ("", &[]),
    (" behind options by hop", &[(HOPS, PAD)]),
    (" behind options", &[(OPTIONS, PAD)]),
    (" in a fragment of one", &[(FRAGMENT, ONE_PIECE)]),
    (" behind authentication", &[(AUTHENTICATION, SEAL)]),
    (" behind three", &[(HOPS, PAD), (OPTIONS, PAD), (FRAGMENT, ONE_PIECE)]),
];

/// Routing headers that lead on to the other target, or would not: none is let through.
const ROUTES: [(&str, &[u8]); 4] = [
    ("type 0", &[0, 2, 0, 1, 0, 0, 0, 0, 0xfd, 0x77, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x10]),
    ("type 2", &[0, 2, 2, 1, 0, 0, 0, 0, 0xfd, 0x77, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x10]),
    ("segments", &[0, 2, 4, 1, 0, 0, 0, 0, 0xfd, 0x77, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x10]),
    ("nothing left", &[0, 2, 0, 0, 0, 0, 0, 0, 0xfd, 0x77, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x10]),
];

/// Chains that do not lead to what is carried, each beside one that does.
const BROKEN: [(&str, &[Extension<'static>], &[Extension<'static>]); 4] = [
    ("options by hop beyond the packet", &[(HOPS, &[0, 40, 1, 4, 0, 0, 0, 0])], &[(HOPS, PAD)]),
    ("options beyond the packet", &[(OPTIONS, &[0, 40, 1, 4, 0, 0, 0, 0])], &[(OPTIONS, PAD)]),
    (
        "authentication beyond the packet",
        &[(AUTHENTICATION, &[0, 90, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 7, 7, 7, 7])],
        &[(AUTHENTICATION, SEAL)],
    ),
    ("more headers than are looked at", &[(OPTIONS, PAD); 8], &[(OPTIONS, PAD); 7]),
];

/// What neighbours say to each other.
const NEIGHBOURS: [(&str, u8); 5] = [
    ("a router solicitation", 133),
    ("a router advertisement", 134),
    ("a neighbour solicitation", 135),
    ("a neighbour advertisement", 136),
    ("a redirect", 137),
];
/// What routers say of packets.
const ERRORS: [(&str, u8); 4] =
    [("unreachable", 1), ("packet too big", 2), ("time exceeded", 3), ("a parameter problem", 4)];

fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// The address with these last 64 bits in the block of another.
fn beside(own: Ipv6Addr, last: u64) -> Ipv6Addr {
    (u128::from(own) >> 64 << 64 | u128::from(last)).into()
}

pub(crate) fn family(own: Ipv6Addr, another: Ipv6Addr) -> Family {
    let all = |rows: &'static [(&'static str, &'static str)]| {
        rows.iter().map(|(name, text)| (*name, IpAddr::V6(ip(text))))
    };
    let next_block = Ipv6Addr::from(u128::from(own).wrapping_add(1 << 64));
    let of_block = [
        ("another client", another),
        ("an address nobody has", beside(own, 0x77)),
        ("the gateway in the tunnel", beside(own, 1)),
        ("any router of the tunnel", beside(own, 0)),
        ("beside the block", next_block),
    ]
    .map(|(name, address)| (name, IpAddr::V6(address)));
    Family {
        own: own.into(),
        another: another.into(),
        target: TARGET.into(),
        neighbour: ip("fd77:0:0:1::77").into(),
        stranger: ip("fd99::11").into(),
        // Without NAT.
        answer_to: own.into(),
        kinds: [("UDP over IPv6", UDP), ("TCP over IPv6", TCP), ("ICMPv6", ICMP_V6)],
        sources: of_block.into_iter().chain(all(&SOURCES)).collect(),
        destinations: of_block
            .into_iter()
            .chain([("itself", own.into())])
            .chain(all(&DESTINATIONS))
            .collect(),
        bent: &BENT,
        unasked: of_block
            .into_iter()
            .chain([("the client itself", own.into()), ("the other subnet", ip("fd77:0:0:2::10").into())])
            .chain(all(&SOURCES))
            .collect(),
    }
}

/// UDP behind extension headers.
fn chained(
    (source, from): (Ipv6Addr, u16),
    (destination, to): (Ipv6Addr, u16),
    extensions: &[Extension<'_>],
    number: u32,
) -> Vec<u8> {
    let payload = transport(UDP, (source, from), (destination, to), number);
    ipv6(source, destination, extensions, UDP, &payload)
}

/// One packet in two pieces, cut at a multiple of eight bytes; `next` is what it begins with.
fn pieces(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    (next, bytes): (u8, &[u8]),
    cut: u8,
    id: u8,
) -> Vec<Vec<u8>> {
    let (first, second) = bytes.split_at(cut.into());
    vec![
        ipv6(source, destination, &[(FRAGMENT, &[0, 0, 0, 1, 0, 0, 0, id])], next, first),
        ipv6(source, destination, &[(FRAGMENT, &[0, 0, 0, cut, 0, 0, 0, id])], next, second),
    ]
}

/// UDP in two pieces, the mark in the second.
fn halves(source: (Ipv6Addr, u16), destination: (Ipv6Addr, u16), id: u8, number: u32) -> Vec<Vec<u8>> {
    let udp = transport(UDP, source, destination, number);
    pieces(source.0, destination.0, (UDP, &udp), 8, id)
}

/// UDP behind a route, in two pieces with the mark in the first: the second means nothing by itself.
fn routed_halves(source: (Ipv6Addr, u16), destination: (Ipv6Addr, u16), id: u8, number: u32) -> Vec<Vec<u8>> {
    let ports = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    let udp = [&ports[..], &[0, 24, 0, 0], &mark(number), &[0; 8]].concat();
    let udp = summed(UDP, source.0, destination.0, udp);
    let whole = [&[UDP][..], &ROUTES[0].1[1..], &udp].concat();
    pieces(source.0, destination.0, (ROUTING, &whole), 40, id)
}

/// An ICMP message that has a mark behind it.
fn said(kind: u8, source: Ipv6Addr, destination: Ipv6Addr, number: u32) -> Vec<u8> {
    let bytes = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &mark(number)].concat();
    ipv6(source, destination, &[], ICMP_V6, &summed(ICMP_V6, source, destination, bytes))
}

/// An ICMP error that quotes a packet, which has the mark.
fn quoting(kind: u8, source: Ipv6Addr, destination: Ipv6Addr, quoted: &[u8]) -> Vec<u8> {
    let bytes = [&[kind, 0, 0, 0, 0, 0, 5, 0][..], quoted].concat();
    ipv6(source, destination, &[], ICMP_V6, &summed(ICMP_V6, source, destination, bytes))
}

/// What a client may try besides.
pub(crate) fn up(family: &Family, tries: &mut Tries) {
    let own = six(family.own);
    let (good, there) = ((own, 7_000), (TARGET, PORT));
    let plain = |number| vec![chained(good, there, &[], number)];
    for (how, chain) in &CHAINS[1..] {
        for (what, source) in &family.sources {
            let from = (six(*source), 7_000);
            tries.attempt(format!("up, IPv6{how} from {what}"), By::Client, |number| {
                vec![chained(from, there, chain, number)]
            });
            tries.twin(By::Client, |number| vec![chained(good, there, chain, number)]);
        }
        for (what, destination) in &family.destinations {
            let to = (six(*destination), PORT);
            tries.attempt(format!("up, IPv6{how} to {what}"), By::Client, |number| {
                vec![chained(good, to, chain, number)]
            });
            tries.twin(By::Client, |number| vec![chained(good, there, chain, number)]);
        }
    }
    chains("up", By::Client, good, there, tries);
    let jumbo = &[(HOPS, &[0, 0, 0xc2, 4, 0, 0, 0, 24][..])];
    tries.attempt("up, a jumbogram".to_owned(), By::Client, |number| {
        let mut packet = chained(good, there, jumbo, number);
        packet[4..6].fill(0);
        vec![packet]
    });
    tries.twin(By::Client, |number| vec![chained(good, there, &[(HOPS, PAD)], number)]);

    let mut id = 0..;
    let mut id = || id.next().unwrap_or_default();
    for (what, source) in &family.sources {
        let (from, first, second) = ((six(*source), 7_000), id(), id());
        tries.attempt(format!("up, IPv6 in fragments from {what}"), By::Client, |number| {
            halves(from, there, first, number)
        });
        tries.twin(By::Client, |number| halves(good, there, second, number));
    }
    for (what, destination) in &family.destinations {
        let (to, first, second) = ((six(*destination), PORT), id(), id());
        tries.attempt(format!("up, IPv6 in fragments to {what}"), By::Client, |number| {
            halves(good, to, first, number)
        });
        tries.twin(By::Client, |number| halves(good, there, second, number));
    }
    for (what, source, destination) in
        [("source", six(family.another), TARGET), ("destination", own, ip("fd77:0:0:2::10"))]
    {
        let (first, second) = (id(), id());
        tries.attempt(format!("up, IPv6 with another {what} in the second fragment"), By::Client, |number| {
            let mut both = halves(good, there, first, number);
            both[1][8..24].copy_from_slice(&source.octets());
            both[1][24..40].copy_from_slice(&destination.octets());
            both
        });
        tries.twin(By::Client, |number| halves(good, there, second, number));
    }
    let (first, second) = (id(), id());
    tries.attempt("up, IPv6 with a route in fragments".to_owned(), By::Client, |number| {
        routed_halves(good, there, first, number)
    });
    tries.twin(By::Client, |number| halves(good, there, second, number));
    let (first, second) = (id(), id());
    tries.attempt("up, IPv6 with a route in the second fragment".to_owned(), By::Client, |number| {
        let udp = transport(UDP, good, there, number);
        let whole = [&[ROUTING][..], &PAD[1..], &[UDP], &ROUTES[0].1[1..], &udp].concat();
        pieces(own, TARGET, (OPTIONS, &whole), 8, first)
    });
    tries.twin(By::Client, |number| halves(good, there, second, number));

    for (what, kind) in ERRORS {
        tries.attempt(format!("up, {what} about nothing"), By::Client, |number| {
            let quoted = marked(UDP, (TARGET, 4_444), (own, 7_999), number);
            vec![quoting(kind, own, TARGET, &quoted)]
        });
        tries.twin(By::Client, plain);
    }
}

/// Routes behind every chain, and chains that lead nowhere, between two that may speak.
fn chains(way: &str, by: By, from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), tries: &mut Tries) {
    for (how, chain) in CHAINS {
        for (what, route) in ROUTES {
            let with = |last: Extension<'static>| {
                move |number| vec![chained(from, to, &[chain, &[last]].concat(), number)]
            };
            let name = format!("{way}, IPv6 with a route ({what}){how}");
            tries.attempt(name, by, with((ROUTING, route)));
            tries.twin(by, with((OPTIONS, LONG_PAD)));
        }
    }
    for (what, broken, whole) in BROKEN {
        let with = |chain| move |number| vec![chained(from, to, chain, number)];
        tries.attempt(format!("{way}, IPv6 with {what}"), by, with(broken));
        tries.twin(by, with(whole));
    }
}

/// What may come to a client besides, from where its conversation is and from outside.
pub(crate) fn down(family: &Family, tries: &mut Tries) {
    let (own, another) = (six(family.own), six(family.another));
    let (far, near) = ((TARGET, PORT), (own, CONVERSATION));
    let answer = |number| vec![chained(far, near, &[], number)];
    chains("down", By::Target, far, near, tries);
    for (how, chain) in &CHAINS[1..] {
        for (what, from, to) in [
            ("another port", (TARGET, PORT + 1), near),
            ("to another port", far, (own, 7_101)),
            ("to another client", far, (another, CONVERSATION)),
            ("from the neighbour", (six(family.neighbour), PORT), near),
        ] {
            tries.attempt(format!("down, IPv6{how}, {what}"), By::Target, |number| {
                vec![chained(from, to, chain, number)]
            });
            tries.twin(By::Target, |number| vec![chained(far, near, chain, number)]);
        }
        tries.attempt(format!("down, IPv6{how} from a stranger as the target"), By::Stranger, |number| {
            vec![chained((TARGET, PORT + 1), near, chain, number)]
        });
        tries.twin(By::Target, |number| vec![chained(far, near, chain, number)]);
    }
    let mut id = 0..;
    let mut id = || id.next().unwrap_or_default();
    for (what, from, to) in [
        ("from another port", (TARGET, PORT + 1), near),
        ("to another port", far, (own, 7_101)),
        ("to another client", far, (another, CONVERSATION)),
        ("from the neighbour", (six(family.neighbour), PORT), near),
    ] {
        let (first, second) = (id(), id());
        tries.attempt(format!("down, IPv6 in fragments {what}"), By::Target, |number| {
            halves(from, to, first, number)
        });
        tries.twin(By::Target, |number| halves(far, near, second, number));
    }
    let (first, second) = (id(), id());
    tries.attempt("down, IPv6 with a route in fragments".to_owned(), By::Target, |number| {
        routed_halves(far, near, first, number)
    });
    tries.twin(By::Target, |number| halves(far, near, second, number));

    for (what, kind) in NEIGHBOURS {
        for (by, source) in [(By::Target, TARGET), (By::Stranger, six(family.stranger))] {
            tries.attempt(format!("down, {what} by {by:?}"), by, |number| {
                vec![said(kind, source, own, number)]
            });
            tries.twin(By::Target, answer);
        }
    }
    for (what, kind) in ERRORS {
        for (about, from) in [("nothing", (own, 7_999)), ("another's", (another, CONVERSATION))] {
            tries.attempt(format!("down, {what} about {about}"), By::Target, |number| {
                vec![quoting(kind, TARGET, own, &marked(UDP, from, far, number))]
            });
            tries
                .twin(By::Target, |number| vec![quoting(kind, TARGET, own, &marked(UDP, near, far, number))]);
        }
    }
}
