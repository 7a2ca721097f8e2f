//! IPv6 inside the tunnel, alone and beside IPv4, by real clients (spec: aws-client-vpn §3.4, §3.7).

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::common::fabrics;
use crate::common::v6::{TARGETS as TARGETS_V6, inside, scene, subnets};
use crate::common::wire::{Capture, mark};
use anyhow::{Context, Result, ensure};
use lab::{Echo, Net, Scene, TARGETS, eventually, wait_until};

const LIMIT: Duration = Duration::from_secs(5);
/// Of each association.
const OWN_ROUTES: [[&str; 2]; 2] = [["10.101.0.0/16", "fd01::/64"], ["10.102.0.0/16", "fd02::/64"]];

/// The addresses of the endpoint's only connection.
fn addresses(scene: &Scene, endpoint: &str) -> Result<(Option<String>, Option<String>)> {
    let row = eventually("the connection", LIMIT, || {
        let answer = scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", endpoint)]).ok()?;
        let row = answer.rows("connections").into_iter().next()?;
        Some((row.text("clientIp").ok(), row.text("clientIpv6Address").ok()))
    })?;
    Ok(row)
}

/// Whether none of these answers a ping, all asked at once.
fn silent(net: &Net, addresses: &[&str]) -> bool {
    std::thread::scope(|scope| {
        let pings: Vec<_> = addresses.iter().map(|address| scope.spawn(|| net.pings(address))).collect();
        pings.into_iter().all(|ping| !ping.join().expect("invariant: it does not panic"))
    })
}

/// What the tunnel leads to at the client: everything, or the VPC and what one association has besides.
fn routes_are(net: &Net, (v4, v6): (bool, bool), split: bool) -> Result<()> {
    let of = |version: &str| net.ip(&[version, "route", "show", "dev", "tun0"]);
    for (carried, version, vpc, all, place) in
        [(v4, "-4", "10.77.0.0/16 ", "0.0.0.0/1 ", 0), (v6, "-6", "fd77::/48 ", "2000::/4 ", 1)]
    {
        let routes = of(version)?;
        ensure!(routes.contains(vpc) == (carried && split), "{vpc} in {routes}");
        ensure!(routes.contains(all) == (carried && !split), "{all} in {routes}");
        let own = OWN_ROUTES.iter().filter(|own| routes.contains(own[place])).count();
        ensure!(own == usize::from(carried && split), "{own} of {OWN_ROUTES:?} in {routes}");
    }
    Ok(())
}

fn allow(scene: &Scene, endpoint: &str, traffic: &str, number: u8) -> Result<()> {
    if traffic != "ipv6" {
        scene.authorize(endpoint, &format!("10.77.{number}.0/24"))?;
    }
    if traffic != "ipv4" {
        scene.authorize(endpoint, &format!("fd77:0:0:{number}::/64"))?;
    }
    Ok(())
}

#[test]
fn each_traffic_type_reaches_what_it_carries() -> Result<()> {
    lab::or_skip(|| {
        let scene = scene(1)?;
        let subnets = subnets(&scene)?;
        let net = &scene.clients[0].net;
        let rows = ["ipv4", "ipv6", "dual-stack"]
            .into_iter()
            .flat_map(|traffic| [(traffic, "true"), (traffic, "false")])
            .flat_map(|(traffic, split)| [(traffic, split, 1), (traffic, split, 2)]);
        for (number, (traffic, split, associations)) in rows.enumerate() {
            let name = format!("{traffic}, split tunnel {split}, {associations} associations");
            let cidr = if traffic == "ipv6" { "" } else { "10.88.0.0/22" };
            let endpoint = scene.make_endpoint(&[
                ("TrafficIpAddressType", traffic),
                ("SplitTunnel", split),
                ("ClientCidrBlock", cidr),
                ("TransportProtocol", if split == "true" { "udp" } else { "tcp" }),
            ])?;
            let subnets = &subnets[..associations];
            let associated: Vec<String> =
                subnets.iter().map(|subnet| scene.associate(&endpoint, subnet)).collect::<Result<_>>()?;
            for (subnet, own) in subnets.iter().zip(OWN_ROUTES) {
                // Routes that only this association has.
                for destination in own {
                    if destination.contains(':') && traffic == "ipv4"
                        || !destination.contains(':') && traffic == "ipv6"
                    {
                        continue;
                    }
                    let parameters = [
                        ("ClientVpnEndpointId", endpoint.as_str()),
                        ("DestinationCidrBlock", destination),
                        ("TargetVpcSubnetId", subnet),
                    ];
                    scene.ec2("CreateClientVpnRoute", &parameters)?;
                }
            }
            allow(&scene, &endpoint, traffic, 1)?;
            let profile = scene.profile(&endpoint)?;
            let mut client = scene.connect(0, &profile, &format!("client{number}"), &[])?;
            let (v4, v6) = (traffic != "ipv6", traffic != "ipv4");
            let mut forbidden = Vec::new();
            for (carried, targets) in [(v4, TARGETS), (v6, TARGETS_V6)] {
                // Either no rule allows it, or it is not carried at all.
                forbidden.push(targets[usize::from(carried)]);
                let reached = !carried || scene.reaches(0, targets[0]);
                ensure!(reached, "{name}: {}: {}\n{}", targets[0], client.log(), scene.server_log());
            }
            ensure!(silent(net, &forbidden), "{name}: one of {forbidden:?} answers");
            let told = addresses(&scene, &endpoint)?;
            ensure!((told.0.is_some(), told.1.is_some()) == (v4, v6), "{name}: {told:?}");
            let own = net.ip(&["-o", "addr", "show", "dev", "tun0"])?;
            for address in [&told.0, &told.1].into_iter().flatten() {
                ensure!(own.contains(&format!("{address}/")), "{name}: {address} in {own}");
            }
            routes_are(net, (v4, v6), split == "true")
                .with_context(|| format!("{name}: {}", client.log()))?;
            let said = client.log().len();
            for association in &associated {
                scene.disassociate(&endpoint, association)?;
            }
            client.wait_for("Connection reset command was pushed by server", said, LIMIT)?;
            ensure!(silent(net, &[TARGETS[0], TARGETS_V6[0]]), "{name}: after the end");
            drop(client);
            ensure!(wait_until(LIMIT, || !net.ip(&["link"]).unwrap_or_default().contains("tun0")), "{name}");
            let end =
                || scene.try_ec2("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &endpoint)]).is_ok();
            ensure!(wait_until(LIMIT, end), "{name}: the endpoint's end");
        }
        scene.nothing_left()
    })
}

#[test]
fn clients_speak_ipv6_only_as_themselves_and_by_a_local_route() -> Result<()> {
    lab::or_skip(|| {
        let scene = scene(2)?;
        let [subnet, _] = subnets(&scene)?;
        let endpoint =
            scene.make_endpoint(&[("TrafficIpAddressType", "dual-stack"), ("SplitTunnel", "true")])?;
        let association = scene.associate(&endpoint, &subnet)?;
        allow(&scene, &endpoint, "dual-stack", 1)?;
        let profile = scene.profile(&endpoint)?;
        let first = scene.connect(0, &profile, "first", &[])?;
        let (_, own) = addresses(&scene, &endpoint)?;
        let own: Ipv6Addr = own.context("an IPv6 address")?.parse()?;
        let block = u128::from(own) & !u128::from(u64::MAX);
        // Not NAT: the target sees the client itself.
        let net = &scene.clients[0].net;
        ensure!(scene.reaches(0, TARGETS_V6[0]), "{}", scene.server_log());
        let tracked = scene.server_net.output("conntrack", &["-L", "-f", "ipv6"])?;
        ensure!(tracked.contains(&format!("src={own}")), "{tracked}");
        // Somebody else's address, one of the pool and one of the target's network, and then its own: each asks with a
        // mark, sent at the client and looked for at the target.
        let (mut near, mut far) = (Capture::start(net)?, Capture::start(&scene.targets[0].net)?);
        let others = [Ipv6Addr::from(block + 0x77), "fd77:0:0:1::77".parse()?];
        for (number, address) in (0..).zip(others.into_iter().chain([own])) {
            let with_length = format!("{address}/128");
            if address != own {
                net.ip(&["-6", "addr", "add", &with_length, "dev", "tun0", "nodad"])?;
            }
            let (from, pattern) =
                (address.to_string(), mark(number).map(|byte| format!("{byte:02x}")).concat());
            let asks = ["-c", "1", "-W", "1", "-n", "-p", &pattern, "-I", &from, TARGETS_V6[0]];
            let answered = net.output("ping", &asks).is_ok();
            ensure!(answered == (address == own), "as {address}: {answered}");
            ensure!(near.seen()?.contains(&number), "as {address}: it was not even sent");
            let passed = far.seen()?.contains(&number);
            ensure!(passed == (address == own), "as {address}: {passed} at the target");
            if address != own {
                net.ip(&["-6", "addr", "del", &with_length, "dev", "tun0"])?;
            }
        }
        // Client to client: neither by the rule alone nor by the local route of IPv4.
        let second = scene.connect(1, &profile, "second", &[])?;
        let of_second = Ipv6Addr::from(u128::from(own) + 1).to_string();
        scene.authorize(&endpoint, "::/0")?;
        let route = |cidr: &str| {
            let parameters = [
                ("ClientVpnEndpointId", endpoint.as_str()),
                ("DestinationCidrBlock", cidr),
                ("TargetVpcSubnetId", "local"),
            ];
            scene.ec2("CreateClientVpnRoute", &parameters)
        };
        route("10.88.0.0/22")?;
        ensure!(!net.pings(&of_second), "without a route of its own");
        route(&format!("{}/64", Ipv6Addr::from(block)))?;
        ensure!(scene.reaches(0, &of_second), "{}", scene.server_log());
        // And the end ends it all.
        scene.disassociate(&endpoint, &association)?;
        ensure!(wait_until(LIMIT, || scene
            .endpoint_status(&endpoint)
            .is_ok_and(|status| status == "pending-associate")));
        ensure!(silent(net, &[&of_second, TARGETS_V6[0], TARGETS[0]]), "after the end");
        drop((first, second));
        scene.nothing_left()
    })
}

/// Protocol, ports, block of a rule, and which probes it lets through.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static [Probe]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Ping4,
    Ping6,
    Tcp6(u16),
}

const PROBES: [Probe; 4] = [Probe::Ping4, Probe::Ping6, Probe::Tcp6(7001), Probe::Tcp6(7002)];

#[test]
fn security_groups_know_ipv6() -> Result<()> {
    lab::or_skip(|| groups_know_ipv6(&scene(1)?))
}

#[test]
fn security_groups_know_ipv6_in_user_space() -> Result<()> {
    lab::or_skip(|| {
        let scene = fabrics::scene("userspace", "")?;
        inside(&scene)?;
        groups_know_ipv6(&scene)
    })
}

fn groups_know_ipv6(scene: &Scene) -> Result<()> {
    let [subnet, _] = subnets(scene)?;
    let endpoint = scene.make_endpoint(&[("TrafficIpAddressType", "dual-stack")])?;
    scene.associate(&endpoint, &subnet)?;
    allow(scene, &endpoint, "dual-stack", 1)?;
    let target = &scene.targets[0];
    let echoes = [7001, 7002].map(|port| Echo::start_at(&target.net, (Ipv6Addr::UNSPECIFIED, port).into()));
    let echoes = echoes.into_iter().collect::<Result<Vec<_>>>()?;
    let profile = scene.profile(&endpoint)?;
    let client = scene.connect(0, &profile, "client", &[])?;
    ensure!(scene.reaches(0, TARGETS[0]) && scene.reaches(0, TARGETS_V6[0]), "both, by the default group");
    // Our own client says the same, without a device.
    let (target_v6, udp) = (TARGETS_V6[0], format!("reach [{}]:7001/udp echo", TARGETS_V6[0]));
    let (ping, tcp) = (format!("ping {target_v6}"), format!("reach [{target_v6}]:7001 echo"));
    let (deny, ping_v4) =
        (format!("deny fd77:0:0:2::/64 at {}", TARGETS_V6[1]), format!("ping {}", TARGETS[0]));
    let (program, profile) = (lab::binary().display().to_string(), profile.display().to_string());
    let mut arguments = vec!["client", &profile];
    for expectation in [&ping, &tcp, &udp, &deny, &ping_v4] {
        arguments.extend(["--expect", expectation]);
    }
    let text = scene.clients[0].net.output(&program, &arguments)?;
    ensure!(text.contains("5 of 5 expectations held"), "{text}");
    let answer = scene
        .ec2("DescribeSecurityGroups", &[("Filter.1.Name", "group-name"), ("Filter.1.Value.1", "default")])?;
    let group = answer.text("securityGroupInfo/item/groupId")?;
    let change = |action: &str, protocol: &str, from: &str, to: &str, cidr: &str| -> Result<()> {
        let v6 = cidr.contains(':');
        let range =
            if v6 { "IpPermissions.1.Ipv6Ranges.1.CidrIpv6" } else { "IpPermissions.1.IpRanges.1.CidrIp" };
        let mut parameters =
            vec![("GroupId", group.as_str()), ("IpPermissions.1.IpProtocol", protocol), (range, cidr)];
        if protocol != "-1" {
            parameters.extend([("IpPermissions.1.FromPort", from), ("IpPermissions.1.ToPort", to)]);
        }
        scene.ec2(action, &parameters).map(drop)
    };
    for cidr in ["0.0.0.0/0", "::/0"] {
        change("RevokeSecurityGroupEgress", "-1", "", "", cidr)?;
    }
    use Probe::{Ping4, Ping6, Tcp6};
    let rows: [Row; 12] = [
        ("-1", "", "", "::/0", &[Ping6, Tcp6(7001), Tcp6(7002)]),
        ("-1", "", "", "0.0.0.0/0", &[Ping4]),
        ("-1", "", "", "fd77:0:0:1::10/128", &[Ping6, Tcp6(7001), Tcp6(7002)]),
        ("-1", "", "", "fd77:0:0:2::/64", &[]),
        ("icmpv6", "-1", "-1", "::/0", &[Ping6]),
        ("icmpv6", "128", "0", "::/0", &[Ping6]),
        ("icmpv6", "129", "-1", "::/0", &[]),
        ("icmp", "-1", "-1", "::/0", &[]),
        ("icmp", "-1", "-1", "0.0.0.0/0", &[Ping4]),
        ("tcp", "7001", "7001", "fd77::/48", &[Tcp6(7001)]),
        ("tcp", "7001", "7002", "::/0", &[Tcp6(7001), Tcp6(7002)]),
        ("udp", "7001", "7002", "::/0", &[]),
    ];
    for (number, (protocol, from, to, cidr, passing)) in (8000..).zip(rows) {
        change("AuthorizeSecurityGroupEgress", protocol, from, to, cidr)?;
        // A rule of its own for each row comes after: when that is in force this one is, and the last one is not.
        let port = number.to_string();
        change("AuthorizeSecurityGroupEgress", "tcp", &port, &port, "::/0")?;
        ensure!(wait_until(LIMIT, || passes(scene, Tcp6(number))), "the rule after {protocol} {cidr}");
        let passed: Vec<Probe> = std::thread::scope(|scope| {
            let tries: Vec<_> =
                PROBES.map(|probe| scope.spawn(move || passes(scene, probe).then_some(probe))).into();
            tries.into_iter().filter_map(|one| one.join().expect("invariant: it does not panic")).collect()
        });
        ensure!(passed == passing, "{passed:?} by {protocol} {from} {to} {cidr}");
        change("RevokeSecurityGroupEgress", "tcp", &port, &port, "::/0")?;
        change("RevokeSecurityGroupEgress", protocol, from, to, cidr)?;
        // Else a row that allows everything would speak for the next one's last rule too.
        ensure!(wait_until(LIMIT, || !passes(scene, Tcp6(number))), "{protocol} {cidr} goes on");
    }
    ensure!(wait_until(LIMIT, || !passes(scene, Ping4) && !passes(scene, Ping6)), "nothing without rules");
    drop((client, echoes));
    Ok(())
}

fn passes(scene: &Scene, probe: Probe) -> bool {
    let net = &scene.clients[0].net;
    match probe {
        Probe::Ping4 => net.pings(TARGETS[0]),
        Probe::Ping6 => net.pings(TARGETS_V6[0]),
        Probe::Tcp6(port) => net.run(|| {
            let address: SocketAddr = (TARGETS_V6[0].parse::<Ipv6Addr>().expect("an address"), port).into();
            match TcpStream::connect_timeout(&address, Duration::from_millis(700)) {
                Ok(_) => true,
                // Nobody listens, and says so.
                Err(error) => error.kind() == ErrorKind::ConnectionRefused,
            }
        }),
    }
}
