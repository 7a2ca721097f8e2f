//! Packets by hand, as a client would send them, and the queue end of a tunnel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

/// Longest wait for a packet that shall come.
const PATIENCE: Duration = Duration::from_secs(5);

fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

pub fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, ttl: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + body.len()).unwrap().to_be_bytes();
    // Don't fragment.
    let mut header = vec![0x45, 0, length[0], length[1], 0, 7, 0x40, 0, ttl, protocol, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&[&header]).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    header.extend_from_slice(body);
    header
}

pub fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let mut body = [from.1.to_be_bytes(), to.1.to_be_bytes(), length, [0, 0]].concat();
    body.extend_from_slice(payload);
    let pseudo = [&from.0.octets()[..], &to.0.octets(), &[0, 17], &length].concat();
    let sum = checksum(&[&pseudo, &body]).to_be_bytes();
    body[6..8].copy_from_slice(&sum);
    ipv4(17, from.0, to.0, 64, &body)
}

pub fn ping(from: Ipv4Addr, to: Ipv4Addr, id: u16, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = [&[8, 0, 0, 0][..], &id.to_be_bytes(), &[0, 1], payload].concat();
    let sum = checksum(&[&body]).to_be_bytes();
    body[2..4].copy_from_slice(&sum);
    ipv4(1, from, to, ttl, &body)
}

/// What came down a tunnel.
#[derive(Debug, PartialEq, Eq)]
pub enum Down {
    Udp { from: (IpAddr, u16), to: (IpAddr, u16), payload: Vec<u8> },
    Icmp { from: IpAddr, to: IpAddr, kind: u8, code: u8, id: u16 },
    Other(Vec<u8>),
}

pub fn parse(packet: &[u8]) -> Down {
    if packet.len() < 28 || packet[0] != 0x45 {
        return Down::Other(packet.to_vec());
    }
    assert_eq!(checksum(&[&packet[..20]]), 0, "IP checksum");
    let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (from, to) = (address(12), address(16));
    match packet[9] {
        17 => Down::Udp { from: (from, number(20)), to: (to, number(22)), payload: packet[28..].to_vec() },
        1 => Down::Icmp { from, to, kind: packet[20], code: packet[21], id: number(24) },
        _ => Down::Other(packet.to_vec()),
    }
}

pub fn ipv6(protocol: u8, from: Ipv6Addr, to: Ipv6Addr, hops: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], protocol, hops];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend_from_slice(body);
    packet
}

fn checksum_v6(protocol: u8, from: Ipv6Addr, to: Ipv6Addr, body: &[u8]) -> [u8; 2] {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let pseudo = [&from.octets()[..], &to.octets(), &length, &[0, 0, 0, protocol]].concat();
    checksum(&[&pseudo, body]).to_be_bytes()
}

pub fn udp_v6(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let mut body = [from.1.to_be_bytes(), to.1.to_be_bytes(), length, [0, 0]].concat();
    body.extend_from_slice(payload);
    let sum = checksum_v6(17, from.0, to.0, &body);
    body[6..8].copy_from_slice(&sum);
    ipv6(17, from.0, to.0, 64, &body)
}

pub fn ping_v6(from: Ipv6Addr, to: Ipv6Addr, id: u16, hops: u8) -> Vec<u8> {
    let mut body = [&[128, 0, 0, 0][..], &id.to_be_bytes(), &[0, 1]].concat();
    let sum = checksum_v6(58, from, to, &body);
    body[2..4].copy_from_slice(&sum);
    ipv6(58, from, to, hops, &body)
}

pub fn parse_v6(packet: &[u8]) -> Down {
    if packet.len() < 48 || packet[0] >> 4 != 6 {
        return Down::Other(packet.to_vec());
    }
    let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (from, to) = (address(8), address(24));
    match packet[6] {
        17 => Down::Udp { from: (from, number(40)), to: (to, number(42)), payload: packet[48..].to_vec() },
        58 => Down::Icmp { from, to, kind: packet[40], code: packet[41], id: number(44) },
        _ => Down::Other(packet.to_vec()),
    }
}

/// The worker's end of a tunnel.
pub struct Tunnel(pub Vec<OwnedFd>);

impl Tunnel {
    pub fn send(&self, packet: &[u8]) {
        netio::tun::write(&self.0[0], packet).unwrap();
    }

    /// The next packet on whatever queue.
    pub fn next(&self) -> Down {
        self.next_by(parse)
    }

    /// The same, read in another way.
    pub fn next_by(&self, parse: fn(&[u8]) -> Down) -> Down {
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 2048];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no packet came");
            let timeout =
                Timespec { tv_sec: left.as_secs().try_into().unwrap(), tv_nsec: left.subsec_nanos().into() };
            let mut polled: Vec<_> =
                self.0.iter().map(|queue| PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN)).collect();
            rustix::event::poll(&mut polled, Some(&timeout)).unwrap();
            for queue in &self.0 {
                match netio::tun::read(queue, &mut buffer) {
                    Ok(length) => return parse(&buffer[..length]),
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
                }
            }
        }
    }
}
