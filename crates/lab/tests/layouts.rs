//! The layouts of `docs/fabric.md`, as they stand there: its host commands, its configuration, and what it says of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Net, OpenVpn, Scene, SceneOptions, eventually, wait_until};

const DOC: &str = include_str!("../../../docs/fabric.md");
/// Where services say who asked.
const PORT: u16 = 7_000;
const LIMIT: Duration = Duration::from_secs(5);
/// A fabric step that failed is tried again after at most five seconds.
const RETRIED: Duration = Duration::from_secs(15);

/// A chapter's blocks of this language.
fn blocks(chapter: &str, language: &str) -> Result<Vec<&'static str>> {
    let (_, text) = DOC.split_once(&format!("\n## {chapter}\n")).context("no such chapter")?;
    let text = text.split("\n## ").next().unwrap_or_default();
    let begin = format!("```{language}\n");
    let parts = text.split(begin.as_str()).skip(1);
    Ok(parts.filter_map(|part| part.split("```").next()).collect())
}

/// A scene whose server will read the chapter's configuration.
fn scene(chapter: &str, clients: usize) -> Result<(Scene, PathBuf)> {
    let mut scene = Scene::without_server(SceneOptions { clients, ..SceneOptions::default() })?;
    let [toml] = blocks(chapter, "toml")?[..] else { anyhow::bail!("one configuration a chapter") };
    let path = scene.dir().join("bascule.toml");
    std::fs::write(&path, toml)?;
    scene.server_options().arguments.extend(["--config".to_owned(), path.display().to_string()]);
    Ok((scene, path))
}

/// Joins the server to a network, at a bare interface: addresses are the chapter's business.
fn leg(scene: &Scene, interface: &str, addresses: &[&str]) -> Result<Net> {
    let net = Net::new("leg")?;
    let server = &scene.server_net;
    let peer = ["type", "veth", "peer", "name", "eth0", "netns", net.name()];
    server.ip(&[&["link", "add", interface][..], &peer].concat())?;
    server.ip(&["link", "set", interface, "up"])?;
    net.ip(&["link", "set", "eth0", "up"])?;
    for address in addresses {
        let device = if address.ends_with("/32") || address.ends_with("/128") { "lo" } else { "eth0" };
        net.ip(&["address", "add", address, "dev", device])?;
    }
    Ok(net)
}

fn sh(net: &Net, lines: &str) -> Result<()> {
    net.output("sh", &["-ec", lines]).map(drop)
}

/// A service that answers with its name and who asked.
struct Service {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Service {
    /// At one address: its answers come from there.
    fn start(net: &Net, address: &str, name: &'static str) -> Result<Self> {
        let address = SocketAddr::new(address.parse()?, PORT);
        // An IPv6 address of a link may be tentative for a second.
        let socket = eventually("an address", LIMIT, || net.run(|| UdpSocket::bind(address)).ok())?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Who answers a client there, and as whom it was seen.
fn answer(scene: &Scene, client: usize, address: &str) -> Result<String> {
    let net = &scene.clients.get(client).context("no such client")?.net;
    let target: IpAddr = address.parse()?;
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let ask = || -> std::io::Result<String> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        socket.send_to(b"who is there?", (target, PORT))?;
        let mut buffer = [0; 64];
        let (length, _) = socket.recv_from(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    eventually("an answer", LIMIT, || net.run(ask).ok()).with_context(|| scene.server_log())
}

fn check(scene: &Scene, config: &std::path::Path) -> Result<(bool, String)> {
    let mut command = scene.server_net.command(crate::common::people::program()?);
    command.args(["fabric", "check", "--gateway-address", "10.99.0.2", "--config"]).arg(config);
    let output: Output = command.output()?;
    Ok((output.status.success(), String::from_utf8([output.stdout, output.stderr].concat())?))
}

/// A subnet of a new VPC.
fn subnet(scene: &Scene, vpc: &str, block: &str, network: Option<&str>) -> Result<String> {
    let vpc = scene.ec2("CreateVpc", &[("CidrBlock", vpc)])?.text("vpc/vpcId")?;
    let mut parameters = vec![("VpcId", vpc.as_str()), ("CidrBlock", block)];
    if let Some(network) = network {
        parameters.extend([
            ("TagSpecification.1.ResourceType", "subnet"),
            ("TagSpecification.1.Tag.1.Key", "network"),
            ("TagSpecification.1.Tag.1.Value", network),
        ]);
    }
    scene.ec2("CreateSubnet", &parameters)?.text("subnet/subnetId")
}

/// An endpoint that allows everything, before its first association.
fn endpoint(scene: &Scene, port: &str) -> Result<String> {
    let endpoint = scene.make_endpoint(&[("VpnPort", port)])?;
    scene.authorize(&endpoint, "0.0.0.0/0")?;
    Ok(endpoint)
}

fn route(scene: &Scene, endpoint: &str, subnet: &str, destination: &str) -> Result<()> {
    let parameters = [
        ("ClientVpnEndpointId", endpoint),
        ("TargetVpcSubnetId", subnet),
        ("DestinationCidrBlock", destination),
    ];
    scene.ec2("CreateClientVpnRoute", &parameters).map(drop)
}

fn connect(scene: &Scene, client: usize, endpoint: &str) -> Result<OpenVpn> {
    scene.connect(client, &scene.profile(endpoint)?, endpoint, &[])
}

/// The addresses that network interfaces are shown with.
fn shown(scene: &Scene) -> Result<Vec<String>> {
    let answer = scene.ec2("DescribeNetworkInterfaces", &[])?;
    answer.rows("networkInterfaceSet").iter().map(|row| row.text("privateIpAddress")).collect()
}

/// And an interface that is not there yet: said, waited for, taken when it comes.
#[test]
fn a_home_lab() -> Result<()> {
    lab::or_skip(|| {
        let chapter = "A home lab";
        let (mut scene, config) = scene(chapter, 1)?;
        scene.start_server()?;
        let subnet = subnet(&scene, "192.168.0.0/16", "192.168.1.0/24", None)?;
        let endpoint = endpoint(&scene, "443")?;
        let parameters = [("ClientVpnEndpointId", endpoint.as_str()), ("SubnetId", &subnet)];
        scene.ec2("AssociateClientVpnTargetNetwork", &parameters)?;
        let describe = [("ClientVpnEndpointId", endpoint.as_str())];
        let status = |what: &str| {
            let answer = scene.ec2("DescribeClientVpnTargetNetworks", &describe).ok()?;
            answer.text(&format!("clientVpnTargetNetworks/item/status/{what}")).ok()
        };
        let says = |words: &str| status("message").is_some_and(|message| message.contains(words));
        ensure!(wait_until(LIMIT, || says("no interface eth0")), "{:?}", status("message"));
        ensure!(status("code").as_deref() == Some("associating"), "{:?}", status("code"));
        let (fine, text) = check(&scene, &config)?;
        ensure!(
            !fine
                && text
                    .contains("MISSING  [[fabric.subnet]] 192.168.1.0/24: this host has no interface eth0"),
            "{text}"
        );

        let lan = leg(&scene, "eth0", &["192.168.1.20/24", "192.168.1.1/24", "203.0.113.5/32"])?;
        ensure!(
            wait_until(RETRIED, || says("ip address add 192.168.1.9/32 dev eth0")),
            "{:?}",
            status("message")
        );
        let (fine, text) = check(&scene, &config)?;
        ensure!(!fine && text.contains("nat-address 192.168.1.9 is not an address of this host"), "{text}");
        for lines in blocks(chapter, "sh")? {
            sh(&scene.server_net, lines)?;
        }
        ensure!(
            wait_until(RETRIED, || status("code").as_deref() == Some("associated")),
            "{}",
            scene.server_log()
        );
        ensure!(status("message").is_none(), "{:?}", status("message"));
        let (fine, text) = check(&scene, &config)?;
        ensure!(fine && text.contains("the next hop 192.168.1.1 answers on eth0"), "{text}");

        route(&scene, &endpoint, &subnet, "0.0.0.0/0")?;
        let _services =
            [Service::start(&lan, "192.168.1.20", "nas")?, Service::start(&lan, "203.0.113.5", "internet")?];
        let _client = connect(&scene, 0, &endpoint)?;
        ensure!(answer(&scene, 0, "192.168.1.20")? == "nas 192.168.1.9");
        ensure!(answer(&scene, 0, "203.0.113.5")? == "internet 192.168.1.9");
        ensure!(shown(&scene)? == ["192.168.1.9"]);

        // What `fabric check` says of a router that is silent, and of an interface that is down.
        lan.ip(&["address", "del", "192.168.1.1/24", "dev", "eth0"])?;
        scene.server_net.ip(&["neighbour", "flush", "dev", "eth0"])?;
        let (fine, text) = check(&scene, &config)?;
        ensure!(!fine && text.contains("the next hop 192.168.1.1 does not answer on eth0"), "{text}");
        scene.server_net.ip(&["link", "set", "eth0", "down"])?;
        let (fine, text) = check(&scene, &config)?;
        ensure!(!fine && text.contains("type: ip link set eth0 up"), "{text}");
        // The association says so too: at the next change, whatever it is, or within a minute.
        let down = || {
            scene.authorize(&endpoint, "198.51.100.0/24").is_ok() && {
                let rule = [
                    ("ClientVpnEndpointId", endpoint.as_str()),
                    ("TargetNetworkCidr", "198.51.100.0/24"),
                    ("RevokeAllGroups", "true"),
                ];
                scene.ec2("RevokeClientVpnIngress", &rule).is_ok() && says("the interface eth0 is down")
            }
        };
        ensure!(wait_until(RETRIED, down), "{:?}", status("message"));
        ensure!(status("code").as_deref() == Some("associated"), "{:?}", status("code"));
        scene.server_net.ip(&["link", "set", "eth0", "up"])?;
        lan.ip(&["address", "add", "192.168.1.1/24", "dev", "eth0"])?;
        ensure!(wait_until(RETRIED, || status("message").is_none()), "{:?}", status("message"));
        ensure!(answer(&scene, 0, "192.168.1.20")? == "nas 192.168.1.9", "the same session goes on");
        Ok(())
    })
}

/// Two VPCs with the same block behind one gateway: each endpoint reaches its own.
#[test]
fn a_data_centre_with_several_networks() -> Result<()> {
    lab::or_skip(|| {
        let chapter = "A data centre with several networks";
        let (mut scene, config) = scene(chapter, 3)?;
        let production = leg(&scene, "eth1", &["10.10.0.1/24", "10.20.0.7/32"])?;
        let tests = [("eth2", "blue"), ("eth3", "red")]
            .map(|(interface, name)| leg(&scene, interface, &["10.50.0.7/24"]).map(|net| (net, name)));
        let [host, router] = blocks(chapter, "sh")?[..] else { anyhow::bail!("commands of host and router") };
        sh(&scene.server_net, host)?;
        sh(&production, router)?;
        let mut services = vec![Service::start(&production, "10.20.0.7", "production")?];
        let mut nets = Vec::new();
        for test in tests {
            let (net, name) = test?;
            services.push(Service::start(&net, "10.50.0.7", name)?);
            nets.push(net);
        }
        scene.start_server()?;
        let (fine, text) = check(&scene, &config)?;
        ensure!(fine && text.contains("the next hop 10.10.0.1 answers on eth1"), "{text}");

        let rows = [
            ("10.20.0.0/16", "10.20.0.0/24", None, "443"),
            ("10.50.0.0/16", "10.50.0.0/24", Some("blue"), "443"),
            ("10.50.0.0/16", "10.50.0.0/24", Some("red"), "1194"),
        ];
        let mut clients = Vec::new();
        let mut associations = Vec::new();
        for (client, (vpc, block, network, port)) in rows.into_iter().enumerate() {
            let subnet = subnet(&scene, vpc, block, network)?;
            let endpoint = endpoint(&scene, port)?;
            let association = scene.associate(&endpoint, &subnet)?;
            clients.push(connect(&scene, client, &endpoint)?);
            associations.push((endpoint, association));
        }
        for _ in 0..3 {
            ensure!(answer(&scene, 0, "10.20.0.7")? == "production 10.88.0.2");
            ensure!(answer(&scene, 1, "10.50.0.7")? == "blue 10.50.0.2");
            ensure!(answer(&scene, 2, "10.50.0.7")? == "red 10.50.0.2");
        }
        // One of them ends: its twin does not notice.
        let (endpoint, association) = &associations[1];
        scene.disassociate(endpoint, association)?;
        ensure!(wait_until(LIMIT, || scene
            .endpoint_status(endpoint)
            .is_ok_and(|code| code == "pending-associate")));
        ensure!(answer(&scene, 2, "10.50.0.7")? == "red 10.50.0.2");
        for (endpoint, association) in [&associations[0], &associations[2]] {
            scene.disassociate(endpoint, association)?;
        }
        ensure!(wait_until(LIMIT, || scene.nothing_left().is_ok()), "{:?}", scene.nothing_left());

        // A strict reverse-path check and two ways back: `fabric check` knows what helps.
        sh(
            &scene.server_net,
            "cd /proc/sys/net/ipv4/conf; echo 1 > all/rp_filter; echo 0 > all/src_valid_mark",
        )?;
        let (fine, text) = check(&scene, &config)?;
        ensure!(!fine && text.contains("type: sysctl -w net.ipv4.conf.eth2.src_valid_mark=1"), "{text}");
        let advice =
            text.lines().filter_map(|line| line.trim().strip_prefix("type: sysctl -w net.ipv4.conf.eth"));
        for line in advice {
            let (interface, value) = line.split_once(".src_valid_mark=").with_context(|| line.to_owned())?;
            sh(
                &scene.server_net,
                &format!("echo {value} > /proc/sys/net/ipv4/conf/eth{interface}/src_valid_mark"),
            )?;
        }
        let (fine, text) = check(&scene, &config)?;
        ensure!(fine, "{text}");
        Ok(())
    })
}

/// Each version by its own router, and by nothing else when the interface is gone.
#[test]
fn ipv6_beside_ipv4() -> Result<()> {
    lab::or_skip(|| {
        let chapter = "IPv6 beside IPv4";
        let (mut scene, config) = scene(chapter, 1)?;
        let link = ["10.60.1.1/24", "10.60.1.20/24", "fd60:0:0:1::1/64", "fd60:0:0:1::20/64"];
        let far = ["203.0.113.5/32", "2001:db8:5::5/128"];
        let network = leg(&scene, "eth1", &[&link[..], &far].concat())?;
        let [host, router] = blocks(chapter, "sh")?[..] else { anyhow::bail!("commands of host and router") };
        sh(&scene.server_net, host)?;
        sh(&network, router)?;
        // Where the host itself would look for all this: a network of the same addresses.
        let other = leg(&scene, "eth9", &["fd99:9::1/64", far[1]])?;
        sh(
            &scene.server_net,
            "ip address add fd99:9::2/64 dev eth9; ip -6 route add default via fd99:9::1 dev eth9",
        )?;
        sh(&other, "ip -6 route add 2001:db8:ff00::/48 via fd99:9::2")?;
        scene.start_server()?;
        let checked = || check(&scene, &config);
        ensure!(wait_until(LIMIT, || checked().is_ok_and(|(fine, _)| fine)), "{}", checked()?.1);
        let (_, text) = checked()?;
        for hop in ["10.60.1.1", "fd60:0:0:1::1"] {
            ensure!(text.contains(&format!("the next hop {hop} answers on eth1")), "{text}");
        }
        let vpc = [("CidrBlock", "10.60.0.0/16"), ("Ipv6CidrBlock", "fd60::/48"), ("Ipv6Pool", "own")];
        let vpc = scene.ec2("CreateVpc", &vpc)?.text("vpc/vpcId")?;
        let subnet =
            [("VpcId", vpc.as_str()), ("CidrBlock", "10.60.1.0/24"), ("Ipv6CidrBlock", "fd60:0:0:1::/64")];
        let subnet = scene.ec2("CreateSubnet", &subnet)?.text("subnet/subnetId")?;
        let endpoint = scene.make_endpoint(&[("TrafficIpAddressType", "dual-stack")])?;
        let association = scene.associate(&endpoint, &subnet)?;
        for everywhere in ["0.0.0.0/0", "::/0"] {
            scene.authorize(&endpoint, everywhere)?;
            route(&scene, &endpoint, &subnet, everywhere)?;
        }
        let services = [
            ("10.60.1.20", "near"),
            ("fd60:0:0:1::20", "near"),
            ("203.0.113.5", "far"),
            ("2001:db8:5::5", "far"),
        ];
        let started = services.map(|(address, name)| Service::start(&network, address, name));
        let _services = started.into_iter().collect::<Result<Vec<_>>>()?;
        let _astray = Service::start(&other, "2001:db8:5::5", "astray")?;
        let _client = connect(&scene, 0, &endpoint)?;
        let connections = scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", &endpoint)])?;
        let own = connections.text("connections/item/clientIpv6Address")?;
        ensure!(own.starts_with("2001:db8:ff00:"), "{own}");
        let all_answer = || -> Result<()> {
            for (address, name) in services {
                let seen_as = if address.contains(':') { own.as_str() } else { "10.60.1.2" };
                ensure!(answer(&scene, 0, address)? == format!("{name} {seen_as}"), "{address}");
            }
            Ok(())
        };
        all_answer()?;
        // Without the interface there is no other way, though the host itself has one.
        scene.server_net.ip(&["link", "set", "eth1", "down"])?;
        let net = &scene.clients[0].net;
        let silent = |address: &str| !net.pings(address);
        ensure!(silent("2001:db8:5::5") && silent("fd60:0:0:1::20"), "by another network");
        scene.server_net.ip(&["link", "set", "eth1", "up"])?;
        // The kernel drops IPv6 addresses of an interface that goes down.
        scene.server_net.ip(&["address", "add", "fd60:0:0:1::2/64", "dev", "eth1"])?;
        all_answer()?;
        scene.disassociate(&endpoint, &association)?;
        ensure!(wait_until(LIMIT, || scene.nothing_left().is_ok()), "{:?}", scene.nothing_left());
        Ok(())
    })
}

#[test]
fn an_instance_inside_a_cloud_vpc() -> Result<()> {
    lab::or_skip(|| {
        let chapter = "An instance inside a cloud VPC";
        let (mut scene, config) = scene(chapter, 1)?;
        let private = leg(&scene, "eth1", &["10.0.2.1/24", "10.0.3.30/32"])?;
        for lines in blocks(chapter, "sh")? {
            sh(&scene.server_net, lines)?;
        }
        scene.start_server()?;
        let (fine, text) = check(&scene, &config)?;
        ensure!(fine && text.contains("the next hop 10.0.2.1 answers on eth1"), "{text}");
        let subnet = subnet(&scene, "10.0.0.0/16", "10.0.2.0/24", None)?;
        let endpoint = endpoint(&scene, "443")?;
        scene.associate(&endpoint, &subnet)?;
        let _service = Service::start(&private, "10.0.3.30", "database")?;
        let _client = connect(&scene, 0, &endpoint)?;
        ensure!(
            answer(&scene, 0, "10.0.3.30")? == "database 10.0.2.9",
            "by the subnet's router, as its address"
        );
        ensure!(shown(&scene)? == ["10.0.2.9"]);
        Ok(())
    })
}
