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

/// Bytes of messages after which a batch gets no more events.
const FULL_BATCH_BYTES: u64 = 64 << 10;
/// Most batches of a stream; with one more the oldest goes.
const MAX_BATCHES: u64 = 1_000;
const MS_PER_DAY: i64 = 24 * 60 * 60 * 1_000;

impl LogGroup {
    /// Events before this are gone.
    pub fn cutoff_ms(&self, now_ms: i64) -> i64 {
        let kept = self.retention_days.map(|days| i64::from(days).saturating_mul(MS_PER_DAY));
        kept.map_or(i64::MIN, |kept| now_ms.saturating_sub(kept))
    }
}

impl LogStream {
    /// A stream without events.
    pub fn new(id: String, name: String, group: &LogGroup, now_ms: i64) -> Self {
        Self {
            id,
            name,
            group: group.id.clone(),
            scope: group.scope.clone(),
            created_at_ms: now_ms,
            first_event_ms: None,
            last_event_ms: None,
            last_ingestion_ms: None,
            next_batch: 0,
            first_batch: 0,
            stored_bytes: 0,
        }
    }

    /// The number of the batch that the next events may still go into.
    pub fn open_batch(&self) -> u64 {
        self.next_batch.saturating_sub(1)
    }

    /// Takes events in; the batches to write. `open` is the batch of [`open_batch`](Self::open_batch), if it is there.
    pub fn append(
        &mut self,
        open: Option<LogBatch>,
        events: Vec<LogEvent>,
        now_ms: i64,
    ) -> Vec<(u64, LogBatch)> {
        self.last_ingestion_ms = Some(now_ms);
        let (mut number, mut batch) = match open {
            Some(batch) if batch.bytes() < FULL_BATCH_BYTES => (self.open_batch(), batch),
            _ => (self.next_batch, LogBatch { events: Vec::new() }),
        };
        let mut filled = batch.bytes();
        let mut written = Vec::new();
        for event in events {
            let first = self.first_event_ms.map_or(event.at_ms, |first| first.min(event.at_ms));
            let last = self.last_event_ms.map_or(event.at_ms, |last| last.max(event.at_ms));
            (self.first_event_ms, self.last_event_ms) = (Some(first), Some(last));
            if filled >= FULL_BATCH_BYTES {
                written.push((number, std::mem::replace(&mut batch, LogBatch { events: Vec::new() })));
                number = number.saturating_add(1);
                filled = 0;
            }
            filled = filled.saturating_add(event.bytes());
            self.stored_bytes = self.stored_bytes.saturating_add(event.bytes());
            batch.events.push(event);
        }
        written.push((number, batch));
        self.next_batch = number.saturating_add(1);
        written
    }

    /// The number of the oldest batch, if it might have to go: never one from `open` on, which are being written.
    pub fn oldest_batch(&self, open: u64) -> Option<u64> {
        (self.first_batch < open).then_some(self.first_batch)
    }

    /// Lets the oldest batch go, if there are too many or all in it is older than `cutoff_ms`; whether it goes.
    pub fn forget(&mut self, oldest: Option<&LogBatch>, cutoff_ms: i64) -> bool {
        let surplus = self.first_batch < self.next_batch.saturating_sub(MAX_BATCHES);
        if let Some(batch) = oldest {
            if !surplus && batch.events.iter().any(|event| event.at_ms >= cutoff_ms) {
                return false;
            }
            self.stored_bytes = self.stored_bytes.saturating_sub(batch.bytes());
        }
        self.first_batch = self.first_batch.saturating_add(1);
        true
    }
}

impl LogBatch {
    fn bytes(&self) -> u64 {
        self.events.iter().map(LogEvent::bytes).sum()
    }
}

impl LogEvent {
    fn bytes(&self) -> u64 {
        u64::try_from(self.message.len()).unwrap_or(u64::MAX)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: i64, bytes: usize) -> LogEvent {
        LogEvent { at_ms, ingested_at_ms: at_ms, message: "x".repeat(bytes) }
    }

    #[test]
    fn batches_fill_up_and_the_oldest_go() {
        let group = LogGroup {
            id: "g".to_owned(),
            name: "g".to_owned(),
            scope: Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() },
            class: "STANDARD".to_owned(),
            retention_days: Some(1),
            kms_key_id: None,
            deletion_protected: false,
            tags: BTreeMap::new(),
            created_at_ms: 0,
        };
        assert_eq!(group.cutoff_ms(MS_PER_DAY + 7), 7);
        let mut stream = LogStream::new("s".to_owned(), "s".to_owned(), &group, 0);
        let first = stream.append(None, vec![event(5, 10), event(3, 10)], 9);
        assert_eq!((first.len(), first[0].0, stream.next_batch, stream.stored_bytes), (1, 0, 1, 20));
        assert_eq!((stream.first_event_ms, stream.last_event_ms), (Some(3), Some(5)));
        let open = Some(first[0].1.clone());
        let full = usize::try_from(FULL_BATCH_BYTES).unwrap();
        let next = stream.append(open, vec![event(6, full), event(7, 1)], 9);
        assert_eq!(next.iter().map(|(n, b)| (*n, b.events.len())).collect::<Vec<_>>(), [(0, 3), (1, 1)]);
        assert_eq!((stream.oldest_batch(0), stream.oldest_batch(1)), (None, Some(0)));
        for at in 0..MAX_BATCHES {
            stream.append(None, vec![event(100 + i64::try_from(at).unwrap(), 1)], 9);
        }
        let stored = stream.stored_bytes;
        assert!(stream.forget(Some(&next[0].1), 0), "too many");
        assert_eq!(stored - stream.stored_bytes, 20 + FULL_BATCH_BYTES);
        assert!(stream.forget(None, 0), "gone already");
        assert!(!stream.forget(Some(&LogBatch { events: vec![event(100, 1)] }), 100));
        assert!(stream.forget(Some(&LogBatch { events: vec![event(100, 1)] }), 101));
    }
}
