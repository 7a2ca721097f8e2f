//! Orders, contradictions, bounds and time; any cut and any order; and fragments that nobody should send.

use std::path::Path;

use foreign::Dice;
use smoltcp::wire::Ipv4Packet;

use super::*;
use crate::fragment::tests::{PAIRS, datagram, piece};
use crate::packet::{self, Inside};

struct World {
    reassembly: Reassembly,
    stats: Stats,
    now: Instant,
    out: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let (reassembly, stats) = (Reassembly::default(), Stats::default());
        Self { reassembly, stats, now: Instant::now(), out: Vec::new() }
    }

    fn add(&mut self, association: u32, bytes: &[u8]) -> bool {
        let part = Fragment::of(bytes).unwrap().expect("a fragment");
        let whole = self.reassembly.add(association, &part, self.now, &self.stats, &mut self.out);
        self.check();
        whole
    }

    /// All bounds hold, and all sums are right.
    fn check(&self) {
        let all = &self.reassembly;
        let sum = |of: &dyn Fn(&Pending) -> bool| -> (usize, usize) {
            all.pending
                .values()
                .filter(|pending| of(pending))
                .fold((0, 0), |sum, pending| (sum.0 + 1, sum.1 + pending.held_bytes()))
        };
        assert_eq!(sum(&|_| true), (all.numbers.len(), all.bytes));
        assert!(all.pending.len() <= PACKETS_MAX && all.bytes <= BYTES_MAX);
        for (client, holdings) in &all.clients {
            let own = sum(&|pending| pending.key.client == *client);
            assert_eq!(own, (holdings.pending.len(), holdings.bytes));
            assert!((1..=CLIENT_PACKETS_MAX).contains(&own.0) && own.1 <= CLIENT_BYTES_MAX, "{own:?}");
        }
    }

    fn refused(&self) -> Vec<(&'static str, u64)> {
        self.stats.figures().refused.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.reassembly.expire(self.now, &self.stats);
        self.check();
    }

    fn is_empty(&self) -> bool {
        let Reassembly { pending, numbers, clients, bytes, .. } = &self.reassembly;
        pending.is_empty() && numbers.is_empty() && clients.is_empty() && *bytes == 0
    }
}

/// The data of the datagram in a packet.
fn data_of(packet: &[u8]) -> Vec<u8> {
    let Inside::Udp { data, .. } = packet::parse(packet).unwrap().inside else { panic!("no datagram") };
    data.to_vec()
}

/// A client of that number with 1,000 bytes to say.
fn from(client: usize) -> Vec<u8> {
    let (high, low) = (client / 200, 2 + client % 200);
    datagram((format!("10.8.{high}.{low}:5000").as_str(), "10.0.0.1:53"), 1000).0
}

/// One fragment of a packet: where it starts and ends, and whether others follow.
type Row = ((usize, usize), bool);
const FIRST: Row = ((0, 400), true);
const MIDDLE: Row = ((400, 800), true);
const LAST: Row = ((800, 1008), false);

#[test]
fn fragments_make_their_packet_or_none() {
    const WRONG: &[(&str, u64)] = &[("fragment", 1)];
    let rows: &[(&str, &[Row], bool, &[(&str, u64)])] = &[
        ("in order", &[FIRST, MIDDLE, LAST], true, &[]),
        ("in reverse", &[LAST, MIDDLE, FIRST], true, &[]),
        ("the middle at last", &[FIRST, LAST, MIDDLE], true, &[]),
        ("some twice", &[FIRST, FIRST, LAST, LAST, FIRST, MIDDLE], true, &[]),
        ("one is missing", &[FIRST, LAST, LAST], false, &[]),
        ("no end", &[FIRST, MIDDLE], false, &[]),
        ("overlap before", &[FIRST, ((392, 800), true)], false, WRONG),
        ("overlap behind", &[MIDDLE, ((0, 408), true)], false, WRONG),
        ("one in another", &[FIRST, ((8, 16), true)], false, WRONG),
        ("one around others", &[FIRST, LAST, ((0, 1008), false)], false, &[]),
        ("one longer than before", &[((400, 440), true), MIDDLE], false, WRONG),
        ("beyond the end", &[((400, 800), false), ((800, 808), true)], false, WRONG),
        ("an end before others", &[((800, 1000), true), ((400, 800), false)], false, WRONG),
        ("an end before what there is", &[LAST, ((400, 800), false)], false, WRONG),
        ("another end", &[((400, 792), false), ((792, 800), false)], false, WRONG),
        ("the end that others follow", &[((800, 1000), false), ((800, 1000), true)], false, WRONG),
        ("too late to be right", &[FIRST, ((8, 16), true), MIDDLE, LAST], false, &[("fragment", 3)]),
    ];
    for pair in PAIRS {
        let (packet, data) = datagram(pair, 1000);
        for (name, parts, whole, refused) in rows {
            let mut world = World::new();
            let mut made = false;
            for (range, more) in *parts {
                // As it stands alone it is the packet, and waits for nothing.
                let atomic = range.0 == 0 && !more;
                if atomic && pair == PAIRS[0] {
                    continue;
                }
                let complete = world.add(1, &piece(&packet, *range, *more, 7));
                assert!(!made, "{name}: it had all");
                made = complete && !atomic;
            }
            assert_eq!(made, *whole, "{pair:?} {name}");
            assert_eq!(world.refused(), *refused, "{pair:?} {name}");
            assert_eq!(world.is_empty(), *whole, "{pair:?} {name}");
            if *whole {
                assert_eq!(data_of(&world.out), data, "{pair:?} {name}");
            }
            let wrong = !refused.is_empty();
            assert!(!wrong || world.reassembly.bytes == 0, "{name}: memory of what is given up");
            // A packet counts once, whyever it is dropped.
            world.pass(AGE_MAX);
            assert!(world.is_empty(), "{name}");
            let missing = u64::from(!whole && !wrong);
            assert_eq!(world.stats.figures().refused["fragment-missing"], missing, "{pair:?} {name}");
        }
    }
}

#[test]
fn one_twice_with_other_bytes_is_no_repetition() {
    for pair in PAIRS {
        let (packet, _) = datagram(pair, 1000);
        let mut world = World::new();
        let part = piece(&packet, MIDDLE.0, true, 7);
        assert!(!world.add(1, &part) && !world.add(1, &part));
        assert!(world.refused().is_empty(), "{:?}", world.refused());
        let mut other = part.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(!world.add(1, &other));
        assert_eq!(world.refused(), [("fragment", 1)]);
    }
}

#[test]
fn packets_are_told_apart_by_all_that_tells_them_apart() {
    for (number, pair) in PAIRS.into_iter().enumerate() {
        let (packet, _) = datagram(pair, 1000);
        let mut world = World::new();
        world.add(1, &piece(&packet, FIRST.0, true, 7));
        world.add(1, &piece(&packet, MIDDLE.0, true, 7));
        let last = |packet: &[u8], ident| piece(packet, LAST.0, false, ident);
        let (client, far) = [("10.8.0.3:1", "10.0.0.2:1"), ("[fd08::3]:1", "[fd00::2]:1")][number];
        assert!(!world.add(1, &last(&packet, 8)), "another identifier");
        assert!(!world.add(2, &last(&packet, 7)), "another association");
        assert!(!world.add(1, &last(&datagram((client, pair.1), 1000).0, 7)), "another client");
        assert!(!world.add(1, &last(&datagram((pair.0, far), 1000).0, 7)), "another far side");
        assert_eq!(world.reassembly.pending.len(), 5);
        let another = |world: &World| {
            let keys = world.reassembly.pending.values().map(|pending| pending.key.client.address);
            keys.filter(|address| client.contains(&address.to_string())).count()
        };
        assert_eq!(another(&world), 1);
        let address = client.parse::<std::net::SocketAddr>().unwrap().ip();
        world.reassembly.forget_client(2, address);
        assert_eq!(another(&world), 1, "not there");
        world.reassembly.forget_client(1, address);
        world.check();
        assert_eq!((another(&world), world.reassembly.pending.len()), (0, 4));
        world.reassembly.forget_association(1);
        world.check();
        assert_eq!(world.reassembly.pending.len(), 1, "the other association's is left");
        world.reassembly.forget_association(2);
        assert!(world.is_empty() && world.refused().is_empty());
    }
    // Of IPv4 the protocol is one of them. Of IPv6 the first one's counts, whatever the others say.
    for (pair, makes_one) in PAIRS.into_iter().zip([false, true]) {
        let (packet, data) = datagram(pair, 1000);
        let mut other = packet.clone();
        other[if makes_one { 6 } else { 9 }] = packet::TCP;
        let mut world = World::new();
        assert!(!world.add(1, &piece(&packet, FIRST.0, true, 7)));
        assert!(!world.add(1, &piece(&packet, MIDDLE.0, true, 7)));
        assert_eq!(world.add(1, &piece(&other, LAST.0, false, 7)), makes_one);
        assert!(!makes_one || data_of(&world.out) == data);
    }
}

#[test]
fn an_atomic_fragment_is_its_packet_and_touches_no_other() {
    let (packet, data) = datagram(PAIRS[1], 1000);
    let mut world = World::new();
    world.add(1, &piece(&packet, FIRST.0, true, 7));
    assert!(world.add(1, &piece(&packet, (0, 1008), false, 7)));
    assert_eq!(world.out, packet);
    assert!(!world.add(1, &piece(&packet, MIDDLE.0, true, 7)));
    assert!(world.add(1, &piece(&packet, LAST.0, false, 7)));
    assert_eq!(data_of(&world.out), data);
}

#[test]
fn options_stay_with_the_packet_and_may_make_it_too_long() {
    for (bytes, fits) in [(65_400, true), (65_507, false)] {
        let (packet, data) = datagram(PAIRS[0], bytes);
        let mut world = World::new();
        // Four bytes of "no operation" behind the first one's header.
        let mut first = piece(&packet, (0, 1024), true, 7);
        first.splice(20..20, [1; 4]);
        let mut ip = Ipv4Packet::new_unchecked(&mut first[..]);
        ip.set_header_len(24);
        ip.set_total_len(24 + 1024);
        ip.fill_checksum();
        world.add(1, &piece(&packet, (1024, bytes + 8), false, 7));
        assert_eq!(world.add(1, &first), fits);
        assert_eq!(world.refused().is_empty(), fits);
        assert_eq!(world.reassembly.bytes, 0);
        if fits {
            assert_eq!(data_of(&world.out), data);
            assert_eq!(world.out.len(), 24 + 8 + bytes);
        }
    }
}

#[test]
fn missing_fragments_are_waited_for_and_no_longer() {
    let (packet, data) = datagram(PAIRS[0], 1000);
    let mut world = World::new();
    assert_eq!(world.reassembly.next_end(), None);
    let began = world.now;
    world.add(1, &piece(&packet, FIRST.0, true, 7));
    world.pass(Duration::from_secs(20));
    world.add(1, &piece(&packet, FIRST.0, true, 8));
    // Fragments that come later prolong nothing.
    world.add(1, &piece(&packet, MIDDLE.0, true, 7));
    assert_eq!(world.reassembly.next_end(), Some(began + AGE_MAX));
    world.pass(Duration::from_millis(9_999));
    assert!(world.refused().is_empty(), "{:?}", world.refused());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.refused(), [("fragment-missing", 1)]);
    assert_eq!(world.reassembly.next_end(), Some(began + AGE_MAX + Duration::from_secs(20)));
    // The other one is not concerned.
    world.add(1, &piece(&packet, MIDDLE.0, true, 8));
    assert!(world.add(1, &piece(&packet, LAST.0, false, 8)));
    assert_eq!(data_of(&world.out), data);
    assert!(world.is_empty());
}

#[test]
fn a_packet_has_its_most_fragments() {
    let (packet, _) = datagram(PAIRS[0], 8 * FRAGMENTS_MAX);
    let units = |count: usize| (0..count).map(|unit| (unit * 8, unit * 8 + 8));
    let mut world = World::new();
    for range in units(FRAGMENTS_MAX) {
        assert!(!world.add(1, &piece(&packet, range, true, 7)));
    }
    assert!(world.refused().is_empty(), "{:?}", world.refused());
    assert!(!world.add(1, &piece(&packet, (8 * FRAGMENTS_MAX, 8 * FRAGMENTS_MAX + 8), false, 7)));
    assert_eq!(world.refused(), [("fragment", 1)]);
    assert_eq!(world.reassembly.bytes, 0);
}

#[test]
fn a_client_has_its_most_packets_and_its_oldest_goes_first() {
    let (one, other) = (from(1), from(2));
    let mut world = World::new();
    world.add(1, &piece(&other, FIRST.0, true, 0));
    world.add(1, &piece(&other, MIDDLE.0, true, 0));
    let begun = u32::try_from(CLIENT_PACKETS_MAX).unwrap();
    for ident in 0..=begun {
        world.add(1, &piece(&one, FIRST.0, true, ident));
        world.add(1, &piece(&one, MIDDLE.0, true, ident));
    }
    assert_eq!(world.refused(), [("client-fragments", 1)]);
    // The oldest has gone: its end is the beginning of another, for which the next one goes.
    assert!(!world.add(1, &piece(&one, LAST.0, false, 0)));
    assert!(!world.add(1, &piece(&one, LAST.0, false, 1)));
    for ident in 3..=begun {
        assert!(world.add(1, &piece(&one, LAST.0, false, ident)), "{ident}");
    }
    // However many it begins, the other client's is there.
    for ident in 0..5_000 {
        world.add(1, &piece(&one, MIDDLE.0, true, ident));
    }
    assert!(world.add(1, &piece(&other, LAST.0, false, 0)));
    assert_eq!(world.stats.figures().refused["fragments"], 0);
}

#[test]
fn a_client_has_its_most_bytes() {
    for pair in PAIRS {
        let (packet, data) = datagram(pair, 60_000);
        let mut world = World::new();
        for ident in 0..30 {
            for start in (0..59_000).step_by(1000) {
                world.add(1, &piece(&packet, (start, start + 1000), true, ident));
            }
        }
        let [("client-fragments", gone)] = world.refused()[..] else { panic!("{:?}", world.refused()) };
        assert!((20..=26).contains(&gone), "{gone}");
        world.add(1, &piece(&packet, (59_000, 60_000), true, 29));
        assert!(world.add(1, &piece(&packet, (60_000, 60_008), false, 29)), "the newest is there");
        assert_eq!(data_of(&world.out), data);
    }
}

#[test]
fn when_all_is_full_a_newcomer_still_finds_room_and_ones_own_go_first() {
    let full = PACKETS_MAX / CLIENT_PACKETS_MAX;
    let mut world = World::new();
    for ident in 0..CLIENT_PACKETS_MAX {
        for client in 0..full {
            world.add(1, &piece(&from(client), FIRST.0, true, u32::try_from(ident).unwrap()));
        }
    }
    assert_eq!(world.reassembly.pending.len(), PACKETS_MAX);
    assert!(world.refused().is_empty(), "{:?}", world.refused());
    let newcomer = from(full);
    world.add(1, &piece(&newcomer, FIRST.0, true, 0));
    // The oldest of all has gone, and one more for each that one of the others begins: its own.
    world.add(1, &piece(&from(3), FIRST.0, true, 99));
    world.add(1, &piece(&newcomer, MIDDLE.0, true, 0));
    assert!(world.add(1, &piece(&newcomer, LAST.0, false, 0)));
    assert_eq!(world.refused(), [("client-fragments", 1), ("fragments", 1)]);
    let held = |client: usize| {
        let Fragment { source: address, .. } =
            Fragment::of(&piece(&from(client), FIRST.0, true, 0)).unwrap().unwrap();
        world.reassembly.clients[&Client { association: 1, address }].pending.len()
    };
    assert_eq!((held(0), held(1), held(3)), (CLIENT_PACKETS_MAX - 1, CLIENT_PACKETS_MAX, CLIENT_PACKETS_MAX));
}

#[test]
fn memory_is_bounded_over_all_clients() {
    let mut world = World::new();
    for client in 0..20 {
        let address = format!("10.8.0.{}:5000", 2 + client);
        let (packet, data) = datagram((address.as_str(), "10.0.0.1:53"), 60_000);
        for ident in 0..7 {
            world.add(1, &piece(&packet, (0, 58_000), true, ident));
        }
        // Whoever comes last is served, as before.
        assert!(world.add(1, &piece(&packet, (58_000, 60_008), false, 6)), "{client}");
        assert_eq!(data_of(&world.out), data);
    }
    assert!(world.reassembly.bytes > BYTES_MAX / 2);
    let [("fragments", 1..)] = world.refused()[..] else { panic!("{:?}", world.refused()) };
    world.pass(AGE_MAX);
    assert!(world.is_empty());
}

#[test]
fn any_cut_in_any_order_makes_the_same_bytes() {
    let mut dice = Dice(7);
    let mut world = World::new();
    for round in 0..400 {
        let pair = *dice.pick(&PAIRS);
        let most = if dice.chance(200) { 65_507 } else { 3_000 };
        let (packet, _) = datagram(pair, 9 + dice.place(most - 8));
        let header_bytes = if pair == PAIRS[0] { 20 } else { 40 };
        let end = packet.len() - header_bytes;
        // Cut at units, so that there are not too many.
        let least = end.div_ceil(FRAGMENTS_MAX).div_ceil(8);
        let mut parts = Vec::new();
        let mut start = 0;
        while start < end {
            // Two at least.
            let units = least + dice.place(least * 3);
            let stop = (start + units * 8).min(if start == 0 { (end - 1) / 8 * 8 } else { end });
            parts.push(piece(&packet, (start, stop), stop < end, round));
            start = stop;
        }
        let mut order: Vec<usize> = (0..parts.len()).collect();
        for place in (1..order.len()).rev() {
            order.swap(place, dice.place(place + 1));
        }
        let (last, others) = order.split_last().unwrap();
        for place in others {
            assert!(!world.add(1, &parts[*place]));
            if dice.chance(100) {
                assert!(!world.add(1, &parts[*place]), "again");
            }
        }
        assert!(world.add(1, &parts[*last]), "round {round}: {} bytes in {}", packet.len(), parts.len());
        if header_bytes == 20 {
            // Cutting sets the identifier and clears "do not cut".
            let mut expected = packet;
            let mut ip = Ipv4Packet::new_unchecked(&mut expected[..]);
            ip.set_ident(u16::try_from(round).unwrap());
            ip.set_dont_frag(false);
            ip.fill_checksum();
            assert_eq!(world.out, expected);
        } else {
            assert_eq!(world.out, packet);
        }
        assert!(world.is_empty() && world.refused().is_empty());
    }
}

#[test]
fn foreign_fragments_stay_within_bounds_and_make_true_packets() {
    let seeds =
        PAIRS.map(|pair| datagram(pair, 1000).0).map(|packet| piece(&packet, FIRST.0, true, 7)).to_vec();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reassembly/corpus.txt");
    let mut world = World::new();
    let (mut held, mut whole) = (0, 0);
    foreign::storm(&file, seeds, 20_000, |bytes, dice| {
        let mut bytes = bytes.to_vec();
        // A checksum would stop nearly all that is bent.
        if bytes.len() >= 60 && bytes[0] >> 4 == 4 && dice.chance(800) {
            Ipv4Packet::new_unchecked(&mut bytes[..]).fill_checksum();
        }
        if dice.chance(10) {
            world.pass(Duration::from_secs(dice.below(40)));
        }
        let Ok(Some(part)) = Fragment::of(&bytes) else { return };
        assert!(part.end() <= packet::LENGTH_MAX_BYTES && !part.data.is_empty());
        held += 1;
        if world.add(1, &bytes) {
            whole += 1;
            assert!(Fragment::of(&world.out).unwrap().is_none());
            // What it carries may still be anything; its own length is right.
            if let Ok(packet) = packet::parse(&world.out) {
                assert_eq!(packet.whole.len(), world.out.len());
            }
        }
    });
    assert!(held > 1000 && whole > 10, "{held} {whole}");
    assert!(world.stats.figures().refused["fragment"] > 10, "{:?}", world.refused());
}
