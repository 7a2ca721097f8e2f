//! The embedded DNS server as a client's resolver: `remote-random-hostname` leads to the gateway, as long as it is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Scene, SceneOptions, TARGETS, wait_until};

const LIMIT: Duration = Duration::from_secs(5);
const SERVER: &str = "10.99.0.1";

/// What a host of the scene resolves a name to, by its own resolver.
fn resolves(scene: &Scene, name: &str) -> Vec<String> {
    let text = scene.clients[0].net.output("getent", &["ahostsv4", name]).unwrap_or_default();
    let mut found: Vec<String> =
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    found.dedup();
    found
}

/// A question for an address, and the answer's code and number of answers, over TCP.
fn ask_over_tcp(scene: &Scene, name: &str) -> Result<(u8, u8)> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len())?);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    scene.clients[0].net.run(|| {
        let mut stream = TcpStream::connect((SERVER, 53))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(&u16::try_from(packet.len())?.to_be_bytes())?;
        stream.write_all(&packet)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        ensure!(answer.len() > 12 && answer[..2] == [0, 7], "{answer:?}");
        Ok((answer[3] & 0xf, answer[7]))
    })
}

#[test]
fn random_host_names_lead_to_the_endpoint() -> Result<()> {
    lab::or_skip(|| {
        let mut options = SceneOptions::default();
        let arguments = ["--domain", "vpn.test", "--dns-listen", "10.99.0.1:53"];
        options.server.arguments.extend(arguments.map(str::to_owned));
        let scene = Scene::new(options)?;
        scene.clients[0].net.resolve_by(SERVER)?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        let name = format!("{endpoint}.prod.clientvpn.us-east-1.vpn.test");
        let below = format!("a1b2c3.{name}");
        // There is the name, and nowhere to go yet.
        ensure!(ask_over_tcp(&scene, &below)? == (0, 0));
        let association = scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let address = resolves(&scene, &below);
        ensure!(address.len() == 1 && address == resolves(&scene, &name), "{address:?}");
        ensure!(ask_over_tcp(&scene, &below)? == (0, 1));
        ensure!(ask_over_tcp(&scene, "example.com")?.0 == 5, "others' names are refused");
        let profile = scene.profile(&endpoint)?;
        let text = std::fs::read_to_string(&profile)?;
        ensure!(
            text.contains(&format!("remote {name} 443")) && text.contains("remote-random-hostname"),
            "{text}"
        );
        let client = scene.connect(0, &profile, "client", &[])?;
        ensure!(scene.reaches(0, TARGETS[0]));
        ensure!(client.log().contains(&format!("{}:443", address[0])), "{}", client.log());
        client.stop();
        scene.disassociate(&endpoint, &association)?;
        ensure!(wait_until(LIMIT, || ask_over_tcp(&scene, &below).is_ok_and(|answer| answer == (0, 0))));
        scene.ec2("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &endpoint)])?;
        ensure!(wait_until(LIMIT, || ask_over_tcp(&scene, &below).is_ok_and(|answer| answer.0 == 3)));
        Ok(())
    })
}
