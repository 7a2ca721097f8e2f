//! What an action wants written: checks and puts of one transaction, collected.

use model::{EndpointId, Key};
use serde::Serialize;
use store::typed::{self, Record};
use store::{Check, Entry, Op, Transaction};

/// One transaction in the making.
#[derive(Default)]
pub(crate) struct Draft {
    checks: Vec<Check>,
    ops: Vec<Op>,
    endpoint: Option<EndpointId>,
}

impl Draft {
    /// A draft whose effect on this endpoint the call shall wait for.
    pub(crate) fn of(endpoint: &EndpointId) -> Self {
        Self { endpoint: Some(endpoint.clone()), ..Self::default() }
    }

    /// Writes a record that must not exist.
    pub(crate) fn create<T: Serialize>(&mut self, key: Key, value: &T) {
        self.checks.push(Check::Absent(key.as_str().to_owned()));
        self.put(key, value);
    }

    /// Rewrites a record that must be as it was read.
    pub(crate) fn replace<T: Serialize, U: Serialize>(&mut self, read: &Record<U>, value: &T) {
        self.unchanged(read);
        self.ops.push(Op::Put(read.key.clone(), typed::encode(value)));
    }

    /// Rewrites a record, given as the store has it, that must be as it was read.
    pub(crate) fn rewrite(&mut self, read: &Entry, value: Vec<u8>) {
        self.checks.push(Check::Modified(read.key.clone(), read.modified));
        self.ops.push(Op::Put(read.key.clone(), value));
    }

    /// Rewrites a record as it was: whoever decides at the same time that nothing refers to it meets a conflict.
    pub(crate) fn touch<T: Serialize>(&mut self, read: &Record<T>) {
        self.replace(read, &read.value);
    }

    /// Deletes a record that must be as it was read.
    pub(crate) fn delete<U>(&mut self, read: &Record<U>) {
        self.unchanged(read);
        self.ops.push(Op::Delete(read.key.clone()));
    }

    /// Deletes what stands there, if anything does.
    pub(crate) fn remove(&mut self, key: impl Into<String>) {
        self.ops.push(Op::Delete(key.into()));
    }

    /// Writes a record, whatever stands there.
    pub(crate) fn put<T: Serialize>(&mut self, key: Key, value: &T) {
        self.ops.push(Op::Put(key.into(), typed::encode(value)));
    }

    /// Demands that a record is as it was read.
    pub(crate) fn unchanged<U>(&mut self, read: &Record<U>) {
        self.checks.push(Check::Modified(read.key.clone(), read.modified));
    }

    /// Whether there is anything to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The endpoint whose convergence is waited for.
    pub(crate) fn endpoint(&self) -> Option<&EndpointId> {
        self.endpoint.as_ref()
    }

    /// The keys that are written.
    pub(crate) fn keys(&self) -> Vec<String> {
        let key = |op: &Op| match op {
            Op::Put(key, _) | Op::Delete(key) => key.clone(),
        };
        self.ops.iter().map(key).collect()
    }

    /// The store's form.
    pub(crate) fn into_transaction(self) -> Transaction {
        Transaction { checks: self.checks, ops: self.ops, soft: false }
    }
}
