//! What is signed, what a caller presents, and what can be wrong with it.

use std::fmt;

use zeroize::Zeroizing;

/// Most seconds a request's time may be away from ours (spec: aws-client-vpn §2.0.1).
pub const MAX_SKEW_S: i64 = 15 * 60;
/// Most seconds a presigned request may live.
pub const MAX_PRESIGNED_S: u32 = 7 * 24 * 60 * 60;
/// Most signed headers.
pub const MAX_SIGNED_HEADERS: usize = 64;
/// Most bytes of an `Authorization` header.
pub const MAX_AUTHORIZATION_BYTES: usize = 8 * 1024;
/// Most parameters of a query string.
pub const MAX_QUERY_PARAMETERS: usize = 6_000;

/// A request as it was received (or is going to be sent).
#[derive(Copy, Clone)]
pub struct SignedRequest<'a> {
    /// `GET`, `POST`…
    pub method: &'a str,
    /// Path as on the request line, still percent-encoded.
    pub path: &'a str,
    /// Query string without the question mark, still percent-encoded.
    pub query: &'a str,
    /// Headers in order, names in lower case.
    pub headers: &'a [(String, String)],
    /// Body.
    pub body: &'a [u8],
}

impl<'a> SignedRequest<'a> {
    /// Values of one header.
    pub(crate) fn header_values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The one value of a header.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&'a str>, AuthFault> {
        let mut values = self.header_values(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(AuthFault::Incomplete(format!("The header '{name}' may only be given once.")));
        }
        Ok(first)
    }
}

impl fmt::Debug for SignedRequest<'_> {
    /// Headers, query and body may carry signatures, tokens and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A secret access key.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the key over; it is wiped at the end.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// A key that fits nothing, for spending the same time on an unknown access key id.
    pub fn decoy() -> Self {
        Self::new("0".repeat(40))
    }

    /// The key itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a client signs with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// The secret of it.
    pub secret: Secret,
    /// Token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// What a signature is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub date: String,
    /// Region.
    pub region: String,
    /// Signing name of the service, such as `ec2`.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.date, self.region, self.service, super::TERMINATOR)
    }
}

/// The signature of a request and what it says about itself; nothing of it is proven before
/// [`verify`](super::verify).
#[derive(Clone)]
pub struct Presented {
    /// Whose key.
    pub access_key_id: String,
    /// For what.
    pub scope: Scope,
    /// Names of the signed headers, rising.
    pub signed_headers: Vec<String>,
    /// 64 lower-case hexadecimal digits.
    pub signature: String,
    /// Seconds it lives, when presigned.
    pub expires_s: Option<u32>,
    /// When it was signed, in seconds since the Unix epoch.
    pub time: i64,
    /// Token of temporary credentials.
    pub session_token: Option<Secret>,
    /// The signer left the body out. Anybody between can change it, so take it over TLS only.
    pub unsigned_payload: bool,
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("access_key_id", &self.access_key_id)
            .field("scope", &self.scope)
            .field("signed_headers", &self.signed_headers)
            .field("expires_s", &self.expires_s)
            .field("time", &self.time)
            .field("unsigned_payload", &self.unsigned_payload)
            .finish_non_exhaustive()
    }
}

/// Why a request is not authentic. The texts may go to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthFault {
    /// It carries no signature.
    #[error("Request is missing Authentication Token")]
    Missing,
    /// It carries a signature that cannot be read.
    #[error("{0}")]
    Incomplete(String),
    /// It is too old, or from the future.
    #[error("{0}")]
    Expired(String),
    /// The signature does not fit.
    #[error("The request signature we calculated does not match the signature you provided.")]
    Mismatch,
    /// Nobody has this access key id, or its session token is not the one that goes with it. Never made here: the
    /// caller's look-up says so.
    #[error("The access key id is not known.")]
    UnknownKey,
    /// The signature fits, and the temporary credentials are past their end. Never made here either.
    #[error("The security token included in the request is expired")]
    TokenExpired,
}
