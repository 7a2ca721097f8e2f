//! PUSH_REPLY: options, splitting, reassembly.

/// Why options cannot be pushed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Empty, longer than 255 characters, with a comma or a character that is not printable ASCII.
    #[error("option {0:?} cannot be pushed")]
    Option(String),
}
