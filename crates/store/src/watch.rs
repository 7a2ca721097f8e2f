//! Watches: in-process broadcast of commits to bounded queues, one per reader.
//!
//! Gap-free by order: a back end registers the queue first, then reads the log up to some revision, and the watch
//! leaves out queued commits up to that revision. A reader too slow for its queue gets [`StoreError::Lagged`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::{Change, Revision, StoreError};

/// Most watches of one store at a time.
pub const MAX_WATCHES: usize = 1024;

/// How much of the past a store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Changes kept in the log for watches that resume.
    pub log_changes: u64,
    /// Bytes of keys and values kept in the log.
    pub log_bytes: u64,
    /// Changes queued for one reader, or handed to it from the log at once.
    pub watch_changes: usize,
    /// Bytes of keys and values queued for one reader, or handed to it from the log at once.
    pub watch_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { log_changes: 100_000, log_bytes: 64 << 20, watch_changes: 16_384, watch_bytes: 32 << 20 }
    }
}

/// One committed transaction's changes, shared by all readers.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) revision: Revision,
    pub(crate) changes: Vec<Change>,
}

/// Changes gathered for one reader, up to its bounds.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    changes: Vec<Change>,
    bytes: usize,
}

impl Backlog {
    /// Adds the changes under `prefix`; [`StoreError::Lagged`] beyond the bounds.
    pub(crate) fn add(
        &mut self,
        changes: Vec<Change>,
        prefix: &str,
        bounds: &Bounds,
    ) -> Result<(), StoreError> {
        for change in changes {
            if change.key.starts_with(prefix) {
                self.bytes = self.bytes.saturating_add(change.bytes());
                if self.changes.len() >= bounds.watch_changes || self.bytes > bounds.watch_bytes {
                    return Err(StoreError::Lagged);
                }
                self.changes.push(change);
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Queue {
    commits: VecDeque<Arc<Commit>>,
    changes: usize,
    bytes: usize,
    /// Once set, all the reader gets.
    end: Option<StoreError>,
}

/// One reader's queue.
#[derive(Debug)]
pub(crate) struct Subscriber {
    prefix: String,
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Subscriber {
    fn offer(&self, commit: &Arc<Commit>, bounds: &Bounds) {
        let (mut changes, mut bytes) = (0_usize, 0_usize);
        for change in commit.changes.iter().filter(|change| change.key.starts_with(&self.prefix)) {
            changes = changes.saturating_add(1);
            bytes = bytes.saturating_add(change.bytes());
        }
        if changes == 0 {
            return;
        }
        let mut queue = locked(&self.queue);
        if queue.end.is_some() {
            return;
        }
        queue.changes = queue.changes.saturating_add(changes);
        queue.bytes = queue.bytes.saturating_add(bytes);
        if queue.changes > bounds.watch_changes || queue.bytes > bounds.watch_bytes {
            *queue = Queue { end: Some(StoreError::Lagged), ..Queue::default() };
        } else {
            queue.commits.push_back(Arc::clone(commit));
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// What is already queued is still delivered.
    fn end(&self, error: StoreError) {
        locked(&self.queue).end.get_or_insert(error);
        self.wake.notify_one();
    }

    /// All queued changes after `seen`, whole revisions.
    fn take(&self, seen: &mut Revision) -> Result<Vec<Change>, StoreError> {
        let commits = {
            let mut queue = locked(&self.queue);
            if queue.commits.is_empty()
                && let Some(error) = &queue.end
            {
                return Err(error.clone());
            }
            queue.changes = 0;
            queue.bytes = 0;
            std::mem::take(&mut queue.commits)
        };
        let mut changes = Vec::new();
        for commit in commits {
            if commit.revision > *seen {
                *seen = commit.revision;
                changes.extend(
                    commit.changes.iter().filter(|change| change.key.starts_with(&self.prefix)).cloned(),
                );
            }
        }
        Ok(changes)
    }
}

#[derive(Debug, Default)]
struct Registry {
    subscribers: Vec<Weak<Subscriber>>,
    closed: Option<StoreError>,
}

/// All readers of one store. Whoever publishes keeps the order of revisions.
#[derive(Debug)]
pub(crate) struct Hub {
    bounds: Bounds,
    registry: Mutex<Registry>,
}

impl Hub {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, registry: Mutex::default() }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(crate) fn subscribe(&self, prefix: &str) -> Result<Arc<Subscriber>, StoreError> {
        let mut registry = locked(&self.registry);
        if let Some(error) = &registry.closed {
            return Err(error.clone());
        }
        registry.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        if registry.subscribers.len() >= MAX_WATCHES {
            return Err(StoreError::TooManyWatches);
        }
        let subscriber =
            Arc::new(Subscriber { prefix: prefix.to_owned(), queue: Mutex::default(), wake: Notify::new() });
        registry.subscribers.push(Arc::downgrade(&subscriber));
        Ok(subscriber)
    }

    pub(crate) fn publish(&self, commit: &Arc<Commit>) {
        let mut registry = locked(&self.registry);
        registry.subscribers.retain(|subscriber| match subscriber.upgrade() {
            Some(subscriber) => {
                subscriber.offer(commit, &self.bounds);
                true
            }
            None => false,
        });
    }

    /// Ends all watches, now and to come.
    pub(crate) fn close(&self, error: StoreError) {
        let mut registry = locked(&self.registry);
        for subscriber in registry.subscribers.drain(..).filter_map(|subscriber| subscriber.upgrade()) {
            subscriber.end(error.clone());
        }
        registry.closed.get_or_insert(error);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.close(StoreError::Closed);
    }
}

/// A reader's place in the stream of changes.
#[derive(Debug)]
pub struct Watch {
    subscriber: Arc<Subscriber>,
    backlog: Vec<Change>,
    seen: Revision,
}

impl Watch {
    /// `backlog` is what the log held for this reader up to `seen`, read after `subscriber` was registered.
    pub(crate) fn new(subscriber: Arc<Subscriber>, backlog: Backlog, seen: Revision) -> Self {
        Self { subscriber, backlog: backlog.changes, seen }
    }

    /// The next changes: at least one, all those waiting, in order, whole revisions. Safe to cancel.
    ///
    /// # Errors
    /// [`StoreError::Lagged`] when the reader was too slow (list again; this watch is over), [`StoreError::Closed`]
    /// or [`StoreError::Failed`] when the store is gone.
    pub async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        if !self.backlog.is_empty() {
            return Ok(std::mem::take(&mut self.backlog));
        }
        loop {
            let changes = self.subscriber.take(&mut self.seen)?;
            if !changes.is_empty() {
                return Ok(changes);
            }
            // There is one reader, and a wake before this line is remembered.
            self.subscriber.wake.notified().await;
        }
    }
}

/// A panic elsewhere leaves these queues consistent: every update is done before the lock is given back.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
