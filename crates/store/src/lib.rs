//! Where Bascule keeps its records: etcd's model (revisions, prefix lists, gap-free watches, compare-and-set over
//! several keys) behind one trait, in memory for tests and on a redb file for real.
//!
//! Layer 3. A reader of the whole state follows one pattern: [`Store::list`], then [`Store::watch`] after that
//! listing's revision, and on [`StoreError::Lagged`] from either the start or the middle of a watch, list again.

pub mod conformance;
pub mod counted;
mod error;
pub mod failpoint;
mod log;
mod master_key;
mod memory;
mod private_file;
mod record;
mod redb_store;
mod rows;
pub mod typed;
mod watch;

use async_trait::async_trait;

pub use error::StoreError;
pub use master_key::{MasterKey, MasterKeyError};
pub use memory::MemoryStore;
pub use record::{
    Change, Check, Entry, Listing, MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_STEPS,
    MAX_VALUE_BYTES, Op, Outcome, Transaction,
};
pub use redb_store::{Backup, MAX_ATTACHMENT_BYTES, RedbStore, verify as verify_backup};
pub use watch::{Bounds, MAX_WATCHES, Watch};

/// The store's counter: it grows by one with every transaction that changes something. 0 is the empty store.
pub type Revision = u64;

/// A store of records. Object safe; every back end passes [`conformance::run`].
///
/// All calls see every transaction that was answered `Committed` before they began.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The record at `key`.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Every record whose key begins with `prefix`, in key order, of one revision.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// At most `limit` records whose key begins with `prefix` and is greater than `after`, in key order. Each page
    /// is of the newest revision, so two pages need not be of the same one.
    async fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Listing, StoreError>;

    /// Does all of the transaction if every check holds, else nothing. `Committed` is durable, and so is all that was
    /// committed before it; but for [`Transaction::soft`] ones. All its changes share
    /// one revision; a transaction that changes nothing (no op, or deletes of absent keys only) is `Committed` at the
    /// current revision without making a new one.
    ///
    /// A transaction whose future is dropped, or that ends in [`StoreError::Failed`], may or may not have happened.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] beyond the bounds of this crate, or with two ops on one key.
    async fn transact(&self, transaction: Transaction) -> Result<Outcome, StoreError>;

    /// Changes under `prefix` with a revision greater than `after`, without gaps.
    ///
    /// # Errors
    /// [`StoreError::Lagged`] when changes after `after` are no longer in the log, or too many to hand over: list.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// The newest revision.
    async fn revision(&self) -> Result<Revision, StoreError>;
}
