//! Checking signatures, by the algorithms rustls checks with on AWS-LC: RSA from 2048 bits (PKCS #1 and PSS),
//! ECDSA on P-256, P-384 and P-521, Ed25519, with SHA-256 and up. SHA-1 and MD5 are not among them.

use std::sync::LazyLock;

use rustls::crypto::WebPkiSupportedAlgorithms;

use crate::der::Signed;

static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
    LazyLock::new(|| rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms);

/// Why a signature does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No known algorithm signs so with such a key.
    Unsupported,
    /// It is not this key's signature of this message.
    Wrong,
}

/// What rustls may be told to accept.
pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    *ALGORITHMS
}

/// Whether any key could check a signature by that algorithm (the inside of its AlgorithmIdentifier).
pub(crate) fn is_supported(signature_algorithm: &[u8]) -> bool {
    ALGORITHMS.all.iter().any(|known| known.signature_alg_id().as_ref() == signature_algorithm)
}

/// Checks `signed` by the public key `(algorithm, key)`.
pub(crate) fn check(signed: &Signed<'_>, (key_algorithm, key): (&[u8], &[u8])) -> Result<(), Fault> {
    let known = ALGORITHMS.all.iter().find(|known| {
        known.signature_alg_id().as_ref() == signed.algorithm
            && known.public_key_alg_id().as_ref() == key_algorithm
    });
    known
        .ok_or(Fault::Unsupported)?
        .verify_signature(key, signed.message, signed.signature)
        .map_err(|_| Fault::Wrong)
}
