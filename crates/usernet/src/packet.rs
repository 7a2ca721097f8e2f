//! Packets of the tunnel: checked views of what clients send, and what we answer.

mod told;

use std::net::{IpAddr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv4Repr, Icmpv4TimeExceeded, Icmpv6DstUnreachable,
    Icmpv6Message, Icmpv6Packet, Icmpv6Repr, Icmpv6TimeExceeded, IpAddress, IpProtocol, IpRepr, Ipv4Packet,
    Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

pub(crate) use self::told::told;
use crate::stats::Refusal;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP_V6: u8 = 58;

/// Hops a packet of ours may take.
const HOP_LIMIT: u8 = 64;
pub(crate) const IPV4_HEADER_BYTES: usize = 20;
pub(crate) const IPV6_HEADER_BYTES: usize = 40;
/// The longest that a packet may say it is: all of it for IPv4, what follows the header for IPv6.
pub(crate) const LENGTH_MAX_BYTES: usize = 65_535;
const UDP_HEADER_BYTES: usize = 8;
const ECHO_HEADER_BYTES: usize = 8;
/// Of a packet that an ICMP message is about, what follows its IP header: enough for ports.
const QUOTED_BYTES: usize = 8;

/// A whole packet of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'p> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Without what may follow its IP length.
    pub(crate) whole: &'p [u8],
    /// A router would not pass it on.
    pub(crate) is_expired: bool,
    pub(crate) inside: Inside<'p>,
}

/// What is in it; checksums are right.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inside<'p> {
    Tcp(Segment),
    Udp { source: u16, destination: u16, data: &'p [u8] },
    Echo { ident: u16, number: u16, data: &'p [u8] },
}

/// What we need to know of a TCP segment before a stack sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) syn: bool,
    pub(crate) ack: bool,
    pub(crate) rst: bool,
    fin: bool,
    sequence: TcpSeqNumber,
    acknowledged: TcpSeqNumber,
    /// Sequence numbers it takes.
    length: usize,
}

impl Segment {
    /// It asks for a connection, and for nothing else.
    pub(crate) fn begins(&self) -> bool {
        self.syn && !(self.ack || self.rst || self.fin)
    }
}

/// Whether a packet of so many hops ends at a router: it would pass it on with none.
pub(crate) fn ends_at_router(hops: u8) -> bool {
    hops <= 1
}

/// Looks at a packet of a client, one that has been put together if it came in fragments.
pub(crate) fn parse(bytes: &[u8]) -> Result<Packet<'_>, Refusal> {
    let ip = Ip::of(bytes)?;
    let inside = inside(ip.source, ip.destination, ip.protocol, ip.payload)?;
    let is_expired = ip.is_expired();
    Ok(Packet { source: ip.source, destination: ip.destination, whole: ip.whole, is_expired, inside })
}

/// A whole IP packet.
struct Ip<'p> {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpProtocol,
    hops: u8,
    whole: &'p [u8],
    payload: &'p [u8],
}

impl<'p> Ip<'p> {
    fn of(bytes: &'p [u8]) -> Result<Self, Refusal> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => {
                let ip = Ipv4Packet::new_checked(bytes).map_err(|_| Refusal::Malformed)?;
                if !ip.verify_checksum() {
                    return Err(Refusal::Malformed);
                }
                if ip.more_frags() || ip.frag_offset() != 0 {
                    return Err(Refusal::Fragment);
                }
                Ok(Self {
                    source: ip.src_addr().into(),
                    destination: ip.dst_addr().into(),
                    protocol: ip.next_header(),
                    hops: ip.hop_limit(),
                    whole: bytes.get(..usize::from(ip.total_len())).ok_or(Refusal::Malformed)?,
                    payload: ip.payload(),
                })
            }
            Some(6) => {
                let ip = Ipv6Packet::new_checked(bytes).map_err(|_| Refusal::Malformed)?;
                Ok(Self {
                    source: ip.src_addr().into(),
                    destination: ip.dst_addr().into(),
                    protocol: ip.next_header(),
                    hops: ip.hop_limit(),
                    whole: bytes.get(..ip.total_len()).ok_or(Refusal::Malformed)?,
                    payload: ip.payload(),
                })
            }
            _ => Err(Refusal::Malformed),
        }
    }

    fn is_expired(&self) -> bool {
        ends_at_router(self.hops)
    }
}

fn inside(
    source: IpAddr,
    destination: IpAddr,
    protocol: IpProtocol,
    payload: &[u8],
) -> Result<Inside<'_>, Refusal> {
    let (from, to): (IpAddress, IpAddress) = (source.into(), destination.into());
    match (protocol, source, destination) {
        (IpProtocol::Tcp, _, _) => {
            let tcp = TcpPacket::new_checked(payload).map_err(|_| Refusal::Malformed)?;
            if !tcp.verify_checksum(&from, &to) {
                return Err(Refusal::Malformed);
            }
            Ok(Inside::Tcp(Segment {
                source: tcp.src_port(),
                destination: tcp.dst_port(),
                syn: tcp.syn(),
                ack: tcp.ack(),
                rst: tcp.rst(),
                fin: tcp.fin(),
                sequence: tcp.seq_number(),
                acknowledged: tcp.ack_number(),
                length: tcp.segment_len(),
            }))
        }
        (IpProtocol::Udp, _, _) => {
            let udp = UdpPacket::new_checked(payload).map_err(|_| Refusal::Malformed)?;
            if !udp.verify_checksum(&from, &to) {
                return Err(Refusal::Malformed);
            }
            Ok(Inside::Udp { source: udp.src_port(), destination: udp.dst_port(), data: udp.payload() })
        }
        (IpProtocol::Icmp, IpAddr::V4(_), _) => {
            let icmp = Icmpv4Packet::new_checked(payload).map_err(|_| Refusal::Malformed)?;
            if !icmp.verify_checksum() {
                return Err(Refusal::Malformed);
            }
            if icmp.msg_type() != Icmpv4Message::EchoRequest {
                return Err(Refusal::Protocol);
            }
            Ok(Inside::Echo { ident: icmp.echo_ident(), number: icmp.echo_seq_no(), data: icmp.data() })
        }
        (IpProtocol::Icmpv6, IpAddr::V6(source), IpAddr::V6(destination)) => {
            let icmp = Icmpv6Packet::new_checked(payload).map_err(|_| Refusal::Malformed)?;
            if !icmp.verify_checksum(&source, &destination) {
                return Err(Refusal::Malformed);
            }
            if icmp.msg_type() != Icmpv6Message::EchoRequest {
                return Err(Refusal::Protocol);
            }
            Ok(Inside::Echo { ident: icmp.echo_ident(), number: icmp.echo_seq_no(), data: icmp.payload() })
        }
        _ => Err(Refusal::Protocol),
    }
}

fn header(from: IpAddr, to: IpAddr, protocol: IpProtocol, length: usize) -> IpRepr {
    IpRepr::new(from.into(), to.into(), protocol, length, HOP_LIMIT)
}

/// Writes a packet: its IP header, then what `fill` puts behind it.
fn write(out: &mut Vec<u8>, ip: &IpRepr, fill: impl FnOnce(&mut [u8])) {
    out.clear();
    out.resize(ip.buffer_len(), 0);
    ip.emit(&mut out[..], &ChecksumCapabilities::default());
    if let Some(payload) = out.get_mut(ip.header_len()..) {
        fill(payload);
    }
}

/// Answers a segment with a reset that its sender believes. False, and nothing, if it is a reset itself.
pub(crate) fn reset(packet: &Packet<'_>, segment: &Segment, out: &mut Vec<u8>) -> bool {
    if segment.rst {
        return false;
    }
    // As a host without that connection does (RFC 9293, 3.10.7.1).
    let (seq_number, ack_number) = if segment.ack {
        (segment.acknowledged, None)
    } else {
        (TcpSeqNumber(0), Some(segment.sequence + segment.length))
    };
    let tcp = TcpRepr {
        src_port: segment.destination,
        dst_port: segment.source,
        control: TcpControl::Rst,
        seq_number,
        ack_number,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = header(packet.destination, packet.source, IpProtocol::Tcp, tcp.buffer_len());
    write(out, &ip, |payload| {
        let mut payload = TcpPacket::new_unchecked(payload);
        tcp.emit(&mut payload, &ip.src_addr(), &ip.dst_addr(), &ChecksumCapabilities::default());
    });
    true
}

/// Why something could not be delivered, as ICMP says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    Network,
    Host,
    Port,
    Prohibited,
    /// It has no hop left: "time exceeded".
    Expired,
}

/// Tells a client that a packet of its could not be delivered: in the name of a router that is given, else of the packet's
/// destination, an address that the client's rules let answer. False, and nothing, if it cannot be said.
pub(crate) fn unreachable(about: &[u8], why: Unreachable, router: Option<IpAddr>, out: &mut Vec<u8>) -> bool {
    let checksums = ChecksumCapabilities::default();
    if let Ok(packet) = Ipv4Packet::new_checked(about)
        && packet.version() == 4
        && let Ok(quoted) = Ipv4Repr::parse(&packet, &checksums)
    {
        let payload = packet.payload();
        let data = payload.get(..QUOTED_BYTES).unwrap_or(payload);
        let unreachable = |reason| Icmpv4Repr::DstUnreachable { reason, header: quoted, data };
        let icmp = match why {
            Unreachable::Network => unreachable(Icmpv4DstUnreachable::NetUnreachable),
            Unreachable::Host => unreachable(Icmpv4DstUnreachable::HostUnreachable),
            Unreachable::Port => unreachable(Icmpv4DstUnreachable::PortUnreachable),
            Unreachable::Prohibited => unreachable(Icmpv4DstUnreachable::CommProhibited),
            Unreachable::Expired => {
                Icmpv4Repr::TimeExceeded { reason: Icmpv4TimeExceeded::TtlExpired, header: quoted, data }
            }
        };
        let IpAddr::V4(from) = router.unwrap_or(quoted.dst_addr.into()) else { return false };
        let ip = header(from.into(), quoted.src_addr.into(), IpProtocol::Icmp, icmp.buffer_len());
        write(out, &ip, |payload| icmp.emit(&mut Icmpv4Packet::new_unchecked(payload), &checksums));
        return true;
    }
    if let Ok(packet) = Ipv6Packet::new_checked(about)
        && packet.version() == 6
        && let Ok(quoted) = Ipv6Repr::parse(&packet)
    {
        let payload = packet.payload();
        let data = payload.get(..QUOTED_BYTES).unwrap_or(payload);
        let unreachable = |reason| Icmpv6Repr::DstUnreachable { reason, header: quoted, data };
        let icmp = match why {
            Unreachable::Network => unreachable(Icmpv6DstUnreachable::NoRoute),
            Unreachable::Host => unreachable(Icmpv6DstUnreachable::AddrUnreachable),
            Unreachable::Port => unreachable(Icmpv6DstUnreachable::PortUnreachable),
            Unreachable::Prohibited => unreachable(Icmpv6DstUnreachable::AdminProhibit),
            Unreachable::Expired => Icmpv6Repr::TimeExceeded {
                reason: Icmpv6TimeExceeded::HopLimitExceeded,
                header: quoted,
                data,
            },
        };
        let IpAddr::V6(from) = router.unwrap_or(quoted.dst_addr.into()) else { return false };
        let to = quoted.src_addr;
        let ip = header(from.into(), to.into(), IpProtocol::Icmpv6, icmp.buffer_len());
        write(out, &ip, |payload| {
            icmp.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(payload), &checksums);
        });
        return true;
    }
    false
}

/// Writes a datagram with no more data than `datagram_max_bytes`.
pub(crate) fn datagram(from: SocketAddr, to: SocketAddr, data: &[u8], out: &mut Vec<u8>) {
    let udp = UdpRepr { src_port: from.port(), dst_port: to.port() };
    let ip = header(from.ip(), to.ip(), IpProtocol::Udp, UDP_HEADER_BYTES + data.len());
    write(out, &ip, |payload| {
        udp.emit(
            &mut UdpPacket::new_unchecked(payload),
            &ip.src_addr(),
            &ip.dst_addr(),
            data.len(),
            |into| into.copy_from_slice(data),
            &ChecksumCapabilities::default(),
        );
    });
}

/// Most bytes behind the IP header of a packet from there.
fn room_bytes(from: IpAddr) -> usize {
    LENGTH_MAX_BYTES - if from.is_ipv4() { IPV4_HEADER_BYTES } else { 0 }
}

/// Most data of a datagram from there, bytes.
pub(crate) fn datagram_max_bytes(from: IpAddr) -> usize {
    room_bytes(from) - UDP_HEADER_BYTES
}

/// Most data of an echo reply from there, bytes.
pub(crate) fn echo_max_bytes(from: IpAddr) -> usize {
    room_bytes(from) - ECHO_HEADER_BYTES
}

/// An echo message by itself, as a ping socket takes it (which fills in identifier and checksum).
pub(crate) fn echo_request(v6: bool, number: u16, data: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[if v6 { 128 } else { 8 }, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(data);
}

/// Number and data of the echo reply that a ping socket gave.
pub(crate) fn echo_answer(message: &[u8]) -> Option<(u16, &[u8])> {
    let [0 | 129, 0, _, _, _, _, high, low] = *message.first_chunk::<ECHO_HEADER_BYTES>()? else {
        return None;
    };
    Some((u16::from_be_bytes([high, low]), message.get(ECHO_HEADER_BYTES..)?))
}

/// Writes an echo reply for a client, with no more data than `echo_max_bytes`.
pub(crate) fn echo_reply(from: IpAddr, to: IpAddr, ident: u16, seq_no: u16, data: &[u8], out: &mut Vec<u8>) {
    let checksums = ChecksumCapabilities::default();
    let length = ECHO_HEADER_BYTES + data.len();
    match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            write(out, &header(from, to, IpProtocol::Icmp, length), |payload| {
                Icmpv4Repr::EchoReply { ident, seq_no, data }
                    .emit(&mut Icmpv4Packet::new_unchecked(payload), &checksums);
            });
        }
        (IpAddr::V6(from6), IpAddr::V6(to6)) => {
            write(out, &header(from, to, IpProtocol::Icmpv6, length), |payload| {
                Icmpv6Repr::EchoReply { ident, seq_no, data }.emit(
                    &from6,
                    &to6,
                    &mut Icmpv6Packet::new_unchecked(payload),
                    &checksums,
                );
            });
        }
        _ => out.clear(),
    }
}

#[cfg(test)]
mod foreign;
#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const ALL: [Unreachable; 5] = [
        Unreachable::Network,
        Unreachable::Host,
        Unreachable::Port,
        Unreachable::Prohibited,
        Unreachable::Expired,
    ];

    #[test]
    fn a_router_speaks_in_its_own_name() {
        for (client, far, router, other) in [
            ("10.8.0.2:5000", "10.0.0.1:53", "192.0.2.1", "fd00::7"),
            ("[fd08::2]:5000", "[fd00::1]:53", "fd00::7", "192.0.2.1"),
        ] {
            let (mut asked, mut out) = (Vec::new(), Vec::new());
            datagram(v4(client), v4(far), b"question", &mut asked);
            let (router, other): (IpAddr, IpAddr) = (router.parse().unwrap(), other.parse().unwrap());
            assert!(unreachable(&asked, Unreachable::Expired, Some(router), &mut out));
            let ip = Ip::of(&out).unwrap_or_else(|why| panic!("{why:?}"));
            assert_eq!((ip.source, ip.destination), (router, v4(client).ip()));
            let kind = if router.is_ipv4() { 11 } else { 3 };
            assert_eq!(ip.payload[..2], [kind, 0]);
            assert!(!unreachable(&asked, Unreachable::Expired, Some(other), &mut out), "another family");
        }
    }

    #[test]
    fn one_hop_is_none_behind_a_router() {
        for (client, far, place) in
            [("10.8.0.2:5000", "10.0.0.1:53", 8), ("[fd08::2]:5000", "[fd00::1]:53", 7)]
        {
            for (hops, expired) in [(0, true), (1, true), (2, false), (255, false)] {
                let mut bytes = Vec::new();
                datagram(v4(client), v4(far), b"question", &mut bytes);
                bytes[place] = hops;
                if place == 8 {
                    Ipv4Packet::new_unchecked(&mut bytes[..]).fill_checksum();
                }
                assert_eq!(parse(&bytes).unwrap().is_expired, expired, "{client} {hops}");
            }
        }
    }

    fn v4(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_no_whole_packet_is_refused() {
        let mut good = Vec::new();
        datagram(v4("10.8.0.2:5000"), v4("10.0.0.1:53"), b"question", &mut good);
        let packet = parse(&good).unwrap();
        assert!(matches!(packet.inside, Inside::Udp { source: 5000, destination: 53, data: b"question" }));
        // What follows a packet is not part of it.
        let mut longer = good.clone();
        longer.extend_from_slice(b"tail");
        assert_eq!(parse(&longer).unwrap().whole, good);
        let bent = |bend: fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            bend(&mut bytes);
            parse(&bytes).err()
        };
        assert_eq!(bent(Vec::clear), Some(Refusal::Malformed));
        assert_eq!(bent(|bytes| bytes.truncate(19)), Some(Refusal::Malformed));
        assert_eq!(bent(|bytes| bytes.truncate(30)), Some(Refusal::Malformed));
        assert_eq!(bent(|bytes| bytes[0] = 0x55), Some(Refusal::Malformed));
        assert_eq!(bent(|bytes| bytes[10] ^= 1), Some(Refusal::Malformed), "the header's checksum");
        assert_eq!(bent(|bytes| bytes[30] ^= 1), Some(Refusal::Malformed), "the datagram's checksum");
        let mended = |bytes: &mut Vec<u8>| Ipv4Packet::new_unchecked(&mut bytes[..]).fill_checksum();
        let mut fragment = good.clone();
        fragment[6] = 0x20;
        mended(&mut fragment);
        assert_eq!(parse(&fragment).err(), Some(Refusal::Fragment));
        let mut gre = good;
        gre[9] = 47;
        mended(&mut gre);
        assert_eq!(parse(&gre).err(), Some(Refusal::Protocol));
    }

    #[test]
    fn answers_are_whole_packets() {
        let mut asked = Vec::new();
        for (client, far) in [("10.8.0.2:5000", "10.0.0.1:53"), ("[fd08::2]:5000", "[fd00::1]:53")] {
            datagram(v4(client), v4(far), b"question", &mut asked);
            let mut out = Vec::new();
            for why in ALL {
                assert!(unreachable(&asked, why, None, &mut out));
                // Not an echo request, so refused for its kind only.
                assert_eq!(parse(&out).err(), Some(Refusal::Protocol), "{client} {why:?}");
            }
        }
        let mut request = Vec::new();
        echo_request(false, 7, b"data", &mut request);
        assert_eq!(echo_answer(&request), None, "a request is no answer");
        request[0] = 0;
        assert_eq!(echo_answer(&request), Some((7, &b"data"[..])));
    }
}
