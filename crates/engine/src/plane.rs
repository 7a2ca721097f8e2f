//! The interface between what decides and what carries packets: whole desired snapshots in, session events out.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gateway::desired::Desired;
use gateway::{
    Attempt, ConnectionEnd, ConnectionStart, HandlerAnswer, PolicyEvaluation, Question, Traffic, UnixTime,
};
use model::{AssociationId, Failure};

/// A data plane: takes whole desired snapshots and reports who is connected.
///
/// It can be told nothing else but answers to its own questions: ending a connection, revoking a rule and deleting an
/// endpoint are all differences between two snapshots.
#[async_trait]
pub trait DataPlane: Send + Sync {
    /// Puts `desired` in force. One slot, latest wins.
    ///
    /// Completes when the consequences of `desired`, or of a newer snapshot, are in force but for
    /// [`Applied::failures`]; the `Ended` events of every session it swept are queued by then, counters final.
    /// Transient failures are not retried by themselves: apply the same snapshot again.
    async fn apply(&self, desired: Arc<Desired>) -> Applied;

    /// Everyone connected right now.
    fn live(&self) -> Vec<LiveConnection>;

    /// The next session event, waiting for it. `None` once the data plane has stopped. One consumer; safe to cancel.
    async fn next_event(&self) -> Option<SessionEvent>;

    /// The session events queued right now, oldest first.
    fn take_events(&self) -> Vec<SessionEvent>;

    /// The next question to a connect handler, waiting for it. `None` once the data plane has stopped. One consumer; safe
    /// to cancel. Each is to be answered within [`gateway::HANDLER_TIME`].
    async fn next_question(&self) -> Option<Question>;

    /// Takes the answer to a question; one that nobody waits for any more is ignored.
    fn answer(&self, answer: HandlerAnswer);

    /// Says farewell to everyone, closes every socket and removes what was built behind the tunnels. For good.
    async fn drain(&self);
}

/// What [`DataPlane::apply`] achieved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The revision now in force.
    pub revision: u64,
    /// Associations, wanted or leaving, with which something is wrong.
    pub failures: BTreeMap<AssociationId, Failure>,
}

/// One connected client.
#[derive(Clone, Debug)]
pub struct LiveConnection {
    /// Who it is and since when; carries the live counters, and the newest evaluation of the authorization policy.
    pub start: ConnectionStart,
    /// What it had moved when this was asked.
    pub traffic: Traffic,
    /// When the last packet came from it, pings included.
    pub seen_at: UnixTime,
}

/// Something that happened to a connection.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// A client has been admitted and told its address.
    Connected(ConnectionStart),
    /// A client's stay is over; its counters are final.
    Ended(ConnectionEnd),
    /// A client is known and was not admitted.
    Refused(Attempt),
    /// The authorization policy was asked again for a client that is in. What follows is told by events of its own.
    Evaluated(Arc<PolicyEvaluation>),
}
