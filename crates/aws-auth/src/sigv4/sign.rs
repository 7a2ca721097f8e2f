//! The client's side: signing a request in its headers, or in its query string.

use super::canonical::{self, SIGNATURE_PARAMETER};
use super::parse::declared_payload;
use super::request::{AuthFault, Credentials, MAX_PRESIGNED_S, Scope, SignedRequest};
use super::{ALGORITHM, UNSIGNED_PAYLOAD, time};

/// Headers that a proxy or the HTTP client may change, and so are not signed.
const UNSIGNED_HEADERS: [&str; 7] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "transfer-encoding",
    "user-agent",
    "x-amzn-trace-id",
];

/// The headers to add to a request so that it is signed: the date, the session token, and `authorization`.
/// `host` must be among the request's headers; `now` is in seconds since the Unix epoch.
///
/// # Errors
/// [`AuthFault::Incomplete`] without `host`, when a header to be added is there already, or when the query
/// string cannot be read.
pub fn sign(
    request: &SignedRequest<'_>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: i64,
) -> Result<Vec<(String, String)>, AuthFault> {
    let (scope, timestamp) = scope(region, service, now)?;
    let mut added = vec![("x-amz-date".to_owned(), timestamp.clone())];
    added.extend(
        credentials
            .session_token
            .as_ref()
            .map(|token| ("x-amz-security-token".to_owned(), token.expose().to_owned())),
    );
    for name in added.iter().map(|(name, _)| name.as_str()).chain(["authorization"]) {
        if request.header_values(name).next().is_some() {
            return Err(AuthFault::Incomplete(format!("The header '{name}' is there already.")));
        }
    }
    let headers: Vec<(String, String)> = request.headers.iter().chain(&added).cloned().collect();
    let whole = SignedRequest { headers: &headers, ..*request };
    let signed_headers = signed_headers(&whole)?;
    let body = canonical::hex_digest(request.body);
    let payload = declared_payload(request)?.unwrap_or(&body);
    let query = canonical::query_pairs(request.query)?;
    let text = canonical::request(&whole, service, &query, &signed_headers, payload);
    let signature = canonical::signature(&text, &credentials.secret, &scope, &timestamp);
    let (key, names) = (&credentials.access_key_id, signed_headers.join(";"));
    added.push((
        "authorization".to_owned(),
        format!("{ALGORITHM} Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"),
    ));
    Ok(added)
}

/// The query string of the same request, presigned for `expires_s` seconds.
///
/// # Errors
/// As [`sign`], and for a life of zero or more than seven days.
pub fn presign(
    request: &SignedRequest<'_>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    expires_s: u32,
    now: i64,
) -> Result<String, AuthFault> {
    if !(1..=MAX_PRESIGNED_S).contains(&expires_s) {
        return Err(AuthFault::Incomplete(format!(
            "Expecting a life between 1 and {MAX_PRESIGNED_S} seconds."
        )));
    }
    let (scope, timestamp) = scope(region, service, now)?;
    let signed_headers = signed_headers(request)?;
    let mut out = request.query.to_owned();
    let mut add = |name: &str, value: &str| {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(&canonical::encoded(value.as_bytes()));
    };
    add("X-Amz-Algorithm", ALGORITHM);
    add("X-Amz-Credential", &format!("{}/{scope}", credentials.access_key_id));
    add("X-Amz-Date", &timestamp);
    add("X-Amz-Expires", &expires_s.to_string());
    add("X-Amz-SignedHeaders", &signed_headers.join(";"));
    if let Some(token) = &credentials.session_token {
        add("X-Amz-Security-Token", token.expose());
    }
    let query = canonical::query_pairs(&out)?;
    let body = canonical::hex_digest(request.body);
    let payload = match declared_payload(request)? {
        Some(declared) => declared,
        None if service == "s3" => UNSIGNED_PAYLOAD,
        None => &body,
    };
    let text = canonical::request(request, service, &query, &signed_headers, payload);
    let signature = canonical::signature(&text, &credentials.secret, &scope, &timestamp);
    Ok(format!("{out}&{SIGNATURE_PARAMETER}={signature}"))
}

fn scope(region: &str, service: &str, now: i64) -> Result<(Scope, String), AuthFault> {
    let timestamp =
        time::format(now).ok_or_else(|| AuthFault::Incomplete("The time is outside the calendar.".into()))?;
    let date = timestamp.chars().take(8).collect();
    Ok((Scope { date, region: region.into(), service: service.into() }, timestamp))
}

/// Names of the headers to sign, rising, each once.
fn signed_headers(request: &SignedRequest<'_>) -> Result<Vec<String>, AuthFault> {
    let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.retain(|name| !UNSIGNED_HEADERS.contains(&name.as_str()));
    names.sort();
    names.dedup();
    if names.iter().any(|name| name == "host") {
        Ok(names)
    } else {
        Err(AuthFault::Incomplete("The header 'host' is needed.".into()))
    }
}
