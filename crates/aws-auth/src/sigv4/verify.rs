//! Deciding whether a presented signature fits.

use constant_time_eq::constant_time_eq;

use super::parse::declared_payload;
use super::request::{AuthFault, MAX_SKEW_S, Presented, Secret, SignedRequest};
use super::{UNSIGNED_PAYLOAD, canonical, time};

/// Checks time and signature of what [`parse`](super::parse) read from this same request.
/// `now` is in seconds since the Unix epoch. The comparison takes the same time for every wrong signature.
///
/// # Errors
/// [`AuthFault::Expired`] outside the 15 minutes around `now`, or after the end of a presigned request;
/// [`AuthFault::Mismatch`] when the signature, the scope's date or the declared digest of the body does not fit.
pub fn verify(
    request: &SignedRequest<'_>,
    presented: &Presented,
    secret: &Secret,
    now: i64,
) -> Result<(), AuthFault> {
    within_time(presented, now)?;
    let timestamp = time::format(presented.time).ok_or(AuthFault::Mismatch)?;
    if !timestamp.starts_with(&presented.scope.date) {
        return Err(AuthFault::Mismatch);
    }
    let body = canonical::hex_digest(request.body);
    let payload = match declared_payload(request)? {
        Some(UNSIGNED_PAYLOAD) => UNSIGNED_PAYLOAD,
        Some(declared) if declared != body => return Err(AuthFault::Mismatch),
        Some(_) => &body,
        None if presented.expires_s.is_some() && presented.scope.service == "s3" => UNSIGNED_PAYLOAD,
        None => &body,
    };
    let query = canonical::query_pairs(request.query)?;
    let text =
        canonical::request(request, &presented.scope.service, &query, &presented.signed_headers, payload);
    let expected = canonical::signature(&text, secret, &presented.scope, &timestamp);
    if constant_time_eq(expected.as_bytes(), presented.signature.as_bytes()) {
        Ok(())
    } else {
        Err(AuthFault::Mismatch)
    }
}

fn within_time(presented: &Presented, now: i64) -> Result<(), AuthFault> {
    let at = time::format(presented.time).unwrap_or_default();
    if presented.time.saturating_sub(now) > MAX_SKEW_S {
        return Err(AuthFault::Expired(format!("Request is not yet valid: its date is {at}.")));
    }
    let lives_s = presented.expires_s.map_or(MAX_SKEW_S, i64::from);
    if now.saturating_sub(presented.time) > lives_s {
        return Err(AuthFault::Expired(format!("Request has expired: its date is {at}.")));
    }
    Ok(())
}
