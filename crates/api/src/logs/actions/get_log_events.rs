//! `GetLogEvents`: of one stream, forwards or backwards. A token that leads nowhere comes back.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::logs::events::{self, Found, Place, fitting};
use crate::logs::{groups, invalid};
use crate::touch::{Resource, Touch};

/// Most events of an answer, and the default.
const MAX_LIMIT: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GetLogEvents {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: String,
    start_time: Option<i64>,
    end_time: Option<i64>,
    next_token: Option<String>,
    limit: Option<usize>,
    start_from_head: Option<bool>,
    unmask: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    events: Vec<Row>,
    next_forward_token: String,
    next_backward_token: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    timestamp: i64,
    message: String,
    ingestion_time: i64,
}

/// Where to read on.
enum Position {
    After(Place),
    Before(Place),
}

#[async_trait]
impl Action for GetLogEvents {
    const NAME: &'static str = "GetLogEvents";
    type Answer = Answer;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        // Nothing is masked.
        let _ = self.unmask;
        crate::check::keep(groups::named(&self.log_group_name, &self.log_group_identifier), faults);
        crate::check::keep(self.position(), faults);
        if self.limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
            faults.push(invalid(format!("limit must be between 1 and {MAX_LIMIT}")));
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let name = groups::named(&self.log_group_name, &self.log_group_identifier).unwrap_or("*");
        vec![Touch::of(Resource::LogGroup(name.to_owned(), Some(self.log_stream_name.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let name = groups::named(&self.log_group_name, &self.log_group_identifier)?;
        let group = groups::known(cx, name).await?.value;
        let stream = groups::stream(cx, &group, &self.log_stream_name).await?.value;
        let all = events::read(cx, &group, &stream, self.start_time, self.end_time).await?;
        let limit = self.limit.unwrap_or(MAX_LIMIT);
        let first_of = |found: &[Found]| fitting(found.iter(), limit);
        let position = self.position()?;
        let (start, end) = match &position {
            Some(Position::After(place)) => {
                let start = all.partition_point(|found| found.place <= *place);
                (start, start.saturating_add(first_of(all.get(start..).unwrap_or_default())))
            }
            None if self.start_from_head == Some(true) => (0, first_of(&all)),
            Some(Position::Before(place)) => {
                let end = all.partition_point(|found| found.place < *place);
                let before = all.get(..end).unwrap_or_default();
                (end.saturating_sub(fitting(before.iter().rev(), limit)), end)
            }
            None => (all.len().saturating_sub(fitting(all.iter().rev(), limit)), all.len()),
        };
        let shown = all.get(start..end).unwrap_or_default();
        // Without events both ends are where the caller stands: at the edge of what there is.
        let edge = match position {
            Some(Position::After(place) | Position::Before(place)) => place,
            None => Place { at_ms: 0, stream: stream.id.clone(), batch: 0, index: 0 },
        };
        let (first, last) = (shown.first().map(|f| &f.place), shown.last().map(|f| &f.place));
        Ok(Decision::read(Answer {
            next_forward_token: format!("f/{}", last.unwrap_or(&edge).text()),
            next_backward_token: format!("b/{}", first.unwrap_or(&edge).text()),
            events: shown.iter().map(row).collect(),
        }))
    }
}

impl GetLogEvents {
    fn position(&self) -> Result<Option<Position>, ApiError> {
        let Some(token) = &self.next_token else { return Ok(None) };
        let read = |text: &str| Place::read(text);
        let forward = token.strip_prefix("f/").and_then(read).map(Position::After);
        let position = forward.or_else(|| token.strip_prefix("b/").and_then(read).map(Position::Before));
        position.map(Some).ok_or_else(|| invalid("The specified nextToken is invalid."))
    }
}

fn row(found: &Found) -> Row {
    Row {
        timestamp: found.event.at_ms,
        message: found.event.message.clone(),
        ingestion_time: found.event.ingested_at_ms,
    }
}
