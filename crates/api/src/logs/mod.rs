//! CloudWatch Logs (JSON 1.1): the groups and streams connection logs go to.

mod actions;
mod events;
mod groups;
mod pattern;
mod tags;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::Action;
use crate::error::ApiError;
use crate::json;
use crate::registry::{Input, Read, Registered};

pub(crate) use actions::ACTIONS;

/// What stands before the action in `X-Amz-Target`.
pub(crate) const TARGET_PREFIX: &str = "Logs_20140328.";

/// One line for each action.
pub(crate) const fn action<A>() -> Registered
where
    A: Action + DeserializeOwned,
    A::Answer: Serialize,
{
    json::action::<A>(decode::<A>)
}

fn decode<A>(input: &Input<'_>) -> Read
where
    A: Action + DeserializeOwned,
    A::Answer: Serialize,
{
    json::decode::<A>(input, "InvalidParameterException")
}

/// The service's word for a value it does not take.
pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}
