//! Clients that move to another address (spec: openvpn-protocol §12). The worker has moved the session's data already, on
//! the word of an authenticated packet; here it is decided whether it may stay there, and control packets follow.

use std::net::SocketAddr;

use model::EndpointId;
use openvpn::Instant;

use super::Gateway;
use super::slot::{Admitted, SlotId, Stage};
use crate::effect::{Effect, EndReason};
use crate::path::PathUpdate;

impl Gateway {
    /// A session's client was heard from `peer`: control packets are expected from there, and go there. Whether it may
    /// be there: not where somebody else's session is. One of the same person gives way, since one client cannot be
    /// where the other is. A handshake that is on there goes on beside: session ids tell them apart.
    pub(super) fn float(&mut self, id: SlotId, peer: SocketAddr, now: Instant) -> bool {
        let Some(slot) = self.slots.get(&id) else { return false };
        let Stage::Admitted(held) = &slot.stage else { return false };
        let (endpoint, former) = (slot.endpoint.clone(), slot.peer);
        if former == peer {
            return false;
        }
        let (connection, peer_id) = (held.connection.clone(), held.peer_id);
        let there = self.admitted_at(&endpoint, peer);
        let theirs = there.iter().filter_map(|other| self.held(*other));
        if !theirs.into_iter().all(|other| other.is_same_person(held)) {
            self.stats.floats_refused += 1;
            self.update(id, PathUpdate::Unfloat { back_to: former, refused: peer });
            return false;
        }
        for older in there {
            self.end(older, None, EndReason::Replaced, now);
            self.settle(older, now);
        }
        self.stats.floats += 1;
        self.make_place_at(&endpoint, peer, now);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.peer = peer;
            self.effects.push_back(Effect::Known { client: (peer, slot.client_sid) });
            self.effects.push_back(Effect::Forgotten { client: (former, slot.client_sid) });
        }
        if let Some(state) = self.endpoints.get_mut(&endpoint) {
            state.unindex(former, id);
            state.index(peer, id);
        }
        self.effects.push_back(Effect::Floated { connection, peer_id, peer });
        true
    }

    /// What an admitted session holds.
    pub(super) fn held(&self, id: SlotId) -> Option<&Admitted> {
        match &self.slots.get(&id)?.stage {
            Stage::Admitted(held) => Some(held),
            Stage::HalfOpen { .. } | Stage::Leaving | Stage::Closing => None,
        }
    }

    /// Where an address has as many sessions as it may, the oldest one that nobody has been admitted to goes: whoever
    /// is admitted comes first. Admitted ones are all of one person here, and were ended.
    fn make_place_at(&mut self, endpoint: &EndpointId, peer: SocketAddr, now: Instant) {
        let Some(here) = self.endpoints.get(endpoint).and_then(|state| state.peers.get(&peer)) else {
            return;
        };
        if here.len() < self.limits.max_sessions_per_peer {
            return;
        }
        if let Some(oldest) = here.iter().copied().find(|id| self.held(*id).is_none()) {
            self.forget(oldest, now);
        }
    }
}
