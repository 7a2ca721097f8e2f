//! The evaluation of an authorization policy as entries have it (spec: aws-client-vpn, Appendix B).

use gateway::PolicyEvaluation;
use gateway::cedar::{Decision, Record, Value};
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// Most bytes of a context in an entry, as JSON; what does not fit any more is left out.
const CONTEXT_MAX_BYTES: usize = 8 << 10;
/// Most bytes of one text in it, as JSON; a longer one is cut, so that it does not push out the others.
const TEXT_MAX_BYTES: usize = 1 << 10;
/// Where a text is cut.
const CUT: char = '…';

/// The value of `authorization-policy-evaluation`: an object, while the other keys of an entry have text (AWS's guide:
/// connection logging, examples). It has no `device-token-status`: that tells of device tokens that were looked at, and
/// no client brings one yet.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Evaluation {
    result: &'static str,
    evaluation_type: &'static str,
    shadow_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Map<String, Json>>,
}

impl Evaluation {
    /// With what the policy was evaluated with, if the endpoint's log has it.
    pub(super) fn new(of: &PolicyEvaluation, with_context: bool) -> Self {
        let denied = of.verdict.decision != Decision::Permit;
        Self {
            result: of.verdict.decision.as_str(),
            evaluation_type: of.evaluation_type.as_str(),
            shadow_mode: if of.shadow { "enabled" } else { "disabled" },
            // The one reason there is; of an error too (AWS's guide).
            reason: denied.then_some("policy-deny"),
            context: with_context.then(|| bounded(&of.context)),
        }
    }
}

/// A context as JSON of at most [`CONTEXT_MAX_BYTES`].
fn bounded(context: &Record) -> Map<String, Json> {
    let mut room = CONTEXT_MAX_BYTES;
    record(context, &mut room).unwrap_or_default()
}

/// Takes from the room; `None`, and nothing is taken, where it does not suffice.
fn take(room: &mut usize, bytes: usize) -> Option<()> {
    *room = room.checked_sub(bytes)?;
    Some(())
}

/// As much of a record as there is room for.
fn record(of: &Record, room: &mut usize) -> Option<Map<String, Json>> {
    take(room, "{}".len())?;
    let mut members = Map::new();
    for (name, value) in of {
        let before = *room;
        let member = take(room, quoted_bytes(name) + ":,".len()).and_then(|()| json(value, room));
        let Some(member) = member else {
            *room = before;
            break;
        };
        members.insert(name.clone(), member);
    }
    Some(members)
}

/// As much of a value as there is room for; `None`: of this kind there is no shorter one.
fn json(of: &Value, room: &mut usize) -> Option<Json> {
    match of {
        Value::Bool(value) => scalar(Json::from(*value), room),
        Value::Long(value) => scalar(Json::from(*value), room),
        Value::String(value) => text(value, room).map(Json::String),
        Value::Record(of) => record(of, room).map(Json::Object),
        Value::Set(of) => {
            take(room, "[]".len())?;
            let mut values = Vec::new();
            for value in of {
                let before = *room;
                let Some(value) = take(room, ",".len()).and_then(|()| json(value, room)) else {
                    *room = before;
                    break;
                };
                values.push(value);
            }
            Some(Json::Array(values))
        }
    }
}

fn scalar(value: Json, room: &mut usize) -> Option<Json> {
    take(room, value.to_string().len())?;
    Some(value)
}

/// A text, cut where there is no room for all of it.
fn text(of: &str, room: &mut usize) -> Option<String> {
    let most = TEXT_MAX_BYTES.min(*room);
    let whole = quoted_bytes(of);
    if whole <= most {
        take(room, whole)?;
        return Some(of.to_owned());
    }
    let mut cut = String::new();
    let mut bytes = "\"\"".len() + CUT.len_utf8();
    for character in of.chars() {
        let more = escaped_bytes(character);
        if bytes + more > most {
            break;
        }
        bytes += more;
        cut.push(character);
    }
    take(room, bytes)?;
    cut.push(CUT);
    Some(cut)
}

/// Length of a text as JSON.
fn quoted_bytes(text: &str) -> usize {
    "\"\"".len() + text.chars().map(escaped_bytes).sum::<usize>()
}

/// Length of a character in JSON's text, as it is written here.
fn escaped_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => "\\u0000".len(),
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests;
