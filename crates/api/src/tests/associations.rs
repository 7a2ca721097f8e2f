//! Target networks: associate, disassociate, describe (spec: aws-client-vpn §1.3, §2.2.5 to §2.2.7).

use model::{Association, AssociationCode, Key, Kind, Route, RouteCode};

use super::World;

async fn disassociate(world: &World, endpoint: &str, association: &str) -> super::Reply {
    let pairs = [("ClientVpnEndpointId", endpoint), ("AssociationId", association)];
    world.call("DisassociateClientVpnTargetNetwork", &pairs).await
}

#[tokio::test]
async fn an_association_binds_the_endpoint_and_adds_the_default_route() {
    let world = World::new();
    let (vpc, subnets) = world.network().await;
    let endpoint = world.endpoint(&[]).await;
    let reply = world.associate(&endpoint, &subnets[0]).await.ok();
    assert_eq!(reply.text("code"), "associating");
    let stored = world.stored(&endpoint).await;
    assert_eq!(stored.spec.vpc_id.as_ref().unwrap().as_str(), vpc);
    assert_eq!((stored.spec.security_group_ids.len(), stored.association_epoch), (1, 1));
    let routes = world.records::<Route>(Kind::Route).await;
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0].value.destination.to_string(), "10.0.0.0/16");
    assert_eq!(routes[0].value.description.as_deref(), Some("Default Route"));
    assert_eq!(routes[0].value.status.code, RouteCode::Creating);
    world.settle().await;
    let routes = world.call("DescribeClientVpnRoutes", &[("ClientVpnEndpointId", &endpoint)]).await.ok();
    assert_eq!((routes.text("origin"), routes.text("type")), ("associate".into(), "Nat".into()));
    let described =
        world.call("DescribeClientVpnTargetNetworks", &[("ClientVpnEndpointId", &endpoint)]).await.ok();
    assert_eq!(described.text("targetNetworkId"), subnets[0]);
    assert_eq!((described.text("vpcId"), described.text("code")), (vpc, "associated".into()));
}

#[tokio::test]
async fn what_cannot_be_associated() {
    let world = World::new();
    let (endpoint, _, subnets) = world.available().await;
    let vpc = world.stored(&endpoint).await.spec.vpc_id.unwrap().to_string();
    let in_a = [("VpcId", vpc.as_str()), ("CidrBlock", "10.0.9.0/24"), ("AvailabilityZone", "us-east-1a")];
    let same_zone = world.call("CreateSubnet", &in_a).await.ok().text("subnetId");
    let small = [("VpcId", vpc.as_str()), ("CidrBlock", "10.0.10.0/28"), ("AvailabilityZone", "us-east-1d")];
    let small = world.call("CreateSubnet", &small).await.ok().text("subnetId");
    let other_vpc = world.network().await.1;
    let rows = [
        ("subnet-00000000", "InvalidClientVpnSubnetId.NotFound"),
        ("subnet-x", "InvalidSubnetID.Malformed"),
        (&other_vpc[1], "InvalidClientVpnSubnetId.NotFound"),
        (&subnets[0], "InvalidClientVpnDuplicateAssociationException"),
        (&same_zone, "InvalidClientVpnSubnetId.DuplicateAz"),
        (&small, "InvalidParameterValue"),
    ];
    for (subnet, code) in rows {
        assert_eq!(world.associate(&endpoint, subnet).await.code(), code, "{subnet}");
    }
    let zone = [("ClientVpnEndpointId", endpoint.as_str()), ("AvailabilityZone", "us-east-1b")];
    assert_eq!(
        world.call("AssociateClientVpnTargetNetwork", &zone).await.code(),
        "InvalidParameterCombination"
    );
    let none = [("ClientVpnEndpointId", endpoint.as_str())];
    assert_eq!(world.call("AssociateClientVpnTargetNetwork", &none).await.code(), "MissingParameter");
    world.associate(&endpoint, &subnets[1]).await.ok();
}

#[tokio::test]
async fn a_network_around_the_client_addresses_is_refused() {
    let world = World::new();
    let vpc = world.call("CreateVpc", &[("CidrBlock", "10.100.0.0/16")]).await.ok().text("vpcId");
    let subnet = world
        .call("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", "10.100.7.0/24")])
        .await
        .ok()
        .text("subnetId");
    let endpoint = world.endpoint(&[]).await;
    assert_eq!(world.associate(&endpoint, &subnet).await.code(), "InvalidClientVpnSubnetId.OverlappingCidr");
    let dedicated = [("CidrBlock", "10.1.0.0/16"), ("InstanceTenancy", "dedicated")];
    let vpc = world.call("CreateVpc", &dedicated).await.ok().text("vpcId");
    let subnet = world
        .call("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", "10.1.7.0/24")])
        .await
        .ok()
        .text("subnetId");
    assert_eq!(world.associate(&endpoint, &subnet).await.code(), "InvalidParameterValue");
}

#[tokio::test]
async fn the_answer_to_a_disassociation_is_in_the_published_order() {
    let world = World::new();
    let (endpoint, association, _) = world.available().await;
    let reply = disassociate(&world, &endpoint, &association).await.ok();
    let expected = format!(
        "</requestId><status><code>disassociating</code></status><associationId>{association}</associationId>"
    );
    assert!(reply.body.contains(&expected), "{}", reply.body);
}

#[tokio::test]
async fn the_last_disassociation_takes_every_route_and_the_endpoint_stays_until_it_is_over() {
    let world = World::new();
    let (endpoint, association, subnets) = world.available().await;
    let manual = [
        ("ClientVpnEndpointId", endpoint.as_str()),
        ("DestinationCidrBlock", "192.168.0.0/24"),
        ("TargetVpcSubnetId", &subnets[0]),
    ];
    world.call("CreateClientVpnRoute", &manual).await.ok();
    let local = [
        ("ClientVpnEndpointId", endpoint.as_str()),
        ("DestinationCidrBlock", "10.100.0.0/16"),
        ("TargetVpcSubnetId", "local"),
    ];
    world.call("CreateClientVpnRoute", &local).await.ok();
    world.settle().await;
    disassociate(&world, &endpoint, &association).await.ok();
    let epoch = world.stored(&endpoint).await.association_epoch;
    // Again while it is under way: the same answer, and nothing new.
    assert_eq!(disassociate(&world, &endpoint, &association).await.ok().text("code"), "disassociating");
    assert_eq!(world.stored(&endpoint).await.association_epoch, epoch);
    let routes = world.records::<Route>(Kind::Route).await;
    assert_eq!(routes.len(), 3);
    assert!(routes.iter().all(|route| route.value.status.code == RouteCode::Deleting));
    let described =
        world.call("DescribeClientVpnEndpoints", &[("ClientVpnEndpointId.1", &endpoint)]).await.ok();
    assert_eq!(described.text("code"), "available");
    assert_eq!(
        world.call("CreateClientVpnRoute", &manual).await.code(),
        "InvalidClientVpnActiveAssociationNotFound"
    );
    let deletion = world.call("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &endpoint)]).await;
    assert_eq!(deletion.code(), "ClientVpnEndpointAssociationExists");
    assert_eq!(
        deletion.text("Message"),
        format!("The endpoint that you're trying to delete has associations {association}")
    );
    world.settle().await;
    assert_eq!(
        disassociate(&world, &endpoint, &association).await.code(),
        "InvalidClientVpnAssociationIdNotFound"
    );
    let described = world.call("DescribeClientVpnEndpoints", &[]).await.ok();
    assert_eq!(described.text("code"), "pending-associate");
    world.associate(&endpoint, &subnets[0]).await.ok();
}

#[tokio::test]
async fn one_of_two_takes_its_own_routes_only() {
    let world = World::new();
    let (endpoint, first, subnets) = world.available().await;
    let second = world.associate(&endpoint, &subnets[1]).await.ok().text("associationId");
    let local = [
        ("ClientVpnEndpointId", endpoint.as_str()),
        ("DestinationCidrBlock", "10.100.0.0/16"),
        ("TargetVpcSubnetId", "local"),
    ];
    world.call("CreateClientVpnRoute", &local).await.ok();
    world.settle().await;
    disassociate(&world, &endpoint, &first).await.ok();
    let deleting = |routes: Vec<store::typed::Record<Route>>| {
        let gone = routes.into_iter().filter(|route| route.value.status.code == RouteCode::Deleting);
        gone.map(|route| route.value.target.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(deleting(world.records(Kind::Route).await), [subnets[0].clone()]);
    world.settle().await;
    disassociate(&world, &endpoint, &second).await.ok();
    let mut targets = deleting(world.records(Kind::Route).await);
    targets.sort();
    assert_eq!(targets, ["local".to_owned(), subnets[1].clone()]);
}

#[tokio::test]
async fn of_two_concurrent_disassociations_exactly_one_is_the_last() {
    for _ in 0..20 {
        let world = std::sync::Arc::new(World::new());
        let (endpoint, first, subnets) = world.available().await;
        let second = world.associate(&endpoint, &subnets[1]).await.ok().text("associationId");
        let local = [
            ("ClientVpnEndpointId", endpoint.as_str()),
            ("DestinationCidrBlock", "10.100.0.0/16"),
            ("TargetVpcSubnetId", "local"),
        ];
        world.call("CreateClientVpnRoute", &local).await.ok();
        world.settle().await;
        let end = |association: String| {
            let (world, endpoint) = (world.clone(), endpoint.clone());
            tokio::spawn(async move { disassociate(&world, &endpoint, &association).await.ok() })
        };
        let (a, b) = (end(first), end(second));
        a.await.unwrap();
        b.await.unwrap();
        let routes = world.records::<Route>(Kind::Route).await;
        assert!(routes.iter().all(|route| route.value.status.code == RouteCode::Deleting), "{routes:?}");
    }
}

#[tokio::test]
async fn a_failed_association_does_not_hold_the_endpoint() {
    let world = World::new();
    let (endpoint, first, subnets) = world.available().await;
    let second = world.associate(&endpoint, &subnets[1]).await.ok().text("associationId");
    let key = Key::association(&world.scope, &endpoint.parse().unwrap(), &second.parse().unwrap());
    let mut failed: Association =
        store::typed::get(world.store.as_ref(), key.as_str()).await.unwrap().unwrap().value;
    failed.status = model::Status::with(AssociationCode::AssociationFailed, "no address");
    let transaction = store::Transaction::new().put_record(key.as_str(), &failed);
    store::Store::transact(world.store.as_ref(), transaction).await.unwrap();
    let described = world
        .call(
            "DescribeClientVpnTargetNetworks",
            &[("ClientVpnEndpointId", &endpoint), ("AssociationIds.1", &second)],
        )
        .await
        .ok();
    assert_eq!(
        (described.text("code"), described.text("message")),
        ("association-failed".into(), "no address".into())
    );
    disassociate(&world, &endpoint, &first).await.ok();
    disassociate(&world, &endpoint, &second).await.ok();
}

#[tokio::test]
async fn describing_by_id_shows_that_one_only() {
    let world = World::new();
    let (endpoint, first, subnets) = world.available().await;
    let second = world.associate(&endpoint, &subnets[1]).await.ok().text("associationId");
    let base = ("ClientVpnEndpointId", endpoint.as_str());
    for wire in ["AssociationIds.1", "AssociationId.1"] {
        let reply = world.call("DescribeClientVpnTargetNetworks", &[base, (wire, &second)]).await.ok();
        assert_eq!(reply.all("associationId"), [second.as_str()], "{wire}");
    }
    let filter = [base, ("Filter.1.Name", "target-network-id"), ("Filter.1.Value.1", subnets[0].as_str())];
    let reply = world.call("DescribeClientVpnTargetNetworks", &filter).await.ok();
    assert_eq!(reply.all("associationId"), [first]);
    let unknown = [base, ("AssociationIds.1", "cvpn-assoc-00000000000000000")];
    let reply = world.call("DescribeClientVpnTargetNetworks", &unknown).await;
    assert_eq!(reply.code(), "InvalidClientVpnAssociationIdNotFound");
}
