//! Waiting for a change's effect, over a store that a controller writes to.

use std::sync::Arc;
use std::time::Duration;

use model::{Association, Endpoint, Key, Kind};
use store::{MemoryStore, Store, Transaction};

use super::World;
use crate::{Committed, Convergence, StoreConvergence};

/// The change that an association commits, as the frame tells it.
async fn change(world: &World) -> Committed {
    let (_, subnets) = world.network().await;
    let endpoint = world.endpoint(&[]).await;
    world.associate(&endpoint, &subnets[0]).await.ok();
    let associations = world.records::<Association>(Kind::Association).await;
    let keys = associations.iter().map(|record| record.key.clone()).chain(["/v1/other".to_owned()]).collect();
    Committed {
        scope: world.scope.clone(),
        endpoint: endpoint.parse().unwrap(),
        revision: associations[0].modified,
        keys,
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_the_records_have_settled_and_not_before() {
    let world = World::new();
    let change = change(&world).await;
    let port = StoreConvergence::new(world.store.clone());
    let mut waiting = Box::pin(port.settled(&change));
    let early = tokio::time::timeout(Duration::from_secs(5), waiting.as_mut()).await;
    assert!(early.is_err(), "nothing has happened yet");
    world.settle().await;
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("everything has settled");
    // Looking later: it is over already.
    tokio::time::timeout(Duration::from_secs(5), port.settled(&change)).await.expect("settled long ago");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_gone_has_settled() {
    let world = World::new();
    let endpoint = world.endpoint(&[]).await;
    world.call("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &endpoint)]).await.ok();
    let record = &world.records::<Endpoint>(Kind::Endpoint).await[0];
    let change = Committed {
        scope: world.scope.clone(),
        endpoint: endpoint.parse().unwrap(),
        revision: record.modified,
        keys: vec![record.key.clone()],
    };
    let port = StoreConvergence::new(world.store.clone());
    let mut waiting = Box::pin(port.settled(&change));
    assert!(tokio::time::timeout(Duration::from_secs(1), waiting.as_mut()).await.is_err());
    let key = Key::endpoint(&world.scope, &change.endpoint);
    world.store.transact(Transaction::new().delete(key.as_str())).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), waiting).await.expect("gone");
}

#[tokio::test]
async fn a_store_that_cannot_be_watched_does_not_hold_the_answer() {
    let store = Arc::new(MemoryStore::new());
    let port = StoreConvergence::new(store);
    let change = Committed {
        scope: World::new().scope,
        endpoint: "cvpn-endpoint-00000000".parse().unwrap(),
        revision: 7,
        keys: Vec::new(),
    };
    tokio::time::timeout(Duration::from_secs(5), port.settled(&change))
        .await
        .expect("an error ends the wait");
}
