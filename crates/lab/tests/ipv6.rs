//! Endpoints on an IPv6 address: the same clients, the same tunnel, another outside.

use anyhow::{Result, ensure};
use lab::{Scene, SceneOptions, TARGETS};

const SERVER: &str = "fd99::1";

#[test]
fn clients_come_in_over_ipv6() -> Result<()> {
    lab::or_skip(|| {
        let mut options = SceneOptions { clients: 2, ..SceneOptions::default() };
        options.server.arguments = ["--workers", "2", "--gateway-address", SERVER].map(str::to_owned).into();
        let mut scene = Scene::without_server(options)?;
        // Without duplicate address detection: it would take a second.
        scene.server_net.ip(&["-6", "addr", "add", "fd99::1/64", "dev", "outside", "nodad"])?;
        for (number, client) in scene.clients.iter().enumerate() {
            let address = format!("fd99::{}/64", 10 + number);
            client.net.ip(&["-6", "addr", "add", &address, "dev", "eth0", "nodad"])?;
        }
        scene.start_server()?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        for (number, protocol) in ["udp", "tcp"].into_iter().enumerate() {
            let endpoint = scene.make_endpoint(&[("TransportProtocol", protocol)])?;
            scene.authorize(&endpoint, "10.77.0.0/16")?;
            let association = scene.associate(&endpoint, &subnet)?;
            let profile = scene.profile(&endpoint)?;
            let mut client = scene.connect(number, &profile, protocol, &[])?;
            ensure!(client.log().contains("[AF_INET6]fd99::1:443"), "{}", client.log());
            ensure!(scene.reaches(number, TARGETS[0]), "{protocol}: {}", scene.server().log());
            // A full-sized packet passes too, whatever the outside makes of it.
            let net = &scene.clients[number].net;
            net.output("ping", &["-c", "1", "-W", "2", "-n", "-s", "1472", "-M", "do", TARGETS[0]])?;
            let said = client.log().len();
            scene.disassociate(&endpoint, &association)?;
            let farewell = "Connection reset command was pushed by server";
            client.wait_for(farewell, said, std::time::Duration::from_secs(3))?;
        }
        Ok(())
    })
}
