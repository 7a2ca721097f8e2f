//! `FilterLogEvents`: over the streams of a group, by time. Patterns of terms only.

use async_trait::async_trait;
use model::LogStream;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::logs::events::{self, Found, Place, fitting};
use crate::logs::pattern::Pattern;
use crate::logs::{groups, invalid};
use crate::touch::{Resource, Touch};

/// Most events of an answer, and the default.
const MAX_LIMIT: usize = 10_000;
/// Most streams that can be named.
const MAX_STREAMS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FilterLogEvents {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    #[serde(default)]
    log_stream_names: Vec<String>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
    interleaved: Option<bool>,
    unmask: Option<bool>,
    start_from_head: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    events: Vec<Row>,
    /// The service says nothing here any more.
    searched_log_streams: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    log_stream_name: String,
    timestamp: i64,
    message: String,
    ingestion_time: i64,
    event_id: String,
}

#[async_trait]
impl Action for FilterLogEvents {
    const NAME: &'static str = "FilterLogEvents";
    type Answer = Answer;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        // Answers are always interleaved, and nothing is masked.
        let _ = (self.interleaved, self.unmask);
        crate::check::keep(groups::named(&self.log_group_name, &self.log_group_identifier), faults);
        crate::check::keep(self.pattern(), faults);
        crate::check::keep(self.position(), faults);
        if self.limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
            faults.push(invalid(format!("limit must be between 1 and {MAX_LIMIT}")));
        }
        if !self.log_stream_names.is_empty() && self.log_stream_name_prefix.is_some() {
            let message = "logStreamNames and logStreamNamePrefix cannot be specified together";
            faults.push(invalid(message));
        }
        if self.log_stream_names.len() > MAX_STREAMS {
            faults.push(invalid(format!("logStreamNames has at most {MAX_STREAMS} names")));
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let name = groups::named(&self.log_group_name, &self.log_group_identifier).unwrap_or("*");
        vec![Touch::of(Resource::LogGroup(name.to_owned(), None))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let name = groups::named(&self.log_group_name, &self.log_group_identifier)?;
        let group = groups::known(cx, name).await?.value;
        let streams: Vec<LogStream> = if self.log_stream_names.is_empty() {
            let prefix = self.log_stream_name_prefix.as_deref().unwrap_or_default();
            let all = groups::streams(cx, &group).await?;
            all.into_iter().filter(|stream| stream.name.starts_with(prefix)).collect()
        } else {
            let mut named = Vec::new();
            for name in &self.log_stream_names {
                named.push(groups::stream(cx, &group, name).await?.value);
            }
            named
        };
        let (pattern, position) = (self.pattern()?, self.position()?);
        let mut found: Vec<(Found, &str)> = Vec::new();
        for stream in &streams {
            let events = events::read(cx, &group, stream, self.start_time, self.end_time).await?;
            let wanted = events
                .into_iter()
                .filter(|one| pattern.pass(&one.event.message) && position.admits(&one.place));
            found.extend(wanted.map(|one| (one, stream.name.as_str())));
        }
        found.sort_by(|(a, _), (b, _)| a.place.cmp(&b.place));
        if position.latest_first {
            found.reverse();
        }
        let count = fitting(found.iter().map(|(one, _)| one), self.limit.unwrap_or(MAX_LIMIT));
        let more = found.len() > count;
        found.truncate(count);
        let next_token = found.last().filter(|_| more).map(|(one, _)| position.token(&one.place));
        let row = |(one, stream): (Found, &str)| Row {
            log_stream_name: stream.to_owned(),
            timestamp: one.event.at_ms,
            ingestion_time: one.event.ingested_at_ms,
            event_id: one.place.id(),
            message: one.event.message,
        };
        let events = found.into_iter().map(row).collect();
        Ok(Decision::read(Answer { events, searched_log_streams: Vec::new(), next_token }))
    }
}

/// What stands before a token of an answer whose latest events come first.
const BACKWARDS: &str = "b/";

/// Where to read on, and in which direction.
struct Position {
    latest_first: bool,
    last: Option<Place>,
}

impl Position {
    fn admits(&self, place: &Place) -> bool {
        match &self.last {
            None => true,
            Some(last) if self.latest_first => place < last,
            Some(last) => place > last,
        }
    }

    fn token(&self, place: &Place) -> String {
        format!("{}{}", if self.latest_first { BACKWARDS } else { "" }, place.text())
    }
}

impl FilterLogEvents {
    fn pattern(&self) -> Result<Pattern, ApiError> {
        Pattern::read(self.filter_pattern.as_deref().unwrap_or_default())
    }

    /// A token keeps the direction it came from.
    fn position(&self) -> Result<Position, ApiError> {
        let Some(token) = &self.next_token else {
            return Ok(Position { latest_first: self.start_from_head == Some(false), last: None });
        };
        let (latest_first, text) = match token.strip_prefix(BACKWARDS) {
            Some(text) => (true, text),
            None => (false, token.as_str()),
        };
        let last = Place::read(text).ok_or_else(|| invalid("The specified nextToken is invalid."))?;
        Ok(Position { latest_first, last: Some(last) })
    }
}
