//! Events of a stream: batches to records and back, and the order they are shown in.

use model::{Key, LogBatch, LogEvent, LogGroup, LogStream, prefix};
use store::typed::Record;

use super::groups::{cutoff_ms, ms};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;

/// Bytes of messages after which a batch gets no more events.
const FULL_BATCH_BYTES: usize = 64 << 10;
/// Most batches of a stream; with one more the oldest goes.
const MAX_BATCHES: u64 = 1_000;
/// Most batches that one call looks at because they may be older than is kept.
const MAX_EXPIRED_AT_ONCE: u64 = 16;
/// Most bytes of messages in one answer.
pub(crate) const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Where an event stands among all of its group: by time, then stream, then as they came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub at_ms: i64,
    pub stream: String,
    pub batch: u64,
    pub index: usize,
}

/// An event with its place.
pub(crate) struct Found {
    pub place: Place,
    pub event: LogEvent,
}

impl Place {
    /// As a token carries it.
    pub(crate) fn text(&self) -> String {
        format!("{}/{}/{}/{}", self.at_ms, self.batch, self.index, self.stream)
    }

    /// Reads [`Place::text`].
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '/');
        Some(Self {
            at_ms: parts.next()?.parse().ok()?,
            batch: parts.next()?.parse().ok()?,
            index: parts.next()?.parse().ok()?,
            stream: parts.next()?.to_owned(),
        })
    }

    /// The event's id.
    pub(crate) fn id(&self) -> String {
        format!("{:020}{:020}{:016}", self.at_ms.max(0), self.batch, self.index)
    }
}

/// The events of a stream that are kept and lie in a time span, in order.
pub(crate) async fn read(
    cx: &Cx<'_>,
    group: &LogGroup,
    stream: &LogStream,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
) -> Result<Vec<Found>, ApiError> {
    let from = cutoff_ms(group, cx.now).max(from_ms.unwrap_or(i64::MIN));
    let to = to_ms.unwrap_or(i64::MAX);
    let batches = cx.list::<LogBatch>(&prefix::log_batches(cx.scope, &stream.id)).await?;
    let mut found = Vec::new();
    for record in batches {
        let batch = record.key.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        for (index, event) in record.value.events.into_iter().enumerate() {
            if (from..to).contains(&event.at_ms) {
                let place = Place { at_ms: event.at_ms, stream: stream.id.clone(), batch, index };
                found.push(Found { place, event });
            }
        }
    }
    found.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(found)
}

/// Appends events to a stream, and drops what is over the bounds or older than is kept.
pub(crate) async fn append(
    cx: &Cx<'_>,
    draft: &mut Draft,
    group: &LogGroup,
    stream: &Record<LogStream>,
    events: Vec<LogEvent>,
) -> Result<(), ApiError> {
    let mut changed = stream.value.clone();
    changed.last_ingestion_ms = Some(ms(cx.now));
    for event in &events {
        let first = changed.first_event_ms.map_or(event.at_ms, |first| first.min(event.at_ms));
        let last = changed.last_event_ms.map_or(event.at_ms, |last| last.max(event.at_ms));
        (changed.first_event_ms, changed.last_event_ms) = (Some(first), Some(last));
    }
    changed.stored_bytes = changed.stored_bytes.saturating_add(bytes(&events));
    let key = |number: u64| Key::log_batch(cx.scope, &stream.value.id, number);
    let open = changed.next_batch.saturating_sub(1);
    let opened: Option<Record<LogBatch>> = cx.get(&key(open)).await?;
    let (mut number, mut batch) = match opened {
        Some(record) if bytes(&record.value.events) < size(FULL_BATCH_BYTES) => (open, record.value),
        _ => (changed.next_batch, LogBatch { events: Vec::new() }),
    };
    for event in events {
        if bytes(&batch.events) >= size(FULL_BATCH_BYTES) {
            draft.put(key(number), &batch);
            number = number.saturating_add(1);
            batch = LogBatch { events: Vec::new() };
        }
        batch.events.push(event);
    }
    draft.put(key(number), &batch);
    changed.next_batch = number.saturating_add(1);
    drop_old(cx, draft, group, &mut changed, number).await?;
    draft.replace(stream, &changed);
    Ok(())
}

/// Never the batches from `open` on: they are being written.
async fn drop_old(
    cx: &Cx<'_>,
    draft: &mut Draft,
    group: &LogGroup,
    stream: &mut LogStream,
    open: u64,
) -> Result<(), ApiError> {
    let cutoff = cutoff_ms(group, cx.now);
    let written = stream.next_batch.saturating_sub(MAX_BATCHES);
    for _ in 0..MAX_EXPIRED_AT_ONCE {
        let number = stream.first_batch;
        if number.saturating_add(1) >= open {
            break;
        }
        let key = Key::log_batch(cx.scope, &stream.id, number);
        if let Some(record) = cx.get::<LogBatch>(&key).await? {
            if number >= written && record.value.events.iter().any(|event| event.at_ms >= cutoff) {
                break;
            }
            stream.stored_bytes = stream.stored_bytes.saturating_sub(bytes(&record.value.events));
            draft.remove(key);
        }
        stream.first_batch = number.saturating_add(1);
    }
    Ok(())
}

fn bytes(events: &[LogEvent]) -> u64 {
    events.iter().map(|event| size(event.message.len())).sum()
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// How many of these fit one answer.
pub(crate) fn fitting<'f>(found: impl Iterator<Item = &'f Found>, limit: usize) -> usize {
    let mut left = MAX_ANSWER_BYTES;
    let mut count = 0;
    for one in found.take(limit) {
        let Some(rest) = left.checked_sub(one.event.message.len()) else { break };
        left = rest;
        count += 1;
    }
    count
}
