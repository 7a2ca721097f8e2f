//! Where the host's own routing would take a packet: to another host, or to this one. One question to the kernel and one
//! answer (rtnetlink(7)), whatever the number of addresses and routes, and true at this moment.

use std::io;
use std::net::Ipv6Addr;

use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

const WHOLE_ADDRESS_BITS: u8 = 128;
/// Of an answer; more than one route has.
const ANSWER_BYTES: usize = 4096;

/// Whether what is sent there is this host's: an address of an interface, an anycast address (as that of a network of which
/// this host is a router), or one of a network that is routed to this host as a whole.
///
/// # Errors
/// There is no route, or the kernel cannot be asked.
pub(crate) fn ends_here(address: Ipv6Addr) -> io::Result<bool> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    socket.send_to(&question(address), &SocketAddr::new(0, 0), 0)?;
    // It is there before the question has returned.
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    socket.recv(&mut answer, 0)?;
    kind(&answer).map(|kind| matches!(kind, RouteType::Local | RouteType::Anycast))
}

fn question(address: Ipv6Addr) -> Vec<u8> {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet6;
    route.header.destination_prefix_length = WHOLE_ADDRESS_BITS;
    route.attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(address)));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(route));
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The kind of the route that was found.
fn kind(answer: &[u8]) -> io::Result<RouteType> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer).map_err(io::Error::other)?;
    match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(route.header.kind),
        // An error, or nothing that was asked for.
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_ends_here_and_an_error_is_no_route() {
        match ends_here(Ipv6Addr::LOCALHOST) {
            Ok(here) => assert!(here),
            Err(error) => println!("SKIP: this host has no IPv6: {error}"),
        }
        let answer = |inner: RouteNetlinkMessage| {
            let mut message = NetlinkMessage::from(inner);
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            kind(&bytes)
        };
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Local;
        assert_eq!(answer(RouteNetlinkMessage::NewRoute(route.clone())).unwrap(), RouteType::Local);
        assert!(answer(RouteNetlinkMessage::DelRoute(route)).is_err());
        assert!(kind(&[]).is_err());
        let mut error = [0; 36];
        // Its length, what it is, and why: no such network.
        error[..2].copy_from_slice(&36_u16.to_ne_bytes());
        error[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        error[16..20].copy_from_slice(&(-101_i32).to_ne_bytes());
        assert!(kind(&error).is_err());
    }
}
