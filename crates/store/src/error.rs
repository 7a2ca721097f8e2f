//! What can go wrong with a store.

use std::path::PathBuf;

/// Why a store did not do what it was asked. Cheap to clone: one failed commit answers a whole group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The watch cannot go on without a gap: its reader must list again and start a new watch.
    #[error("the reader fell behind the change log: list again")]
    Lagged,
    /// The request is outside the bounds of the store; nothing was done.
    #[error("invalid store request: {0}")]
    Invalid(String),
    /// A stored value is not what this version writes.
    #[error("malformed record: {0}")]
    Malformed(String),
    /// More watches than [`crate::MAX_WATCHES`].
    #[error("too many watches on the store")]
    TooManyWatches,
    /// Another process has the file open.
    #[error("{} is in use by another process: only one may open it", .0.display())]
    InUse(PathBuf),
    /// The file was written by a version of Bascule that this one does not understand.
    #[error(
        "{} has store format {found}, this version reads format {known}: run the version that wrote it, or restore the \
         backup made before the upgrade",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format this version reads and writes.
        known: u64,
    },
    /// The file is not a Bascule store.
    #[error("{} is not a Bascule store: {reason}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What was to be restored is not a whole backup.
    #[error("not a whole backup: {0}")]
    NotABackup(String),
    /// There is a store already where one was to be made.
    #[error("{} is there already: nothing is restored over it", .0.display())]
    Exists(PathBuf),
    /// The storage failed. Whether a transaction answered so has happened is unknown until the store is opened anew.
    #[error("store failed: {0}")]
    Failed(String),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}
