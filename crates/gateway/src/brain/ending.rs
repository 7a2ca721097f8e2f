//! How sessions end: what they hold is given back at once, the farewell follows.

use std::time::Duration;

use openvpn::Instant;
use openvpn::server::Farewell;

use super::slot::{Admitted, SlotId, Stage};
use super::{EndpointState, Gateway};
use crate::effect::{ConnectionEnd, Effect, EndReason};

/// Farewells are given up after this, whatever the session says: a little more than its own limit.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(6);

/// What a client is told whose time is over and who has to log in anew.
const TIME_OVER: &str = "SESSION: The maximum session duration is reached";

impl Gateway {
    /// Ends a session: its path and keys go, its address and peer id rest, its end is told. With a farewell the
    /// client is told too; without, the slot goes once nothing is left to transmit. One that is ending already
    /// stays as it is, so that nothing the client does prolongs it (CVE-2024-28882).
    pub(super) fn end(&mut self, id: SlotId, farewell: Option<Farewell>, reason: EndReason, now: Instant) {
        if !self.release(id, reason, now) {
            return;
        }
        match farewell {
            Some(farewell) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.session.farewell(farewell, now);
                }
                self.linger(id, now);
            }
            None => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.stage = Stage::Closing;
                    slot.deadline = None;
                }
            }
        }
    }

    /// Ends a session that is to answer a login with a refusal of its own making.
    pub(super) fn linger(&mut self, id: SlotId, now: Instant) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.stage = Stage::Leaving;
            slot.deadline = Some(now + FAREWELL_DEADLINE);
            self.leaving.insert(id);
        }
        while self.leaving.len() > self.limits.max_farewells {
            let Some(oldest) = self.leaving.first().copied() else { return };
            self.stats.farewells_cut += 1;
            self.forget(oldest, now);
        }
    }

    /// Takes back what a session holds. False if it was ending already.
    pub(super) fn release(&mut self, id: SlotId, reason: EndReason, now: Instant) -> bool {
        self.unask(id);
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let peer = slot.peer;
        match std::mem::replace(&mut slot.stage, Stage::Closing) {
            Stage::HalfOpen { source, held_bytes, .. } => {
                self.unknown.remove(&id);
                self.half_open = self.half_open.saturating_sub(1);
                self.half_open_bytes = self.half_open_bytes.saturating_sub(held_bytes);
                if let Some(count) = self.half_open_sources.get_mut(&source) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        self.half_open_sources.remove(&source);
                    }
                }
                true
            }
            Stage::Admitted(held) => {
                let endpoint = slot.endpoint.clone();
                self.by_peer_id.remove(&held.peer_id);
                self.peer_ids.release(held.worker, held.peer_id, now);
                if held.installed {
                    self.effects.push_back(Effect::Remove {
                        worker: held.worker,
                        endpoint: endpoint.clone(),
                        peer_id: held.peer_id,
                    });
                }
                let keeper = self.bequeath(&held);
                let keeps_addresses = keeper.is_some();
                let goes_on = keeper.and_then(|keeper| self.held(keeper)).is_some_and(|keeper| {
                    (&keeper.association, keeper.worker) == (&held.association, held.worker)
                });
                if !goes_on {
                    // Without a path of its own too: it may have been to go on where its former session was.
                    self.effects.push_back(Effect::Vacated {
                        worker: held.worker,
                        association: held.association.clone(),
                        addresses: held.addresses,
                    });
                }
                let Some(state) = self.endpoints.get_mut(&endpoint) else { return true };
                if !keeps_addresses {
                    state.pool.release(held.addresses, now);
                }
                if let Some(plan) = state.plans.get_mut(&held.association) {
                    plan.sessions = plan.sessions.saturating_sub(1);
                }
                if held.connected {
                    self.effects.push_back(Effect::Ended(ConnectionEnd {
                        id: held.connection,
                        scope: state.scope.clone(),
                        endpoint,
                        peer,
                        counters: held.counters,
                        ended_at: self.clock.wall(now),
                        reason,
                        evaluation: held.evaluation,
                    }));
                }
                true
            }
            ending @ (Stage::Leaving | Stage::Closing) => {
                slot.stage = ending;
                false
            }
        }
    }

    /// Who has the addresses of a session that ends: an heir leaves them to its former session, and that to its heir.
    fn bequeath(&mut self, held: &Admitted) -> Option<SlotId> {
        if let Some(id) = held.former {
            if let Some(Stage::Admitted(former)) = self.slots.get_mut(&id).map(|slot| &mut slot.stage) {
                former.heir = None;
            }
            return Some(id);
        }
        let id = held.heir?;
        let slot = self.slots.get_mut(&id)?;
        let Stage::Admitted(heir) = &mut slot.stage else { return None };
        heir.former = None;
        if heir.installed {
            self.effects.push_back(Effect::Inherit {
                worker: heir.worker,
                endpoint: slot.endpoint.clone(),
                peer_id: heir.peer_id,
            });
        }
        Some(id)
    }

    /// A stage lasted longer than it may.
    pub(super) fn overdue(&mut self, id: SlotId, now: Instant) {
        let Some(slot) = self.slots.get(&id) else { return };
        if slot.deadline.is_none_or(|at| at > now) {
            return;
        }
        match slot.stage {
            Stage::Admitted(_) => return self.time_is_over(id, now),
            Stage::HalfOpen { .. } => self.stats.handshakes_failed += 1,
            Stage::Leaving | Stage::Closing => {}
        }
        self.forget(id, now);
    }

    /// A session has lasted as long as its endpoint lets it (spec: aws-client-vpn §3.3).
    fn time_is_over(&mut self, id: SlotId, now: Instant) {
        let endpoint = self.slots.get(&id).and_then(|slot| self.desired.endpoints.get(&slot.endpoint));
        let farewell = if endpoint.is_none_or(|endpoint| endpoint.disconnect_on_session_timeout) {
            Farewell::AuthFailed(Some(TIME_OVER.to_owned()))
        } else {
            Farewell::Restart
        };
        self.end(id, Some(farewell), EndReason::SessionTimeout, now);
        self.settle(id, now);
    }

    /// Drops a slot, whatever its stage, and remembers its session id for a moment.
    pub(super) fn forget(&mut self, id: SlotId, now: Instant) {
        self.release(id, EndReason::ProtocolError, now);
        let Some(slot) = self.slots.remove(&id) else { return };
        self.leaving.remove(&id);
        if slot.stream.is_none() {
            self.effects.push_back(Effect::Forgotten { client: (slot.peer, slot.client_sid) });
        }
        if let Some(stream) = slot.stream
            && self.streams.remove(&stream).is_some()
        {
            self.effects.push_back(Effect::CloseStream { stream });
        }
        if let Some(at) = slot.armed {
            self.timers.remove(&(at, id));
        }
        if let Some(state) = self.endpoints.get_mut(&slot.endpoint) {
            let state: &mut EndpointState = state;
            state.unindex(slot.peer, id);
            state.bury(slot.peer, slot.client_sid, self.limits.max_tombstones, now);
        }
    }
}
