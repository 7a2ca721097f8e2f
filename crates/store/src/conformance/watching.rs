//! Watches and compare-and-set under concurrent writers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{PREFIX, Random, contract};
use crate::{Change, Outcome, Revision, Store, StoreError, Transaction};

const WRITERS: u64 = 4;
const ROUNDS: u64 = 60;
/// Far more than it takes.
const LIMIT: Duration = Duration::from_secs(60);
const READERS: u64 = 12;

fn prefix() -> String {
    format!("{PREFIX}watching/")
}

pub(super) async fn run(store: &Arc<dyn Store>) {
    // A lost change may leave a reader waiting for good.
    tokio::time::timeout(LIMIT, gap_free(store)).await.expect("every reader sees the end");
    counted(store).await;
    let mut cleanup = Transaction::new();
    for entry in store.list(&prefix()).await.expect("a store in a conformance run reads").entries {
        cleanup = cleanup.delete(entry.key);
    }
    contract::commit(&**store, cleanup).await;
}

/// Readers that list, then watch, at any moment while others write, end with the state that a list at the end shows,
/// and each sees every revision once and in order.
async fn gap_free(store: &Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(store);
        tasks.push(tokio::spawn(async move {
            let mut random = Random::new(writer);
            for round in 0..ROUNDS {
                let mut transaction =
                    Transaction::new().put(format!("{}round/{writer}", prefix()), round.to_string());
                let key = format!("{}shared/{}", prefix(), random.below(5));
                transaction = if random.one_in(3) {
                    transaction.delete(key)
                } else {
                    transaction.put(key, format!("{writer} {round}"))
                };
                contract::commit(&*store, transaction).await;
            }
        }));
    }
    let mut readers = Vec::new();
    for reader in 0..READERS {
        let store = Arc::clone(store);
        readers.push(tokio::spawn(async move { follow(&*store, reader % 3 != 0).await }));
    }
    for task in tasks {
        task.await.expect("a writer of the suite ends");
    }
    let last = contract::commit(&**store, Transaction::new().put(format!("{}end", prefix()), "")).await;
    let listing = store.list(&prefix()).await.expect("a store in a conformance run reads");
    let mut expected: BTreeMap<String, (Vec<u8>, Revision)> =
        listing.entries.into_iter().map(|entry| (entry.key, (entry.value, entry.modified))).collect();
    for reader in readers {
        assert_eq!(reader.await.expect("a reader of the suite ends"), expected);
    }
    let end = format!("{}end", prefix());
    assert_eq!(expected.remove(&end).map(|(_, revision)| revision), Some(last));
}

/// Lists, watches until the end mark, and gives the state it arrived at. Also proves that the stream has no gap: every
/// transaction of this part changes something under the prefix. A reader that hops takes a new watch for every batch,
/// so that most of its watches begin in the middle of a commit.
async fn follow(store: &dyn Store, hops: bool) -> BTreeMap<String, (Vec<u8>, Revision)> {
    let listing = store.list(&prefix()).await.expect("a store in a conformance run reads");
    let mut state: BTreeMap<String, (Vec<u8>, Revision)> =
        listing.entries.into_iter().map(|entry| (entry.key, (entry.value, entry.modified))).collect();
    let mut at = listing.revision;
    let mut watch = store.watch(&prefix(), at).await.expect("the log reaches back a few changes");
    let end = format!("{}end", prefix());
    while !state.contains_key(&end) {
        if hops {
            watch = store.watch(&prefix(), at).await.expect("the log reaches back a few changes");
        }
        for Change { revision, key, value } in watch.next().await.expect("this watch is not slow") {
            assert!(revision == at || revision == at + 1, "revision {revision} after {at}");
            at = revision;
            match value {
                Some(value) => state.insert(key, (value, revision)),
                None => state.remove(&key),
            };
        }
    }
    state
}

/// Many who add one to the same number by compare-and-set lose nothing.
async fn counted(store: &Arc<dyn Store>) {
    let key = format!("{}count", prefix());
    contract::commit(&**store, Transaction::new().put(key.clone(), "0")).await;
    let mut tasks = Vec::new();
    for _ in 0..WRITERS {
        let (store, key) = (Arc::clone(store), key.clone());
        tasks.push(tokio::spawn(async move {
            let mut conflicts = 0_u64;
            let mut done = 0;
            while done < 25 {
                match add_one(&*store, &key).await {
                    Ok(Outcome::Committed(_)) => done += 1,
                    Ok(Outcome::Conflict) => conflicts += 1,
                    Err(error) => assert_eq!(error, StoreError::Closed, "a store in a conformance run works"),
                }
            }
            conflicts
        }));
    }
    for task in tasks {
        task.await.expect("a writer of the suite ends");
    }
    let found = store.get(&key).await.expect("a store in a conformance run reads").map(|entry| entry.value);
    assert_eq!(found, Some((WRITERS * 25).to_string().into_bytes()));
}

async fn add_one(store: &dyn Store, key: &str) -> Result<Outcome, StoreError> {
    let entry = store.get(key).await?.ok_or(StoreError::Closed)?;
    let number: u64 = String::from_utf8_lossy(&entry.value).parse().unwrap_or_default();
    let transaction = Transaction::new().modified(key, entry.modified).put(key, (number + 1).to_string());
    store.transact(transaction).await
}
