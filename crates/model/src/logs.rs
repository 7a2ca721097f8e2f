//! CloudWatch Logs: groups, streams and the batches of events in them. Times are milliseconds since the Unix epoch, as
//! the service has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Scope;

/// A log group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroup {
    /// A fixed id: streams stand under it, so that a group made anew is empty.
    pub id: String,
    /// Its name, unique in the scope.
    pub name: String,
    /// Whose it is.
    pub scope: Scope,
    /// `STANDARD`, `INFREQUENT_ACCESS` or `DELIVERY`.
    pub class: String,
    /// Events older than this are gone; `None`: kept for ever.
    pub retention_days: Option<u32>,
    /// The ARN of a key; kept and answered, events are not sealed with it.
    pub kms_key_id: Option<String>,
    /// Whether deletion is refused.
    #[serde(default)]
    pub deletion_protected: bool,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at_ms: i64,
}

/// A stream of a log group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStream {
    /// A fixed id: batches stand under it.
    pub id: String,
    /// Its name, unique in the group.
    pub name: String,
    /// The group's id.
    pub group: String,
    /// Whose it is.
    pub scope: Scope,
    /// When it was made.
    pub created_at_ms: i64,
    /// The earliest event ever put.
    pub first_event_ms: Option<i64>,
    /// The latest event.
    pub last_event_ms: Option<i64>,
    /// When events last came.
    pub last_ingestion_ms: Option<i64>,
    /// The number the next batch gets.
    pub next_batch: u64,
    /// The number of the oldest batch that is kept.
    pub first_batch: u64,
    /// Bytes of the messages that are kept.
    pub stored_bytes: u64,
}

/// Events that came one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatch {
    /// In the order in which they came.
    pub events: Vec<LogEvent>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEvent {
    /// When it happened.
    pub at_ms: i64,
    /// When it came.
    pub ingested_at_ms: i64,
    /// What it says.
    pub message: String,
}
