//! Packets of clients, made by hand.

use std::net::{IpAddr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, TcpControl,
    TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

fn packet(from: IpAddr, to: IpAddr, protocol: IpProtocol, hops: u8, inside: &[u8]) -> Vec<u8> {
    let ip = IpRepr::new(from.into(), to.into(), protocol, inside.len(), hops);
    let mut packet = vec![0; ip.header_len()];
    ip.emit(&mut packet[..], &ChecksumCapabilities::default());
    packet.extend_from_slice(inside);
    packet
}

pub(super) fn datagram(from: SocketAddr, to: SocketAddr, hops: u8, data: &[u8]) -> Vec<u8> {
    let udp = UdpRepr { src_port: from.port(), dst_port: to.port() };
    let mut inside = vec![0; 8 + data.len()];
    udp.emit(
        &mut UdpPacket::new_unchecked(&mut inside[..]),
        &from.ip().into(),
        &to.ip().into(),
        data.len(),
        |into| into.copy_from_slice(data),
        &ChecksumCapabilities::default(),
    );
    packet(from.ip(), to.ip(), IpProtocol::Udp, hops, &inside)
}

/// A segment with SYN, and what is set in it besides.
pub(super) fn syn(from: SocketAddr, to: SocketAddr, hops: u8, set: fn(&mut TcpPacket<&mut [u8]>)) -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: from.port(),
        dst_port: to.port(),
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1_000),
        ack_number: None,
        window_len: 8_192,
        window_scale: None,
        max_seg_size: Some(1_300),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let mut inside = vec![0; tcp.buffer_len()];
    let (source, destination) = (from.ip().into(), to.ip().into());
    tcp.emit(
        &mut TcpPacket::new_unchecked(&mut inside[..]),
        &source,
        &destination,
        &ChecksumCapabilities::default(),
    );
    let mut view = TcpPacket::new_unchecked(&mut inside[..]);
    set(&mut view);
    view.fill_checksum(&source, &destination);
    packet(from.ip(), to.ip(), IpProtocol::Tcp, hops, &inside)
}

/// A word from one to the other that a packet was not delivered.
pub(super) fn unreachable(from: IpAddr, to: IpAddr, reason: Icmpv4DstUnreachable, about: &[u8]) -> Vec<u8> {
    let quoted = Ipv4Packet::new_checked(about).unwrap();
    let icmp = Icmpv4Repr::DstUnreachable {
        reason,
        header: Ipv4Repr::parse(&quoted, &ChecksumCapabilities::default()).unwrap(),
        data: &quoted.payload()[..8],
    };
    let mut inside = vec![0; icmp.buffer_len()];
    icmp.emit(&mut Icmpv4Packet::new_unchecked(&mut inside[..]), &ChecksumCapabilities::default());
    packet(from, to, IpProtocol::Icmp, 64, &inside)
}

pub(super) fn echo(from: IpAddr, to: IpAddr, ident: u16) -> Vec<u8> {
    let icmp = Icmpv4Repr::EchoRequest { ident, seq_no: 1, data: b"are you there" };
    let mut inside = vec![0; icmp.buffer_len()];
    icmp.emit(&mut Icmpv4Packet::new_unchecked(&mut inside[..]), &ChecksumCapabilities::default());
    packet(from, to, IpProtocol::Icmp, 64, &inside)
}
