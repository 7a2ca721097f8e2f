//! What a transaction does to a table of rows: the one evaluation that all back ends share.

use crate::{Change, Check, Op, Revision, StoreError, Transaction};

/// When a row was created and last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) created: Revision,
    pub(crate) modified: Revision,
}

/// A back end's rows, inside a transaction of its own.
pub(crate) trait Rows {
    fn versions(&self, key: &str) -> Result<Option<Versions>, StoreError>;
    fn put(&mut self, key: &str, versions: Versions, value: &[u8]) -> Result<(), StoreError>;
    fn delete(&mut self, key: &str) -> Result<(), StoreError>;
}

/// What came of it.
pub(crate) enum Applied {
    Conflict,
    /// Every check held and there was nothing to change.
    Unchanged,
    Changed(Vec<Change>),
}

/// Evaluates the checks, then does the ops as `revision`. A valid transaction fails only with the storage.
pub(crate) fn apply(
    transaction: Transaction,
    revision: Revision,
    rows: &mut dyn Rows,
) -> Result<Applied, StoreError> {
    for check in &transaction.checks {
        let versions = rows.versions(check.key())?;
        let holds = match check {
            Check::Absent(_) => versions.is_none(),
            Check::Exists(_) => versions.is_some(),
            Check::Modified(_, at) => versions.is_some_and(|found| found.modified == *at),
        };
        if !holds {
            return Ok(Applied::Conflict);
        }
    }
    let mut changes = Vec::with_capacity(transaction.ops.len());
    for op in transaction.ops {
        match op {
            Op::Put(key, value) => {
                let created = rows.versions(&key)?.map_or(revision, |found| found.created);
                rows.put(&key, Versions { created, modified: revision }, &value)?;
                changes.push(Change { revision, key, value: Some(value) });
            }
            Op::Delete(key) => {
                if rows.versions(&key)?.is_some() {
                    rows.delete(&key)?;
                    changes.push(Change { revision, key, value: None });
                }
            }
        }
    }
    Ok(if changes.is_empty() { Applied::Unchanged } else { Applied::Changed(changes) })
}
