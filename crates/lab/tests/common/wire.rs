//! Packets made by hand, and what goes by on a host's interfaces.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Result;
use lab::Net;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recv,
    sendmmsg, sendto, setsockopt, socket, sockopt,
};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMP_V6: u8 = 58;
/// Extension headers of IPv6.
pub const HOPS: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const AUTHENTICATION: u8 = 51;
pub const OPTIONS: u8 = 60;
/// What every marked packet has.
const MARK: &[u8; 4] = b"\xc3MRK";
/// Room for everything of one test that has not been looked at yet.
const BUFFER_BYTES: usize = 8 << 20;

/// Bytes that make a packet known.
pub fn mark(number: u32) -> [u8; 8] {
    let mut mark = [0; 8];
    mark[..4].copy_from_slice(MARK);
    mark[4..].copy_from_slice(&number.to_be_bytes());
    mark
}

/// The numbers of all marks in some bytes.
pub fn marks(bytes: &[u8]) -> Vec<u32> {
    let found = bytes.windows(8).filter(|window| window.starts_with(MARK));
    found.filter_map(|window| Some(u32::from_be_bytes(window[4..].try_into().ok()?))).collect()
}

/// The checksum of IP and its friends.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// An IPv4 packet with options (a multiple of four bytes).
pub fn ipv4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header = 20 + options.len();
    let words = u8::try_from(header / 4).unwrap_or_default();
    let length = u16::try_from(header + payload.len()).unwrap_or_default().to_be_bytes();
    let mut packet = vec![0x40 | words, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(options);
    mend(&mut packet);
    packet.extend(payload);
    packet
}

/// Puts the header's checksum right.
pub fn mend(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 0xf) * 4;
    let Some(bytes) = packet.get_mut(..header).filter(|bytes| bytes.len() >= 20) else { return };
    bytes[10..12].fill(0);
    let sum = checksum(&[bytes]).to_be_bytes();
    bytes[10..12].copy_from_slice(&sum);
}

/// A transport header and a mark behind it.
pub fn transport<A: Into<IpAddr>>(
    protocol: u8,
    source: (A, u16),
    destination: (A, u16),
    number: u32,
) -> Vec<u8> {
    let bytes = match protocol {
        // An echo request.
        ICMP => vec![8, 0, 0, 0, 0x12, 0x34, 0, 1],
        ICMP_V6 => vec![128, 0, 0, 0, 0x12, 0x34, 0, 1],
        UDP => [&source.1.to_be_bytes()[..], &destination.1.to_be_bytes(), &[0, 16, 0, 0]].concat(),
        // A SYN.
        _ => [
            &source.1.to_be_bytes()[..],
            &destination.1.to_be_bytes(),
            &[0; 8],
            &[0x50, 2, 0xff, 0xff, 0, 0, 0, 0],
        ]
        .concat(),
    };
    summed(protocol, source.0, destination.0, [bytes, mark(number).to_vec()].concat())
}

/// A transport header with what is behind it, its checksum put right.
pub fn summed<A: Into<IpAddr>>(protocol: u8, source: A, destination: A, mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
    let pseudo = match (source.into(), destination.into()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) if protocol != ICMP => {
            [&source.octets()[..], &destination.octets(), &[0, protocol], &length].concat()
        }
        (IpAddr::V4(_), IpAddr::V4(_)) => Vec::new(),
        (source, destination) => {
            let (source, destination) = (six(source), six(destination));
            [&source.octets()[..], &destination.octets(), &[0, 0], &length, &[0, 0, 0, protocol]].concat()
        }
    };
    let at = match protocol {
        ICMP | ICMP_V6 => 2,
        UDP => 6,
        _ => 16,
    };
    bytes[at..at + 2].fill(0);
    let sum = checksum(&[&pseudo, &bytes]).to_be_bytes();
    bytes[at..at + 2].copy_from_slice(&sum);
    bytes
}

/// A whole marked packet, of the IP version of its addresses.
pub fn marked<A: Into<IpAddr> + Copy>(
    protocol: u8,
    source: (A, u16),
    destination: (A, u16),
    number: u32,
) -> Vec<u8> {
    let payload = transport(protocol, source, destination, number);
    match (source.0.into(), destination.0.into()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4(source, destination, protocol, &[], &payload),
        (source, destination) => ipv6(six(source), six(destination), &[], protocol, &payload),
    }
}

/// An address as one of IPv6, mapped if it is none.
pub fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

/// An extension header: its number, and all its bytes; the first of them is made to say what is next.
pub type Extension<'b> = (u8, &'b [u8]);

/// An IPv6 packet.
pub fn ipv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    extensions: &[Extension<'_>],
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut body = Vec::new();
    for (at, (_, bytes)) in extensions.iter().enumerate() {
        body.push(extensions.get(at + 1).map_or(protocol, |(next, _)| *next));
        body.extend(bytes.iter().skip(1));
    }
    body.extend(payload);
    let length = u16::try_from(body.len()).unwrap_or_default().to_be_bytes();
    let first = extensions.first().map_or(protocol, |(number, _)| *number);
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], first, 64];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(body);
    packet
}

/// Hears every frame on every interface of a namespace.
pub struct Capture {
    socket: OwnedFd,
    seen: BTreeSet<u32>,
}

impl Capture {
    pub fn start(net: &Net) -> Result<Self> {
        let socket = net.run(|| {
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll)
        })?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)?;
        Ok(Self { socket, seen: BTreeSet::new() })
    }

    /// The IPv4 packets that have gone by since this was asked last and that a test holds for such: how many, and how
    /// many of them were pieces of others.
    pub fn fragments(&mut self, concerns: impl Fn(&[u8]) -> bool) -> Result<(usize, usize)> {
        const HEADER: usize = 14;
        let (mut packets, mut pieces) = (0, 0);
        let mut frame = [0; 65_536];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EAGAIN) => return Ok((packets, pieces)),
                Err(error) => return Err(error.into()),
            };
            let Some(packet) = frame[..length].get(HEADER..) else { continue };
            if frame[12..14] != [8, 0] || packet.len() < 20 || !concerns(packet) {
                continue;
            }
            packets += 1;
            // More fragments, or not the first one.
            pieces += usize::from(u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0);
        }
    }

    /// The marks that have gone by so far.
    pub fn seen(&mut self) -> Result<&BTreeSet<u32>> {
        let mut frame = [0; 65_536];
        loop {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) => self.seen.extend(marks(&frame[..length])),
                Err(Errno::EAGAIN) => return Ok(&self.seen),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Sends IP packets of any form from a namespace.
pub struct Raw {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Raw {
    pub fn open(net: &Net) -> Result<Self> {
        let open = |family| socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw);
        let (v4, v6) = net.run(|| (open(AddressFamily::Inet), open(AddressFamily::Inet6)));
        let (v4, v6) = (v4?, v6?);
        setsockopt(&v4, sockopt::Broadcast, &true)?;
        Ok(Self { v4, v6 })
    }

    /// Where it goes is read from the packet.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        if packet[0] >> 4 == 6 {
            let destination: [u8; 16] = packet[24..40].try_into()?;
            let address = SockaddrIn6::from(SocketAddrV6::new(destination.into(), 0, 0, 0));
            sendto(self.v6.as_raw_fd(), packet, &address, MsgFlags::empty())?;
        } else {
            let destination = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
            let address = SockaddrIn::from(SocketAddrV4::new(destination, 0));
            sendto(self.v4.as_raw_fd(), packet, &address, MsgFlags::empty())?;
        }
        Ok(())
    }

    /// Many IPv4 packets to one destination, in few calls.
    pub fn send_all(&self, destination: Ipv4Addr, packets: &[Vec<u8>]) -> Result<()> {
        let address = SockaddrIn::from(SocketAddrV4::new(destination, 0));
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(packets.len(), None);
        let slices: Vec<[IoSlice<'_>; 1]> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
        let addresses = vec![Some(address); packets.len()];
        let sent =
            sendmmsg(self.v4.as_raw_fd(), &mut headers, &slices, &addresses, [], MsgFlags::empty())?.count();
        anyhow::ensure!(sent == packets.len(), "{sent} of {}", packets.len());
        Ok(())
    }
}
