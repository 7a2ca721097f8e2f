//! Conditions of a statement: operators, set qualifiers, values.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::document::{Effect, MAX_VALUES};
use super::json::Json;
use super::pattern::{Context, Pattern, Syntax, lookup};

/// One line of a condition block: an operator on a key with the policy's values.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    key: String,
    quantifier: Quantifier,
    if_exists: bool,
    /// The operator asks for "none of the values".
    negated: bool,
    test: Test,
}

/// How the values of a multi-valued key count.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Quantifier {
    /// No qualifier.
    Plain,
    /// `ForAllValues:`
    All,
    /// `ForAnyValue:`
    Any,
}

/// How one value of the request is compared, and with what. Always the positive sense.
#[derive(Clone, Debug)]
enum Test {
    Equal { values: Vec<Pattern>, fold: bool },
    Like(Vec<Pattern>),
    Arn(Vec<Vec<Pattern>>),
    Number { order: Order, values: Vec<f64> },
    Date { order: Order, values: Vec<Timestamp> },
    Bool(Vec<bool>),
    Ip(Vec<IpNet>),
    Null(Vec<bool>),
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// What an operator's name stands for.
#[derive(Copy, Clone, Debug)]
enum Operator {
    Equal { fold: bool },
    Like,
    Arn,
    Number(Order),
    Date(Order),
    Bool,
    Ip,
    Null,
}

/// An operator's name without qualifiers: operator, and whether it is a negation.
fn operator(name: &str) -> Option<(Operator, bool)> {
    let order = |text: &str| match text {
        "Equals" => Some((Order::Equal, false)),
        "NotEquals" => Some((Order::Equal, true)),
        "LessThan" => Some((Order::Less, false)),
        "LessThanEquals" => Some((Order::LessOrEqual, false)),
        "GreaterThan" => Some((Order::Greater, false)),
        "GreaterThanEquals" => Some((Order::GreaterOrEqual, false)),
        _ => None,
    };
    if let Some(rest) = name.strip_prefix("Numeric") {
        return order(rest).map(|(order, negated)| (Operator::Number(order), negated));
    }
    if let Some(rest) = name.strip_prefix("Date") {
        return order(rest).map(|(order, negated)| (Operator::Date(order), negated));
    }
    Some(match name {
        "StringEquals" => (Operator::Equal { fold: false }, false),
        "StringNotEquals" => (Operator::Equal { fold: false }, true),
        "StringEqualsIgnoreCase" => (Operator::Equal { fold: true }, false),
        "StringNotEqualsIgnoreCase" => (Operator::Equal { fold: true }, true),
        "StringLike" => (Operator::Like, false),
        "StringNotLike" => (Operator::Like, true),
        "ArnEquals" | "ArnLike" => (Operator::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Operator::Arn, true),
        "Bool" => (Operator::Bool, false),
        "IpAddress" => (Operator::Ip, false),
        "NotIpAddress" => (Operator::Ip, true),
        "Null" => (Operator::Null, false),
        _ => return None,
    })
}

impl Condition {
    /// Reads one line. The error names what is wrong, without its place.
    pub(crate) fn parse(name: &str, key: &str, values: &Json, variables: bool) -> Result<Self, String> {
        let (quantifier, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            _ => (Quantifier::Plain, name),
        };
        let (rest, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |rest| (rest, true));
        let (operator, negated) =
            operator(rest).ok_or_else(|| format!("the operator {name:?} is not supported"))?;
        if matches!(operator, Operator::Null) && (if_exists || quantifier != Quantifier::Plain) {
            return Err(format!("the operator {name:?} is not supported"));
        }
        if !key.contains(':') || key.chars().any(|c| c.is_control() || matches!(c, '*' | '?' | '$')) {
            return Err(format!("{key:?} is not a condition key"));
        }
        let values = texts(values)?;
        let test = Test::parse(operator, &values, variables)?;
        Ok(Self { key: key.to_owned(), quantifier, if_exists, negated, test })
    }

    /// The key it asks for, as written.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The keys of the policy variables among its values.
    pub(crate) fn variables(&self) -> Vec<&str> {
        match &self.test {
            Test::Equal { values, .. } | Test::Like(values) => {
                values.iter().flat_map(Pattern::variables).collect()
            }
            Test::Arn(values) => values.iter().flatten().flat_map(Pattern::variables).collect(),
            Test::Number { .. } | Test::Date { .. } | Test::Bool(_) | Test::Ip(_) | Test::Null(_) => {
                Vec::new()
            }
        }
    }

    /// Whether the request's values fulfil it. Where a policy variable without a value makes a negation
    /// doubtful, a deny holds and an allow does not.
    pub(crate) fn holds(&self, context: &Context, effect: Effect) -> bool {
        let values = lookup(context, &self.key).unwrap_or_default();
        if let Test::Null(absent) = &self.test {
            return absent.contains(&values.is_empty());
        }
        if values.is_empty() {
            return match self.quantifier {
                _ if self.if_exists => true,
                Quantifier::All => true,
                Quantifier::Any => false,
                Quantifier::Plain => self.negated,
            };
        }
        let one = |value: &String| match self.test.fits(value, context) {
            Some(fits) => fits != self.negated,
            // UNVERIFIED: what a negation does with a variable that has no value.
            None => self.negated && effect == Effect::Deny,
        };
        match self.quantifier {
            Quantifier::All => values.iter().all(one),
            Quantifier::Any => values.iter().any(one),
            // Not meant for several values; the careful reading of each effect.
            Quantifier::Plain if effect == Effect::Allow => values.iter().all(one),
            Quantifier::Plain => values.iter().any(one),
        }
    }
}

impl Test {
    fn parse(operator: Operator, values: &[String], variables: bool) -> Result<Self, String> {
        Ok(match operator {
            Operator::Equal { fold } => {
                let syntax = Syntax { wildcards: false, variables };
                Self::Equal { values: each(values, |text| Pattern::parse(text, syntax))?, fold }
            }
            Operator::Like => {
                let syntax = Syntax { wildcards: true, variables };
                Self::Like(each(values, |text| Pattern::parse(text, syntax))?)
            }
            Operator::Arn => Self::Arn(each(values, |text| Pattern::arn(text, variables))?),
            Operator::Number(order) => {
                Self::Number { order, values: each(values, |text| known(number(text), text, "a number"))? }
            }
            Operator::Date(order) => {
                Self::Date { order, values: each(values, |text| known(date(text), text, "a date"))? }
            }
            Operator::Bool => Self::Bool(each(values, |text| known(boolean(text), text, "true or false"))?),
            Operator::Null => Self::Null(each(values, |text| known(boolean(text), text, "true or false"))?),
            Operator::Ip => Self::Ip(each(values, |text| known(network(text), text, "an address range"))?),
        })
    }

    /// Whether one value of the request fits any value of the policy; `None` when none fits, but one could
    /// not be resolved. A value of the wrong form fits nothing.
    fn fits(&self, value: &str, context: &Context) -> Option<bool> {
        match self {
            Self::Equal { values, fold } => any(values.iter().map(|pattern| {
                let text = pattern.text(context)?;
                Some(if *fold { fold_case(&text) == fold_case(value) } else { text == value })
            })),
            Self::Like(values) => any(values.iter().map(|pattern| pattern.matches(value, context, false))),
            Self::Arn(values) => any(values.iter().map(|segments| match segments.as_slice() {
                [whole] => whole.matches(value, context, false),
                segments => {
                    let found: Vec<&str> = value.splitn(6, ':').collect();
                    if found.len() != segments.len() {
                        return Some(false);
                    }
                    segments
                        .iter()
                        .zip(found)
                        .map(|(segment, found)| segment.matches(found, context, false))
                        .try_fold(true, |all, one| Some(all && one?))
                }
            })),
            Self::Number { order, values } => {
                Some(number(value).is_some_and(|found| values.iter().any(|value| order.holds(&found, value))))
            }
            Self::Date { order, values } => {
                Some(date(value).is_some_and(|found| values.iter().any(|value| order.holds(&found, value))))
            }
            Self::Bool(values) => Some(boolean(value).is_some_and(|found| values.contains(&found))),
            Self::Ip(values) => Some(value.parse::<IpAddr>().is_ok_and(|found| {
                let found = found.to_canonical();
                values.iter().any(|range| range.contains(&found))
            })),
            // Asked by the caller, who knows whether the key is there.
            Self::Null(_) => Some(false),
        }
    }
}

/// Whether one holds; without one, `None` if one is not known.
fn any(mut results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut unknown = false;
    let found = results.any(|result| {
        unknown |= result.is_none();
        result == Some(true)
    });
    if found || !unknown { Some(found) } else { None }
}

fn each<T>(values: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    values.iter().map(|text| read(text)).collect()
}

fn known<T>(value: Option<T>, text: &str, what: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{text:?} is not {what}"))
}

/// A value or a list of values; numbers and booleans count as their text.
fn texts(json: &Json) -> Result<Vec<String>, String> {
    let one = |json: &Json| match json {
        Json::String(text) | Json::Number(text) => Ok(text.clone()),
        Json::Bool(value) => Ok(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => {
            Err("a value must be a string, a number or a boolean".to_owned())
        }
    };
    match json {
        Json::Array(values) if values.is_empty() => Err("the list of values is empty".to_owned()),
        Json::Array(values) if values.len() > MAX_VALUES => Err(format!("more than {MAX_VALUES} values")),
        Json::Array(values) => values.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

fn fold_case(text: &str) -> String {
    text.to_lowercase()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A decimal number; no names such as `inf`, no exponent.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plain = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

/// Epoch seconds, a day (its start, UTC), or an ISO 8601 time with its offset.
fn date(text: &str) -> Option<Timestamp> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Timestamp::from_second(text.parse().ok()?).ok();
    }
    if text.len() == 10 {
        return format!("{text}T00:00:00Z").parse().ok();
    }
    text.parse().ok()
}

/// An address range, or one address.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
