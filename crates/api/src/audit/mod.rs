//! The audit trail: one JSON line for each call, in the words of CloudTrail (spec: aws-client-vpn §5.3), written off the
//! call's own road. The frame makes the lines; where they go stands behind [`AuditSink`].

mod files;
mod forwarded;
mod line;
mod parameters;

use async_trait::async_trait;

pub use files::{AuditFiles, AuditLimits, Rotated};
pub(crate) use forwarded::Forwarded;
pub(crate) use line::{Decided, Identity, Judged, Line, SessionAttributes, SessionContext, SessionIssuer};
pub(crate) use parameters::{of_form, of_json};

/// Whose call a line is of. Strangers have files of their own: what anybody can send must not push out what callers did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The signature held.
    Signed,
    /// It did not, or there was none.
    Unproven,
}

/// Takes the lines.
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Takes a line (JSON without a newline); waits a bounded time for room. A line that finds none is counted, and a
    /// later line says so.
    async fn record(&self, proof: Proof, line: String);

    /// The same without waiting, for a call that nobody waits for any more.
    fn record_now(&self, proof: Proof, line: String);
}

/// Keeps nothing.
pub struct NoAudit;

#[async_trait]
impl AuditSink for NoAudit {
    async fn record(&self, _proof: Proof, _line: String) {}

    fn record_now(&self, _proof: Proof, _line: String) {}
}
