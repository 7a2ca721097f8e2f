//! Client tokens (spec: aws-client-vpn §2.0.3): a repeated call answers as its first did, under a new request id.

use std::fmt::Write;

use aws_query::Form;
use model::{Key, Scope, Timestamp, TokenRecord};
use sha2::{Digest, Sha256};
use store::Store;
use store::typed::{self, Record};

use crate::draft::Draft;
use crate::error::ApiError;

/// Longest token, characters.
const MAX_TOKEN_CHARS: usize = 64;
/// How long a token is remembered, seconds.
const REMEMBERED_SECONDS: i64 = 24 * 60 * 60;

/// Refuses a malformed token.
pub(crate) fn check(token: Option<&str>, faults: &mut Vec<ApiError>) {
    if let Some(token) = token
        && (token.len() > MAX_TOKEN_CHARS || !token.is_ascii())
    {
        let message = format!("The client token is longer than {MAX_TOKEN_CHARS} ASCII characters");
        faults.push(ApiError::new("InvalidClientToken", message));
    }
}

/// Hash over all parameters of the action but the token; the frame has already taken out its own and the signature.
pub(crate) fn hash(form: &Form) -> String {
    let mut hash = Sha256::new();
    for (name, value) in form.iter().filter(|(name, _)| *name != "ClientToken") {
        for text in [name, value] {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        }
    }
    hash.finalize().iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("invariant: writing to a string cannot fail");
        out
    })
}

/// A call's token.
pub(crate) struct Token<'a> {
    key: Key,
    parameters_hash: &'a str,
}

/// What is remembered of a token.
pub(crate) enum Seen {
    /// The first answer.
    Answered(String),
    /// Nothing, or a record too old to count.
    Nothing(Option<Record<TokenRecord>>),
}

impl<'a> Token<'a> {
    /// An empty token is none.
    pub(crate) fn new(
        scope: &Scope,
        action: &str,
        token: Option<&str>,
        parameters_hash: &'a str,
    ) -> Option<Self> {
        let token = token.filter(|token| !token.is_empty())?;
        Some(Self { key: Key::token(scope, action, token), parameters_hash })
    }

    /// Looks the token up.
    ///
    /// # Errors
    /// `IdempotentParameterMismatch` if its first call had other parameters.
    pub(crate) async fn look(&self, store: &dyn Store, now: Timestamp) -> Result<Seen, ApiError> {
        let found: Option<Record<TokenRecord>> = typed::get(store, self.key.as_str()).await?;
        match found {
            Some(record) if now.0.saturating_sub(record.value.created_at.0) < REMEMBERED_SECONDS => {
                if record.value.parameters_hash == self.parameters_hash {
                    Ok(Seen::Answered(record.value.response))
                } else {
                    let message = "The client token you have provided was used with other parameters";
                    Err(ApiError::new("IdempotentParameterMismatch", message))
                }
            }
            other => Ok(Seen::Nothing(other)),
        }
    }

    /// Puts the answer into the effect's own transaction.
    pub(crate) fn join(
        &self,
        draft: &mut Draft,
        response: &str,
        now: Timestamp,
        old: Option<&Record<TokenRecord>>,
    ) {
        let record = TokenRecord {
            parameters_hash: self.parameters_hash.to_owned(),
            response: response.to_owned(),
            created_at: now,
        };
        match old {
            Some(old) => draft.replace(old, &record),
            None => draft.create(self.key.clone(), &record),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_over_everything_but_the_token() {
        let form = |pairs: &[(&str, &str)]| hash(&pairs.iter().copied().collect::<Form>());
        let base = form(&[("A", "1"), ("B", "2")]);
        assert_eq!(base, form(&[("B", "2"), ("A", "1"), ("ClientToken", "x")]));
        assert_ne!(base, form(&[("A", "1"), ("B", "3")]));
        assert_ne!(form(&[("A", "12"), ("B", "")]), form(&[("A", "1"), ("B", "2")]));
        assert_ne!(form(&[("A", "1")]), form(&[("A1", "")]));
    }

    #[test]
    fn long_tokens_are_refused() {
        for (token, count) in [("a".repeat(64), 0), ("a".repeat(65), 1), ("é".to_owned(), 1)] {
            let mut faults = Vec::new();
            check(Some(&token), &mut faults);
            assert_eq!(faults.len(), count, "{token}");
        }
    }
}
