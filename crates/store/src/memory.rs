//! The store in memory: for tests, and the plainest reading of the contract.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::log::Extent;
use crate::rows::{Applied, Rows, Versions, apply};
use crate::watch::{Backlog, Bounds, Commit, Hub, Watch, locked};
use crate::{Entry, Listing, Outcome, Revision, Store, StoreError, Transaction};

/// A store that forgets everything when it is dropped. "Durable" means as long as that.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    hub: Hub,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    rows: BTreeMap<String, (Versions, Vec<u8>)>,
    log: VecDeque<Arc<Commit>>,
    extent: Extent,
}

impl Rows for BTreeMap<String, (Versions, Vec<u8>)> {
    fn versions(&self, key: &str) -> Result<Option<Versions>, StoreError> {
        Ok(self.get(key).map(|(versions, _)| *versions))
    }

    fn put(&mut self, key: &str, versions: Versions, value: &[u8]) -> Result<(), StoreError> {
        self.insert(key.to_owned(), (versions, value.to_vec()));
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), StoreError> {
        self.remove(key);
        Ok(())
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_bounds(Bounds::default())
    }

    /// An empty store that keeps this much of the past.
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self { state: Mutex::default(), hub: Hub::new(bounds) }
    }

    fn read(&self, prefix: &str, after: Option<&str>, limit: usize) -> Listing {
        let state = locked(&self.state);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let entries = state
            .rows
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, (versions, value))| entry(key, *versions, value))
            .collect();
        Listing { entries, revision: state.revision }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

fn entry(key: &str, versions: Versions, value: &[u8]) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.to_vec(),
        created: versions.created,
        modified: versions.modified,
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let state = locked(&self.state);
        Ok(state.rows.get(key).map(|(versions, value)| entry(key, *versions, value)))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        Ok(self.read(prefix, None, usize::MAX))
    }

    async fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Listing, StoreError> {
        Ok(self.read(prefix, after, limit))
    }

    async fn transact(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        transaction.validate()?;
        let mut guard = locked(&self.state);
        let state = &mut *guard;
        let revision = state.revision.saturating_add(1);
        let changes = match apply(transaction, revision, &mut state.rows)? {
            Applied::Conflict => return Ok(Outcome::Conflict),
            Applied::Unchanged => return Ok(Outcome::Committed(state.revision)),
            Applied::Changed(changes) => changes,
        };
        state.revision = revision;
        state.extent.grow(&changes);
        let commit = Arc::new(Commit { revision, changes });
        state.log.push_back(Arc::clone(&commit));
        while state.extent.exceeds(self.hub.bounds())
            && let Some(oldest) = state.log.pop_front()
        {
            state.extent.shrink(oldest.revision, &oldest.changes);
        }
        // Under the lock: readers see commits in the order of their revisions.
        self.hub.publish(&commit);
        Ok(Outcome::Committed(revision))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let state = locked(&self.state);
        if after < state.extent.compacted {
            return Err(StoreError::Lagged);
        }
        let subscriber = self.hub.subscribe(prefix)?;
        let mut backlog = Backlog::default();
        let first = state.log.partition_point(|commit| commit.revision <= after);
        for commit in state.log.range(first..) {
            backlog.add(commit.changes.clone(), prefix, self.hub.bounds())?;
        }
        Ok(Watch::new(subscriber, backlog, state.revision.max(after)))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(locked(&self.state).revision)
    }
}
