//! Whether the networks that `[[fabric.subnet]]` names are there.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use model::{SubnetMatch, Uplink, UplinkMatch, UplinkSource, Uplinks};
use netio::InterfaceState;

use super::{Finding, Good, lack, note, unknown};

/// Everything about all of them; nothing when none is configured.
pub(super) fn findings(uplinks: &Uplinks) -> Vec<Finding> {
    uplinks.iter().flat_map(|(matched, uplink)| of_one(matched, uplink)).collect()
}

fn of_one(matched: &UplinkMatch, uplink: &Uplink) -> Vec<Finding> {
    let name = &uplink.interface;
    let title = title(matched);
    let Some(interface) = netio::interface_state(name) else {
        return vec![lack(
            format!("[[fabric.subnet]] {title}: this host has no interface {name}"),
            "ip -brief link, to see which there are; and name one of them",
        )];
    };
    if !interface.up {
        return vec![lack(
            format!("[[fabric.subnet]] {title}: the interface {name} is down"),
            format!("ip link set {name} up"),
        )];
    }
    let mut findings: Vec<Finding> =
        source(uplink, &interface).into_iter().chain(hops(uplink, &interface)).collect();
    findings.extend(on_the_link(matched, uplink, &interface));
    findings.extend(reverse_path(matched, uplink, &interface));
    let named = |what: String| format!("[[fabric.subnet]] {title}: {what}");
    if findings.is_empty() {
        return vec![Good(named(format!("the interface {name} is up")))];
    }
    findings
        .into_iter()
        .map(|finding| match finding {
            Finding::Good(what) => Good(named(what)),
            Finding::Note { what, do_this } => note(named(what), do_this),
            Finding::Unknown { what, do_this } => unknown(named(what), do_this),
            Finding::Lack { what, do_this } => lack(named(what), do_this),
        })
        .collect()
}

fn title(matched: &UplinkMatch) -> String {
    let subnet = match &matched.subnet {
        SubnetMatch::Id(id) => id.to_string(),
        SubnetMatch::Within(block) => block.to_string(),
    };
    let tag = matched.tag.as_ref().map_or_else(String::new, |(key, value)| format!(" {key}={value}"));
    let account = matched.account.as_ref().map_or_else(String::new, |account| format!(" of {account}"));
    format!("{subnet}{tag}{account}")
}

fn source(uplink: &Uplink, interface: &InterfaceState) -> Option<Finding> {
    let name = &uplink.interface;
    match uplink.source {
        UplinkSource::Client => None,
        UplinkSource::Address(address) if netio::is_host_address(address.into()) => None,
        UplinkSource::Address(address) => Some(lack(
            format!("nat-address {address} is not an address of this host"),
            format!("ip address add {address}/32 dev {name}"),
        )),
        UplinkSource::Interface => {
            let any = interface.addresses.iter().any(|net| matches!(net, IpNet::V4(_)));
            (!any).then(|| {
                lack(
                    format!("the interface {name} has no IPv4 address that packets could leave with"),
                    format!("ip address add ADDRESS/PREFIX dev {name} (or say nat-address)"),
                )
            })
        }
    }
}

fn hops(uplink: &Uplink, interface: &InterfaceState) -> Vec<Finding> {
    let name = &uplink.interface;
    let hops = [uplink.next_hop.map(IpAddr::V4), uplink.next_hop_ipv6.map(IpAddr::V6)];
    let asked = hops.into_iter().flatten().filter(|_| interface.has_neighbours);
    asked
        .map(|hop| match netio::answers(name, interface, hop) {
            Some(true) => Good(format!("the next hop {hop} answers on {name}")),
            Some(false) => lack(
                format!("the next hop {hop} does not answer on {name}"),
                format!("ping -I {name} {hop}; ip address show dev {name} (is it in one of these networks?)"),
            ),
            None => note(
                format!("nobody can tell whether the next hop {hop} answers on {name}"),
                format!("ping -I {name} {hop}"),
            ),
        })
        .collect()
}

/// The block that is said, or the interface's own networks.
fn blocks(matched: &UplinkMatch, interface: &InterfaceState) -> Vec<Ipv4Net> {
    match &matched.subnet {
        SubnetMatch::Within(block) => vec![*block],
        SubnetMatch::Id(_) => networks(interface),
    }
}

fn networks(interface: &InterfaceState) -> Vec<Ipv4Net> {
    let networks = interface.addresses.iter().filter_map(|net| match net {
        IpNet::V4(net) => Some(net.trunc()),
        IpNet::V6(_) => None,
    });
    networks.collect()
}

/// Without a next hop every address is asked for on the link.
fn on_the_link(matched: &UplinkMatch, uplink: &Uplink, interface: &InterfaceState) -> Option<Finding> {
    let SubnetMatch::Within(block) = matched.subnet else { return None };
    let near = networks(interface).iter().any(|net| net.contains(&block) || block.contains(net));
    (uplink.next_hop.is_none() && interface.has_neighbours && !near).then(|| {
        note(
            format!("{block} is no network of {}, and no next-hop is said", uplink.interface),
            "next-hop = \"ROUTER\" in this table, unless all of it is on the link",
        )
    })
}

/// A strict check drops replies that the host's own routing would not send back there, unless it looks at the mark.
fn reverse_path(matched: &UplinkMatch, uplink: &Uplink, interface: &InterfaceState) -> Option<Finding> {
    let name = &uplink.interface;
    let read = |place: &str, setting: &str| -> u8 {
        let path = format!("/proc/sys/net/ipv4/conf/{place}/{setting}");
        std::fs::read_to_string(path).ok().and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    };
    let either = |setting: &str| read("all", setting).max(read(name, setting));
    if either("rp_filter") != 1 || either("src_valid_mark") == 1 {
        return None;
    }
    let blocks: Vec<IpNet> = blocks(matched, interface).into_iter().map(IpNet::V4).collect();
    let ways = netio::interfaces_toward(&blocks)?;
    (ways.len() != 1 || !ways.contains(name)).then(|| {
        lack(
            format!(
                "rp_filter is strict on {name}, and the host's own routing has another way to this network, or none: \
                 replies are dropped"
            ),
            format!("sysctl -w net.ipv4.conf.{name}.src_valid_mark=1"),
        )
    })
}
