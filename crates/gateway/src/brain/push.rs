//! What a client is told at connect time (spec: aws-client-vpn §3.1, openvpn-protocol §9.3).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use model::Transport;

use crate::desired::{Association, Endpoint};
use crate::pool::Pool;

/// The options that all clients of an association get, in AWS's order. If they change, clients must come back for
/// the new ones.
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

/// The option that is a client's own.
pub(crate) fn ifconfig(address: Ipv4Addr, client_cidr: Ipv4Net) -> String {
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
