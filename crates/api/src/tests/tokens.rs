//! Client tokens (spec: aws-client-vpn §2.0.3).

use std::sync::atomic::Ordering;

use super::{NOW, Pairs, World, endpoint_pairs};

fn as_pairs<'p>(owned: &'p [(&'static str, String)], more: Pairs<'p>) -> Vec<(&'p str, &'p str)> {
    owned.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn a_repeated_call_answers_as_the_first_did() {
    let world = World::new();
    let arn = world.certificate("server.example.com").await;
    let owned = endpoint_pairs(&arn);
    let pairs = as_pairs(&owned, &[("ClientToken", "t-1")]);
    let first = world.call("CreateClientVpnEndpoint", &pairs).await.ok();
    let again = world.call("CreateClientVpnEndpoint", &pairs).await.ok();
    assert_eq!(first.text("clientVpnEndpointId"), again.text("clientVpnEndpointId"));
    assert_ne!(first.request_id, again.request_id);
    let other = as_pairs(&owned, &[("ClientToken", "t-1"), ("SplitTunnel", "true")]);
    assert_eq!(world.call("CreateClientVpnEndpoint", &other).await.code(), "IdempotentParameterMismatch");
    let fresh = as_pairs(&owned, &[("ClientToken", "T-1")]);
    let third = world.call("CreateClientVpnEndpoint", &fresh).await.ok();
    assert_ne!(first.text("clientVpnEndpointId"), third.text("clientVpnEndpointId"));
    assert_eq!(world.records::<model::Endpoint>(model::Kind::Endpoint).await.len(), 2);
}

#[tokio::test]
async fn a_token_is_answered_when_the_object_is_gone_and_forgotten_after_a_day() {
    let world = World::new();
    let (endpoint, _, subnets) = world.available().await;
    let pairs = [("ClientVpnEndpointId", endpoint.as_str()), ("SubnetId", &subnets[1]), ("ClientToken", "a")];
    let first = world.call("AssociateClientVpnTargetNetwork", &pairs).await.ok().text("associationId");
    world.settle().await;
    let gone = [("ClientVpnEndpointId", endpoint.as_str()), ("AssociationId", &first)];
    world.call("DisassociateClientVpnTargetNetwork", &gone).await.ok();
    world.settle().await;
    let again = world.call("AssociateClientVpnTargetNetwork", &pairs).await.ok();
    assert_eq!(again.text("associationId"), first);
    assert_eq!(again.text("code"), "associating");
    world.clock.store(NOW + 24 * 3600, Ordering::Relaxed);
    let how = super::How { signed_at: NOW + 24 * 3600, ..super::How::default() };
    let later = world.call_as(how, "AssociateClientVpnTargetNetwork", &pairs).await.ok();
    assert_ne!(later.text("associationId"), first);
}

#[tokio::test]
async fn a_failed_call_is_not_remembered() {
    let world = World::new();
    let endpoint = world.endpoint(&[]).await;
    let (_, subnets) = world.network().await;
    let unknown =
        [("ClientVpnEndpointId", endpoint.as_str()), ("SubnetId", "subnet-00000000"), ("ClientToken", "f")];
    assert_eq!(
        world.call("AssociateClientVpnTargetNetwork", &unknown).await.code(),
        "InvalidClientVpnSubnetId.NotFound"
    );
    let good = [("ClientVpnEndpointId", endpoint.as_str()), ("SubnetId", &subnets[0]), ("ClientToken", "f")];
    world.call("AssociateClientVpnTargetNetwork", &good).await.ok();
}

#[tokio::test]
async fn two_at_once_get_the_same_answer() {
    let world = std::sync::Arc::new(World::new());
    let endpoint = world.endpoint(&[]).await;
    for round in 0..20 {
        let cidr = format!("172.16.{round}.0/24");
        let call = || {
            let (world, endpoint, cidr) = (world.clone(), endpoint.clone(), cidr.clone());
            tokio::spawn(async move {
                let pairs = [
                    ("ClientVpnEndpointId", endpoint.as_str()),
                    ("TargetNetworkCidr", &cidr),
                    ("AuthorizeAllGroups", "true"),
                    ("ClientToken", &cidr),
                ];
                world.call("AuthorizeClientVpnIngress", &pairs).await.ok().text("code")
            })
        };
        let (a, b) = (call(), call());
        assert_eq!((a.await.unwrap(), b.await.unwrap()), ("authorizing".into(), "authorizing".into()));
    }
    assert_eq!(world.records::<model::AuthorizationRule>(model::Kind::Rule).await.len(), 20);
}

#[tokio::test]
async fn a_token_has_a_form() {
    let world = World::new();
    let long = "t".repeat(65);
    for token in [long.as_str(), "é"] {
        let pairs = [
            ("ClientVpnEndpointId", "cvpn-endpoint-00000000"),
            ("TargetNetworkCidr", "10.0.0.0/16"),
            ("AuthorizeAllGroups", "true"),
            ("ClientToken", token),
        ];
        assert_eq!(world.call("AuthorizeClientVpnIngress", &pairs).await.code(), "InvalidClientToken");
    }
}
