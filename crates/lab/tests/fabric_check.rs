//! `bascule fabric check` against hosts that stand in the way, and its advice followed.

mod common;

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Net, Scene, SceneOptions, TARGETS, wait_until};

const SECOND: Duration = Duration::from_secs(1);

fn check(net: &Net, arguments: &[&str]) -> Result<(bool, String)> {
    let program = common::people::program()?;
    let output: Output = net.command(program).args(["fabric", "check"]).args(arguments).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8(text)?))
}

fn load(net: &Net, rules: &str) -> Result<()> {
    let path = tempfile::NamedTempFile::new()?;
    std::fs::write(path.path(), rules)?;
    net.output("nft", &["--file", path.path().to_str().context("a plain path")?])?;
    Ok(())
}

#[test]
fn it_names_what_stands_in_the_way_and_its_advice_helps() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions::default())?;
        let net = &scene.server_net;
        let address = ["--gateway-address", "10.99.0.2"];
        let (fine, text) = check(net, &address)?;
        ensure!(fine && text.contains("the kernel fabric can work here"), "{text}");
        ensure!(text.contains("10.99.0.2 is this host's, ports 443 and 1194 are free"), "{text}");

        // An address that is nobody's.
        let (fine, text) = check(net, &["--gateway-address", "10.99.7.7"])?;
        ensure!(!fine && text.contains("MISSING  the gateway address 10.99.7.7 cannot be bound"), "{text}");
        ensure!(text.contains("ip address add 10.99.7.7/32 dev INTERFACE"), "{text}");

        // A port that is taken: the endpoint's own.
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let (_, text) = check(net, &["--gateway-address", "10.99.0.1"])?;
        ensure!(text.contains("10.99.0.1: UDP 443 taken already"), "{text}");

        // A firewall that drops by default, as many hosts have one. The advice is followed to the letter.
        let _client = scene.connect(0, &scene.profile(&endpoint)?, "client", &[])?;
        ensure!(scene.reaches(0, TARGETS[0]));
        load(
            net,
            "table inet strict {\nchain passing { type filter hook forward priority 0; policy drop; }\n}",
        )?;
        ensure!(wait_until(SECOND, || !scene.clients[0].net.pings(TARGETS[0])), "the host drops");
        let (fine, text) = check(net, &address)?;
        ensure!(
            !fine && text.contains("MISSING  the chain passing of the table inet strict drops"),
            "{text}"
        );
        let advice = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("type: nft insert"))
            .with_context(|| text.clone())?;
        net.output("sh", &["-c", &format!("nft insert{advice}")])?;
        ensure!(scene.reaches(0, TARGETS[0]), "the advice helps");
        net.output("nft", &["delete", "table", "inet", "strict"])?;

        // Docker's and ufw's own places for it.
        let rows = [
            ("DOCKER-USER", "(Docker's)", "iptables -I DOCKER-USER -i bsc+ -j ACCEPT"),
            ("ufw-user-forward", "(ufw's)", "iptables -I ufw-before-forward -i bsc+ -j ACCEPT"),
        ];
        for (chain, whose, advice) in rows {
            let forward = "chain FORWARD { type filter hook forward priority 0; policy drop; }";
            let rules = format!("table ip filter {{\n{forward}\nchain {chain} {{ }}\n}}");
            load(net, &rules)?;
            let (fine, text) = check(net, &address)?;
            ensure!(!fine && text.contains(whose) && text.contains(advice), "{text}");
            net.output("nft", &["delete", "table", "ip", "filter"])?;
        }
        let (fine, text) = check(net, &address)?;
        ensure!(fine, "{text}");
        Ok(())
    })
}
