//! Reading the signature a request carries, in its headers or in its query string.

use super::canonical::{self, Pair, SIGNATURE_PARAMETER};
use super::request::{
    AuthFault, MAX_AUTHORIZATION_BYTES, MAX_PRESIGNED_S, MAX_SIGNED_HEADERS, Presented, Scope, Secret,
    SignedRequest,
};
use super::{ALGORITHM, TERMINATOR, UNSIGNED_PAYLOAD, time};

/// Reads the signature. It proves nothing yet.
///
/// # Errors
/// [`AuthFault::Missing`] without any signature, [`AuthFault::Incomplete`] for one that cannot be read, that
/// leaves out what must be signed (`host`, the date, every `x-amz-` header), or that uses another algorithm.
pub fn parse(request: &SignedRequest<'_>) -> Result<Presented, AuthFault> {
    let query = canonical::query_pairs(request.query)?;
    let authorization = request.header("authorization")?.map(str::trim).filter(|value| !value.is_empty());
    let presigned = query.iter().any(|(name, _)| {
        ["X-Amz-Algorithm", "X-Amz-Credential", SIGNATURE_PARAMETER]
            .map(str::as_bytes)
            .contains(&name.as_slice())
    });
    let presented = match (authorization, presigned) {
        (Some(_), true) => return incomplete("Only one authentication mechanism is allowed."),
        (Some(authorization), false) => in_header(request, authorization)?,
        (None, true) => in_query(request, &query)?,
        (None, false) if query.iter().any(|(name, _)| name == b"AWSAccessKeyId") => {
            return incomplete("Signature version 4 is required.");
        }
        (None, false) => return Err(AuthFault::Missing),
    };
    covers(request, &presented)?;
    Ok(presented)
}

fn in_header(request: &SignedRequest<'_>, authorization: &str) -> Result<Presented, AuthFault> {
    if authorization.len() > MAX_AUTHORIZATION_BYTES {
        return incomplete("The Authorization header is too long.");
    }
    let Some(parts) = authorization.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with([' ', '\t']))
    else {
        return incomplete(format!("Authorization header requires the algorithm '{ALGORITHM}'."));
    };
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in parts.split(',') {
        let slot = match part.trim().split_once('=') {
            Some(("Credential", value)) => (&mut credential, value),
            Some(("SignedHeaders", value)) => (&mut signed_headers, value),
            Some(("Signature", value)) => (&mut signature, value),
            _ => return incomplete("Authorization header has a part that is not a known key=value pair."),
        };
        if slot.0.replace(slot.1).is_some() {
            return incomplete("Authorization header has the same part twice.");
        }
    }
    let missing =
        |what: &str| AuthFault::Incomplete(format!("Authorization header requires '{what}' parameter."));
    let credential = credential.ok_or_else(|| missing("Credential"))?;
    let signed_headers = signed_headers.ok_or_else(|| missing("SignedHeaders"))?;
    let signature = signature.ok_or_else(|| missing("Signature"))?;
    let time = match (request.header("x-amz-date")?, request.header("date")?) {
        (Some(text), _) => time::parse(text.trim()),
        (None, Some(text)) => time::parse_http(text.trim()),
        (None, None) => return incomplete("Authorization header requires 'X-Amz-Date' or 'Date' header."),
    };
    let Some(time) = time else { return incomplete("The date of the request cannot be read.") };
    let (access_key_id, scope) = read_credential(credential)?;
    Ok(Presented {
        access_key_id,
        scope,
        signed_headers: read_signed_headers(signed_headers)?,
        signature: read_signature(signature)?,
        expires_s: None,
        time,
        session_token: request.header("x-amz-security-token")?.map(Secret::new),
        unsigned_payload: declared_payload(request)? == Some(UNSIGNED_PAYLOAD),
    })
}

fn in_query(request: &SignedRequest<'_>, query: &[Pair]) -> Result<Presented, AuthFault> {
    let optional = |wanted: &str| {
        let mut found = query.iter().filter(|(name, _)| name == wanted.as_bytes());
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) => match String::from_utf8(value.clone()) {
                Ok(value) => Ok(Some(value)),
                Err(_) => incomplete(format!("Query parameter '{wanted}' is not text.")),
            },
            (Some(_), Some(_)) => incomplete(format!("Query parameter '{wanted}' may only be given once.")),
        }
    };
    let required = |wanted: &str| {
        optional(wanted)?
            .filter(|value| !value.is_empty())
            .ok_or_else(|| AuthFault::Incomplete(format!("Query string requires '{wanted}' parameter.")))
    };
    if required("X-Amz-Algorithm")? != ALGORITHM {
        return incomplete(format!("X-Amz-Algorithm requires the algorithm '{ALGORITHM}'."));
    }
    let (access_key_id, scope) = read_credential(&required("X-Amz-Credential")?)?;
    let Some(time) = time::parse(&required("X-Amz-Date")?) else {
        return incomplete("X-Amz-Date must be in the form 'yyyyMMddTHHmmssZ'.");
    };
    let expires = required("X-Amz-Expires")?;
    let digits = expires.bytes().all(|byte| byte.is_ascii_digit());
    let expires_s = expires.parse().ok().filter(|seconds| digits && (1..=MAX_PRESIGNED_S).contains(seconds));
    let Some(expires_s) = expires_s else {
        return incomplete(format!("X-Amz-Expires must be between 1 and {MAX_PRESIGNED_S} seconds."));
    };
    Ok(Presented {
        access_key_id,
        signed_headers: read_signed_headers(&required("X-Amz-SignedHeaders")?)?,
        signature: read_signature(&required(SIGNATURE_PARAMETER)?)?,
        expires_s: Some(expires_s),
        time,
        session_token: optional("X-Amz-Security-Token")?.map(Secret::new),
        // What S3 presigns never covers a body.
        unsigned_payload: declared_payload(request)? == Some(UNSIGNED_PAYLOAD) || scope.service == "s3",
        scope,
    })
}

/// The value of `x-amz-content-sha256`, when it is one that can be checked.
pub(crate) fn declared_payload<'a>(request: &SignedRequest<'a>) -> Result<Option<&'a str>, AuthFault> {
    match request.header("x-amz-content-sha256")?.map(str::trim) {
        Some(value) if value != UNSIGNED_PAYLOAD && !is_hex_digest(value) => {
            incomplete("The header 'x-amz-content-sha256' must be UNSIGNED-PAYLOAD or a SHA-256 digest.")
        }
        declared => Ok(declared),
    }
}

/// What decides the meaning of a request must be under its signature.
fn covers(request: &SignedRequest<'_>, presented: &Presented) -> Result<(), AuthFault> {
    let signed =
        |name: &str| presented.signed_headers.binary_search_by(|have| have.as_str().cmp(name)).is_ok();
    if !signed("host") {
        return incomplete("The header 'host' must be signed.");
    }
    if let Some(absent) =
        presented.signed_headers.iter().find(|name| request.header_values(name).next().is_none())
    {
        return incomplete(format!("The signed header '{absent}' is not in the request."));
    }
    // An unsigned one could be put in or changed on the way: X-Amz-Target names the operation.
    if let Some((name, _)) =
        request.headers.iter().find(|(name, _)| name.starts_with("x-amz-") && !signed(name))
    {
        return incomplete(format!("The header '{name}' must be signed."));
    }
    if presented.expires_s.is_none() && !signed("x-amz-date") && !signed("date") {
        return incomplete("The date of the request must be signed.");
    }
    Ok(())
}

/// `AKID/20150830/us-east-1/ec2/aws4_request`.
fn read_credential(text: &str) -> Result<(String, Scope), AuthFault> {
    let word = |text: &str, extra: &[u8]| {
        !text.is_empty()
            && text.len() <= 128
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
    };
    let mut parts = text.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(key), Some(date), Some(region), Some(service), Some(TERMINATOR), None)
            if word(key, b"_-.")
                && date.len() == 8
                && date.bytes().all(|byte| byte.is_ascii_digit())
                && word(region, b"-_")
                && word(service, b"-_.") =>
        {
            let scope = Scope { date: date.into(), region: region.into(), service: service.into() };
            Ok((key.into(), scope))
        }
        _ => incomplete(format!(
            "Credential must have the form '<access-key-id>/YYYYMMDD/<region>/<service>/{TERMINATOR}'."
        )),
    }
}

fn read_signed_headers(text: &str) -> Result<Vec<String>, AuthFault> {
    let names: Vec<String> = text.split(';').take(MAX_SIGNED_HEADERS + 1).map(str::to_owned).collect();
    if names.len() > MAX_SIGNED_HEADERS {
        return incomplete(format!("More than {MAX_SIGNED_HEADERS} headers are signed."));
    }
    let word = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
    };
    if !names.iter().all(word) || !names.is_sorted_by(|a, b| a < b) {
        return incomplete("SignedHeaders must be names in lower case, in alphabetical order, each once.");
    }
    Ok(names)
}

fn read_signature(text: &str) -> Result<String, AuthFault> {
    if is_hex_digest(text) {
        Ok(text.to_owned())
    } else {
        incomplete("Signature must be 64 hexadecimal digits in lower case.")
    }
}

fn is_hex_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn incomplete<T>(text: impl Into<String>) -> Result<T, AuthFault> {
    Err(AuthFault::Incomplete(text.into()))
}
