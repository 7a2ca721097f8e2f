//! The AWS face: EC2 (Client VPN and its networks), ACM and STS over HTTP, told apart on one port as AWS clients do.
//!
//! [`Api`] is the frame: it owns the order in which a call is judged, and knows no socket. [`serve`] puts it on a
//! listener. Each action is one file under `ec2/actions`, `acm/actions` or `sts/actions`, and one line in the registry
//! beside it.

mod account;
mod acm;
mod action;
mod arn;
mod audit;
mod check;
mod clock;
mod condition_keys;
mod config;
mod coverage;
mod cx;
mod draft;
mod ec2;
mod endpoint_keys;
mod error;
mod filter;
mod frame;
mod iam;
pub mod identities;
mod json;
mod logs;
mod metrics_server;
mod names;
mod networks;
mod not_yet;
mod page;
mod ports;
mod profile;
mod registry;
mod server;
mod service;
mod sessions;
mod sts;
mod taggable;
mod tags;
mod touch;
mod upstream;

#[cfg(test)]
mod tests;

pub use audit::{AuditFiles, AuditLimits, AuditSink, NoAudit, Proof, Rotated};
pub use config::{
    AddressError, Addresses, Advertise, Bucket, Config, MAX_BODY_BYTES, ProfileSecret, Throttle,
};
pub use coverage::coverage_json;
pub use frame::{Answer, Api, Call};
pub use identities::{
    Caller, FileIdentities, Identities, Identity, Policies, Rights, Role, RoleSession, Session, UsersError,
};
pub use metrics_server::serve_metrics;
pub use networks::Networks;
pub use not_yet::{NOT_YET_IN_FORCE, NotYetInForce};
pub use ports::{
    Committed, Convergence, LiveConnections, NoConvergence, NoLiveConnections, StoreConvergence,
};
pub use registry::members_json;
pub use server::serve;
pub use upstream::{
    AddressFault, Destination, MAX_FORWARDED_AT_ONCE, MAX_UPSTREAM_ANSWER_BYTES, Transport, Upstream,
    UpstreamFault, UpstreamUrl,
};
