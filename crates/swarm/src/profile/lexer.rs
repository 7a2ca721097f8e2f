//! The form of a client profile: words of a line, quotes, comments, inline blocks.

use zeroize::Zeroizing;

use super::ProfileError;

/// A line with its words, or a block.
pub(super) struct Directive {
    /// Line it begins in, from 1.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// The words behind it.
    pub words: Vec<String>,
    /// The text of an inline block; it may be a key.
    pub block: Option<Zeroizing<String>>,
}

/// Takes a profile apart.
pub(super) fn directives(text: &str) -> Result<Vec<Directive>, ProfileError> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
    while let Some((number, line)) = lines.next() {
        let bare = line.trim().trim_start_matches('\u{feff}');
        if let Some(tag) = bare.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
            let end = format!("</{tag}>");
            let mut block = Zeroizing::new(String::with_capacity(4096));
            loop {
                let Some((_, line)) = lines.next() else {
                    return Err(ProfileError::Line { line: number, what: format!("<{tag}> has no end") });
                };
                if line.trim() == end {
                    break;
                }
                block.push_str(line);
                block.push('\n');
            }
            let name = tag.to_owned();
            found.push(Directive { line: number, name, words: Vec::new(), block: Some(block) });
            continue;
        }
        let mut words = words(bare)
            .ok_or_else(|| ProfileError::Line { line: number, what: "a quote has no end".to_owned() })?
            .into_iter();
        if let Some(name) = words.next() {
            // As on stock clients' command line.
            let name = name.trim_start_matches("--").to_owned();
            found.push(Directive { line: number, name, words: words.collect(), block: None });
        }
    }
    Ok(found)
}

/// The words of a line: cut at blanks, unless quoted; a backslash takes the next character as it is; `#` and `;` in
/// front of a word begin a comment. `None`: a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '#' | ';') if word.is_none() => break,
            (None, letter) if letter.is_whitespace() => found.extend(word.take()),
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    found.extend(word);
    quote.is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_comments() {
        for (line, expected) in [
            ("", vec![]),
            ("   # a remark", vec![]),
            ("; another", vec![]),
            ("remote a.example 443 # here", vec!["remote", "a.example", "443"]),
            ("ca 'my files/ca #1.crt'", vec!["ca", "my files/ca #1.crt"]),
            (
                r#"verify-x509-name "C=US, CN=a \"b\"" subject"#,
                vec!["verify-x509-name", r#"C=US, CN=a "b""#, "subject"],
            ),
            (r"ca c:\\ca.crt", vec!["ca", r"c:\ca.crt"]),
            ("a '' b", vec!["a", "", "b"]),
            ("a#b", vec!["a#b"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert_eq!(words("ca 'open"), None);
    }

    #[test]
    fn blocks_are_taken_whole() {
        let found = directives("dev tun\n<ca>\n# not a comment\nx\n</ca>\nverb 3\n").unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].block.as_ref().unwrap().as_str(), "# not a comment\nx\n");
        assert_eq!((found[1].name.as_str(), found[1].line, found[2].line), ("ca", 2, 6));
        assert!(directives("<ca>\nx\n").is_err());
    }
}
