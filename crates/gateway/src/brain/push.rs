//! What a client is told, at connect time and when it changes (spec: aws-client-vpn §3.1, openvpn-protocol §9.3, §9.5).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use model::Transport;

use crate::desired::{Association, Endpoint};
use crate::pool::Pool;

/// All options of one client: those of its association, the banner, its own.
pub(crate) fn whole(
    shared: &[String],
    banner: &[String],
    address: Ipv4Addr,
    client_cidr: Ipv4Net,
) -> Vec<String> {
    let mut options = shared.to_vec();
    options.extend_from_slice(banner);
    options.push(ifconfig(address, client_cidr));
    options
}

/// The options that all clients of an association get, in AWS's order. If they change, clients are told, or come back
/// for the new ones.
pub(crate) fn shared(endpoint: &Endpoint, association: &Association) -> Vec<String> {
    let mut options = Vec::new();
    if !endpoint.split_tunnel {
        let full = ["redirect-gateway def1 bypass-dhcp", "block-outside-dns", "dhcp-option DOMAIN-ROUTE ."];
        options.extend(full.map(str::to_owned));
    }
    options.extend(endpoint.dns_servers.iter().map(|server| match server {
        IpAddr::V4(address) => format!("dhcp-option DNS {address}"),
        IpAddr::V6(address) => format!("dhcp-option DNS6 {address}"),
    }));
    if endpoint.split_tunnel {
        options.extend(routes(association, endpoint.client_cidr).into_iter().map(route));
    }
    options.push(format!("route-gateway {}", Pool::gateway(endpoint.client_cidr)));
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

/// The option that is a client's own.
fn ifconfig(address: Ipv4Addr, client_cidr: Ipv4Net) -> String {
    format!("ifconfig {address} {}", client_cidr.netmask())
}

/// All rows, whether or not the client is authorised for them, each destination once. The client CIDR itself is on
/// the client's link already.
fn routes(association: &Association, client_cidr: Ipv4Net) -> BTreeSet<Ipv4Net> {
    let v4 = association.routes.iter().filter_map(|route| match route.destination {
        IpNet::V4(net) => Some(net.trunc()),
        IpNet::V6(_) => None,
    });
    v4.filter(|net| *net != client_cidr.trunc()).collect()
}

fn route(net: Ipv4Net) -> String {
    if net.prefix_len() == 0 {
        // UNVERIFIED: what AWS pushes for this row in split tunnel. A plain default route would also swallow the
        // tunnel's own packets at the client.
        return "redirect-gateway def1".to_owned();
    }
    format!("route {} {}", net.network(), net.netmask())
}
