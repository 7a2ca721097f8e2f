//! A client's end of the data channel against a path.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::RuleGroup;

use super::*;
use crate::desired::{Route, Rule, Target};

const PEER: &str = "198.51.100.7:40000";
const OTHER: &str = "203.0.113.9:50000";

struct World {
    path: DataPath,
    client: Channel,
    now: Instant,
    v2: Option<u32>,
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn policy(routes: &[(&str, Target)], rules: &[&str]) -> Arc<Policy> {
    let routes: Vec<_> =
        routes.iter().map(|(to, target)| Route { destination: net(to), target: *target }).collect();
    let rules: Vec<_> = rules.iter().map(|to| Rule { destination: net(to), group: RuleGroup::All }).collect();
    Arc::new(Policy::compile(&routes, &rules, &[]))
}

fn at(ms: u64) -> Instant {
    Instant(ms * 1000)
}

impl World {
    fn new(floats: bool, v2: Option<u32>, policy: Arc<Policy>) -> Self {
        Self::with("10.9.0.0/22", floats, v2, policy)
    }

    /// Of an endpoint with these client blocks; the client has the first place.
    fn with(nets: &str, floats: bool, v2: Option<u32>, policy: Arc<Policy>) -> Self {
        let nets: ClientNets = nets.parse().unwrap();
        let start = PathStart {
            peer: PEER.parse().unwrap(),
            floats,
            addresses: nets.at(2),
            client_cidr: nets,
            policy,
            counters: Arc::default(),
            rekey_packets: u32::MAX,
        };
        let mut world =
            Self { path: DataPath::new(start, at(0)), client: Channel::new(Role::Client), now: at(0), v2 };
        world.key(0);
        world.path.apply(PathUpdate::SendKey(0), at(0));
        world.client.send_with(0);
        world
    }

    fn usual() -> Self {
        let local = [("10.0.0.0/16", Target::Association), ("10.9.0.0/22", Target::Local)];
        Self::new(true, Some(7), policy(&local, &["10.0.0.0/16", "10.9.0.0/22"]))
    }

    fn key(&mut self, key_id: u8) {
        let keys = Box::new(KeyMaterial::new([key_id + 1; 256]));
        let cipher = Cipher::Aes256Gcm;
        self.client.install(key_id, &keys, cipher, self.v2).unwrap();
        self.path.apply(PathUpdate::InstallKey { key_id, keys, cipher, v2_peer_id: self.v2 }, self.now);
    }

    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        self.client.seal(payload, &mut datagram).unwrap();
        datagram
    }

    /// Sends an inner payload up from `from`; what the TUN gets.
    fn up_from(&mut self, payload: &[u8], from: &str) -> Result<Option<Vec<u8>>, DropReason> {
        let mut datagram = self.seal(payload);
        match self.path.up(&mut datagram, from.parse().unwrap(), self.now) {
            Up::Forward(packet) => Ok(Some(packet.to_vec())),
            Up::Local(packet) => Ok(Some(packet.to_vec())),
            Up::Consumed => Ok(None),
            Up::Drop(reason) => Err(reason),
        }
    }

    fn up(&mut self, payload: &[u8]) -> Result<Option<Vec<u8>>, DropReason> {
        self.up_from(payload, PEER)
    }

    /// Sends an inner packet down; what the client opens.
    fn down(&mut self, packet: &[u8]) -> Result<Vec<u8>, DropReason> {
        let (mut inner, mut out) = (packet.to_vec(), Vec::new());
        match self.path.down(&mut inner, self.now, &mut out) {
            Down::Send => Ok(self.client.open(&mut out).unwrap().payload.to_vec()),
            Down::Drop(reason) => {
                assert!(out.is_empty());
                Err(reason)
            }
        }
    }
}

fn udp(source: &str, destination: &str) -> Vec<u8> {
    ip(source, destination, 17, &[0, 53, 0, 53, 0, 8, 0, 0])
}

fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0];
    p.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    p.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    p.extend(source.parse::<Ipv4Addr>().unwrap().octets());
    p.extend(destination.parse::<Ipv4Addr>().unwrap().octets());
    p.extend(payload);
    p
}

/// A later fragment: it says no more of its packet than whose it is.
fn fragment(source: &str, destination: &str) -> Vec<u8> {
    let mut p = ip(source, destination, 17, &[7; 16]);
    p[6..8].copy_from_slice(&[0x20, 3]);
    p
}

#[test]
fn up_passes_only_what_is_its_own_routed_and_allowed() {
    let mut world = World::usual();
    let part = fragment("10.9.0.2", "10.0.3.4");
    let good = udp("10.9.0.2", "10.0.3.4");
    let padded = [&good[..], &[0; 5]].concat();
    let six = [&[0x60, 0, 0, 0, 0, 0, 59, 1][..], &[0; 32]].concat();
    for (name, payload, expect) in [
        ("allowed", good.clone(), Ok(Some(good.clone()))),
        ("its own length counts", padded, Ok(Some(good.clone()))),
        ("another client", udp("10.9.0.2", "10.9.0.3"), Ok(Some(udp("10.9.0.2", "10.9.0.3")))),
        ("spoofed", udp("10.9.0.3", "10.0.3.4"), Err(DropReason::Spoofed)),
        ("a fragment", part.clone(), Ok(Some(part))),
        ("a spoofed fragment", fragment("10.9.0.3", "10.0.3.4"), Err(DropReason::Spoofed)),
        ("a fragment to nowhere", fragment("10.9.0.2", "8.8.8.8"), Err(DropReason::NoRoute)),
        ("no route", udp("10.9.0.2", "8.8.8.8"), Err(DropReason::NoRoute)),
        ("IPv6", six, Err(DropReason::Ipv6)),
        ("noise", vec![0x10, 2, 3], Err(DropReason::Malformed)),
        ("cut", good[..19].to_vec(), Err(DropReason::Malformed)),
        ("ping", data::PING.to_vec(), Ok(None)),
        ("occ", [&data::OCC[..], &[0]].concat(), Ok(None)),
    ] {
        assert_eq!(world.up(&payload), expect, "{name}");
    }
    let traffic = world.path.counters().read();
    assert_eq!((traffic.ingress_packets, traffic.ingress_bytes), (4, 120));
}

fn ip6(source: &str, destination: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    p.extend([next, 64]);
    p.extend(source.parse::<Ipv6Addr>().unwrap().octets());
    p.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
    p.extend(payload);
    p
}

fn udp6(source: &str, destination: &str) -> Vec<u8> {
    ip6(source, destination, 17, &[0, 53, 0, 53, 0, 8, 0, 0])
}

fn dual() -> World {
    let routes = [
        ("10.0.0.0/16", Target::Association),
        ("2001:db8::/32", Target::Association),
        ("::/0", Target::Association),
        ("fd00:9::/64", Target::Local),
    ];
    let rules = ["10.0.0.0/16", "2001:db8::/32", "fd00:9::/64"];
    World::with("10.9.0.0/22,fd00:9::/64", true, Some(7), policy(&routes, &rules))
}

#[test]
fn ipv6_is_judged_as_ipv4_is() {
    let mut world = dual();
    let (own, far) = ("fd00:9::2", "2001:db8::1");
    let fragment = |from: &str| ip6(from, far, 44, &[17, 0, 0, 9, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
    for (name, packet, expect) in [
        ("allowed", udp6(own, far), None),
        ("a later fragment", fragment(own), None),
        ("a spoofed fragment", fragment("fd00:9::3"), Some(DropReason::Spoofed)),
        ("another client", udp6(own, "fd00:9::3"), None),
        ("IPv4 beside it", udp("10.9.0.2", "10.0.3.4"), None),
        ("spoofed", udp6("fd00:9::3", far), Some(DropReason::Spoofed)),
        ("spoofed from beyond", udp6("2001:db8::7", far), Some(DropReason::Spoofed)),
        ("spoofed IPv4", udp("10.9.0.3", "10.0.3.4"), Some(DropReason::Spoofed)),
        ("no rule", udp6(own, "2001:db9::1"), Some(DropReason::NoRule)),
        ("link-local", udp6(own, "fe80::1"), Some(DropReason::NoRoute)),
        ("loopback", udp6(own, "::1"), Some(DropReason::NoRoute)),
        ("IPv4 written as IPv6", udp6(own, "::ffff:10.0.3.4"), Some(DropReason::NoRoute)),
        ("the old way", udp6(own, "::10.0.3.4"), Some(DropReason::NoRoute)),
        ("routers, please", ip6("fe80::1", "ff02::2", 58, &[133; 8]), Some(DropReason::LinkLocal)),
        ("neighbours", ip6("::", "ff02::1:ff00:2", 58, &[135; 24]), Some(DropReason::LinkLocal)),
        ("groups", ip6("fe80::1", "ff02::16", 0, &[58, 0, 5, 2, 0, 0, 0, 0]), Some(DropReason::LinkLocal)),
        ("multicast from its own", udp6(own, "ff0e::1"), Some(DropReason::LinkLocal)),
        ("a source route", ip6(own, far, 43, &[17, 0, 0, 0, 0, 0, 0, 0]), Some(DropReason::SourceRoute)),
        ("cut", udp6(own, far)[..45].to_vec(), Some(DropReason::Malformed)),
    ] {
        let expect = expect.map_or_else(|| Ok(Some(packet.clone())), Err);
        assert_eq!(world.up(&packet), expect, "{name}");
    }
    let error = |quote: &[u8]| ip6("2001:db9::fe", own, 58, &[&[2, 0, 0, 0, 0, 0, 5, 0], quote].concat());
    for (name, packet, expect) in [
        ("an answer", udp6(far, own), None),
        ("another client", udp6("fd00:9::3", own), None),
        ("another's", udp6(far, "fd00:9::3"), Some(DropReason::NotForClient)),
        ("without a rule", udp6("2001:db9::1", own), Some(DropReason::NoRule)),
        ("a router about an allowed conversation", error(&udp6(own, far)), None),
        ("a router about another", error(&udp6(own, "2001:db9::1")), Some(DropReason::NoRule)),
    ] {
        assert_eq!(world.down(&packet), expect.map_or_else(|| Ok(packet.clone()), Err), "{name}");
    }
}

#[test]
fn each_ip_version_only_where_it_is_carried() {
    let rules =
        policy(&[("::/0", Target::Association), ("0.0.0.0/0", Target::Association)], &["::/0", "0.0.0.0/0"]);
    let (four, six) = (udp("10.9.0.2", "10.0.3.4"), udp6("fd00:9::2", "2001:db8::1"));
    for (nets, four_expected, six_expected) in [
        ("10.9.0.0/22", None, Some(DropReason::Ipv6)),
        ("fd00:9::/64", Some(DropReason::Ipv4), None),
        ("10.9.0.0/22,fd00:9::/64", None, None),
    ] {
        let mut world = World::with(nets, true, Some(7), Arc::clone(&rules));
        for (packet, expect) in [(&four, four_expected), (&six, six_expected)] {
            let passed = expect.map_or_else(|| Ok(Some(packet.clone())), Err);
            assert_eq!(world.up(packet), passed, "{nets}");
        }
        for (packet, expect) in
            [(udp("10.0.3.4", "10.9.0.2"), four_expected), (udp6("2001:db8::1", "fd00:9::2"), six_expected)]
        {
            assert_eq!(world.down(&packet), expect.map_or_else(|| Ok(packet.clone()), Err), "{nets}");
        }
    }
    // A broad route does not mean other clients, in either version.
    let mut world = World::with("10.9.0.0/22,fd00:9::/64", true, Some(7), rules);
    assert_eq!(world.up(&udp6("fd00:9::2", "fd00:9::3")), Err(DropReason::NoRoute));
    assert_eq!(world.up(&udp("10.9.0.2", "10.9.0.3")), Err(DropReason::NoRoute));
}

#[test]
fn broad_routes_do_not_reach_other_clients() {
    let everywhere = [("0.0.0.0/0", Target::Association)];
    let mut world = World::new(true, Some(7), policy(&everywhere, &["0.0.0.0/0"]));
    assert_eq!(world.up(&udp("10.9.0.2", "10.9.0.3")), Err(DropReason::NoRoute));
    assert_eq!(world.down(&udp("10.9.0.3", "10.9.0.2")), Err(DropReason::NoRoute));
    assert!(world.up(&udp("10.9.0.2", "10.0.0.3")).is_ok());
    assert_eq!(world.up(&udp("10.9.0.2", "169.254.169.254")), Err(DropReason::NoRoute));
    // Nor does a broad local route leave them.
    let local = [("10.0.0.0/8", Target::Local)];
    let mut world = World::new(true, Some(7), policy(&local, &["0.0.0.0/0"]));
    assert!(world.up(&udp("10.9.0.2", "10.9.0.3")).is_ok());
    assert_eq!(world.up(&udp("10.9.0.2", "10.0.0.3")), Err(DropReason::NoRoute));
}

#[test]
fn a_revoked_rule_ends_both_directions() {
    let mut world = World::usual();
    let (request, answer) = (udp("10.9.0.2", "10.0.3.4"), udp("10.0.3.4", "10.9.0.2"));
    assert!(world.up(&request).is_ok());
    assert_eq!(world.down(&answer), Ok(answer.clone()));
    let routes = [("10.0.0.0/16", Target::Association)];
    world.path.apply(PathUpdate::Policy(policy(&routes, &[])), world.now);
    assert_eq!(world.up(&request), Err(DropReason::NoRule));
    assert_eq!(world.down(&answer), Err(DropReason::NoRule));
    let traffic = world.path.counters().read();
    assert_eq!((traffic.egress_packets, traffic.egress_bytes), (1, 28));
}

#[test]
fn down_takes_what_is_for_the_client() {
    let mut world = World::usual();
    let quoted = udp("10.9.0.2", "10.0.3.4");
    let error = |quote: &[u8]| ip("192.0.2.254", "10.9.0.2", 1, &[&[3, 4, 0, 0, 0, 0, 5, 0], quote].concat());
    for (name, packet, expect) in [
        ("another's", udp("10.0.3.4", "10.9.0.3"), Err(DropReason::NotForClient)),
        ("from nowhere", udp("8.8.8.8", "10.9.0.2"), Err(DropReason::NoRoute)),
        ("a router about an allowed conversation", error(&quoted), Ok(error(&quoted))),
        ("a router about another", error(&udp("10.9.0.2", "8.8.8.8")), Err(DropReason::NoRoute)),
        ("a router about another's", error(&udp("10.9.0.3", "10.0.3.4")), Err(DropReason::NoRoute)),
        ("noise", vec![0], Err(DropReason::Malformed)),
        ("empty", vec![], Err(DropReason::Malformed)),
    ] {
        assert_eq!(world.down(&packet), expect, "{name}");
    }
    // Of another client that may not be heard, whatever it quotes: nothing vouches for it.
    let routes = [("10.0.0.0/16", Target::Association), ("10.9.0.0/16", Target::Local)];
    let about = |from: &str| ip(from, "10.9.0.2", 1, &[&[3, 4, 0, 0, 0, 0, 5, 0], &quoted[..]].concat());
    for (rules, expect) in [
        (&["10.0.0.0/16"][..], Err(DropReason::NoRule)),
        (&["10.0.0.0/16", "10.9.0.3/32"], Ok(about("10.9.0.3"))),
    ] {
        world.path.apply(PathUpdate::Policy(policy(&routes, rules)), world.now);
        assert_eq!(world.down(&about("10.9.0.3")), expect);
        assert!(world.down(&about("192.0.2.254")).is_ok());
    }
}

#[test]
fn floats_only_after_authentication() {
    let mut world = World::usual();
    let payload = udp("10.9.0.2", "10.0.3.4");
    let (peer, other): (SocketAddr, SocketAddr) = (PEER.parse().unwrap(), OTHER.parse().unwrap());
    assert!(world.up(&payload).is_ok());
    while world.path.poll_notice().is_some() {}
    let mut forged = world.seal(&payload);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(world.path.up(&mut forged, other, world.now), Up::Drop(DropReason::Forged));
    let genuine = world.seal(&payload);
    assert!(matches!(world.path.up(&mut genuine.clone(), peer, world.now), Up::Forward(_)));
    assert_eq!(world.path.up(&mut genuine.clone(), other, world.now), Up::Drop(DropReason::Replay));
    assert_eq!((world.path.peer(), world.path.poll_notice()), (peer, None));
    // Even one whose inner packet is dropped: the client is where it is.
    assert_eq!(world.up_from(&udp("10.9.0.2", "8.8.8.8"), OTHER), Err(DropReason::NoRoute));
    assert_eq!((world.path.peer(), world.path.poll_notice()), (other, Some(Notice::Floated(other))));
    for (floats, v2) in [(false, Some(7)), (true, None)] {
        let mut fixed = World::new(floats, v2, Arc::default());
        assert_eq!(fixed.up_from(&data::PING, OTHER), Err(DropReason::WrongAddress));
        assert_eq!(fixed.up(&data::PING), Ok(None));
    }
}

#[test]
fn keys_come_and_go_and_are_noticed() {
    let mut world = World::usual();
    assert_eq!(world.up(&data::PING), Ok(None));
    assert_eq!(world.path.poll_notice(), Some(Notice::NewKeyUsed(0)));
    assert_eq!(world.path.poll_notice(), None);
    world.key(1);
    world.client.send_with(1);
    assert_eq!(world.up(&data::PING), Ok(None));
    assert_eq!(world.path.poll_notice(), Some(Notice::NewKeyUsed(1)));
    world.path.apply(PathUpdate::SendKey(1), world.now);
    world.path.apply(PathUpdate::RetireKey(0), world.now);
    assert!(world.down(&udp("10.0.3.4", "10.9.0.2")).is_ok());
    world.client.send_with(0);
    assert_eq!(world.up(&data::PING), Err(DropReason::UnknownKey));
    world.client.send_with(1);
    assert_eq!(world.up(&[&data::OCC[..], &[data::OCC_EXIT]].concat()), Ok(None));
    assert_eq!(world.path.poll_notice(), Some(Notice::PeerExit));
    world.path.apply(PathUpdate::RetireKey(1), world.now);
    assert_eq!(world.down(&udp("10.0.3.4", "10.9.0.2")), Err(DropReason::NoSendKey));
    assert!(!world.path.ping(&mut Vec::new()));
    assert_eq!(
        world.path.up(&mut [0x20, 1, 2], PEER.parse().unwrap(), world.now),
        Up::Drop(DropReason::NotData)
    );
}

#[test]
fn pings_after_silence_and_dies_of_it() {
    let mut world = World::usual();
    let mut step = |ms: u64, heard: bool, sends: bool| {
        world.now = at(ms);
        if heard {
            assert_eq!(world.up(&data::PING), Ok(None));
        }
        if sends {
            assert!(world.down(&udp("10.0.3.4", "10.9.0.2")).is_ok());
        }
        world.path.handle_tick(at(ms))
    };
    let rows = [
        (999, false, false, Tick::Nothing),
        (1000, false, false, Tick::Ping),
        (1500, false, true, Tick::Nothing),
        (2400, false, false, Tick::Nothing),
        (2500, true, false, Tick::Ping),
        (42_499, false, false, Tick::Ping),
        (42_500, false, true, Tick::Dead),
        (43_000, false, false, Tick::Dead),
    ];
    for (ms, heard, sends, expect) in rows {
        assert_eq!(step(ms, heard, sends), expect, "{ms} ms");
    }
    let mut out = Vec::new();
    assert!(world.path.ping(&mut out));
    assert_eq!(world.client.open(&mut out).unwrap().payload, data::PING);
    assert_eq!(world.path.counters().read().last_seen, at(2500));
}

#[test]
fn clamps_both_ways() {
    let syn = |from: &str, to: &str| {
        let tcp = [0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x60, 2, 0, 0, 0, 0, 0, 0, 2, 4, 0x05, 0xb4];
        ip(from, to, 6, &tcp)
    };
    let mut world = World::usual();
    let up = world.up(&syn("10.9.0.2", "10.0.3.4")).unwrap().unwrap();
    let down = world.down(&syn("10.0.3.4", "10.9.0.2")).unwrap();
    for packet in [up, down] {
        assert_eq!(packet[42..44], 1404_u16.to_be_bytes());
    }
}

#[test]
fn a_key_that_nears_its_end_is_noticed_once() {
    let limits = data::Limits { rekey_packet_id: 3, ..data::Limits::default() };
    let mut world = World::usual();
    world.path.channel = Channel::with_limits(Role::Server, limits);
    world.key(1);
    world.path.apply(PathUpdate::SendKey(1), at(0));
    let mut notices = Vec::new();
    for _ in 0..6 {
        world.down(&udp("10.0.3.4", "10.9.0.2")).unwrap();
        notices.push(world.path.poll_notice());
    }
    let expected = [None, None, Some(Notice::NeedsRekey), None, None, None];
    assert_eq!(notices, expected, "the next id is beyond three after the third");
    world.key(2);
    world.path.apply(PathUpdate::SendKey(2), at(0));
    world.down(&udp("10.0.3.4", "10.9.0.2")).unwrap();
    assert_eq!(world.path.poll_notice(), None, "the successor is fresh");
}

#[test]
fn epochs_go_by_without_anybody_noticing() {
    let limits = data::Limits { epoch_packet_id: 2, ..data::Limits::default() };
    let mut world = World::usual();
    world.client = Channel::with_limits(Role::Client, limits);
    let keys = Box::new(KeyMaterial::new([9; 256]).in_epochs());
    let cipher = Cipher::Aes256Gcm;
    world.client.install(1, &keys, cipher, Some(7)).unwrap();
    world.client.send_with(1);
    world.path.apply(PathUpdate::InstallKey { key_id: 1, keys, cipher, v2_peer_id: Some(7) }, at(0));
    world.path.apply(PathUpdate::SendKey(1), at(0));
    let (up, down) = (udp("10.9.0.2", "10.0.3.4"), udp("10.0.3.4", "10.9.0.2"));
    for round in 0..20 {
        assert_eq!(world.up(&up), Ok(Some(up.clone())), "{round}");
        assert_eq!(world.down(&down), Ok(down.clone()), "{round}");
        let expected = (round == 0).then_some(Notice::NewKeyUsed(1));
        assert_eq!(world.path.poll_notice(), expected, "{round}");
    }
    let mut datagram = Vec::new();
    assert!(world.path.ping(&mut datagram));
    assert_eq!(datagram.get(4..6), Some(&[0, 10][..]), "the path followed the client to its tenth epoch");
}
