//! The contract sentence by sentence.

use super::PREFIX;
use crate::{
    Change, Entry, MAX_KEY_BYTES, MAX_TRANSACTION_STEPS, MAX_VALUE_BYTES, Outcome, Revision, Store,
    StoreError, Transaction,
};

fn key(name: &str) -> String {
    format!("{PREFIX}contract/{name}")
}

pub(super) async fn commit(store: &dyn Store, transaction: Transaction) -> Revision {
    let outcome = store.transact(transaction).await.expect("a store in a conformance run writes");
    assert_ne!(outcome, Outcome::Conflict, "a transaction whose checks hold");
    match outcome {
        Outcome::Committed(revision) => revision,
        Outcome::Conflict => 0,
    }
}

async fn find(store: &dyn Store, name: &str) -> Option<Entry> {
    store.get(&key(name)).await.expect("a store in a conformance run reads")
}

async fn keys(store: &dyn Store, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(key);
    let page =
        store.page(&key(prefix), after.as_deref(), limit).await.expect("a store in a conformance run reads");
    let start = key("").len();
    page.entries.iter().map(|entry| entry.key.get(start..).unwrap_or_default().to_owned()).collect()
}

pub(super) async fn run(store: &dyn Store) {
    revisions(store).await;
    checks(store).await;
    pages(store).await;
    bounds(store).await;
    let mut cleanup = Transaction::new();
    for entry in store.list(&key("")).await.expect("a store in a conformance run reads").entries {
        cleanup = cleanup.delete(entry.key);
    }
    commit(store, cleanup).await;
}

async fn revisions(store: &dyn Store) {
    let start = store.revision().await.expect("a store in a conformance run reads");
    assert_eq!(find(store, "a").await, None);
    let first = commit(store, Transaction::new().put(key("a"), "1").put(key("b"), "")).await;
    assert_eq!(first, start + 1, "all ops of a transaction share one new revision");
    assert_eq!(store.revision().await, Ok(first));
    let entry = |name: &str, value: &str, created, modified| Entry {
        key: key(name),
        value: value.as_bytes().to_vec(),
        created,
        modified,
    };
    assert_eq!(find(store, "a").await, Some(entry("a", "1", first, first)));
    assert_eq!(find(store, "b").await, Some(entry("b", "", first, first)), "an empty value is a value");

    let second = commit(store, Transaction::new().put(key("a"), "1")).await;
    assert_eq!(second, first + 1, "writing the same value again is a change");
    assert_eq!(find(store, "a").await, Some(entry("a", "1", first, second)));

    for nothing in
        [Transaction::new(), Transaction::new().delete(key("x")), Transaction::new().exists(key("a"))]
    {
        assert_eq!(commit(store, nothing).await, second, "nothing changed, no revision");
    }
    let third = commit(store, Transaction::new().delete(key("a")).delete(key("x"))).await;
    let fourth = commit(store, Transaction::new().put(key("a"), "2")).await;
    assert_eq!((third, fourth), (second + 1, second + 2));
    assert_eq!(find(store, "a").await, Some(entry("a", "2", fourth, fourth)), "created anew");

    let mut watch = store.watch(&key("a"), first).await.expect("the log reaches back a few changes");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(watch.next().await.expect("this watch is not slow"));
    }
    let change = |revision, value: Option<&str>| Change {
        revision,
        key: key("a"),
        value: value.map(|value| value.as_bytes().to_vec()),
    };
    assert_eq!(seen, vec![change(second, Some("1")), change(third, None), change(fourth, Some("2"))]);
}

async fn checks(store: &dyn Store) {
    let at = commit(store, Transaction::new().put(key("c"), "1")).await;
    let rows: [(&str, Transaction, bool); 10] = [
        ("absent, is not", Transaction::new().absent(key("c")), false),
        ("absent, is", Transaction::new().absent(key("d")), true),
        ("exists, does", Transaction::new().exists(key("c")), true),
        ("exists, does not", Transaction::new().exists(key("d")), false),
        ("modified at", Transaction::new().modified(key("c"), at), true),
        ("modified later", Transaction::new().modified(key("c"), at - 1), false),
        ("modified never so late", Transaction::new().modified(key("c"), at + 1), false),
        ("modified, but absent", Transaction::new().modified(key("d"), 0), false),
        ("all hold", Transaction::new().exists(key("c")).absent(key("d")).modified(key("c"), at), true),
        ("one of several does not", Transaction::new().exists(key("c")).exists(key("d")), false),
    ];
    for (name, transaction, holds) in rows {
        let before = store.revision().await;
        let outcome = store.transact(transaction.put(key("mark"), name)).await;
        let marked = find(store, "mark").await.is_some_and(|entry| entry.value == name.as_bytes());
        assert_eq!(matches!(outcome, Ok(Outcome::Committed(_))), holds, "{name}: {outcome:?}");
        assert_eq!(marked, holds, "{name}: the op happens with the checks or not at all");
        assert_eq!(store.revision().await == before, !holds, "{name}");
    }
    let swapped = commit(store, Transaction::new().absent(key("d")).put(key("d"), "").delete(key("c"))).await;
    assert_eq!(find(store, "c").await, None, "checks see what was before the ops");
    assert_eq!(find(store, "d").await.map(|entry| entry.modified), Some(swapped));
}

async fn pages(store: &dyn Store) {
    let mut fill = Transaction::new();
    for name in ["p/b", "p/a/1", "p/a", "p/ab", "p/é", "p", "q"] {
        fill = fill.put(key(name), name);
    }
    let revision = commit(store, fill).await;
    let rows: [(&str, Option<&str>, usize, &[&str]); 9] = [
        ("p", None, 100, &["p", "p/a", "p/a/1", "p/ab", "p/b", "p/é"]),
        ("p/", None, 100, &["p/a", "p/a/1", "p/ab", "p/b", "p/é"]),
        ("p/", None, 2, &["p/a", "p/a/1"]),
        ("p/", Some("p/a/1"), 2, &["p/ab", "p/b"]),
        ("p/", Some("p/aa"), 1, &["p/ab"]),
        ("p/", Some("p/é"), 5, &[]),
        ("p/", Some("o"), 1, &["p/a"]),
        ("p/", Some("q"), 5, &[]),
        ("p/", None, 0, &[]),
    ];
    for (prefix, after, limit, expected) in rows {
        assert_eq!(keys(store, prefix, after, limit).await, expected, "{prefix} after {after:?}, {limit}");
    }
    let listing = store.list(&key("p/a")).await.expect("a store in a conformance run reads");
    assert_eq!(listing.revision, revision);
    assert_eq!(listing.entries.len(), 3);
    assert!(listing.entries.iter().all(|entry| entry.created == revision && entry.modified == revision));
}

async fn bounds(store: &dyn Store) {
    let before = store.revision().await;
    let long_key = |len: usize| format!("{}{}", key("k"), "x".repeat(len.saturating_sub(key("k").len())));
    let many = |steps: usize| {
        (0..steps).fold(Transaction::new(), |transaction, n| transaction.delete(key(&format!("none/{n}"))))
    };
    let rows: [(&str, Transaction, bool); 9] = [
        ("two ops on a key", Transaction::new().put(key("a"), "").delete(key("a")), false),
        ("no key", Transaction::new().put("", ""), false),
        ("no key checked", Transaction::new().exists(""), false),
        ("key too long", Transaction::new().put(long_key(MAX_KEY_BYTES + 1), ""), false),
        ("key just so", Transaction::new().delete(long_key(MAX_KEY_BYTES)), true),
        ("value too long", Transaction::new().put(key("a"), vec![0; MAX_VALUE_BYTES + 1]), false),
        (
            "too many bytes",
            Transaction::new()
                .put(key("x"), vec![0; MAX_VALUE_BYTES])
                .put(key("y"), vec![0; MAX_VALUE_BYTES])
                .put(key("z"), vec![0; 1]),
            false,
        ),
        ("too many steps", many(MAX_TRANSACTION_STEPS + 1), false),
        ("just so many steps", many(MAX_TRANSACTION_STEPS), true),
    ];
    for (name, transaction, valid) in rows {
        let outcome = store.transact(transaction).await;
        match outcome {
            Ok(Outcome::Committed(_)) => assert!(valid, "{name}"),
            Err(StoreError::Invalid(_)) => assert!(!valid, "{name}"),
            other => assert!(other.is_err() && !valid, "{name}: {other:?}"),
        }
    }
    assert_eq!(store.revision().await, before, "what is refused changes nothing");
    commit(store, Transaction::new().put(key("big"), vec![7; MAX_VALUE_BYTES])).await;
    assert_eq!(find(store, "big").await.map(|entry| entry.value), Some(vec![7; MAX_VALUE_BYTES]));
}
