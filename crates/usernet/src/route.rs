//! Where the host's own routing would take a packet: to another host, or to this one. One question to the kernel and one
//! answer (rtnetlink(7)), whatever the number of addresses and routes, and true at this moment.

use std::io;
use std::net::Ipv6Addr;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

const GET_ROUTE: u16 = 26;
const NEW_ROUTE: u16 = 24;
const IS_REQUEST: u16 = 1;
const FAMILY_V6: u8 = 10;
const WHOLE_ADDRESS_BITS: u8 = 128;
const ATTRIBUTE_DESTINATION: u16 = 1;
const HEADER_BYTES: usize = 16;
const ROUTE_BYTES: usize = 12;
/// Header, route, and one attribute of 4 bytes and an address.
const REQUEST_BYTES: u32 = 48;
/// Kinds of routes whose packets this host takes for itself.
const LOCAL: u8 = 2;
const ANYCAST: u8 = 4;

/// Whether what is sent there is this host's: an address of an interface, an anycast address (as that of a network of which
/// this host is a router), or one of a network that is routed to this host as a whole.
///
/// # Errors
/// There is no route, or the kernel cannot be asked.
pub(crate) fn ends_here(address: Ipv6Addr) -> io::Result<bool> {
    // Of netlink's protocols routing is the first, which is the default.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    sendto(&socket, &request(address), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    // It is there before the question has returned. What follows the route's kind may be cut off.
    let mut answer = [0; HEADER_BYTES + ROUTE_BYTES];
    recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
    kind(&answer).map(|kind| matches!(kind, LOCAL | ANYCAST))
}

fn request(address: Ipv6Addr) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend_from_slice(&REQUEST_BYTES.to_ne_bytes());
    request.extend_from_slice(&GET_ROUTE.to_ne_bytes());
    request.extend_from_slice(&IS_REQUEST.to_ne_bytes());
    // Sequence number and port: there is one question, and the kernel knows who asks.
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[FAMILY_V6, WHOLE_ADDRESS_BITS]);
    request.extend_from_slice(&[0; ROUTE_BYTES - 2]);
    let address = address.octets();
    request.extend_from_slice(&20_u16.to_ne_bytes());
    request.extend_from_slice(&ATTRIBUTE_DESTINATION.to_ne_bytes());
    request.extend_from_slice(&address);
    request
}

/// The kind of the route that was found.
fn kind(answer: &[u8; HEADER_BYTES + ROUTE_BYTES]) -> io::Result<u8> {
    let [_, _, _, _, what0, what1, .., kind, _, _, _, _] = *answer;
    match u16::from_ne_bytes([what0, what1]) {
        NEW_ROUTE => Ok(kind),
        // An error, or nothing that was asked for.
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_as_long_as_it_says() {
        assert_eq!(request(Ipv6Addr::LOCALHOST).len(), usize::try_from(REQUEST_BYTES).unwrap());
    }

    #[test]
    fn loopback_ends_here_and_an_error_is_no_route() {
        match ends_here(Ipv6Addr::LOCALHOST) {
            Ok(here) => assert!(here),
            Err(error) => println!("SKIP: this host has no IPv6: {error}"),
        }
        let mut answer = [0; HEADER_BYTES + ROUTE_BYTES];
        answer[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        answer[23] = LOCAL;
        assert!(kind(&answer).is_err());
        answer[4..6].copy_from_slice(&NEW_ROUTE.to_ne_bytes());
        assert_eq!(kind(&answer).unwrap(), LOCAL);
    }
}
