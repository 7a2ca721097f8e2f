//! Certificates: reading them, judging them, issuing them.
//!
//! * [`certificates_from_pem`], [`key_from_pem`], [`decrypted_key_pem`]: out of PEM text;
//! * [`facts`], [`importable`], [`has_domain`], [`key_matches`]: what an operator's certificate says and
//!   whether it may be imported;
//! * [`verify_client`]: who a client is, by its chain, the endpoint's trust anchors and its revocation list;
//!   [`ClientVerifier`] is the same behind rustls;
//! * [`issue`]: making a small certificate authority (for the CLI, tests and the demonstration).
//!
//! Everything is a function of its arguments; `now` comes in. The one exception is [`issue`], which draws
//! private keys.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod certificate;
mod chain;
mod constraints;
mod crl;
mod der;
mod facts;
mod identity;
mod import;
pub mod issue;
mod names;
mod pem;
mod signature;
mod tls;

pub use certificate::Certificate;
pub use chain::{MAX_PRESENTED_CERTIFICATES, TrustAnchors, verify_client};
pub use crl::Crl;
pub use facts::{Facts, facts};
pub use identity::{Identity, Refusal};
pub use import::{has_domain, importable, key_matches};
pub use pem::{certificates_from_pem, decrypted_key_pem, key_from_pem};
pub use tls::ClientVerifier;

/// What is wrong with a certificate, key or list that somebody handed in. The text may be shown to whoever did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// The text is not PEM, or the PEM is broken.
    #[error("not valid PEM: {0}")]
    Pem(String),
    /// The PEM has no section of the wanted kind.
    #[error("the PEM text holds no {0}")]
    Missing(&'static str),
    /// The PEM has more sections of a kind than are taken.
    #[error("the PEM text holds more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many are taken.
        limit: usize,
    },
    /// The private key is encrypted.
    #[error("the private key is encrypted; give it without a passphrase")]
    EncryptedKey,
    /// The private key does not open with this passphrase.
    #[error("the private key cannot be decrypted")]
    Passphrase,
    /// The private key is of no known form.
    #[error("the private key is not a PKCS #8, PKCS #1 or SEC 1 key")]
    UnknownKey,
    /// The bytes are no certificate.
    #[error("not a valid X.509 certificate: {0}")]
    Certificate(String),
    /// The bytes are no revocation list, or one of a kind that cannot be honoured.
    #[error("not a usable certificate revocation list: {0}")]
    Crl(String),
    /// A certificate cannot be issued as asked.
    #[error("cannot issue: {0}")]
    Issue(String),
}
