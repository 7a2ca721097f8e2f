//! Writing values as XML elements.

use crate::Kind;

/// A value that can be written as an element. Derived for structures.
pub trait ToXml {
    /// Appends what stands between the tags.
    fn content(&self, out: &mut String);

    /// Appends the element `name`; without content `<name/>`. `item` names the elements of lists.
    fn element(&self, name: &str, item: &str, out: &mut String) {
        let _ = item;
        element(name, out, |out| self.content(out));
    }

    /// Whether there is nothing to write (a list without elements).
    fn is_empty(&self) -> bool {
        false
    }

    /// What it is in a service model.
    fn kind() -> Kind
    where
        Self: Sized;
}

/// Appends an element whose content `write` appends.
pub(crate) fn element(name: &str, out: &mut String, write: impl FnOnce(&mut String)) {
    out.push('<');
    out.push_str(name);
    let tag = out.len();
    out.push('>');
    let content = out.len();
    write(out);
    if out.len() == content {
        out.truncate(tag);
        out.push_str("/>");
    } else {
        out.push_str("</");
        out.push_str(name);
        out.push('>');
    }
}

/// Whether XML 1.0 can carry the character at all, even as a reference.
pub(crate) fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

/// Appends text as XML character data. A carriage return is written as a reference, since a parser would
/// turn it into a line feed; a character that XML cannot carry becomes U+FFFD, so that the document stays one.
pub fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\r' => out.push_str("&#13;"),
            c if is_xml_char(c) => out.push(c),
            _ => out.push('\u{FFFD}'),
        }
    }
}

impl ToXml for String {
    fn content(&self, out: &mut String) {
        escape(self, out);
    }

    fn kind() -> Kind {
        Kind::String
    }
}

impl ToXml for &str {
    fn content(&self, out: &mut String) {
        escape(self, out);
    }

    fn kind() -> Kind {
        Kind::String
    }
}

impl ToXml for bool {
    fn content(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }

    fn kind() -> Kind {
        Kind::Boolean
    }
}

macro_rules! integers {
    ($kind:ident: $($type:ty),*) => {$(
        impl ToXml for $type {
            fn content(&self, out: &mut String) {
                out.push_str(&self.to_string());
            }

            fn kind() -> Kind {
                Kind::$kind
            }
        }
    )*};
}
integers!(Integer: u8, u16, u32, i32, usize);
integers!(Long: u64, i64);

impl<T: ToXml> ToXml for Option<T> {
    fn content(&self, out: &mut String) {
        if let Some(value) = self {
            value.content(out);
        }
    }

    fn element(&self, name: &str, item: &str, out: &mut String) {
        if let Some(value) = self {
            value.element(name, item, out);
        }
    }

    fn is_empty(&self) -> bool {
        self.as_ref().is_none_or(ToXml::is_empty)
    }

    fn kind() -> Kind {
        T::kind()
    }
}

impl<T: ToXml> ToXml for Box<T> {
    fn content(&self, out: &mut String) {
        (**self).content(out);
    }

    fn element(&self, name: &str, item: &str, out: &mut String) {
        (**self).element(name, item, out);
    }

    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    fn kind() -> Kind {
        T::kind()
    }
}

impl<T: ToXml> ToXml for Vec<T> {
    fn content(&self, out: &mut String) {
        for value in self {
            value.element("item", "item", out);
        }
    }

    fn element(&self, name: &str, item: &str, out: &mut String) {
        element(name, out, |out| {
            for value in self {
                value.element(item, item, out);
            }
        });
    }

    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }

    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }
}
