//! The form of a request: decoded names and values, each bound checked before anything is kept.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::Fault;
use crate::xml::is_xml_char;

/// Bounds on a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the undecoded query string and body together.
    pub body_bytes: usize,
    /// Most parameters.
    pub parameters: usize,
    /// Most bytes of one decoded name.
    pub name_bytes: usize,
    /// Most bytes of one decoded value.
    pub value_bytes: usize,
}

impl Default for Limits {
    /// Room for a revocation list of 4 MiB, percent-encoded (spec: aws-client-vpn §2.2.17).
    fn default() -> Self {
        Self { body_bytes: 6 << 20, parameters: 5_000, name_bytes: 256, value_bytes: 5 << 20 }
    }
}

/// Parameters of a request, by wire name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    parameters: BTreeMap<String, String>,
}

/// What every request of the protocol may carry beside the parameters of its action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// `Action`.
    pub action: Option<String>,
    /// `Version`.
    pub version: Option<String>,
    /// `DryRun` as it came; see [`Common::dry_run`].
    pub dry_run_text: Option<String>,
}

impl Common {
    /// Whether only the permission is asked for.
    ///
    /// # Errors
    /// `InvalidParameterValue` for anything but `true` and `false`, in any case.
    pub fn dry_run(&self) -> Result<bool, Fault> {
        match self.dry_run_text.as_deref() {
            None => Ok(false),
            Some(text) => crate::value::boolean(text)
                .ok_or_else(|| Fault::invalid_value("DryRun", text, crate::value::EXPECTING_BOOLEAN)),
        }
    }
}

impl Form {
    /// Parses a query string or an `application/x-www-form-urlencoded` body.
    ///
    /// # Errors
    /// The first violation of syntax or of a limit. A name may come once.
    pub fn parse(query_or_body: &[u8], limits: &Limits) -> Result<Self, Fault> {
        Self::parse_all(&[query_or_body], limits)
    }

    /// Parses several sources (query string, then body) as one form under one set of limits.
    ///
    /// # Errors
    /// As [`Form::parse`]; a name that comes in two sources counts as coming twice.
    pub fn parse_all(sources: &[&[u8]], limits: &Limits) -> Result<Self, Fault> {
        let size = sources.iter().fold(0usize, |sum, source| sum.saturating_add(source.len()));
        if size > limits.body_bytes {
            let most = limits.body_bytes;
            return Err(Fault::new(
                "RequestEntityTooLarge",
                format!("The request is larger than the maximum of {most} bytes"),
            ));
        }
        let mut form = Self::default();
        for pair in sources.iter().flat_map(|source| source.split(|byte| *byte == b'&')) {
            if !pair.is_empty() {
                form.take(pair, limits)?;
            }
        }
        Ok(form)
    }

    /// Adds one undecoded `name=value`.
    fn take(&mut self, pair: &[u8], limits: &Limits) -> Result<(), Fault> {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at_checked(at).unwrap_or((pair, &[]));
        let name = component(name)?;
        let value = component(value.strip_prefix(b"=").unwrap_or(value))?;
        if name.is_empty() {
            return Err(Fault::new("MalformedQueryString", "The request contains a value without a name"));
        }
        if name.len() > limits.name_bytes {
            let most = limits.name_bytes;
            return Err(Fault::new(
                "InvalidQueryParameter",
                format!("The request contains a parameter name longer than the maximum of {most} bytes"),
            ));
        }
        if let Some(bad) = name.chars().chain(value.chars()).find(|c| !is_xml_char(*c)) {
            let code = u32::from(bad);
            return Err(Fault::new(
                "InvalidCharacter",
                format!("The request contains the character U+{code:04X}, which is not allowed"),
            ));
        }
        if value.len() > limits.value_bytes {
            let most = limits.value_bytes;
            let text =
                format!("The value of the parameter {name} is longer than the maximum of {most} bytes");
            return Err(Fault::about("InvalidParameterValue", &name, text));
        }
        if self.parameters.len() >= limits.parameters {
            let most = limits.parameters;
            return Err(Fault::new(
                "MalformedQueryString",
                format!("The request contains more than the maximum of {most} parameters"),
            ));
        }
        if self.parameters.contains_key(&name) {
            // UNVERIFIED: the code the service gives for a name that comes twice.
            let text = format!("The parameter {name} may only be given once");
            return Err(Fault::about("InvalidQueryParameter", &name, text));
        }
        self.parameters.insert(name, value);
        Ok(())
    }

    /// The value of one parameter.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Takes one parameter out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.parameters.remove(name)
    }

    /// Takes out what belongs to the protocol frame and to signing, so that [`crate::decode`] sees the
    /// parameters of the action only: `Action`, `Version`, `DryRun`, and the signature parameters.
    pub fn strip_common(&mut self) -> Common {
        let common = Common {
            action: self.remove("Action"),
            version: self.remove("Version"),
            dry_run_text: self.remove("DryRun"),
        };
        self.parameters.retain(|name, _| !is_signing(name));
        common
    }

    /// All parameters in byte order of their names (a stable order: fit for hashing).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    /// The names that start with `prefix`.
    pub(crate) fn names_under<'f>(&'f self, prefix: &str) -> impl Iterator<Item = &'f str> {
        let prefix = prefix.to_owned();
        self.parameters
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .map(|(name, _)| name.as_str())
            .take_while(move |name| name.starts_with(&prefix))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The stored name and value of one parameter.
    pub(crate) fn entry(&self, name: &str) -> Option<(&str, &str)> {
        self.parameters.get_key_value(name).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether a parameter has this name or lies below it.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.parameters.contains_key(path) || self.has_under(&format!("{path}."))
    }

    /// Whether a parameter's name starts with `prefix`.
    pub(crate) fn has_under(&self, prefix: &str) -> bool {
        self.parameters
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .next()
            .is_some_and(|(name, _)| name.starts_with(prefix))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Form {
    /// A form from decoded pairs, without limits; of equal names the last stays. For tests and clients.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self { parameters: pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// Parameters that only carry the signature (versions 4 and 2).
fn is_signing(name: &str) -> bool {
    const LEGACY: [&str; 7] = [
        "AWSAccessKeyId",
        "Expires",
        "SecurityToken",
        "Signature",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
    ];
    LEGACY.contains(&name) || name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("x-amz-"))
}

/// Writes pairs as a form body; unreserved characters stay, everything else is percent-encoded.
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        percent(name, &mut out);
        out.push('=');
        percent(value, &mut out);
    }
    out
}

fn percent(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|digit| {
                char::from_digit(u32::from(digit), 16).expect("four bits are a digit").to_ascii_uppercase()
            }));
        }
    }
}

/// Decodes one name or value: `+` is a space, `%XX` a byte, all of it UTF-8.
fn component(raw: &[u8]) -> Result<String, Fault> {
    let malformed = |text: &str| Fault::new("MalformedQueryString", text);
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(malformed("The request contains an incomplete percent-encoding")),
            },
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| malformed("The request contains bytes that are not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
