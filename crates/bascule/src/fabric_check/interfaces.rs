//! By which interfaces clients come in, and by which their packets go on.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use netio::InterfaceState;

use super::firewall::{Inside, Ports, Ways};
use crate::config::Config;

/// What the filters of the host have to let through.
pub(super) fn ways(config: &Config, addresses: &[IpAddr], ports: Ports) -> Ways {
    let interfaces = interfaces();
    let default = [default_ipv4(), default_ipv6()];
    let doors = addresses.iter().map(|ip| (*ip, door(*ip, &interfaces, &default)));
    let uplinks: BTreeSet<String> =
        config.uplinks.iter().map(|(_, uplink)| uplink.interface.clone()).collect();
    let inside = [false, true].map(|ipv6| {
        let default = default.get(usize::from(ipv6)).cloned().unwrap_or_default();
        let certain: BTreeSet<String> = uplinks.union(&default).cloned().collect();
        inside(certain, &interfaces, ipv6)
    });
    Ways { doors: doors.collect(), ports, inside }
}

/// Where nothing says where packets go, any interface with an address may be it.
fn inside(certain: BTreeSet<String>, interfaces: &[(String, InterfaceState)], ipv6: bool) -> Vec<Inside> {
    if !certain.is_empty() {
        return certain.into_iter().map(|name| Inside { name: Some(name), certain: true }).collect();
    }
    let global = |net: &IpNet| match net {
        IpNet::V4(_) => !ipv6,
        IpNet::V6(net) => ipv6 && !net.addr().is_unicast_link_local(),
    };
    let found: Vec<Inside> = interfaces
        .iter()
        .filter(|(name, state)| {
            state.up && name != "lo" && !name.starts_with(super::LINKS) && state.addresses.iter().any(global)
        })
        .map(|(name, _)| Inside { name: Some(name.clone()), certain: false })
        .collect();
    if found.is_empty() { vec![Inside { name: None, certain: false }] } else { found }
}

/// The interface with the address, if it is one that packets come by; else the one that leads everywhere.
fn door(
    ip: IpAddr,
    interfaces: &[(String, InterfaceState)],
    default: &[BTreeSet<String>; 2],
) -> Option<String> {
    let with = interfaces.iter().find(|(_, state)| state.addresses.iter().any(|net| net.addr() == ip));
    match with {
        Some((name, state)) if state.has_neighbours || ip.is_loopback() => Some(name.clone()),
        _ if ip.is_loopback() => Some("lo".to_owned()),
        _ => default.get(usize::from(ip.is_ipv6())).and_then(|names| names.first()).cloned(),
    }
}

fn interfaces() -> Vec<(String, InterfaceState)> {
    // Of this network namespace, whichever `/sys` is mounted.
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
    names.filter_map(|name| netio::interface_state(&name).map(|state| (name, state))).collect()
}

fn default_ipv4() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let lines = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let defaults = lines.filter_map(|words| match words.as_slice() {
        [name, "00000000", _, _, _, _, _, "00000000", ..] => Some((*name).to_owned()),
        _ => None,
    });
    defaults.collect()
}

fn default_ipv6() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let defaults = lines.filter_map(|words| match words.as_slice() {
        [to, "00", _, _, _, _, _, _, _, name] if to.bytes().all(|digit| digit == b'0') && *name != "lo" => {
            Some((*name).to_owned())
        }
        _ => None,
    });
    defaults.collect()
}
