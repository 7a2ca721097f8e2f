//! Rules of security groups, and what each set of them lets pass.

use anyhow::Result;
use lab::Scene;

use super::wire::{ICMP, TCP, UDP};

pub const GRE: u8 = 47;
pub const ESP: u8 = 50;

/// A permission: protocol, first and last port (or ICMP type and code), block.
pub type Rule = (&'static str, i32, i32, &'static str);

/// Calls an action about these rules of a group.
pub fn change(scene: &Scene, group: &str, action: &str, rules: &[Rule]) -> Result<()> {
    let mut parameters = vec![("GroupId".to_owned(), group.to_owned())];
    for (number, (protocol, from, to, block)) in (1..).zip(rules) {
        let name = |member: &str| format!("IpPermissions.{number}.{member}");
        parameters.push((name("IpProtocol"), (*protocol).to_owned()));
        parameters.push((name("IpRanges.1.CidrIp"), (*block).to_owned()));
        if *protocol != "-1" {
            parameters.push((name("FromPort"), from.to_string()));
            parameters.push((name("ToPort"), to.to_string()));
        }
    }
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    scene.ec2(action, &parameters).map(drop)
}

/// What is tried at each target under each set: name, protocol, port (or ICMP type).
pub const BATTERY: [(&str, u8, u16); 13] = [
    ("tcp 443", TCP, 443),
    ("tcp 999", TCP, 999),
    ("tcp 1000", TCP, 1000),
    ("tcp 1500", TCP, 1500),
    ("tcp 2000", TCP, 2000),
    ("tcp 2001", TCP, 2001),
    ("udp 53", UDP, 53),
    ("udp 443", UDP, 443),
    ("udp 1500", UDP, 1500),
    ("echo", ICMP, 8),
    ("timestamp", ICMP, 13),
    ("gre", GRE, 0),
    ("esp", ESP, 0),
];
const ALL: &[&str] = &[
    "tcp 443",
    "tcp 999",
    "tcp 1000",
    "tcp 1500",
    "tcp 2000",
    "tcp 2001",
    "udp 53",
    "udp 443",
    "udp 1500",
    "echo",
    "timestamp",
    "gre",
    "esp",
];
const ALL_TCP: &[&str] = &["tcp 443", "tcp 999", "tcp 1000", "tcp 1500", "tcp 2000", "tcp 2001"];
const RANGE: &[&str] = &["tcp 1000", "tcp 1500", "tcp 2000"];

/// A set of rules, and what of the battery passes to the first target and to the second; nothing else does.
pub const SETS: [(&[Rule], [&[&str]; 2]); 15] = [
    (&[("-1", -1, -1, "10.77.2.0/24")], [&[], ALL]),
    (&[("-1", -1, -1, "10.77.1.10/32")], [ALL, &[]]),
    // Beside the target: the block ends just before it.
    (&[("-1", -1, -1, "10.77.1.8/31")], [&[], &[]]),
    (&[("tcp", 443, 443, "10.77.1.10/32")], [&["tcp 443"], &[]]),
    (&[("tcp", 1000, 2000, "10.77.0.0/16")], [RANGE, RANGE]),
    (&[("tcp", 0, 65_535, "10.77.1.0/24")], [ALL_TCP, &[]]),
    (&[("6", 443, 443, "10.77.0.0/16")], [&["tcp 443"], &["tcp 443"]]),
    (&[("udp", 443, 443, "10.77.0.0/16")], [&["udp 443"], &["udp 443"]]),
    (
        &[("udp", 0, 65_535, "10.77.2.0/24"), ("tcp", 999, 999, "10.77.1.0/24")],
        [&["tcp 999"], &["udp 53", "udp 443", "udp 1500"]],
    ),
    (&[("icmp", -1, -1, "10.77.1.0/24")], [&["echo", "timestamp"], &[]]),
    (&[("icmp", 8, -1, "10.77.0.0/16")], [&["echo"], &["echo"]]),
    (&[("icmp", 13, 0, "10.77.1.0/24"), ("icmp", 8, 1, "10.77.2.0/24")], [&["timestamp"], &[]]),
    (&[("47", -1, -1, "10.77.1.0/24"), ("50", -1, -1, "10.77.2.0/24")], [&["gre"], &["esp"]]),
    (
        &[
            ("tcp", 443, 443, "10.77.1.0/24"),
            ("tcp", 1000, 2000, "10.77.2.10/32"),
            ("udp", 53, 53, "10.77.0.0/16"),
            ("icmp", 8, 0, "10.77.2.0/24"),
        ],
        [&["tcp 443", "udp 53"], &["tcp 1000", "tcp 1500", "tcp 2000", "udp 53", "echo"]],
    ),
    // The last: it covers everything, so that no packet could tell whether another is in force.
    (&[("-1", -1, -1, "0.0.0.0/0")], [ALL, ALL]),
];
