//! `PutLogEvents`: events too new, too old or expired are left out and said so.

use async_trait::async_trait;
use model::LogEvent;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::logs::groups::ms;
use crate::logs::{events, groups, invalid};
use crate::touch::{Resource, Touch};

/// Most events of a call.
const MAX_EVENTS: usize = 10_000;
/// Most bytes of a call, each event counted with [`EVENT_OVERHEAD_BYTES`].
const MAX_BATCH_BYTES: usize = 1 << 20;
const EVENT_OVERHEAD_BYTES: usize = 26;
/// Longest message, bytes: as JSON it must still fit a record of the store.
const MAX_EVENT_BYTES: usize = 256 << 10;
const HOUR_MS: i64 = 60 * 60 * 1_000;
/// The times of one call's events lie this close together.
const MAX_SPAN_MS: i64 = 24 * HOUR_MS;
/// Events further ahead are too new.
const MAX_AHEAD_MS: i64 = 2 * HOUR_MS;
/// Events further back are too old.
const MAX_BEHIND_MS: i64 = 14 * 24 * HOUR_MS;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PutLogEvents {
    log_group_name: String,
    log_stream_name: String,
    log_events: Vec<Event>,
    sequence_token: Option<String>,
    entity: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    timestamp: i64,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    next_sequence_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_log_events_info: Option<Rejected>,
}

#[derive(Serialize, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Rejected {
    #[serde(skip_serializing_if = "Option::is_none")]
    too_new_log_event_start_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    too_old_log_event_end_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired_log_event_end_index: Option<usize>,
}

#[async_trait]
impl Action for PutLogEvents {
    const NAME: &'static str = "PutLogEvents";
    type Answer = Answer;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        // Sequence tokens have had no meaning for the service since 2023; entities are of another service.
        let _ = (&self.sequence_token, &self.entity);
        crate::check::keep(self.acceptable(), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let stream = Some(self.log_stream_name.clone());
        vec![Touch::of(Resource::LogGroup(self.log_group_name.clone(), stream))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let group = groups::known(cx, &self.log_group_name).await?.value;
        let stream = groups::stream(cx, &group, &self.log_stream_name).await?;
        let (now, cutoff) = (ms(cx.now), group.cutoff_ms(ms(cx.now)));
        let (too_old, too_new) = (now.saturating_sub(MAX_BEHIND_MS), now.saturating_add(MAX_AHEAD_MS));
        let mut rejected = Rejected::default();
        let mut kept = Vec::new();
        for (index, event) in self.log_events.iter().enumerate() {
            if event.timestamp > too_new {
                rejected.too_new_log_event_start_index.get_or_insert(index);
            } else if event.timestamp < cutoff {
                rejected.expired_log_event_end_index = Some(index.saturating_add(1));
            } else if event.timestamp < too_old {
                rejected.too_old_log_event_end_index = Some(index.saturating_add(1));
            } else {
                let message = event.message.clone();
                kept.push(LogEvent { at_ms: event.timestamp, ingested_at_ms: now, message });
            }
        }
        let mut draft = Draft::default();
        if !kept.is_empty() {
            events::append(cx, &mut draft, &group, &stream, kept).await?;
        }
        let answer = Answer {
            next_sequence_token: stream.value.next_batch.saturating_add(1).to_string(),
            rejected_log_events_info: (rejected != Rejected::default()).then_some(rejected),
        };
        Ok(Decision::write(answer, draft))
    }
}

impl PutLogEvents {
    fn acceptable(&self) -> Result<(), ApiError> {
        let events = &self.log_events;
        if !(1..=MAX_EVENTS).contains(&events.len()) {
            return Err(invalid(format!("logEvents must have between 1 and {MAX_EVENTS} events")));
        }
        if events.iter().any(|event| event.message.is_empty() || event.timestamp < 0) {
            return Err(invalid("Log events have a message and a time since 1970"));
        }
        if events.iter().any(|event| event.message.len() > MAX_EVENT_BYTES) {
            return Err(invalid(format!(
                "Log event too large: a message has at most {MAX_EVENT_BYTES} bytes"
            )));
        }
        let bytes: usize =
            events.iter().map(|event| event.message.len().saturating_add(EVENT_OVERHEAD_BYTES)).sum();
        if bytes > MAX_BATCH_BYTES {
            return Err(invalid(format!(
                "Upload too large: {bytes} bytes exceeds limit of {MAX_BATCH_BYTES}"
            )));
        }
        if !events.is_sorted_by_key(|event| event.timestamp) {
            let message = "Log events in a single PutLogEvents request must be in chronological order.";
            return Err(invalid(message));
        }
        let (first, last) = (events.first().map(|e| e.timestamp), events.last().map(|e| e.timestamp));
        if last.unwrap_or_default().saturating_sub(first.unwrap_or_default()) > MAX_SPAN_MS {
            let message =
                "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.";
            return Err(invalid(message));
        }
        Ok(())
    }
}
