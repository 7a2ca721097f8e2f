//! AWS Signature Version 4, both sides.

mod canonical;
mod parse;
mod request;
mod sign;
mod time;
mod verify;

pub use parse::parse;
pub use request::{
    AuthFault, Credentials, MAX_AUTHORIZATION_BYTES, MAX_PRESIGNED_S, MAX_QUERY_PARAMETERS,
    MAX_SIGNED_HEADERS, MAX_SKEW_S, Presented, Scope, Secret, SignedRequest,
};
pub use sign::{presign, sign};
pub use verify::verify;

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(crate) const TERMINATOR: &str = "aws4_request";
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
