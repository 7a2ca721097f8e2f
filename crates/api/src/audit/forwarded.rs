//! What a line says of a call that was sent on: where, as whom, and what came back.

use serde::Serialize;

use crate::error::short;
use crate::upstream::{Destination, ForwardedAnswer};

/// A call at the upstream.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Forwarded {
    /// Host and port.
    pub upstream: String,
    /// Whose key signed it there.
    pub access_key_id: String,
    /// `GET`, `POST`…
    pub method: String,
    /// The upstream's HTTP status; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The upstream's own id of the request.
    #[serde(rename = "requestID", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Forwarded {
    /// On its way.
    pub(crate) fn sent(to: &Destination, access_key_id: &str, method: &str) -> Self {
        Self {
            upstream: to.authority.clone(),
            access_key_id: access_key_id.to_owned(),
            method: short(method).into_owned(),
            http_status: None,
            request_id: None,
        }
    }

    /// Answered.
    pub(crate) fn answered(&mut self, answer: &ForwardedAnswer) {
        self.http_status = Some(answer.status);
        let id = answer.headers.iter().find(|(name, _)| {
            matches!(name.as_str(), "x-amzn-requestid" | "x-amz-request-id" | "x-amzn-request-id")
        });
        self.request_id = id.map(|(_, value)| short(value).into_owned());
    }
}
