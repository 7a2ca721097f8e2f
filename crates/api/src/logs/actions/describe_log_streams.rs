//! `DescribeLogStreams`: by name or by the time of the last event.

use async_trait::async_trait;
use model::LogStream;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::logs::{groups, invalid};
use crate::touch::{Resource, Touch};

/// Most streams of a page, and the default.
const MAX_LIMIT: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DescribeLogStreams {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<OrderBy>,
    descending: Option<bool>,
    next_token: Option<String>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum OrderBy {
    LogStreamName,
    LastEventTime,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    log_streams: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    log_stream_name: String,
    creation_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_event_timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_event_timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_ingestion_time: Option<i64>,
    upload_sequence_token: String,
    arn: String,
    stored_bytes: u64,
}

#[async_trait]
impl Action for DescribeLogStreams {
    const NAME: &'static str = "DescribeLogStreams";
    type Answer = Answer;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        crate::check::keep(groups::named(&self.log_group_name, &self.log_group_identifier), faults);
        if self.limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
            faults.push(invalid(format!("limit must be between 1 and {MAX_LIMIT}")));
        }
        if self.order_by == Some(OrderBy::LastEventTime) && self.log_stream_name_prefix.is_some() {
            faults.push(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let name = groups::named(&self.log_group_name, &self.log_group_identifier).unwrap_or("*");
        vec![Touch::of(Resource::LogGroup(name.to_owned(), None))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let name = groups::named(&self.log_group_name, &self.log_group_identifier)?;
        let group = groups::known(cx, name).await?.value;
        let mut rows = groups::streams(cx, &group).await?;
        if let Some(prefix) = &self.log_stream_name_prefix {
            rows.retain(|row| row.name.starts_with(prefix.as_str()));
        }
        rows.sort_by(|a, b| self.key(a).cmp(&self.key(b)));
        if self.descending == Some(true) {
            rows.reverse();
        }
        // The token is the name of the last stream shown: it may have moved, and is then looked for where it is.
        let start = match &self.next_token {
            None => 0,
            Some(token) => {
                let at = rows.iter().position(|row| row.name == *token);
                at.ok_or_else(|| invalid("The specified nextToken is invalid."))?.saturating_add(1)
            }
        };
        let limit = self.limit.unwrap_or(MAX_LIMIT);
        let more = rows.len() > start.saturating_add(limit);
        let shown: Vec<LogStream> = rows.into_iter().skip(start).take(limit).collect();
        let next_token = shown.last().filter(|_| more).map(|last| last.name.clone());
        let arn = groups::group_arn(cx.scope, &group.name);
        let row = |stream: LogStream| Row {
            creation_time: stream.created_at_ms,
            first_event_timestamp: stream.first_event_ms,
            last_event_timestamp: stream.last_event_ms,
            last_ingestion_time: stream.last_ingestion_ms,
            upload_sequence_token: stream.next_batch.to_string(),
            arn: format!("{arn}:log-stream:{}", stream.name),
            stored_bytes: stream.stored_bytes,
            log_stream_name: stream.name,
        };
        Ok(Decision::read(Answer { log_streams: shown.into_iter().map(row).collect(), next_token }))
    }
}

impl DescribeLogStreams {
    fn key<'s>(&self, stream: &'s LogStream) -> (Option<i64>, &'s str) {
        let by_time = self.order_by == Some(OrderBy::LastEventTime);
        (stream.last_event_ms.filter(|_| by_time), &stream.name)
    }
}
