//! One session as the gateway keeps it.

use std::net::SocketAddr;
use std::sync::Arc;

use model::{AssociationId, ClientAddresses, ConnectionId, EndpointId};
use openvpn::Instant;
use openvpn::server::Session;
use openvpn::wire::SessionId;
use pki::Identity;

use super::asking::Asked;
use super::authorization::Told;
use crate::counters::Counters;
use crate::effect::{PolicyEvaluation, StreamId};
use crate::policy::Policy;

/// Names a slot; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotId(pub(crate) u64);

/// A control channel and what hangs on it.
pub(crate) struct Slot {
    pub(crate) endpoint: EndpointId,
    pub(crate) peer: SocketAddr,
    /// The TCP connection that carries it, if one does.
    pub(crate) stream: Option<StreamId>,
    pub(crate) client_sid: SessionId,
    pub(crate) session: Session,
    pub(crate) stage: Stage,
    /// Its login, while a connect handler is asked about it.
    pub(crate) asked: Option<Box<Asked>>,
    /// When this stage is over whatever the session says; Of an admitted one: when its time is over.
    pub(crate) deadline: Option<Instant>,
    /// What the timer stands at.
    pub(crate) armed: Option<Instant>,
    /// Whether it waits to be polled for datagrams.
    pub(crate) queued: bool,
}

/// Where a slot stands. It only ever goes down this list.
pub(crate) enum Stage {
    /// Proved its address; not authenticated. Counted against its source.
    HalfOpen {
        /// See [`crate::source`].
        source: u128,
        /// When it must have come to something, whatever comes from its client.
        until: Instant,
        /// What its client has us keep.
        held_bytes: usize,
    },
    /// Authenticated, with an association, an address and a peer id.
    Admitted(Box<Admitted>),
    /// A farewell is on its way. Nothing that the client says counts any more.
    Leaving,
    /// To be forgotten once nothing is left to transmit.
    Closing,
}

/// What an admitted session holds.
pub(crate) struct Admitted {
    pub(crate) connection: ConnectionId,
    /// When it was admitted: its time runs from here.
    pub(crate) admitted_at: Instant,
    pub(crate) association: AssociationId,
    pub(crate) worker: u16,
    pub(crate) peer_id: u32,
    pub(crate) addresses: ClientAddresses,
    /// The session whose addresses these are, while that lasts: its client began anew where it was.
    pub(crate) former: Option<SlotId>,
    /// The session that gets the addresses after this one.
    pub(crate) heir: Option<SlotId>,
    pub(crate) identity: Identity,
    /// As presented, DER, leaf first: judged again when trust changes.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) username: Option<String>,
    pub(crate) platform: Option<String>,
    /// What the connect handler said of its posture.
    pub(crate) posture: Vec<String>,
    /// For the authorization policy.
    pub(crate) told: Told,
    /// When the authorization policy is evaluated next; `None`: there is none.
    pub(crate) evaluate_at: Option<Instant>,
    /// What came of it last; `None`: there is none.
    pub(crate) evaluation: Option<Arc<PolicyEvaluation>>,
    /// What the client was told, but for its own address and the banner.
    pub(crate) pushed: Arc<Vec<String>>,
    /// What it was told of route enforcement; `None`: nothing, as it does not look after it.
    pub(crate) enforced: Option<bool>,
    /// The banner it was told, or was not for want of a way.
    pub(crate) banner: Arc<Vec<String>>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) counters: Arc<Counters>,
    /// A worker has its path.
    pub(crate) installed: bool,
    /// Its beginning was told.
    pub(crate) connected: bool,
    /// Its client has sent data.
    pub(crate) used: bool,
}

impl Admitted {
    /// Whether both show the same certificate and the same user.
    pub(crate) fn is_same_person(&self, other: &Self) -> bool {
        self.is_of(&other.identity, other.username.as_deref())
    }

    /// Whether it is that person's.
    pub(crate) fn is_of(&self, identity: &Identity, username: Option<&str>) -> bool {
        self.identity.fingerprint == identity.fingerprint && self.username.as_deref() == username
    }
}
