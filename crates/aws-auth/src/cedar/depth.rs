//! How deep a document is nested, before Cedar's parser reads it, which has no bound of its own.

/// Brackets open at once, and `if`s of the same statement before them, at most.
pub(super) const MAX_DEPTH: usize = 48;

/// Whether the document is nested deeper than [`MAX_DEPTH`]. Strings and comments are read as Cedar reads them, so that
/// nothing hides in them.
pub(super) fn is_too_deep(document: &str) -> bool {
    let bytes = document.as_bytes();
    let (mut at, mut open, mut ifs) = (0, 0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        at += match byte {
            b'"' => string_bytes(rest),
            b'/' if rest.starts_with(b"//") => comment_bytes(rest),
            b'(' | b'[' | b'{' => {
                open += 1;
                1
            }
            b')' | b']' | b'}' => {
                open = open.saturating_sub(1);
                1
            }
            b';' => {
                // Statements do not nest; inside brackets a semicolon is an error that the parser finds.
                ifs = if open == 0 { 0 } else { ifs };
                1
            }
            byte if is_word(*byte) => {
                let length = rest.iter().take_while(|byte| is_word(**byte)).count();
                ifs += usize::from(rest.get(..length) == Some(b"if"));
                length
            }
            _ => 1,
        };
        if open + ifs > MAX_DEPTH {
            return true;
        }
    }
    false
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// Length of the string at the start, its quotes among it; all that is left if it does not end.
fn string_bytes(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match text.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') => return at + 1,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
}

/// Length of the comment at the start, up to the end of its line.
fn comment_bytes(text: &[u8]) -> usize {
    text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_seen_and_strings_and_comments_are_not() {
        let nested = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
        let rows = [
            (nested(MAX_DEPTH), false),
            (nested(MAX_DEPTH + 1), true),
            (format!("{};{}", nested(MAX_DEPTH), nested(MAX_DEPTH)), false),
            ("[".repeat(100), true),
            ("{".repeat(100), true),
            ("()".repeat(4_000), false),
            (format!("\"{}\"", "(".repeat(100)), false),
            (format!("\"a\\\"{}\"", "(".repeat(100)), false),
            (format!("\"\\\\\"{}", "(".repeat(100)), true),
            (format!("// {}\n1", "(".repeat(100)), false),
            (format!("// \"\n{}", "(".repeat(100)), true),
            (format!("// \"\r{}", "(".repeat(100)), true),
            (format!("\"//\"{}", "(".repeat(100)), true),
            (format!("{}{}", "(\")\"".repeat(60), ")".repeat(60)), true),
            ("if a then b else ".repeat(100), true),
            (format!("{}x", "if a then b else ".repeat(MAX_DEPTH)), false),
            ("if a then b else c;".repeat(100), false),
            ("iffy gif _if if1 ".repeat(100), false),
            ("é(".repeat(100), true),
            (String::new(), false),
        ];
        for (text, expected) in rows {
            assert_eq!(is_too_deep(&text), expected, "{text}");
        }
    }
}
