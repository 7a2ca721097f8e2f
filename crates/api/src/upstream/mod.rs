//! The upstream: another AWS-compatible server that gets the calls which are not built here, once the frame has judged
//! them. This module knows how such calls look and how they are sent on; the frame owns the order of the steps, and what
//! carries bytes stands behind [`Transport`].

mod address;
mod message;
mod rest;
mod s3;
mod wire;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_auth::Credentials;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use address::is_global;
pub use address::{AddressFault, Destination, UpstreamUrl};
pub(crate) use message::{ForwardedAnswer, answer, request};
pub(crate) use wire::{Wanted, foreign, own};

/// Forwarded calls at a time; more are refused.
pub const MAX_FORWARDED_AT_ONCE: usize = 64;
/// The longest answer of an upstream, bytes.
pub const MAX_UPSTREAM_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Marks what we send: a server that gets it from another one (or from itself) does not forward it again.
pub(crate) const FORWARDED: &str = "x-bascule-forwarded";

/// Why there is no answer. What the cause was stands in the log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// No connection, or none that TLS trusts.
    #[error("the upstream server cannot be reached")]
    Unreachable,
    /// It hung up, or what it sent is no HTTP.
    #[error("the upstream server did not answer properly")]
    Garbled,
    /// Its answer is longer than [`MAX_UPSTREAM_ANSWER_BYTES`].
    #[error("the upstream server's answer is too long")]
    TooLong,
    /// No whole answer within the deadline.
    #[error("the upstream server did not answer in time")]
    TooSlow,
}

/// Carries one signed request to an upstream. It follows no redirect and changes no header; what it reads is bounded by
/// [`MAX_UPSTREAM_ANSWER_BYTES`]. The frame drops the future at the deadline.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// The whole answer, whatever its status.
    async fn send(
        &self,
        to: &Destination,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, UpstreamFault>;
}

/// An upstream and what may go there.
pub struct Upstream {
    pub(crate) url: UpstreamUrl,
    pub(crate) credentials: Credentials,
    allow: BTreeSet<String>,
    pub(crate) timeout: Duration,
    pub(crate) transport: Arc<dyn Transport>,
    slots: Arc<Semaphore>,
}

impl Upstream {
    /// At this URL, signed for with these credentials. `allow`: services whose writes are forwarded too; `timeout`: for a
    /// whole answer.
    pub fn new(
        url: UpstreamUrl,
        credentials: Credentials,
        allow: impl IntoIterator<Item = String>,
        timeout: Duration,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(MAX_FORWARDED_AT_ONCE));
        Self { url, credentials, allow: allow.into_iter().collect(), timeout, transport, slots }
    }

    /// Whether the operator lets writes of the service pass.
    pub(crate) fn allows(&self, wanted: &Wanted) -> bool {
        self.allow.contains(wanted.prefix()) || self.allow.contains(&wanted.service)
    }

    /// A place among the calls under way, if there is one.
    pub(crate) fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("url", &self.url).field("allow", &self.allow).finish_non_exhaustive()
    }
}
