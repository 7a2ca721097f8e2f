//! What is answered when a call is not done: a code, a status, a message for the caller.

use std::borrow::Cow;

/// An answer that says no. The message is for the caller: it never holds a source error's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// AWS's code.
    pub code: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// For the caller.
    pub message: String,
}

impl ApiError {
    /// The caller's mistake: status 400.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), status: 400, message: message.into() }
    }

    /// The same with another HTTP status.
    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// `InvalidParameterValue` with AWS's usual sentence.
    pub(crate) fn value(parameter: &str, value: &str, expected: &str) -> Self {
        let message = format!("Value ({}) for parameter {parameter} is invalid. {expected}", short(value));
        Self::new("InvalidParameterValue", message)
    }

    /// `InvalidParameterValue` with a message of its own.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    /// `MissingParameter` (spec: aws-client-vpn §2.0.1).
    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    /// `InvalidParameterCombination`.
    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// Our own mistake. What it was stands in the log only.
    pub(crate) fn internal() -> Self {
        Self::new("InternalError", "An internal error has occurred").status(500)
    }

    /// The store does not answer, or others write too much at once.
    pub(crate) fn unavailable() -> Self {
        Self::new("Unavailable", "The server is overloaded and can't handle the request.").status(503)
    }
}

impl From<store::StoreError> for ApiError {
    fn from(error: store::StoreError) -> Self {
        tracing::error!(error = %error, "the store failed");
        Self::unavailable()
    }
}

/// Foreign text as it may stand in a message: at most 256 characters.
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    const MAX_CHARS: usize = 256;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}
