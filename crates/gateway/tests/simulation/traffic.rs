//! What goes through the tunnels: packets of both IP versions, whole and in fragments, and what routers say about them.

use std::net::IpAddr;

/// An IP packet, and what a reader of all of it knows.
#[derive(Clone, Debug)]
pub struct Letter {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Sender and receiver of the packet that it is an ICMP error about; both in its own IP version.
    pub quotes: Option<(IpAddr, IpAddr)>,
    pub cut: Cut,
    pub bytes: Vec<u8>,
}

/// Which part of a packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Whole,
    First,
    /// Without the transport header, whatever its bytes look like.
    Later,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    Datagram,
    /// An error about a packet from the one to the other.
    Error(IpAddr, IpAddr),
    /// The same bytes in an echo request, which is about nothing.
    Echo(IpAddr, IpAddr),
}

const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
/// Where later fragments lie, in units of eight bytes.
const OFFSET: u16 = 2;

impl Letter {
    /// All addresses are of one IP version.
    pub fn new(source: IpAddr, destination: IpAddr, body: Body, cut: Cut) -> Self {
        let (protocol, payload, quotes) = match body {
            Body::Datagram => (UDP, datagram(), None),
            Body::Error(from, to) => {
                let kind = if source.is_ipv4() { 3 } else { 2 };
                (icmp(source), about(kind, from, to), Some((from, to)))
            }
            Body::Echo(from, to) => {
                let kind = if source.is_ipv4() { 8 } else { 128 };
                (icmp(source), about(kind, from, to), None)
            }
        };
        let bytes = packet(source, destination, protocol, &payload, cut);
        Self { source, destination, quotes: quotes.filter(|_| cut != Cut::Later), cut, bytes }
    }
}

fn datagram() -> Vec<u8> {
    vec![0, 53, 0, 53, 0, 8, 0, 0]
}

fn icmp(of: IpAddr) -> u8 {
    if of.is_ipv4() { 1 } else { 58 }
}

fn about(kind: u8, from: IpAddr, to: IpAddr) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 5, 0], &packet(from, to, UDP, &datagram(), Cut::Whole)[..]].concat()
}

fn packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8], cut: Cut) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let fragment = match cut {
                Cut::Whole => 0,
                Cut::First => 0x2000,
                Cut::Later => OFFSET,
            };
            let mut bytes = vec![0x45, 0];
            bytes.extend(length(20 + payload.len()));
            bytes.extend([0, 9]);
            bytes.extend(fragment.to_be_bytes());
            bytes.extend([64, protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend(payload);
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let extension = match cut {
                Cut::Whole => vec![],
                Cut::First => vec![protocol, 0, 0, 1, 0, 0, 0, 9],
                Cut::Later => [&[protocol, 0], &(OFFSET << 3).to_be_bytes()[..], &[0, 0, 0, 9]].concat(),
            };
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend(length(extension.len() + payload.len()));
            bytes.extend([if extension.is_empty() { protocol } else { FRAGMENT }, 64]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend(extension);
            bytes.extend(payload);
            bytes
        }
        _ => panic!("{source} and {destination} are of two IP versions"),
    }
}
