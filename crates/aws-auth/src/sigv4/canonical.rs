//! The canonical form of a request, and the signature over it.

use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

use super::request::{AuthFault, MAX_QUERY_PARAMETERS, Scope, Secret, SignedRequest};
use super::{ALGORITHM, TERMINATOR};

/// The query parameter that carries the signature, and is not signed itself.
pub(crate) const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// A decoded query parameter.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// The whole canonical request. `payload` is its last line.
pub(crate) fn request(
    request: &SignedRequest<'_>,
    service: &str,
    query: &[Pair],
    signed_headers: &[String],
    payload: &str,
) -> String {
    let mut out = String::new();
    out.push_str(request.method);
    out.push('\n');
    path(request.path, service, &mut out);
    out.push('\n');
    canonical_query(query, &mut out);
    out.push('\n');
    for name in signed_headers {
        out.push_str(name);
        out.push(':');
        for (n, value) in request.header_values(name).enumerate() {
            if n > 0 {
                out.push(',');
            }
            trimmed(value, &mut out);
        }
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&signed_headers.join(";"));
    out.push('\n');
    out.push_str(payload);
    out
}

/// The signature of a canonical request, in hexadecimal.
pub(crate) fn signature(canonical: &str, secret: &Secret, scope: &Scope, timestamp: &str) -> String {
    let text = format!("{ALGORITHM}\n{timestamp}\n{scope}\n{}", hex_digest(canonical.as_bytes()));
    let first = Zeroizing::new(format!("AWS4{}", secret.expose()).into_bytes());
    let mut key = mac(&first, scope.date.as_bytes());
    for step in [scope.region.as_str(), scope.service.as_str(), TERMINATOR] {
        key = mac(key.as_slice(), step.as_bytes());
    }
    hex(mac(key.as_slice(), text.as_bytes()).as_slice())
}

fn mac(key: &[u8], message: &[u8]) -> Zeroizing<Vec<u8>> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    Zeroizing::new(tag.as_ref().to_vec())
}

/// SHA-256 in hexadecimal.
pub(crate) fn hex_digest(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| hex_digit(digit, false)).collect()
}

fn hex_digit(digit: u8, upper: bool) -> char {
    let digit = char::from_digit(u32::from(digit), 16).expect("four bits are a digit");
    if upper { digit.to_ascii_uppercase() } else { digit }
}

/// Every service but S3: dot segments and repeated slashes go, and what is encoded is encoded once more.
fn path(raw: &str, service: &str, out: &mut String) {
    if service == "s3" {
        out.push_str(if raw.is_empty() { "/" } else { raw });
        return;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    for segment in &segments {
        out.push('/');
        encode(segment.as_bytes(), out);
    }
    if segments.is_empty() || raw.ends_with('/') {
        out.push('/');
    }
}

/// Decodes a query string. A plus is a space, as it is when the parameters are read.
pub(crate) fn query_pairs(raw: &str) -> Result<Vec<Pair>, AuthFault> {
    let mut out = Vec::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        if out.len() >= MAX_QUERY_PARAMETERS {
            return Err(AuthFault::Incomplete("The query string has too many parameters.".into()));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let malformed =
            || AuthFault::Incomplete("The query string has an incomplete percent-encoding.".into());
        out.push((decode(name).ok_or_else(malformed)?, decode(value).ok_or_else(malformed)?));
    }
    Ok(out)
}

/// Encodes every name and value the same way, and sorts.
fn canonical_query(pairs: &[Pair], out: &mut String) {
    let mut encoded: Vec<(String, String)> = pairs
        .iter()
        .filter(|(name, _)| name != SIGNATURE_PARAMETER.as_bytes())
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    encoded.sort();
    for (n, (name, value)) in encoded.iter().enumerate() {
        if n > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
}

/// Percent-encodes everything but unreserved characters.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    encode(bytes, &mut out);
    out
}

fn encode(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(hex_digit(byte >> 4, true));
            out.push(hex_digit(byte & 15, true));
        }
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(digit(bytes.next())? << 4 | digit(bytes.next())?).ok()?,
            byte => byte,
        });
    }
    Some(out)
}

/// A header value without outer blanks and with single inner ones.
fn trimmed(value: &str, out: &mut String) {
    for (n, word) in value.split([' ', '\t']).filter(|word| !word.is_empty()).enumerate() {
        if n > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (raw, expected) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/a//b/", "/a/b/"),
            ("/./a/../b", "/b"),
            ("/../..", "/"),
            ("/a%20b", "/a%2520b"),
            ("/~a-_.", "/~a-_."),
            ("/a:b@c", "/a%3Ab%40c"),
        ] {
            let mut out = String::new();
            path(raw, "ec2", &mut out);
            assert_eq!(out, expected, "{raw}");
        }
        let mut out = String::new();
        path("/a//../%20", "s3", &mut out);
        assert_eq!(out, "/a//../%20");
    }

    #[test]
    fn queries() {
        for (raw, expected) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("a", "a="),
            ("a=b=c", "a=b%3Dc"),
            ("a=x+y%2bz%7e", "a=x%20y%2Bz~"),
            ("A=1&a=1&B=1", "A=1&B=1&a=1"),
            ("a-b=1&a=2&a.b=3", "a=2&a-b=1&a.b=3"),
            ("X-Amz-Signature=1&b=1", "b=1"),
            ("a=%ff", "a=%FF"),
        ] {
            let mut out = String::new();
            canonical_query(&query_pairs(raw).unwrap(), &mut out);
            assert_eq!(out, expected, "{raw}");
        }
        for bad in ["a=%", "a=%1", "%zz=1"] {
            assert!(query_pairs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn header_values() {
        for (raw, expected) in [("", ""), ("  a  b\t c ", "a b c"), ("\"a   b\"", "\"a b\"")] {
            let mut out = String::new();
            trimmed(raw, &mut out);
            assert_eq!(out, expected);
        }
    }
}
