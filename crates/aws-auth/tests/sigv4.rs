//! Signatures against botocore's own (recorded by `record_vectors.py`), and rows for what must be refused.

#![allow(clippy::unwrap_used, clippy::panic)]

use aws_auth::{AuthFault, Credentials, Secret, SignedRequest, parse, presign, sign, verify};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    service: String,
    region: String,
    access_key_id: String,
    secret: String,
    token: Option<String>,
    now: i64,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Vector {
    fn request(&self) -> SignedRequest<'_> {
        SignedRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body: self.body.as_bytes(),
        }
    }

    /// What a server does: the access key id leads to the secret.
    fn check_at(&self, now: i64) -> Result<(), AuthFault> {
        let request = self.request();
        let presented = parse(&request)?;
        if presented.access_key_id != self.access_key_id {
            return Err(AuthFault::UnknownKey);
        }
        verify(&request, &presented, &Secret::new(self.secret.as_str()), now)
    }

    fn check(&self) -> Result<(), AuthFault> {
        self.check_at(self.now)
    }

    fn header(&mut self, name: &str) -> &mut String {
        self.headers.iter_mut().find(|(found, _)| found == name).map(|(_, value)| value).unwrap()
    }

    fn is_presigned(&self) -> bool {
        self.query.contains("X-Amz-Signature")
    }

    fn credentials(&self) -> Credentials {
        Credentials {
            access_key_id: self.access_key_id.clone(),
            secret: Secret::new(self.secret.as_str()),
            session_token: self.token.as_deref().map(Secret::new),
        }
    }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors/botocore.json")).unwrap()
}

fn vector(name: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.name == name).unwrap()
}

/// The text with each of its characters (whole ones) replaced, one at a time; blanks stay.
fn flips(text: &str) -> impl Iterator<Item = String> + '_ {
    text.char_indices().filter(|(_, c)| !c.is_whitespace()).map(|(at, c)| {
        let other = if c == 'x' { 'y' } else { 'x' };
        format!("{}{other}{}", &text[..at], &text[at + c.len_utf8()..])
    })
}

#[test]
fn what_botocore_signs_is_accepted() {
    let vectors = vectors();
    assert!(vectors.len() >= 50);
    for vector in vectors {
        assert_eq!(vector.check(), Ok(()), "{}", vector.name);
        let presented = parse(&vector.request()).unwrap();
        assert_eq!(presented.scope.service, vector.service);
        assert_eq!(presented.scope.region, vector.region);
        assert_eq!(presented.time, vector.now);
        assert_eq!(presented.session_token.as_ref().map(Secret::expose), vector.token.as_deref());
        assert_eq!(presented.expires_s.is_some(), vector.is_presigned());
    }
}

#[test]
fn no_character_can_be_changed() {
    let mut tried = 0;
    for vector in vectors() {
        let presented = parse(&vector.request()).unwrap();
        let uncovered_body = presented.unsigned_payload;
        let mut refused = |what: &str, changed: Vector| {
            tried += 1;
            assert!(changed.check().is_err(), "{} {what}: {changed:?}", vector.name);
        };
        for query in flips(&vector.query) {
            refused("query", Vector { query, ..vector.clone() });
        }
        // Where a segment is climbed out of, what it was called does not matter.
        for path in flips(&vector.path).filter(|_| !vector.path.contains("..")) {
            refused("path", Vector { path, ..vector.clone() });
        }
        for method in flips(&vector.method) {
            refused("method", Vector { method, ..vector.clone() });
        }
        for body in flips(&vector.body).chain([format!("{}x", vector.body)]).filter(|_| !uncovered_body) {
            refused("body", Vector { body, ..vector.clone() });
        }
        for (at, (name, value)) in vector.headers.iter().enumerate() {
            if name != "authorization" && !presented.signed_headers.contains(name) {
                continue;
            }
            for value in flips(value).chain([format!("{value}x")]) {
                let mut changed = vector.clone();
                changed.headers[at].1 = value;
                refused(name, changed);
            }
            let mut removed = vector.clone();
            removed.headers.remove(at);
            refused("removed header", removed);
        }
        let mut other = vector.clone();
        other.secret.push('x');
        assert_eq!(other.check(), Err(AuthFault::Mismatch));
    }
    assert!(tried > 10_000, "{tried}");
}

impl std::fmt::Debug for Vector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}?{} {:?} {}", self.method, self.path, self.query, self.headers, self.body)
    }
}

#[test]
fn the_clock_has_a_window() {
    let header = vector("describe");
    for (offset, good) in
        [(0, true), (900, true), (901, false), (-900, true), (-901, false), (i64::MAX - header.now, false)]
    {
        let found = header.check_at(header.now + offset);
        assert_eq!(found.is_ok(), good, "{offset}: {found:?}");
        assert!(good || matches!(found, Err(AuthFault::Expired(_))));
    }
    for (name, lives_s) in
        [("presigned-second", 1), ("presigned-describe", 3600), ("presigned-week", 604_800)]
    {
        let vector = vector(name);
        for (offset, good) in [(0, true), (lives_s, true), (lives_s + 1, false), (-900, true), (-901, false)]
        {
            let found = vector.check_at(vector.now + offset);
            assert_eq!(found.is_ok(), good, "{name} {offset}: {found:?}");
            assert!(good || matches!(found, Err(AuthFault::Expired(_))));
        }
    }
}

/// A change to a vector, for the tables below.
type Change = fn(&mut Vector);

#[test]
fn unreadable_signatures_say_why() {
    let header: &[(&str, Change)] = &[
        ("requires the algorithm", |v| *v.header("authorization") = "Bearer abc".into()),
        ("requires the algorithm", |v| *v.header("authorization") = "AWS4-HMAC-SHA256".into()),
        ("requires the algorithm", |v| {
            let value = v.header("authorization");
            *value = value.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1");
        }),
        ("'Credential'", |v| {
            *v.header("authorization") = "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=a".into()
        }),
        ("'SignedHeaders'", |v| {
            *v.header("authorization") = "AWS4-HMAC-SHA256 Credential=a, Signature=a".into()
        }),
        ("'Signature'", |v| {
            *v.header("authorization") = "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host".into()
        }),
        ("same part twice", |v| v.header("authorization").push_str(", Signature=a")),
        ("not a known", |v| v.header("authorization").push_str(", Extra=a")),
        ("not a known", |v| v.header("authorization").push(',')),
        ("too long", |v| v.header("authorization").push_str(&"a".repeat(9000))),
        ("only be given once", |v| v.headers.push(("authorization".into(), "AWS4-HMAC-SHA256 x".into()))),
        ("must have the form", |v| {
            let value = v.header("authorization");
            *value = value.replace("/aws4_request", "/aws5_request");
        }),
        ("must have the form", |v| {
            let value = v.header("authorization");
            *value = value.replace("/ec2/", "/ec2/x/");
        }),
        ("64 hexadecimal", |v| {
            v.header("authorization").pop();
        }),
        ("lower case", |v| {
            let value = v.header("authorization");
            *value = value.replace("content-type;host;x-amz-date", "Content-Type;host;x-amz-date");
        }),
        ("alphabetical", |v| {
            let value = v.header("authorization");
            *value = value.replace("content-type;host;x-amz-date", "host;content-type;x-amz-date");
        }),
        ("alphabetical", |v| {
            let value = v.header("authorization");
            *value = value.replace("content-type;host;x-amz-date", "host;host;x-amz-date");
        }),
        ("More than", |v| {
            let many: String = (10..90).map(|n| format!("a{n};")).collect();
            let value = v.header("authorization");
            *value = value.replace("content-type;", &many);
        }),
        ("'host' must be signed", |v| {
            let value = v.header("authorization");
            *value = value.replace("content-type;host;", "content-type;");
        }),
        ("'x-amz-date' must be signed", |v| {
            let value = v.header("authorization");
            *value = value.replace(";x-amz-date", "");
        }),
        ("date of the request must be signed", |v| {
            v.headers.retain(|(name, _)| name != "x-amz-date");
            v.headers.push(("date".into(), "20261125T203059Z".into()));
            let value = v.header("authorization");
            *value = value.replace(";x-amz-date", "");
        }),
        ("'x-amz-target' must be signed", |v| v.headers.push(("x-amz-target".into(), "a.b".into()))),
        ("'content-type' is not in the request", |v| v.headers.retain(|(name, _)| name != "content-type")),
        ("requires 'X-Amz-Date' or 'Date'", |v| v.headers.retain(|(name, _)| name != "x-amz-date")),
        ("date of the request cannot be read", |v| *v.header("x-amz-date") = "yesterday".into()),
        ("only be given once", |v| v.headers.push(("x-amz-date".into(), "20261125T203059Z".into()))),
        ("must be UNSIGNED-PAYLOAD or", |v| {
            v.headers.push(("x-amz-content-sha256".into(), "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into()));
        }),
        ("Only one authentication", |v| v.query = "X-Amz-Signature=abc".into()),
        ("incomplete percent-encoding", |v| v.query = "a=%".into()),
        ("too many parameters", |v| v.query = "a&".repeat(6_001)),
    ];
    let presigned: &[(&str, Change)] = &[
        ("'X-Amz-Algorithm'", |v| v.query = "X-Amz-Signature=abc".into()),
        ("requires the algorithm", |v| v.query = v.query.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512")),
        ("'X-Amz-Expires'", |v| v.query = v.query.replace("X-Amz-Expires=3600&", "")),
        ("between 1 and 604800", |v| v.query = v.query.replace("Expires=3600", "Expires=604801")),
        ("between 1 and 604800", |v| v.query = v.query.replace("Expires=3600", "Expires=0")),
        ("between 1 and 604800", |v| v.query = v.query.replace("Expires=3600", "Expires=-1")),
        ("between 1 and 604800", |v| v.query = v.query.replace("Expires=3600", "Expires=%2B60")),
        ("yyyyMMdd", |v| v.query = v.query.replace("X-Amz-Date=2026", "X-Amz-Date=x026")),
        ("only be given once", |v| v.query.push_str("&X-Amz-Date=20261125T203059Z")),
        ("'X-Amz-SignedHeaders'", |v| v.query = v.query.replace("SignedHeaders=host", "SignedHeaders=")),
        ("'host' must be signed", |v| v.query = v.query.replace("SignedHeaders=host", "SignedHeaders=hosts")),
        ("not text", |v| v.query = v.query.replace("Expires=3600", "Expires=%ff")),
        ("'x-amz-target' must be signed", |v| v.headers.push(("x-amz-target".into(), "a.b".into()))),
        ("version 4 is required", |v| v.query = "AWSAccessKeyId=a&Signature=b".into()),
    ];
    for (name, rows) in [("describe", header), ("presigned-describe", presigned)] {
        for (n, (expected, change)) in rows.iter().enumerate() {
            let mut vector = vector(name);
            change(&mut vector);
            match vector.check() {
                Err(AuthFault::Incomplete(text)) => assert!(text.contains(expected), "{name} {n}: {text}"),
                other => panic!("{name} {n} ({expected}): {other:?}"),
            }
        }
    }
}

#[test]
fn no_signature_is_missing() {
    let mut vector = vector("describe");
    vector.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(vector.check(), Err(AuthFault::Missing));
    vector.headers.push(("authorization".into(), "  ".into()));
    assert_eq!(vector.check(), Err(AuthFault::Missing));
}

#[test]
fn a_scope_of_another_day_does_not_fit() {
    let mut vector = vector("describe");
    vector.headers.retain(|(name, _)| name == "host");
    let signed = sign(&vector.request(), &vector.credentials(), "eu-central-1", "ec2", vector.now).unwrap();
    vector.headers.extend(signed);
    assert_eq!(vector.check(), Ok(()));
    *vector.header("x-amz-date") = "20261126T003059Z".into();
    assert_eq!(vector.check_at(vector.now + 4 * 3600), Err(AuthFault::Mismatch));
}

#[test]
fn an_unsigned_payload_is_told() {
    let vector = vector("post-unsigned-payload");
    assert!(parse(&vector.request()).unwrap().unsigned_payload);
    let other = Vector { body: "other".into(), ..vector };
    assert_eq!(other.check(), Ok(()));
    assert!(!parse(&self::vector("post-digest").request()).unwrap().unsigned_payload);
}

#[test]
fn we_sign_as_botocore_does() {
    let mut signed = 0;
    for vector in vectors() {
        let mut bare = vector.clone();
        if vector.is_presigned() {
            let at = vector.query.find("X-Amz-Algorithm").unwrap();
            bare.query = vector.query[..at].trim_end_matches('&').to_owned();
            let expires = parse(&vector.request()).unwrap().expires_s.unwrap();
            let query =
                presign(&bare.request(), &bare.credentials(), &bare.region, &bare.service, expires, bare.now)
                    .unwrap();
            assert_eq!(query, vector.query, "{}", vector.name);
        } else if vector.name != "get-date-header" {
            let presented = parse(&vector.request()).unwrap();
            // What the HTTP client added after signing is added after signing here too.
            bare.headers.retain(|(name, _)| {
                presented.signed_headers.contains(name)
                    && name != "x-amz-date"
                    && name != "x-amz-security-token"
            });
            let added =
                sign(&bare.request(), &bare.credentials(), &bare.region, &bare.service, bare.now).unwrap();
            assert_eq!(added.last().unwrap().1, *vector.clone().header("authorization"), "{}", vector.name);
        }
        signed += 1;
    }
    assert!(signed >= 50);
}

#[test]
fn signing_refuses_what_it_cannot_do() {
    let vector = vector("describe");
    let host = [("host".to_owned(), "h".to_owned())];
    let request = |headers| SignedRequest { method: "GET", path: "/", query: "", headers, body: b"" };
    let credentials = vector.credentials();
    assert!(sign(&request(&[]), &credentials, "r", "s", vector.now).is_err());
    assert!(sign(&vector.request(), &credentials, "r", "s", vector.now).is_err(), "signed already");
    assert!(sign(&request(&host), &credentials, "r", "s", i64::MAX).is_err());
    assert!(presign(&request(&host), &credentials, "r", "s", 0, vector.now).is_err());
    assert!(presign(&request(&host), &credentials, "r", "s", 604_801, vector.now).is_err());
    assert!(presign(&request(&[]), &credentials, "r", "s", 60, vector.now).is_err());
}

#[test]
fn nothing_secret_is_printed() {
    let vector = vector("describe-token");
    let presented = parse(&vector.request()).unwrap();
    let text = format!("{presented:?} {:?} {:?}", vector.credentials(), vector.request());
    for secret in [&vector.secret, vector.token.as_ref().unwrap(), &presented.signature] {
        assert!(!text.contains(secret.as_str()), "{text}");
    }
}

prop_compose! {
    fn header()(name in "[a-w][a-z0-9-]{0,8}", value in "[ -~]{0,20}") -> (String, String) { (name, value) }
}

proptest! {
    #[test]
    fn what_we_sign_we_accept(
        path in "/[ -\"$->@-~]{0,20}",
        pairs in proptest::collection::vec(("[a-z.0-9]{1,6}", "[a-zA-Z+/.-]{0,8}|(%[0-9A-F]{2}){0,3}"), 0..8),
        extra in proptest::collection::vec(header(), 0..5),
        body in proptest::collection::vec(any::<u8>(), 0..100),
        token in proptest::option::of("[!-~]{1,40}"),
        now in 0..4_000_000_000i64,
    ) {
        let mut headers = vec![("host".to_owned(), "h:1".to_owned())];
        headers.extend(extra.into_iter().filter(|(name, _)| name != "authorization" && name != "date" && name != "host"));
        let query = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let credentials = Credentials {
            access_key_id: "AKID".into(),
            secret: Secret::new("secret"),
            session_token: token.as_deref().map(Secret::new),
        };
        let request = SignedRequest { method: "POST", path: &path, query: &query, headers: &headers, body: &body };
        let mut signed = headers.clone();
        signed.extend(sign(&request, &credentials, "r-1", "ec2", now).unwrap());
        let whole = SignedRequest { headers: &signed, ..request };
        prop_assert_eq!(verify(&whole, &parse(&whole).unwrap(), &credentials.secret, now + 900), Ok(()));

        let query = presign(&request, &credentials, "r-1", "ec2", 60, now).unwrap();
        let whole = SignedRequest { query: &query, ..request };
        prop_assert_eq!(verify(&whole, &parse(&whole).unwrap(), &credentials.secret, now + 60), Ok(()));
    }

    #[test]
    fn no_input_panics(
        authorization in "(AWS4-HMAC-SHA256 )?((Credential|SignedHeaders|Signature|é)=[a-z0-9/;é]{0,20},? ?){0,4}",
        query in "((X-Amz-[A-Za-z]{1,10}|é)=?[%0-9a-z/]{0,10}&?){0,6}",
        path in ".{0,20}",
        date in ".{0,16}",
    ) {
        let headers = [
            ("host".to_owned(), "h".to_owned()),
            ("authorization".to_owned(), authorization),
            ("x-amz-date".to_owned(), date),
        ];
        let request = SignedRequest { method: "GET", path: &path, query: &query, headers: &headers, body: b"" };
        if let Ok(presented) = parse(&request) {
            let _ = verify(&request, &presented, &Secret::decoy(), presented.time);
        }
    }
}
