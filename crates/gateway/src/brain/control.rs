//! What comes in: control packets, and notices of workers.

use std::net::SocketAddr;
use std::time::Duration;

use model::EndpointId;
use openvpn::server::Session;
use openvpn::wire::SessionId;
use openvpn::{Instant, UnixTime};

use super::slot::{Slot, SlotId, Stage};
use super::{Clock, Gateway};
use crate::door::{Look, sender, source};
use crate::effect::{Effect, EndReason, PathNotice, StreamId, Transmit};
use crate::path::Notice;

/// How a client that begins a session comes in.
pub(super) enum Way {
    /// UDP: it has proved its address with this cookie.
    Datagrams { server_sid: SessionId },
    /// TCP.
    Stream(StreamId),
}

/// Half-open sessions are forgotten this long after the session itself should have given up.
const HALF_OPEN_GRACE: Duration = Duration::from_secs(10);
/// And when nothing has come from their client for this long: longer than the pauses between retransmissions within the
/// time that most clients take for a handshake.
pub(super) const HALF_OPEN_SILENCE: Duration = Duration::from_secs(30);

impl Gateway {
    /// Takes one packet that is not DATA from `peer`.
    pub fn handle_control(
        &mut self,
        endpoint: &EndpointId,
        peer: SocketAddr,
        packet: &[u8],
        now: Instant,
        wall: UnixTime,
    ) {
        self.clock = Clock { at: now, wall };
        let Some(state) = self.endpoints.get(endpoint) else {
            self.stats.unknown_endpoint += 1;
            return;
        };
        let mut here = state.peers.get(&peer).into_iter().flatten().copied();
        let known = sender(packet)
            .and_then(|sid| here.find(|id| self.slots.get(id).is_some_and(|s| s.client_sid == sid)));
        let Some(id) = known else {
            self.first_packet(endpoint, peer, packet, now);
            return;
        };
        self.hear(id, packet, now);
        self.settle(id, now);
    }

    /// Gives a session a packet of its client.
    pub(super) fn hear(&mut self, id: SlotId, packet: &[u8], now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.session.handle_packet(packet, now).is_err() {
            self.stats.discarded += 1;
            return;
        }
        let Stage::HalfOpen { until, held_bytes, .. } = &mut slot.stage else { return };
        if slot.asked.is_none() {
            slot.deadline = Some((*until).min(now + HALF_OPEN_SILENCE));
        }
        let held = slot.session.held_bytes();
        self.half_open_bytes =
            (self.half_open_bytes + held).saturating_sub(std::mem::replace(held_bytes, held));
        while self.half_open_bytes > self.limits.max_half_open_bytes && self.cut_oldest(now) {}
    }

    /// A packet of no session: nothing is kept for it before its sender has proved its address.
    fn first_packet(&mut self, endpoint: &EndpointId, peer: SocketAddr, packet: &[u8], now: Instant) {
        if !self.is_open(endpoint) {
            self.stats.gate_closed += 1;
            return;
        }
        let mut answer = Vec::new();
        match self.door.look(peer, packet, now, self.clock.wall, &mut answer) {
            Look::Nothing => self.stats.not_proven += 1,
            Look::Refused => self.stats.answers_refused += 1,
            // Sent or dropped, never kept for later.
            Look::Answer if self.answers.len() < self.limits.max_waiting_answers => {
                self.stats.answers += 1;
                let transmit = Transmit { endpoint: endpoint.clone(), peer, stream: None };
                self.answers.push_back((transmit, answer));
            }
            Look::Answer => self.stats.answers_refused += 1,
            Look::Proven { client_sid, server_sid } => {
                let way = Way::Datagrams { server_sid };
                if let Some(id) = self.begin(endpoint, peer, client_sid, way, packet, now) {
                    self.hear(id, packet, now);
                    self.settle(id, now);
                }
            }
        }
    }

    /// Begins a session for a peer that has proved its address, within the bounds. One beside a live session of the same address is a
    /// candidate: the live one goes only when the candidate's client uses it.
    pub(super) fn begin(
        &mut self,
        endpoint: &EndpointId,
        peer: SocketAddr,
        client_sid: SessionId,
        way: Way,
        first: &[u8],
        now: Instant,
    ) -> Option<SlotId> {
        if self.endpoints.get_mut(endpoint)?.is_buried(peer, client_sid, now) {
            self.stats.tombstone_hits += 1;
            return None;
        }
        self.make_room_at(endpoint, peer, now);
        let source = source(peer);
        let state = self.endpoints.get_mut(endpoint)?;
        if state.peers.get(&peer).is_some_and(|here| here.len() >= self.limits.max_sessions_per_peer) {
            self.stats.peer_sessions_refused += 1;
            return None;
        }
        let from_source = self.half_open_sources.get(&source).copied().unwrap_or(0);
        if from_source >= self.limits.max_half_open_per_source {
            self.stats.half_open_source_refused += 1;
            return None;
        }
        if self.half_open >= self.limits.max_half_open && !self.cut_oldest(now) {
            self.stats.half_open_refused += 1;
            return None;
        }
        let wrap = self.wrap.session(first, self.clock.wall)?;
        let state = self.endpoints.get_mut(endpoint)?;
        let tls = state.trust.tls.as_mut()?();
        let seed = self.draws.bytes("session");
        let config = std::sync::Arc::clone(&self.session_config);
        let (session, stream) = match way {
            Way::Datagrams { server_sid } => {
                (Session::new(config, tls, client_sid, server_sid, seed, now), None)
            }
            Way::Stream(stream) => {
                let server_sid = self.draws.session_id();
                (Session::over_tcp(config, tls, client_sid, server_sid, seed, now), Some(stream))
            }
        };
        let Ok(session) = session else {
            self.stats.tls_config_refused += 1;
            return None;
        };
        let session = session.with_wrap(wrap);
        let id = SlotId(self.slots_made);
        self.slots_made += 1;
        state.index(peer, id);
        self.half_open += 1;
        *self.half_open_sources.entry(source).or_default() += 1;
        self.stats.handshakes += 1;
        let until = now + (self.session_config.handshake_timeout + HALF_OPEN_GRACE);
        self.unknown.insert(id);
        if stream.is_none() {
            self.effects.push_back(Effect::Known { client: (peer, client_sid) });
        }
        let slot = Slot {
            endpoint: endpoint.clone(),
            peer,
            stream,
            client_sid,
            session,
            stage: Stage::HalfOpen { source, until, held_bytes: 0 },
            asked: None,
            deadline: Some(until.min(now + HALF_OPEN_SILENCE)),
            armed: None,
            queued: false,
        };
        self.slots.insert(id, slot);
        Some(id)
    }

    /// Too many have begun: the one that began first and has not shown who it is makes room. A client is done long before
    /// its turn comes, one that only proves addresses is not.
    fn cut_oldest(&mut self, now: Instant) -> bool {
        let Some(oldest) = self.unknown.first().copied() else { return false };
        self.stats.half_open_cut += 1;
        self.forget(oldest, now);
        true
    }

    /// A newer candidate of the same address replaces an older one: both proved the address, and a client has one
    /// handshake at a time. Where the place is still full the oldest farewell is cut.
    fn make_room_at(&mut self, endpoint: &EndpointId, peer: SocketAddr, now: Instant) {
        let here = self
            .endpoints
            .get(endpoint)
            .and_then(|state| state.peers.get(&peer))
            .cloned()
            .unwrap_or_default();
        let mut left = here.len();
        for id in here {
            let full = left >= self.limits.max_sessions_per_peer;
            let goes = match self.slots.get(&id).map(|slot| &slot.stage) {
                Some(Stage::HalfOpen { .. }) => true,
                Some(Stage::Leaving | Stage::Closing) => full,
                Some(Stage::Admitted(_)) | None => false,
            };
            if goes {
                self.forget(id, now);
                left -= 1;
            }
        }
    }

    /// Takes what a worker says about a path. One that is not there any more is ignored.
    pub fn handle_notice(&mut self, endpoint: &EndpointId, peer_id: u32, notice: PathNotice, now: Instant) {
        let Some(id) = self.by_peer_id.get(&peer_id).copied() else { return };
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.endpoint == *endpoint) else { return };
        match notice {
            PathNotice::Notice(Notice::Floated(peer)) => {
                if self.float(id, peer, now) {
                    self.evaluate_soon(id, now);
                }
            }
            PathNotice::Notice(Notice::NewKeyUsed(key_id)) => {
                slot.session.note_new_key_used(key_id, now);
                self.used(id, now);
            }
            PathNotice::Notice(Notice::NeedsRekey) => slot.session.renegotiate(now),
            PathNotice::Notice(Notice::PeerExit) => self.end(id, None, EndReason::ClientExit, now),
            PathNotice::Dead => self.end(id, None, EndReason::PingTimeout, now),
            PathNotice::Removed => self.end(id, None, EndReason::WorkerLost, now),
        }
        self.settle(id, now);
    }
}
