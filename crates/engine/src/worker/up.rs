//! From clients: UDP sockets → sessions → TUN, and control packets to the control thread.

use std::net::SocketAddr;
use std::rc::Rc;

use gateway::{Look, Up};
use netio::udp::{BATCH, Received};
use openvpn::wire::{self, Opcode};

use super::Worker;
use crate::handoff::{ControlPacket, HandOff, PACKET_MAX, Upward, Way};

/// Batches taken from one socket before the others have their turn.
const BATCHES_PER_TURN: usize = 4;

/// Where datagrams are received into.
pub(super) struct Receiver {
    buffers: Vec<[u8; PACKET_MAX]>,
    received: Vec<Received>,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self { buffers: vec![[0; PACKET_MAX]; BATCH], received: Vec::with_capacity(BATCH) }
    }
}

impl Worker {
    pub(super) fn socket_ready(&mut self, endpoint: u32, receiver: &mut Receiver) {
        let Some(socket) = self.sockets.get(&endpoint).map(Rc::clone) else { return };
        for _ in 0..BATCHES_PER_TURN {
            let Ok(count) = netio::udp::receive(&*socket, &mut receiver.buffers, &mut receiver.received)
            else {
                return;
            };
            self.obey();
            for (received, buffer) in receiver.received.iter().zip(&mut receiver.buffers) {
                match buffer.get_mut(..received.len) {
                    Some(packet) if !received.truncated => self.datagram(endpoint, received.peer, packet),
                    _ => self.wiring.stats.malformed.add(1),
                }
            }
            if count < BATCH {
                return;
            }
        }
    }

    /// One datagram that came to `endpoint`, here or at another worker.
    pub(super) fn datagram(&mut self, endpoint: u32, from: SocketAddr, packet: &mut [u8]) {
        match wire::opcode(packet) {
            Some((Opcode::DataV2, _)) => match wire::peer_id(packet) {
                Some(peer_id) if peer_id % self.count == u32::from(self.wiring.number) => {
                    self.open(endpoint, peer_id, from, packet);
                }
                Some(peer_id) => self.hand_off(peer_id % self.count, Way::Up { endpoint, from }, packet),
                None => self.wiring.stats.malformed.add(1),
            },
            // Nothing in it names a session: worker 0 has them all and knows them by where they come from.
            Some((Opcode::DataV1, _)) if self.wiring.number == 0 => {
                match self.by_source.get(&(endpoint, from)) {
                    Some(peer_id) => self.open(endpoint, *peer_id, from, packet),
                    None => self.wiring.stats.no_session.add(1),
                }
            }
            Some((Opcode::DataV1, _)) => self.hand_off(0, Way::Up { endpoint, from }, packet),
            Some(_) => self.control(endpoint, from, packet),
            None => self.wiring.stats.malformed.add(1),
        }
    }

    pub(super) fn open(&mut self, endpoint: u32, peer_id: u32, from: SocketAddr, packet: &mut [u8]) {
        let stats = &self.wiring.stats;
        let Some(session) = self.sessions.get_mut(&peer_id).filter(|session| session.endpoint == endpoint)
        else {
            stats.no_session.add(1);
            return;
        };
        match session.path.up(packet, from, self.now) {
            Up::Forward(inner) => {
                let written =
                    self.tuns.get(&session.association).map(|tun| netio::tun::write(&tun.queue, inner));
                if let Some(Ok(())) = written {
                    stats.ingress_packets.add(1);
                    stats.ingress_bytes.add(u64::try_from(inner.len()).unwrap_or_default());
                } else {
                    stats.tun_drops.add(1);
                }
            }
            Up::Local(inner) => {
                stats.ingress_packets.add(1);
                stats.ingress_bytes.add(u64::try_from(inner.len()).unwrap_or_default());
                let tun = self.tuns.get(&session.association).map(Rc::clone);
                session.drain_notices(peer_id, &mut self.backlog);
                match tun {
                    // Not by the kernel: the other client may be on another association, with connections of its own.
                    Some(tun) => self.inner_packet(&tun, inner),
                    None => self.wiring.stats.tun_drops.add(1),
                }
                return;
            }
            Up::Consumed => {}
            Up::Drop(reason) => stats.path_drop(reason),
        }
        session.drain_notices(peer_id, &mut self.backlog);
    }

    fn control(&mut self, endpoint: u32, from: SocketAddr, packet: &[u8]) {
        self.wiring.stats.control_packets.add(1);
        if !self.is_for_gateway(endpoint, from, packet) {
            return;
        }
        let stats = &self.wiring.stats;
        let Some(buffer) = self.pool.lend(packet) else {
            stats.control_drops.add(1);
            return;
        };
        let packet = ControlPacket { endpoint, from, stream: None, buffer };
        match self.wiring.packets.try_send(Upward::Packet(packet)) {
            Ok(()) => self.ring = true,
            Err(_) => stats.control_drops.add(1),
        }
    }

    /// Whether a control datagram is a session's, or its sender has proved its address. All others end here: the control
    /// thread's queue is for those, however many come.
    fn is_for_gateway(&mut self, endpoint: u32, from: SocketAddr, packet: &[u8]) -> bool {
        if gateway::sender(packet).is_some_and(|sid| self.guests.has((from, sid), self.now)) {
            return true;
        }
        let stats = &self.wiring.stats;
        if !self.open.contains(&endpoint) {
            stats.gate_closed.add(1);
            return false;
        }
        let mut answer = std::mem::take(&mut self.answer);
        let look = self.wiring.door.look(from, packet, self.now, self.wiring.clock.wall(), &mut answer);
        match look {
            Look::Proven { client_sid, .. } => self.guests.expect((from, client_sid), self.now),
            Look::Nothing => stats.not_proven.add(1),
            Look::Refused => stats.answers_refused.add(1),
            Look::Answer if self.wiring.residents.is_at_home(endpoint, from, self.now) => {
                stats.answers_held.add(1)
            }
            Look::Answer => {
                stats.answers.add(1);
                if self.outbox.is_full() {
                    self.outbox.flush(&self.sockets, stats);
                }
                self.outbox.push(endpoint, from, |out| {
                    out.extend_from_slice(&answer);
                    true
                });
            }
        }
        self.answer = answer;
        matches!(look, Look::Proven { .. })
    }

    /// Gives a packet to the worker it belongs to.
    pub(super) fn hand_off(&mut self, owner: u32, way: Way, packet: &[u8]) {
        let stats = &self.wiring.stats;
        let inbox = usize::try_from(owner).ok().and_then(|owner| self.wiring.others.get(owner));
        let handed = inbox
            .zip(self.pool.lend(packet))
            .is_some_and(|((inbox, _), buffer)| inbox.try_send(HandOff { way, buffer }).is_ok());
        if handed {
            self.to_wake |= 1_u64.checked_shl(owner).unwrap_or_default();
        } else {
            stats.handoff_drops.add(1);
        }
    }

    /// Takes a packet from another worker.
    pub(super) fn take_handoff(&mut self, mut packet: HandOff) {
        self.wiring.stats.handoffs.add(1);
        match packet.way {
            Way::Up { endpoint, from } => self.datagram(endpoint, from, packet.buffer.bytes()),
            Way::Down { peer_id } => self.seal(peer_id, packet.buffer.bytes()),
        }
    }
}
