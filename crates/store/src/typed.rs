//! Model records as versioned JSON: `{"v":1,"record":…}`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Entry, Op, Revision, Store, StoreError};

/// The envelope this version writes, and the only one it reads.
const VERSION: u32 = 1;

/// A record read from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<T> {
    /// Its key.
    pub key: String,
    /// The record.
    pub value: T,
    /// The revision that last wrote it, for [`crate::Check::Modified`].
    pub modified: Revision,
}

#[derive(Serialize)]
struct Written<'r, T> {
    v: u32,
    record: &'r T,
}

#[derive(Deserialize)]
struct Read<T> {
    v: u32,
    record: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

/// The value to store for a record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Written { v: VERSION, record })
        .expect("model records serialize: no failing serializer, all map keys are text")
}

/// The record a stored value holds.
///
/// # Errors
/// [`StoreError::Malformed`] for another envelope version or a value that is not such a record.
pub fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, StoreError> {
    let read = serde_json::from_slice::<Read<T>>(value);
    match read {
        Ok(read) if read.v == VERSION => Ok(read.record),
        Ok(read) => Err(unknown_version(read.v)),
        Err(error) => Err(match serde_json::from_slice::<VersionOnly>(value) {
            Ok(VersionOnly { v }) if v != VERSION => unknown_version(v),
            _ => StoreError::Malformed(error.to_string()),
        }),
    }
}

fn unknown_version(version: u32) -> StoreError {
    StoreError::Malformed(format!("record version {version}, this version reads {VERSION}"))
}

/// The record at `key`.
///
/// # Errors
/// The store's, and [`StoreError::Malformed`].
pub async fn get<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<Record<T>>, StoreError> {
    store.get(key).await?.map(record).transpose()
}

/// All records under `prefix` in key order, and the revision they are of.
///
/// # Errors
/// The store's, and [`StoreError::Malformed`].
pub async fn list<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &str,
) -> Result<(Vec<Record<T>>, Revision), StoreError> {
    let listing = store.list(prefix).await?;
    let records = listing.entries.into_iter().map(record).collect::<Result<_, _>>()?;
    Ok((records, listing.revision))
}

/// The op that writes a record.
pub fn put<T: Serialize>(key: impl Into<String>, record: &T) -> Op {
    Op::Put(key.into(), encode(record))
}

/// An entry's record.
///
/// # Errors
/// [`StoreError::Malformed`], naming the key.
pub fn record<T: DeserializeOwned>(entry: Entry) -> Result<Record<T>, StoreError> {
    match decode(&entry.value) {
        Ok(value) => Ok(Record { key: entry.key, value, modified: entry.modified }),
        Err(StoreError::Malformed(reason)) => Err(StoreError::Malformed(format!("{}: {reason}", entry.key))),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, Transaction};

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Lamp {
        v: String,
        lit: bool,
    }

    #[tokio::test]
    async fn records_read_back_with_their_revision() {
        let store = MemoryStore::new();
        let lamp = Lamp { v: "own field of that name".into(), lit: true };
        store.transact(Transaction::new().put("/x", "first")).await.unwrap();
        store.transact(Transaction::new().put_record("/lamp/1", &lamp).delete("/x")).await.unwrap();
        let found = get::<Lamp>(&store, "/lamp/1").await.unwrap().unwrap();
        assert_eq!((found.key.as_str(), found.modified, &found.value), ("/lamp/1", 2, &lamp));
        let (records, revision) = list::<Lamp>(&store, "/lamp/").await.unwrap();
        assert_eq!((records, revision), (vec![found], 2));
        assert_eq!(get::<Lamp>(&store, "/lamp/2").await.unwrap(), None);
    }

    #[test]
    fn what_this_version_did_not_write_is_refused() {
        let rows: [(&[u8], &str); 5] = [
            (br#"{"v":2,"record":{"v":"","lit":true}}"#, "record version 2"),
            (br#"{"v":2,"lamp":{}}"#, "record version 2"),
            (br#"{"v":1,"record":{"v":""}}"#, "missing field"),
            (br#"{"record":{"v":"","lit":true}}"#, "missing field"),
            (b"\xff", "expected value"),
        ];
        for (value, reason) in rows {
            match decode::<Lamp>(value) {
                Err(StoreError::Malformed(text)) => assert!(text.contains(reason), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
