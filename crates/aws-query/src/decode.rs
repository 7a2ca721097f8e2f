//! Reading a typed request out of a form, with every fault noted on the way.

use std::collections::BTreeSet;

use crate::{Fault, Form, Members, QueryValue, Read, Rules};

/// Most elements of a list that sets no bound of its own.
pub const MAX_LIST_ELEMENTS: usize = 1_000;
/// Highest index of a list element.
pub const MAX_LIST_INDEX: u32 = 100_000;
/// Most faults that are collected.
pub const MAX_FAULTS: usize = 100;

/// A structure that can be read from parameters. Derived.
pub trait FromQuery: Members + Sized {
    /// Reads the members below `prefix` (empty, or ending in a dot); `None` when a fault was noted.
    fn from_query(decoder: &mut Decoder<'_>, prefix: &str) -> Option<Self>;
}

/// What to do with a parameter that nothing asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub enum Unknown {
    /// It is a fault.
    #[default]
    Refuse,
    /// It is passed over.
    Ignore,
}

/// Reads a request; parameters it does not know are faults.
///
/// # Errors
/// All faults (up to [`MAX_FAULTS`]): those of members in member order, then unknown parameters by name.
pub fn decode<T: FromQuery>(form: &Form) -> Result<T, Vec<Fault>> {
    decode_with(form, Unknown::Refuse)
}

/// Reads a request.
///
/// # Errors
/// As [`decode`].
pub fn decode_with<T: FromQuery>(form: &Form, unknown: Unknown) -> Result<T, Vec<Fault>> {
    let mut decoder = Decoder { form, taken: BTreeSet::new(), faults: Vec::new() };
    let request = T::from_query(&mut decoder, "");
    if unknown == Unknown::Refuse {
        let names: Vec<&str> =
            form.iter().map(|(name, _)| name).filter(|name| !decoder.taken.contains(name)).collect();
        for name in names {
            decoder.refuse(Fault::unknown(name));
        }
    }
    match request {
        Some(request) if decoder.faults.is_empty() => Ok(request),
        _ if decoder.faults.is_empty() => {
            // A list element below which only ignored parameters lie.
            Err(vec![Fault::new("MalformedQueryString", "The request contains an empty list element")])
        }
        _ => Err(decoder.faults),
    }
}

/// A form being read.
#[derive(Debug)]
pub struct Decoder<'f> {
    form: &'f Form,
    taken: BTreeSet<&'f str>,
    faults: Vec<Fault>,
}

impl<'f> Decoder<'f> {
    /// The value at `path`, which counts as known from now on.
    pub fn take(&mut self, path: &str) -> Option<&'f str> {
        let (name, value) = self.form.entry(path)?;
        self.taken.insert(name);
        Some(value)
    }

    /// Notes a fault.
    pub fn refuse(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    /// Whether anything lies below `path`.
    pub fn has_members(&self, path: &str) -> bool {
        self.form.has_under(&format!("{path}."))
    }

    /// Everything below `path` counts as known.
    pub(crate) fn take_under(&mut self, path: &str) {
        self.taken.extend(self.form.names_under(&format!("{path}.")));
    }

    /// The list indexes that occur below `path`, rising.
    pub(crate) fn indexes(&self, path: &str) -> BTreeSet<u32> {
        let prefix = format!("{path}.");
        self.form
            .names_under(&prefix)
            .filter_map(|name| name.strip_prefix(prefix.as_str()))
            .filter_map(|rest| index(rest.split('.').next().unwrap_or(rest)))
            .collect()
    }

    /// Reads one member of the structure at `prefix`. For derived code.
    pub fn member<T: QueryValue>(&mut self, prefix: &str, rules: &Rules) -> Option<T> {
        let mut path = format!("{prefix}{}", rules.name);
        if let Some(alias) = rules.alias.map(|alias| format!("{prefix}{alias}"))
            && !self.form.has(&path)
            && self.form.has(&alias)
        {
            path = alias;
        }
        match T::read(self, &path, rules) {
            Read::Value(value) => Some(value),
            Read::Refused => None,
            Read::Absent => match T::absent() {
                Some(value) if !rules.required => Some(value),
                _ => {
                    self.refuse(Fault::missing(&path));
                    None
                }
            },
        }
    }

    /// Reads a nested structure. For derived code.
    pub fn structure<T: FromQuery>(&mut self, path: &str) -> Read<T> {
        if !self.has_members(path) {
            return Read::Absent;
        }
        match T::from_query(self, &format!("{path}.")) {
            Some(value) => Read::Value(value),
            None => Read::Refused,
        }
    }
}

/// A list index as clients write it: decimal from 1, without leading zeros (so that none has two names).
fn index(text: &str) -> Option<u32> {
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|index| (1..=MAX_LIST_INDEX).contains(index))
}
