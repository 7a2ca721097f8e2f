//! A call as it came over HTTP, and its answer: plain values, so that tests need no socket.

use std::borrow::Cow;
use std::net::IpAddr;

use aws_auth::SignedRequest;
use bytes::Bytes;

use crate::service::{Protocol, Refusal, Service};
use crate::upstream::ForwardedAnswer;

/// A call, its body read whole.
#[derive(Clone)]
pub struct Call {
    /// `GET`, `POST`…
    pub method: String,
    /// Path, still percent-encoded.
    pub path: String,
    /// Query string without its question mark, still percent-encoded.
    pub query: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Bytes,
    /// Where it came from.
    pub peer: IpAddr,
    /// Whether it came over TLS.
    pub secure: bool,
}

impl std::fmt::Debug for Call {
    /// Query, headers and body may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Of the body.
    pub content_type: Cow<'static, str>,
    /// For the `x-amzn-RequestId` header.
    pub request_id: String,
    /// Of an upstream's answer, beside the content type; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The document.
    pub body: Bytes,
}

impl Answer {
    /// An upstream's, with our own id of the call beside its own.
    pub(crate) fn forwarded(answer: ForwardedAnswer, request_id: String) -> Self {
        let ForwardedAnswer { status, mut headers, body } = answer;
        let content_type = headers.iter().position(|(name, _)| name == "content-type");
        let content_type = content_type.map(|at| headers.remove(at).1).unwrap_or_default().into();
        headers.push(("x-bascule-request-id".to_owned(), request_id.clone()));
        Self { status, content_type, request_id, headers, body }
    }
}

impl Call {
    pub(crate) fn signed(&self) -> SignedRequest<'_> {
        SignedRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
        }
    }

    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Services live at `/`; Query by GET or POST, JSON by POST.
    pub(crate) fn wrong_http(&self, service: Service) -> Option<Refusal> {
        let method = match service.protocol() {
            Protocol::Query => matches!(self.method.as_str(), "GET" | "POST"),
            Protocol::Json => self.method == "POST",
        };
        match self.path.as_str() {
            "/" | "" if method => None,
            "/" | "" => Some(Refusal::Http("method")),
            _ => Some(Refusal::Http("path")),
        }
    }
}
