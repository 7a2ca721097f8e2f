//! The ends of a watch, on both back ends: too slow, too late, too many, closed, cancelled.
// clippy knows functions marked as tests, not what they share.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use store::{Bounds, MAX_WATCHES, MemoryStore, RedbStore, Store, StoreError, Transaction};

const BOUNDS: Bounds = Bounds { log_changes: 10, log_bytes: 10_000, watch_changes: 5, watch_bytes: 1_000 };

async fn stores(bounds: Bounds) -> (tempfile::TempDir, Vec<Arc<dyn Store>>) {
    let directory = tempfile::tempdir().unwrap();
    let redb = RedbStore::open_with(directory.path().join("store"), bounds).await.unwrap();
    (directory, vec![Arc::new(MemoryStore::with_bounds(bounds)), Arc::new(redb)])
}

async fn put(store: &dyn Store, key: &str, bytes: usize) {
    store.transact(Transaction::new().put(key, vec![0; bytes])).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_is_told_and_lists_again() {
    for (changes, bytes, lagged) in [(5, 10, false), (6, 10, true), (3, 300, false), (4, 300, true)] {
        let (_directory, stores) = stores(BOUNDS).await;
        for store in stores {
            let mut slow = store.watch("/a", 0).await.unwrap();
            let mut elsewhere = store.watch("/b", 0).await.unwrap();
            for _ in 0..changes {
                put(&*store, "/a", bytes).await;
            }
            put(&*store, "/b", 0).await;
            assert_eq!(elsewhere.next().await.unwrap().len(), 1, "only its own prefix counts");
            if lagged {
                for _ in 0..2 {
                    assert_eq!(slow.next().await, Err(StoreError::Lagged));
                }
                let listing = store.list("/a").await.unwrap();
                let mut again = store.watch("/a", listing.revision).await.unwrap();
                put(&*store, "/a", 1).await;
                assert_eq!(again.next().await.unwrap().len(), 1);
            } else {
                assert_eq!(slow.next().await.unwrap().len(), changes);
                // The queue is empty again.
                put(&*store, "/a", bytes).await;
                assert_eq!(slow.next().await.unwrap().len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_watch_from_before_the_log_or_with_too_much_behind_it_lists_again() {
    let (_directory, stores) = stores(BOUNDS).await;
    for store in stores {
        for number in 0..20 {
            put(&*store, if number % 4 == 0 { "/rare" } else { "/often" }, 10).await;
        }
        let rows = [
            ("/rare", 9, Err(StoreError::Lagged)),
            ("/rare", 10, Ok(2)),
            ("/often", 10, Err(StoreError::Lagged)),
            ("/often", 14, Ok(5)),
            ("/often", 13, Err(StoreError::Lagged)),
        ];
        for (prefix, after, expected) in rows {
            let found = match store.watch(prefix, after).await {
                Ok(mut watch) => Ok(watch.next().await.unwrap().len()),
                Err(error) => Err(error),
            };
            assert_eq!(found, expected, "{prefix} after {after}");
        }
    }
}

#[tokio::test]
async fn a_closed_store_ends_its_watches_after_what_they_have() {
    let (_directory, stores) = stores(Bounds::default()).await;
    for store in stores {
        let mut watch = store.watch("/", 0).await.unwrap();
        let mut idle = store.watch("/none", 0).await.unwrap();
        let waiting = tokio::spawn(async move { idle.next().await });
        put(&*store, "/a", 1).await;
        drop(store);
        assert_eq!(watch.next().await.unwrap().len(), 1);
        assert_eq!(watch.next().await, Err(StoreError::Closed));
        assert_eq!(waiting.await.unwrap(), Err(StoreError::Closed));
    }
}

#[tokio::test]
async fn next_may_be_cancelled() {
    let (_directory, stores) = stores(Bounds::default()).await;
    for store in stores {
        let mut watch = store.watch("/", 0).await.unwrap();
        for number in 1..=3 {
            {
                let mut next = pin!(watch.next());
                std::future::poll_fn(|context| {
                    assert!(next.as_mut().poll(context).is_pending());
                    Poll::Ready(())
                })
                .await;
                put(&*store, "/a", 1).await;
            }
            assert_eq!(watch.next().await.unwrap().first().map(|change| change.revision), Some(number));
        }
    }
}

#[tokio::test]
async fn watches_are_counted_and_given_back() {
    let (_directory, stores) = stores(Bounds::default()).await;
    for store in stores {
        let mut watches = Vec::new();
        for _ in 0..MAX_WATCHES {
            watches.push(store.watch("/", 0).await.unwrap());
        }
        assert_eq!(store.watch("/", 0).await.err(), Some(StoreError::TooManyWatches));
        watches.pop();
        assert!(store.watch("/", 0).await.is_ok());
    }
}

#[tokio::test]
async fn a_watch_of_the_future_waits_for_it() {
    let (_directory, stores) = stores(Bounds::default()).await;
    for store in stores {
        let mut watch = store.watch("/", 2).await.unwrap();
        for _ in 0..3 {
            put(&*store, "/a", 1).await;
        }
        let seen: Vec<_> = watch.next().await.unwrap().iter().map(|change| change.revision).collect();
        assert_eq!(seen, [3]);
    }
}
