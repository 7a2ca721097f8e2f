//! Certificate Manager (JSON 1.1): the certificates Client VPN endpoints refer to.

mod actions;
mod tags;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::Action;
use crate::error::ApiError;
use crate::json;
use crate::registry::{Input, Read, Registered};

pub(crate) use actions::ACTIONS;

/// Actions that name one certificate and are the upstream's for one that was not imported here.
pub(crate) const BY_ARN: &[&str] = &[
    "AddTagsToCertificate",
    "DeleteCertificate",
    "DescribeCertificate",
    "GetCertificate",
    "ListTagsForCertificate",
    "RemoveTagsFromCertificate",
];

/// What stands before the action in `X-Amz-Target`.
pub(crate) const TARGET_PREFIX: &str = "CertificateManager.";

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
    json::decode::<A>(input, "ValidationException")
}

/// ACM's word for a value it does not take.
pub(crate) fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}
