//! Backups: all records of one revision in one stream, taken while the store is written, and a store made from it.
//!
//! ```text
//! line "bascule backup 1\n" · format u64 · revision u64 · attachment: length u32, bytes
//! records, in key order: key length u32 (not 0), key, created u64, modified u64, value length u32, value
//! end: u32 0 · number of records u64 · SHA-256 of everything before it
//! ```
//! Integers are little-endian. Secrets in it are sealed as they are in the store; the key is not in it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use aws_lc_rs::digest;
use redb::{Database, Durability, ReadableDatabase, backends::FileBackend};

use super::tables::{self, Counters, ENTRIES, EntryRows, FORMAT, failed};
use super::{RedbStore, blocking, database};
use crate::log::Extent;
use crate::private_file;
use crate::rows::{Rows, Versions};
use crate::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Revision, StoreError};

const MAGIC: &[u8] = b"bascule backup 1\n";
/// Longest attachment, bytes.
pub const MAX_ATTACHMENT_BYTES: usize = 1 << 20;
const HASH_BYTES: usize = 32;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The revision all its records are of.
    pub revision: Revision,
    /// How many there are.
    pub records: u64,
}

impl RedbStore {
    /// Writes all records of the newest revision to `to`, and `attachment` before them. Writers go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for too long an attachment, [`StoreError::Failed`] when reading or writing fails.
    pub async fn backup(
        &self,
        attachment: Vec<u8>,
        to: impl Write + Send + 'static,
    ) -> Result<Backup, StoreError> {
        let db = std::sync::Arc::clone(&self.db);
        blocking(move || write(&db, &attachment, to)).await
    }

    /// Makes the store of a backup at `path`, durably, where there is none yet; returns the attachment beside what it
    /// holds. Nothing is left at `path` unless the backup is whole.
    ///
    /// # Errors
    /// [`StoreError::NotABackup`] if it is cut off, altered or something else, [`StoreError::Exists`] if there is a
    /// store already.
    pub async fn restore(
        path: impl AsRef<Path>,
        from: impl Read + Send + 'static,
    ) -> Result<(Backup, Vec<u8>), StoreError> {
        let path = path.as_ref().to_owned();
        blocking(move || make(&path, from)).await
    }
}

/// Reads a backup to its end without making anything of it.
///
/// # Errors
/// [`StoreError::NotABackup`] as [`RedbStore::restore`].
pub fn verify(from: impl Read) -> Result<Backup, StoreError> {
    read(from, &mut Nowhere).map(|(backup, _)| backup)
}

/// Rows that are looked at and forgotten.
struct Nowhere;

impl Rows for Nowhere {
    fn versions(&self, _: &str) -> Result<Option<Versions>, StoreError> {
        Ok(None)
    }

    fn put(&mut self, _: &str, _: Versions, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn delete(&mut self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

fn io_failed(error: io::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// Hashes what passes.
struct Hashed<T> {
    inner: T,
    hash: digest::Context,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        Self { inner, hash: digest::Context::new(&digest::SHA256) }
    }
}

impl<T: Write> Hashed<T> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.inner.write_all(bytes).map_err(io_failed)
    }

    fn put_length(&mut self, length: usize) -> Result<(), StoreError> {
        let length = u32::try_from(length).map_err(|_| StoreError::Invalid("too long".to_owned()))?;
        self.put(&length.to_le_bytes())
    }
}

impl<T: Read> Hashed<T> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        self.take().map(u64::from_le_bytes)
    }

    fn length(&mut self, most: usize) -> Result<usize, StoreError> {
        let length = usize::try_from(u32::from_le_bytes(self.take()?)).unwrap_or(usize::MAX);
        if length > most {
            return Err(damaged("a length is out of bounds"));
        }
        Ok(length)
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.inner.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it is cut off"),
            _ => io_failed(error),
        })?;
        self.hash.update(bytes);
        Ok(())
    }
}

fn damaged(why: &str) -> StoreError {
    StoreError::NotABackup(why.to_owned())
}

fn write(db: &Database, attachment: &[u8], to: impl Write) -> Result<Backup, StoreError> {
    if attachment.len() > MAX_ATTACHMENT_BYTES {
        return Err(StoreError::Invalid(format!(
            "an attachment of {} bytes, at most {MAX_ATTACHMENT_BYTES}",
            attachment.len()
        )));
    }
    let transaction = db.begin_read().map_err(failed)?;
    let revision = tables::counters(&transaction)?.revision;
    let table = transaction.open_table(ENTRIES).map_err(failed)?;
    let mut out = Hashed::new(BufWriter::new(to));
    out.put(MAGIC)?;
    out.put(&FORMAT.to_le_bytes())?;
    out.put(&revision.to_le_bytes())?;
    out.put_length(attachment.len())?;
    out.put(attachment)?;
    let mut records = 0_u64;
    for row in table.range::<&str>(..).map_err(failed)? {
        let (key, row) = row.map_err(failed)?;
        let (versions, value) = tables::split(row.value())?;
        out.put_length(key.value().len())?;
        out.put(key.value().as_bytes())?;
        out.put(&versions.created.to_le_bytes())?;
        out.put(&versions.modified.to_le_bytes())?;
        out.put_length(value.len())?;
        out.put(value)?;
        records = records.saturating_add(1);
    }
    out.put_length(0)?;
    out.put(&records.to_le_bytes())?;
    let Hashed { mut inner, hash } = out;
    inner.write_all(hash.finish().as_ref()).and_then(|()| inner.flush()).map_err(io_failed)?;
    Ok(Backup { revision, records })
}

fn make(path: &Path, from: impl Read) -> Result<(Backup, Vec<u8>), StoreError> {
    if path.exists() {
        return Err(StoreError::Exists(path.to_owned()));
    }
    private_file::ensure_directory(private_file::directory_of(path)).map_err(io_failed)?;
    let (draft, file) = private_file::create_beside(path).map_err(io_failed)?;
    let filled = fill(&draft, file, from).and_then(|made| {
        private_file::publish(&draft, path).map_err(io_failed)?;
        Ok(made)
    });
    if filled.is_err() {
        // The first error says what is wrong; a draft left behind harms nobody.
        let _ = std::fs::remove_file(&draft);
    }
    filled
}

fn fill(draft: &Path, file: File, from: impl Read) -> Result<(Backup, Vec<u8>), StoreError> {
    let backend = FileBackend::new(file).map_err(|error| tables::opening(draft, error))?;
    let db = database(draft, backend)?;
    tables::format(&db)?;
    let mut transaction = db.begin_write().map_err(failed)?;
    transaction.set_durability(Durability::Immediate).map_err(failed)?;
    transaction.set_two_phase_commit(true);
    let read = {
        let mut rows = EntryRows(transaction.open_table(ENTRIES).map_err(failed)?);
        let mut meta = transaction.open_table(tables::META).map_err(failed)?;
        let (backup, attachment) = read(from, &mut rows)?;
        let extent = Extent { compacted: backup.revision, ..Extent::default() };
        Counters { revision: backup.revision, extent }.save(&mut meta)?;
        (backup, attachment)
    };
    transaction.commit().map_err(failed)?;
    db.close().map_err(failed)?;
    Ok(read)
}

/// Reads a backup to its end; only then is it known to be whole.
fn read(from: impl Read, rows: &mut impl Rows) -> Result<(Backup, Vec<u8>), StoreError> {
    let mut from = Hashed::new(BufReader::new(from));
    if from.bytes(MAGIC.len()).map_err(|_| damaged("it does not begin like one"))? != MAGIC {
        return Err(damaged("it does not begin like one"));
    }
    let format = from.number()?;
    if format != FORMAT {
        return Err(StoreError::NotABackup(format!(
            "it is of store format {format}, this version reads format {FORMAT}: restore with the version that wrote it"
        )));
    }
    let revision = from.number()?;
    let length = from.length(MAX_ATTACHMENT_BYTES)?;
    let attachment = from.bytes(length)?;
    let mut records = 0_u64;
    loop {
        let length = from.length(MAX_KEY_BYTES)?;
        if length == 0 {
            break;
        }
        let key = String::from_utf8(from.bytes(length)?).map_err(|_| damaged("a key is no text"))?;
        let versions = Versions { created: from.number()?, modified: from.number()? };
        if versions.created > versions.modified || versions.modified > revision {
            return Err(damaged("a record is newer than the backup"));
        }
        let length = from.length(MAX_VALUE_BYTES)?;
        rows.put(&key, versions, &from.bytes(length)?)?;
        records = records.saturating_add(1);
    }
    let counted = from.number()?;
    let Hashed { mut inner, hash } = from;
    let mut told = [0; HASH_BYTES];
    inner.read_exact(&mut told).map_err(|_| damaged("it is cut off"))?;
    if counted != records || hash.finish().as_ref() != told {
        return Err(damaged("its checksum does not match"));
    }
    if inner.read(&mut [0]).map_err(io_failed)? != 0 {
        return Err(damaged("something stands behind its end"));
    }
    Ok((Backup { revision, records }, attachment))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{Op, Store, Transaction};

    /// Where a test's backup goes.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn filled(path: &Path) -> RedbStore {
        let store = RedbStore::open(path).await.unwrap();
        for n in 0..50_u8 {
            store
                .transact(Transaction::new().put(format!("/k/{n}"), vec![n; usize::from(n) * 100]))
                .await
                .unwrap();
        }
        store.transact(Transaction::new().delete("/k/7").put("/k/8", "changed")).await.unwrap();
        store
    }

    async fn taken(store: &RedbStore, attachment: &[u8]) -> (Backup, Vec<u8>) {
        let sink = Sink::default();
        let backup = store.backup(attachment.to_vec(), sink.clone()).await.unwrap();
        let bytes = sink.0.lock().unwrap().clone();
        (backup, bytes)
    }

    #[tokio::test]
    async fn what_is_restored_is_equal_and_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let store = filled(&directory.path().join("one")).await;
        let (backup, bytes) = taken(&store, b"beside").await;
        assert_eq!(backup, Backup { revision: 51, records: 49 });
        let path = directory.path().join("elsewhere/two");
        let restored = RedbStore::restore(&path, Cursor::new(bytes.clone())).await.unwrap();
        assert_eq!(restored, (backup, b"beside".to_vec()));
        let other = RedbStore::open(&path).await.unwrap();
        assert_eq!(other.list("").await, store.list("").await, "with their revisions");
        // What happened before is not in the log: whoever followed lists anew.
        assert!(matches!(other.watch("/", 50).await, Err(StoreError::Lagged)));
        assert!(other.watch("/", 51).await.is_ok());
        let next = other.transact(Transaction::new().put("/k/next", "x")).await;
        assert_eq!(next, Ok(crate::Outcome::Committed(52)));
        let (_, again) = taken(&store, b"beside").await;
        assert_eq!(again, bytes, "the same state is the same backup");
        let exists = RedbStore::restore(&path, Cursor::new(bytes)).await;
        assert_eq!(exists.unwrap_err(), StoreError::Exists(path));
    }

    #[tokio::test]
    async fn a_backup_is_of_one_revision_while_writers_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(RedbStore::open(directory.path().join("one")).await.unwrap());
        // Both halves of a pair are always written together.
        let pair = |n: u32| Transaction {
            ops: vec![
                Op::Put("/a".into(), n.to_le_bytes().into()),
                Op::Put("/z".into(), n.to_le_bytes().into()),
            ],
            ..Transaction::new()
        };
        store.transact(pair(0)).await.unwrap();
        let writing = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                for n in 1..30 {
                    store.transact(pair(n)).await.unwrap();
                }
            }
        });
        let mut seen = 0;
        while !writing.is_finished() || seen == 0 {
            let (backup, bytes) = taken(&store, b"").await;
            let path = directory.path().join(format!("restored-{seen}"));
            RedbStore::restore(&path, Cursor::new(bytes)).await.unwrap();
            let listing = RedbStore::open(&path).await.unwrap().list("").await.unwrap();
            assert_eq!((listing.revision, listing.entries.len()), (backup.revision, 2));
            assert_eq!(listing.entries[0].value, listing.entries[1].value);
            seen += 1;
        }
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_whole_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = filled(&directory.path().join("one")).await;
        let (_, bytes) = taken(&store, b"beside").await;
        let folder = directory.path().join("new");
        let path = folder.join("two");
        let refused =
            RedbStore::restore(&path, Cursor::new(bytes[..bytes.len() - 1].to_vec())).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotABackup(_)), "{refused}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        let mut broken: Vec<Vec<u8>> = (0..bytes.len()).step_by(97).map(|n| bytes[..n].to_vec()).collect();
        broken.extend((0..bytes.len()).step_by(101).map(|n| {
            let mut altered = bytes.clone();
            altered[n] ^= 0x10;
            altered
        }));
        broken.push([&bytes[..], b"x"].concat());
        assert!(broken.len() > 2_000);
        for broken in broken {
            let refused = verify(Cursor::new(broken)).unwrap_err();
            assert!(matches!(refused, StoreError::NotABackup(_)), "{refused}");
        }
        assert_eq!(verify(Cursor::new(bytes)), Ok(Backup { revision: 51, records: 49 }));
    }
}
