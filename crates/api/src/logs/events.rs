//! Events of a stream: batches to records and back, and the order they are shown in.

use model::{Key, LogBatch, LogEvent, LogGroup, LogStream, prefix};
use store::typed::Record;

use super::groups::ms;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;

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
    let from = group.cutoff_ms(ms(cx.now)).max(from_ms.unwrap_or(i64::MIN));
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
    let key = |number: u64| Key::log_batch(cx.scope, &stream.value.id, number);
    let first_open = changed.open_batch();
    let open: Option<Record<LogBatch>> = cx.get(&key(first_open)).await?;
    for (number, batch) in changed.append(open.map(|record| record.value), events, ms(cx.now)) {
        draft.put(key(number), &batch);
    }
    for _ in 0..MAX_EXPIRED_AT_ONCE {
        let Some(number) = changed.oldest_batch(first_open) else { break };
        let oldest: Option<Record<LogBatch>> = cx.get(&key(number)).await?;
        if !changed.forget(oldest.as_ref().map(|record| &record.value), group.cutoff_ms(ms(cx.now))) {
            break;
        }
        draft.remove(key(number));
    }
    draft.replace(stream, &changed);
    Ok(())
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
