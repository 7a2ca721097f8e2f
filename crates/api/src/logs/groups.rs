//! Groups and streams: their names, their ARNs, and finding them.

use model::{Key, LogGroup, LogStream, Scope, Timestamp, prefix};
use store::typed::Record;

use super::invalid;
use crate::arn;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::{ApiError, short};

/// Most characters of a name.
const MAX_NAME_CHARS: usize = 512;
/// Longest name of a stream as a part of a store key, bytes.
const MAX_STREAM_KEY_BYTES: usize = 900;
/// Keys deleted in one transaction.
const MAX_DELETED_AT_ONCE: usize = 2_000;
/// How long events can be kept, days.
const RETENTIONS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1_096, 1_827, 2_192, 2_557, 2_922, 3_288,
    3_653,
];

/// Now, as the service counts.
pub(crate) fn ms(now: Timestamp) -> i64 {
    now.0.saturating_mul(1_000)
}

/// A name a group can have.
pub(crate) fn group_name(name: &str) -> Result<(), ApiError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/#".contains(&b);
    if (1..=MAX_NAME_CHARS).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(unfit("logGroupName", name, "[\\.\\-_/#A-Za-z0-9]+"))
}

/// A name a stream can have.
pub(crate) fn stream_name(name: &str) -> Result<(), ApiError> {
    let chars = name.chars().count();
    let plain = |c: char| !matches!(c, ':' | '*') && !c.is_control();
    let key_bytes: usize = name.bytes().map(|b| if b.is_ascii_alphanumeric() { 1 } else { 3 }).sum();
    if (1..=MAX_NAME_CHARS).contains(&chars) && name.chars().all(plain) && key_bytes <= MAX_STREAM_KEY_BYTES {
        return Ok(());
    }
    Err(unfit("logStreamName", name, "[^:*]*"))
}

fn unfit(member: &str, value: &str, pattern: &str) -> ApiError {
    invalid(format!(
        "1 validation error detected: Value '{}' at '{member}' failed to satisfy constraint: Member must satisfy \
         regular expression pattern: {pattern} and have length between 1 and {MAX_NAME_CHARS}",
        short(value)
    ))
}

/// How long events are kept.
pub(crate) fn retention_days(days: i64) -> Result<u32, ApiError> {
    let known = u32::try_from(days).ok().filter(|days| RETENTIONS.contains(days));
    known.ok_or_else(|| {
        let all: Vec<String> = RETENTIONS.iter().map(ToString::to_string).collect();
        invalid(format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: Member \
             must satisfy enum value set: [{}]",
            all.join(", ")
        ))
    })
}

/// A group's ARN without the asterisk it is often shown with.
pub(crate) fn group_arn(scope: &Scope, name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", scope.region, scope.account)
}

/// The name in a group's ARN; the text itself if it is no ARN.
pub(crate) fn name_in(text: &str) -> &str {
    match arn::parse(text) {
        Some(arn) if arn.service == "logs" => {
            let name = arn.resource.strip_prefix("log-group:").unwrap_or_default();
            name.split(':').next().unwrap_or_default()
        }
        _ => text,
    }
}

/// The group named by an ARN of this scope.
pub(crate) async fn of_arn(cx: &Cx<'_>, text: &str) -> Result<Record<LogGroup>, ApiError> {
    let here = arn::parse(text).is_some_and(|arn| {
        arn.service == "logs"
            && arn.region == cx.scope.region.as_str()
            && arn.account == cx.scope.account.as_str()
    });
    if here { known(cx, name_in(text)).await } else { Err(no_group()) }
}

/// A group, by the caller's word.
pub(crate) async fn known(cx: &Cx<'_>, name: &str) -> Result<Record<LogGroup>, ApiError> {
    group_name(name)?;
    cx.get(&Key::log_group(cx.scope, name)).await?.ok_or_else(no_group)
}

/// A group's name, given as such or as identifier.
pub(crate) fn named<'n>(
    name: &'n Option<String>,
    identifier: &'n Option<String>,
) -> Result<&'n str, ApiError> {
    match (name, identifier) {
        (Some(_), Some(_)) => {
            Err(invalid("logGroupName and logGroupIdentifier cannot be specified together"))
        }
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) => Ok(name_in(identifier)),
        (None, None) => Err(invalid("Either logGroupName or logGroupIdentifier must be specified")),
    }
}

/// No such group.
pub(crate) fn no_group() -> ApiError {
    ApiError::new("ResourceNotFoundException", "The specified log group does not exist.")
}

/// A stream of a group, by the caller's word.
pub(crate) async fn stream(cx: &Cx<'_>, group: &LogGroup, name: &str) -> Result<Record<LogStream>, ApiError> {
    stream_name(name)?;
    let found = cx.get(&Key::log_stream(cx.scope, &group.id, name)).await?;
    found
        .ok_or_else(|| ApiError::new("ResourceNotFoundException", "The specified log stream does not exist."))
}

/// All streams of a group.
pub(crate) async fn streams(cx: &Cx<'_>, group: &LogGroup) -> Result<Vec<LogStream>, ApiError> {
    let records = cx.list::<LogStream>(&prefix::log_streams(cx.scope, &group.id)).await?;
    Ok(records.into_iter().map(|record| record.value).collect())
}

/// Deletes what stands under the streams, as much as one transaction takes; whether that is all.
pub(crate) async fn empty(cx: &Cx<'_>, draft: &mut Draft, streams: &[LogStream]) -> Result<bool, ApiError> {
    let mut left = MAX_DELETED_AT_ONCE;
    for stream in streams {
        let prefix = prefix::log_batches(cx.scope, &stream.id);
        for key in cx.keys(&prefix, left).await? {
            draft.remove(key);
            left = left.saturating_sub(1);
        }
        if left == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_retentions() {
        for (name, good) in [("/aws/vpn", true), ("a b", false), ("", false), (&"a".repeat(513), false)] {
            assert_eq!(group_name(name).is_ok(), good, "{name}");
        }
        for (name, good) in [("a/b c", true), ("a:b", false), ("a*", false), ("", false)] {
            assert_eq!(stream_name(name).is_ok(), good, "{name}");
        }
        for (days, good) in [(1, true), (3_653, true), (0, false), (2, false), (-1, false)] {
            assert_eq!(retention_days(days).is_ok(), good, "{days}");
        }
        assert_eq!(name_in("arn:aws:logs:us-east-1:000000000000:log-group:/a/b:*"), "/a/b");
        assert_eq!(name_in("/a/b"), "/a/b");
    }
}
