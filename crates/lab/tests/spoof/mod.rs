//! Attempts to pass where nothing may: made of fields, directions and address families, each beside a twin that is the
//! same but for what is wrong with it. Whoever listens at the far side hears every twin and no attempt.

mod four;
mod six;
mod tries;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::common::peer::{self, Peer};
use crate::common::v6;
use crate::common::wire::{Capture, Raw, UDP, marked, marks};
use anyhow::{Context, Result, ensure};
use lab::{Scene, eventually, wait_until};
use tries::{By, Tries};

const LIMIT: Duration = Duration::from_secs(10);
/// Where the target is spoken to.
const PORT: u16 = 9;
/// The client's port in the conversation that the target may answer in.
const CONVERSATION: u16 = 7_100;
/// So many packets are on their way at once, at most.
const AT_ONCE: usize = 64;
/// As many as the issue of this test demands, and more: of each address family.
const FEWEST_ATTEMPTS: usize = 100;

type Bend = fn(&mut Vec<u8>);

/// What attempts of an address family are made of.
struct Family {
    own: IpAddr,
    another: IpAddr,
    target: IpAddr,
    neighbour: IpAddr,
    stranger: IpAddr,
    /// Where the target answers to.
    answer_to: IpAddr,
    kinds: [(&'static str, u8); 3],
    /// Whom the client is not.
    sources: Vec<(&'static str, IpAddr)>,
    /// Where the client may not go.
    destinations: Vec<(&'static str, IpAddr)>,
    bent: &'static [(&'static str, Bend)],
    /// Who may speak to a client that has not asked.
    unasked: Vec<(&'static str, IpAddr)>,
}

impl Family {
    /// What a client may try with the fixed header.
    fn up(&self, tries: &mut Tries) {
        let (good, there) = ((self.own, 7_000), (self.target, PORT));
        for (kind, protocol) in self.kinds {
            let twin = |number| vec![marked(protocol, good, there, number)];
            for (what, source) in &self.sources {
                tries.attempt(format!("up, {kind} from {what}"), By::Client, |number| {
                    vec![marked(protocol, (*source, 7_000), there, number)]
                });
                tries.twin(By::Client, twin);
            }
            for (what, destination) in &self.destinations {
                tries.attempt(format!("up, {kind} to {what}"), By::Client, |number| {
                    vec![marked(protocol, good, (*destination, PORT), number)]
                });
                tries.twin(By::Client, twin);
            }
            for (what, bend) in self.bent {
                tries.attempt(format!("up, {kind} with {what}"), By::Client, |number| {
                    let mut packet = marked(protocol, good, there, number);
                    bend(&mut packet);
                    vec![packet]
                });
                tries.twin(By::Client, twin);
            }
        }
    }

    /// What comes to a client from the network and from outside, unasked, or beside a conversation that is open.
    fn down(&self, tries: &mut Tries) {
        let answer = |number| vec![marked(UDP, (self.target, PORT), (self.answer_to, CONVERSATION), number)];
        for (kind, protocol) in self.kinds {
            for (what, source) in &self.unasked {
                let mut whom = vec![("the client", self.own), ("another client", self.another)];
                if self.answer_to != self.own {
                    whom[1] = ("the client by the server", self.answer_to);
                }
                for (whom, destination) in whom {
                    tries.attempt(format!("down, {kind} from {what} to {whom}"), By::Target, |number| {
                        // Not the port of the conversation: that is what its twin has.
                        vec![marked(protocol, (*source, 4_444), (destination, 7_101), number)]
                    });
                    tries.twin(By::Target, answer);
                }
            }
            for (what, source) in [("a stranger", self.stranger), ("a stranger as the target", self.target)] {
                for (whom, to) in [("the client", self.own), ("another client", self.another)] {
                    let name = format!("down, {kind} from {what} outside to {whom}");
                    // Without NAT the target's very words, which would be an answer, may come from anywhere.
                    let port = if self.answer_to == self.own { PORT + 1 } else { PORT };
                    tries.attempt(name, By::Stranger, |number| {
                        vec![marked(protocol, (source, port), (to, CONVERSATION), number)]
                    });
                    tries.twin(By::Target, answer);
                }
            }
        }
        for (what, source, port) in [
            ("another port of the target", self.target, PORT + 1),
            ("its neighbour's port", self.neighbour, PORT),
        ] {
            tries.attempt(format!("down, into the conversation from {what}"), By::Target, |number| {
                vec![marked(UDP, (source, port), (self.answer_to, CONVERSATION), number)]
            });
            tries.twin(By::Target, answer);
        }
    }
}

/// A scene with both IP versions on every side, and ways that lead past the rules.
fn scene() -> Result<Scene> {
    let scene = v6::scene(2)?;
    scene.server_net.ip(&["-6", "addr", "add", "fd99::1/64", "dev", "outside", "nodad"])?;
    for (number, client) in scene.clients.iter().enumerate() {
        let address = format!("fd99::{}/64", 10 + number);
        client.net.ip(&["-6", "addr", "add", &address, "dev", "eth0", "nodad"])?;
        client.net.ip(&["-6", "route", "add", "default", "via", "fd99::1"])?;
    }
    // Whatever leaves for somewhere else leaves by the first target, where it is heard.
    scene.server_net.ip(&["route", "add", "default", "via", "10.77.1.10"])?;
    scene.server_net.ip(&["-6", "route", "add", "default", "via", v6::TARGETS[0]])?;
    scene.targets[0].net.ip(&["route", "add", "10.88.0.0/22", "via", "10.77.1.1"])?;
    scene.clients[1].net.ip(&["route", "replace", "10.88.0.0/22", "via", "10.99.0.1"])?;
    Ok(scene)
}

/// An endpoint with two clients of it.
struct Bench<'s> {
    scene: &'s Scene,
    peer: Peer,
    other: Peer,
}

impl<'s> Bench<'s> {
    fn new(scene: &'s Scene, subnet: &str, traffic: &str, transport: &str) -> Result<Self> {
        let endpoint =
            scene.make_endpoint(&[("TrafficIpAddressType", traffic), ("TransportProtocol", transport)])?;
        scene.associate(&endpoint, subnet)?;
        // One host: what no rule allows would find its way otherwise.
        scene.authorize(&endpoint, "10.77.1.10/32")?;
        if traffic == "dual-stack" {
            scene.authorize(&endpoint, &format!("{}/128", v6::TARGETS[0]))?;
        }
        let profile = std::fs::read_to_string(scene.profile(&endpoint)?)?;
        let remote = profile.lines().find_map(|line| line.strip_prefix("remote ")).context("a remote")?;
        let gateway: SocketAddr = remote.replace(' ', ":").parse()?;
        let connected = |client: usize| -> Result<Peer> {
            let (net, tls) = (&scene.clients[client].net, peer::tls(&scene.certificates.dir)?);
            let peer = match transport {
                "tcp" => Peer::start_over_tcp(net, gateway, tls),
                _ => Peer::start(net, gateway, tls, false, None),
            }?;
            eventually("the tunnel", LIMIT, || peer.address()).with_context(|| scene.server_log())?;
            Ok(peer)
        };
        Ok(Self { scene, peer: connected(0)?, other: connected(1)? })
    }

    /// What both clients have had.
    fn received(&self) -> BTreeSet<u32> {
        let all = [&self.peer, &self.other].into_iter().flat_map(Peer::received);
        all.flat_map(|packet| marks(&packet)).collect()
    }

    /// Sends it all up; how many attempts.
    fn up(&self, family: &Family, mut tries: Tries) -> Result<usize> {
        let scene = self.scene;
        let mut heard = [Capture::start(&scene.targets[0].net)?, Capture::start(&scene.targets[1].net)?];
        let mut outside = Capture::start(&scene.clients[1].net)?;
        let (good, there) = ((family.own, 7_000), (family.target, PORT));
        for some in tries.take().chunks(AT_ONCE) {
            self.peer.send(some.iter().map(|(_, packet)| packet.clone()));
            let last = tries.twin(By::Client, |number| vec![marked(UDP, good, there, number)]);
            self.peer.send(tries.take().into_iter().map(|(_, packet)| packet));
            let came = wait_until(LIMIT, || heard[0].seen().is_ok_and(|seen| seen.contains(&last)));
            ensure!(came, "up: {:?} {}", self.peer.over(), scene.server_log());
        }
        let mut all = self.received();
        for capture in heard.iter_mut().chain([&mut outside]) {
            all.extend(capture.seen()?);
        }
        tries.check(&all)
    }

    /// Opens the conversation and sends it all down; how many attempts.
    fn down(&self, family: &Family, mut tries: Tries) -> Result<usize> {
        let scene = self.scene;
        let (target, stranger) = (Raw::open(&scene.targets[0].net)?, Raw::open(&scene.clients[1].net)?);
        let mut capture = Capture::start(&scene.targets[0].net)?;
        let (near, far) = ((family.own, CONVERSATION), (family.target, PORT));
        let asked = u32::MAX;
        self.peer.send([marked(UDP, near, far, asked)]);
        ensure!(wait_until(LIMIT, || capture.seen().is_ok_and(|seen| seen.contains(&asked))), "the question");
        for some in tries.take().chunks(AT_ONCE) {
            for (by, packet) in some {
                match by {
                    By::Stranger => stranger.send(packet)?,
                    By::Target | By::Client => target.send(packet)?,
                }
            }
            let last = tries
                .twin(By::Target, |number| vec![marked(UDP, far, (family.answer_to, CONVERSATION), number)]);
            for (_, packet) in tries.take() {
                target.send(&packet)?;
            }
            let came = wait_until(LIMIT, || self.received().contains(&last));
            ensure!(came, "down: {:?} {}", self.peer.over(), scene.server_log());
        }
        tries.check(&self.received())
    }

    fn over(&self) -> Result<()> {
        let over = (self.peer.over(), self.other.over());
        ensure!(over == (None, None), "the sessions went on: {over:?}");
        Ok(())
    }
}

/// Both families, each at an endpoint that carries it.
fn nothing_passes(transport: &str) -> Result<()> {
    lab::or_skip(|| {
        let scene = scene()?;
        let [subnet, _] = v6::subnets(&scene)?;

        let bench = Bench::new(&scene, &subnet, "ipv4", transport)?;
        let (own, another) = bench.peer.address().zip(bench.other.address()).context("addresses")?;
        ensure!([own, another].map(|it| it.to_string()) == ["10.88.0.2", "10.88.0.3"], "{own} {another}");
        let family = four::family(own, another);
        let (mut up, mut down) = (Tries::from(0), Tries::from(100_000));
        family.up(&mut up);
        four::up(own, &mut up);
        family.down(&mut down);
        let tried = bench.up(&family, up)? + bench.down(&family, down)?;
        bench.over()?;
        println!("IPv4: {tried} attempts");
        ensure!(tried >= FEWEST_ATTEMPTS, "{tried}");

        let bench = Bench::new(&scene, &subnet, "dual-stack", transport)?;
        let (own, another) = bench.peer.address_v6().zip(bench.other.address_v6()).context("addresses")?;
        let family = six::family(own, another);
        let (mut up, mut down) = (Tries::from(0), Tries::from(100_000));
        family.up(&mut up);
        six::up(&family, &mut up);
        family.down(&mut down);
        six::down(&family, &mut down);
        let tried = bench.up(&family, up)? + bench.down(&family, down)?;
        bench.over()?;
        println!("IPv6: {tried} attempts");
        ensure!(tried >= FEWEST_ATTEMPTS, "{tried}");
        Ok(())
    })
}

#[test]
fn nothing_passes_that_may_not_and_every_twin_does_over_udp() -> Result<()> {
    nothing_passes("udp")
}

#[test]
fn nothing_passes_that_may_not_and_every_twin_does_over_tcp() -> Result<()> {
    nothing_passes("tcp")
}
