//! What a tunnel leads to and carries, with stock clients: split and full by one and two associations, many routes, other
//! clients, the size of packets, the last address.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use crate::common::wire::Capture;
use anyhow::{Context, Result, ensure};
use lab::{Echo, Net, OpenVpn, Scene, SceneOptions, TARGETS, eventually, wait_until};
use swarm::{Dialect, Group, Profile, Setup, Swarm};

const ECHO: u16 = 7;
const SOON: Duration = Duration::from_secs(5);
const TRANSFER_BYTES: usize = 2 << 20;
/// Routes of one endpoint, beside that of its association.
const ROUTES: usize = 149;

/// The last push reply a client has had, all parts of it.
fn pushed(client: &OpenVpn) -> String {
    client.log().lines().filter(|line| line.contains("PUSH_REPLY,")).collect::<Vec<_>>().join("\n")
}

fn add_route(scene: &Scene, endpoint: &str, destination: &str, subnet: &str) -> Result<()> {
    let parameters = [
        ("ClientVpnEndpointId", endpoint),
        ("DestinationCidrBlock", destination),
        ("TargetVpcSubnetId", subnet),
    ];
    scene.ec2("CreateClientVpnRoute", &parameters).map(drop)
}

fn tun_routes(net: &Net) -> Result<String> {
    net.ip(&["route", "show", "dev", "tun0"])
}

#[test]
fn split_and_full_by_one_and_two_associations() -> Result<()> {
    lab::or_skip(|| {
        let mut options = SceneOptions { clients: 6, ..SceneOptions::default() };
        // So many endpoints on one address.
        options.server.arguments.extend(["--gateway-ports", "20000-20010"].map(str::to_owned));
        let scene = Scene::new(options)?;
        let (_, [a, b]) = scene.make_vpc()?;
        let mut host = 0..;
        for split in ["true", "false"] {
            for subnets in [&[&a][..], &[&a, &b]] {
                let name = format!("split {split}, {} associations", subnets.len());
                let endpoint = scene
                    .make_endpoint(&[("SplitTunnel", split), ("DnsServers.1", "10.77.1.53")])
                    .context("an endpoint")?;
                scene.authorize(&endpoint, "10.77.0.0/16")?;
                for (subnet, own) in subnets.iter().zip(["10.101.0.0/16", "10.102.0.0/16"]) {
                    scene.associate(&endpoint, subnet)?;
                    // A route that only this association has.
                    add_route(&scene, &endpoint, own, subnet)?;
                }
                let profile = scene.profile(&endpoint)?;
                let (mut seen, mut clients) = (Vec::new(), Vec::new());
                for _ in subnets {
                    let number = host.next().context("a host")?;
                    let net = &scene.clients[number].net;
                    let client = scene.connect(number, &profile, &format!("client{number}"), &[])?;
                    ensure!(
                        pushed(&client).contains("dhcp-option DNS 10.77.1.53"),
                        "{name}: {}",
                        pushed(&client)
                    );
                    for target in TARGETS {
                        ensure!(scene.reaches(number, target), "{name}: {target}: {}", scene.server_log());
                    }
                    let routes = tun_routes(net)?;
                    ensure!(routes.contains("0.0.0.0/1") == (split == "false"), "{name}: {routes}");
                    ensure!(routes.contains("10.77.0.0/16") == (split == "true"), "{name}: {routes}");
                    let own = |destination: &str| routes.contains(destination);
                    seen.push((own("10.101.0.0/16"), own("10.102.0.0/16")));
                    clients.push(client);
                }
                seen.sort_unstable();
                let expected: &[_] = match (split, subnets.len()) {
                    ("true", 1) => &[(true, false)],
                    // One on each, and each has the routes of its own.
                    ("true", _) => &[(false, true), (true, false)],
                    (_, 1) => &[(false, false)],
                    _ => &[(false, false), (false, false)],
                };
                ensure!(seen == expected, "{name}: {seen:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_hundred_and_fifty_routes_by_push_continuation() -> Result<()> {
    lab::or_skip(|| {
        let mut scene = Scene::without_server(SceneOptions::default())?;
        let config = scene.dir().join("bascule.toml");
        std::fs::write(&config, "[quotas]\nroutes_per_association = 200\n")?;
        let arguments = &mut scene.server_options().arguments;
        arguments.extend(["--config".to_owned(), config.to_string_lossy().into_owned()]);
        scene.start_server()?;
        let (_, [a, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[("SplitTunnel", "true")])?;
        scene.associate(&endpoint, &a)?;
        scene.authorize(&endpoint, "0.0.0.0/0")?;
        for n in 0..ROUTES {
            add_route(&scene, &endpoint, &format!("172.20.{n}.0/24"), &a)?;
        }
        let client = scene.connect(0, &scene.profile(&endpoint)?, "client", &[])?;
        ensure!(pushed(&client).contains("push-continuation 2"), "{}", pushed(&client));
        ensure!(pushed(&client).lines().count() > 3, "{}", pushed(&client));
        let routes = tun_routes(&scene.clients[0].net)?;
        for n in 0..ROUTES {
            ensure!(routes.contains(&format!("172.20.{n}.0/24 ")), "{n}: {routes}");
        }
        ensure!(routes.contains("10.77.0.0/16 ") && scene.reaches(0, TARGETS[0]), "{routes}");
        Ok(())
    })
}

#[test]
fn clients_reach_each_other_by_a_route_and_a_rule_only() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        let (_, [a, b]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        // On associations of their own.
        scene.associate(&endpoint, &a)?;
        scene.associate(&endpoint, &b)?;
        let profile = scene.profile(&endpoint)?;
        let one = scene.connect(0, &profile, "one", &[])?;
        let two = scene.connect(1, &profile, "two", &[])?;
        let inner = |number: usize| -> Result<String> {
            let shown = scene.clients[number].net.ip(&["-4", "-o", "addr", "show", "dev", "tun0"])?;
            let own = shown.split_whitespace().nth(3).context("an address")?;
            Ok(own.split('/').next().unwrap_or_default().to_owned())
        };
        let (first, second) = (inner(0)?, inner(1)?);
        let both = || (scene.clients[0].net.pings(&second), scene.clients[1].net.pings(&first));
        let becomes = |wanted: bool, when: &str| -> Result<()> {
            ensure!(wait_until(SOON, || both() == (wanted, wanted)), "{when}: {:?}", both());
            Ok(())
        };
        ensure!(scene.reaches(0, TARGETS[0]) && scene.reaches(1, TARGETS[1]), "{}", scene.server_log());
        ensure!(both() == (false, false), "neither a route nor a rule");
        add_route(&scene, &endpoint, "10.88.0.0/22", "local")?;
        ensure!(both() == (false, false), "no rule");
        scene.authorize(&endpoint, "10.88.0.0/22")?;
        becomes(true, "a route and a rule")?;
        let revoke = [
            ("ClientVpnEndpointId", endpoint.as_str()),
            ("TargetNetworkCidr", "10.88.0.0/22"),
            ("RevokeAllGroups", "true"),
        ];
        scene.ec2("RevokeClientVpnIngress", &revoke)?;
        becomes(false, "the rule is revoked")?;
        scene.authorize(&endpoint, "10.88.0.0/22")?;
        becomes(true, "it is back")?;
        let route = [
            ("ClientVpnEndpointId", endpoint.as_str()),
            ("DestinationCidrBlock", "10.88.0.0/22"),
            ("TargetVpcSubnetId", "local"),
        ];
        scene.ec2("DeleteClientVpnRoute", &route)?;
        becomes(false, "the route is gone")?;
        ensure!((one.times_up(), two.times_up()) == (1, 1), "nobody was cut: {}", one.log());
        Ok(())
    })
}

/// Sends and gets back some megabytes.
fn transfer(net: &Net) -> Result<()> {
    net.run(|| -> Result<()> {
        let mut stream = TcpStream::connect((TARGETS[0], ECHO))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut writer = stream.try_clone()?;
        let writing = std::thread::spawn(move || writer.write_all(&vec![7; TRANSFER_BYTES]));
        let mut got = vec![0; TRANSFER_BYTES];
        stream.read_exact(&mut got).context("the echo")?;
        writing.join().ok().context("the writer")??;
        ensure!(got.iter().all(|byte| *byte == 7), "what came back is not what was sent");
        Ok(())
    })
}

#[test]
fn a_path_of_1500_bytes_carries_all_sizes() -> Result<()> {
    lab::or_skip(|| {
        for transport in ["udp", "tcp"] {
            let scene = Scene::new(SceneOptions::default())?;
            let (_, [a, _]) = scene.make_vpc()?;
            let endpoint = scene.make_endpoint(&[("TransportProtocol", transport)])?;
            scene.associate(&endpoint, &a)?;
            scene.authorize(&endpoint, "10.77.0.0/16")?;
            let _echo = Echo::start(&scene.targets[0].net, ECHO)?;
            let client = scene.connect(0, &scene.profile(&endpoint)?, "client", &[])?;
            let net = &scene.clients[0].net;
            ensure!(net.ip(&["link", "show", "eth0"])?.contains("mtu 1500"));
            ensure!(scene.reaches(0, TARGETS[0]), "{}", scene.server_log());
            // Between client and gateway, and between gateway and target.
            let mut outside = Capture::start(net)?;
            let mut inside = Capture::start(&scene.targets[0].net)?;
            let tunnel =
                |packet: &[u8]| packet[12..16] == [10, 99, 0, 10] || packet[16..20] == [10, 99, 0, 10];
            let target =
                |packet: &[u8]| packet[12..16] == [10, 77, 1, 10] || packet[16..20] == [10, 77, 1, 10];
            let mut seen = || -> Result<[(usize, usize); 2]> {
                Ok([outside.fragments(tunnel)?, inside.fragments(target)?])
            };
            seen()?;
            // Half a megabyte at a time: what is captured must be looked at before there is no more room for it.
            for _ in 0..3 {
                transfer(net)?;
                let [tunnel, target] = seen()?;
                ensure!(tunnel.0 > 500 && target.0 > 500, "{transport}: {tunnel:?} {target:?}");
                ensure!((tunnel.1, target.1) == (0, 0), "{transport}: TCP in pieces: {tunnel:?} {target:?}");
            }
            // 1,400 bytes with and without both headers, not to be cut on the way.
            for bytes in ["1400", "1372", "56", "1000"] {
                let arguments =
                    ["-c", "3", "-i", "0.05", "-W", "2", "-n", "-q", "-M", "do", "-s", bytes, TARGETS[0]];
                let said = net.output("ping", &arguments).with_context(|| format!("{transport}: {bytes}"))?;
                ensure!(said.contains("3 received"), "{transport}: {bytes}: {said}");
            }
            let [tunnel, target] = seen()?;
            ensure!(tunnel.0 > 9 && (tunnel.1, target.1) == (0, 0), "{transport}: {tunnel:?} {target:?}");
            // Datagrams as large as they come: each there and back, whole.
            net.run(|| -> Result<()> {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.set_read_timeout(Some(Duration::from_millis(500)))?;
                socket.connect((TARGETS[0], ECHO))?;
                for bytes in [1, 1_300, 1_400, 1_444, 1_472, 1_473, 4_000, 16_000, 60_000] {
                    let sent = vec![3; bytes];
                    let mut got = vec![0; bytes + 1];
                    let mut comes_back = || {
                        socket.send(&sent).is_ok()
                            && socket.recv(&mut got).is_ok_and(|length| got.get(..length) == Some(&sent[..]))
                    };
                    // Of many pieces one may be lost on a busy machine.
                    ensure!((0..5).any(|_| comes_back()), "{transport}: a datagram of {bytes} bytes");
                }
                Ok(())
            })?;
            ensure!(client.times_up() == 1, "{}", client.log());
        }
        Ok(())
    })
}

#[test]
fn when_the_last_address_is_given_everybody_hears_why() -> Result<()> {
    lab::or_skip(|| {
        // A /22 without network, gateway and broadcast.
        const ADDRESSES: usize = 1_021;
        let scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        crate::common::logs::make_group(&scene)?;
        let (_, [a, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[
            ("ConnectionLogOptions.Enabled", "true"),
            ("ConnectionLogOptions.CloudwatchLogGroup", crate::common::logs::GROUP),
            ("ConnectionLogOptions.CloudwatchLogStream", "shortage"),
        ])?;
        scene.associate(&endpoint, &a)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        let setup = Arc::new(Setup::new(Profile::load(&profile)?, Dialect::V2_6)?);
        let all = [Group { label: "all".to_owned(), setup, count: ADDRESSES }];
        let swarm = scene.clients[0].net.run(|| Swarm::start(&all, 400.0))?;
        ensure!(swarm.all_up(Duration::from_secs(60)), "{:?}", swarm.counts());
        let late = OpenVpn::start(&scene.clients[1].net, &profile, "late", &[])?;
        let reason = "address-pool-exhausted";
        eventually("the log", Duration::from_secs(15), || {
            scene
                .server_log()
                .lines()
                .any(|line| line.contains("turned away") && line.contains(reason))
                .then_some(())
        })
        .with_context(|| late.log())?;
        let counted = |metrics: &str| {
            let line = "bascule_gateway_events_total{event=\"addresses-refused\"}";
            metrics.lines().any(|found| found.strip_prefix(line).is_some_and(|count| count.trim() != "0"))
        };
        let metrics = scene.server_net.run(|| scene.server().client().get("/metrics"))?;
        ensure!(counted(&metrics), "{metrics}");
        eventually("the connection log", Duration::from_secs(10), || {
            let entries: Vec<serde_json::Value> = crate::common::logs::entries(&scene, "shortage").ok()?;
            entries.iter().any(|entry| entry["connection-attempt-failure-reason"] == reason).then_some(())
        })?;
        eventually("the client", SOON, || late.log().contains("No client address is left").then_some(()))
            .with_context(|| late.log())?;
        ensure!(late.times_up() == 0, "{}", late.log());
        ensure!(
            swarm.counts().up == u64::try_from(ADDRESSES)?,
            "nobody else was touched: {:?}",
            swarm.counts()
        );
        swarm.stop();
        Ok(())
    })
}
