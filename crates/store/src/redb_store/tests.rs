//! What is particular to the file: opening, refusing, permissions, groups, failure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};

use redb::{Database, TableDefinition};

use super::power_loss::{Disk, EMPTY_STORE, open, open_with};
use super::{RedbStore, tables};
use crate::watch::locked;
use crate::{Bounds, Outcome, Store, StoreError, Transaction, conformance};

fn put(key: &str) -> Transaction {
    Transaction::new().put(key, key)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_store_goes_on_where_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/deep/store");
    let first = RedbStore::open(&path).await.unwrap();
    assert_eq!(first.revision().await, Ok(0));
    assert_eq!(first.transact(put("/a")).await, Ok(Outcome::Committed(1)));
    assert_eq!(first.transact(put("/b")).await, Ok(Outcome::Committed(2)));
    let before = first.list("/").await.unwrap();
    drop(first);
    let second = RedbStore::open(&path).await.unwrap();
    assert_eq!(second.list("/").await.unwrap(), before);
    assert_eq!(
        second.transact(Transaction::new().modified("/a", 1).delete("/a")).await,
        Ok(Outcome::Committed(3))
    );
    let mut watch = second.watch("/", 1).await.unwrap();
    let seen: Vec<_> =
        watch.next().await.unwrap().into_iter().map(|change| (change.revision, change.key)).collect();
    assert_eq!(seen, [(2, "/b".to_owned()), (3, "/a".to_owned())]);
}

#[tokio::test]
async fn files_are_for_the_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let path = data.join("store");
    drop(RedbStore::open(&path).await.unwrap());
    assert_eq!((mode(&data), mode(&path)), (0o700, 0o600));
    let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store"], "no draft is left");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(RedbStore::open(&path).await.unwrap());
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let first = RedbStore::open(&path).await.unwrap();
    assert_eq!(RedbStore::open(&path).await.err(), Some(StoreError::InUse(path.clone())));
    first.transact(put("/a")).await.unwrap();
    drop(first);
    assert!(RedbStore::open(&path).await.is_ok());
}

#[tokio::test]
async fn what_is_no_store_of_this_version_is_refused_in_one_line_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("text"), "not a database".repeat(1000)).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::create_dir(at("directory")).unwrap();
    let other = Database::create(at("other")).unwrap();
    let write = other.begin_write().unwrap();
    write.open_table(TableDefinition::<u64, u64>::new("meta")).unwrap().insert(1, 1).unwrap();
    write.commit().unwrap();
    drop(other);
    drop(RedbStore::open(at("newer")).await.unwrap());
    let newer = Database::open(at("newer")).unwrap();
    let write = newer.begin_write().unwrap();
    write.open_table(tables::META).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(newer);
    for name in ["text", "empty", "directory", "other", "newer"] {
        let path = at(name);
        let before = fs::read(&path).ok();
        let error = RedbStore::open(&path).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&*path.to_string_lossy()) && !text.contains('\n'), "{text}");
        match name {
            "newer" => assert_eq!(error, StoreError::Format { path: path.clone(), found: 2, known: 1 }),
            "directory" => assert!(matches!(error, StoreError::Failed(_)), "{error}"),
            _ => assert!(matches!(error, StoreError::NotAStore { .. }), "{error}"),
        }
        if matches!(name, "text" | "empty" | "newer") {
            assert_eq!(fs::read(&path).ok(), before, "{name} is untouched");
        }
    }
}

#[tokio::test]
async fn waiting_transactions_share_a_commit_and_nothing_else() {
    let disk = Disk::holding(&EMPTY_STORE);
    let store = open(&disk).unwrap();
    let before = locked(&disk.0).syncs;
    let mut answers: Vec<_> = (0..64)
        .map(|n| {
            store.transact(Transaction::new().absent(format!("/{}", n / 2)).put(format!("/{}", n / 2), ""))
        })
        .collect();
    {
        // While the disk stands still the writer can take one group at most; the rest waits together.
        let _still = locked(&disk.0);
        for answer in &mut answers {
            let mut context = Context::from_waker(Waker::noop());
            assert!(answer.as_mut().poll(&mut context).is_pending(), "not before the disk has it");
        }
    }
    for (number, answer) in (0_u64..).zip(answers) {
        let expected = if number % 2 == 0 { Outcome::Committed(number / 2 + 1) } else { Outcome::Conflict };
        assert_eq!(answer.await, Ok(expected), "{number}");
    }
    let syncs = locked(&disk.0).syncs - before;
    assert!((2..16).contains(&syncs), "{syncs} syncs for 32 changes");
}

#[tokio::test]
async fn soft_transactions_cost_no_sync_and_last_from_the_next_on_that_does() {
    let disk = Disk::holding(&EMPTY_STORE);
    let store = open(&disk).unwrap();
    let soft = |key: &str| put(key).soft();
    store.transact(put("/a")).await.unwrap();
    let before = locked(&disk.0).syncs;
    for key in ["/b", "/c"] {
        store.transact(soft(key)).await.unwrap();
    }
    assert_eq!(locked(&disk.0).syncs, before);
    assert_eq!(store.list("/").await.unwrap().entries.len(), 3, "everybody sees them at once");
    store.transact(put("/d")).await.unwrap();
    assert!(locked(&disk.0).syncs > before);
    store.transact(soft("/e")).await.unwrap();
    locked(&disk.0).dark = true;
    drop(store);
    disk.cut();
    let store = open(&disk).unwrap();
    let left = store.list("/").await.unwrap();
    let keys: Vec<&str> = left.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!((keys, left.revision), (vec!["/a", "/b", "/c", "/d"], 4), "the last one went with the power");
    assert!(matches!(store.transact(put("/f")).await, Ok(Outcome::Committed(5))));
}

#[tokio::test]
async fn a_failed_disk_ends_writes_and_watches_until_the_store_is_opened_anew() {
    let disk = Disk::holding(&EMPTY_STORE);
    let store = open(&disk).unwrap();
    store.transact(put("/a")).await.unwrap();
    let mut watch = store.watch("/", 0).await.unwrap();
    assert_eq!(watch.next().await.unwrap().len(), 1);
    locked(&disk.0).dark = true;
    for _ in 0..2 {
        assert!(matches!(store.transact(put("/b")).await, Err(StoreError::Failed(_))));
    }
    assert!(matches!(watch.next().await, Err(StoreError::Failed(_))));
    assert!(matches!(store.watch("/", 1).await.err(), Some(StoreError::Failed(_))));
    drop(store);
    locked(&disk.0).dark = false;
    let store = open(&disk).unwrap();
    assert!(store.get("/a").await.unwrap().is_some());
    assert!(matches!(store.transact(put("/c")).await, Ok(Outcome::Committed(_))));
}

/// On a disk without delays a watch begins in the middle of a commit far more often.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn redb_conforms_on_a_fast_disk() {
    for _ in 0..3 {
        conformance::run(Arc::new(open_with(&Disk::holding(&EMPTY_STORE), Bounds::default()).unwrap())).await;
    }
}
