//! To clients: TUN, or another client → the session that has the destination address → socket.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::rc::Rc;

use gateway::Down;

use super::streams::{Kind, Queued};
use super::{Tun, Worker};
use crate::handoff::Way;

/// Packets taken from one TUN queue before the others have their turn.
const PACKETS_PER_TURN: usize = 128;

impl Worker {
    pub(super) fn tun_ready(&mut self, association: u16) {
        let Some(tun) = self.tuns.get(&association).map(Rc::clone) else { return };
        // Taken out for the while: packets are sealed out of it while the rest of the worker is in use.
        let mut inner = std::mem::take(&mut self.inner);
        for _ in 0..PACKETS_PER_TURN {
            match netio::tun::read(&tun.queue, &mut inner) {
                Ok(len @ 1..) => {
                    if let Some(packet) = inner.get_mut(..len) {
                        self.inner_packet(&tun, packet);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The device was taken away from under us. Left watched, it would be reported for ever.
                gone => {
                    tracing::error!(worker = self.wiring.number, association, ?gone, "a TUN queue is gone");
                    self.close_tun(association);
                    break;
                }
            }
        }
        self.inner = inner;
    }

    /// Gives an inner packet to the session that has its destination.
    pub(super) fn inner_packet(&mut self, tun: &Tun, packet: &mut [u8]) {
        let Some(destination) = destination(packet) else {
            self.wiring.stats.not_ip.add(1);
            return;
        };
        match tun.table.find(destination) {
            Some(peer_id) if peer_id % self.count == u32::from(self.wiring.number) => {
                self.seal(peer_id, packet)
            }
            Some(peer_id) => self.hand_off(peer_id % self.count, Way::Down { peer_id }, packet),
            None => self.wiring.stats.no_address.add(1),
        }
    }

    /// Seals an inner packet for a session of this worker.
    pub(super) fn seal(&mut self, peer_id: u32, packet: &mut [u8]) {
        let stats = &self.wiring.stats;
        let Some(session) = self.sessions.get_mut(&peer_id) else {
            stats.no_session.add(1);
            return;
        };
        let (peer, path, now) = (session.path.peer(), &mut session.path, self.now);
        let bytes = u64::try_from(packet.len()).unwrap_or_default();
        let seal = |out: &mut Vec<u8>| match path.down(packet, now, out) {
            Down::Send => {
                stats.egress_packets.add(1);
                stats.egress_bytes.add(bytes);
                true
            }
            Down::Drop(reason) => {
                stats.path_drop(reason);
                false
            }
        };
        if let Some(number) = session.stream {
            // Full: dropped before it is sealed, as a wire would.
            if self.streams.push(&self.wiring.epoll, number, Kind::Data, now, seal) == Queued::Dropped {
                stats.stream_drops.add(1);
            }
        } else {
            if self.outbox.is_full() {
                self.outbox.flush(&self.sockets, stats);
            }
            self.outbox.push(session.endpoint, peer, seal);
        }
        session.drain_notices(peer_id, &mut self.backlog);
    }
}

/// Where a packet goes; `None` for what is none.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet {
        [0x45..=0x4f, ..] => {
            let address: &[u8; 4] = packet.get(16..20)?.first_chunk()?;
            Some(IpAddr::from(*address))
        }
        [0x60..=0x6f, ..] => {
            let address: &[u8; 16] = packet.get(24..40)?.first_chunk()?;
            Some(IpAddr::from(*address))
        }
        _ => None,
    }
}
