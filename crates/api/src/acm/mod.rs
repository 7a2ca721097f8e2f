//! Certificate Manager (JSON 1.1): the certificates Client VPN endpoints refer to.

mod actions;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::{Action, Encoded};
use crate::error::ApiError;
use crate::registry::{Input, Read, Registered};

pub(crate) use actions::ACTIONS;

/// What stands before the action in `X-Amz-Target`.
pub(crate) const TARGET_PREFIX: &str = "CertificateManager.";

/// One line for each action.
pub(crate) const fn action<A>() -> Registered
where
    A: Action + DeserializeOwned,
    A::Answer: Serialize,
{
    Registered { name: A::NAME, decode: decode::<A>, members: |_| serde_json::Value::Null }
}

fn decode<A>(input: &Input<'_>) -> Read
where
    A: Action + DeserializeOwned,
    A::Answer: Serialize,
{
    let Input::Json(body) = input else { return Err(vec![ApiError::internal()]) };
    let body = if body.is_empty() { b"{}" } else { *body };
    // The library's own text is left out: it may quote the body, which may be a key.
    let action: A = serde_json::from_slice(body).map_err(|error| vec![malformed(&error)])?;
    Ok(Box::new(Encoded { action, encode: encode::<A::Answer> }))
}

fn malformed(error: &serde_json::Error) -> ApiError {
    match error.classify() {
        serde_json::error::Category::Data => ApiError::new(
            "ValidationException",
            format!("The request is invalid at column {}", error.column()),
        ),
        _ => ApiError::new("SerializationException", "The request is not valid JSON"),
    }
}

fn encode<T: Serialize>(answer: &T) -> Result<String, ApiError> {
    serde_json::to_string(answer).map_err(|_| ApiError::internal())
}

/// ACM's word for a value it does not take.
pub(crate) fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}
