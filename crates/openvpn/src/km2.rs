//! Key-method-2 messages.

/// Why a key-method-2 message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Km2Error {
    /// The lead word or the method is not one of ours.
    #[error("unknown key method")]
    Method,
    /// A length does not fit the message.
    #[error("length out of bounds")]
    Length,
    /// A string is not UTF-8, or has no or too many NULs.
    #[error("malformed string")]
    Text,
}
