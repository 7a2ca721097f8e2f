//! Clients over TCP: whoever completed TCP's handshake has proved its address, so there is no cookie and no stateless
//! answer. A connection carries one session; either's end is the other's.

use std::net::SocketAddr;

use model::EndpointId;
use openvpn::server::tcp_reset_wrapped;
use openvpn::{Instant, UnixTime};

use super::control::Way;
use super::slot::Stage;
use super::{Clock, Gateway};
use crate::effect::{Effect, EndReason, StreamId};

impl Gateway {
    /// Takes one packet that is not DATA from a connection. The first one begins a session, or the connection is to be
    /// closed.
    pub fn handle_stream(
        &mut self,
        endpoint: &EndpointId,
        stream: StreamId,
        peer: SocketAddr,
        packet: &[u8],
        now: Instant,
        wall: UnixTime,
    ) {
        self.clock = Clock { at: now, wall };
        let id = match self.streams.get(&stream).copied() {
            Some(id) => {
                self.hear(id, packet, now);
                id
            }
            None => match self.first_of_stream(endpoint, stream, peer, packet, now) {
                Some(id) => id,
                None => {
                    self.effects.push_back(Effect::CloseStream { stream });
                    return;
                }
            },
        };
        self.settle(id, now);
    }

    fn first_of_stream(
        &mut self,
        endpoint: &EndpointId,
        stream: StreamId,
        peer: SocketAddr,
        packet: &[u8],
        now: Instant,
    ) -> Option<super::slot::SlotId> {
        if !self.endpoints.contains_key(endpoint) {
            self.stats.unknown_endpoint += 1;
            return None;
        }
        if !self.is_open(endpoint) {
            self.stats.gate_closed += 1;
            return None;
        }
        let Some(client_sid) = tcp_reset_wrapped(&self.wrap, packet) else {
            self.stats.not_proven += 1;
            return None;
        };
        let id = self.begin(endpoint, peer, client_sid, Way::Stream(stream), packet, now)?;
        self.streams.insert(stream, id);
        Some(id)
    }

    /// A connection is closed: its session is over at once, whatever it was about. One without a session is ignored.
    pub fn handle_stream_closed(&mut self, stream: StreamId, now: Instant) {
        let Some(id) = self.streams.remove(&stream) else { return };
        if matches!(self.slots.get(&id).map(|slot| &slot.stage), Some(Stage::HalfOpen { .. })) {
            self.stats.handshakes_failed += 1;
        }
        self.end(id, None, EndReason::Disconnected, now);
        self.forget(id, now);
    }
}
