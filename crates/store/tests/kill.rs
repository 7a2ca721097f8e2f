//! A process that dies at a commit: what it acknowledged is there, and what it had made durable.
// clippy knows functions marked as tests, not what they share.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use store::{RedbStore, Store, Transaction, failpoint};

const CHILD: &str = "BASCULE_TEST_KILL_CHILD";
const SIGABRT: i32 = 6;

/// The process that dies; does nothing in an ordinary run.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = RedbStore::open(path).await.unwrap();
    for number in 1..=20 {
        store.transact(Transaction::new().put(format!("/{number:02}"), "")).await.unwrap();
        println!("acknowledged {number}");
    }
}

fn run(path: &Path, failpoint: Option<&str>) -> (Option<i32>, usize) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["kill::child", "--exact", "--nocapture"])
        .env(CHILD, path)
        .current_dir(path.parent().unwrap());
    match failpoint {
        Some(value) => command.env(failpoint::VARIABLE, value),
        None => command.env_remove(failpoint::VARIABLE),
    };
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.signal(), text.matches("acknowledged ").count())
}

#[tokio::test]
async fn a_killed_store_has_what_it_acknowledged() {
    let rows = [
        (Some("1:before"), Some(SIGABRT), 0, 0),
        (Some("1:after"), Some(SIGABRT), 0, 1),
        (Some("7"), Some(SIGABRT), 6, 6),
        (Some("8"), Some(SIGABRT), 7, 8),
        (Some("8:before"), Some(SIGABRT), 7, 7),
        (Some("21:before"), None, 20, 20),
        (Some("nonsense"), None, 0, 0),
        (None, None, 20, 20),
    ];
    for (failpoint, signal, acknowledged, stored) in rows {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        assert_eq!(run(&path, failpoint), (signal, acknowledged), "{failpoint:?}");
        let store = RedbStore::open(&path).await.unwrap();
        let listing = store.list("/").await.unwrap();
        let keys: Vec<_> = listing.entries.into_iter().map(|entry| entry.key).collect();
        let expected: Vec<_> = (1..=stored).map(|number| format!("/{number:02}")).collect();
        assert_eq!(keys, expected, "{failpoint:?}");
        assert_eq!(listing.revision, stored, "{failpoint:?}");
    }
}
