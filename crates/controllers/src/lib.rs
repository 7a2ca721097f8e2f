//! Decisions of the control plane, pure: `(desired, observed, now) → changes`.
//!
//! Whoever runs this keeps a [`World`] up to date from the store's watch, asks [`decide`] for each endpoint that
//! something happened to, and commits the [`Changes`] in one transaction that holds only if nothing it was decided on
//! has changed. A wake-up is only a hint: the decision reads the state, never the event.

#![deny(clippy::indexing_slicing)]

mod changes;
mod endpoint;
mod sweep;
mod world;

pub use changes::{Changes, Write};
pub use endpoint::{Observed, decide};
pub use sweep::{expired, interrupted};
pub use world::{EndpointWorld, Row, Versioned, World};
