//! How JSON 1.1 services read their actions and write their answers.

use serde::Serialize;
use serde::de::DeserializeOwned;

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
    // The library's own text is left out: it may quote the body, which may be a key.
    let action: A = serde_json::from_slice(body).map_err(|error| vec![malformed(&error, mistyped)])?;
    Ok(Box::new(Encoded { action, encode: encode::<A::Answer> }))
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
