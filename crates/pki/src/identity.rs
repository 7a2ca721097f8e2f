//! What comes out of judging a client's certificate: who it is, or why it may not in.

/// A client whose certificate was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The subject's common name: not empty, at most 64 characters, no control characters.
    pub common_name: String,
    /// The serial number, big endian, without leading zeros.
    pub serial: Vec<u8>,
    /// When the certificate expires, seconds since the Unix epoch.
    pub not_after: i64,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// Why a client's certificate is refused. For logs; the peer learns a TLS alert only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No certificate was shown.
    #[error("no certificate was presented")]
    NoCertificate,
    /// More certificates than are looked at, or longer ones.
    #[error("too many or too large certificates were presented")]
    TooLarge,
    /// One of them cannot be read.
    #[error("a presented certificate is malformed")]
    Malformed,
    /// A certificate of the chain demands something that is not understood.
    #[error("critical extension {0} is not understood")]
    UnknownCriticalExtension(String),
    /// A certificate of the chain has expired.
    #[error("the certificate or one of its issuers has expired")]
    Expired,
    /// A certificate of the chain is not valid yet.
    #[error("the certificate or one of its issuers is not valid yet")]
    NotYetValid,
    /// The subject has no common name.
    #[error("the certificate has no common name")]
    NoCommonName,
    /// The common name is empty, too long, or has characters no name has.
    #[error("the certificate's common name is not usable")]
    BadCommonName,
    /// The extended key usage is absent or does not name client authentication.
    #[error("the certificate is not for client authentication")]
    NotForClients,
    /// It is an authority's certificate, not a client's.
    #[error("an authority's own certificate cannot authenticate a client")]
    Authority,
    /// The chain does not lead to a trust anchor.
    #[error("the certificate's issuer is not trusted")]
    UnknownIssuer,
    /// A signature in the chain is by another key than the issuer's.
    #[error("a signature in the chain is wrong")]
    BadSignature,
    /// A signature in the chain is by an algorithm or key size that is too weak or unknown.
    #[error("a signature in the chain uses an unsupported algorithm")]
    UnsupportedAlgorithm,
    /// The chain has an issuer that may not issue.
    #[error("an issuer in the chain is not a certificate authority for clients")]
    NotAnAuthority,
    /// The chain is longer than an issuer or we allow.
    #[error("the chain is too long")]
    PathTooLong,
    /// A name is outside what an issuer may name, or the issuer's rule is not understood.
    #[error("the certificate's names are outside an issuer's name constraints")]
    NameConstraint,
    /// The search for a chain took too many signature checks.
    #[error("the chain takes too much work to check")]
    TooMuchWork,
    /// The revocation list has expired: nobody is let in.
    #[error("the certificate revocation list has expired")]
    CrlExpired,
    /// The revocation list is of the future: nobody is let in.
    #[error("the certificate revocation list is not valid yet")]
    CrlNotYetValid,
    /// The revocation list names this chain's issuer, which did not sign it or may not.
    #[error("the certificate revocation list is not signed by the certificate's issuer")]
    CrlUntrusted,
    /// The certificate, or an issuer of it, is revoked.
    #[error("the certificate is revoked")]
    Revoked,
}
