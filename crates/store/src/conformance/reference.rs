//! The reference model: the contract in the most naive form, written apart from every back end.

use crate::{Change, Check, Entry, Listing, Op, Outcome, Revision, Transaction};

/// Records in no particular order, and every change ever made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    pub(crate) revision: Revision,
    entries: Vec<Entry>,
    pub(crate) history: Vec<Change>,
}

impl Reference {
    /// An empty model of a store that stands at `revision`.
    pub(crate) fn at(revision: Revision) -> Self {
        Self { revision, ..Self::default() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.key == key).cloned()
    }

    pub(crate) fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Listing {
        let mut entries: Vec<Entry> = self
            .entries
            .iter()
            .filter(|entry| {
                entry.key.starts_with(prefix) && after.is_none_or(|after| entry.key.as_str() > after)
            })
            .cloned()
            .collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.truncate(limit);
        Listing { entries, revision: self.revision }
    }

    pub(crate) fn list(&self, prefix: &str) -> Listing {
        self.page(prefix, None, usize::MAX)
    }

    pub(crate) fn transact(&mut self, transaction: &Transaction) -> Outcome {
        let holds = |check: &Check| match check {
            Check::Absent(key) => self.get(key).is_none(),
            Check::Exists(key) => self.get(key).is_some(),
            Check::Modified(key, at) => self.get(key).map(|entry| entry.modified) == Some(*at),
        };
        if !transaction.checks.iter().all(holds) {
            return Outcome::Conflict;
        }
        let revision = self.revision + 1;
        let mut changed = false;
        for op in &transaction.ops {
            let (key, value) = match op {
                Op::Put(key, value) => (key, Some(value)),
                Op::Delete(key) => (key, None),
            };
            let before = self.get(key);
            if value.is_none() && before.is_none() {
                continue;
            }
            self.entries.retain(|entry| entry.key != *key);
            if let Some(value) = value {
                let created = before.map_or(revision, |entry| entry.created);
                self.entries.push(Entry {
                    key: key.clone(),
                    value: value.clone(),
                    created,
                    modified: revision,
                });
            }
            self.history.push(Change { revision, key: key.clone(), value: value.cloned() });
            changed = true;
        }
        if changed {
            self.revision = revision;
        }
        Outcome::Committed(self.revision)
    }

    pub(crate) fn changes(&self, prefix: &str, after: Revision) -> Vec<Change> {
        self.history
            .iter()
            .filter(|change| change.revision > after && change.key.starts_with(prefix))
            .cloned()
            .collect()
    }
}
