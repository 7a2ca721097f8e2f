//! A new desired state. The order is the point: first the gate closes for all that is gone, then whatever is inside
//! is swept. Afterwards nothing that the state forbids is held, admitted, or still to come.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{AssociationId, EndpointId};
use openvpn::server::Farewell;
use openvpn::{Instant, UnixTime};
use pki::Refusal;

use super::endpoint::{Change, EndpointState, Trust};
use super::slot::{Admitted, SlotId, Stage};
use super::{Clock, Gateway, push};
use crate::desired::{Desired, Endpoint};
use crate::effect::EndReason;
use crate::path::PathUpdate;
use crate::policy::Policy;

/// What a new state means for a session.
enum Fate {
    Stays,
    Judged(Arc<Policy>),
    Ends(Farewell, EndReason),
}

impl Gateway {
    /// Step 1 of an apply: takes the whole desired state. Sessions and half-done handshakes that it does not allow
    /// are ended here and now (their keys go with the `Remove` effects, farewells follow), policies are swapped.
    /// Never opens a gate: that is [`set_ready`](Self::set_ready).
    pub fn apply(&mut self, desired: Arc<Desired>, now: Instant, wall: UnixTime) {
        self.clock = Clock { at: now, wall };
        self.sent_away = 0;
        // The gate first.
        let former = std::mem::replace(&mut self.desired, desired);
        let endpoints = self.desired.endpoints.values();
        self.wanted = endpoints.flat_map(|endpoint| endpoint.associations.keys().cloned()).collect();
        let wanted = &self.wanted;
        self.ready.retain(|id| wanted.contains(id));
        let changes = self.refresh(&former, now);
        // Then the sweep.
        let ids: Vec<SlotId> = self.slots.keys().copied().collect();
        for id in ids {
            self.sweep(id, &changes, now);
        }
    }

    /// The engine says whether an association's fabric and its endpoint's listener are up. Only then are sessions
    /// admitted onto it. A word about an association that is not wanted (any more) is ignored: it comes from the
    /// past.
    pub fn set_ready(&mut self, association: &AssociationId, ready: bool) {
        if ready && self.wanted.contains(association) {
            self.ready.insert(association.clone());
        } else {
            self.ready.remove(association);
        }
    }

    /// Stops admitting anywhere, for good, and sends every client away to come back elsewhere or later.
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.sent_away = 0;
        let ids: Vec<SlotId> = self.slots.keys().copied().collect();
        for id in ids {
            let farewell = self.come_back(Farewell::Restart);
            self.end(id, Some(farewell), EndReason::Draining, now);
            self.settle(id, now);
        }
    }

    /// Brings every endpoint's runtime state up to what is wanted of it, where that is not what it was.
    fn refresh(&mut self, former: &Desired, now: Instant) -> BTreeMap<EndpointId, Change> {
        let mut changes = BTreeMap::new();
        for (id, wanted) in &self.desired.endpoints {
            if former.endpoints.get(id).is_some_and(|former| Arc::ptr_eq(former, wanted))
                && self.endpoints.contains_key(id)
            {
                continue;
            }
            let state = self.endpoints.entry(id.clone()).or_insert_with(|| EndpointState::new(wanted, now));
            if state.pool.nets() != wanted.client_cidr && state.is_idle(now) {
                *state = EndpointState::new(wanted, now);
            }
            let change = state.refresh(wanted, self.handshakes.as_mut());
            if change.crl && !state.trust.readable() {
                self.stats.unreadable_crls += 1;
            }
            if change.policy && state.authorization.as_ref().is_some_and(|policy| !policy.readable()) {
                self.stats.unreadable_policies += 1;
            }
            changes.insert(id.clone(), change);
        }
        for (id, state) in &mut self.endpoints {
            if !self.desired.endpoints.contains_key(id) {
                state.retire();
            }
        }
        changes
    }

    fn sweep(&mut self, id: SlotId, changes: &BTreeMap<EndpointId, Change>, now: Instant) {
        let Some(slot) = self.slots.get(&id) else { return };
        let change = changes.get(&slot.endpoint).copied().unwrap_or_default();
        match &slot.stage {
            Stage::HalfOpen { .. } => {
                let farewell = if !self.desired.endpoints.contains_key(&slot.endpoint) {
                    Farewell::Halt(None)
                } else if self.is_open(&slot.endpoint) && !change.listener {
                    return;
                } else {
                    Farewell::Restart
                };
                self.stats.handshakes_swept += 1;
                self.end(id, Some(farewell), EndReason::NotAdmitted, now);
                self.settle(id, now);
            }
            Stage::Admitted(held) => match self.fate(&slot.endpoint, held, change) {
                Fate::Stays => self.stays(id, change, now),
                Fate::Judged(policy) => {
                    if let Some(slot) = self.slots.get_mut(&id)
                        && let Stage::Admitted(held) = &mut slot.stage
                    {
                        held.policy = Arc::clone(&policy);
                    }
                    self.update(id, PathUpdate::Policy(policy));
                    self.stays(id, change, now);
                }
                Fate::Ends(farewell, reason) => {
                    let farewell = self.come_back(farewell);
                    self.end(id, Some(farewell), reason, now);
                    self.settle(id, now);
                }
            },
            Stage::Leaving | Stage::Closing => {}
        }
    }

    /// A session that may stay learns what has changed, or comes back for it.
    fn stays(&mut self, id: SlotId, change: Change, now: Instant) {
        let told = self.retell(id);
        if told == Some(false) {
            self.end(id, Some(Farewell::RestartKeep), EndReason::Reconfigured, now);
        } else {
            self.limit(id, now);
            self.policy_changed(id, change, now);
        }
        if told.is_some() {
            self.settle(id, now);
        }
    }

    /// Tells a session what clients are told by now (D-2); `None` if that is what it was told. False: it has to come back
    /// for it. Nobody has to for a banner, and who pays for the news with its tunnel hears of one with the next change.
    fn retell(&mut self, id: SlotId) -> Option<bool> {
        let slot = self.slots.get_mut(&id)?;
        let Stage::Admitted(held) = &mut slot.stage else { return None };
        let state = self.endpoints.get(&slot.endpoint)?;
        let plan = state.plans.get(&held.association)?;
        let enforced = held.enforced.map(|_| state.route_enforcement);
        if std::mem::replace(&mut held.enforced, enforced) != enforced {
            // No client takes this option in an update.
            return Some(false);
        }
        let differs = held.pushed != plan.push;
        if !differs && (held.banner == state.banner || held.told.reopens_for_an_update()) {
            return None;
        }
        held.pushed = Arc::clone(&plan.push);
        held.banner = Arc::clone(&state.banner);
        let options = push::whole(&plan.push, &state.banner, held.addresses, state.pool.nets(), enforced);
        let told = slot.session.retell(options);
        self.stats.push_updates += u64::from(told && slot.session.is_established());
        Some(told || !differs)
    }

    /// Lets an admitted session last as long as its endpoint says now.
    fn limit(&mut self, id: SlotId, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if let Stage::Admitted(held) = &slot.stage
            && let Some(wanted) = self.desired.endpoints.get(&slot.endpoint)
        {
            slot.deadline = Some(held.admitted_at + wanted.session_timeout);
            self.arm(id, now);
        }
    }

    /// A session that may stay otherwise is asked for by a new authorization policy.
    fn policy_changed(&mut self, id: SlotId, change: Change, now: Instant) {
        if change.policy {
            self.evaluate_again(id, now);
        }
    }

    /// What becomes of an admitted session, the strongest reason first (spec: aws-client-vpn §3.3).
    fn fate(&self, endpoint: &EndpointId, held: &Admitted, change: Change) -> Fate {
        let Some(wanted) = self.desired.endpoints.get(endpoint) else {
            return Fate::Ends(Farewell::Halt(None), EndReason::EndpointDeleted);
        };
        let Some(state) = self.endpoints.get(endpoint) else {
            return Fate::Ends(Farewell::Halt(None), EndReason::EndpointDeleted);
        };
        if wanted.terminate.contains(&held.connection) {
            return Fate::Ends(Farewell::Halt(None), EndReason::Terminated);
        }
        if !admits_anybody(wanted) {
            return Fate::Ends(Farewell::Restart, EndReason::NotAdmitted);
        }
        let Some(plan) = state.plans.get(&held.association) else {
            return Fate::Ends(Farewell::Restart, EndReason::Disassociated);
        };
        // What the client sends arrives nowhere any more (spec: aws-client-vpn §1.12).
        if change.listener {
            return Fate::Ends(Farewell::Restart, EndReason::Reconfigured);
        }
        if !still_trusted(&state.trust, held, change, self.clock.wall.0) {
            let reason = "Client certificate revoked".to_owned();
            return Fate::Ends(Farewell::AuthFailed(Some(reason)), EndReason::Revoked);
        }
        if Arc::ptr_eq(&plan.policy, &held.policy) {
            Fate::Stays
        } else {
            Fate::Judged(Arc::clone(&plan.policy))
        }
    }
}

fn admits_anybody(wanted: &Endpoint) -> bool {
    wanted.admits && !wanted.client_roots.is_empty()
}

/// Whether new trust anchors or a new revocation list leave a session alone. A list cuts those it revokes and no
/// others, not even when it has expired (D-2); new anchors cut those whose chain no longer leads to one.
fn still_trusted(trust: &Trust, held: &Admitted, change: Change, now_unix: i64) -> bool {
    let crl = trust.crl();
    let listed = crl.is_some_and(|crl| crl.revokes(&held.identity.serial));
    // The full check takes signatures: spare those it cannot hit. An issuer may be revoked too, hence the length.
    let concerned = change.anchors || (change.crl && crl.is_some() && (listed || held.chain.len() > 1));
    if !concerned {
        return true;
    }
    match pki::verify_client(&held.chain, &trust.anchors, crl.map(Arc::as_ref), now_unix) {
        Ok(_) => true,
        Err(Refusal::Revoked) => false,
        // The list is not in force, but it names this certificate.
        Err(_) if listed && change.crl => false,
        Err(Refusal::CrlExpired | Refusal::CrlNotYetValid | Refusal::CrlUntrusted) => true,
        Err(_) => !change.anchors,
    }
}
