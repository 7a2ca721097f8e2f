//! What a client says of datagrams that came for it: nobody is there (RFC 792; RFC 4443, 3.1).

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv6DstUnreachable, Icmpv6Message, Icmpv6Packet,
    IpProtocol, Ipv4Packet, Ipv6Packet,
};

use super::{IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, Ip};

/// A client's word that one of its ports, or itself as a whole, takes no more datagrams of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Who says so, and where the datagram went.
    pub(crate) client: SocketAddr,
    /// Who is told, and where the datagram came from.
    pub(crate) far: SocketAddr,
}

/// Reads it; `None` if a packet is anything else. It counts from who was sent the datagram it quotes, to who has sent that:
/// nobody speaks for others.
pub(crate) fn told(bytes: &[u8]) -> Option<Told> {
    let ip = Ip::of(bytes).ok().filter(|ip| !ip.is_expired())?;
    let (from, to, ports) = match (ip.protocol, ip.source, ip.destination) {
        (IpProtocol::Icmp, IpAddr::V4(_), _) => {
            let icmp = Icmpv4Packet::new_checked(ip.payload).ok().filter(Icmpv4Packet::verify_checksum)?;
            let gone = matches!(
                icmp.msg_code().into(),
                Icmpv4DstUnreachable::HostUnreachable | Icmpv4DstUnreachable::PortUnreachable
            );
            if icmp.msg_type() != Icmpv4Message::DstUnreachable || !gone {
                return None;
            }
            quoted_v4(icmp.data())?
        }
        (IpProtocol::Icmpv6, IpAddr::V6(source), IpAddr::V6(destination)) => {
            let icmp = Icmpv6Packet::new_checked(ip.payload).ok()?;
            let gone = matches!(
                icmp.msg_code().into(),
                Icmpv6DstUnreachable::AddrUnreachable | Icmpv6DstUnreachable::PortUnreachable
            );
            if !icmp.verify_checksum(&source, &destination)
                || icmp.msg_type() != Icmpv6Message::DstUnreachable
                || !gone
            {
                return None;
            }
            quoted_v6(icmp.payload())?
        }
        _ => return None,
    };
    let [from0, from1, to0, to1] = *ports;
    let far = SocketAddr::new(from, u16::from_be_bytes([from0, from1]));
    let client = SocketAddr::new(to, u16::from_be_bytes([to0, to1]));
    (client.ip() == ip.source && far.ip() == ip.destination).then_some(Told { client, far })
}

/// Addresses and ports of a datagram that is quoted; the quote may end behind them.
type Quoted<'p> = (IpAddr, IpAddr, &'p [u8; 4]);

fn quoted_v4(quote: &[u8]) -> Option<Quoted<'_>> {
    let header: &[u8; IPV4_HEADER_BYTES] = quote.first_chunk()?;
    let ip = Ipv4Packet::new_unchecked(&header[..]);
    let whole = ip.version() == 4 && ip.frag_offset() == 0 && ip.next_header() == IpProtocol::Udp;
    let ports = quote.get(usize::from(ip.header_len()).max(IPV4_HEADER_BYTES)..)?.first_chunk()?;
    whole.then_some((ip.src_addr().into(), ip.dst_addr().into(), ports))
}

fn quoted_v6(quote: &[u8]) -> Option<Quoted<'_>> {
    let (header, rest): (&[u8; IPV6_HEADER_BYTES], _) = quote.split_first_chunk()?;
    let ip = Ipv6Packet::new_unchecked(&header[..]);
    let whole = ip.version() == 6 && ip.next_header() == IpProtocol::Udp;
    whole.then_some((ip.src_addr().into(), ip.dst_addr().into(), rest.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::super::{Unreachable, datagram, parse, unreachable};
    use super::*;
    use crate::stats::Refusal;

    #[test]
    fn only_who_was_sent_a_datagram_may_say_that_nobody_is_there() {
        for (client, far, stranger) in
            [("10.8.0.2:5000", "10.0.0.1:53", "10.8.0.3"), ("[fd08::2]:5000", "[fd00::1]:53", "fd08::3")]
        {
            let (client, far): (SocketAddr, SocketAddr) = (client.parse().unwrap(), far.parse().unwrap());
            let stranger: IpAddr = stranger.parse().unwrap();
            let (mut sent, mut said) = (Vec::new(), Vec::new());
            datagram(far, client, b"an answer nobody waits for", &mut sent);
            for (why, counts) in [
                (Unreachable::Network, false),
                (Unreachable::Host, true),
                (Unreachable::Port, true),
                (Unreachable::Prohibited, false),
                (Unreachable::Expired, false),
            ] {
                // It is written in the name of who was sent the datagram, unless another is named.
                assert!(unreachable(&sent, why, None, &mut said));
                assert_eq!(told(&said), counts.then_some(Told { client, far }), "{client} {why:?}");
                assert_eq!(parse(&said).err(), Some(Refusal::Protocol));
                for length in 0..said.len() {
                    assert_eq!(told(&said[..length]), None);
                }
                assert!(unreachable(&sent, why, Some(stranger), &mut said));
                assert_eq!(told(&said), None, "{stranger} is not {client}");
            }
            // Nor is a packet that is not about a datagram.
            let protocol = if client.is_ipv4() { 9 } else { 6 };
            sent[protocol] = 6;
            if client.is_ipv4() {
                Ipv4Packet::new_unchecked(&mut sent[..]).fill_checksum();
            }
            assert!(unreachable(&sent, Unreachable::Port, None, &mut said));
            assert_eq!(told(&said), None);
        }
    }
}
