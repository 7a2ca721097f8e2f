//! What stands in the file: three tables, and the store's counters.

use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableTable, Table, TableDefinition, TableError,
};

use crate::log::Extent;
use crate::rows::{Rows, Versions};
use crate::{Entry, Revision, StoreError};

/// The format this version reads and writes, of stores and backups. Who raises it writes what turns the former one into it,
/// in one transaction of [`super::RedbStore::open`], and a backup of the former format must be read on.
pub(super) const FORMAT: u64 = 1;

/// Key to `created`, `modified` (64-bit little-endian each), value.
pub(super) const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
/// Revision to its changes (see [`crate::log`]).
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Named counters.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const META_FORMAT: &str = "format";
const META_REVISION: &str = "revision";
const META_COMPACTED: &str = "compacted";
const META_LOG_CHANGES: &str = "log-changes";
const META_LOG_BYTES: &str = "log-bytes";

/// Any failure of the storage, as the one error readers get.
pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(error.into().to_string())
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Failed(format!("the file is damaged: {what}"))
}

/// The store's counters at one revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) revision: Revision,
    pub(super) extent: Extent,
}

impl Counters {
    pub(super) fn load(meta: &impl ReadableTable<&'static str, u64>) -> Result<Self, StoreError> {
        let counter = |name| -> Result<u64, StoreError> {
            let found = meta.get(name).map_err(failed)?;
            found.map(|value| value.value()).ok_or_else(|| corrupt("a counter is missing"))
        };
        Ok(Self {
            revision: counter(META_REVISION)?,
            extent: Extent {
                changes: counter(META_LOG_CHANGES)?,
                bytes: counter(META_LOG_BYTES)?,
                compacted: counter(META_COMPACTED)?,
            },
        })
    }

    pub(super) fn save(&self, meta: &mut Table<'_, &'static str, u64>) -> Result<(), StoreError> {
        let rows = [
            (META_REVISION, self.revision),
            (META_COMPACTED, self.extent.compacted),
            (META_LOG_CHANGES, self.extent.changes),
            (META_LOG_BYTES, self.extent.bytes),
        ];
        for (name, value) in rows {
            meta.insert(name, value).map_err(failed)?;
        }
        Ok(())
    }
}

/// Makes an empty database a store, durably.
pub(super) fn format(db: &Database) -> Result<(), StoreError> {
    let mut transaction = db.begin_write().map_err(failed)?;
    transaction.set_durability(Durability::Immediate).map_err(failed)?;
    transaction.set_two_phase_commit(true);
    {
        transaction.open_table(ENTRIES).map_err(failed)?;
        transaction.open_table(LOG).map_err(failed)?;
        let mut meta = transaction.open_table(META).map_err(failed)?;
        meta.insert(META_FORMAT, FORMAT).map_err(failed)?;
        Counters::default().save(&mut meta)?;
    }
    transaction.commit().map_err(failed)
}

/// What a database turned out to be.
pub(super) enum Found {
    Store(Counters),
    OtherFormat(u64),
    NotAStore,
}

/// Looks at the format before anything else of the file is read.
pub(super) fn inspect(transaction: &ReadTransaction) -> Result<Found, StoreError> {
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(failed(error)),
        Err(_) => return Ok(Found::NotAStore),
    };
    match meta.get(META_FORMAT).map_err(failed)?.map(|format| format.value()) {
        Some(FORMAT) => Counters::load(&meta).map(Found::Store),
        Some(format) => Ok(Found::OtherFormat(format)),
        None => Ok(Found::NotAStore),
    }
}

/// The counters a read transaction sees.
pub(super) fn counters(transaction: &ReadTransaction) -> Result<Counters, StoreError> {
    Counters::load(&transaction.open_table(META).map_err(failed)?)
}

/// A row's header, and the value behind it.
pub(super) fn split(row: &[u8]) -> Result<(Versions, &[u8]), StoreError> {
    let header = row.split_first_chunk::<8>().and_then(|(created, rest)| {
        let (modified, value) = rest.split_first_chunk::<8>()?;
        Some((
            Versions { created: u64::from_le_bytes(*created), modified: u64::from_le_bytes(*modified) },
            value,
        ))
    });
    header.ok_or_else(|| corrupt("a record is too short"))
}

/// The record a row holds.
pub(super) fn entry(key: &str, row: &[u8]) -> Result<Entry, StoreError> {
    let (versions, value) = split(row)?;
    Ok(Entry {
        key: key.to_owned(),
        value: value.to_vec(),
        created: versions.created,
        modified: versions.modified,
    })
}

/// The entries table inside a write transaction.
pub(super) struct EntryRows<'t>(pub(super) Table<'t, &'static str, &'static [u8]>);

impl Rows for EntryRows<'_> {
    fn versions(&self, key: &str) -> Result<Option<Versions>, StoreError> {
        let row = self.0.get(key).map_err(failed)?;
        row.map(|row| split(row.value()).map(|(versions, _)| versions)).transpose()
    }

    fn put(&mut self, key: &str, versions: Versions, value: &[u8]) -> Result<(), StoreError> {
        let mut row = Vec::with_capacity(value.len().saturating_add(16));
        row.extend_from_slice(&versions.created.to_le_bytes());
        row.extend_from_slice(&versions.modified.to_le_bytes());
        row.extend_from_slice(value);
        self.0.insert(key, row.as_slice()).map_err(failed)?;
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), StoreError> {
        self.0.remove(key).map_err(failed)?;
        Ok(())
    }
}

/// A row of the log as changes.
pub(super) fn changes(revision: Revision, row: &[u8]) -> Result<Vec<crate::Change>, StoreError> {
    crate::log::decode(revision, row).ok_or_else(|| corrupt("a row of the change log"))
}

/// Why a file does not open.
pub(super) fn opening(path: &std::path::Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        DatabaseError::Storage(redb::StorageError::Io(error))
            if error.kind() == std::io::ErrorKind::InvalidData =>
        {
            StoreError::NotAStore { path: path.to_owned(), reason: error.to_string() }
        }
        error => StoreError::Failed(format!("{}: {error}", path.display())),
    }
}
