//! Routes (spec: aws-client-vpn §2.2.9 to §2.2.11).

use super::{Reply, World};
use crate::{Addresses, Config};

async fn create(world: &World, endpoint: &str, destination: &str, target: &str) -> Reply {
    let pairs = [
        ("ClientVpnEndpointId", endpoint),
        ("DestinationCidrBlock", destination),
        ("TargetVpcSubnetId", target),
        ("Description", "by hand"),
    ];
    world.call("CreateClientVpnRoute", &pairs).await
}

async fn delete(world: &World, endpoint: &str, destination: &str, target: Option<&str>) -> Reply {
    let mut pairs = vec![("ClientVpnEndpointId", endpoint), ("DestinationCidrBlock", destination)];
    pairs.extend(target.map(|target| ("TargetVpcSubnetId", target)));
    world.call("DeleteClientVpnRoute", &pairs).await
}

#[tokio::test]
async fn creating_needs_an_active_association() {
    let world = World::new();
    let (_, subnets) = world.network().await;
    let endpoint = world.endpoint(&[]).await;
    let reply = create(&world, &endpoint, "0.0.0.0/0", &subnets[0]).await;
    assert_eq!(reply.code(), "InvalidClientVpnActiveAssociationNotFound");
}

#[tokio::test]
async fn what_can_be_created() {
    let world = World::new();
    let (endpoint, _, subnets) = world.available().await;
    let rows = [
        ("192.168.0.0/16", subnets[0].as_str(), ""),
        ("192.168.0.0/16", &subnets[0], "InvalidClientVpnDuplicateRoute"),
        ("10.0.0.0/16", &subnets[0], "InvalidClientVpnDuplicateRoute"),
        ("192.168.0.0/16", &subnets[1], "InvalidClientVpnSubnetId.NotFound"),
        ("192.168.0.0/16", "subnet-x", "InvalidSubnetID.Malformed"),
        ("192.168.0.1/16", &subnets[0], "InvalidParameterValue"),
        ("10.100.4.0/24", &subnets[0], "InvalidParameterValue"),
        ("0.0.0.0/0", &subnets[0], ""),
        ("2001:db8::/32", &subnets[0], "InvalidParameterValue"),
        ("10.100.0.0/16", "local", ""),
        ("10.200.0.0/16", "local", "InvalidParameterValue"),
    ];
    for (destination, target, code) in rows {
        let reply = create(&world, &endpoint, destination, target).await;
        assert_eq!(reply.code(), code, "{destination} {target}");
        if code.is_empty() {
            assert_eq!(reply.text("code"), "creating");
        }
    }
    assert_eq!(
        create(&world, &endpoint, "10.0.0.0/16", &subnets[0]).await.text("Message"),
        "Route already exists"
    );
    let base = ("ClientVpnEndpointId", endpoint.as_str());
    let missing = world.call("CreateClientVpnRoute", &[base, ("DestinationCidrBlock", "0.0.0.0/0")]).await;
    assert_eq!(missing.code(), "MissingParameter");
    let filters = [
        base,
        ("Filter.1.Name", "destination-cidr"),
        ("Filter.1.Value.1", "192.168.0.0/16"),
        ("Filter.2.Name", "target-subnet"),
        ("Filter.2.Value.1", &subnets[0]),
    ];
    let shown = world.call("DescribeClientVpnRoutes", &filters).await.ok();
    assert_eq!(shown.all("destinationCidr"), ["192.168.0.0/16"]);
    assert_eq!((shown.text("origin"), shown.text("description")), ("add-route".into(), "by hand".into()));
    let local = world
        .call(
            "DescribeClientVpnRoutes",
            &[base, ("Filter.1.Name", "target-subnet"), ("Filter.1.Value.1", "local")],
        )
        .await
        .ok();
    assert_eq!((local.text("type"), local.text("targetSubnet")), ("Local".into(), "local".into()));
}

#[tokio::test]
async fn deleting() {
    let world = World::new();
    let (endpoint, _, subnets) = world.available().await;
    world.associate(&endpoint, &subnets[1]).await.ok();
    world.settle().await;
    create(&world, &endpoint, "192.168.0.0/16", &subnets[0]).await.ok();
    create(&world, &endpoint, "192.168.0.0/16", &subnets[1]).await.ok();
    create(&world, &endpoint, "192.169.0.0/16", &subnets[0]).await.ok();
    let rows = [
        ("10.0.0.0/16", Some(subnets[0].as_str()), "OperationNotPermitted"),
        ("172.16.0.0/16", Some(&subnets[0]), "InvalidClientVpnRouteNotFound"),
        ("192.168.0.0/16", None, "MissingParameter"),
        ("192.169.0.0/16", None, ""),
        ("192.169.0.0/16", Some(&subnets[0]), ""),
        ("192.168.0.0/16", Some(&subnets[1]), ""),
    ];
    for (destination, target, code) in rows {
        let reply = delete(&world, &endpoint, destination, target).await;
        assert_eq!(reply.code(), code, "{destination} {target:?}");
        if code.is_empty() {
            assert_eq!(reply.text("code"), "deleting");
        }
    }
    world.settle().await;
    assert_eq!(
        delete(&world, &endpoint, "192.169.0.0/16", None).await.code(),
        "InvalidClientVpnRouteNotFound"
    );
}

#[tokio::test]
async fn the_quota_is_per_target_network() {
    let mut config = Config { addresses: Addresses::parse(["192.0.2.1"]).unwrap(), ..Config::default() };
    config.quotas.routes_per_association = 3;
    let world = World::with(config);
    let (endpoint, _, subnets) = world.available().await;
    world.associate(&endpoint, &subnets[1]).await.ok();
    world.settle().await;
    for (number, code) in [(0, ""), (1, ""), (2, "ClientVpnRouteLimitExceeded")] {
        let destination = format!("192.168.{number}.0/24");
        assert_eq!(create(&world, &endpoint, &destination, &subnets[0]).await.code(), code);
    }
    assert_eq!(create(&world, &endpoint, "192.168.9.0/24", &subnets[1]).await.code(), "");
}
