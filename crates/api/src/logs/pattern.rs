//! Filter patterns of terms: all plain terms must occur, one of those with `?`, none of those with `-`. Quotes keep a
//! phrase together. Patterns that select fields are not built and refused.

use super::invalid;
use crate::error::ApiError;

/// Most characters of a pattern.
const MAX_CHARS: usize = 1_024;

/// A pattern, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; an empty one lets everything pass.
    pub(crate) fn read(text: &str) -> Result<Self, ApiError> {
        let text = text.trim();
        if text.chars().nth(MAX_CHARS).is_some() {
            return Err(invalid(format!("filterPattern is longer than {MAX_CHARS} characters")));
        }
        if text.starts_with(['{', '[', '%']) {
            let message = "Only filter patterns of terms are built: no JSON selectors, fields or expressions";
            return Err(invalid(message));
        }
        let mut pattern = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (list, after) = match first {
                '?' => (&mut pattern.any, rest.get(1..)),
                '-' => (&mut pattern.none, rest.get(1..)),
                _ => (&mut pattern.all, Some(rest)),
            };
            let after = after.unwrap_or_default();
            let (term, left) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or_else(|| invalid("Invalid filter pattern"))?,
                None => {
                    let end = after.find(char::is_whitespace).unwrap_or(after.len());
                    (after.get(..end).unwrap_or_default(), after.get(end..).unwrap_or_default())
                }
            };
            if term.is_empty() {
                return Err(invalid("Invalid filter pattern"));
            }
            list.push(term.to_owned());
            rest = left.trim_start();
        }
        Ok(pattern)
    }

    /// Whether a message passes. Case counts.
    pub(crate) fn pass(&self, message: &str) -> bool {
        self.all.iter().all(|term| message.contains(term))
            && (self.any.is_empty() || self.any.iter().any(|term| message.contains(term)))
            && !self.none.iter().any(|term| message.contains(term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms() {
        let rows = [
            ("", "anything", true),
            ("ERROR", "an ERROR here", true),
            ("ERROR", "an error here", false),
            ("a b", "b then a", true),
            ("a b", "only a", false),
            ("\"a b\"", "b a", false),
            ("\"a b\"", "x a b", true),
            ("?a ?b", "b", true),
            ("?a ?b", "c", false),
            ("a -b", "a", true),
            ("a -b", "a b", false),
        ];
        for (pattern, message, expected) in rows {
            assert_eq!(Pattern::read(pattern).unwrap().pass(message), expected, "{pattern} {message}");
        }
        for bad in ["{ $.a = 1 }", "[a, b]", "%x%", "\"open", "?", &"x".repeat(1_025)] {
            assert!(Pattern::read(bad).is_err(), "{bad}");
        }
    }
}
