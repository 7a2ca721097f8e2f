//! The user-space fabric with a server that is an ordinary user without capabilities: the same verdicts as the kernel's,
//! crowds, transfers, and a limit that refuses politely.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use crate::common::fabrics::scene;
use crate::common::groups::{self, BATTERY, Rule, SETS};
use crate::common::v6::{TARGETS as TARGETS_V6, inside, subnets};
use crate::common::wire::{ICMP, TCP, UDP};
use anyhow::{Context, Result, ensure};
use lab::{Echo, Scene, TARGETS, eventually, transfer, wait_until};
use swarm::{Dialect, Expectation, Group, Profile, Setup, Swarm};

const ECHO_REQUEST: u16 = 8;
/// The battery's name of it.
const PING: &str = "echo";
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a row may take until it is as it shall be: changes are in force within a second of a quiet machine.
const SETTLED: Duration = Duration::from_secs(15);
/// How long what is denied is waited for.
const DENIED: &str = "700ms";
/// The transfer's length, bytes each way.
const TRANSFER_BYTES: usize = 4 << 20;

fn client(scene: &Scene, endpoint: &str, count: usize) -> Result<Swarm> {
    let profile = Profile::load(&scene.profile(endpoint)?)?;
    let setup = Arc::new(Setup::new(profile, Dialect::V2_6)?);
    let group = Group { label: "client".to_owned(), setup, count };
    Ok(scene.clients[0].net.run(|| Swarm::start(&[group], 100.0))?)
}

/// A figure of the server.
fn counted(scene: &Scene, name: &str) -> Result<u64> {
    let text = scene.metrics()?;
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    lines
        .map(|rest| rest.trim().parse::<u64>().with_context(|| format!("{name}{rest}")))
        .next()
        .unwrap_or(Ok(0))
}

const EVERYTHING: &[Rule] = &[("-1", -1, -1, "0.0.0.0/0")];
const VPC: &str = "10.77.0.0/16";
const NOTHING: [&[&str]; 2] = [&[], &[]];

/// Blocks that authorization rules cover, and the targets that are reached when the security group lets all pass.
const AUTHORIZATIONS: [(&[&str], [bool; 2]); 7] = [
    (&[VPC], [true, true]),
    (&["10.77.1.0/24"], [true, false]),
    (&["10.77.2.10/32", "10.77.1.9/32"], [false, true]),
    (&["10.77.1.11/32", "10.77.2.8/31"], [false, false]),
    (&["10.77.1.10/31", "10.77.2.0/28"], [true, true]),
    (&["0.0.0.0/0"], [true, true]),
    (&[], [false, false]),
];

/// What is tried at a target: a packet of the battery of security groups that is a connection, a datagram or a ping.
struct Probe {
    name: &'static str,
    target: usize,
    /// As expectations name it.
    place: String,
}

fn probes() -> Vec<Probe> {
    let battery = BATTERY.iter().flat_map(|one| [(one, 0), (one, 1)]);
    let carried = battery.filter_map(|((name, protocol, port), target)| {
        let address = TARGETS[target];
        let place = match (*protocol, *port) {
            (TCP, port) => format!("{address}:{port}"),
            (UDP, port) => format!("{address}:{port}/udp"),
            (ICMP, ECHO_REQUEST) => address.to_owned(),
            // User space carries nothing else, whatever the rules are.
            _ => return None,
        };
        Some(Probe { name, target, place })
    });
    carried.collect()
}

struct Table {
    scene: Scene,
    endpoint: String,
    group: String,
    client: Swarm,
    probes: Vec<Probe>,
    _echoes: Vec<Echo>,
}

impl Table {
    fn new(fabric: &str) -> Result<Self> {
        let scene = scene(fabric, "")?;
        let ports: BTreeSet<u16> =
            BATTERY.iter().filter(|row| matches!(row.1, TCP | UDP)).map(|row| row.2).collect();
        let mut echoes = Vec::new();
        for target in &scene.targets {
            for port in &ports {
                echoes.push(Echo::start(&target.net, *port)?);
            }
        }
        let (vpc, [subnet, _]) = scene.make_vpc()?;
        let parameters = [("GroupName", "tried"), ("GroupDescription", "tried"), ("VpcId", vpc.as_str())];
        let group = scene.ec2("CreateSecurityGroup", &parameters)?.text("groupId")?;
        let endpoint = scene.make_endpoint(&[("VpcId", &vpc), ("SecurityGroupId.1", &group)])?;
        scene.associate(&endpoint, &subnet)?;
        let client = client(&scene, &endpoint, 1)?;
        ensure!(client.all_up(PATIENCE), "{:?}: {}", client.failures(), scene.server_log());
        let table = Self { scene, endpoint, group, client, probes: probes(), _echoes: echoes };
        table.change("RevokeSecurityGroupEgress", EVERYTHING)?;
        Ok(table)
    }

    fn change(&self, action: &str, rules: &[Rule]) -> Result<()> {
        if rules.is_empty() { Ok(()) } else { groups::change(&self.scene, &self.group, action, rules) }
    }

    fn authorize(&self, blocks: &[&str], revoke: bool) -> Result<()> {
        for block in blocks {
            if revoke {
                let parameters = [
                    ("ClientVpnEndpointId", self.endpoint.as_str()),
                    ("TargetNetworkCidr", *block),
                    ("RevokeAllGroups", "true"),
                ];
                self.scene.ec2("RevokeClientVpnIngress", &parameters)?;
            } else {
                self.scene.authorize(&self.endpoint, block)?;
            }
        }
        Ok(())
    }

    /// What did not hold, of what shall pass to each target and all that shall not.
    fn wrong(&self, passing: &[&[&str]; 2]) -> Result<Vec<String>> {
        let expectations: Vec<Arc<Expectation>> = self
            .probes
            .iter()
            .map(|Probe { name, target, place }| {
                let passes = passing[*target].contains(name);
                let text = if *name == PING {
                    // `deny ADDRESS` tries a TCP connection too.
                    format!("ping {place} within {}", if passes { "5s" } else { DENIED })
                } else if !passes {
                    format!("deny {place} within {DENIED}")
                } else {
                    format!("reach {place} echo")
                };
                Ok(Arc::new(text.parse()?))
            })
            .collect::<Result<_>>()?;
        let mut wrong = Vec::new();
        self.client.expect(
            &expectations,
            |_, _| true,
            PATIENCE,
            |outcome| {
                let text = outcome.expectation.to_string();
                let denied_ping = text.starts_with("ping") && text.ends_with(DENIED);
                if outcome.verdict.held == denied_ping {
                    wrong.push(format!("{text}: {}", outcome.verdict.detail));
                }
            },
        );
        Ok(wrong)
    }

    /// Waits until exactly this passes; what is denied has come to who denies it.
    fn holds(&self, passing: &[&[&str]; 2], who: fn((u64, u64)) -> Option<u64>) -> Result<()> {
        let (mut before, mut last) = ((0, 0), Vec::new());
        let held = eventually("the row", SETTLED, || {
            before = self.stopped().ok()?;
            last = self.wrong(passing).ok()?;
            last.is_empty().then_some(())
        });
        held.with_context(|| format!("{last:#?}"))?;
        let denied = self.probes.iter().filter(|probe| !passing[probe.target].contains(&probe.name));
        let denied = u64::try_from(denied.count())?;
        if let (Some(before), Some(after)) = (who(before), who(self.stopped()?)) {
            // A denial is the policy's own, not a packet that was lost.
            ensure!(after - before >= denied, "{} of {denied} were denied there", after - before);
        }
        Ok(())
    }

    /// Packets that the gateway's policy, and those that the security group stopped.
    fn stopped(&self) -> Result<(u64, u64)> {
        let policy = ["no-rule", "no-route"]
            .iter()
            .map(|reason| {
                counted(&self.scene, &format!("bascule_dropped_packets_total{{reason=\"{reason}\"}}"))
            })
            .sum::<Result<u64>>()?;
        Ok((policy, counted(&self.scene, "bascule_userspace_refused_total{reason=\"egress\"}")?))
    }
}

/// The rows that both fabrics answer alike: sets of a security group's rules, then authorization rules.
fn verdicts(fabric: &str) -> Result<()> {
    let table = Table::new(fabric)?;
    let all: Vec<&str> = table.probes.iter().map(|probe| probe.name).collect();
    // What nftables dropped is not among the server's own figures.
    let group: fn((u64, u64)) -> Option<u64> =
        if fabric == "kernel" { |_| None } else { |(_, by_group)| Some(by_group) };
    table.authorize(&[VPC], false)?;
    table.holds(&NOTHING, group).with_context(|| format!("{fabric}, no rule at all"))?;
    for (rules, passing) in &SETS {
        table.change("AuthorizeSecurityGroupEgress", rules)?;
        table.holds(passing, group).with_context(|| format!("{fabric}, {rules:?}"))?;
        table.change("RevokeSecurityGroupEgress", rules)?;
    }
    table.authorize(&[VPC], true)?;
    table.change("AuthorizeSecurityGroupEgress", EVERYTHING)?;
    for (blocks, reached) in &AUTHORIZATIONS {
        table.authorize(blocks, false)?;
        let passing = reached.map(|reached| if reached { &all[..] } else { &[] });
        let row = table.holds(&passing, |(by_policy, _)| Some(by_policy));
        row.with_context(|| format!("{fabric}, authorized {blocks:?}"))?;
        table.authorize(blocks, true)?;
    }
    let rows = (1 + SETS.len() + AUTHORIZATIONS.len()) * table.probes.len();
    println!("{fabric}: {rows} rows");
    Ok(())
}

#[test]
fn the_kernel_gives_these_verdicts() -> Result<()> {
    lab::or_skip(|| verdicts("kernel"))
}

#[test]
fn the_user_space_fabric_gives_the_same_verdicts() -> Result<()> {
    lab::or_skip(|| verdicts("userspace"))
}

#[test]
fn two_hundred_clients_a_real_one_among_them_and_a_limit_that_is_polite() -> Result<()> {
    const CLIENTS: usize = 200;
    const FLOWS: usize = 20;
    const BUFFERS_MIB: u64 = 64;
    /// 200 sessions and what they say, beside what their connections hold.
    const BESIDE_MIB: u64 = 48;
    lab::or_skip(|| {
        let bounds = format!("client-flows = {FLOWS}\nbuffer-bytes = {}\n", BUFFERS_MIB << 20);
        let scene = scene("userspace", &bounds)?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", scene.server().id()))?;
        ensure!(status.contains("CapEff:\t0000000000000000"), "{status}");
        let _echo = Echo::start(&scene.targets[0].net, 7)?;
        let endpoint = scene.open(&[], "10.77.1.0/24")?;

        // An unmodified client.
        let profile = scene.profile(&endpoint)?;
        // A namespace keeps ports below 1024 from ordinary users: the profile names the port that was bound.
        ensure!(std::fs::read_to_string(&profile)?.contains(" 10443"), "the port");
        let mut real = scene.connect(0, &profile, "real", &[])?;
        ensure!(scene.reaches(0, TARGETS[0]), "a ping; {}", scene.server_log());
        let net = &scene.clients[0].net;
        net.run(|| transfer((TARGETS[0], 7), TRANSFER_BYTES, PATIENCE))?;

        // One connection too many for one client is refused, and there is room again when others end.
        let far: SocketAddr = format!("{}:7", TARGETS[0]).parse()?;
        let connect = || TcpStream::connect_timeout(&far, Duration::from_secs(5));
        let mut held = Vec::new();
        let refused = net.run(|| {
            (0..=FLOWS).find_map(|_| match connect() {
                Ok(stream) => {
                    held.push(stream);
                    None
                }
                Err(error) => Some(error),
            })
        });
        let refused = refused.context("no connection was refused")?;
        ensure!(refused.kind() == ErrorKind::ConnectionRefused, "{refused}");
        ensure!(counted(&scene, "bascule_userspace_refused_total{reason=\"client-flows\"}")? >= 1);
        drop(held);
        eventually("room again", PATIENCE, || net.run(connect).ok())?;

        let before = scene.resident_kib()?;
        let swarm = client(&scene, &endpoint, CLIENTS)?;
        ensure!(swarm.all_up(PATIENCE), "{:?}", swarm.failures());
        let expectations = vec![
            Arc::new("reach 10.77.1.10:7 echo 256KiB within 60s".parse()?),
            Arc::new("reach 10.77.1.10:7/udp echo within 60s".parse()?),
        ];
        let mut wrong = Vec::new();
        swarm.expect(
            &expectations,
            |_, _| true,
            PATIENCE,
            |outcome| {
                if !outcome.verdict.held {
                    wrong.push(format!("{} {}", outcome.client, outcome.verdict.detail));
                }
            },
        );
        ensure!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), 2 * CLIENTS, wrong.first());
        let grown = scene.peak_kib()?.saturating_sub(before);
        println!("the server has {} MiB more with {CLIENTS} clients", grown >> 10);
        ensure!(grown < (BUFFERS_MIB + BESIDE_MIB) << 10, "{grown} KiB more memory");

        // All of it ends with the association.
        let mut stream = net.run(connect)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let rows = scene.ec2("DescribeClientVpnTargetNetworks", &[("ClientVpnEndpointId", &endpoint)])?;
        let association = rows.text("clientVpnTargetNetworks/item/associationId")?;
        scene.disassociate(&endpoint, &association)?;
        eventually("pending-associate", PATIENCE, || {
            scene.endpoint_status(&endpoint).ok().filter(|status| status == "pending-associate")
        })?;
        for protocol in ["tcp", "udp", "icmp"] {
            let open = counted(&scene, &format!("bascule_userspace_flows{{protocol=\"{protocol}\"}}"))?;
            ensure!(open == 0, "{open} flows of {protocol} are left");
        }
        real.wait_for("Connection reset command was pushed by server", 0, PATIENCE)?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        ensure!(!matches!(stream.read(&mut [0; 16]), Ok(1..)), "something still comes");
        Ok(())
    })
}

#[test]
fn flows_end_with_their_client() -> Result<()> {
    /// How long after its client's end the far side may wait for its own.
    const SOON: Duration = Duration::from_secs(2);
    lab::or_skip(|| {
        let scene = scene("userspace", "")?;
        let endpoint = scene.open(&[], "10.77.1.0/24")?;
        let profile = scene.profile(&endpoint)?;
        let far: SocketAddr = format!("{}:9000", TARGETS[0]).parse()?;
        let listener = scene.targets[0].net.run(|| TcpListener::bind(far))?;
        let open = || counted(&scene, "bascule_userspace_flows{protocol=\"tcp\"}");
        for end in ["terminated", "exits"] {
            let mut real = scene.connect(0, &profile, end, &[])?;
            let _near = scene.clients[0].net.run(|| TcpStream::connect_timeout(&far, PATIENCE))?;
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(SOON))?;
            ensure!(open()? == 1, "the flow");
            if end == "exits" {
                real.stop().context("SIGTERM ends it")?;
            } else {
                let of = ("ClientVpnEndpointId", endpoint.as_str());
                let id = scene.ec2("DescribeClientVpnConnections", &[of])?;
                let id = id.text("connections/item/connectionId")?;
                scene.ec2("TerminateClientVpnConnections", &[of, ("ConnectionId", &id)])?;
                real.wait_end(PATIENCE).context("HALT ends it")?;
            }
            let heard = stream.read(&mut [0; 16]).map_err(|error| error.kind());
            ensure!(heard == Err(ErrorKind::ConnectionReset), "{end}: {heard:?}; {}", scene.server_log());
            eventually("no flow", SOON, || open().ok().filter(|open| *open == 0))?;
            ensure!(counted(&scene, "bascule_userspace_buffer_bytes")? == 0, "{end}: buffers");
        }
        Ok(())
    })
}

#[test]
fn memory_is_filled_to_its_bound_and_not_beyond() -> Result<()> {
    const BUFFERS_KIB: u64 = 2 << 10;
    /// What a connection costs beside its buffers, and what the server has to do meanwhile.
    const BESIDE_KIB: u64 = 8 << 10;
    /// More than have room: each has 8 KiB at least.
    const CONNECTIONS: usize = 300;
    lab::or_skip(|| {
        let bounds = format!("client-flows = 1000\nbuffer-bytes = {}\n", BUFFERS_KIB << 10);
        let scene = scene("userspace", &bounds)?;
        let net = &scene.clients[0].net;
        // Kernels would keep gigabytes of it before it stops.
        for host in [net, &scene.server_net, &scene.targets[0].net] {
            for kept in ["net.ipv4.tcp_rmem=4096 16384 16384", "net.ipv4.tcp_wmem=4096 16384 16384"] {
                host.output("sysctl", &["-q", "-w", kept])?;
            }
        }
        let _echo = Echo::start(&scene.targets[0].net, 7)?;
        let endpoint = scene.open(&[], "10.77.1.0/24")?;
        let profile = scene.profile(&endpoint)?;
        let real = scene.connect(0, &profile, "real", &[])?;
        let far: SocketAddr = format!("{}:7", TARGETS[0]).parse()?;
        let connect = || TcpStream::connect_timeout(&far, PATIENCE);
        net.run(|| transfer((TARGETS[0], 7), TRANSFER_BYTES, PATIENCE))?;
        let before = scene.resident_kib()?;

        let mut streams = Vec::new();
        let refused = net.run(|| {
            (0..CONNECTIONS).find_map(|_| match connect() {
                Ok(stream) => {
                    streams.push(stream);
                    None
                }
                Err(error) => Some(error),
            })
        });
        let refused = refused.with_context(|| format!("{} have room", streams.len()))?;
        ensure!(refused.kind() == ErrorKind::ConnectionRefused, "{refused}");
        ensure!(counted(&scene, "bascule_userspace_refused_total{reason=\"memory\"}")? >= 1);
        // Everybody sends and nobody reads, until all that lies between them is full.
        for stream in &streams {
            stream.set_nonblocking(true)?;
        }
        let pushed = |mut stream: &TcpStream| stream.write(&[0x55; 65_536]).unwrap_or(0);
        let stuck =
            || !wait_until(Duration::from_millis(500), || streams.iter().map(pushed).sum::<usize>() > 0);
        ensure!(wait_until(PATIENCE, stuck), "there is always more room");
        let grown = scene.peak_kib()?.saturating_sub(before);
        let taken = counted(&scene, "bascule_userspace_buffer_bytes")? >> 10;
        println!("{} connections have {taken} KiB, the server has {grown} KiB more", streams.len());
        ensure!(taken <= BUFFERS_KIB && taken > BUFFERS_KIB - 8, "{taken} KiB of buffers");
        ensure!(grown <= BUFFERS_KIB + BESIDE_KIB, "{grown} KiB more memory");
        ensure!(scene.reaches(0, TARGETS[0]), "what needs no buffer goes on");

        // There is room again for who comes later.
        drop(streams);
        eventually("no connection", PATIENCE, || {
            counted(&scene, "bascule_userspace_buffer_bytes").ok().filter(|bytes| *bytes == 0)
        })?;
        net.run(|| transfer((TARGETS[0], 7), TRANSFER_BYTES, PATIENCE))?;
        ensure!(real.times_up() == 1, "{}", real.log());
        Ok(())
    })
}

/// Sends a datagram to an echo service from this thread's network namespace, and gets it back.
fn echoed(local: &str, far: SocketAddr, bytes: usize) -> Result<()> {
    let socket = UdpSocket::bind((local, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.connect(far)?;
    let sent: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap_or_default()).collect();
    let mut got = vec![0; bytes + 1];
    let mut comes_back = || -> bool {
        socket.send(&sent).is_ok()
            && socket.recv(&mut got).is_ok_and(|length| got.get(..length) == Some(&sent[..]))
    };
    // Of many pieces one may be lost on a busy machine.
    ensure!((0..5).any(|_| comes_back()), "a datagram of {bytes} bytes to {far}");
    Ok(())
}

#[test]
fn what_is_longer_than_the_tunnel_passes_both_ways() -> Result<()> {
    lab::or_skip(|| {
        let scene = scene("userspace", "")?;
        let target = &scene.targets[0].net;
        inside(&scene)?;
        let far: [SocketAddr; 2] =
            [format!("{}:7", TARGETS[0]).parse()?, format!("[{}]:7", TARGETS_V6[0]).parse()?];
        let _echoes = [Echo::start(target, 7)?, Echo::start_at(target, far[1])?];
        let [subnet, _] = subnets(&scene)?;
        let endpoint = scene.make_endpoint(&[("TrafficIpAddressType", "dual-stack")])?;
        scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.1.0/24")?;
        scene.authorize(&endpoint, "fd77:0:0:1::/64")?;
        let real = scene.connect(0, &scene.profile(&endpoint)?, "real", &[])?;
        let net = &scene.clients[0].net;
        ensure!(net.ip(&["link", "show", "tun0"])?.contains("mtu 1500"));
        for (target, local, far) in [(TARGETS[0], "0.0.0.0", far[0]), (TARGETS_V6[0], "::", far[1])] {
            ensure!(scene.reaches(0, target), "{target}: {}\n{}", real.log(), scene.server_log());
            let pinged =
                || net.output("ping", &["-c", "1", "-W", "2", "-n", "-q", "-s", "4000", target]).ok();
            eventually("a ping of 4,000 bytes", PATIENCE, pinged).with_context(|| scene.server_log())?;
            for bytes in [1_472, 1_473, 8_000, 60_000] {
                net.run(|| echoed(local, far, bytes)).with_context(|| scene.server_log())?;
            }
        }
        // Nothing of it contradicted itself; the longest there is passes too.
        net.run(|| echoed("0.0.0.0", far[0], 65_507))?;
        net.run(|| echoed("::", far[1], 65_527))?;
        ensure!(counted(&scene, "bascule_userspace_refused_total{reason=\"fragment\"}")? == 0);
        ensure!(real.times_up() == 1, "{}", real.log());
        Ok(())
    })
}
