//! The brain of a data plane, without any input or output of its own (layer 2, pure).
//!
//! | module | what |
//! |---|---|
//! | [`desired`] | what shall be: plain data, built whole by the agent |
//! | [`policy`] | routes and authorization rules, compiled: a verdict per packet |
//! | [`packet`] | views of inner packets, the MSS clamp |
//! | [`DataPath`] | what a worker holds for one session |
//! | [`Gateway`] | sessions, addresses, the admission gate, farewells: what the control thread owns |
//!
//! Time, the wall clock and the seed of all randomness come in as arguments; effects, packets and the next timeout
//! are polled out. Given the same calls, the same happens.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod brain;
mod counters;
pub mod desired;
mod door;
mod effect;
mod handler;
mod limits;
pub mod packet;
mod path;
mod peer_id;
pub mod policy;
mod pool;
mod seed;

pub use aws_auth::cedar;
pub use brain::{Gateway, GatewayConfig, Handshakes, Rustls, SessionTls};
pub use counters::{Counters, DropCounts, DropReason, Traffic};
pub use desired::Desired;
pub use door::{Door, Look, sender, source};
pub use effect::{
    Attempt, ConnectionEnd, ConnectionStart, Effect, EndReason, EvaluationType, PathNotice, PolicyEvaluation,
    StreamId, Transmit,
};
pub use handler::{
    HANDLER_TEXT_MAX_CHARS, HANDLER_TIME, HandlerAnswer, HandlerFailure, HandlerVerdict,
    POSTURE_STATUSES_MAX, Question,
};
pub use limits::{Limits, Stats};
pub use openvpn::{Instant, UnixTime};
pub use path::{
    DEAD_AFTER, DataPath, Down, FLOAT_PAUSE, Notice, PING_AFTER, PathStart, PathUpdate, Tick, Up,
};
pub use peer_id::PEER_ID_QUARANTINE;
pub use policy::{Policy, Verdict};
pub use pool::{ADDRESS_QUARANTINE, Holder, Pool};
