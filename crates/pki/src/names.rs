//! Distinguished names: as text, their common name, and which texts are domain names.

use std::fmt::Write as _;

use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Longest domain name, in bytes.
const MAX_DOMAIN_BYTES: usize = 253;

/// Longest common name in characters (`ub-common-name` of RFC 5280, and OpenVPN's bound).
const MAX_COMMON_NAME_CHARS: usize = 64;

/// The name as people write it: `C=US, O=Example, CN=server.example.com`. Characters that mean something in
/// that form and control characters are escaped (the form of RFC 4514), so the text is safe to print.
pub(crate) fn display(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    for (index, rdn) in name.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        for (index, attribute) in rdn.iter().enumerate() {
            if index > 0 {
                out.push('+');
            }
            let oid = attribute.attr_type().to_id_string();
            out.push_str(short_name(&oid).unwrap_or(&oid));
            out.push('=');
            match text(attribute) {
                Some(value) => escape(&value, &mut out),
                None => {
                    out.push('#');
                    for byte in attribute.as_slice() {
                        let _ = write!(out, "{byte:02x}");
                    }
                }
            }
        }
    }
    out
}

/// The common name: the last one if there are several, as OpenVPN reads it. `Some(None)` if it is there but
/// is no text.
pub(crate) fn common_name(name: &X509Name<'_>) -> Option<Option<String>> {
    name.iter_common_name().last().map(text)
}

/// Whether a common name can be somebody's: not blank, not too long, no control characters.
pub(crate) fn is_usable_common_name(name: &str) -> bool {
    !name.trim().is_empty()
        && name.chars().count() <= MAX_COMMON_NAME_CHARS
        && !name.chars().any(char::is_control)
}

/// Whether the text is a domain name of two labels or more, a leading `*` label allowed.
pub(crate) fn is_dotted_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let bare = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= MAX_DOMAIN_BYTES
        && name.contains('.')
        && bare.split('.').all(label)
        // `10.0.0.1` has dots but no domain.
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

/// An attribute's value as text, whichever of X.500's string types it is.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = attribute.attr_value();
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            bytes.is_ascii().then(|| bytes.iter().map(|byte| char::from(*byte)).collect())
        }
        // Nobody writes T.61; what carries its tag is Latin-1.
        Tag::TeletexString => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
            let text = char::decode_utf16(units).collect::<Result<String, _>>().ok();
            text.filter(|_| rest.is_empty())
        }
        Tag::UniversalString => {
            let (words, rest) = bytes.as_chunks::<4>();
            let text = words.iter().map(|word| char::from_u32(u32::from_be_bytes(*word))).collect();
            Option::<String>::filter(text, |_| rest.is_empty())
        }
        _ => None,
    }
}

fn escape(value: &str, out: &mut String) {
    for (index, character) in value.char_indices() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => {
                out.push('\\');
                out.push(character);
            }
            '#' | ' ' if index == 0 => {
                out.push('\\');
                out.push(character);
            }
            _ if character.is_control() => {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    let _ = write!(out, "\\{byte:02X}");
                }
            }
            _ => out.push(character),
        }
    }
}

fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        let rows = [
            ("server.example.com", true),
            ("*.example.com", true),
            ("a.b", true),
            ("my_host.example.com", true),
            ("server", false),
            ("", false),
            (".", false),
            (".example.com", false),
            ("example.com.", false),
            ("-a.example.com", false),
            ("*", false),
            ("a.*.com", false),
            ("10.0.0.1", false),
            ("Jane Q. Public", false),
        ];
        for (name, expected) in rows {
            assert_eq!(is_dotted_domain(name), expected, "{name}");
        }
    }

    #[test]
    fn escapes() {
        let mut out = String::new();
        escape("#a, b\n\u{7f}ü", &mut out);
        assert_eq!(out, "\\#a\\, b\\0A\\7Fü");
    }
}
