//! AWS's published signing test suite (recorded by `record_published.py`): every case, in headers and in the query string.

#![allow(clippy::unwrap_used, clippy::panic)]

use aws_auth::{AuthFault, Credentials, Secret, SignedRequest, parse, presign, sign, verify};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    region: String,
    service: String,
    now: i64,
    access_key_id: String,
    secret: String,
    token: Option<String>,
    header: Message,
    query: Message,
}

#[derive(Deserialize)]
struct Message {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Message {
    fn request(&self) -> SignedRequest<'_> {
        SignedRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body: self.body.as_bytes(),
        }
    }
}

/// Cases of the suite's own number, so that none gets lost.
const CASES: usize = 38;

/// Cases this library knowingly refuses, and why.
const REFUSED: [(&str, &str); 7] = [
    ("get-relative-relative-unnormalized", "only S3 leaves paths as they are, and this is not S3"),
    ("get-relative-unnormalized", "the same"),
    ("get-slash-dot-slash-unnormalized", "the same"),
    ("get-slash-pointless-dot-unnormalized", "the same"),
    ("get-slash-unnormalized", "the same"),
    ("get-slashes-unnormalized", "the same"),
    (
        "post-sts-header-after",
        "a token nobody signed could be anybody's; services that take one are not served",
    ),
];

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("vectors/published.json")).unwrap()
}

fn check(case: &Case, message: &Message) -> Result<(), AuthFault> {
    let request = message.request();
    let presented = parse(&request)?;
    assert_eq!(presented.access_key_id, case.access_key_id);
    assert_eq!(
        (presented.scope.region.as_str(), presented.scope.service.as_str()),
        (&*case.region, &*case.service)
    );
    verify(&request, &presented, &Secret::new(case.secret.as_str()), case.now)
}

#[test]
fn every_published_signature_is_accepted() {
    let cases = cases();
    assert_eq!(cases.len(), CASES);
    for case in &cases {
        let refused = REFUSED.iter().any(|(name, _)| *name == case.name);
        for (how, message) in [("header", &case.header), ("query", &case.query)] {
            let found = check(case, message);
            assert_eq!(found.is_err(), refused, "{} {how}: {found:?}", case.name);
        }
    }
}

#[test]
fn a_published_signature_with_another_secret_is_refused() {
    for mut case in cases() {
        case.secret.push('x');
        assert!(check(&case, &case.header).is_err() && check(&case, &case.query).is_err(), "{}", case.name);
    }
}

/// What we sign ourselves carries the published signature.
#[test]
fn we_sign_as_published() {
    let mut compared = 0;
    let same_headers = |case: &&Case| {
        // We leave the length unsigned: an HTTP client may set another.
        !case.header.headers.iter().any(|(name, _)| name == "content-length")
    };
    for case in cases().iter().filter(|case| check(case, &case.header).is_ok()).filter(same_headers) {
        let credentials = Credentials {
            access_key_id: case.access_key_id.clone(),
            secret: Secret::new(case.secret.as_str()),
            session_token: case.token.as_deref().map(Secret::new),
        };
        let signing = ["authorization", "x-amz-date", "x-amz-security-token"];
        let bare = |message: &Message| -> Vec<(String, String)> {
            message.headers.iter().filter(|(name, _)| !signing.contains(&name.as_str())).cloned().collect()
        };
        let headers = bare(&case.header);
        let request = SignedRequest { headers: &headers, ..case.header.request() };
        let added = sign(&request, &credentials, &case.region, &case.service, case.now).unwrap();
        let theirs = case.header.headers.iter().find(|(name, _)| name == "authorization").unwrap();
        let ours = added.iter().find(|(name, _)| name == "authorization").unwrap();
        assert_eq!(ours.1, theirs.1, "{}", case.name);

        let query = without_signing(&case.query.query);
        let request = SignedRequest { query: &query, headers: &case.query.headers, ..case.query.request() };
        let signed = presign(&request, &credentials, &case.region, &case.service, 3_600, case.now).unwrap();
        assert_eq!(signature(&signed), signature(&case.query.query), "{}", case.name);
        compared += 1;
    }
    assert_eq!(compared, CASES - REFUSED.len() - 2);
}

fn without_signing(query: &str) -> String {
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect();
    kept.join("&")
}

fn signature(query: &str) -> &str {
    query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Signature=")).unwrap()
}
