//! Attempts to pass where nothing may: made of fields, directions and address families, each beside a twin that is the
//! same but for what is wrong with it. Whoever listens at the far side hears every twin and no attempt.

mod common;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::peer::{self, Peer};
use common::wire::{Capture, ICMP, Raw, TCP, UDP, ipv4, ipv6, marked, marks, mend, transport};
use lab::{Scene, SceneOptions, eventually, wait_until};

const LIMIT: Duration = Duration::from_secs(10);
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 10);
const PORT: u16 = 9;
/// As many as the issue of this test demands, and more.
const FEWEST_ATTEMPTS: usize = 100;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// What was sent, by mark: attempts have a name, twins none.
#[derive(Default)]
struct Sent {
    names: BTreeMap<u32, Option<String>>,
}

impl Sent {
    fn next(&mut self, name: Option<String>) -> u32 {
        let number = u32::try_from(self.names.len()).unwrap_or_default();
        self.names.insert(number, name);
        number
    }

    fn attempts(&self) -> usize {
        self.names.values().flatten().count()
    }

    /// That every twin was heard, and no attempt.
    fn check(&self, heard: &std::collections::BTreeSet<u32>) -> Result<()> {
        let passed: Vec<&String> =
            heard.iter().filter_map(|number| self.names.get(number)?.as_ref()).collect();
        ensure!(passed.is_empty(), "passed: {passed:#?}");
        let lost =
            self.names.iter().filter(|(number, name)| name.is_none() && !heard.contains(number)).count();
        ensure!(lost == 0, "{lost} twins did not pass");
        Ok(())
    }
}

const KINDS: [(&str, u8); 3] = [("UDP", UDP), ("TCP", TCP), ("ICMP", ICMP)];

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

type Bend = fn(&mut Vec<u8>);

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

/// Everything a client may try, each attempt followed by its twin.
fn up(own: Ipv4Addr, sent: &mut Sent) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let good = (own, 7_000);
    for (kind, protocol) in KINDS {
        let twin = |sent: &mut Sent| marked(protocol, good, (TARGET, PORT), sent.next(None));
        for (what, source) in SOURCES {
            let number = sent.next(Some(format!("up, {kind} from {what}")));
            packets.push(marked(protocol, (ip(source), 7_000), (TARGET, PORT), number));
            packets.push(twin(sent));
        }
        for (what, destination) in DESTINATIONS {
            let number = sent.next(Some(format!("up, {kind} to {what}")));
            packets.push(marked(protocol, good, (ip(destination), PORT), number));
            packets.push(twin(sent));
        }
        for (what, bend) in BENT {
            let number = sent.next(Some(format!("up, {kind} with {what}")));
            let mut packet = marked(protocol, good, (TARGET, PORT), number);
            bend(&mut packet);
            packets.push(packet);
            packets.push(twin(sent));
        }
        for (what, options) in OPTIONS {
            let number = sent.next(Some(format!("up, {kind} with {what}")));
            let payload = transport(protocol, good, (TARGET, PORT), number);
            packets.push(ipv4(own, TARGET, protocol, &options, &payload));
            // An option that does no harm.
            let payload = transport(protocol, good, (TARGET, PORT), sent.next(None));
            packets.push(ipv4(own, TARGET, protocol, &[1, 1, 1, 1, 1, 1, 1, 0], &payload));
        }
    }
    packets.extend(fragments(own, sent));
    for source in ["fe80::1", "fd00::2", "::ffff:10.88.0.2", "::1", "::"] {
        for destination in ["::ffff:10.77.1.10", "fd00::1", "2001:db8::1", "ff02::1", "::1"] {
            for (what, extensions) in
                [("", &[][..]), (" by hops", &[0]), (" by a route", &[43]), (" in a fragment", &[44])]
            {
                let number = sent.next(Some(format!("up, IPv6{what} from {source} to {destination}")));
                let parse = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
                packets.push(ipv6(parse(source), parse(destination), extensions, number));
                packets.push(marked(UDP, good, (TARGET, PORT), sent.next(None)));
            }
        }
    }
    packets
}

/// Fragments whose destination no rule allows, whole in two; a twin in two that is allowed.
fn fragments(own: Ipv4Addr, sent: &mut Sent) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let both = |destination: Ipv4Addr, id: u8, number: u32| {
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
        [part(first, 0x20, 0), part(second, 0, 1)]
    };
    for (id, (what, destination)) in (0..).zip([DESTINATIONS[0], DESTINATIONS[1], DESTINATIONS[13]]) {
        let number = sent.next(Some(format!("up, in fragments to {what}")));
        packets.extend(both(ip(destination), id, number));
        packets.extend(both(TARGET, 100 + id, sent.next(None)));
    }
    packets
}

fn connected(scene: &Scene, client: usize, endpoint_address: SocketAddr) -> Result<(Peer, Ipv4Addr)> {
    let peer = Peer::start(
        &scene.clients[client].net,
        endpoint_address,
        peer::tls(&scene.certificates.dir)?,
        false,
        None,
    )?;
    let address = eventually("the tunnel", LIMIT, || peer.address()).with_context(|| scene.server_log())?;
    Ok((peer, address))
}

#[test]
fn nothing_passes_that_may_not_and_every_twin_does() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.associate(&endpoint, &subnet)?;
        // One host: what no rule allows would find its way otherwise.
        scene.authorize(&endpoint, "10.77.1.10/32")?;
        // Whatever leaves for somewhere else leaves by the first target, where it is heard.
        scene.server_net.ip(&["route", "add", "default", "via", "10.77.1.10"])?;
        let profile = std::fs::read_to_string(scene.profile(&endpoint)?)?;
        let remote = profile.lines().find_map(|line| line.strip_prefix("remote ")).context("a remote")?;
        let gateway: SocketAddr = remote.replace(' ', ":").parse()?;
        let (peer, own) = connected(&scene, 0, gateway)?;
        let (other, another) = connected(&scene, 1, gateway)?;
        ensure!((own, another) == (ip("10.88.0.2"), ip("10.88.0.3")), "{own} {another}");

        // Up: what the client sends.
        let mut sent = Sent::default();
        let packets = up(own, &mut sent);
        let mut heard = [Capture::start(&scene.targets[0].net)?, Capture::start(&scene.targets[1].net)?];
        let mut outside = Capture::start(&scene.clients[1].net)?;
        for packet in packets {
            peer.send([packet]);
        }
        let last = sent.next(None);
        peer.send([marked(UDP, (own, 7_000), (TARGET, PORT), last)]);
        ensure!(
            wait_until(LIMIT, || heard[0].seen().is_ok_and(|seen| seen.contains(&last))),
            "{}",
            scene.server_log()
        );
        let mut all = heard[0].seen()?.clone();
        all.extend(heard[1].seen()?);
        all.extend(outside.seen()?);
        all.extend(other.received().iter().flat_map(|packet| marks(packet)));
        sent.check(&all)?;
        let tried = sent.attempts();

        // Down: what comes to the client from the network and from outside, unasked.
        let mut sent = Sent::default();
        let (target, stranger) = (Raw::open(&scene.targets[0].net)?, Raw::open(&scene.clients[1].net)?);
        scene.targets[0].net.ip(&["route", "add", "10.88.0.0/22", "via", "10.77.1.1"])?;
        scene.clients[1].net.ip(&["route", "replace", "10.88.0.0/22", "via", "10.99.0.1"])?;
        // A conversation that is open: the client's port is known to the world as the server's.
        let asked = marked(UDP, (own, 7_100), (TARGET, PORT), sent.next(None));
        peer.send([asked]);
        let server = ip("10.77.1.1");
        let answer = |sent: &mut Sent| marked(UDP, (TARGET, PORT), (server, 7_100), sent.next(None));
        let mut capture = Capture::start(&scene.targets[0].net)?;
        peer.send([marked(UDP, (own, 7_100), (TARGET, PORT), sent.next(None))]);
        let open = *sent.names.keys().last().context("a mark")?;
        ensure!(wait_until(LIMIT, || capture.seen().is_ok_and(|seen| seen.contains(&open))));
        for (kind, protocol) in KINDS {
            for (what, source) in [
                ("the target", TARGET),
                ("its neighbour", ip("10.77.1.77")),
                ("the other subnet", ip("10.77.2.10")),
                ("the server", server),
                ("a client", another),
                ("the client itself", own),
                ("the gateway in the tunnel", ip("10.88.0.1")),
            ] {
                for (whom, destination) in [("the client", own), ("the client by the server", server)] {
                    let number = sent.next(Some(format!("down, {kind} from {what} to {whom}")));
                    // Not the port of the conversation: that is what its twin has.
                    target.send(&marked(protocol, (source, 4_444), (destination, 7_101), number))?;
                    target.send(&answer(&mut sent))?;
                }
            }
            for (what, source) in [("a stranger", ip("10.99.0.11")), ("a stranger as the target", TARGET)] {
                for (whom, destination) in [("the client", own), ("another client", another)] {
                    let number = sent.next(Some(format!("down, {kind} from {what} outside to {whom}")));
                    stranger.send(&marked(protocol, (source, PORT), (destination, 7_100), number))?;
                    target.send(&answer(&mut sent))?;
                }
            }
        }
        for (what, source, port) in [
            ("another port of the target", TARGET, PORT + 1),
            ("its neighbour's port", ip("10.77.1.77"), PORT),
        ] {
            let number = sent.next(Some(format!("down, into the conversation from {what}")));
            target.send(&marked(UDP, (source, port), (server, 7_100), number))?;
            target.send(&answer(&mut sent))?;
        }
        let last = *sent.names.keys().last().context("a mark")?;
        let received = || -> std::collections::BTreeSet<u32> {
            [&peer, &other]
                .iter()
                .flat_map(|peer| peer.received())
                .flat_map(|packet| marks(&packet))
                .collect()
        };
        ensure!(wait_until(LIMIT, || received().contains(&last)), "{}", scene.server_log());
        // What the client itself asked came to the target, not to it.
        let mut all = received();
        all.extend([0, open]);
        sent.check(&all)?;
        let tried = tried + sent.attempts();
        ensure!(tried >= FEWEST_ATTEMPTS, "{tried}");
        println!("{tried} attempts");
        ensure!(peer.over().is_none() && other.over().is_none(), "the sessions went on");
        Ok(())
    })
}
