//! The store on a redb file: immediate durability, two-phase commit, one writer thread.
//!
//! Reads need no writer and no lock that a commit holds across a sync, so they run where they are asked for when they
//! are short: `get` and `revision` go down a tree of a few pages, nearly always in redb's own cache. Reads of unbounded
//! length (`list`, `page`, a watch's backlog) run on the runtime's blocking threads.

mod backup;
mod tables;
mod writer;

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, StorageBackend};
use tokio::sync::{mpsc, oneshot};

use crate::failpoint::Failpoint;
use crate::private_file::{self, OTHERS};
use crate::watch::{Backlog, Bounds, Hub, Watch};
use crate::{Entry, Listing, Outcome, Revision, Store, StoreError, Transaction};
pub use backup::{Backup, MAX_ATTACHMENT_BYTES, verify};
use tables::{ENTRIES, FORMAT, Found, LOG, failed};
use writer::{Job, QUEUE, Writer};

/// Memory for pages of the file, bytes.
const CACHE_BYTES: usize = 32 << 20;

/// The store on a redb file. Dropping it waits for the writer to finish the transactions it has.
#[derive(Debug)]
pub struct RedbStore {
    db: Arc<Database>,
    hub: Arc<Hub>,
    failure: Arc<OnceLock<StoreError>>,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl RedbStore {
    /// Opens the store at `path`, or creates it (file mode 0600; a missing directory mode 0700). After a crash the
    /// file is repaired.
    ///
    /// # Errors
    /// One clear line when another process has it open, another version wrote it, or it is no store.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, Bounds::default()).await
    }

    /// Opens the store and keeps this much of the past.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(path: impl AsRef<Path>, bounds: Bounds) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        blocking(move || open_file(&path, bounds)).await
    }

    /// Starts on an open database that is a store.
    fn start(path: &Path, db: Database, bounds: Bounds) -> Result<Self, StoreError> {
        let failpoint = Failpoint::from_environment()?;
        let counters = match tables::inspect(&db.begin_read().map_err(failed)?)? {
            Found::Store(counters) => counters,
            Found::OtherFormat(found) => {
                return Err(StoreError::Format { path: path.to_owned(), found, known: FORMAT });
            }
            Found::NotAStore => return Err(not_a_store(path, "a database of another program")),
        };
        let db = Arc::new(db);
        let hub = Arc::new(Hub::new(bounds));
        let failure = Arc::new(OnceLock::new());
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            db: Arc::clone(&db),
            hub: Arc::clone(&hub),
            counters,
            softs: 0,
            failpoint,
            failure: Arc::clone(&failure),
        };
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|error| StoreError::Failed(format!("cannot start the writer: {error}")))?;
        Ok(Self { db, hub, failure, jobs: Some(jobs), writer: Some(writer) })
    }

    fn stopped(&self) -> StoreError {
        self.failure.get().cloned().unwrap_or(StoreError::Closed)
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

fn not_a_store(path: &Path, reason: &str) -> StoreError {
    StoreError::NotAStore { path: path.to_owned(), reason: reason.to_owned() }
}

fn database(path: &Path, backend: impl StorageBackend) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.create_with_backend(backend).map_err(|error| tables::opening(path, error))
}

fn open_file(path: &Path, bounds: Bounds) -> Result<RedbStore, StoreError> {
    let io_error = |error: io::Error| StoreError::Failed(format!("{}: {error}", path.display()));
    let directory = private_file::directory_of(path);
    private_file::ensure_directory(directory).map_err(io_error)?;
    let mode = directory.metadata().map_err(io_error)?.permissions().mode();
    if mode & 0o022 != 0 {
        tracing::warn!(directory = %directory.display(), "others may write in the store's directory: chmod 700 it");
    }
    let open = || OpenOptions::new().read(true).write(true).open(path);
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_file(path)?;
            open()
        }
        other => other,
    }
    .map_err(io_error)?;
    let metadata = file.metadata().map_err(io_error)?;
    if !metadata.is_file() {
        return Err(not_a_store(path, "not a file"));
    }
    if metadata.len() == 0 {
        // redb would take it for a new database and write into it.
        return Err(not_a_store(path, "an empty file; remove it to start anew"));
    }
    if metadata.permissions().mode() & OTHERS != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(io_error)?;
    }
    refuse_other_format(path)?;
    let backend = FileBackend::new(file).map_err(|error| tables::opening(path, error))?;
    RedbStore::start(path, database(path, backend)?, bounds)
}

/// Refuses the store of another version before opening it to write changes a byte of it. What must be repaired first, or
/// cannot be read, is told apart when it is opened.
fn refuse_other_format(path: &Path) -> Result<(), StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let Ok(db) = builder.open_read_only(path) else { return Ok(()) };
    match tables::inspect(&db.begin_read().map_err(failed)?)? {
        Found::OtherFormat(found) => Err(StoreError::Format { path: path.to_owned(), found, known: FORMAT }),
        Found::Store(_) | Found::NotAStore => Ok(()),
    }
}

/// Creates the file under another name and gives it its own when it is a whole store: power lost in between leaves
/// nothing behind that could not be opened.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let io_error = |error: io::Error| StoreError::Failed(format!("{}: {error}", path.display()));
    let (draft, file) = private_file::create_beside(path).map_err(io_error)?;
    let fill = |draft: &PathBuf| -> Result<(), StoreError> {
        let backend = FileBackend::new(file).map_err(|error| tables::opening(draft, error))?;
        let db = database(draft, backend)?;
        tables::format(&db)?;
        db.close().map_err(failed)?;
        private_file::publish(draft, path).map_err(io_error)
    };
    let filled = fill(&draft);
    if filled.is_err() {
        // The first error says what is wrong; a draft left behind harms nobody.
        let _ = std::fs::remove_file(&draft);
    }
    filled
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Failed("a read was cut off".to_owned())),
    }
}

fn read(db: &Database, prefix: &str, after: Option<&str>, limit: usize) -> Result<Listing, StoreError> {
    let transaction = db.begin_read().map_err(failed)?;
    let revision = tables::counters(&transaction)?.revision;
    let table = transaction.open_table(ENTRIES).map_err(failed)?;
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut entries = Vec::new();
    for row in table.range::<&str>((from, Bound::Unbounded)).map_err(failed)?.take(limit) {
        let (key, row) = row.map_err(failed)?;
        if !key.value().starts_with(prefix) {
            break;
        }
        entries.push(tables::entry(key.value(), row.value())?);
    }
    Ok(Listing { entries, revision })
}

/// What the log holds for a watch, and the revision up to which it was read.
fn read_log(
    db: &Database,
    prefix: &str,
    after: Revision,
    bounds: &Bounds,
) -> Result<(Backlog, Revision), StoreError> {
    let transaction = db.begin_read().map_err(failed)?;
    let counters = tables::counters(&transaction)?;
    if after < counters.extent.compacted {
        return Err(StoreError::Lagged);
    }
    let mut backlog = Backlog::default();
    if after < counters.revision {
        let log = transaction.open_table(LOG).map_err(failed)?;
        for row in log.range::<u64>((Bound::Excluded(after), Bound::Unbounded)).map_err(failed)? {
            let (revision, row) = row.map_err(failed)?;
            backlog.add(tables::changes(revision.value(), row.value())?, prefix, bounds)?;
        }
    }
    Ok((backlog, counters.revision.max(after)))
}

#[async_trait]
impl Store for RedbStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let transaction = self.db.begin_read().map_err(failed)?;
        let table = transaction.open_table(ENTRIES).map_err(failed)?;
        let row = table.get(key).map_err(failed)?;
        row.map(|row| tables::entry(key, row.value())).transpose()
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let (db, prefix) = (Arc::clone(&self.db), prefix.to_owned());
        blocking(move || read(&db, &prefix, None, usize::MAX)).await
    }

    async fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Listing, StoreError> {
        let (db, prefix, after) = (Arc::clone(&self.db), prefix.to_owned(), after.map(str::to_owned));
        blocking(move || read(&db, &prefix, after.as_deref(), limit)).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        transaction.validate()?;
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        let (answer, outcome) = oneshot::channel();
        jobs.send(Job { transaction, answer }).await.map_err(|_| self.stopped())?;
        outcome.await.map_err(|_| self.stopped())?
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        // Registered before the log is read: what is committed in between is in both, and left out once.
        let subscriber = self.hub.subscribe(prefix)?;
        let (db, hub, prefix) = (Arc::clone(&self.db), Arc::clone(&self.hub), prefix.to_owned());
        let (backlog, seen) = blocking(move || read_log(&db, &prefix, after, hub.bounds())).await?;
        Ok(Watch::new(subscriber, backlog, seen))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(tables::counters(&self.db.begin_read().map_err(failed)?)?.revision)
    }
}

#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod tests;
