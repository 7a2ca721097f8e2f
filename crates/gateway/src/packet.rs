//! Bounds-checked views of the IP packets inside the tunnel, and the TCP MSS clamp.

mod mss;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::ClientAddresses;

pub use mss::{clamp_mss, inner_room_bytes};

/// IP protocol numbers that mean something here.
pub(crate) const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// Why bytes are no packet to be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Neither version 4 nor 6.
    Version,
    /// A length in the header contradicts the bytes there are.
    Length,
    /// Options that do not parse.
    Options,
    /// A source route: the header's destination would not be where the packet ends up.
    SourceRoute,
}

/// What the gateway needs to know of a packet. All offsets lie within the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// Bytes of the whole packet as its header says; never more than there are.
    pub packet_bytes: usize,
    /// Where the transport header starts; `None` in a fragment other than the first.
    pub transport: Option<Transport>,
}

/// The transport header's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// IP protocol number.
    pub protocol: u8,
    /// Offset from the packet's start.
    pub offset_bytes: usize,
}

impl Header {
    /// Reads the header of an IPv4 or IPv6 packet. Bytes after the packet's own length are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.first().map(|b| b >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Self::parse_v6(bytes),
            _ => Err(Malformed::Version),
        }
    }

    fn parse_v4(bytes: &[u8]) -> Result<Self, Malformed> {
        let fixed: &[u8; 20] = bytes.first_chunk().ok_or(Malformed::Length)?;
        let [
            first,
            _,
            len_hi,
            len_lo,
            _,
            _,
            frag_hi,
            frag_lo,
            _,
            protocol,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ] = *fixed;
        let header_bytes = usize::from(first & 0x0f) * 4;
        let packet_bytes = usize::from(u16::from_be_bytes([len_hi, len_lo]));
        if header_bytes < 20 || packet_bytes < header_bytes || packet_bytes > bytes.len() {
            return Err(Malformed::Length);
        }
        check_options(bytes.get(20..header_bytes).ok_or(Malformed::Length)?)?;
        let fragment_offset = u16::from_be_bytes([frag_hi, frag_lo]) & 0x1fff;
        let transport = Transport { protocol, offset_bytes: header_bytes };
        Ok(Self {
            source: IpAddr::V4(Ipv4Addr::new(s0, s1, s2, s3)),
            destination: IpAddr::V4(Ipv4Addr::new(d0, d1, d2, d3)),
            packet_bytes,
            transport: (fragment_offset == 0).then_some(transport),
        })
    }

    fn parse_v6(bytes: &[u8]) -> Result<Self, Malformed> {
        let fixed: &[u8; 40] = bytes.first_chunk().ok_or(Malformed::Length)?;
        let [_, _, _, _, len_hi, len_lo, next, _, addresses @ ..] = fixed;
        let (source, destination) = addresses.split_first_chunk::<16>().ok_or(Malformed::Length)?;
        let destination: &[u8; 16] = destination.first_chunk().ok_or(Malformed::Length)?;
        let packet_bytes = 40 + usize::from(u16::from_be_bytes([*len_hi, *len_lo]));
        let packet = bytes.get(..packet_bytes).ok_or(Malformed::Length)?;
        Ok(Self {
            source: IpAddr::V6(Ipv6Addr::from(*source)),
            destination: IpAddr::V6(Ipv6Addr::from(*destination)),
            packet_bytes,
            transport: v6_transport(packet, *next)?,
        })
    }

    /// Whether it never leaves its link, whatever routes say: to a group, or from an address that means nothing beyond.
    pub(crate) fn stays_on_link(&self) -> bool {
        match (self.source, self.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                destination.is_multicast() || source.is_unspecified() || source.is_unicast_link_local()
            }
            _ => false,
        }
    }
}

/// Walks IPv4 options; refuses loose and strict source routes (types 131 and 137), which would carry a packet past
/// the destination that was judged.
fn check_options(mut options: &[u8]) -> Result<(), Malformed> {
    loop {
        match options {
            [] | [0, ..] => return Ok(()),
            [1, rest @ ..] => options = rest,
            [131 | 137, ..] => return Err(Malformed::SourceRoute),
            [_, len, ..] if *len >= 2 => {
                options = options.get(usize::from(*len)..).ok_or(Malformed::Options)?;
            }
            _ => return Err(Malformed::Options),
        }
    }
}

/// At most this many IPv6 extension headers are walked.
const V6_EXTENSIONS: usize = 8;

/// Follows IPv6 extension headers up to the transport header.
fn v6_transport(packet: &[u8], first: u8) -> Result<Option<Transport>, Malformed> {
    let (mut next, mut offset) = (first, 40_usize);
    for _ in 0..V6_EXTENSIONS {
        let rest = packet.get(offset..).ok_or(Malformed::Length)?;
        match next {
            // Hop-by-hop, routing, authentication, destination options.
            0 | 43 | 51 | 60 => {
                let [following, len, ..] = rest else { return Err(Malformed::Length) };
                if next == 43 {
                    return Err(Malformed::SourceRoute);
                }
                // Only that of authentication counts in words of four bytes.
                let bytes =
                    if next == 51 { (usize::from(*len) + 2) * 4 } else { (usize::from(*len) + 1) * 8 };
                offset += bytes;
                next = *following;
            }
            44 => {
                let [following, _, frag_hi, frag_lo, _, _, _, _, ..] = rest else {
                    return Err(Malformed::Length);
                };
                if u16::from_be_bytes([*frag_hi, *frag_lo]) & 0xfff8 != 0 {
                    return Ok(None);
                }
                offset += 8;
                next = *following;
            }
            protocol => return Ok(Some(Transport { protocol, offset_bytes: offset })),
        }
    }
    Err(Malformed::Options)
}

/// The destination of the packet that an ICMP error quotes, where `packet` is such an error about a packet that `about`
/// sent: a router's word about a conversation belongs to that conversation's far end, not to the router.
pub(crate) fn quoted_destination(packet: &[u8], header: &Header, about: ClientAddresses) -> Option<IpAddr> {
    let transport = header.transport?;
    let icmp = packet.get(transport.offset_bytes..header.packet_bytes)?;
    // The quote is cut short, so its own length cannot be checked; its addresses stand in the fixed part.
    let (source, destination) = match (transport.protocol, header.source, icmp) {
        // Destination unreachable, time exceeded, parameter problem.
        (ICMP, IpAddr::V4(_), [3 | 11 | 12, _, _, _, _, _, _, _, quoted @ ..]) => {
            let quoted: &[u8; 20] = quoted.first_chunk()?;
            let [0x45..=0x4f, .., s0, s1, s2, s3, d0, d1, d2, d3] = *quoted else { return None };
            let destination = Ipv4Addr::new(d0, d1, d2, d3);
            (IpAddr::V4(Ipv4Addr::new(s0, s1, s2, s3)), IpAddr::V4(destination))
        }
        // The same, and packet too big.
        (ICMP_V6, IpAddr::V6(_), [1..=4, _, _, _, _, _, _, _, quoted @ ..]) => {
            let quoted: &[u8; 40] = quoted.first_chunk()?;
            let [0x60..=0x6f, _, _, _, _, _, _, _, addresses @ ..] = quoted else { return None };
            let (source, destination) = addresses.split_first_chunk::<16>()?;
            let destination: &[u8; 16] = destination.first_chunk()?;
            (IpAddr::V6(Ipv6Addr::from(*source)), IpAddr::V6(Ipv6Addr::from(*destination)))
        }
        _ => return None,
    };
    about.has(source).then_some(destination)
}

#[cfg(test)]
mod tests;
