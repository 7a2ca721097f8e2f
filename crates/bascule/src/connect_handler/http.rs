//! Asking over HTTP: a plain POST, or Lambda's Invoke API. Redirects are not followed.

use bytes::Bytes;
use gateway::HandlerFailure;
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};

use super::MAX_ANSWER_BYTES;
use super::settings::name_of;
use crate::outbound::{Failed, Outbound};

/// Set by Lambda when the function itself failed.
const FUNCTION_ERROR: &str = "x-amz-function-error";
const INVOCATION_TYPE: &str = "x-amz-invocation-type";

/// Where and how a question goes.
pub(super) enum Way<'a> {
    /// There, as it is.
    Plain(&'a Uri),
    /// To Lambda's Invoke API there, for the function of this ARN.
    Lambda(&'a Uri, &'a str),
}

/// Asks; the body of a good answer.
pub(super) async fn ask(
    outbound: &Outbound,
    way: &Way<'_>,
    request: String,
) -> Result<Bytes, HandlerFailure> {
    let mut headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let target = match way {
        Way::Plain(url) => (*url).clone(),
        Way::Lambda(base, function) => {
            let synchronous = HeaderValue::from_static("RequestResponse");
            headers.push((HeaderName::from_static(INVOCATION_TYPE), synchronous));
            invoke(base, function).ok_or(HandlerFailure::ServiceError)?
        }
    };
    let answer = outbound.post(&target, headers, Bytes::from(request), MAX_ANSWER_BYTES).await;
    let answer = answer.map_err(|failed| match failed {
        Failed::TooLong => HandlerFailure::InvalidResponse,
        Failed::Unreachable(why) | Failed::Garbled(why) => {
            tracing::warn!(%target, why, "a connect handler cannot be reached");
            HandlerFailure::ServiceError
        }
    })?;
    if answer.headers().contains_key(FUNCTION_ERROR) {
        return Err(HandlerFailure::ExecutionError);
    }
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        StatusCode::TOO_MANY_REQUESTS => Err(HandlerFailure::Throttled),
        // Of Lambda's it says that the service failed; a plain handler's own is the handler's.
        status if status.is_server_error() && matches!(way, Way::Plain(_)) => {
            Err(HandlerFailure::ExecutionError)
        }
        _ => Err(HandlerFailure::ServiceError),
    }
}

/// `POST /2015-03-31/functions/NAME/invocations`, with the qualifier of the ARN.
fn invoke(base: &Uri, function: &str) -> Option<Uri> {
    let (name, qualifier) = name_of(function);
    let plain = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'$' | b'.'))
    };
    if name.is_empty() || !plain(name) || !qualifier.is_none_or(plain) {
        return None;
    }
    let prefix = base.path().trim_end_matches('/');
    let query = qualifier.map(|qualifier| format!("?Qualifier={qualifier}")).unwrap_or_default();
    let mut parts = base.clone().into_parts();
    let path = format!("{prefix}/2015-03-31/functions/{name}/invocations{query}");
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambdas_address_is_made_of_the_arn_alone() {
        let base: Uri = "http://127.0.0.1:3001/".parse().unwrap();
        let of = |tail: &str| {
            invoke(&base, &format!("arn:aws:lambda:us-east-1:000000000000:function:{tail}"))
                .map(|uri| uri.to_string())
        };
        let there = "http://127.0.0.1:3001/2015-03-31/functions/AWSClientVPN-ask/invocations";
        assert_eq!(of("AWSClientVPN-ask").as_deref(), Some(there));
        assert_eq!(of("AWSClientVPN-ask:live"), Some(format!("{there}?Qualifier=live")));
        for wrong in ["", "a/../b", "a?b", "a:b/c"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
