//! A data plane without packets: for the API's tests, and for serving the API without privilege.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gateway::desired::Desired;
use gateway::{
    Attempt, ConnectionEnd, ConnectionStart, EndReason, HandlerAnswer, PolicyEvaluation, Question,
};
use model::{AssociationId, ConnectionId, Failure};

use crate::clock::wall;
use crate::events::EventQueue;
use crate::{Applied, DataPlane, LiveConnection, SessionEvent};

/// Acknowledges every snapshot at once. Live connections are scripted by [`InMemory::connect`] and end when their
/// endpoint or association goes or they are terminated, as real ones do.
#[derive(Debug, Default)]
pub struct InMemory {
    state: Mutex<State>,
    events: EventQueue,
}

#[derive(Debug, Default)]
struct State {
    desired: Option<Arc<Desired>>,
    failures: BTreeMap<AssociationId, Failure>,
    refusal: Option<String>,
    live: BTreeMap<ConnectionId, ConnectionStart>,
    applies: u64,
    draining: bool,
}

impl InMemory {
    /// One on which every association comes up.
    pub fn new() -> Self {
        Self::default()
    }

    /// One on which no association ever comes up: each fails for good with `reason`.
    pub fn refusing(reason: impl Into<String>) -> Self {
        let memory = Self::default();
        memory.state().refusal = Some(reason.into());
        memory
    }

    /// From the next apply on, `association` fails so (whether it is wanted or leaving), until [`InMemory::heal`].
    pub fn fail(&self, association: AssociationId, failure: Failure) {
        self.state().failures.insert(association, failure);
    }

    /// From the next apply on, `association` no longer fails.
    pub fn heal(&self, association: &AssociationId) {
        self.state().failures.remove(association);
    }

    /// Lets a client connect. False, and nothing happens, if its association is not in force.
    pub fn connect(&self, start: ConnectionStart) -> bool {
        let mut state = self.state();
        if !state.admits(&start) {
            return false;
        }
        state.live.insert(start.id.clone(), start.clone());
        self.events.push(SessionEvent::Connected(start));
        true
    }

    /// Lets a client go away by itself. False if it is not connected.
    pub fn disconnect(&self, id: &ConnectionId) -> bool {
        let Some(start) = self.state().live.remove(id) else { return false };
        self.end(start, EndReason::ClientExit);
        true
    }

    /// Tells of a client that was not let in.
    pub fn refuse(&self, attempt: Attempt) {
        self.events.push(SessionEvent::Refused(attempt));
    }

    /// Tells what came of asking the authorization policy again for a connected client, and ends the client's stay if
    /// it may not stay. False if it is not connected.
    pub fn evaluate(&self, evaluation: PolicyEvaluation) -> bool {
        let evaluation = Arc::new(evaluation);
        let mut state = self.state();
        let Some(start) = state.live.get_mut(&evaluation.connection) else { return false };
        start.counters.policy_evaluated(evaluation.at);
        start.evaluation = Some(Arc::clone(&evaluation));
        let ended = if evaluation.passes() { None } else { state.live.remove(&evaluation.connection) };
        drop(state);
        self.events.push(SessionEvent::Evaluated(evaluation));
        if let Some(start) = ended {
            self.end(start, EndReason::PolicyDenied);
        }
        true
    }

    /// The endpoint of a connected client has no authorization policy any more.
    pub fn lift_policy(&self, id: &ConnectionId) {
        if let Some(start) = self.state().live.get_mut(id) {
            start.evaluation = None;
        }
    }

    /// The snapshot in force.
    pub fn desired(&self) -> Option<Arc<Desired>> {
        self.state().desired.clone()
    }

    /// How many snapshots were applied.
    pub fn applies(&self) -> u64 {
        self.state().applies
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, start: ConnectionStart, reason: EndReason) {
        self.events.push(SessionEvent::Ended(ConnectionEnd {
            id: start.id,
            endpoint: start.endpoint,
            scope: start.scope,
            peer: start.peer,
            counters: start.counters,
            ended_at: wall(),
            reason,
            evaluation: start.evaluation,
        }));
    }
}

impl State {
    fn admits(&self, start: &ConnectionStart) -> bool {
        let wanted = self
            .desired
            .as_ref()
            .and_then(|desired| desired.endpoints.get(&start.endpoint))
            .is_some_and(|endpoint| endpoint.associations.contains_key(&start.association));
        wanted && !self.draining && self.refusal.is_none() && !self.failures.contains_key(&start.association)
    }

    /// Takes out who may not stay under the snapshot now in force.
    fn sweep(&mut self) -> Vec<(ConnectionStart, EndReason)> {
        let Some(desired) = self.desired.clone() else { return Vec::new() };
        let verdict = |start: &ConnectionStart| match desired.endpoints.get(&start.endpoint) {
            None => Some(EndReason::EndpointDeleted),
            Some(endpoint) if endpoint.terminate.contains(&start.id) => Some(EndReason::Terminated),
            Some(endpoint) if !endpoint.associations.contains_key(&start.association) => {
                Some(EndReason::Disassociated)
            }
            Some(_) => None,
        };
        let going: Vec<_> =
            self.live.values().filter_map(|start| Some((start.id.clone(), verdict(start)?))).collect();
        going.into_iter().filter_map(|(id, reason)| Some((self.live.remove(&id)?, reason))).collect()
    }

    fn outcome(&self, desired: &Desired) -> BTreeMap<AssociationId, Failure> {
        let mut failures = self.failures.clone();
        if let Some(reason) = &self.refusal {
            for id in desired.endpoints.values().flat_map(|endpoint| endpoint.associations.keys()) {
                failures.insert(id.clone(), Failure { reason: reason.clone(), permanent: true });
            }
        }
        failures
    }
}

#[async_trait]
impl DataPlane for InMemory {
    async fn apply(&self, desired: Arc<Desired>) -> Applied {
        let (applied, ended) = {
            let mut state = self.state();
            // Latest wins here too: an older snapshot that arrives late changes nothing.
            let newest = match &state.desired {
                Some(current) if current.revision > desired.revision => Arc::clone(current),
                _ => desired,
            };
            state.desired = Some(Arc::clone(&newest));
            state.applies += 1;
            let ended = state.sweep();
            (Applied { revision: newest.revision, failures: state.outcome(&newest) }, ended)
        };
        for (start, reason) in ended {
            self.end(start, reason);
        }
        applied
    }

    fn live(&self) -> Vec<LiveConnection> {
        let state = self.state();
        let live = |start: &ConnectionStart| LiveConnection {
            start: start.clone(),
            traffic: start.counters.read(),
            seen_at: wall(),
        };
        state.live.values().map(live).collect()
    }

    async fn next_question(&self) -> Option<Question> {
        // Nobody logs in.
        std::future::pending().await
    }

    fn answer(&self, _answer: HandlerAnswer) {}

    async fn next_event(&self) -> Option<SessionEvent> {
        self.events.next().await
    }

    fn take_events(&self) -> Vec<SessionEvent> {
        self.events.take()
    }

    async fn drain(&self) {
        let ended = {
            let mut state = self.state();
            state.draining = true;
            std::mem::take(&mut state.live)
        };
        for start in ended.into_values() {
            self.end(start, EndReason::Draining);
        }
        self.events.close();
    }
}

#[cfg(test)]
mod tests;
