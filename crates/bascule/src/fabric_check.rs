//! `bascule fabric check`: what this host lacks for the kernel fabric, in plain words, and what to type.

mod firewall;
mod interfaces;
mod subnets;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use caps::{CapSet, Capability};

use crate::cli::{FabricCheck, Serve};
use crate::config::Config;

/// Ports endpoints listen on (spec: aws-client-vpn §2.1).
const PORTS: [u16; 2] = [443, 1194];
/// Tracked connections a gateway should have room for, at least.
const CONNTRACK_MIN: u64 = 65_536;
/// Gateway addresses that are looked at, of a block that may be large.
const SAMPLE: usize = 8;
/// Ports of a range that are looked at, at most.
const SAMPLE_PORTS: usize = 256;
/// Names of our TUN devices begin so.
const LINKS: &str = "bsc";
/// Rules of the kinds that the fabric writes, checked and never loaded.
const RULES: &str = "table inet bascule_check {
  set links { type ifname; }
  chain one { type filter hook prerouting priority raw; iifname @links ct original zone set 1; }
  chain two { type filter hook prerouting priority mangle; ct mark 1 meta mark set ct mark; }
  chain three { type filter hook forward priority filter; ct direction reply accept; oifname @links drop; }
  chain four { type nat hook postrouting priority srcnat; iifname @links masquerade; }
}
";

/// What came of one look.
enum Finding {
    /// As it shall be.
    Good(String),
    /// Works, and may surprise.
    Note { what: String, do_this: String },
    /// Nobody can tell whether it is as it shall be.
    Unknown { what: String, do_this: String },
    /// Associations would fail, or carry nothing.
    Lack { what: String, do_this: String },
}

use Finding::{Good, Lack, Note, Unknown};

/// Looks, prints one finding a line, and fails if something is lacking.
pub(crate) fn run(arguments: FabricCheck) -> Result<()> {
    let serve = Serve {
        config: arguments.config,
        gateway_address: arguments.gateway_address,
        gateway_ports: arguments.gateway_ports,
        ..Serve::default()
    };
    let config = Config::load(serve)?;
    let mut findings = vec![capability(), tun()];
    if netio::nft_program().is_some() {
        findings.push(rules());
        findings.extend(firewall::findings(&interfaces::ways(&config, &candidates(&config), ports(&config))));
    } else {
        findings.push(lack("there is no program nft", "apt-get install nftables"));
    }
    findings.push(forwarding(config.leave_sysctls));
    findings.extend(ipv6_forwarding(config.leave_sysctls));
    findings.push(reverse_path());
    findings.push(conntrack());
    findings.extend(addresses(&config));
    findings.extend(subnets::findings(&config.uplinks));
    let (mut lacking, mut open) = (0_usize, 0_usize);
    for finding in &findings {
        match finding {
            Good(what) => out!("ok       {what}"),
            Note { what, do_this } => out!("note     {what}\n         type: {do_this}"),
            Unknown { what, do_this } => {
                open = open.saturating_add(1);
                out!("unknown  {what}\n         type: {do_this}");
            }
            Lack { what, do_this } => {
                lacking = lacking.saturating_add(1);
                out!("MISSING  {what}\n         type: {do_this}");
            }
        }
    }
    if lacking > 0 {
        bail!("{lacking} of {} things are missing for the kernel fabric", findings.len());
    }
    match open {
        0 => out!("the kernel fabric can work here"),
        _ => out!(
            "nothing is known to be missing, but {open} of {} things could not be judged",
            findings.len()
        ),
    }
    Ok(())
}

fn lack(what: impl Into<String>, do_this: impl Into<String>) -> Finding {
    Lack { what: what.into(), do_this: do_this.into() }
}

fn note(what: impl Into<String>, do_this: impl Into<String>) -> Finding {
    Note { what: what.into(), do_this: do_this.into() }
}

fn unknown(what: impl Into<String>, do_this: impl Into<String>) -> Finding {
    Unknown { what: what.into(), do_this: do_this.into() }
}

fn capability() -> Finding {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let missing: Vec<&str> = [
        (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
        (Capability::CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"),
    ]
    .into_iter()
    .filter(|(capability, _)| !has(*capability))
    .map(|(_, name)| name)
    .collect();
    if missing.is_empty() {
        return Good("this process may change links, routes and filters".to_owned());
    }
    lack(
        format!("this process lacks {}: it may not change links, routes and filters", missing.join(" and ")),
        "sudo bascule serve (the main process gives the privilege up, a small helper keeps it)",
    )
}

fn tun() -> Finding {
    let path = "/dev/net/tun";
    match std::fs::File::options().read(true).write(true).open(path) {
        Ok(_) => Good(format!("{path} can be opened")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => lack(
            format!("{path} does not exist"),
            "modprobe tun (in a container: run it with --device /dev/net/tun)",
        ),
        Err(error) => lack(
            format!("{path} cannot be opened: {error}"),
            "run as root (in a container: with --device /dev/net/tun --cap-add NET_ADMIN)",
        ),
    }
}

/// What `nft` answers to these arguments and this input; the error is what it complains of.
fn ask_nft(arguments: &[&str], input: &str) -> Result<String, String> {
    let program = netio::nft_program().ok_or_else(|| "there is no program nft".to_owned())?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(text.lines().next().unwrap_or("nft failed").to_owned())
}

fn rules() -> Finding {
    match ask_nft(&["--check", "--file", "-"], RULES) {
        Ok(_) => Good("the kernel takes nftables rules with zones, marks and masquerading".to_owned()),
        Err(why) => lack(
            format!("the kernel does not take our nftables rules: {why}"),
            "run as root; modprobe -a nf_tables nft_ct nft_masq nf_conntrack",
        ),
    }
}

/// Why forwarding that is off stays off.
fn stays_off(leave: bool, path: &str) -> Option<&'static str> {
    if leave {
        return Some("sysctls = \"leave\" in [fabric] leaves it so");
    }
    (!writable(path)).then_some("/proc/sys cannot be written")
}

fn forwarding(leave: bool) -> Finding {
    let path = "/proc/sys/net/ipv4/conf/all/forwarding";
    match std::fs::read_to_string(path).map(|value| (value.trim() == "1", stays_off(leave, path))) {
        Ok((true, None)) => Good("the host forwards".to_owned()),
        Ok((true, Some(_))) => {
            Good("the host forwards, so nothing under /proc/sys has to be written".to_owned())
        }
        Ok((false, None)) => Good(
            "forwarding is off; it is switched on for the interfaces that need it, and no others".to_owned(),
        ),
        Ok((false, Some(why))) => lack(
            format!("forwarding is off, and {why}"),
            "sysctl -w net.ipv4.ip_forward=1 on the host (in a container: --sysctl net.ipv4.ip_forward=1), before bascule \
             starts",
        ),
        Err(error) => lack(format!("{path} cannot be read: {error}"), "mount -t proc proc /proc"),
    }
}

/// `None`: this kernel knows no IPv6.
fn ipv6_forwarding(leave: bool) -> Option<Finding> {
    let path = "/proc/sys/net/ipv6/conf/all/forwarding";
    let value = std::fs::read_to_string(path).ok()?;
    let by_interface = std::path::Path::new("/proc/sys/net/ipv6/conf/all/force_forwarding").exists();
    Some(match (value.trim(), stays_off(leave, path)) {
        ("1", _) => Good("the host forwards IPv6".to_owned()),
        (_, None) if by_interface => Good(
            "IPv6 forwarding is off; it is switched on for the interfaces that need it, and no others".to_owned(),
        ),
        (_, None) => Good(
            "IPv6 forwarding is off; this kernel knows it for all interfaces only, so it is switched on for all when an \
             endpoint carries IPv6, and for tunnels alone"
                .to_owned(),
        ),
        (_, Some(why)) => note(
            format!("IPv6 forwarding is off, and {why}: endpoints that carry IPv6 reach nothing"),
            "sysctl -w net.ipv6.conf.all.forwarding=1 on the host (in a container: --sysctl \
             net.ipv6.conf.all.forwarding=1)",
        ),
    })
}

fn writable(path: &str) -> bool {
    std::fs::File::options().write(true).open(path).is_ok()
}

fn reverse_path() -> Finding {
    match std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter") {
        Ok(value) if value.trim() == "1" => note(
            "net.ipv4.conf.all.rp_filter is 1: replies that come back by another interface than the host's own route \
             are dropped",
            "sysctl -w net.ipv4.conf.all.rp_filter=2, if your target networks answer by another way",
        ),
        Ok(_) => Good("the reverse path filter lets replies through".to_owned()),
        Err(error) => note(format!("rp_filter cannot be read: {error}"), "mount -t proc proc /proc"),
    }
}

fn conntrack() -> Finding {
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    match std::fs::read_to_string(path).ok().and_then(|value| value.trim().parse::<u64>().ok()) {
        Some(most) if most < CONNTRACK_MIN => note(
            format!("the kernel tracks at most {most} connections: new ones are dropped beyond that"),
            format!("sysctl -w net.netfilter.nf_conntrack_max={CONNTRACK_MIN}"),
        ),
        Some(most) => Good(format!("the kernel tracks up to {most} connections")),
        None => note("connection tracking is not loaded yet", "modprobe nf_conntrack"),
    }
}

/// Gateway addresses that are looked at.
fn candidates(config: &Config) -> Vec<IpAddr> {
    match &config.gateway_addresses {
        Some(given) => given.iter().take(SAMPLE).collect(),
        None => netio::host_addresses(),
    }
}

fn ports(config: &Config) -> firewall::Ports {
    match &config.gateway_ports {
        Some(range) => firewall::Ports::Range(*range.start(), *range.end()),
        None => firewall::Ports::Each(PORTS.to_vec()),
    }
}

/// Whether the addresses that endpoints are bound to are this host's, and free.
fn addresses(config: &Config) -> Vec<Finding> {
    let candidates = candidates(config);
    if candidates.is_empty() {
        return vec![lack(
            "this host has no global address, and no gateway address is given: endpoints get none",
            "ip address add ADDRESS/PREFIX dev INTERFACE, or --gateway-address ADDRESS",
        )];
    }
    let ports: Vec<u16> = match &config.gateway_ports {
        Some(range) => range.clone().take(SAMPLE_PORTS).collect(),
        None => PORTS.to_vec(),
    };
    candidates.into_iter().map(|ip| address(ip, &ports)).collect()
}

fn address(ip: IpAddr, ports: &[u16]) -> Finding {
    if let Err(error) = UdpSocket::bind(SocketAddr::new(ip, 0)) {
        return lack(
            format!("the gateway address {ip} cannot be bound: {error}"),
            format!("ip address add {ip}/{} dev INTERFACE", if ip.is_ipv4() { 32 } else { 128 }),
        );
    }
    let in_use = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    let taken: Vec<String> = ports
        .iter()
        .flat_map(|port| {
            let at = SocketAddr::new(ip, *port);
            let udp = UdpSocket::bind(at).err().filter(in_use).map(|_| format!("UDP {port}"));
            let tcp = TcpListener::bind(at).err().filter(in_use).map(|_| format!("TCP {port}"));
            [udp, tcp]
        })
        .flatten()
        .collect();
    if taken.is_empty() {
        let ports = match ports {
            [one] => format!("port {one} is free"),
            [one, other] => format!("ports {one} and {other} are free"),
            _ => format!(
                "ports {} to {} are free",
                ports.first().copied().unwrap_or_default(),
                ports.last().copied().unwrap_or_default()
            ),
        };
        return Good(format!("the gateway address {ip} is this host's, {ports}"));
    }
    note(
        format!("{ip}: {} taken already: an endpoint cannot listen there", taken.join(", ")),
        format!("ss -lnptu src {ip}, to see by whom"),
    )
}
