//! Fragments of IP packets: checked views of those that clients send, the packet they make, and packets of ours in pieces
//! that fit into the tunnel.

use std::net::IpAddr;

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet};

use crate::packet::{ICMP, ICMP_V6, IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, LENGTH_MAX_BYTES, TCP, UDP};
use crate::stats::Refusal;

/// The unit of a fragment's offset.
const UNIT_BYTES: usize = 8;
/// Of IPv6, behind the IP header.
const FRAGMENT_HEADER_BYTES: usize = 8;
/// In the field of the offset: more fragments follow (IPv6).
const MORE_V6: u16 = 1;
const TCP_HEADER_BYTES: usize = 20;
/// Of UDP and of an echo request.
const OTHER_HEADER_BYTES: usize = 8;

/// A fragment of a client's packet. By itself it is in order: its own length and place, and as the first one it has a
/// whole transport header, so nothing that is judged later stands in another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment<'p> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// What the packet carries; for IPv6 only the first fragment's counts (RFC 8200, 4.5).
    pub(crate) protocol: u8,
    pub(crate) ident: u32,
    /// The IP header with its options, without the fragment header.
    pub(crate) header: &'p [u8],
    /// Where the data stand behind the packet's header, bytes.
    pub(crate) start: usize,
    pub(crate) data: &'p [u8],
    /// Others follow.
    pub(crate) more: bool,
}

impl<'p> Fragment<'p> {
    /// Looks at a packet of a client; `None` if it is no fragment, whatever else it is.
    pub(crate) fn of(bytes: &'p [u8]) -> Result<Option<Self>, Refusal> {
        let fragment = match bytes.first().map(|first| first >> 4) {
            Some(4) => Self::of_v4(bytes)?,
            Some(6) => Self::of_v6(bytes)?,
            _ => None,
        };
        fragment.map(Self::checked).transpose()
    }

    fn of_v4(bytes: &'p [u8]) -> Result<Option<Self>, Refusal> {
        let ip = Ipv4Packet::new_checked(bytes).map_err(|_| Refusal::Malformed)?;
        if !ip.more_frags() && ip.frag_offset() == 0 {
            return Ok(None);
        }
        let header_bytes = usize::from(ip.header_len());
        if header_bytes < IPV4_HEADER_BYTES || !ip.verify_checksum() {
            return Err(Refusal::Malformed);
        }
        let whole = bytes.get(..usize::from(ip.total_len())).ok_or(Refusal::Malformed)?;
        let (header, data) = whole.split_at_checked(header_bytes).ok_or(Refusal::Malformed)?;
        Ok(Some(Self {
            source: IpAddr::V4(ip.src_addr()),
            destination: IpAddr::V4(ip.dst_addr()),
            protocol: ip.next_header().into(),
            ident: u32::from(ip.ident()),
            header,
            start: usize::from(ip.frag_offset()),
            data,
            more: ip.more_frags(),
        }))
    }

    /// Only a fragment header that stands directly behind the IP header: no other extension is carried.
    fn of_v6(bytes: &'p [u8]) -> Result<Option<Self>, Refusal> {
        let ip = Ipv6Packet::new_checked(bytes).map_err(|_| Refusal::Malformed)?;
        if ip.next_header() != IpProtocol::Ipv6Frag {
            return Ok(None);
        }
        let header = bytes.get(..IPV6_HEADER_BYTES).ok_or(Refusal::Malformed)?;
        let [protocol, _, high, low, i3, i2, i1, i0, data @ ..] = ip.payload() else {
            return Err(Refusal::Malformed);
        };
        let place = u16::from_be_bytes([*high, *low]);
        Ok(Some(Self {
            source: IpAddr::V6(ip.src_addr()),
            destination: IpAddr::V6(ip.dst_addr()),
            protocol: *protocol,
            ident: u32::from_be_bytes([*i3, *i2, *i1, *i0]),
            header,
            start: usize::from(place) & !(UNIT_BYTES - 1),
            data,
            more: place & MORE_V6 != 0,
        }))
    }

    fn checked(self) -> Result<Self, Refusal> {
        let is_first = self.start == 0;
        let transport_bytes = self.transport_bytes();
        if transport_bytes.is_none() && (is_first || self.source.is_ipv4()) {
            return Err(Refusal::Protocol);
        }
        let cuts_a_unit = self.more && !self.data.len().is_multiple_of(UNIT_BYTES);
        let is_tiny = is_first && transport_bytes.is_some_and(|bytes| self.data.len() < bytes);
        if self.data.is_empty() || cuts_a_unit || is_tiny || self.end() > self.room_bytes() {
            return Err(Refusal::Fragment);
        }
        Ok(self)
    }

    /// Hops it has left, as it says (the field of the header that every router changes).
    pub(crate) fn hops(&self) -> u8 {
        let place = if self.source.is_ipv4() { 8 } else { 7 };
        self.header.get(place).copied().unwrap_or(0)
    }

    /// Length of the transport header, as far as it is known; `None` for what is not carried.
    fn transport_bytes(&self) -> Option<usize> {
        match (self.protocol, self.source) {
            (TCP, _) => {
                let words = self.data.get(12).map_or(0, |byte| usize::from(byte >> 4));
                Some((words * 4).max(TCP_HEADER_BYTES))
            }
            (UDP, _) | (ICMP, IpAddr::V4(_)) | (ICMP_V6, IpAddr::V6(_)) => Some(OTHER_HEADER_BYTES),
            _ => None,
        }
    }

    /// Where the data end behind the packet's header, bytes.
    pub(crate) fn end(&self) -> usize {
        self.start + self.data.len()
    }

    /// How much a packet may carry behind this header, bytes.
    pub(crate) fn room_bytes(&self) -> usize {
        LENGTH_MAX_BYTES - if self.source.is_ipv4() { self.header.len() } else { 0 }
    }

    /// Alone it is the packet (an "atomic" fragment, RFC 6946): others of its ident do not concern it.
    pub(crate) fn is_whole(&self) -> bool {
        self.start == 0 && !self.more
    }
}

/// Writes the packet that fragments make: the first one's header, and all data in order.
pub(crate) fn join<'p>(
    header: &[u8],
    protocol: u8,
    data: impl IntoIterator<Item = &'p [u8]>,
    out: &mut Vec<u8>,
) {
    out.clear();
    out.extend_from_slice(header);
    data.into_iter().for_each(|part| out.extend_from_slice(part));
    // Fragments beyond that were refused.
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
    let bytes = out.len();
    if header.first().is_some_and(|first| first >> 4 == 4) {
        let mut ip = Ipv4Packet::new_unchecked(&mut out[..]);
        ip.set_total_len(length(bytes));
        ip.clear_flags();
        ip.set_frag_offset(0);
        ip.fill_checksum();
    } else {
        let mut ip = Ipv6Packet::new_unchecked(&mut out[..]);
        ip.set_payload_len(length(bytes - header.len()));
        ip.set_next_header(protocol.into());
    }
}

/// Gives a packet that this crate wrote (an IP header without options or extensions) to `send`, in fragments if it is
/// longer than `mtu`: `scratch` holds them, `ident` is theirs. False if one of them found no room.
pub(crate) fn cut(
    packet: &[u8],
    mtu: usize,
    ident: u32,
    scratch: &mut Vec<u8>,
    mut send: impl FnMut(&[u8]) -> bool,
) -> bool {
    if packet.len() <= mtu {
        return send(packet);
    }
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let (header_bytes, more_bytes) =
        if is_v4 { (IPV4_HEADER_BYTES, 0) } else { (IPV6_HEADER_BYTES, FRAGMENT_HEADER_BYTES) };
    let part_bytes = mtu.saturating_sub(header_bytes + more_bytes) / UNIT_BYTES * UNIT_BYTES;
    let Some((header, payload)) = packet.split_at_checked(header_bytes).filter(|_| part_bytes > 0) else {
        return false;
    };
    let parts = payload.len().div_ceil(part_bytes);
    for (place, part) in payload.chunks(part_bytes).enumerate() {
        // No further than 65,535.
        let start = u16::try_from(place * part_bytes).unwrap_or(u16::MAX);
        let more = place + 1 < parts;
        scratch.clear();
        scratch.extend_from_slice(header);
        if is_v4 {
            v4_part(scratch, part, start, more, ident)
        } else {
            v6_part(scratch, part, start, more, ident)
        }
        if !send(scratch) {
            return false;
        }
    }
    true
}

fn v4_part(out: &mut Vec<u8>, part: &[u8], start: u16, more: bool, ident: u32) {
    out.extend_from_slice(part);
    // No longer than the MTU.
    let length = u16::try_from(out.len()).unwrap_or(u16::MAX);
    let [_, _, high, low] = ident.to_be_bytes();
    let mut ip = Ipv4Packet::new_unchecked(&mut out[..]);
    ip.set_total_len(length);
    ip.set_ident(u16::from_be_bytes([high, low]));
    ip.set_dont_frag(false);
    ip.set_more_frags(more);
    ip.set_frag_offset(start);
    ip.fill_checksum();
}

fn v6_part(out: &mut Vec<u8>, part: &[u8], start: u16, more: bool, ident: u32) {
    let protocol = Ipv6Packet::new_unchecked(&out[..]).next_header();
    out.extend_from_slice(&[protocol.into(), 0]);
    out.extend_from_slice(&(start | if more { MORE_V6 } else { 0 }).to_be_bytes());
    out.extend_from_slice(&ident.to_be_bytes());
    out.extend_from_slice(part);
    let length = u16::try_from(FRAGMENT_HEADER_BYTES + part.len()).unwrap_or(u16::MAX);
    let mut ip = Ipv6Packet::new_unchecked(&mut out[..]);
    ip.set_payload_len(length);
    ip.set_next_header(IpProtocol::Ipv6Frag);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::packet::{self, Inside};

    /// Client and far side in each IP version.
    pub(crate) const PAIRS: [(&str, &str); 2] =
        [("10.8.0.2:5000", "10.0.0.1:53"), ("[fd08::2]:5000", "[fd00::1]:53")];

    /// A datagram with so much data, and the data.
    pub(crate) fn datagram((from, to): (&str, &str), bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let data: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let mut packet = Vec::new();
        packet::datagram(from, to, &data, &mut packet);
        (packet, data)
    }

    /// A packet of this crate as one fragment: these bytes of what follows its IP header.
    pub(crate) fn piece(packet: &[u8], (start, end): (usize, usize), more: bool, ident: u32) -> Vec<u8> {
        let is_v4 = packet[0] >> 4 == 4;
        let header_bytes = if is_v4 { IPV4_HEADER_BYTES } else { IPV6_HEADER_BYTES };
        let (header, payload) = packet.split_at(header_bytes);
        let mut out = header.to_vec();
        let write = if is_v4 { v4_part } else { v6_part };
        write(&mut out, &payload[start..end], u16::try_from(start).unwrap(), more, ident);
        out
    }

    fn parts_of(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        let whole = cut(packet, mtu, 0x7_0009, &mut Vec::new(), |part| {
            parts.push(part.to_vec());
            true
        });
        assert!(whole);
        parts
    }

    #[test]
    fn a_long_packet_goes_in_fragments_that_make_it_again() {
        for (pair, ident) in PAIRS.into_iter().zip([9, 0x7_0009]) {
            let (whole, data) = datagram(pair, 4000);
            let parts = parts_of(&whole, 1500);
            assert_eq!(parts.len(), 3, "{pair:?}");
            let views: Vec<Fragment<'_>> =
                parts.iter().map(|part| Fragment::of(part).unwrap().expect("a fragment")).collect();
            let mut end = 0;
            for (place, (part, view)) in parts.iter().zip(&views).enumerate() {
                assert!(part.len() <= 1500 && part.len() > if place < 2 { 1480 } else { 0 });
                assert_eq!((view.ident, view.protocol, view.start), (ident, UDP, end));
                assert_eq!(view.more, place < 2);
                assert!(!view.is_whole());
                end = view.end();
            }
            let mut again = Vec::new();
            join(views[0].header, views[0].protocol, views.iter().map(|view| view.data), &mut again);
            let read = packet::parse(&again).unwrap();
            assert!(matches!(read.inside, Inside::Udp { data: found, .. } if found == data), "{pair:?}");
            assert!(Fragment::of(&again).unwrap().is_none());
        }
    }

    #[test]
    fn what_fits_goes_whole_and_what_finds_no_room_is_told() {
        for pair in PAIRS {
            let (whole, _) = datagram(pair, 1000);
            assert_eq!(parts_of(&whole, whole.len()), [whole.as_slice()]);
            assert_eq!(parts_of(&whole, whole.len() - 1).len(), 2);
            assert!(!cut(&whole, 27, 1, &mut Vec::new(), |_| true), "no room for a unit");
            let mut sent = 0;
            assert!(!cut(&whole, 500, 1, &mut Vec::new(), |_| {
                sent += 1;
                sent < 2
            }));
            assert_eq!(sent, 2);
        }
        // The longest there are.
        for (pair, data) in PAIRS.into_iter().zip([65_507, 65_527]) {
            let (whole, _) = datagram(pair, data);
            for part in parts_of(&whole, 1500) {
                assert!(Fragment::of(&part).is_ok_and(|part| part.is_some()));
            }
        }
    }

    #[test]
    fn what_is_wrong_by_itself_is_refused() {
        for pair in PAIRS {
            let (whole, _) = datagram(pair, 4000);
            let is_v4 = whole[0] >> 4 == 4;
            let refused = |bytes: &[u8]| Fragment::of(bytes).err();
            let good = piece(&whole, (8, 24), true, 1);
            assert_eq!(refused(&good), None);
            assert_eq!(refused(&piece(&whole, (8, 23), true, 1)), Some(Refusal::Fragment), "half a unit");
            assert_eq!(refused(&piece(&whole, (8, 23), false, 1)), None, "at the end there may be one");
            assert_eq!(refused(&piece(&whole, (8, 8), false, 1)), Some(Refusal::Fragment), "nothing");
            assert_eq!(refused(&piece(&whole, (0, 8), true, 1)), None, "the header of UDP");
            assert_eq!(refused(&good[..good.len() - 1]), Some(Refusal::Malformed), "cut off");
            // As TCP its header is 20 bytes, or as many as it says.
            let mut tcp = whole.clone();
            tcp[if is_v4 { 9 } else { 6 }] = TCP;
            tcp[if is_v4 { 20 } else { 40 } + 12] = 0x60;
            assert_eq!(refused(&piece(&tcp, (0, 8), true, 1)), Some(Refusal::Fragment), "tiny");
            assert_eq!(refused(&piece(&tcp, (0, 16), true, 1)), Some(Refusal::Fragment), "tiny");
            assert_eq!(refused(&piece(&tcp, (0, 24), true, 1)), None, "24 bytes");
            tcp[if is_v4 { 20 } else { 40 } + 12] = 0x70;
            assert_eq!(refused(&piece(&tcp, (0, 24), true, 1)), Some(Refusal::Fragment), "28 bytes");
            assert_eq!(refused(&piece(&tcp, (8, 16), true, 1)), None, "no first one");
            // Beyond the longest packet.
            let far = |start: u16, end: usize| {
                let header = if is_v4 { 20 } else { 40 };
                let mut out = whole[..header].to_vec();
                let write = if is_v4 { v4_part } else { v6_part };
                write(&mut out, &whole[header..header + end - usize::from(start)], start, false, 1);
                refused(&out)
            };
            let longest = if is_v4 { 65_515 } else { 65_535 };
            assert_eq!(far(65_504, longest), None);
            assert_eq!(far(65_504, longest + 1), Some(Refusal::Fragment));
            // What is not carried need not be held: IPv6 says so in the first one only.
            let mut gre = whole.clone();
            gre[if is_v4 { 9 } else { 6 }] = 47;
            assert_eq!(refused(&piece(&gre, (0, 8), true, 1)), Some(Refusal::Protocol));
            assert_eq!(refused(&piece(&gre, (8, 16), true, 1)), is_v4.then_some(Refusal::Protocol));
            assert!(Fragment::of(&whole).unwrap().is_none());
        }
        let (v4, _) = datagram(PAIRS[0], 100);
        let mut bent = piece(&v4, (8, 24), true, 1);
        bent[10] ^= 1;
        assert_eq!(Fragment::of(&bent).err(), Some(Refusal::Malformed), "the header's checksum");
        assert!(Fragment::of(&[]).unwrap().is_none() && Fragment::of(&[0x10]).unwrap().is_none());
    }
}
