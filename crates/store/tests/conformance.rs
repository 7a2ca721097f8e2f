//! The conformance suite on both back ends.
// clippy knows functions marked as tests, not what they share.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use store::{Bounds, MemoryStore, RedbStore, Store, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn memory_conforms() {
    conformance::run(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn redb_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conformance::run(Arc::new(RedbStore::open(directory.path().join("store")).await.unwrap())).await;
}

/// The log's bounds are met all the time and nothing else changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_short_log_conforms() {
    let bounds = Bounds { log_changes: 1_000, log_bytes: 6 << 20, ..Bounds::default() };
    let directory = tempfile::tempdir().unwrap();
    let redb: Arc<dyn Store> =
        Arc::new(RedbStore::open_with(directory.path().join("store"), bounds).await.unwrap());
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::with_bounds(bounds));
    for store in [memory, redb] {
        conformance::random_operations(&store, 2, 1_500).await;
    }
}

/// For campaigns: `BASCULE_STORE_OPERATIONS=1000000 cargo test -p store --test conformance campaign`.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn campaign() {
    let operations: usize =
        std::env::var("BASCULE_STORE_OPERATIONS").ok().map_or(1_000, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let redb: Arc<dyn Store> = Arc::new(RedbStore::open(directory.path().join("store")).await.unwrap());
    for store in [memory, redb] {
        for seed in 0..operations.div_ceil(1_000) as u64 {
            conformance::random_operations(&store, 1_000 + seed, operations.min(1_000)).await;
        }
    }
}
