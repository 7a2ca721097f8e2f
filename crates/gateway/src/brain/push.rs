//! What a client is told, at connect time and when it changes (spec: aws-client-vpn §3.1, openvpn-protocol §9.3, §9.5).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{ClientAddresses, ClientNets, Transport};

use crate::desired::{Association, Endpoint};

/// All options of one client: those of its association, the banner, its own. `enforced`: what one is told of route
/// enforcement that looks after it.
pub(crate) fn whole(
    shared: &[String],
    banner: &[String],
    addresses: ClientAddresses,
    nets: ClientNets,
    enforced: Option<bool>,
) -> Vec<String> {
    let mut options = shared.to_vec();
    options.extend_from_slice(banner);
    options.extend(enforced.map(|enforced| format!("{ROUTE_ENFORCEMENT} {}", u8::from(enforced))));
    options.extend(own(addresses, nets));
    options
}

/// Sets `OPENVPN_ROUTE_ENFORCEMENT` for the client's scripts. UNVERIFIED: what AWS's own clients are told
/// (spec: aws-client-vpn §3.6); this is for set-ups that say they look after it.
const ROUTE_ENFORCEMENT: &str = "setenv-safe ROUTE_ENFORCEMENT";

/// The options that all clients of an association get, in AWS's order. If they change, clients are told, or come back
/// for the new ones.
pub(crate) fn shared(endpoint: &Endpoint, association: &Association) -> Vec<String> {
    let mut options = Vec::new();
    let nets = endpoint.client_cidr;
    if !endpoint.split_tunnel {
        options
            .extend(everything(nets.v4.is_some(), nets.v6.is_some()).map(|all| format!("{all} bypass-dhcp")));
        options.extend(["block-outside-dns", "dhcp-option DOMAIN-ROUTE ."].map(str::to_owned));
    }
    options.extend(endpoint.dns_servers.iter().map(|server| match server {
        IpAddr::V4(address) => format!("dhcp-option DNS {address}"),
        IpAddr::V6(address) => format!("dhcp-option DNS6 {address}"),
    }));
    if endpoint.split_tunnel {
        options.extend(routes(association, nets));
    }
    options.extend(nets.gateway().v4.map(|gateway| format!("route-gateway {gateway}")));
    options.extend(["topology subnet", "ping 1", "ping-restart 20"].map(str::to_owned));
    // Beyond AWS: a client that leaves says so, instead of being missed 40 s later; over TCP its connection closes,
    // and small packets are not to wait for each other.
    let of_transport = match endpoint.transport {
        Transport::Udp => "explicit-exit-notify 1",
        Transport::Tcp => "socket-flags TCP_NODELAY",
    };
    options.push(of_transport.to_owned());
    options
}

/// Longest piece of text in one option, in bytes: an option has 255, with its name, quotes and escapes
/// (spec: openvpn-protocol §9.1).
const ECHO_TEXT_BYTES: usize = 120;
/// Over what the text stands, in clients that show it in a window.
const BANNER_TITLE: &str = "Message of the network";

/// The login banner, as clients show pushed messages (spec: aws-client-vpn §3.1). Those that show none ignore it.
/// UNVERIFIED: what AWS's own client is pushed.
pub(crate) fn banner(text: &str) -> Vec<String> {
    let mut options = Vec::new();
    for line in text.lines() {
        let mut rest: String = line.chars().filter(|c| !c.is_control()).map(sayable).collect();
        while rest.len() > ECHO_TEXT_BYTES {
            let end = (0..=ECHO_TEXT_BYTES).rev().find(|&at| rest.is_char_boundary(at)).unwrap_or_default();
            let tail = rest.split_off(end);
            options.push(format!("echo msg-n {}", quoted(&rest)));
            rest = tail;
        }
        options.push(format!("echo msg {}", quoted(&rest)));
    }
    options.push(format!("echo msg-window {}", quoted(BANNER_TITLE)));
    options
}

/// Commas part options: a reader sees one that is none.
fn sayable(c: char) -> char {
    if c == ',' { '\u{201a}' } else { c }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// The options that are a client's own. With an IPv6 address alone a stock client does from version 2.5 on.
fn own(addresses: ClientAddresses, nets: ClientNets) -> impl Iterator<Item = String> {
    let v4 = addresses.v4.zip(nets.v4).map(|(address, net)| format!("ifconfig {address} {}", net.netmask()));
    let v6 = addresses.v6.zip(nets.v6).zip(nets.gateway().v6);
    let v6 =
        v6.map(|((address, net), gateway)| format!("ifconfig-ipv6 {address}/{} {gateway}", net.prefix_len()));
    [v4, v6].into_iter().flatten()
}

/// All rows that the tunnel carries, whether or not the client is authorised for them, each destination once. The client
/// blocks themselves are on the client's link already.
fn routes(association: &Association, nets: ClientNets) -> Vec<String> {
    let carried = |net: &IpNet| match net {
        IpNet::V4(net) => nets.v4.is_some_and(|clients| clients.trunc() != *net),
        IpNet::V6(net) => nets.v6.is_some_and(|clients| clients.trunc() != *net),
    };
    let routes: BTreeSet<IpNet> =
        association.routes.iter().map(|route| route.destination.trunc()).filter(carried).collect();
    let (whole, parts): (Vec<&IpNet>, Vec<&IpNet>) = routes.iter().partition(|net| net.prefix_len() == 0);
    let all_of = |v4: bool| whole.iter().any(|net| matches!(net, IpNet::V4(_)) == v4);
    // UNVERIFIED: what AWS pushes for these rows in split tunnel. A plain default route would also swallow the tunnel's
    // own packets at the client.
    let mut options: Vec<String> =
        everything(all_of(true), all_of(false)).map(str::to_owned).into_iter().collect();
    options.extend(parts.into_iter().map(|net| match net {
        IpNet::V4(net) => format!("route {} {}", net.network(), net.netmask()),
        IpNet::V6(net) => format!("route-ipv6 {net}"),
    }));
    options
}

/// The option that leads all of these IP versions into the tunnel. One, as several of them do not add up at all clients.
fn everything(v4: bool, v6: bool) -> Option<&'static str> {
    match (v4, v6) {
        (true, false) => Some("redirect-gateway def1"),
        (true, true) => Some("redirect-gateway def1 ipv6"),
        (false, true) => Some("redirect-gateway ipv6 !ipv4"),
        (false, false) => None,
    }
}
