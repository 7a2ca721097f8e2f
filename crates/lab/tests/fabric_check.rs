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

/// Whose it is, as the check says it; its table; what it looks like.
const FIREWALLS: [(&str, &str, &str); 3] = [
    (
        " (Docker's)",
        "ip filter",
        "table ip filter {
chain DOCKER-USER { }
chain DOCKER-FORWARD { oifname \"docker0\" ct state related,established accept; iifname \"docker0\" accept; }
chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; jump DOCKER-FORWARD; }
}",
    ),
    (
        " (ufw's)",
        "ip filter",
        "table ip filter {
chain ufw-before-forward { ct state related,established accept; icmp type destination-unreachable accept; }
chain ufw-user-forward { }
chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw-before-forward; jump ufw-user-forward; }
}",
    ),
    (
        "",
        "inet firewalld",
        "table inet firewalld {
chain filter_FORWARD {
  type filter hook forward priority 10; policy accept;
  ct state established,related accept
  iifname \"lo\" accept
  counter reject with icmpx admin-prohibited
}
}",
    ),
];

/// Types what the check says. Where that is iptables, which a host with Docker or ufw has, what iptables would do.
fn follow(net: &Net, text: &str) -> Result<()> {
    let advice = text.lines().find_map(|line| {
        line.trim()
            .strip_prefix("type: ")
            .filter(|line| line.starts_with("nft insert") || line.starts_with("iptables"))
    });
    let advice = advice.with_context(|| text.to_owned())?;
    // What stands in brackets is how to keep it.
    for command in advice.split(" (").next().unwrap_or_default().split("; ") {
        let Some(rule) = command.strip_prefix("iptables -I ") else {
            net.output("sh", &["-c", command])?;
            continue;
        };
        let rule = rule
            .replace("-i bsc+", "iifname \"bsc*\"")
            .replace("-o bsc+", "oifname \"bsc*\"")
            .replace("-m conntrack --ctstate RELATED,ESTABLISHED", "ct state related,established")
            .replace("-j ACCEPT", "accept");
        net.output("sh", &["-c", &format!("nft 'insert rule ip filter {rule}'")])?;
    }
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

        // Docker's, ufw's and firewalld's own ways to do it: the advice helps there, too.
        for (whose, table, rules) in FIREWALLS {
            load(net, rules)?;
            ensure!(wait_until(SECOND, || !scene.clients[0].net.pings(TARGETS[0])), "{whose} drops");
            let (fine, text) = check(net, &address)?;
            ensure!(!fine && text.contains(&format!("table {table}{whose} drops")), "{whose}: {text}");
            follow(net, &text)?;
            ensure!(scene.reaches(0, TARGETS[0]), "{whose}: the advice helps: {text}");
            net.output("sh", &["-c", &format!("nft delete table {table}")])?;
        }
        let (fine, text) = check(net, &address)?;
        ensure!(fine, "{text}");
        Ok(())
    })
}
