//! A certificate revocation list with real clients: the revoked one goes within a second and nobody else does; an expired
//! list lets nobody in and says so.

use std::time::{Duration, Instant};

use crate::common::people::{heard_for, nothing_lost, pki, profile};
use anyhow::{Context, Result, ensure};
use lab::{OpenVpn, Scene, SceneOptions, Sender, Sink, TARGETS, eventually, wait_until};

const PORT: u16 = 7777;

fn import(scene: &Scene, endpoint: &str, list: &str) -> Result<()> {
    let parameters = [("ClientVpnEndpointId", endpoint), ("CertificateRevocationList", list)];
    scene.ec2("ImportClientVpnClientCertificateRevocationList", &parameters)?;
    Ok(())
}

/// The list's status; `None`: there is no list.
fn status(scene: &Scene, endpoint: &str) -> Result<Option<String>> {
    let parameters = [("ClientVpnEndpointId", endpoint)];
    let answer = scene.ec2("ExportClientVpnClientCertificateRevocationList", &parameters)?;
    Ok(answer.text("status/code").ok())
}

fn refused(scene: &Scene, client: usize, endpoint: &str, name: &str) -> Result<()> {
    let profile = profile(scene, endpoint, name)?;
    let mut openvpn = OpenVpn::start(&scene.clients[client].net, &profile, &format!("{name}-refused"), &[])?;
    ensure!(openvpn.wait_up(1, Duration::from_secs(4)).is_err(), "{name} was let in: {}", openvpn.log());
    Ok(())
}

#[test]
fn the_revoked_go_at_once_and_nobody_else() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: 3, ..SceneOptions::default() })?;
        for name in ["bob", "carol"] {
            pki(&scene, &["issue-client", name])?;
        }
        let endpoint = scene.open(&[], "10.77.0.0/16")?;
        ensure!(status(&scene, &endpoint)?.is_none(), "no list yet");
        let alice = scene.connect(0, &profile(&scene, &endpoint, "client1")?, "alice", &[])?;
        let bob = scene.connect(1, &profile(&scene, &endpoint, "bob")?, "bob", &[])?;
        ensure!(scene.reaches(0, TARGETS[0]) && scene.reaches(1, TARGETS[0]));
        let sink = Sink::start(&scene.targets[0].net, PORT)?;
        let senders = [
            Sender::send(&scene.clients[0].net, (TARGETS[0], PORT), 1, 200)?,
            Sender::send(&scene.clients[1].net, (TARGETS[0], PORT), 2, 200)?,
        ];
        let of = |tag: u8| sink.arrived().into_iter().filter(move |stamped| stamped.tag == tag);
        ensure!(
            wait_until(Duration::from_secs(3), || of(1).count() > 20 && of(2).count() > 20),
            "both are heard"
        );

        // Revoke and import.
        pki(&scene, &["revoke", "bob"])?;
        pki(&scene, &["crl"])?;
        let list = std::fs::read_to_string(scene.certificates.dir.join("crl.pem"))?;
        let (called, called_at) = (Instant::now(), std::time::SystemTime::now());
        import(&scene, &endpoint, &list)?;
        let answered = called.elapsed();
        ensure!(
            wait_until(Duration::from_secs(2), || bob.log().contains("AUTH_FAILED")),
            "bob is told: {}",
            bob.log()
        );
        let told = called.elapsed();
        ensure!(told < Duration::from_secs(1), "bob was told after {told:?}");
        eventually("active", Duration::from_secs(1), || {
            status(&scene, &endpoint).ok().flatten().filter(|code| code == "active")
        })?;
        let shown = scene
            .ec2("ExportClientVpnClientCertificateRevocationList", &[("ClientVpnEndpointId", &endpoint)])?;
        ensure!(shown.text("certificateRevocationList")?.trim() == list.trim(), "the list as imported");

        // On packets: bob's have stopped, alice's have not missed one.
        heard_for(&sink, 1, Duration::from_millis(1_500))?;
        let last = of(2).map(|stamped| stamped.at).max().context("bob's packets")?;
        let late = last.duration_since(called_at).unwrap_or_default();
        ensure!(late < Duration::from_secs(1), "a packet of bob's came {late:?} after the call");
        nothing_lost(&sink, 1, &senders[0])?;
        drop(senders);
        ensure!(alice.times_up() == 1, "alice's session is the same: {}", alice.log());
        println!(
            "import answered after {answered:?}, bob told after {told:?}, his last packet after {late:?}"
        );

        // He does not come back; others may.
        drop(bob);
        refused(&scene, 1, &endpoint, "bob")?;
        let carol = scene.connect(2, &profile(&scene, &endpoint, "carol")?, "carol", &[])?;
        ensure!(scene.reaches(2, TARGETS[0]));
        drop(carol);

        // An expired list lets nobody in, loudly, and ends no session.
        let read = |name: &str| std::fs::read_to_string(scene.certificates.dir.join(name));
        let (ca, key) = (read("ca.crt")?, read("ca.key")?);
        let expired = pki::issue::crl(&ca, &key, &[], 1_000_000_000, 1_000_000_100, 7)?;
        import(&scene, &endpoint, &expired)?;
        refused(&scene, 2, &endpoint, "carol")?;
        ensure!(scene.server().log().contains("EXPIRED"), "the log says so: {}", scene.server().log());
        ensure!(scene.reaches(0, TARGETS[0]) && alice.times_up() == 1, "alice stays");

        // A good one opens again.
        import(&scene, &endpoint, &list)?;
        let carol = scene.connect(2, &profile(&scene, &endpoint, "carol")?, "carol-again", &[])?;
        ensure!(scene.reaches(2, TARGETS[0]));
        drop((alice, carol));
        Ok(())
    })
}
