//! The call it all began with: the last disassociation, under load, again and again.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::{OpenVpn, Scene, SceneOptions, Sender, Sink, TARGETS, eventually, wait_until};

/// Where the senders' packets go.
const PORT: u16 = 9_000;
/// Packets a second of each sender.
const RATE: u32 = 5_000;
/// Clients that send.
const SENDERS: usize = 3;
/// Clients that try to get in.
const KNOCKING: usize = 2;
const ROUNDS: usize = 50;
const LIMIT: Duration = Duration::from_secs(1);

#[test]
fn after_the_final_status_not_one_packet_arrives() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: SENDERS + KNOCKING, ..SceneOptions::default() })?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        let sink = Sink::start(&scene.targets[0].net, PORT)?;
        let mut clients: Vec<OpenVpn> = Vec::new();
        let mut association = scene.associate(&endpoint, &subnet)?;
        for number in 0..SENDERS {
            clients.push(scene.connect(
                number,
                &profile,
                &format!("sender{number}"),
                &["--connect-retry", "1", "1"],
            )?);
        }
        let senders = (0..SENDERS)
            .map(|number| {
                let tag = u8::try_from(number)?;
                Sender::send(&scene.clients[number].net, (TARGETS[0], PORT), tag, RATE)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut worst = Duration::ZERO;
        for round in 0..ROUNDS {
            for client in &mut clients {
                client
                    .wait_up(round + 1, Duration::from_secs(30))
                    .with_context(|| format!("round {round}: {}", scene.server().log()))?;
            }
            sink.clear();
            eventually("packets of every sender", Duration::from_secs(5), || {
                let arrived = sink.arrived();
                (0..SENDERS)
                    .all(|tag| arrived.iter().filter(|packet| usize::from(packet.tag) == tag).count() > 500)
                    .then_some(())
            })?;
            let knocking = (SENDERS..SENDERS + KNOCKING)
                .map(|number| {
                    OpenVpn::start(
                        &scene.clients[number].net,
                        &profile,
                        &format!("knock{number}"),
                        &["--connect-retry", "1", "1"],
                    )
                })
                .collect::<Result<Vec<_>>>()?;
            // Some rounds meet them before their first packet, some in mid-handshake, some connected.
            wait_until(Duration::from_millis(u64::try_from(round)? * 12), || false);
            let called = Instant::now();
            let answer = scene.disassociate(&endpoint, &association)?;
            ensure!(answer.text("status/code")? == "disassociating");
            let seen = eventually("pending-associate", Duration::from_secs(5), || {
                let status = scene.endpoint_status(&endpoint).ok()?;
                (status == "pending-associate").then(SystemTime::now)
            })
            .with_context(|| scene.server().log())?;
            let took = called.elapsed();
            worst = worst.max(took);
            ensure!(took < LIMIT, "round {round}: {took:?}");
            scene.nothing_left().with_context(|| format!("round {round}"))?;
            let up_before: Vec<usize> = knocking.iter().map(OpenVpn::times_up).collect();
            ensure!(
                !wait_until(Duration::from_millis(150), || sink
                    .arrived()
                    .iter()
                    .any(|packet| packet.at > seen)),
                "round {round}: packets arrived after the final status"
            );
            // A tunnel that was up may still be logged late; none may come up anew.
            for (client, before) in knocking.iter().zip(up_before) {
                ensure!(client.times_up() <= before + 1, "round {round}: a refused client got in");
            }
            let rows = scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", &endpoint)])?;
            for row in rows.rows("connections") {
                ensure!(row.text("status/code")? == "terminated", "round {round}: {row:?}");
                ensure!(row.text("connectionEndTime")? != "-", "round {round}: {row:?}");
            }
            drop(knocking);
            association = scene.associate(&endpoint, &subnet)?;
        }
        println!(
            "worst of {ROUNDS}: {worst:?}; {} packets sent",
            senders.iter().map(Sender::sent).sum::<u64>()
        );
        Ok(())
    })
}

#[test]
fn while_nft_fails_it_stays_disassociating_and_sessions_end_all_the_same() -> Result<()> {
    lab::or_skip(|| {
        let mut options = SceneOptions::default();
        let tools = tempfile::tempdir()?;
        let nft = tools.path().join("nft");
        let broken = tools.path().join("broken");
        let real = lab::find_program("nft").context("nft")?;
        std::fs::write(
            &nft,
            format!(
                "#!/bin/sh\n[ -e {} ] && {{ echo 'broken for the test' >&2; exit 1; }}\nexec {} \"$@\"\n",
                broken.display(),
                real.display()
            ),
        )?;
        std::os::unix::fs::PermissionsExt::set_mode(&mut std::fs::metadata(&nft)?.permissions(), 0o755);
        std::fs::set_permissions(&nft, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH")?);
        options.server.environment.push(("PATH".to_owned(), path));
        let scene = Scene::new(options)?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        let association = scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        let mut client = scene.connect(0, &profile, "client", &[])?;
        assert!(scene.reaches(0, TARGETS[0]));
        std::fs::write(&broken, "")?;
        let said = client.log().len();
        scene.disassociate(&endpoint, &association)?;
        client.wait_for("Connection reset command was pushed by server", said, Duration::from_secs(3))?;
        let message = eventually("a message", Duration::from_secs(5), || {
            let parameters = [("ClientVpnEndpointId", endpoint.as_str())];
            let answer = scene.ec2("DescribeClientVpnTargetNetworks", &parameters).ok()?;
            answer.text("clientVpnTargetNetworks/item/status/message").ok()
        })?;
        assert!(message.contains("nft"), "{message}");
        assert_eq!(scene.association_status(&endpoint, &association)?.as_deref(), Some("disassociating"));
        assert_eq!(scene.endpoint_status(&endpoint)?, "available");
        assert!(!scene.clients[0].net.pings(TARGETS[0]));
        std::fs::remove_file(&broken)?;
        eventually("pending-associate", Duration::from_secs(10), || {
            scene.endpoint_status(&endpoint).ok().filter(|status| status == "pending-associate")
        })?;
        scene.nothing_left()?;
        Ok(())
    })
}
