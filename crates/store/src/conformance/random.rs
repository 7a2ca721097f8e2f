//! Random operations, every answer compared with the reference model.

use super::reference::Reference;
use super::{PREFIX, Random, contract};
use crate::{Change, Check, Op, Revision, Store, Transaction, Watch};

/// Few keys, so that transactions meet; some are prefixes of others.
const KEYS: u64 = 24;

struct Open {
    watch: Watch,
    prefix: String,
    after: Revision,
    seen: Vec<Change>,
}

/// A random key.
pub(crate) fn key(random: &mut Random) -> String {
    let number = random.below(KEYS);
    match number % 3 {
        0 => format!("{PREFIX}random/{}", number / 3),
        1 => format!("{PREFIX}random/{}/x", number / 3),
        _ => format!("{PREFIX}random/y/{}", number / 3),
    }
}

fn prefix(random: &mut Random) -> String {
    let whole = key(random);
    let shortest = PREFIX.len();
    let cut = shortest + random.index(whole.len() - shortest + 1);
    whole.get(..cut).unwrap_or(PREFIX).to_owned()
}

/// A random transaction whose checks hold about half the time.
pub(crate) fn transaction(random: &mut Random, reference: &Reference) -> Transaction {
    let mut transaction = Transaction::new();
    for _ in 0..random.below(3) {
        let key = key(random);
        let found = reference.get(&key);
        transaction.checks.push(match (random.below(4), found) {
            (0, _) => Check::Absent(key),
            (1, _) => Check::Exists(key),
            (2, Some(entry)) => Check::Modified(key, entry.modified.saturating_sub(random.below(2))),
            (_, Some(entry)) => Check::Modified(key, entry.modified),
            (_, None) => Check::Absent(key),
        });
    }
    for _ in 0..random.below(5) {
        let key = key(random);
        if transaction.ops.iter().any(|op| op.key() == key) {
            continue;
        }
        transaction.ops.push(if random.one_in(3) {
            Op::Delete(key)
        } else {
            let len = if random.one_in(40) { random.index(20_000) } else { random.index(40) };
            Op::Put(key, random.bytes(len))
        });
    }
    transaction
}

pub(super) async fn run(store: &dyn Store, seed: u64, operations: usize) {
    let mut random = Random::new(seed);
    let start = store.revision().await.expect("a store in a conformance run reads");
    let mut reference = Reference::at(start);
    let mut watches: Vec<Open> = Vec::new();
    for number in 0..operations {
        let at = format!("seed {seed}, operation {number}");
        match random.below(12) {
            0..=6 => {
                let transaction = transaction(&mut random, &reference);
                let expected = reference.transact(&transaction);
                assert_eq!(store.transact(transaction).await, Ok(expected), "{at}");
            }
            7 => {
                let key = key(&mut random);
                assert_eq!(store.get(&key).await, Ok(reference.get(&key)), "{at}");
            }
            8 => {
                let prefix = prefix(&mut random);
                assert_eq!(store.list(&prefix).await, Ok(reference.list(&prefix)), "{at}");
            }
            9 => {
                let (prefix, after) = (prefix(&mut random), key(&mut random));
                let after = if random.one_in(3) { None } else { Some(after.as_str()) };
                let limit = random.index(6);
                assert_eq!(
                    store.page(&prefix, after, limit).await,
                    Ok(reference.page(&prefix, after, limit)),
                    "{at}"
                );
            }
            10 if watches.len() < 20 => {
                let prefix = prefix(&mut random);
                let back = random.below(reference.revision - start + 1).min(200);
                let after = reference.revision - back;
                let watch = store.watch(&prefix, after).await.expect("the log reaches back 200 revisions");
                watches.push(Open { watch, prefix, after, seen: Vec::new() });
            }
            10 => {
                let open = watches.swap_remove(random.index(watches.len()));
                finish(open, &reference, &at).await;
            }
            _ => {
                let index = random.index(watches.len().max(1));
                if let Some(open) = watches.get_mut(index) {
                    let total = reference.changes(&open.prefix, open.after).len();
                    if open.seen.len() < total {
                        open.seen.extend(open.watch.next().await.expect("this watch is not slow"));
                    }
                }
                assert_eq!(store.revision().await, Ok(reference.revision), "{at}");
            }
        }
    }
    for open in watches {
        finish(open, &reference, &format!("seed {seed}, at the end")).await;
    }
    let mut cleanup = Transaction::new();
    for entry in reference.list(PREFIX).entries {
        cleanup = cleanup.delete(entry.key);
    }
    contract::commit(store, cleanup).await;
}

/// Reads a watch to its end: it showed every change once, in order, and nothing else.
async fn finish(mut open: Open, reference: &Reference, at: &str) {
    let expected = reference.changes(&open.prefix, open.after);
    while open.seen.len() < expected.len() {
        open.seen.extend(open.watch.next().await.expect("this watch is not slow"));
    }
    assert!(open.seen == expected, "{at}: the watch of {} after {} differs", open.prefix, open.after);
}
