//! Transit gateways, and endpoints attached to them (spec: aws-client-vpn §1.2, §1.10, §2.2.20).

use model::{Association, AttachmentEntry, Endpoint, Kind, Route, TransitGateway, TransitGatewayOwner};

use super::{How, Pairs, Reply, World, allow};

const BLOCK: (&str, &str) = ("Options.TransitGatewayCidrBlocks.1", "10.200.0.0/24");
const GATEWAY: &str = "TransitGatewayConfiguration.TransitGatewayId";
/// The account that has the transit gateway, where the endpoint's is another.
const OWNER: How<'static> =
    How { key: "OWNER", region: "us-east-1", service: "ec2", method: "POST", signed_at: super::NOW };

async fn gateway(world: &World, how: How<'_>, more: Pairs<'_>) -> String {
    let pairs: Vec<_> = [BLOCK].into_iter().chain(more.iter().copied()).collect();
    world.call_as(how, "CreateTransitGateway", &pairs).await.ok().text("transitGatewayId")
}

async fn on_endpoint(world: &World, action: &str, id: &str, more: Pairs<'_>) -> Reply {
    let pairs: Vec<_> = [("ClientVpnEndpointId", id)].into_iter().chain(more.iter().copied()).collect();
    world.call(action, &pairs).await
}

async fn decide(world: &World, verb: &str, attachment: &str) -> Reply {
    let action = format!("{verb}TransitGatewayClientVpnAttachment");
    world.call_as(OWNER, &action, &[("TransitGatewayAttachmentId", attachment)]).await
}

/// An endpoint of one account at another's transit gateway: endpoint, gateway, attachment.
async fn shared(world: &World) -> (String, String, String) {
    world.users.elsewhere("111111111111", "OWNER", &allow("*"));
    let gateway = gateway(world, OWNER, &[]).await;
    let endpoint = world.endpoint(&[(GATEWAY, &gateway)]).await;
    let described = world.call_as(OWNER, "DescribeTransitGatewayAttachments", &[]).await.ok();
    (endpoint, gateway, described.text("transitGatewayAttachmentId"))
}

#[tokio::test]
async fn a_gateway_is_made_described_and_deleted() {
    let world = World::new();
    let more = [
        ("Description", "core"),
        ("Options.AmazonSideAsn", "65000"),
        ("Options.DnsSupport", "disable"),
        ("TagSpecification.1.ResourceType", "transit-gateway"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "core"),
    ];
    let id = gateway(&world, How::default(), &more).await;
    let other = gateway(&world, How::default(), &[]).await;
    let by_tag = [("Filter.1.Name", "tag:Name"), ("Filter.1.Value.1", "core")];
    let described = world.call("DescribeTransitGateways", &by_tag).await.ok();
    assert_eq!(described.all("transitGatewayId"), [id.as_str()]);
    assert_eq!(described.text("state"), "available");
    assert_eq!(
        (described.text("amazonSideAsn"), described.text("dnsSupport")),
        ("65000".into(), "disable".into())
    );
    let table = format!("tgw-rtb-{}", id.strip_prefix("tgw-").unwrap());
    assert_eq!(described.text("associationDefaultRouteTableId"), table);
    assert_eq!(
        described.text("transitGatewayArn"),
        format!("arn:aws:ec2:us-east-1:000000000000:transit-gateway/{id}")
    );
    let tag = [("ResourceId.1", other.as_str()), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")];
    world.call("CreateTags", &tag).await.ok();
    let deleted = world.call("DeleteTransitGateway", &[("TransitGatewayId", &other)]).await.ok();
    assert_eq!(deleted.text("state"), "deleting");
    for action in ["DeleteTransitGateway", "DescribeTransitGateways"] {
        let name = if action.starts_with("Delete") { "TransitGatewayId" } else { "TransitGatewayIds.1" };
        assert_eq!(world.call(action, &[(name, &other)]).await.code(), "InvalidTransitGatewayID.NotFound");
    }
    world.call("DeleteTransitGateway", &[("TransitGatewayId", &id)]).await.ok();
    assert!(world.records::<TransitGateway>(Kind::TransitGateway).await.is_empty());
    let owners = model::prefix::unscoped(Kind::TransitGatewayOwner);
    let owners = store::typed::list::<TransitGatewayOwner>(world.store.as_ref(), &owners).await.unwrap().0;
    assert!(owners.is_empty());
}

#[tokio::test]
async fn a_gateway_is_changed_in_place() {
    let world = World::new();
    let id = gateway(&world, How::default(), &[("Description", "core")]).await;
    let on = ("TransitGatewayId", id.as_str());
    let changes = [
        on,
        ("Description", "edge"),
        ("Options.AddTransitGatewayCidrBlocks.1", "10.201.0.0/24"),
        ("Options.AddTransitGatewayCidrBlocks.2", "fd00::/64"),
        ("Options.RemoveTransitGatewayCidrBlocks.1", BLOCK.1),
        ("Options.VpnEcmpSupport", "disable"),
        ("Options.DnsSupport", "disable"),
        ("Options.SecurityGroupReferencingSupport", "enable"),
        ("Options.AutoAcceptSharedAttachments", "enable"),
        ("Options.DefaultRouteTableAssociation", "disable"),
        ("Options.DefaultRouteTablePropagation", "disable"),
        ("Options.AmazonSideAsn", "65001"),
    ];
    let changed = world.call("ModifyTransitGateway", &changes).await.ok();
    assert_eq!(changed.text("state"), "modifying");
    let described = world.call("DescribeTransitGateways", &[]).await.ok();
    for reply in [changed, described] {
        for (member, value) in [
            ("transitGatewayId", id.as_str()),
            ("description", "edge"),
            ("amazonSideAsn", "65001"),
            ("autoAcceptSharedAttachments", "enable"),
            ("defaultRouteTableAssociation", "disable"),
            ("defaultRouteTablePropagation", "disable"),
            ("vpnEcmpSupport", "disable"),
            ("dnsSupport", "disable"),
            ("securityGroupReferencingSupport", "enable"),
        ] {
            assert_eq!(reply.text(member), value, "{member}");
        }
        let blocks = "<transitGatewayCidrBlocks><item>10.201.0.0/24</item><item>fd00::/64</item>";
        assert!(reply.body.contains(blocks), "{}", reply.body);
        assert!(reply.all("associationDefaultRouteTableId").is_empty());
    }
    // What is not given stays; a block twice is one.
    let again = [on, ("Options.AddTransitGatewayCidrBlocks.1", "10.201.0.0/24")];
    let again = world.call("ModifyTransitGateway", &again).await.ok();
    assert_eq!(again.body.matches("10.201.0.0/24").count(), 1);
    assert_eq!((again.text("description"), again.text("dnsSupport")), ("edge".into(), "disable".into()));
}

#[tokio::test]
async fn what_a_gateway_cannot_be_changed_to() {
    let world = World::new();
    let id = gateway(&world, How::default(), &[]).await;
    let on = ("TransitGatewayId", id.as_str());
    let endpoint = world.endpoint(&[(GATEWAY, &id)]).await;
    world.settle().await;
    let gateways = || async {
        let records = world.records::<TransitGateway>(Kind::TransitGateway).await;
        records.into_iter().map(|record| record.value).collect::<Vec<_>>()
    };
    let before = gateways().await;
    let many: Vec<String> = (1..=5).map(|n| format!("Options.AddTransitGatewayCidrBlocks.{n}")).collect();
    let blocks: Vec<String> = (1..=5).map(|n| format!("10.20{n}.0.0/24")).collect();
    let many = many.iter().zip(&blocks).map(|(name, block)| (name.as_str(), block.as_str()));
    let rows: Vec<Vec<(&str, &str)>> = vec![
        vec![("Options.AmazonSideAsn", "1")],
        vec![("Options.DnsSupport", "on")],
        vec![("Options.AddTransitGatewayCidrBlocks.1", "10.0.0.0/25")],
        vec![("Options.RemoveTransitGatewayCidrBlocks.1", "x")],
        vec![("Options.RemoveTransitGatewayCidrBlocks.1", "10.77.0.0/24")],
        many.collect(),
        // The endpoint needs an IPv4 block, and none that holds its clients.
        vec![("Options.RemoveTransitGatewayCidrBlocks.1", BLOCK.1)],
        vec![("Options.AddTransitGatewayCidrBlocks.1", "10.100.7.0/24")],
    ];
    for row in rows {
        let pairs: Vec<_> = [on].into_iter().chain(row.iter().copied()).collect();
        assert_eq!(
            world.call("ModifyTransitGateway", &pairs).await.code(),
            "InvalidParameterValue",
            "{row:?}"
        );
    }
    let absent = [("TransitGatewayId", "tgw-0123456789abcdef0")];
    assert_eq!(world.call("ModifyTransitGateway", &absent).await.code(), "InvalidTransitGatewayID.NotFound");
    assert_eq!(gateways().await, before);
    // With the endpoint gone, what it needed is free again.
    let networks = on_endpoint(&world, "DescribeClientVpnTargetNetworks", &endpoint, &[]).await.ok();
    for association in networks.all("associationId") {
        let which = [("AssociationId", association.as_str())];
        on_endpoint(&world, "DisassociateClientVpnTargetNetwork", &endpoint, &which).await.ok();
    }
    world.settle().await;
    on_endpoint(&world, "DeleteClientVpnEndpoint", &endpoint, &[]).await.ok();
    world.settle().await;
    let last = [on, ("Options.RemoveTransitGatewayCidrBlocks.1", BLOCK.1)];
    world.call("ModifyTransitGateway", &last).await.ok();
}

#[tokio::test]
async fn what_cannot_be_a_gateway() {
    let world = World::new();
    for pair in [
        ("Options.AmazonSideAsn", "1"),
        ("Options.AmazonSideAsn", "-1"),
        ("Options.TransitGatewayCidrBlocks.1", "10.0.0.0/25"),
        ("Options.TransitGatewayCidrBlocks.1", "10.0.0.1/24"),
        ("Options.TransitGatewayCidrBlocks.1", "x"),
        ("Options.MulticastSupport", "on"),
    ] {
        assert_eq!(
            world.call("CreateTransitGateway", &[pair]).await.code(),
            "InvalidParameterValue",
            "{pair:?}"
        );
    }
    for _ in 0..5 {
        gateway(&world, How::default(), &[]).await;
    }
    assert_eq!(world.call("CreateTransitGateway", &[]).await.code(), "TransitGatewayLimitExceeded");
}

#[tokio::test]
async fn an_endpoint_of_the_same_account_is_attached_at_once() {
    let world = World::new();
    let gateway = gateway(&world, How::default(), &[]).await;
    let endpoint = world.endpoint(&[(GATEWAY, &gateway)]).await;
    world.settle().await;
    let described = on_endpoint(&world, "DescribeClientVpnEndpoints", &endpoint, &[]).await;
    assert_eq!(described.code(), "UnknownParameter", "the list's name has a number");
    let described = world.call("DescribeClientVpnEndpoints", &[]).await.ok();
    assert_eq!(described.text("code"), "available");
    assert_eq!(described.text("transitGatewayId"), gateway);
    assert!(described.text("transitGatewayAttachmentId").starts_with("tgw-attach-"));
    assert!(described.all("vpcId").is_empty() && described.all("networkId").is_empty());
    let networks = on_endpoint(&world, "DescribeClientVpnTargetNetworks", &endpoint, &[]).await.ok();
    assert_eq!(networks.all("associationId").len(), 2);
    assert!(networks.all("targetNetworkId").is_empty() && networks.all("vpcId").is_empty());
    assert!(networks.body.contains("<availabilityZoneSet><item>us-east-1a</item></availabilityZoneSet>"));
    assert!(networks.body.contains("<availabilityZoneIdSet><item>use1-az2</item></availabilityZoneIdSet>"));
    // It is in use, and says by what.
    let refused = world.call("DeleteTransitGateway", &[("TransitGatewayId", &gateway)]).await;
    assert_eq!(refused.code(), "IncorrectState");
    assert!(refused.text("Message").contains(&described.text("transitGatewayAttachmentId")));
    let attachments = [("Filter.1.Name", "resource-type"), ("Filter.1.Value.1", "client-vpn")];
    let attachments = world.call("DescribeTransitGatewayAttachments", &attachments).await.ok();
    assert_eq!(
        (attachments.text("resourceId"), attachments.text("state")),
        (endpoint.clone(), "available".into())
    );
    // Zones come and go; with the last, its routes go too.
    let zone = [("AvailabilityZoneId", "use1-az3")];
    on_endpoint(&world, "AssociateClientVpnTargetNetwork", &endpoint, &zone).await.ok();
    let again = on_endpoint(&world, "AssociateClientVpnTargetNetwork", &endpoint, &zone).await;
    assert_eq!(again.code(), "InvalidClientVpnSubnetId.DuplicateAz");
    world.settle().await;
    let to = [("DestinationCidrBlock", "10.9.0.0/16")];
    on_endpoint(&world, "CreateClientVpnRoute", &endpoint, &to).await.ok();
    let again = on_endpoint(&world, "CreateClientVpnRoute", &endpoint, &to).await;
    assert_eq!(again.code(), "InvalidClientVpnDuplicateRoute");
    let routes = on_endpoint(&world, "DescribeClientVpnRoutes", &endpoint, &[]).await.ok();
    assert_eq!(routes.text("type"), "TransitGateway");
    assert_eq!(routes.text("transitGatewayAttachmentId"), described.text("transitGatewayAttachmentId"));
    assert!(routes.all("targetSubnet").is_empty());
    world.settle().await;
    for (left, association) in (0..3).rev().zip(
        on_endpoint(&world, "DescribeClientVpnTargetNetworks", &endpoint, &[])
            .await
            .ok()
            .all("associationId"),
    ) {
        let which = [("AssociationId", association.as_str())];
        on_endpoint(&world, "DisassociateClientVpnTargetNetwork", &endpoint, &which).await.ok();
        world.settle().await;
        assert_eq!(world.records::<Route>(Kind::Route).await.len(), usize::from(left > 0));
    }
    assert_eq!(world.stored(&endpoint).await.status.code, model::EndpointCode::PendingAssociate);
    on_endpoint(&world, "DeleteClientVpnEndpoint", &endpoint, &[]).await.ok();
    world.settle().await;
    assert!(world.records::<AttachmentEntry>(Kind::AttachmentEntry).await.is_empty());
    world.call("DeleteTransitGateway", &[("TransitGatewayId", &gateway)]).await.ok();
}

#[tokio::test]
async fn another_accounts_gateway_must_accept() {
    let world = World::new();
    let (endpoint, gateway, attachment) = shared(&world).await;
    let status = || async { world.call("DescribeClientVpnEndpoints", &[]).await.ok().text("code") };
    assert_eq!(status().await, "pending");
    let zone = [("AvailabilityZone", "us-east-1c")];
    let early = on_endpoint(&world, "AssociateClientVpnTargetNetwork", &endpoint, &zone).await;
    assert_eq!(early.code(), "IncorrectState");
    let early =
        on_endpoint(&world, "CreateClientVpnRoute", &endpoint, &[("DestinationCidrBlock", "10.9.0.0/16")]);
    assert_eq!(early.await.code(), "InvalidClientVpnActiveAssociationNotFound");
    // Who asked cannot answer, nor see the gateway.
    let asked = [("TransitGatewayAttachmentId", attachment.as_str())];
    for verb in ["Accept", "Reject", "Delete"] {
        let own = world.call(&format!("{verb}TransitGatewayClientVpnAttachment"), &asked).await;
        assert_eq!(own.code(), "InvalidTransitGatewayAttachmentID.NotFound", "{verb}");
    }
    assert!(world.call("DescribeTransitGateways", &[]).await.ok().all("transitGatewayId").is_empty());
    let seen = world.call("DescribeTransitGatewayAttachments", &[]).await.ok();
    assert_eq!(
        (seen.text("state"), seen.text("transitGatewayOwnerId")),
        ("pendingAcceptance".into(), "111111111111".into())
    );
    let accepted = decide(&world, "Accept", &attachment).await.ok();
    assert_eq!(accepted.text("state"), "pending");
    assert_eq!(accepted.text("clientVpnOwnerId"), "000000000000");
    assert_eq!(
        (accepted.text("clientVpnEndpointId"), accepted.text("transitGatewayId")),
        (endpoint.clone(), gateway.clone())
    );
    world.settle().await;
    assert_eq!(status().await, "available");
    for verb in ["Accept", "Reject"] {
        assert_eq!(decide(&world, verb, &attachment).await.code(), "IncorrectState", "{verb}");
    }
    // The owner takes it back: as if the last network were disassociated, but that nothing can be associated.
    let removed = decide(&world, "Delete", &attachment).await.ok();
    assert_eq!(removed.text("state"), "deleting");
    assert_eq!(decide(&world, "Delete", &attachment).await.ok().text("state"), "deleting");
    let networks = on_endpoint(&world, "DescribeClientVpnTargetNetworks", &endpoint, &[]).await.ok();
    assert_eq!(networks.all("code"), ["disassociating", "disassociating"]);
    world.settle().await;
    assert_eq!(status().await, "pending");
    assert!(world.records::<Association>(Kind::Association).await.is_empty());
    assert_eq!(
        decide(&world, "Delete", &attachment).await.code(),
        "InvalidTransitGatewayAttachmentID.NotFound"
    );
    world.call_as(OWNER, "DeleteTransitGateway", &[("TransitGatewayId", &gateway)]).await.ok();
    on_endpoint(&world, "DeleteClientVpnEndpoint", &endpoint, &[]).await.ok();
    world.settle().await;
    assert!(world.records::<Endpoint>(Kind::Endpoint).await.is_empty());
}

#[tokio::test]
async fn a_rejected_one_does_not_keep_the_gateway() {
    let world = World::new();
    let (endpoint, gateway, attachment) = shared(&world).await;
    let rejected = decide(&world, "Reject", &attachment).await.ok();
    assert_eq!(rejected.text("state"), "rejected");
    assert_eq!(decide(&world, "Accept", &attachment).await.code(), "IncorrectState");
    world.settle().await;
    assert_eq!(world.stored(&endpoint).await.status.code, model::EndpointCode::Pending);
    world.call_as(OWNER, "DeleteTransitGateway", &[("TransitGatewayId", &gateway)]).await.ok();
    assert_eq!(
        decide(&world, "Delete", &attachment).await.code(),
        "InvalidTransitGatewayAttachmentID.NotFound"
    );
    on_endpoint(&world, "DeleteClientVpnEndpoint", &endpoint, &[]).await.ok();
}

#[tokio::test]
async fn a_gateway_may_accept_everybody() {
    let world = World::new();
    world.users.elsewhere("111111111111", "OWNER", &allow("*"));
    let open = gateway(&world, OWNER, &[("Options.AutoAcceptSharedAttachments", "enable")]).await;
    let endpoint = world.endpoint(&[(GATEWAY, &open)]).await;
    assert_eq!(world.stored(&endpoint).await.status.code, model::EndpointCode::PendingAssociate);
}

#[tokio::test]
async fn what_an_endpoint_with_a_gateway_cannot_be_told() {
    let world = World::new();
    let gateway = gateway(&world, How::default(), &[]).await;
    let bare = world.call("CreateTransitGateway", &[]).await.ok().text("transitGatewayId");
    let near = [("Options.TransitGatewayCidrBlocks.1", "10.100.7.0/24")];
    let near = world.call("CreateTransitGateway", &near).await.ok().text("transitGatewayId");
    let arn = world.certificate("server.example.com").await;
    let plain = super::endpoint_pairs(&arn);
    const ZONE: &str = "TransitGatewayConfiguration.AvailabilityZone.1";
    const ZONE_ID: &str = "TransitGatewayConfiguration.AvailabilityZoneId.1";
    let many: Vec<String> =
        (1..=6).map(|n| format!("TransitGatewayConfiguration.AvailabilityZone.{n}")).collect();
    let many = many.iter().map(|name| (name.as_str(), "us-east-1a"));
    let rows: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![(GATEWAY, "tgw-0123456789abcdef0")], "InvalidTransitGatewayID.NotFound"),
        (vec![(GATEWAY, "x")], "InvalidTransitGatewayID.NotFound"),
        (vec![(GATEWAY, &bare)], "InvalidParameterValue"),
        (vec![(GATEWAY, &near)], "InvalidParameterValue"),
        (vec![(GATEWAY, &gateway), (ZONE, "us-east-1x")], "InvalidParameterValue"),
        (vec![(GATEWAY, &gateway), (ZONE_ID, "us-east-1a")], "InvalidParameterValue"),
        (
            vec![(GATEWAY, &gateway), (ZONE, "us-east-1a"), (ZONE_ID, "use1-az1")],
            "InvalidParameterCombination",
        ),
        ([(GATEWAY, gateway.as_str())].into_iter().chain(many).collect(), "InvalidParameterValue"),
        (vec![(ZONE, "us-east-1a")], "MissingParameter"),
    ];
    for (changes, code) in rows {
        let mut pairs: Vec<(&str, &str)> =
            plain.iter().map(|(name, value)| (*name, value.as_str())).collect();
        pairs.extend(&changes);
        assert_eq!(world.call("CreateClientVpnEndpoint", &pairs).await.code(), code, "{changes:?}");
    }
    let endpoint = world.endpoint(&[(GATEWAY, &gateway), (ZONE_ID, "use1-az2")]).await;
    world.settle().await;
    let (vpc, subnets) = world.network().await;
    let group = world.call("DescribeSecurityGroups", &[]).await.ok().text("groupId");
    let rows = [
        (
            "AssociateClientVpnTargetNetwork",
            vec![("SubnetId", subnets[0].as_str())],
            "InvalidParameterCombination",
        ),
        (
            "AssociateClientVpnTargetNetwork",
            vec![("AvailabilityZone", "us-east-1b")],
            "InvalidClientVpnSubnetId.DuplicateAz",
        ),
        ("AssociateClientVpnTargetNetwork", vec![("AvailabilityZone", "x")], "InvalidParameterValue"),
        (
            "CreateClientVpnRoute",
            vec![("DestinationCidrBlock", "10.9.0.0/16"), ("TargetVpcSubnetId", &subnets[0])],
            "InvalidParameterCombination",
        ),
        ("ModifyClientVpnEndpoint", vec![("VpcId", vpc.as_str())], "InvalidParameterCombination"),
        (
            "ApplySecurityGroupsToClientVpnTargetNetwork",
            vec![("VpcId", vpc.as_str()), ("SecurityGroupId.1", &group)],
            "InvalidClientVpnActiveAssociationNotFound",
        ),
    ];
    for (action, pairs, code) in rows {
        assert_eq!(on_endpoint(&world, action, &endpoint, &pairs).await.code(), code, "{action} {pairs:?}");
    }
    // Between clients there is a route as anywhere.
    let local = [("DestinationCidrBlock", "10.100.0.0/16"), ("TargetVpcSubnetId", "local")];
    on_endpoint(&world, "CreateClientVpnRoute", &endpoint, &local).await.ok();
    let interfaces = world.call("DescribeNetworkInterfaces", &[]).await.ok();
    assert!(interfaces.all("networkInterfaceId").is_empty());
}
