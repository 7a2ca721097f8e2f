//! How JSON 1.1 services read their actions and write their answers.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::action::{Action, Encoded};
use crate::error::ApiError;
use crate::registry::{Input, Read, Registered};

/// One line for each action. `mistyped` is the service's code for members that are not what they should be.
pub(crate) const fn action<A>(decode: fn(&Input<'_>) -> Read) -> Registered
where
    A: Action,
{
    Registered { name: A::NAME, decode, members: |_| serde_json::Value::Null }
}

/// Reads an action from a body.
pub(crate) fn decode<A>(input: &Input<'_>, mistyped: &'static str) -> Read
where
    A: Action + DeserializeOwned,
    A::Answer: Serialize,
{
    let Input::Json(body) = input else { return Err(vec![ApiError::internal()]) };
    let body = if body.is_empty() { b"{}" } else { *body };
    // Read as a document first: a member of no name must not hide that the rest is no JSON.
    serde_json::from_slice::<Document>(body).map_err(|error| vec![malformed(&error, mistyped)])?;
    // The library's own text is left out: it may quote the body, which may be a key.
    let action: A = serde_json::from_slice(body).map_err(|error| vec![malformed(&error, mistyped)])?;
    Ok(Box::new(Encoded { action, encode: encode::<A::Answer> }))
}

/// Most elements of any list.
const MAX_LIST: usize = 10_000;

/// Any document whose lists are bounded; nothing of it is kept.
struct Document;

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Document)
    }
}

impl<'de> Visitor<'de> for Document {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        let mut count = 0_usize;
        while list.next_element::<Document>()?.is_some() {
            count = count.saturating_add(1);
        }
        if count > MAX_LIST {
            return Err(serde::de::Error::custom("a list is too long"));
        }
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Document, Document>()?.is_some() {}
        Ok(self)
    }
}

fn malformed(error: &serde_json::Error, mistyped: &'static str) -> ApiError {
    match error.classify() {
        serde_json::error::Category::Data => {
            ApiError::new(mistyped, format!("The request is invalid at column {}", error.column()))
        }
        _ => ApiError::new("SerializationException", "The request is not valid JSON"),
    }
}

fn encode<T: Serialize>(answer: &T) -> Result<String, ApiError> {
    serde_json::to_string(answer).map_err(|_| ApiError::internal())
}

/// The answer of actions that answer nothing.
#[derive(Serialize)]
pub(crate) struct Empty {}
