//! What goes between the gateway and its driver.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_auth::cedar::{Decision, Record, Verdict};
use model::{AssociationId, ClientAddresses, ConnectionId, EndpointId, Scope};
use openvpn::UnixTime;
use openvpn::wire::SessionId;

use crate::counters::Counters;
use crate::handler::Question;
use crate::path::{DataPath, Notice, PathUpdate};

/// One TCP connection of a client, named by the worker that accepted it. A name is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The worker that owns the connection, from its first byte to its last: its session is carried there.
    pub worker: u16,
    /// Which of that worker's.
    pub number: u64,
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From the socket of this endpoint.
    pub endpoint: EndpointId,
    /// To this address.
    pub peer: SocketAddr,
    /// Over this connection, where it must not be lost; `None`: as a datagram.
    pub stream: Option<StreamId>,
}

/// What the driver has to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Give a worker a new path.
    Install {
        /// The worker.
        worker: u16,
        /// The endpoint.
        endpoint: EndpointId,
        /// The association whose TUN carries it.
        association: AssociationId,
        /// Names the path from now on.
        peer_id: u32,
        /// The client's addresses in the tunnel.
        addresses: ClientAddresses,
        /// Packets to them still belong to the path of the client's former session, until [`Effect::Inherit`].
        shared: bool,
        /// The connection it is reached over, where it is not by datagrams. The same worker has it.
        stream: Option<StreamId>,
        /// The path.
        path: Box<DataPath>,
    },
    /// Packets to a path's addresses belong to it from now on.
    Inherit {
        /// Its worker.
        worker: u16,
        /// Its endpoint.
        endpoint: EndpointId,
        /// Its name.
        peer_id: u32,
    },
    /// Change a path.
    Update {
        /// Its worker.
        worker: u16,
        /// Its endpoint.
        endpoint: EndpointId,
        /// Its name.
        peer_id: u32,
        /// The change.
        update: PathUpdate,
    },
    /// Drop a path with its keys.
    Remove {
        /// Its worker.
        worker: u16,
        /// Its endpoint.
        endpoint: EndpointId,
        /// Its name.
        peer_id: u32,
    },
    /// Nobody has these addresses at this association and worker any more: what the fabric keeps for their client there
    /// may end, once the worker has let go of the path. Not told of a client that only moved, nor of one that began anew
    /// where it was and goes on at the same association and worker.
    Vacated {
        /// The worker that had the path.
        worker: u16,
        /// The association.
        association: AssociationId,
        /// The addresses.
        addresses: ClientAddresses,
    },
    /// Close a connection, once what was given for it has been sent: its session is over, or none was to begin.
    CloseStream {
        /// The connection; it may be closed already.
        stream: StreamId,
    },
    /// Control datagrams from this address with this session id are a session's from now on: they are for the gateway,
    /// whatever they prove.
    Known {
        /// Where the client is, and its session id.
        client: (SocketAddr, SessionId),
    },
    /// One session less has this address and session id.
    Forgotten {
        /// Where the client was, and its session id.
        client: (SocketAddr, SessionId),
    },
    /// Ask a connect handler, and bring the answer by `Gateway::handle_answer`.
    Ask(Box<Question>),
    /// A connection began.
    Connected(ConnectionStart),
    /// A login was refused for another reason than its certificate.
    Refused(Attempt),
    /// The client of a connection comes from another address now. Told of one that has not begun too.
    Floated {
        /// The connection.
        connection: ConnectionId,
        /// Its path.
        peer_id: u32,
        /// The address.
        peer: SocketAddr,
    },
    /// A connection that began has ended. Its counters may still move until the worker dropped the path.
    Ended(ConnectionEnd),
    /// The endpoint's authorization policy was evaluated. What follows from it is told by effects of its own, later.
    PolicyEvaluated(Arc<PolicyEvaluation>),
    /// A connection that began is no longer subject to an authorization policy: its endpoint has none any more.
    PolicyLifted {
        /// The connection.
        connection: ConnectionId,
    },
}

/// A connection's beginning.
#[derive(Clone, Debug)]
pub struct ConnectionStart {
    /// Its id.
    pub id: ConnectionId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Whose the endpoint is.
    pub scope: Scope,
    /// The association it uses.
    pub association: AssociationId,
    /// The common name of the client's certificate.
    pub common_name: String,
    /// The user, where the login has one.
    pub username: Option<String>,
    /// What the client runs on, by its own word (`IV_PLAT`).
    pub platform: Option<String>,
    /// The client's address in the tunnel.
    pub client: ClientAddresses,
    /// Where the client came from.
    pub peer: SocketAddr,
    /// Its traffic.
    pub counters: Arc<Counters>,
    /// When the tunnel was up.
    pub established_at: UnixTime,
    /// What the connect handler said of its posture; empty where none is asked.
    pub posture: Vec<String>,
    /// The newest evaluation of the endpoint's authorization policy; `None`: it has no policy.
    pub evaluation: Option<Arc<PolicyEvaluation>>,
}

/// A connection that did not come to be.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The id that its connection would have had.
    pub id: ConnectionId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whose the endpoint is.
    pub scope: Scope,
    /// The common name of the client's certificate.
    pub common_name: String,
    /// The user, where the login has one.
    pub username: Option<String>,
    /// What the client runs on, by its own word (`IV_PLAT`).
    pub platform: Option<String>,
    /// Where the client came from.
    pub peer: SocketAddr,
    /// When.
    pub at: UnixTime,
    /// Why not, as connection logs have it (spec: aws-client-vpn §5.1).
    pub reason: &'static str,
    /// What the connect handler said of its posture.
    pub posture: Vec<String>,
    /// The newest evaluation of the endpoint's authorization policy; `None`: it has no policy.
    pub evaluation: Option<Arc<PolicyEvaluation>>,
}

impl Attempt {
    /// There are as many sessions as there may be.
    pub const QUOTA_EXCEEDED: &'static str = "quota-exceeded";
    /// Every address of the client CIDR is given, or rests after its last holder.
    pub const POOL_EXHAUSTED: &'static str = "address-pool-exhausted";
}

/// A connection's end.
#[derive(Clone, Debug)]
pub struct ConnectionEnd {
    /// Its id.
    pub id: ConnectionId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Whose the endpoint is.
    pub scope: Scope,
    /// Where its client was at the end.
    pub peer: SocketAddr,
    /// Its traffic.
    pub counters: Arc<Counters>,
    /// When it ended.
    pub ended_at: UnixTime,
    /// Why.
    pub reason: EndReason,
    /// The newest evaluation of the endpoint's authorization policy; `None`: it has no policy.
    pub evaluation: Option<Arc<PolicyEvaluation>>,
}

/// One evaluation of an authorization policy (spec: aws-client-vpn, Appendix B).
#[derive(Clone, Debug)]
pub struct PolicyEvaluation {
    /// The connection; one that is refused never begins.
    pub connection: ConnectionId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Whose the endpoint is.
    pub scope: Scope,
    /// Where the client comes from.
    pub peer: SocketAddr,
    /// The common name of the client's certificate.
    pub common_name: String,
    /// When.
    pub at: UnixTime,
    /// What it was evaluated for.
    pub evaluation_type: EvaluationType,
    /// Whether the policy blocks nobody.
    pub shadow: bool,
    /// What came of it.
    pub verdict: Verdict,
    /// What it was evaluated with.
    pub context: Record,
}

impl PolicyEvaluation {
    /// Whether the client may be here. In shadow mode everybody may.
    pub fn passes(&self) -> bool {
        self.shadow || self.verdict.decision == Decision::Permit
    }
}

/// What an evaluation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluationType {
    /// A client wants in: its tunnel is not up yet.
    ConnectionAttempt,
    /// A client is in: from time to time, and when the policy or its address has changed.
    Periodic,
}

impl EvaluationType {
    /// AWS's word for it, in connection logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            EvaluationType::ConnectionAttempt => "connection-attempt",
            EvaluationType::Periodic => "periodic",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndReason {
    /// The client said that it leaves.
    ClientExit,
    /// Its TCP connection was closed, or broke.
    Disconnected,
    /// Nothing came from the client for too long.
    PingTimeout,
    /// The client began anew from the same address.
    Replaced,
    /// It lasted as long as its endpoint lets connections last.
    SessionTimeout,
    /// The API terminated it.
    Terminated,
    /// Its target network was disassociated.
    Disassociated,
    /// Its endpoint is gone.
    EndpointDeleted,
    /// Its endpoint admits nobody any more.
    NotAdmitted,
    /// Its certificate is revoked or no longer trusted.
    Revoked,
    /// The endpoint's authorization policy does not permit it, or not any more.
    PolicyDenied,
    /// The endpoint's connect handler does not allow it, or could not say.
    HandlerDenied,
    /// What it was told at connect time no longer holds: it comes back for the new.
    Reconfigured,
    /// A renegotiation failed, or the control channel broke.
    ProtocolError,
    /// A renegotiation showed another identity, or one that is refused now.
    IdentityChanged,
    /// The worker lost the path.
    WorkerLost,
    /// The gateway is shutting down.
    Draining,
}

impl EndReason {
    /// The reason's name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            EndReason::ClientExit => "client-exit",
            EndReason::Disconnected => "disconnected",
            EndReason::PingTimeout => "ping-timeout",
            EndReason::Replaced => "replaced",
            EndReason::SessionTimeout => "session-timeout",
            EndReason::Terminated => "terminated",
            EndReason::Disassociated => "disassociated",
            EndReason::EndpointDeleted => "endpoint-deleted",
            EndReason::NotAdmitted => "not-admitted",
            EndReason::Revoked => "revoked",
            EndReason::PolicyDenied => "policy-denied",
            EndReason::HandlerDenied => "handler-denied",
            EndReason::Reconfigured => "reconfigured",
            EndReason::ProtocolError => "protocol-error",
            EndReason::IdentityChanged => "identity-changed",
            EndReason::WorkerLost => "worker-lost",
            EndReason::Draining => "draining",
        }
    }
}

/// What a worker tells the gateway about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathNotice {
    /// The path's own notice.
    Notice(Notice),
    /// [`crate::Tick::Dead`].
    Dead,
    /// The worker has the path no more. The answer to a removal, or, without one, the session's end.
    Removed,
}

impl From<Notice> for PathNotice {
    fn from(notice: Notice) -> Self {
        PathNotice::Notice(notice)
    }
}
