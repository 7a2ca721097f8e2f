//! Putting snapshots in force: sockets, fabric, failures, order, drain. No clients.
#![allow(clippy::unwrap_used)] // the helpers here are tests too

use std::net::{SocketAddr, UdpSocket};
use std::task::Poll;

use crate::common::{FakeFabric, association_id, desired, endpoint, endpoint_id, start};
use engine::{Applied, DataPlane, Engine};
use model::Failure;
use netio::FabricError;

fn ok(revision: u64) -> Applied {
    Applied { revision, ..Applied::default() }
}

fn listener(engine: &Engine, n: u128) -> Option<SocketAddr> {
    engine.snapshot().listeners.get(&endpoint_id(n)).copied()
}

fn log(fabric: &FakeFabric) -> Vec<String> {
    std::mem::take(&mut fabric.world.lock().unwrap().log)
}

/// Without `SO_REUSEPORT` a bind succeeds only when nobody else has the address.
fn free(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_ok()
}

#[tokio::test]
async fn an_association_opens_and_its_end_closes_everything() {
    let fabric = FakeFabric::default();
    let engine = start(2, &fabric);
    assert_eq!(engine.apply(desired(1, [endpoint(1, &[])])).await, ok(1));
    assert_eq!((listener(&engine, 1), log(&fabric)), (None, vec!["sweep".to_owned()]));

    assert_eq!(engine.apply(desired(2, [endpoint(1, &[11, 12])])).await, ok(2));
    let address = listener(&engine, 1).unwrap();
    assert!(!free(address));
    let (a, b) = (association_id(11), association_id(12));
    assert_eq!(log(&fabric), [format!("add {a}"), format!("add {b}"), "bind 127.0.0.1".to_owned()]);
    assert_eq!(fabric.world.lock().unwrap().indexes.values().copied().collect::<Vec<_>>(), [1, 2]);

    // One of two goes: the socket stays.
    assert_eq!(engine.apply(desired(3, [endpoint(1, &[12])])).await, ok(3));
    assert_eq!(listener(&engine, 1), Some(address));
    assert_eq!(log(&fabric), [format!("remove {a}")]);

    // The last one goes.
    let started = std::time::Instant::now();
    assert_eq!(engine.apply(desired(4, [endpoint(1, &[])])).await, ok(4));
    assert!(started.elapsed() < std::time::Duration::from_millis(200), "nobody to linger for");
    assert_eq!((listener(&engine, 1), free(address)), (None, true));
    assert_eq!(log(&fabric), [format!("remove {b}")]);

    // And one comes again, with the lowest free index.
    assert_eq!(engine.apply(desired(5, [endpoint(1, &[13])])).await, ok(5));
    assert!(listener(&engine, 1).is_some());
    assert_eq!(fabric.world.lock().unwrap().indexes.values().copied().collect::<Vec<_>>(), [1]);
    // The endpoint itself goes.
    let address = listener(&engine, 1).unwrap();
    assert_eq!(engine.apply(desired(6, [])).await, ok(6));
    assert!(free(address) && fabric.world.lock().unwrap().indexes.is_empty());
}

#[tokio::test]
async fn applying_the_same_again_touches_nothing() {
    let fabric = FakeFabric::default();
    let engine = start(2, &fabric);
    engine.apply(desired(1, [endpoint(1, &[11])])).await;
    let address = listener(&engine, 1);
    log(&fabric);
    assert_eq!(engine.apply(desired(1, [endpoint(1, &[11])])).await, ok(1));
    assert_eq!(engine.apply(desired(2, [endpoint(1, &[11])])).await, ok(2));
    assert_eq!((log(&fabric), listener(&engine, 1)), (vec![], address));
}

#[tokio::test]
async fn what_cannot_be_served_says_why() {
    let fabric = FakeFabric::default();
    let engine = start(2, &fabric);
    let mut nowhere = endpoint(1, &[11, 12]);
    nowhere.listen = None;
    let applied = engine.apply(desired(1, [nowhere, endpoint(3, &[31])])).await;
    for association in [11, 12] {
        let failure = &applied.failures[&association_id(association)];
        assert!(failure.permanent && failure.reason.contains("no free gateway address"), "{failure:?}");
    }
    assert_eq!(applied.failures.len(), 2);
    assert!(listener(&engine, 3).is_some());
    assert_eq!(fabric.world.lock().unwrap().far.len(), 1);
}

#[tokio::test]
async fn fabric_failures_are_told_and_go_away_when_applied_again() {
    let permanent = FabricError::Permanent("type this".to_owned());
    let transient = FabricError::Transient("busy".to_owned());
    type Break = fn(&mut crate::common::World, Option<FabricError>);
    let rows: [(&str, Break, FabricError); 4] = [
        ("add", |world, error| world.fail_add = error, transient.clone()),
        ("add", |world, error| world.fail_add = error, permanent.clone()),
        ("bind", |world, error| world.fail_bind = error, permanent),
        ("bind", |world, error| world.fail_bind = error, transient),
    ];
    for (step, set, error) in rows {
        let fabric = FakeFabric::default();
        let engine = start(2, &fabric);
        set(&mut fabric.world.lock().unwrap(), Some(error.clone()));
        let applied = engine.apply(desired(1, [endpoint(1, &[11, 12])])).await;
        let failure =
            Failure { reason: error.to_string(), permanent: matches!(error, FabricError::Permanent(_)) };
        let failures = [(association_id(11), failure.clone()), (association_id(12), failure)];
        assert_eq!(applied, Applied { revision: 1, failures: failures.into() }, "{step}");
        assert!(engine.snapshot().fabric_failures >= 2);
        set(&mut fabric.world.lock().unwrap(), None);
        assert_eq!(engine.apply(desired(1, [endpoint(1, &[11, 12])])).await, ok(1), "{step}");
        assert!(listener(&engine, 1).is_some());
        assert_eq!(fabric.world.lock().unwrap().far.len(), 2);
    }
}

#[tokio::test]
async fn a_failed_removal_is_remembered_and_keeps_its_index() {
    let fabric = FakeFabric::default();
    let engine = start(2, &fabric);
    engine.apply(desired(1, [endpoint(1, &[11])])).await;
    let address = listener(&engine, 1).unwrap();
    fabric.world.lock().unwrap().fail_remove = Some(FabricError::Transient("busy".to_owned()));
    for revision in [2, 3] {
        let applied = engine.apply(desired(revision, [endpoint(1, &[])])).await;
        assert_eq!(
            applied.failures[&association_id(11)],
            Failure { reason: "busy".to_owned(), permanent: false }
        );
        assert!(free(address), "the socket goes all the same");
    }
    // Another one is added meanwhile: not under the index that is still taken (the fabric asserts it).
    let applied = engine.apply(desired(4, [endpoint(1, &[12])])).await;
    assert_eq!(applied.failures.keys().collect::<Vec<_>>(), [&association_id(11)]);
    fabric.world.lock().unwrap().fail_remove = None;
    assert_eq!(engine.apply(desired(4, [endpoint(1, &[12])])).await, ok(4));
    assert_eq!(fabric.world.lock().unwrap().far.keys().collect::<Vec<_>>(), [association_id(12).as_str()]);
}

#[tokio::test]
async fn what_may_leave_and_where_to_changes_in_place() {
    let fabric = FakeFabric::default();
    let engine = start(2, &fabric);
    engine.apply(desired(1, [endpoint(1, &[11])])).await;
    log(&fabric);
    let id = association_id(11);
    let mut closed = endpoint(1, &[11]);
    closed.associations.get_mut(&id).unwrap().security.clear();
    fabric.world.lock().unwrap().fail_outlet = Some(FabricError::Transient("busy".to_owned()));
    let applied = engine.apply(desired(2, [closed.clone()])).await;
    assert_eq!(applied.failures[&id].reason, "busy");
    fabric.world.lock().unwrap().fail_outlet = None;
    assert_eq!(engine.apply(desired(2, [closed.clone()])).await, ok(2));
    assert_eq!(engine.apply(desired(3, [closed.clone()])).await, ok(3));
    assert_eq!(log(&fabric), [format!("outlet {id} 0 1"), format!("outlet {id} 0 1")]);
    // Another route opens another way out; what stands needs no rebuilding.
    closed.associations.get_mut(&id).unwrap().toward.push("10.9.0.0/16".parse().unwrap());
    assert_eq!(engine.apply(desired(4, [closed.clone()])).await, ok(4));
    assert_eq!(log(&fabric), [format!("outlet {id} 0 2")]);
    closed.associations.get_mut(&id).unwrap().source_nat = false;
    assert_eq!(engine.apply(desired(5, [closed.clone()])).await, ok(5));
    assert_eq!(log(&fabric), [format!("remove {id}"), format!("add {id}")]);
    // So does another way out.
    closed.associations.get_mut(&id).unwrap().uplink = Some(model::Uplink {
        interface: "eth1".into(),
        next_hop: None,
        next_hop_ipv6: None,
        source: model::UplinkSource::Client,
    });
    assert_eq!(engine.apply(desired(6, [closed])).await, ok(6));
    assert_eq!(log(&fabric), [format!("remove {id}"), format!("add {id}")]);
}

#[tokio::test]
async fn the_latest_wins_and_completes_those_it_replaced() {
    let fabric = FakeFabric::default();
    let engine = start(2, &fabric);
    let held = fabric.gate.lock().unwrap();
    let mut first = engine.apply(desired(1, [endpoint(1, &[11])]));
    assert_eq!(poll_once(&mut first), Poll::Pending);
    while engine.snapshot().applies == 0 && log(&fabric).is_empty() {
        std::thread::yield_now();
    }
    // The first is under way, blocked in the fabric or about to be; these two wait.
    let (mut second, mut third) =
        (engine.apply(desired(2, [endpoint(1, &[11, 12])])), engine.apply(desired(3, [endpoint(1, &[13])])));
    assert_eq!((poll_once(&mut second), poll_once(&mut third)), (Poll::Pending, Poll::Pending));
    drop(held);
    let (first, second, third) = (first.await, second.await, third.await);
    // The first completes as itself, or was overtaken before it was taken up.
    assert!([1, 3].contains(&first.revision), "{first:?}");
    assert_eq!((second, third), (ok(3), ok(3)));
    assert_eq!(fabric.world.lock().unwrap().far.keys().collect::<Vec<_>>(), [association_id(13).as_str()]);
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut context)
}

#[tokio::test]
async fn draining_leaves_nothing_and_takes_nothing_up() {
    let fabric = FakeFabric::default();
    let engine = start(2, &fabric);
    engine.apply(desired(1, [endpoint(1, &[11]), endpoint(2, &[21])])).await;
    let addresses = [listener(&engine, 1).unwrap(), listener(&engine, 2).unwrap()];
    engine.drain().await;
    assert!(addresses.into_iter().all(free));
    assert!(fabric.world.lock().unwrap().far.is_empty());
    let late = engine.apply(desired(2, [endpoint(1, &[11])])).await;
    assert_eq!(late.revision, 1);
    assert!(late.failures[&association_id(11)].reason.contains("shutting down"));
    assert!(addresses.into_iter().all(free));
    engine.drain().await;
}

#[tokio::test]
async fn dropping_the_engine_ends_its_threads_and_closes_its_sockets() {
    let fabric = FakeFabric::default();
    let engine = start(2, &fabric);
    engine.apply(desired(1, [endpoint(1, &[11])])).await;
    let address = listener(&engine, 1).unwrap();
    drop(engine);
    assert!(free(address));
    assert_eq!(std::sync::Arc::strong_count(&fabric.world), 1, "the fabric went with its thread");
}
