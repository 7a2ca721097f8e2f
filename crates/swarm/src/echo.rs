//! Echo requests through a tunnel, and pings without end for measurement.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use openvpn::Instant;
use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::icmp;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress};

use crate::probe::{PAYLOAD_BYTES, Parts};
use crate::tally::Tally;

/// Unanswered echo requests that are remembered.
const MAX_PENDING: usize = 32;

/// A socket for the echo requests of that name.
pub(crate) fn echo_socket(parts: &mut Parts<'_>, name: u16) -> Option<SocketHandle> {
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 512]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(name)).ok()?;
    Some(parts.sockets.add(socket))
}

/// Sends an echo request; false if it cannot go now.
pub(crate) fn send_echo(
    parts: &mut Parts<'_>,
    socket: SocketHandle,
    target: IpAddr,
    name: u16,
    sequence: u16,
) -> bool {
    let data = [0x42; PAYLOAD_BYTES];
    let unchecked = ChecksumCapabilities::ignored();
    let from = parts.pushed.source_for(target);
    let socket = parts.sockets.get_mut::<icmp::Socket>(socket);
    match (from, target) {
        (Some(IpAddr::V4(_)), IpAddr::V4(_)) => {
            let request = Icmpv4Repr::EchoRequest { ident: name, seq_no: sequence, data: &data };
            let Ok(buffer) = socket.send(request.buffer_len(), target.into()) else { return false };
            request.emit(&mut Icmpv4Packet::new_unchecked(buffer), &unchecked);
            true
        }
        (Some(IpAddr::V6(from)), IpAddr::V6(to)) => {
            let request = Icmpv6Repr::EchoRequest { ident: name, seq_no: sequence, data: &data };
            let Ok(buffer) = socket.send(request.buffer_len(), target.into()) else { return false };
            request.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(buffer), &unchecked);
            true
        }
        _ => false,
    }
}

/// The sequence number of the next reply from the target, if one has come.
pub(crate) fn echo_reply(
    parts: &mut Parts<'_>,
    socket: SocketHandle,
    target: IpAddr,
    name: u16,
) -> Option<u16> {
    let own = parts.pushed.source_for(target);
    let socket = parts.sockets.get_mut::<icmp::Socket>(socket);
    let target_address: IpAddress = target.into();
    while let Ok((packet, from)) = socket.recv() {
        if from != target_address {
            continue;
        }
        let unchecked = ChecksumCapabilities::ignored();
        let reply = match (own, target) {
            (_, IpAddr::V4(_)) => {
                let packet = Icmpv4Packet::new_checked(packet).ok();
                match packet.as_ref().and_then(|packet| Icmpv4Repr::parse(packet, &unchecked).ok()) {
                    Some(Icmpv4Repr::EchoReply { ident, seq_no, .. }) => Some((ident, seq_no)),
                    _ => None,
                }
            }
            (Some(IpAddr::V6(own)), IpAddr::V6(target)) => {
                let packet = Icmpv6Packet::new_checked(packet).ok();
                match packet.as_ref().and_then(|it| Icmpv6Repr::parse(&target, &own, it, &unchecked).ok()) {
                    Some(Icmpv6Repr::EchoReply { ident, seq_no, .. }) => Some((ident, seq_no)),
                    _ => None,
                }
            }
            _ => None,
        };
        if let Some((ident, sequence)) = reply
            && ident == name
        {
            return Some(sequence);
        }
    }
    None
}

/// Pings without end, for measurement.
pub(crate) struct Pinger {
    address: IpAddr,
    every: Duration,
    name: u16,
    socket: SocketHandle,
    sequence: u16,
    next_at: Instant,
    pending: VecDeque<(u16, Instant)>,
}

impl Pinger {
    pub(crate) fn new(address: IpAddr, every: Duration, parts: &mut Parts<'_>, now: Instant) -> Option<Self> {
        let name = parts.port();
        let socket = echo_socket(parts, name)?;
        Some(Self { address, every, name, socket, sequence: 0, next_at: now, pending: VecDeque::new() })
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next_at
    }

    pub(crate) fn step(&mut self, parts: &mut Parts<'_>, now: Instant, tally: &Tally) {
        while let Some(sequence) = echo_reply(parts, self.socket, self.address, self.name) {
            if let Some(place) = self.pending.iter().position(|(sent, _)| *sent == sequence)
                && let Some((_, at)) = self.pending.remove(place)
            {
                tally.ponged(now.since(at));
            }
        }
        if self.next_at > now {
            return;
        }
        self.next_at = now + self.every;
        if send_echo(parts, self.socket, self.address, self.name, self.sequence) {
            tally.pinged();
            if self.pending.len() >= MAX_PENDING {
                self.pending.pop_front();
            }
            self.pending.push_back((self.sequence, now));
            self.sequence = self.sequence.wrapping_add(1);
        }
    }
}
