//! `bascule fabric check` against hosts that stand in the way, and its advice followed to the letter.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Echo, Net, Scene, SceneOptions, TARGETS, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const ECHO: u16 = 7;

/// Whether the client has an answer from the target, in a conversation of its own. Not a ping: ufw lets those through.
fn speaks(scene: &Scene) -> bool {
    scene.clients[0].net.run(|| {
        let there = || -> std::io::Result<usize> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(Duration::from_millis(300)))?;
            socket.send_to(b"there?", (TARGETS[0], ECHO))?;
            socket.recv(&mut [0; 16])
        };
        there().is_ok()
    })
}

fn said(output: Output) -> Result<(bool, String)> {
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8(text)?))
}

fn check(net: &Net, arguments: &[&str]) -> Result<(bool, String)> {
    let program = crate::common::people::program()?;
    said(net.command(program).args(["fabric", "check"]).args(arguments).output()?)
}

/// The same, `before` having been typed where nobody else sees what it mounts.
fn check_after(net: &Net, before: &str, wrapper: &str) -> Result<(bool, String)> {
    let line = format!("{before}\nexec {wrapper} \"$0\" fabric check --gateway-address 10.99.0.2");
    said(net.command("sh").args(["-e", "-c", &line]).arg(crate::common::people::program()?).output()?)
}

fn load(net: &Net, rules: &str) -> Result<()> {
    let path = tempfile::NamedTempFile::new()?;
    std::fs::write(path.path(), rules)?;
    net.output("nft", &["--file", path.path().to_str().context("a plain path")?])?;
    Ok(())
}

fn shell(net: &Net, lines: &str) -> Result<()> {
    net.output("sh", &["-e", "-c", lines]).with_context(|| lines.to_owned()).map(drop)
}

/// Types what the check says of each thing that is missing.
fn follow(net: &Net, text: &str) -> Result<()> {
    let mut lines = text.lines();
    let mut followed = 0;
    while let Some(line) = lines.next() {
        if line.starts_with("MISSING") {
            let advice = lines.next().and_then(|line| line.trim().strip_prefix("type: "));
            shell(net, advice.with_context(|| text.to_owned())?)?;
            followed += 1;
        }
    }
    ensure!(followed > 0, "nothing to follow: {text}");
    Ok(())
}

/// Every program that the test is to call, whether it is there.
fn has(program: &str) -> bool {
    lab::find_program(program).is_some()
}

/// What Docker makes, by the program it makes it with.
const DOCKER: &str = "iptables -P FORWARD DROP
iptables -N DOCKER-USER
iptables -N DOCKER-FORWARD
iptables -A FORWARD -j DOCKER-USER
iptables -A FORWARD -j DOCKER-FORWARD
iptables -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT
iptables -t nat -N DOCKER
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80";

/// ufw with settings of this namespace alone.
fn enable_ufw(net: &Net) -> Result<()> {
    let settings = net.settings();
    std::fs::create_dir_all(&settings)?;
    let copied =
        Command::new("cp").args(["-a", "/etc/ufw"]).arg(Path::new(&settings).join("ufw")).status()?;
    ensure!(copied.success(), "cp -a /etc/ufw");
    shell(net, "ufw --force enable")
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
        let endpoint = scene.open(&[], "10.77.0.0/16")?;
        let (_, text) = check(net, &["--gateway-address", "10.99.0.1"])?;
        ensure!(text.contains("10.99.0.1: UDP 443 taken already"), "{text}");

        // Firewalls that drop by default, made by the programs that make them: what is typed then helps, and is seen.
        let _client = scene.connect(0, &scene.profile(&endpoint)?, "client", &[])?;
        let _echo = Echo::start(&scene.targets[0].net, ECHO)?;
        ensure!(wait_until(5 * SECOND, || speaks(&scene)), "{}", scene.server_log());
        let strict = "nft 'table inet strict { chain passing { type filter hook forward priority 0; policy drop; }; }'";
        let firewalls = [
            (
                true,
                strict,
                "the chain passing of the table inet strict drops",
                "nft insert rule inet strict passing",
            ),
            (
                has("iptables"),
                DOCKER,
                "FORWARD of the table ip filter (Docker's) drops",
                "iptables -I DOCKER-USER",
            ),
            (has("ufw"), "", "FORWARD of the table ip filter (ufw's) drops", "ufw route allow in on bsc+"),
            (
                true,
                "nft 'table inet back { chain early { type filter hook prerouting priority 0; fib saddr . iif oif missing drop; }; }'",
                "the chain early of the table inet back drops what clients send",
                "nft insert rule inet back early iifname",
            ),
        ];
        // Who asks for a way back by a packet's mark finds one (firewalld does, of IPv6).
        shell(
            net,
            "nft 'table inet marked { chain early { type filter hook prerouting priority 10; fib saddr . mark . iif oif missing drop; }
chain passing { type filter hook forward priority 10; fib saddr . mark oif missing drop; }; }'",
        )?;
        let (fine, text) = check(net, &address)?;
        ensure!(wait_until(SECOND, || speaks(&scene)), "an answer is taken for one without a way back");
        ensure!(fine && text.contains("the kernel fabric can work here"), "{text}");
        shell(net, "nft delete table inet marked")?;

        for (there, lines, drops, advice) in firewalls {
            ensure!(there || std::env::var_os("CI").is_none(), "in CI there are all programs: {advice}");
            if !there {
                println!("SKIP: {advice}: no such program");
                continue;
            }
            if lines.is_empty() {
                enable_ufw(net)?
            } else {
                shell(net, lines)?
            }
            ensure!(wait_until(SECOND, || !speaks(&scene)), "{drops}");
            let (fine, text) = check(net, &address)?;
            ensure!(!fine && text.contains(drops) && text.contains(advice), "{drops}: {text}");
            follow(net, &text)?;
            ensure!(wait_until(5 * SECOND, || speaks(&scene)), "{drops}: the advice helps: {text}");
            let (fine, text) = check(net, &address)?;
            ensure!(fine && text.contains("the kernel fabric can work here"), "{drops}: followed: {text}");
            // The server's own table stays.
            shell(
                net,
                "for t in $(nft list tables | grep -v bascule | sed 's/table //; s/ /./'); do nft delete table $(echo $t | tr . ' '); done",
            )?;
        }
        Ok(())
    })
}

/// What comes of a row.
enum Said {
    Fine,
    /// It works, and there is this note.
    Noted,
    /// Something is missing, and the advice, typed, mends it.
    Mended,
    /// Something is missing.
    Missing,
    /// Nobody can tell.
    Unknown,
}
use Said::{Fine, Mended, Missing, Noted, Unknown};

/// What firewalld 1.3 writes, as far as it matters, the outer interface not in the default zone: rules of that zone, and what
/// leads tunnels to theirs.
macro_rules! firewalld {
    ($allowed:literal, $tunnels:literal) => {
        concat!(
            "table inet firewalld { chain filter_PREROUTING { type filter hook prerouting priority 10; policy accept;
icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept; meta nfproto ipv6 fib saddr . mark . iif oif missing drop; }
chain filter_INPUT { type filter hook input priority 10; policy accept; ct state { established, related } accept
ct status dnat accept; iifname \"lo\" accept; ct state invalid drop; jump filter_INPUT_ZONES; reject with icmpx admin-prohibited; }
chain filter_FORWARD { type filter hook forward priority 10; policy accept; ct state { established, related } accept
ct status dnat accept; iifname \"lo\" accept; ct state invalid drop
ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002:a00::/24, 2002:c0a8::/32 } reject with icmpv6 addr-unreachable
jump filter_FORWARD_ZONES; reject with icmpx admin-prohibited; }
chain filter_INPUT_ZONES { iifname \"eth0\" goto filter_IN_external; goto filter_IN_public; }
chain filter_FORWARD_ZONES { iifname \"eth0\" goto filter_FWD_external; ",
            $tunnels,
            " goto filter_FWD_public; }
chain filter_IN_external { jump filter_IN_external_deny; jump filter_IN_external_allow; meta l4proto { icmp, ipv6-icmp } accept
reject with icmpx admin-prohibited; }
chain filter_IN_external_deny { }
chain filter_IN_external_allow { tcp dport 22 accept; ",
            $allowed,
            " }
chain filter_IN_public { meta l4proto { icmp, ipv6-icmp } accept; reject with icmpx admin-prohibited; }
chain filter_FWD_external { jump filter_FWD_external_allow; reject with icmpx admin-prohibited; }
chain filter_FWD_external_allow { oifname \"eth0\" accept; }
chain filter_FWD_public { reject with icmpx admin-prohibited; }
chain filter_FWD_trusted { jump filter_FWD_trusted_allow; accept; }
chain filter_FWD_trusted_allow { oifname \"bsc*\" accept; }
}"
        )
    };
}

/// What is typed (`iptables`), or loaded by `nft`; more arguments; what comes of it; what is said.
type Row = (&'static str, &'static [&'static str], Said, &'static [&'static str]);

const ROWS: &[Row] = &[
    // The way in.
    (
        "iptables -P INPUT DROP",
        &[],
        Mended,
        &[
            "MISSING  the chain INPUT of the table ip filter drops what comes to UDP 443 and 1194, what comes to TCP 443 and 1194 by IPv4",
            "type: iptables -I INPUT -p udp -m multiport --dports 443,1194 -j ACCEPT; iptables -I INPUT -p tcp",
        ],
    ),
    (
        "iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m limit --limit 3/min -j ACCEPT
iptables -A INPUT -j REJECT",
        &["--gateway-ports", "2000-2009"],
        Mended,
        &["drops what comes to UDP 2000 to 2009", "iptables -I INPUT -p udp --dport 2000:2009 -j ACCEPT"],
    ),
    (
        "table inet f { chain input { type filter hook input priority 0; policy drop; tcp dport 22 accept; }
}",
        &[],
        Mended,
        &["the chain input of the table inet f drops", "nft insert rule inet f input udp dport '{ 443, 1194 }' accept"],
    ),
    (
        "table inet f { chain input { type filter hook input priority 0; policy drop; udp dport 443 accept; }
}",
        &[],
        Noted,
        &["note     the chain input of the table inet f drops what comes to UDP 1194, what comes to TCP 443 and 1194"],
    ),
    (
        "table ip f { chain early { type filter hook prerouting priority -300; udp dport { 443, 1194 } drop; tcp dport { 443, 1194 } drop; }
}",
        &[],
        Mended,
        &["the chain early of the table ip f drops what comes to UDP 443"],
    ),
    (
        "table ip f { chain other { type nat hook prerouting priority -100; tcp dport 1-65535 redirect to :9; udp dport 1-65535 redirect to :9; }
}",
        &[],
        Mended,
        &["the chain other of the table ip f sends elsewhere"],
    ),
    (
        "table ip f { chain output { type filter hook output priority 0; policy drop; }
}",
        &[],
        Mended,
        &["drops what endpoints answer", "nft insert rule ip f output ct state established,related accept"],
    ),
    // The way through.
    (
        "table inet f { chain end { tcp dport 22 accept; counter drop; }
chain forward { type filter hook forward priority 0; policy accept; ct state established accept; jump end; }
}",
        &[],
        Mended,
        &["MISSING  the chain forward of the table inet f drops (in end) what clients send to networks by IPv4"],
    ),
    (
        "table ip f { chain late { type filter hook postrouting priority 0; policy drop; oifname \"bsc*\" accept; ct state established accept; }
}",
        &[],
        Mended,
        &["the chain late of the table ip f drops what clients send"],
    ),
    (
        "table ip f { chain early { type filter hook prerouting priority -150; policy drop; udp dport {443, 1194} accept; tcp dport {443, 1194} accept; }
}",
        &[],
        Mended,
        &["drops what clients send to networks, what networks answer by IPv4"],
    ),
    (
        "iptables -A POSTROUTING -t mangle -o eth0 -j DROP",
        &[],
        Missing,
        &["the chain POSTROUTING of the table ip mangle drops"],
    ),
    // Each family by its own tool.
    (
        "ip6tables -P FORWARD DROP",
        &[],
        Mended,
        &["FORWARD of the table ip6 filter drops what clients send to networks, what networks answer by IPv6", "type: ip6tables -I FORWARD -i bsc+ -j ACCEPT"],
    ),
    (
        "table ip6 f { chain passing { type filter hook forward priority 0; policy drop; }
}",
        &[],
        Mended,
        &["nft insert rule ip6 f passing iifname '\"bsc*\"' accept"],
    ),
    (
        firewalld!("", ""),
        &[],
        Missing,
        &[
            "(firewalld's) drops (in filter_IN_external) what comes to UDP 443 and 1194",
            "type: firewall-cmd --permanent --zone=external --add-port=443/udp --add-port=1194/udp --add-port=443/tcp --add-port=1194/tcp; firewall-cmd --reload",
            "(firewalld's) drops (in filter_FWD_public) what clients send",
            "type: firewall-cmd --permanent --zone=trusted --change-interface=bsc+; firewall-cmd --reload",
        ],
    ),
    // What comes of that.
    (
        firewalld!(
            "udp dport 443 accept; udp dport 1194 accept; tcp dport 443 accept; tcp dport 1194 accept;",
            "iifname \"bsc*\" goto filter_FWD_trusted;"
        ),
        &[],
        Fine,
        &["no filter of another program stops clients"],
    ),
    // Firewalls that let through what they have to.
    (
        "table inet f { set doors { type inet_service; elements = { 443, 1194 }; }
chain input { type filter hook input priority 0; policy drop; ct state vmap { established : accept, related : accept, invalid : drop }
fib saddr . iif oif missing drop; tcp flags & (fin|syn|rst|ack) != syn ct state new drop; ip saddr 203.0.113.0/24 drop
iifname vmap { \"eth0\" : jump world, \"lo\" : accept }
}
chain world { tcp dport @doors accept; udp dport @doors limit rate 100/second accept; icmp type echo-request accept; }
chain forward { type filter hook forward priority 0; policy drop; ct state established accept; iifname \"bsc*\" accept; }
}",
        &[],
        Fine,
        &["no filter of another program stops clients"],
    ),
    // What cannot be judged is said, and nothing is promised.
    (
        "table inet f { chain forward { type filter hook forward priority 0; policy accept; meta cpu 0 drop; }
}",
        &[],
        Unknown,
        &["unknown  whether the chain forward of the table inet f lets what clients send", "the rule with handle"],
    ),
    (
        "table inet f { chain input { type filter hook input priority 0; policy drop; ip saddr 10.0.0.0/8 accept; }
}",
        &[],
        Unknown,
        &["unknown  the chain input of the table inet f lets what comes to UDP 443", "for particular addresses only"],
    ),
];

/// A host with one network card, and nothing else.
fn host() -> Result<Net> {
    let net = Net::new("host")?;
    net.ip(&["link", "add", "eth0", "type", "bridge"])?;
    net.ip(&["address", "add", "10.99.0.2/24", "dev", "eth0"])?;
    net.ip(&["link", "set", "eth0", "up"])?;
    Ok(net)
}

#[test]
fn it_follows_what_matters_through_the_filters() -> Result<()> {
    lab::or_skip(|| {
        let net = host()?;
        let with_iptables = has("iptables");
        ensure!(with_iptables || std::env::var_os("CI").is_none(), "in CI there is iptables");
        for (rules, more, comes, says) in ROWS {
            if !rules.starts_with("table") && !with_iptables {
                println!("SKIP: {rules}: no such program");
                continue;
            }
            if rules.starts_with("table") {
                load(&net, rules)?
            } else {
                shell(&net, rules)?
            }
            let arguments = [&["--gateway-address", "10.99.0.2"], *more].concat();
            let (fine, text) = check(&net, &arguments)?;
            let can = text.contains("the kernel fabric can work here");
            let missing = text.contains("MISSING");
            let as_it_should = match comes {
                Fine | Noted => fine && can,
                Mended | Missing => !fine && missing && !can,
                Unknown => fine && !missing && !can && text.contains("could not be judged"),
            };
            ensure!(as_it_should, "{rules}: {text}");
            for words in *says {
                ensure!(text.contains(words), "{rules}: {words}: {text}");
            }
            if matches!(comes, Mended) {
                follow(&net, &text)?;
                let (fine, text) = check(&net, &arguments)?;
                ensure!(fine && text.contains("can work here"), "{rules}: followed: {text}");
            }
            shell(&net, "nft flush ruleset")?;
        }
        Ok(())
    })
}

#[test]
fn it_says_what_the_host_itself_lacks() -> Result<()> {
    lab::or_skip(|| {
        let net = host()?;
        let rows = [
            // What is done before, how it is started, whether it is fine then, what is said.
            (
                "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter",
                "",
                true,
                "note     net.ipv4.conf.all.rp_filter is 1",
                "type: sysctl -w net.ipv4.conf.all.rp_filter=2",
            ),
            (
                "echo 2 > /proc/sys/net/ipv4/conf/all/rp_filter",
                "",
                true,
                "ok       the reverse path filter lets replies through",
                "",
            ),
            (
                "mount -t tmpfs none /mnt; echo 1000 > /mnt/most; mount --bind /mnt/most /proc/sys/net/netfilter/nf_conntrack_max",
                "",
                true,
                "note     the kernel tracks at most 1000 connections",
                "type: sysctl -w net.netfilter.nf_conntrack_max=65536",
            ),
            (
                "mount -t tmpfs none /dev/net",
                "",
                false,
                "MISSING  /dev/net/tun does not exist",
                "type: modprobe tun",
            ),
            (
                "",
                "setpriv --bounding-set -net_admin",
                false,
                "MISSING  this process lacks CAP_NET_ADMIN: it may not change links, routes and filters",
                "type: sudo bascule serve",
            ),
            (
                "",
                "setpriv --bounding-set -net_admin",
                false,
                "MISSING  the kernel does not take our nftables rules: ",
                "type: run as root; modprobe -a nf_tables",
            ),
            (
                "",
                "setpriv --bounding-set -net_admin",
                false,
                "unknown  the filters of this host cannot be listed: ",
                "type: sudo bascule fabric check",
            ),
            (
                "",
                "setpriv --bounding-set -net_bind_service",
                false,
                "MISSING  this process lacks CAP_NET_BIND_SERVICE",
                "",
            ),
        ];
        for (before, wrapper, wanted, finding, advice) in rows {
            let (fine, text) = check_after(&net, before, wrapper)?;
            ensure!(fine == wanted, "{before} {wrapper}: {text}");
            let line = text.lines().position(|line| line.starts_with(finding));
            let next = line.and_then(|line| text.lines().nth(line + 1)).unwrap_or_default();
            ensure!(line.is_some() && next.contains(advice), "{before} {wrapper}: {finding}: {text}");
        }
        Ok(())
    })
}
