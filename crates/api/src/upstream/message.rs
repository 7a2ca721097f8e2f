//! The call as it is sent on, and the answer as it is given back. Named headers pass and no others: nothing of our own
//! authentication goes up, and nothing of the connection comes down.

use aws_auth::{AuthFault, SignedRequest};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Destination, FORWARDED, Upstream, UpstreamFault};
use crate::frame::Call;

/// Most headers of an answer that are given back.
const MAX_HEADERS: usize = 100;
/// Beside those that begin with `x-amz`.
const UP: [&str; 18] = [
    "accept",
    "accept-encoding",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
    "smithy-protocol",
    "user-agent",
];
/// What the caller signed with.
const NOT_UP: [&str; 3] = ["x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];
/// Beside those that begin with `x-amz`.
const DOWN: [&str; 15] = [
    "accept-ranges",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-range",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "location",
    "retry-after",
    "smithy-protocol",
];
/// Parameters of a presigned call.
const PRESIGNED: [&str; 7] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// An upstream's answer as far as it is given back.
#[derive(Debug)]
pub(crate) struct ForwardedAnswer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, untouched.
    pub body: Bytes,
}

/// The call, signed anew for the same service and region. `now` is in seconds since the Unix epoch.
///
/// # Errors
/// It cannot be signed, or has no form that HTTP knows.
pub(crate) fn request(
    upstream: &Upstream,
    to: &Destination,
    call: &Call,
    region: &str,
    service: &str,
    now: i64,
) -> Result<http::Request<Bytes>, AuthFault> {
    let mut headers = vec![("host".to_owned(), to.authority.clone())];
    let passes = |name: &str| {
        (UP.contains(&name) || name.starts_with("x-amz")) && !NOT_UP.contains(&name) && name != FORWARDED
    };
    headers.extend(call.headers.iter().filter(|(name, _)| passes(name)).cloned());
    headers.push((FORWARDED.to_owned(), "1".to_owned()));
    headers.push(("x-amz-content-sha256".to_owned(), hex(&Sha256::digest(&call.body))));
    let query = without_signature(&call.query);
    let path = if call.path.is_empty() { "/" } else { &call.path };
    let signed =
        SignedRequest { method: &call.method, path, query: &query, headers: &headers, body: &call.body };
    let added = aws_auth::sign(&signed, &upstream.credentials, region, service, now)?;
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut request = http::Request::builder().method(call.method.as_str()).uri(target);
    for (name, value) in headers.iter().chain(&added) {
        request = request.header(name, value);
    }
    request
        .body(call.body.clone())
        .map_err(|_| AuthFault::Incomplete("The request has no form that can be sent on.".into()))
}

/// What is given back of an answer.
///
/// # Errors
/// An answer that ends nothing (1xx).
pub(crate) fn answer(response: http::Response<Bytes>, head: bool) -> Result<ForwardedAnswer, UpstreamFault> {
    if response.status().is_informational() {
        return Err(UpstreamFault::Garbled);
    }
    let (parts, body) = response.into_parts();
    let passes =
        |name: &str| DOWN.contains(&name) || name.starts_with("x-amz") || (head && name == "content-length");
    let headers = parts
        .headers
        .iter()
        .filter(|(name, _)| passes(name.as_str()))
        .filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), std::str::from_utf8(value.as_bytes()).ok()?.to_owned()))
        })
        .take(MAX_HEADERS)
        .collect();
    Ok(ForwardedAnswer { status: parts.status.as_u16(), headers, body })
}

/// The query string without what a presigned call has beside its parameters.
fn without_signature(query: &str) -> String {
    let kept = query.split('&').filter(|pair| {
        let name = decoded(pair.split('=').next().unwrap_or_default()).to_ascii_lowercase();
        !pair.is_empty() && !PRESIGNED.contains(&name.as_str())
    });
    kept.collect::<Vec<_>>().join("&")
}

/// Percent-encoded ASCII as text; what is none stays.
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let byte = after.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presigned_query_loses_its_signature_only() {
        for (query, expected) in [
            ("", ""),
            ("prefix=a%20b&list-type=2", "prefix=a%20b&list-type=2"),
            ("X-Amz-Algorithm=x&a=1&X-Amz-Signature=y&versions", "a=1&versions"),
            ("X%2DAmz%2DSecurity-Token=x&x-amz-date=y&%zz=1&%=2", "%zz=1&%=2"),
        ] {
            assert_eq!(without_signature(query), expected);
        }
    }

    #[test]
    fn answers_keep_what_is_theirs() {
        let response = |status: u16| {
            http::Response::builder()
                .status(status)
                .header("x-amzn-requestid", "r")
                .header("x-amz-meta-a", "b")
                .header("etag", "e")
                .header("content-type", "application/json")
                .header("content-length", "2")
                .header("connection", "close")
                .header("set-cookie", "c")
                .header("server", "s")
                .body(Bytes::from_static(b"{}"))
                .unwrap()
        };
        let got = answer(response(404), false).unwrap();
        let mut names: Vec<&str> = got.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "etag", "x-amz-meta-a", "x-amzn-requestid"]);
        assert_eq!((got.status, got.body.as_ref()), (404, b"{}".as_slice()));
        assert!(
            answer(response(200), true).unwrap().headers.iter().any(|(name, _)| name == "content-length")
        );
        assert_eq!(answer(response(101), false).unwrap_err(), UpstreamFault::Garbled);
    }
}
