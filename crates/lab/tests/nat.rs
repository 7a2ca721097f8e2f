//! A real client whose NAT changes under it: the flow goes on, in the same session.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Scene, SceneOptions, TARGETS, events};

/// Other addresses that the client seems to come from, one after the other.
const ADDRESSES: [&str; 3] = ["10.99.0.51", "10.99.0.52", "10.99.0.53"];
/// Echo requests, one each 10 ms.
const PINGS: u32 = 250;
/// Those that may be lost: on their way while the address changes.
const LOST_MAX: u32 = 8;

/// Has the client's packets leave with another address, and those for it come back.
fn translate(scene: &Scene, address: &str) -> Result<()> {
    let net = &scene.clients[0].net;
    // One transaction: there is no moment without a translation.
    let table = format!(
        "table ip moving\ndelete table ip moving\ntable ip moving {{\n\
         chain away {{ type filter hook postrouting priority 300; udp dport 443 ip saddr set {address}; }}\n\
         chain back {{ type filter hook prerouting priority -300; udp sport 443 ip daddr {address} ip daddr set \
         10.99.0.10; }}\n}}\n"
    );
    let file = scene.dir().join("moving.nft");
    std::fs::write(&file, table)?;
    net.output("nft", &["-f", file.to_str().context("a plain path")?])?;
    Ok(())
}

#[test]
fn a_flow_goes_on_when_the_nat_changes() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions::default())?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        let association = scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        for address in ADDRESSES {
            scene.clients[0].net.ip(&["addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        }
        let mut client = scene.connect(0, &profile, "client", &[])?;
        ensure!(scene.reaches(0, TARGETS[0]));
        let count = PINGS.to_string();
        let said = std::thread::scope(|scope| -> Result<String> {
            let pinging = scope.spawn(|| {
                let arguments = ["-c", &count, "-i", "0.01", "-W", "1", "-n", "-q", TARGETS[0]];
                scene.clients[0].net.output("ping", &arguments)
            });
            for (moves, address) in (1..).zip(ADDRESSES) {
                translate(&scene, address)?;
                lab::eventually("the move", Duration::from_secs(3), || {
                    (events(&scene.metrics().ok()?, "floats").ok()? >= moves).then_some(())
                })?;
            }
            pinging.join().ok().context("the pings")?
        })?;
        let received: u32 = said
            .split(" received")
            .next()
            .and_then(|before| before.rsplit(' ').next()?.parse().ok())
            .with_context(|| said.clone())?;
        println!("{received} of {PINGS} echoes over {} changes of address", ADDRESSES.len());
        ensure!(PINGS - received <= LOST_MAX, "{said}");
        ensure!(client.times_up() == 1, "{}", client.log());
        ensure!(events(&scene.metrics()?, "floats-refused")? == 0);
        // The control channel has moved too: the farewell comes.
        let before = client.log().len();
        scene.disassociate(&endpoint, &association)?;
        client.wait_for("Connection reset command was pushed by server", before, Duration::from_secs(3))?;
        Ok(())
    })
}
