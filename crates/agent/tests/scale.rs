//! What a change of one rule costs where there is much else: counted, as time would flake.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use crate::world::{LIMIT, World, association, endpoint, scope};
use engine::InMemory;
use model::*;
use store::counted::{Counted, Counts};
use store::{Listing, MemoryStore, Op, Outcome, Revision, Store, StoreError, Transaction, Watch, typed};

/// Endpoints of the two states, and rules of each.
const SMALL: u128 = 2;
const LARGE: u128 = 50;
const RULES: u8 = 40;
/// More than one change of a rule writes: its record twice, and what is in force.
const MOST_BYTES: u64 = 4_096;

fn rule(n: u128, m: u8, code: RuleCode) -> AuthorizationRule {
    AuthorizationRule {
        endpoint: EndpointId::from_entropy(n),
        scope: scope(),
        destination: format!("10.{m}.0.0/16").parse().unwrap(),
        group: RuleGroup::All,
        description: None,
        status: Status::of(code),
        created_at: Timestamp(0),
    }
}

fn rule_key(rule: &AuthorizationRule) -> Key {
    Key::rule(&rule.scope, &rule.endpoint, &rule.destination, &rule.group)
}

/// Endpoints with an association and rules each, all settled.
async fn fill(world: &World, endpoints: u128) {
    for n in 1..=endpoints {
        let mut ops = Vec::new();
        let id = EndpointId::from_entropy(n);
        let record = Endpoint { id: id.clone(), status: Status::of(EndpointCode::Available), ..endpoint() };
        ops.push(Op::Put(Key::endpoint(&scope(), &id).into(), typed::encode(&record)));
        let own = Association {
            id: AssociationId::from_entropy(n),
            endpoint: id.clone(),
            status: Status::of(AssociationCode::Associated),
            ..association()
        };
        ops.push(Op::Put(Key::association(&scope(), &id, &own.id).into(), typed::encode(&own)));
        for m in 0..RULES {
            let rule = rule(n, m, RuleCode::Active);
            ops.push(Op::Put(rule_key(&rule).into(), typed::encode(&rule)));
        }
        world.store.transact(Transaction { checks: vec![], ops, soft: false }).await.unwrap();
    }
}

/// Waits until the gateway has everything in force, without reading any record.
async fn quiet(world: &World, store: &Counted<MemoryStore>) {
    let wait = async {
        loop {
            let newest = store.revision().await.unwrap();
            let mut changes = store.watch(prefix::ALL, newest).await.unwrap();
            // The newest change is the gateway's own word of the one before it.
            let desired = world.plane.desired().map(|desired| desired.revision);
            if desired.is_some_and(|desired| desired.saturating_add(1) >= newest) {
                let more = tokio::time::timeout(Duration::from_millis(100), changes.next()).await;
                if more.is_err() {
                    return;
                }
            } else {
                let _ = tokio::time::timeout(Duration::from_millis(100), changes.next()).await;
            }
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("it never came to rest");
}

/// What one more rule costs among so many endpoints, all of whose associations fail for good: the most that can be
/// wrong at a time.
async fn cost(endpoints: u128) -> Counts {
    let store = Arc::new(Counted::new(MemoryStore::new()));
    let world = World::over(store.clone(), InMemory::refusing("there is no fabric"));
    world.records().await;
    fill(&world, endpoints).await;
    let world = world.run().await;
    for n in 1..=endpoints {
        let key = Key::association(&scope(), &EndpointId::from_entropy(n), &AssociationId::from_entropy(n));
        let told = |record: Option<Association>| record.is_some_and(|found| found.status.message.is_some());
        world.until(key, told).await;
    }
    quiet(&world, &store).await;
    let before = store.counts();
    let more = rule(endpoints, RULES, RuleCode::Authorizing);
    let put = Transaction { checks: vec![], ops: vec![typed::put(rule_key(&more), &more)], soft: false };
    let Outcome::Committed(from) = store.transact(put).await.unwrap() else { panic!("refused") };
    let mut changes = store.watch(prefix::ALL, from).await.unwrap();
    let key: String = rule_key(&more).into();
    let wait = async {
        loop {
            let seen = changes.next().await.unwrap();
            if seen.iter().any(|change| change.key == key) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("the rule does not turn active");
    quiet(&world, &store).await;
    store.counts().since(before)
}

#[tokio::test]
async fn a_change_of_one_rule_reads_and_writes_no_more_where_there_is_more() {
    for endpoints in [SMALL, LARGE] {
        let cost = cost(endpoints).await;
        assert_eq!(cost.records_read, 0, "{endpoints}: {cost:?}");
        // The rule, its next status, and after each what is in force.
        assert!(cost.records_written <= 4 && cost.bytes_written <= MOST_BYTES, "{endpoints}: {cost:?}");
    }
}

/// A store whose second reading of everything takes until it is let go.
struct SlowSecond {
    inner: MemoryStore,
    lists: std::sync::atomic::AtomicUsize,
    asked: tokio::sync::Notify,
    go: tokio::sync::Semaphore,
}

#[async_trait::async_trait]
impl Store for SlowSecond {
    async fn get(&self, key: &str) -> Result<Option<store::Entry>, StoreError> {
        self.inner.get(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        // The agent and the controller each read once at their start.
        if prefix == prefix::ALL && self.lists.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= 2 {
            self.asked.notify_one();
            let _ = self.go.acquire().await;
        }
        self.inner.list(prefix).await
    }
    async fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Listing, StoreError> {
        self.inner.page(prefix, after, limit).await
    }
    async fn transact(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        self.inner.transact(transaction).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.inner.watch(prefix, after).await
    }
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_does_not_wait_while_everything_is_read_anew() {
    let store = Arc::new(SlowSecond {
        inner: MemoryStore::new(),
        lists: std::sync::atomic::AtomicUsize::new(0),
        asked: tokio::sync::Notify::new(),
        go: tokio::sync::Semaphore::new(0),
    });
    let world = World::over(store.clone(), InMemory::new());
    world.records().await;
    fill(&world, 1).await;
    let world = world.run().await;
    // A minute passes at once: the clock of this test stands still while there is work and jumps when there is none.
    store.asked.notified().await;
    let active =
        |record: Option<AuthorizationRule>| record.is_some_and(|rule| rule.status.code == RuleCode::Active);
    for m in RULES..RULES + 3 {
        let more = rule(1, m, RuleCode::Authorizing);
        world.put(rule_key(&more), &more).await;
        world.until(rule_key(&more), active).await;
        // From the first on it may be read, and what came meanwhile is not lost.
        store.go.add_permits(1);
    }
    let rules = || world.plane.desired().unwrap().endpoints.values().next().unwrap().rules.len();
    assert_eq!(rules(), usize::from(RULES) + 3);
}
