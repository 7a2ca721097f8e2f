//! Types a parameter can have, and how each is read.

use crate::decode::{Decoder, MAX_LIST_ELEMENTS};
use crate::{Fault, Kind};

pub(crate) const EXPECTING_BOOLEAN: &str = "Expecting true or false.";

/// Outcome of reading one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// Nothing came under this name.
    Absent,
    /// Something came, was wrong, and is noted in the decoder.
    Refused,
    /// The value.
    Value(T),
}

/// What the derive knows about a member; see the crate's table of attributes.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Wire name.
    pub name: &'static str,
    /// Second wire name.
    pub alias: Option<&'static str>,
    /// A list must have an element.
    pub required: bool,
    /// Most elements of a list.
    pub max: usize,
    /// Fault code for more elements.
    pub over: &'static str,
    /// Bounds of an integer, both included.
    pub range: Option<(i64, i64)>,
    /// Most characters of a string.
    pub max_length: Option<usize>,
}

impl Rules {
    /// Rules with a name only.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            alias: None,
            required: false,
            max: MAX_LIST_ELEMENTS,
            over: "InvalidParameterValue",
            range: None,
            max_length: None,
        }
    }
}

/// A type that can be read from parameters at and below a path.
pub trait QueryValue: Sized {
    /// Reads it, noting every fault in the decoder.
    fn read(decoder: &mut Decoder<'_>, path: &str, rules: &Rules) -> Read<Self>;
    /// The value that stands for "did not come"; `None` when the member is required.
    fn absent() -> Option<Self> {
        None
    }
    /// What it is in a service model.
    fn kind() -> Kind;
}

/// An enumeration of texts. Derived.
pub trait QueryEnum: Copy + 'static {
    /// All texts, in declaration order.
    const VALUES: &'static [&'static str];
    /// The text of this variant.
    fn as_str(self) -> &'static str;
    /// The variant of a text; case counts.
    fn from_wire(text: &str) -> Option<Self>;
    /// [`QueryValue::read`] for enumerations.
    fn read_enum(decoder: &mut Decoder<'_>, path: &str) -> Read<Self> {
        scalar(decoder, path, |text| {
            Self::from_wire(text).ok_or_else(|| {
                let expectation = format!("Valid values: {}.", Self::VALUES.join(", "));
                Fault::invalid_value(path, text, &expectation)
            })
        })
    }
}

/// Reads the one value at `path` through `convert`.
fn scalar<T>(decoder: &mut Decoder<'_>, path: &str, convert: impl Fn(&str) -> Result<T, Fault>) -> Read<T> {
    let Some(text) = decoder.take(path) else { return Read::Absent };
    match convert(text) {
        Ok(value) => Read::Value(value),
        Err(fault) => {
            decoder.refuse(fault);
            Read::Refused
        }
    }
}

impl QueryValue for String {
    fn read(decoder: &mut Decoder<'_>, path: &str, rules: &Rules) -> Read<Self> {
        scalar(decoder, path, |text| match rules.max_length {
            Some(most) if text.chars().nth(most).is_some() => {
                let expectation = format!("Expecting at most {most} characters.");
                Err(Fault::invalid_value(path, text, &expectation))
            }
            _ => Ok(text.to_owned()),
        })
    }

    fn kind() -> Kind {
        Kind::String
    }
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

impl QueryValue for bool {
    fn read(decoder: &mut Decoder<'_>, path: &str, _: &Rules) -> Read<Self> {
        scalar(decoder, path, |text| {
            boolean(text).ok_or_else(|| Fault::invalid_value(path, text, EXPECTING_BOOLEAN))
        })
    }

    fn kind() -> Kind {
        Kind::Boolean
    }
}

/// Decimal digits with an optional minus sign; nothing else, no plus sign.
fn integer<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

macro_rules! integers {
    ($kind:ident: $($type:ty),*) => {$(
        impl QueryValue for $type {
            fn read(decoder: &mut Decoder<'_>, path: &str, rules: &Rules) -> Read<Self> {
                scalar(decoder, path, |text| {
                    let value: i64 = integer(text)
                        .ok_or_else(|| Fault::invalid_value(path, text, "Expecting an integer."))?;
                    let (low, high) =
                        rules.range.unwrap_or((i64::from(<$type>::MIN), i64::from(<$type>::MAX)));
                    if !(low..=high).contains(&value) {
                        return Err(Fault::out_of_range(path, value, low, high));
                    }
                    Self::try_from(value)
                        .map_err(|_| Fault::invalid_value(path, text, "Expecting an integer."))
                })
            }

            fn kind() -> Kind {
                Kind::$kind
            }
        }
    )*};
}
integers!(Integer: u8, u16, u32, i32);
integers!(Long: i64);

impl<T: QueryValue> QueryValue for Option<T> {
    fn read(decoder: &mut Decoder<'_>, path: &str, rules: &Rules) -> Read<Self> {
        match T::read(decoder, path, rules) {
            Read::Absent => Read::Absent,
            Read::Refused => Read::Refused,
            Read::Value(value) => Read::Value(Some(value)),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn kind() -> Kind {
        T::kind()
    }
}

impl<T: QueryValue> QueryValue for Vec<T> {
    /// `path.1`, `path.2`…: numeric order, gaps allowed.
    fn read(decoder: &mut Decoder<'_>, path: &str, rules: &Rules) -> Read<Self> {
        let indexes = decoder.indexes(path);
        if indexes.is_empty() {
            return match decoder.take(path) {
                None => Read::Absent,
                // A list takes indexed names only; said here so that it is not also called missing.
                Some(_) => {
                    decoder.refuse(Fault::unknown(path));
                    Read::Refused
                }
            };
        }
        if indexes.len() > rules.max {
            let (count, most) = (indexes.len(), rules.max);
            decoder.take_under(path);
            let text = format!("The parameter {path} has {count} values. Expecting at most {most}.");
            decoder.refuse(Fault::about(rules.over, path, text));
            return Read::Refused;
        }
        let element_rules = Rules { required: false, ..rules.clone() };
        let mut whole = true;
        let mut values = Vec::with_capacity(indexes.len());
        for index in indexes {
            match T::read(decoder, &format!("{path}.{index}"), &element_rules) {
                Read::Value(value) => values.push(value),
                // Absent: something lies deeper than this type reaches; it will be called unknown.
                Read::Absent | Read::Refused => whole = false,
            }
        }
        if whole { Read::Value(values) } else { Read::Refused }
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }
}
