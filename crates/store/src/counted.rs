//! A store that counts what is asked of it, so that tests can hold work down instead of time, which flakes.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::{Entry, Listing, Op, Outcome, Revision, Store, StoreError, Transaction, Watch};

/// What was asked since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were handed out by `get`, `list` and `page`.
    pub records_read: u64,
    /// Records that committed transactions wrote or deleted.
    pub records_written: u64,
    /// Bytes of keys and values of those.
    pub bytes_written: u64,
}

impl Counts {
    /// What came after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            records_read: self.records_read.saturating_sub(before.records_read),
            records_written: self.records_written.saturating_sub(before.records_written),
            bytes_written: self.bytes_written.saturating_sub(before.bytes_written),
        }
    }
}

/// A store with a count.
#[derive(Debug, Default)]
pub struct Counted<S> {
    inner: S,
    records_read: AtomicU64,
    records_written: AtomicU64,
    bytes_written: AtomicU64,
}

impl<S: Store> Counted<S> {
    /// Counts what is asked of this store.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            records_read: AtomicU64::new(0),
            records_written: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        }
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        Counts {
            records_read: self.records_read.load(Ordering::Relaxed),
            records_written: self.records_written.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
        }
    }

    fn read(&self, records: usize) {
        add(&self.records_read, records);
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[async_trait]
impl<S: Store> Store for Counted<S> {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let entry = self.inner.get(key).await?;
        self.read(usize::from(entry.is_some()));
        Ok(entry)
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let listing = self.inner.list(prefix).await?;
        self.read(listing.entries.len());
        Ok(listing)
    }

    async fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Listing, StoreError> {
        let listing = self.inner.page(prefix, after, limit).await?;
        self.read(listing.entries.len());
        Ok(listing)
    }

    async fn transact(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        let (records, bytes) = (transaction.ops.len(), transaction.ops.iter().map(Op::bytes).sum());
        let outcome = self.inner.transact(transaction).await?;
        if let Outcome::Committed(_) = outcome {
            add(&self.records_written, records);
            add(&self.bytes_written, bytes);
        }
        Ok(outcome)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.inner.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    #[tokio::test]
    async fn everything_is_counted_and_passed_on() {
        let store = Counted::new(MemoryStore::new());
        store.transact(Transaction::new().put("/a/1", "x").put("/a/2", "yz")).await.unwrap();
        let refused = store.transact(Transaction::new().absent("/a/1").put("/a/3", "x")).await;
        assert_eq!(refused, Ok(Outcome::Conflict));
        let written = store.counts();
        assert_eq!(written, Counts { records_read: 0, records_written: 2, bytes_written: 11 });
        assert!(store.get("/a/1").await.unwrap().is_some() && store.get("/b").await.unwrap().is_none());
        assert_eq!(store.list("/a/").await.unwrap().entries.len(), 2);
        assert_eq!(store.page("/a/", Some("/a/1"), 5).await.unwrap().entries.len(), 1);
        assert_eq!(store.counts().since(written), Counts { records_read: 4, ..Counts::default() });
    }
}
