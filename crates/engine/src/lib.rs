//! Threads around the pure [`gateway`] and the sockets of [`netio`]: a running data plane.
//!
//! | thread | owns |
//! |---|---|
//! | control | the gateway: control channel, admission, addresses, sweeps; puts whole snapshots in force in stages |
//! | workers | sockets, TCP connections, TUN queues, the data paths of their sessions |
//! | fabric | the line to the privileged helper, whose calls block |
//!
//! Callers see a [`DataPlane`]: [`Engine`] is the real one, [`InMemory`] one without packets.

mod clock;
mod config;
mod control;
mod egress;
mod engine;
mod events;
mod fabric;
mod handoff;
mod memory;
mod plane;
mod residents;
mod seats;
mod stats;
mod table;
mod worker;

pub use config::{EngineConfig, EngineError, StreamLimits, WORKERS_MAX};
pub use engine::Engine;
pub use events::EVENTS_MAX;
pub use memory::InMemory;
pub use plane::{Applied, DataPlane, LiveConnection, SessionEvent};
pub use stats::{Snapshot, describe_metrics};
