//! Values of a context.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;

/// A record: attributes by name.
pub type Record = BTreeMap<String, Value>;

/// A value that a policy may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// Text.
    String(String),
    /// Several values, in no order.
    Set(Vec<Value>),
    /// Attributes by name.
    Record(Record),
}

impl Value {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// In Cedar's own form; `None` if Cedar refuses it.
    pub(super) fn expression(&self) -> Option<RestrictedExpression> {
        Some(match self {
            Self::Bool(value) => RestrictedExpression::new_bool(*value),
            Self::Long(value) => RestrictedExpression::new_long(*value),
            Self::String(value) => RestrictedExpression::new_string(value.clone()),
            Self::Set(values) => {
                let values = values.iter().map(Value::expression).collect::<Option<Vec<_>>>()?;
                RestrictedExpression::new_set(values)
            }
            Self::Record(record) => RestrictedExpression::new_record(pairs(record)?).ok()?,
        })
    }
}

/// A record's attributes in Cedar's own form.
pub(super) fn pairs(record: &Record) -> Option<Vec<(String, RestrictedExpression)>> {
    record.iter().map(|(name, value)| Some((name.clone(), value.expression()?))).collect()
}
