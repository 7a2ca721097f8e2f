//! Pages of a describe action (spec: aws-client-vpn §2.0.4): `NextToken` is the last key shown, opaque to the caller.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::ApiError;

/// Most results of one page, and the default.
pub(crate) const MAX_RESULTS: usize = 1_000;
/// Longest token that is looked at, bytes.
const MAX_TOKEN_BYTES: usize = 2_048;
const MARK: &str = "1:";

/// How many results a page holds.
pub(crate) fn size(max_results: Option<i32>) -> usize {
    max_results.and_then(|most| usize::try_from(most).ok()).unwrap_or(MAX_RESULTS).clamp(1, MAX_RESULTS)
}

/// The token that goes on after `key`.
pub(crate) fn token(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{MARK}{key}"))
}

/// One page of `rows`, which rise by the key `key` gives them.
pub(crate) fn page<T>(
    rows: Vec<T>,
    key: impl Fn(&T) -> &str,
    next_token: Option<&str>,
    max_results: Option<i32>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let after = next_token.map(read).transpose()?;
    let size = size(max_results);
    let mut rows: Vec<T> =
        rows.into_iter().filter(|row| after.as_deref().is_none_or(|after| key(row) > after)).collect();
    let more = rows.len() > size;
    rows.truncate(size);
    let token = rows.last().filter(|_| more).map(|last| token(key(last)));
    Ok((rows, token))
}

/// The key a token goes on after.
pub(crate) fn read(token: &str) -> Result<String, ApiError> {
    let key = || {
        let bytes = (token.len() <= MAX_TOKEN_BYTES).then(|| URL_SAFE_NO_PAD.decode(token).ok())??;
        String::from_utf8(bytes).ok()?.strip_prefix(MARK).map(str::to_owned)
    };
    key().ok_or_else(|| {
        ApiError::new("InvalidPaginationToken", "The specified pagination token is not valid.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once() {
        let all: Vec<String> = (10..33).map(|n| format!("row-{n}")).collect();
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            let (rows, next) = page(all.clone(), |row| row, token.as_deref(), Some(5)).unwrap();
            assert!(rows.len() <= 5);
            seen.extend(rows);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        assert_eq!(page(all.clone(), |row| row, None, None).unwrap(), (all, None));
    }

    #[test]
    fn a_token_that_is_not_ours_is_refused() {
        for bad in ["x", "", "////", &"A".repeat(3000), &URL_SAFE_NO_PAD.encode("0:row")] {
            let error = page(Vec::<String>::new(), |row| row, Some(bad), None).unwrap_err();
            assert_eq!(error.code, "InvalidPaginationToken");
        }
    }
}
