//! Real clients in every combination of transport, outer address family, TLS version and cipher; and renegotiations under
//! traffic that lose nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{OpenVpn, Scene, SceneOptions, TARGETS};

const V6: &str = "fd99::1";
/// Arguments that hold a client to a version, and how its log names it.
const VERSIONS: [(&str, &str); 2] = [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")];
const CIPHERS: [&str; 3] = ["AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"];
/// For clients that start at the same time, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(20);
/// Echo requests while keys change, one each 5 ms.
const PINGS: u32 = 1_400;

/// A server that can be reached over both families.
fn scene(clients: usize, environment: &[(&str, &str)]) -> Result<Scene> {
    let mut options = SceneOptions { clients, ..SceneOptions::default() };
    let addresses = format!("10.99.0.1,{V6}");
    options.server.arguments = ["--workers", "2", "--gateway-address", &addresses].map(str::to_owned).into();
    options.server.environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut scene = Scene::without_server(options)?;
    scene.server_net.ip(&["-6", "addr", "add", &format!("{V6}/64"), "dev", "outside", "nodad"])?;
    for (number, client) in scene.clients.iter().enumerate() {
        let address = format!("fd99::{}/64", 10 + number);
        client.net.ip(&["-6", "addr", "add", &address, "dev", "eth0", "nodad"])?;
    }
    scene.start_server()?;
    Ok(scene)
}

/// An endpoint of a transport; the first free address of the gateway is its own, unless that one's port is taken.
fn endpoint(scene: &Scene, subnet: &str, transport: &str) -> Result<String> {
    let endpoint = scene.make_endpoint(&[("TransportProtocol", transport)])?;
    scene.authorize(&endpoint, "10.77.0.0/16")?;
    scene.associate(&endpoint, subnet)?;
    Ok(endpoint)
}

/// One endpoint, one profile with both addresses, and a client by each.
#[test]
fn a_dual_stack_endpoint_is_reached_both_ways() -> Result<()> {
    lab::or_skip(|| {
        let scene = scene(2, &[])?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        for transport in ["udp", "tcp"] {
            let endpoint = scene.make_endpoint(&[
                ("TransportProtocol", transport),
                ("EndpointIpAddressType", "dual-stack"),
            ])?;
            scene.authorize(&endpoint, "10.77.0.0/16")?;
            let association = scene.associate(&endpoint, &subnet)?;
            let profile = scene.profile(&endpoint)?;
            let text = std::fs::read_to_string(&profile)?;
            let [four, six] = ["remote 10.99.0.1 443\n".to_owned(), format!("remote {V6} 443\n")];
            ensure!(text.contains(&format!("{four}{six}")), "{text}");
            // A client takes the first that answers.
            let other = profile.with_file_name("six.ovpn");
            std::fs::write(&other, text.replace(&four, ""))?;
            let mut clients = Vec::new();
            for (number, profile) in [&profile, &other].into_iter().enumerate() {
                clients.push(scene.connect(number, profile, &format!("{transport}-{number}"), &[])?);
                ensure!(scene.reaches(number, TARGETS[0]), "{transport} {number}");
            }
            for (client, place) in clients.iter().zip(["[AF_INET]10.99.0.1:443", "[AF_INET6]fd99::1:443"]) {
                ensure!(client.log().contains(place), "{}", client.log());
            }
            scene.disassociate(&endpoint, &association)?;
            for (number, mut client) in clients.into_iter().enumerate() {
                client.wait_for("server-pushed-connection-reset", 0, PATIENCE)?;
                ensure!(!scene.reaches(number, TARGETS[0]), "{transport} {number}");
            }
            scene.ec2("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &endpoint)])?;
        }
        Ok(())
    })
}

#[test]
fn every_transport_family_version_and_cipher() -> Result<()> {
    lab::or_skip(|| {
        let scene = scene(VERSIONS.len() * CIPHERS.len(), &[])?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let mut families = Vec::new();
        for transport in ["udp", "udp", "tcp", "tcp"] {
            let profile = scene.profile(&endpoint(&scene, &subnet, transport)?)?;
            let six = std::fs::read_to_string(&profile)?.contains(&format!("remote {V6} 443"));
            families.push((transport, six));
            let mut clients = Vec::new();
            let kinds = VERSIONS.iter().flat_map(|version| CIPHERS.map(|cipher| (version, cipher)));
            for (number, ((version, name), cipher)) in kinds.enumerate() {
                let arguments =
                    ["--tls-version-min", version, "--tls-version-max", version, "--data-ciphers", cipher];
                let label = format!("{transport}-{six}-{version}-{cipher}");
                let host = scene.clients.get(number).context("a host for each")?;
                clients.push((
                    number,
                    *name,
                    cipher,
                    OpenVpn::start(&host.net, &profile, &label, &arguments)?,
                ));
            }
            for (number, version, cipher, client) in &mut clients {
                client.wait_up(1, PATIENCE).with_context(|| scene.server().log())?;
                ensure!(
                    scene.reaches(*number, TARGETS[0]),
                    "{transport} {version} {cipher}: {}",
                    client.log()
                );
                let log = client.log();
                ensure!(log.contains(&format!("Control Channel: {version}")), "{version}: {log}");
                ensure!(log.contains(&format!("Data Channel: cipher '{cipher}'")), "{cipher}: {log}");
                ensure!(
                    log.contains(if six { "[AF_INET6]fd99::1:443" } else { "[AF_INET]10.99.0.1:443" }),
                    "{log}"
                );
            }
        }
        families.sort_unstable();
        ensure!(families == [("tcp", false), ("tcp", true), ("udp", false), ("udp", true)], "{families:?}");
        Ok(())
    })
}

#[test]
fn renegotiations_under_traffic_lose_nothing() -> Result<()> {
    lab::or_skip(|| {
        let scene = scene(2, &[])?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let mut clients = Vec::new();
        for (number, transport) in ["udp", "tcp"].into_iter().enumerate() {
            let profile = scene.profile(&endpoint(&scene, &subnet, transport)?)?;
            clients.push(scene.connect(number, &profile, transport, &["--reneg-sec", "2"])?);
            ensure!(scene.reaches(number, TARGETS[0]));
        }
        ping_all(&scene)?;
        for client in &clients {
            let again = client.log().matches("TLS: soft reset").count();
            ensure!(again >= 2 && client.times_up() == 1, "{again} renegotiations: {}", client.log());
        }
        Ok(())
    })
}

/// Clients of AWS's profile never ask for new keys: the server does, before one is used up.
#[test]
fn renegotiations_that_the_server_asks_for_lose_nothing() -> Result<()> {
    lab::or_skip(|| {
        let scene = scene(3, &[("BASCULE_REKEY_PACKETS", "400")])?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let mut clients = Vec::new();
        // The second of a transport has the other address, of the other family.
        for (number, transport) in ["udp", "udp", "tcp"].into_iter().enumerate() {
            let profile = scene.profile(&endpoint(&scene, &subnet, transport)?)?;
            clients.push(scene.connect(number, &profile, &format!("{transport}-{number}"), &[])?);
            ensure!(scene.reaches(number, TARGETS[0]));
        }
        let six = clients.iter().filter(|client| client.log().contains("[AF_INET6]fd99::1:443")).count();
        ensure!(six == 1, "{six} clients by IPv6");
        ping_all(&scene)?;
        for client in &clients {
            let log = client.log();
            // Each negotiation is told in such a line.
            let keys = log.matches("Control Channel: TLSv1").count();
            ensure!(keys >= 3 && client.times_up() == 1, "{keys} keys: {log}");
            ensure!(!log.contains("TLS: soft reset sec"), "its own doing: {log}");
        }
        Ok(())
    })
}

/// Every client pings for a while, and nothing is lost.
fn ping_all(scene: &Scene) -> Result<()> {
    std::thread::scope(|scope| -> Result<()> {
        let count = PINGS.to_string();
        let pinging: Vec<_> = scene
            .clients
            .iter()
            .map(|client| {
                let arguments = ["-c", &count, "-i", "0.005", "-W", "2", "-n", "-q", TARGETS[0]];
                let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
                scope.spawn(move || {
                    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                    client.net.output("ping", &arguments)
                })
            })
            .collect();
        for pings in pinging {
            let said = pings.join().ok().context("the pings")??;
            ensure!(said.contains(" 0% packet loss"), "{said}");
        }
        Ok(())
    })
}
