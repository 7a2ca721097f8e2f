//! Which permission an S3 call needs, as far as method, path and query tell (path style only). The names are those of the
//! service authorization reference.

use super::rest;
use crate::frame::Call;

/// What the query of a bucket's call is about: name, and the permissions to read, to write and to delete it.
const OF_BUCKETS: [(&str, [Option<&str>; 3]); 20] = [
    ("accelerate", both("GetAccelerateConfiguration", "PutAccelerateConfiguration")),
    ("acl", both("GetBucketAcl", "PutBucketAcl")),
    ("cors", all("GetBucketCORS", "PutBucketCORS", "PutBucketCORS")),
    (
        "encryption",
        all("GetEncryptionConfiguration", "PutEncryptionConfiguration", "PutEncryptionConfiguration"),
    ),
    ("lifecycle", all("GetLifecycleConfiguration", "PutLifecycleConfiguration", "PutLifecycleConfiguration")),
    ("location", [Some("GetBucketLocation"), None, None]),
    ("logging", both("GetBucketLogging", "PutBucketLogging")),
    ("notification", both("GetBucketNotification", "PutBucketNotification")),
    ("object-lock", both("GetBucketObjectLockConfiguration", "PutBucketObjectLockConfiguration")),
    (
        "ownershipControls",
        all("GetBucketOwnershipControls", "PutBucketOwnershipControls", "PutBucketOwnershipControls"),
    ),
    ("policy", all("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy")),
    ("policyStatus", [Some("GetBucketPolicyStatus"), None, None]),
    (
        "publicAccessBlock",
        all("GetBucketPublicAccessBlock", "PutBucketPublicAccessBlock", "PutBucketPublicAccessBlock"),
    ),
    (
        "replication",
        all("GetReplicationConfiguration", "PutReplicationConfiguration", "PutReplicationConfiguration"),
    ),
    ("requestPayment", both("GetBucketRequestPayment", "PutBucketRequestPayment")),
    ("tagging", all("GetBucketTagging", "PutBucketTagging", "PutBucketTagging")),
    ("uploads", [Some("ListBucketMultipartUploads"), None, None]),
    ("versioning", both("GetBucketVersioning", "PutBucketVersioning")),
    ("versions", [Some("ListBucketVersions"), None, None]),
    ("website", all("GetBucketWebsite", "PutBucketWebsite", "DeleteBucketWebsite")),
];
/// The same of an object's call.
const OF_OBJECTS: [(&str, [Option<&str>; 3]); 4] = [
    ("acl", both("GetObjectAcl", "PutObjectAcl")),
    ("legal-hold", both("GetObjectLegalHold", "PutObjectLegalHold")),
    ("retention", both("GetObjectRetention", "PutObjectRetention")),
    ("tagging", all("GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging")),
];
/// Parameters that choose among results, and nothing else.
const HARMLESS: [&str; 13] = [
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-keys",
    "prefix",
    "start-after",
    "version-id-marker",
    "x-id",
];

const fn both(read: &'static str, write: &'static str) -> [Option<&'static str>; 3] {
    [Some(read), Some(write), None]
}

const fn all(read: &'static str, write: &'static str, delete: &'static str) -> [Option<&'static str>; 3] {
    [Some(read), Some(write), Some(delete)]
}

/// The permission; `None` where it takes more than one, or none that is plain.
pub(super) fn action(call: &Call) -> Option<&'static str> {
    if call.headers.iter().any(|(name, _)| name.starts_with("x-amz-copy-source")) {
        return None;
    }
    let mut about = Vec::new();
    for pair in call.query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !HARMLESS.contains(&name) && !name.starts_with("X-Amz-") {
            about.push(name);
        }
    }
    let path = call.path.strip_prefix('/').unwrap_or(&call.path);
    let whole = path.strip_suffix('/').unwrap_or(path);
    let way = match call.method.as_str() {
        "GET" | "HEAD" => 0,
        "PUT" => 1,
        "DELETE" => 2,
        _ => return None,
    };
    let of = |table: &'static [(&str, [Option<&'static str>; 3])]| match about.as_slice() {
        [one] => table.iter().find(|(name, _)| name == one)?.1.get(way).copied().flatten(),
        _ => None,
    };
    if whole.is_empty() {
        return (call.method == "GET" && about.is_empty()).then_some("ListAllMyBuckets");
    }
    if !rest::plain(&format!("/{whole}")) {
        return None;
    }
    match (whole.contains('/'), about.is_empty()) {
        (false, true) => ["ListBucket", "CreateBucket", "DeleteBucket"].get(way).copied(),
        (false, false) => of(&OF_BUCKETS),
        (true, true) => ["GetObject", "PutObject", "DeleteObject"].get(way).copied(),
        (true, false) => of(&OF_OBJECTS),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn permissions_by_method_path_and_query() {
        let rows: &[(&str, &str, &str, Option<&str>)] = &[
            ("GET", "/", "", Some("ListAllMyBuckets")),
            ("GET", "/b", "list-type=2&prefix=x", Some("ListBucket")),
            ("HEAD", "/b", "", Some("ListBucket")),
            ("PUT", "/b", "", Some("CreateBucket")),
            ("PUT", "/b/", "", Some("CreateBucket")),
            ("DELETE", "/b", "", Some("DeleteBucket")),
            ("DELETE", "/b", "policy", Some("DeleteBucketPolicy")),
            ("GET", "/b", "versioning=", Some("GetBucketVersioning")),
            ("PUT", "/b", "publicAccessBlock", Some("PutBucketPublicAccessBlock")),
            ("DELETE", "/b", "location", None),
            ("GET", "/b", "unheard-of", None),
            ("GET", "/b", "policy&acl", None),
            ("GET", "/b/k/l", "", Some("GetObject")),
            ("PUT", "/b/k", "x-id=PutObject", Some("PutObject")),
            ("PUT", "/b/k", "partNumber=1&uploadId=x", None),
            ("PUT", "/b/k", "tagging", Some("PutObjectTagging")),
            ("DELETE", "/b/k", "", Some("DeleteObject")),
            ("DELETE", "/b/k", "versionId=1", None),
            ("DELETE", "/b/..", "", None),
            ("DELETE", "/b%2Fk", "", None),
            ("POST", "/b", "delete", None),
        ];
        for (method, path, query, expected) in rows {
            let mut call = Call {
                method: (*method).into(),
                path: (*path).into(),
                query: (*query).into(),
                headers: Vec::new(),
                body: Default::default(),
                peer: IpAddr::from([127, 0, 0, 1]),
                secure: false,
            };
            assert_eq!(action(&call), *expected, "{method} {path}?{query}");
            call.headers.push(("x-amz-copy-source".into(), "/other/k".into()));
            assert_eq!(action(&call), None);
        }
    }
}
