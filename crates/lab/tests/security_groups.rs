//! Security groups on packets: sets of rules against a battery of packets of all kinds, through one tunnel of a real
//! client; answers, and changes under flows that go on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::common::groups::{self, BATTERY, GRE, Rule, SETS};
use crate::common::people;
use crate::common::wire::{Capture, ICMP, Raw, TCP, UDP, checksum, ipv4, mark, transport};
use anyhow::{Context, Result, ensure};
use lab::{Echo, OpenVpn, Scene, SceneOptions, Sender, Sink, TARGETS, eventually, wait_until};

const LIMIT: Duration = Duration::from_secs(10);
/// Behind the second target, in no block that a set names but the last: where barriers go.
const BEYOND: &str = "10.77.3.1";
/// Its packets end a battery: a port of its own for each set of rules.
const FIRST_BARRIER: u16 = 20_000;
/// Numbers of a battery's packets begin here, and those of packets that are sent once more here above.
const FIRST_MARK: u32 = 1_000_000;
const FIRST_AGAIN: u32 = 1_000_000;

struct Lab {
    scene: Scene,
    group: String,
    own: Ipv4Addr,
    _client: OpenVpn,
}

impl Lab {
    /// A client through whose tunnel nothing passes.
    fn new() -> Result<Self> {
        let scene = Scene::new(SceneOptions::default())?;
        let (vpc, [subnet, _]) = scene.make_vpc()?;
        let parameters = [("GroupName", "tried"), ("GroupDescription", "tried"), ("VpcId", vpc.as_str())];
        let group = scene.ec2("CreateSecurityGroup", &parameters)?.text("groupId")?;
        let endpoint = scene.make_endpoint(&[("VpcId", &vpc), ("SecurityGroupId.1", &group)])?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        scene.associate(&endpoint, &subnet)?;
        let client = scene.connect(0, &scene.profile(&endpoint)?, "client", &[])?;
        let text = scene.clients[0].net.ip(&["-4", "-o", "addr", "show", "dev", "tun0"])?;
        let own = text.split_whitespace().nth(3).and_then(|net| net.split('/').next());
        let own = own.context("an address in the tunnel")?.parse()?;
        let lab = Self { scene, group, own, _client: client };
        lab.change("RevokeSecurityGroupEgress", &[("-1", -1, -1, "0.0.0.0/0")])?;
        Ok(lab)
    }

    fn change(&self, action: &str, rules: &[Rule]) -> Result<()> {
        groups::change(&self.scene, &self.group, action, rules)
    }

    /// A marked packet of the client's own.
    fn packet(&self, protocol: u8, port: u16, target: Ipv4Addr, number: u32) -> Vec<u8> {
        // A port of its own makes each a new flow.
        let source = 30_000 + u16::try_from(number % 30_000).unwrap_or_default();
        let payload = match protocol {
            TCP | UDP => transport(protocol, (self.own, source), (target, port), number),
            ICMP => {
                let kind = u8::try_from(port).unwrap_or_default();
                let id = source.to_be_bytes();
                // A timestamp question has three times behind its head.
                let mut bytes = [&[kind, 0, 0, 0][..], &id, &[0, 1], &[0; 12], &mark(number)].concat();
                let sum = checksum(&[&bytes]).to_be_bytes();
                bytes[2..4].copy_from_slice(&sum);
                bytes
            }
            // Version 0 with nothing optional.
            GRE => [&[0, 0, 8, 0][..], &mark(number)].concat(),
            _ => [&number.to_be_bytes()[..], &[0, 0, 0, 1], &mark(number)].concat(),
        };
        ipv4(self.own, target, protocol, &[], &payload)
    }
}

#[test]
fn every_kind_of_rule_lets_pass_what_it_says() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        lab.scene.server_net.ip(&["route", "add", BEYOND, "via", TARGETS[1]])?;
        let raw = Raw::open(&lab.scene.clients[0].net)?;
        let mut captures = [0, 1].map(|target| Capture::start(&lab.scene.targets[target].net));
        let targets = TARGETS.map(|target| target.parse::<Ipv4Addr>());
        let mut number = 0_u32;
        let mut next = || {
            number += 1;
            number
        };
        // What a set says of each mark: whose row it is, and whether it shall pass.
        let mut rows: Vec<String> = Vec::new();
        let mut marks: BTreeMap<u32, (usize, bool)> = BTreeMap::new();
        let mut heard: BTreeSet<u32> = BTreeSet::new();
        let mut hear = |heard: &mut BTreeSet<u32>| -> Result<()> {
            for capture in &mut captures {
                let capture = capture.as_mut().map_err(|error| anyhow::anyhow!("{error}"))?;
                heard.extend(capture.seen()?);
            }
            Ok(())
        };
        let mut before: Vec<Rule> = Vec::new();
        for (port, (rules, passing)) in (FIRST_BARRIER..).zip(SETS) {
            // Neither another set's rules nor another set's barrier covers it: it passes when this set is in force.
            let barrier: Rule = ("udp", port.into(), port.into(), "10.77.3.1/32");
            let wanted: Vec<Rule> = rules.iter().copied().chain([barrier]).collect();
            if !before.is_empty() {
                lab.change("RevokeSecurityGroupEgress", &before)?;
            }
            lab.change("AuthorizeSecurityGroupEgress", &wanted)?;
            let beyond: Ipv4Addr = BEYOND.parse()?;
            let mut through = |heard: &mut BTreeSet<u32>| -> Result<()> {
                let mut tried = BTreeSet::new();
                let passed = wait_until(LIMIT, || {
                    let mark = next();
                    tried.insert(mark);
                    raw.send(&lab.packet(UDP, port, beyond, mark)).is_ok()
                        && hear(heard).is_ok()
                        && tried.iter().any(|mark| heard.contains(mark))
                });
                ensure!(passed, "{rules:?} are not in force: {}", lab.scene.server_log());
                Ok(())
            };
            through(&mut heard)?;
            let mut battery = Vec::new();
            for (at, passing) in passing.into_iter().enumerate() {
                let target = targets[at].clone()?;
                for (name, protocol, port) in BATTERY {
                    battery.push((target, name, protocol, port, passing.contains(&name)));
                }
            }
            let first = rows.len();
            for (target, name, protocol, port, passes) in &battery {
                // Numbers high above those of barriers.
                let mark = FIRST_MARK + u32::try_from(rows.len())?;
                marks.insert(mark, (rows.len(), *passes));
                rows.push(format!("{name} to {target} under {rules:?}"));
                raw.send(&lab.packet(*protocol, *port, *target, mark))?;
            }
            // One tunnel, one worker: what came before it has passed, or will not.
            through(&mut heard)?;
            // What shall pass and was lost on the way, as datagrams may be, is sent once more.
            for (at, (target, _, protocol, port, passes)) in battery.iter().enumerate() {
                let mark = FIRST_MARK + u32::try_from(first + at)?;
                let row = marks.get(&mark).map(|(row, _)| *row).context("a row")?;
                if *passes && !heard.contains(&mark) {
                    let again = FIRST_AGAIN + mark;
                    marks.insert(again, (row, true));
                    raw.send(&lab.packet(*protocol, *port, *target, again))?;
                }
            }
            through(&mut heard)?;
            before = wanted;
        }
        hear(&mut heard)?;
        let arrived: BTreeSet<usize> =
            heard.iter().filter_map(|mark| marks.get(mark).map(|(row, _)| *row)).collect();
        let expected: BTreeSet<usize> =
            marks.values().filter(|(_, passes)| *passes).map(|(row, _)| *row).collect();
        let wrong: Vec<_> =
            arrived.symmetric_difference(&expected).filter_map(|row| rows.get(*row)).collect();
        ensure!(wrong.is_empty(), "{} of {} rows: {wrong:#?}", wrong.len(), rows.len());
        ensure!(rows.len() >= 60);
        println!("{} rows, {} of them pass", rows.len(), expected.len());
        Ok(())
    })
}

#[test]
fn answers_pass_and_changes_bite_under_a_live_flow() -> Result<()> {
    const PORT: u16 = 7_777;
    const ECHO: u16 = 7_778;
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let (client, target) = (&lab.scene.clients[0].net, &lab.scene.targets[0].net);
        let rules: [Rule; 2] = [
            ("udp", PORT.into(), PORT.into(), "10.77.1.0/24"),
            ("tcp", ECHO.into(), ECHO.into(), "10.77.1.0/24"),
        ];
        let other: [Rule; 1] = [("udp", ECHO.into(), ECHO.into(), "10.77.1.0/24")];
        lab.change("AuthorizeSecurityGroupEgress", &rules)?;
        lab.change("AuthorizeSecurityGroupEgress", &other)?;
        let _echo = Echo::start(target, ECHO)?;
        let sink = Sink::start(target, PORT)?;
        let sender = Sender::send(client, (TARGETS[0], PORT), 1, 200)?;
        ensure!(wait_until(LIMIT, || sink.count() > 20), "the flow is there");
        // No rule lets anything in: answers need none.
        ensure!(wait_until(LIMIT, || people::echoes(client, TARGETS[0], ECHO)), "a datagram's answer");
        let far: SocketAddr = format!("{}:{ECHO}", TARGETS[0]).parse()?;
        let mut stream = client.run(|| TcpStream::connect_timeout(&far, LIMIT))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut said = |text: &[u8; 5]| -> bool {
            let mut buffer = [0; 5];
            stream.write_all(text).is_ok() && stream.read_exact(&mut buffer).is_ok() && buffer == *text
        };
        ensure!(said(b"first"), "a stream's answer");

        // A connection that is there is no excuse; what the change does not concern loses nothing.
        lab.change("RevokeSecurityGroupEgress", &rules)?;
        let quiet = || {
            let before = sink.count();
            !wait_until(Duration::from_millis(100), || sink.count() > before)
        };
        ensure!(wait_until(LIMIT, quiet), "the flow ends");
        ensure!(!said(b"third"), "the stream stands still");
        ensure!(people::echoes(client, TARGETS[0], ECHO), "the other rule is in force");
        let ended = sink.count();
        lab.change("AuthorizeSecurityGroupEgress", &rules)?;
        ensure!(wait_until(LIMIT, || sink.count() > ended + 20), "the flow goes on");
        // The same connection, from where it stood: what was held back comes first.
        stream.set_read_timeout(Some(LIMIT))?;
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).context("the stream goes on")?;
        ensure!(buffer == *b"third");

        // A rule more or less for others, with the flow going on: none of its packets is missing.
        sink.clear();
        for _ in 0..3 {
            lab.change("RevokeSecurityGroupEgress", &other)?;
            eventually("shut", LIMIT, || (!people::echoes(client, TARGETS[0], ECHO)).then_some(()))?;
            lab.change("AuthorizeSecurityGroupEgress", &other)?;
            eventually("open", LIMIT, || people::echoes(client, TARGETS[0], ECHO).then_some(()))?;
        }
        people::nothing_lost(&sink, 1, &sender)
    })
}
