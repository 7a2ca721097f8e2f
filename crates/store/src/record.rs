//! Records, transactions and their bounds.

use std::collections::BTreeSet;

use crate::{Revision, StoreError};

/// Longest key, bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Longest value, bytes: room for a certificate revocation list of 20,000 entries in PEM.
pub const MAX_VALUE_BYTES: usize = 4 << 20;
/// Most checks and ops of one transaction together.
pub const MAX_TRANSACTION_STEPS: usize = 4096;
/// Most bytes of keys and values in one transaction.
pub const MAX_TRANSACTION_BYTES: usize = 8 << 20;

/// A record as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision that created it.
    pub created: Revision,
    /// The revision that last wrote it.
    pub modified: Revision,
}

/// Records of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In key order.
    pub entries: Vec<Entry>,
    /// The revision they are of; watch after it to go on.
    pub revision: Revision,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// No record has this key.
    Absent(String),
    /// A record has this key.
    Exists(String),
    /// A record has this key and was last written at exactly this revision.
    Modified(String, Revision),
}

impl Check {
    /// The key it is about.
    pub fn key(&self) -> &str {
        match self {
            Check::Absent(key) | Check::Exists(key) | Check::Modified(key, _) => key,
        }
    }
}

/// A step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Create or overwrite.
    Put(String, Vec<u8>),
    /// Remove; nothing happens when it is absent.
    Delete(String),
}

impl Op {
    /// The key it is about.
    pub fn key(&self) -> &str {
        match self {
            Op::Put(key, _) | Op::Delete(key) => key,
        }
    }

    /// Bytes of key and value.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Op::Put(key, value) => key.len().saturating_add(value.len()),
            Op::Delete(key) => key.len(),
        }
    }
}

/// All or nothing: ops that happen together if every check holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Must all hold.
    pub checks: Vec<Check>,
    /// Done in this order; at most one per key.
    pub ops: Vec<Op>,
    /// Whether it may be lost with the power as long as nothing that may not be lost came after it. For what the next
    /// start finds out anew; it spares the disk's syncs.
    pub soft: bool,
}

impl Transaction {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if `key` is absent.
    #[must_use]
    pub fn absent(mut self, key: impl Into<String>) -> Self {
        self.checks.push(Check::Absent(key.into()));
        self
    }

    /// Only if `key` exists.
    #[must_use]
    pub fn exists(mut self, key: impl Into<String>) -> Self {
        self.checks.push(Check::Exists(key.into()));
        self
    }

    /// Only if `key` was last written at exactly `revision`.
    #[must_use]
    pub fn modified(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.checks.push(Check::Modified(key.into(), revision));
        self
    }

    /// Write `value` at `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.ops.push(Op::Put(key.into(), value.into()));
        self
    }

    /// Write a model record at `key`, as [`crate::typed::encode`] does.
    #[must_use]
    pub fn put_record<T: serde::Serialize>(self, key: impl Into<String>, record: &T) -> Self {
        self.put(key, crate::typed::encode(record))
    }

    /// Remove `key`.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete(key.into()));
        self
    }

    /// Lets it be lost with the power as long as nothing that may not be lost came after it.
    #[must_use]
    pub fn soft(mut self) -> Self {
        self.soft = true;
        self
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        let checks: usize = self.checks.iter().map(|check| check.key().len()).sum();
        let ops: usize = self.ops.iter().map(Op::bytes).sum();
        checks.saturating_add(ops)
    }

    /// Refuses what is outside the bounds, and two ops on one key: which would win is a question no back end should
    /// have to answer.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        let invalid = |text: String| Err(StoreError::Invalid(text));
        let steps = self.checks.len().saturating_add(self.ops.len());
        if steps > MAX_TRANSACTION_STEPS {
            return invalid(format!("{steps} steps in one transaction, at most {MAX_TRANSACTION_STEPS}"));
        }
        if self.bytes() > MAX_TRANSACTION_BYTES {
            return invalid(format!(
                "{} bytes in one transaction, at most {MAX_TRANSACTION_BYTES}",
                self.bytes()
            ));
        }
        for key in self.checks.iter().map(Check::key).chain(self.ops.iter().map(Op::key)) {
            if key.is_empty() || key.len() > MAX_KEY_BYTES {
                return invalid(format!("a key of {} bytes, allowed are 1 to {MAX_KEY_BYTES}", key.len()));
            }
        }
        let mut keys = BTreeSet::new();
        for op in &self.ops {
            if let Op::Put(key, value) = op
                && value.len() > MAX_VALUE_BYTES
            {
                return invalid(format!(
                    "a value of {} bytes at {key}, at most {MAX_VALUE_BYTES}",
                    value.len()
                ));
            }
            if !keys.insert(op.key()) {
                return invalid(format!("two operations on {}", op.key()));
            }
        }
        Ok(())
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done and durable, at this revision.
    Committed(Revision),
    /// A check did not hold; nothing was done.
    Conflict,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision that made it.
    pub revision: Revision,
    /// The key.
    pub key: String,
    /// The new value; `None`: deleted.
    pub value: Option<Vec<u8>>,
}

impl Change {
    /// Bytes of key and value.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len().saturating_add(self.value.as_ref().map_or(0, Vec::len))
    }
}
