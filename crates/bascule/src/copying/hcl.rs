//! Writing Terraform's language.

use std::collections::BTreeMap;

/// A block: its head, and what stands in it.
pub(super) struct Block {
    head: String,
    lines: Vec<Line>,
}

enum Line {
    Comment(String),
    Set(String, String),
    Block(Block),
}

impl Block {
    pub(super) fn new(head: impl Into<String>) -> Self {
        Self { head: head.into(), lines: Vec::new() }
    }

    /// `resource "KIND" "NAME"`.
    pub(super) fn resource(kind: &str, name: &str) -> Self {
        Self::new(format!("resource {} {}", quoted(kind), quoted(name)))
    }

    /// An argument, by an expression.
    pub(super) fn set(mut self, name: &str, expression: impl Into<String>) -> Self {
        self.lines.push(Line::Set(name.to_owned(), expression.into()));
        self
    }

    /// An argument, by a text.
    pub(super) fn text(self, name: &str, text: &str) -> Self {
        self.set(name, quoted(text))
    }

    /// The same if there is one.
    pub(super) fn maybe(self, name: &str, text: Option<&String>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// Tags, if there are any.
    pub(super) fn tags(self, tags: &BTreeMap<String, String>) -> Self {
        if tags.is_empty() {
            return self;
        }
        let rows: Vec<String> =
            tags.iter().map(|(key, value)| format!("    {} = {}\n", quoted(key), quoted(value))).collect();
        self.set("tags", format!("{{\n{}  }}", rows.concat()))
    }

    /// A block inside.
    pub(super) fn block(mut self, block: Block) -> Self {
        self.lines.push(Line::Block(block));
        self
    }

    /// What a reader should know.
    pub(super) fn comment(mut self, text: impl Into<String>) -> Self {
        self.lines.push(Line::Comment(text.into()));
        self
    }

    fn write(&self, indent: usize, out: &mut String) {
        let margin = "  ".repeat(indent);
        out.push_str(&format!("{margin}{} {{\n", self.head));
        for (at, line) in self.lines.iter().enumerate() {
            match line {
                Line::Comment(text) => out.push_str(&format!("{margin}  # {text}\n")),
                Line::Set(name, expression) => out.push_str(&format!("{margin}  {name} = {expression}\n")),
                Line::Block(block) => {
                    if at > 0 {
                        out.push('\n');
                    }
                    block.write(indent + 1, out);
                }
            }
        }
        out.push_str(&format!("{margin}}}\n"));
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(0, &mut out);
        f.write_str(&out)
    }
}

/// A text as a literal: nothing in it is an expression.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if chars.peek() == Some(&'{') => {
                out.push(c);
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of expressions.
pub(super) fn list(expressions: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", expressions.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_no_expressions() {
        for (text, expected) in [
            ("plain", r#""plain""#),
            (r#"a "b" \c"#, r#""a \"b\" \\c""#),
            ("${var.x} %{ if } $x 5%", r#""$${var.x} %%{ if } $x 5%""#),
            ("a\nb\t\u{7}", r#""a\nb\t\u0007""#),
            ("$${x}", r#""$$${x}""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn blocks_stand_in_blocks() {
        let inner = Block::new("inner").set("a", "1");
        let tags = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let block = Block::resource("kind", "name").text("b", "x").tags(&tags).block(inner);
        let expected = "resource \"kind\" \"name\" {\n  b = \"x\"\n  tags = {\n    \"k\" = \"v\"\n  }\n\n  inner {\n    a = 1\n  }\n}\n";
        assert_eq!(block.to_string(), expected);
    }
}
