//! Throttling and the limit on operations in flight: settings, off unless asked for (spec: aws-client-vpn §2.0.5).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::{How, NOW, World, signed};
use crate::{Addresses, Bucket, Committed, Config, Convergence, Throttle};

fn throttled() -> World {
    World::with(Config {
        addresses: Addresses::parse(["192.0.2.0/24"]).unwrap(),
        throttle: Some(Throttle {
            read: Bucket { burst: 3, per_second: 1 },
            write: Bucket { burst: 1, per_second: 1 },
        }),
        ..Config::default()
    })
}

#[tokio::test]
async fn calls_that_come_too_fast_are_refused_and_time_brings_more() {
    let world = throttled();
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(world.call("DescribeVpcs", &[]).await.code());
    }
    assert_eq!(codes, ["", "", "", "RequestLimitExceeded"]);
    let refused = world.call("DescribeVpcs", &[]).await;
    assert_eq!(refused.status, 503);
    // Every action, region and account has its own.
    world.call("DescribeSubnets", &[]).await.ok();
    world.call_as(How { region: "eu-west-1", ..How::default() }, "DescribeVpcs", &[]).await.ok();
    world.users.elsewhere("111111111111", "OTHER", &super::allow("*"));
    world.call_as(How { key: "OTHER", ..How::default() }, "DescribeVpcs", &[]).await.ok();
    world.clock.store(NOW + 2, Ordering::Relaxed);
    world.call("DescribeVpcs", &[]).await.ok();
    world.call("DescribeVpcs", &[]).await.ok();
    assert_eq!(world.call("DescribeVpcs", &[]).await.code(), "RequestLimitExceeded");
}

#[tokio::test]
async fn what_is_refused_has_no_effect_and_each_service_has_its_words() {
    let world = throttled();
    world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok();
    let reply = world.call("CreateVpc", &[("CidrBlock", "10.1.0.0/16")]).await;
    assert_eq!(reply.code(), "RequestLimitExceeded");
    assert_eq!(world.call("DescribeVpcs", &[]).await.ok().all("vpcId").len(), 1);
    for _ in 0..3 {
        world.acm(super::ROOT, "ListCertificates", &serde_json::json!({})).await;
    }
    let (status, body) = world.acm(super::ROOT, "ListCertificates", &serde_json::json!({})).await;
    assert_eq!((status, &body["__type"]), (400, &"ThrottlingException".into()));
    for _ in 0..3 {
        world.iam("ListSAMLProviders", &[]).await.ok();
    }
    assert_eq!(world.iam("ListSAMLProviders", &[]).await.code(), "Throttling");
    // A stranger empties nobody's bucket.
    for _ in 0..10 {
        let call = signed(
            &How { key: "NOBODY", ..How::default() },
            "/",
            "",
            b"Action=DescribeSubnets".to_vec(),
            &[],
        );
        assert_eq!(world.send(call).await.code(), "AuthFailure");
    }
    world.call("DescribeSubnets", &[]).await.ok();
}

#[tokio::test]
async fn nothing_is_throttled_unless_asked_for() {
    let world = World::new();
    for _ in 0..300 {
        world.call("DescribeVpcs", &[]).await.ok();
    }
}

/// Holds calls that wait for their effect, while it is shut.
struct Gate {
    open: watch::Sender<bool>,
    held: watch::Sender<usize>,
}

#[async_trait::async_trait]
impl Convergence for Gate {
    async fn settled(&self, _change: &Committed) {
        if *self.open.borrow() {
            return;
        }
        self.held.send_modify(|held| *held += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// Operations that wait for their effect keep their slot.
#[tokio::test]
async fn operations_in_flight_on_an_endpoint_may_be_limited() {
    for most in [None, Some(2)] {
        let gate = Arc::new(Gate { open: watch::Sender::new(true), held: watch::Sender::new(0) });
        let config = Config {
            addresses: Addresses::parse(["192.0.2.0/24"]).unwrap(),
            endpoint_operations: most,
            settle_timeout_ms: 60_000,
            ..Config::default()
        };
        let world = Arc::new(World::built(config, gate.clone()));
        let (endpoint, other) = (world.endpoint(&[]).await, world.endpoint(&[]).await);
        let (_, subnets) = world.network().await;
        gate.open.send_replace(false);
        let associate = |endpoint: &str, subnet: &str| {
            let (world, endpoint, subnet) = (world.clone(), endpoint.to_owned(), subnet.to_owned());
            tokio::spawn(async move {
                let reply = world.associate(&endpoint, &subnet).await;
                reply.code()
            })
        };
        let mut running = vec![associate(&endpoint, &subnets[0]), associate(&endpoint, &subnets[1])];
        let mut held = gate.held.subscribe();
        held.wait_for(|held| *held == 2).await.unwrap();
        let third = associate(&endpoint, &subnets[2]);
        match most {
            None => running.push(third),
            Some(_) => {
                assert_eq!(third.await.unwrap(), "ConcurrentMutationLimitExceeded");
                // Another endpoint has slots of its own.
                running.push(associate(&other, &subnets[0]));
            }
        }
        held.wait_for(|held| *held == 3).await.unwrap();
        gate.open.send_replace(true);
        for call in running {
            assert_eq!(call.await.unwrap(), "");
        }
        if most.is_some() {
            world.associate(&endpoint, &subnets[2]).await.ok();
        }
    }
}
