//! The ends of VPCs and subnets, their attributes and blocks, and what every VPC has.

use model::{Kind, SecurityGroup, Subnet, Vpc};

use super::World;

#[tokio::test]
async fn what_is_referred_to_stays() {
    let world = World::new();
    let (endpoint, association, subnets) = world.available().await;
    let vpc = world.call("DescribeVpcs", &[]).await.ok().text("vpcId");
    let vpc = ("VpcId", vpc.as_str());
    let in_use = "DependencyViolation";
    assert_eq!(world.call("DeleteVpc", &[vpc]).await.code(), in_use);
    assert_eq!(world.call("DeleteSubnet", &[("SubnetId", &subnets[0])]).await.code(), in_use);
    for subnet in &subnets[1..] {
        world.call("DeleteSubnet", &[("SubnetId", subnet)]).await.ok();
    }
    let pairs = [("ClientVpnEndpointId", endpoint.as_str()), ("AssociationId", association.as_str())];
    world.call("DisassociateClientVpnTargetNetwork", &pairs).await.ok();
    assert_eq!(world.call("DeleteSubnet", &[("SubnetId", &subnets[0])]).await.code(), in_use);
    world.settle().await;
    world.call("DeleteSubnet", &[("SubnetId", &subnets[0])]).await.ok();
    assert_eq!(
        world.call("DeleteSubnet", &[("SubnetId", &subnets[0])]).await.code(),
        "InvalidSubnetID.NotFound"
    );
    assert_eq!(world.call("DeleteVpc", &[vpc]).await.code(), in_use, "the endpoint is bound to it");
    world.call("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &endpoint)]).await.ok();
    world.settle().await;
    let pairs = [vpc, ("GroupName", "g"), ("GroupDescription", "d")];
    let group = world.call("CreateSecurityGroup", &pairs).await.ok().text("groupId");
    assert_eq!(world.call("DeleteVpc", &[vpc]).await.code(), in_use);
    world.call("DeleteSecurityGroup", &[("GroupId", &group)]).await.ok();
    world.call("DeleteVpc", &[vpc]).await.ok();
    assert_eq!(world.call("DeleteVpc", &[vpc]).await.code(), "InvalidVpcID.NotFound");
    assert_eq!(world.call("DescribeVpcs", &[("VpcId.1", vpc.1)]).await.code(), "InvalidVpcID.NotFound");
    assert!(world.records::<Vpc>(Kind::Vpc).await.is_empty());
    assert!(world.records::<Subnet>(Kind::Subnet).await.is_empty());
    assert!(world.records::<SecurityGroup>(Kind::SecurityGroup).await.is_empty());
    assert!(world.records::<model::RuleTags>(Kind::SecurityRule).await.is_empty());
}

#[tokio::test]
async fn an_end_and_a_reference_at_once_do_not_both_happen() {
    for _ in 0..20 {
        let world = std::sync::Arc::new(World::new());
        let (vpc, subnets) = world.network().await;
        let endpoint = world.endpoint(&[]).await;
        for subnet in &subnets[1..] {
            world.call("DeleteSubnet", &[("SubnetId", subnet)]).await.ok();
        }
        let (one, other) = (world.clone(), world.clone());
        let subnet = subnets[0].clone();
        let end = tokio::spawn(async move {
            one.call("DeleteSubnet", &[("SubnetId", &subnet)]).await.code();
            one.call("DeleteVpc", &[("VpcId", &vpc)]).await.code()
        });
        let subnet = subnets[0].clone();
        let start = tokio::spawn(async move { other.associate(&endpoint, &subnet).await.code() });
        let (ended, started) = (end.await.unwrap(), start.await.unwrap());
        assert!(ended.is_empty() != started.is_empty(), "{ended:?} {started:?}");
    }
}

#[tokio::test]
async fn attributes() {
    let world = World::new();
    let (vpc, subnets) = world.network().await;
    let vpc = ("VpcId", vpc.as_str());
    let read = async |name: &str| {
        world.call("DescribeVpcAttribute", &[vpc, ("Attribute", name)]).await.ok().text("value")
    };
    let names = ["enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics"];
    for (name, value) in names.into_iter().zip(["true", "false", "false"]) {
        assert_eq!(read(name).await, value, "{name}");
    }
    world.call("ModifyVpcAttribute", &[vpc, ("EnableDnsHostnames.Value", "true")]).await.ok();
    world.call("ModifyVpcAttribute", &[vpc, ("EnableDnsSupport.Value", "false")]).await.ok();
    assert_eq!((read(names[0]).await, read(names[1]).await), ("false".into(), "true".into()));
    let both = [vpc, ("EnableDnsHostnames.Value", "true"), ("EnableDnsSupport.Value", "true")];
    assert_eq!(world.call("ModifyVpcAttribute", &both).await.code(), "InvalidParameterCombination");
    let subnet = ("SubnetId", subnets[0].as_str());
    world.call("ModifySubnetAttribute", &[subnet, ("MapPublicIpOnLaunch.Value", "true")]).await.ok();
    world
        .call("ModifySubnetAttribute", &[subnet, ("PrivateDnsHostnameTypeOnLaunch", "resource-name")])
        .await
        .ok();
    let shown = world.call("DescribeSubnets", &[("SubnetId.1", subnet.1)]).await.ok();
    assert_eq!(
        (shown.text("mapPublicIpOnLaunch"), shown.text("hostnameType")),
        ("true".into(), "resource-name".into())
    );
    let refused = world.call("ModifySubnetAttribute", &[subnet, ("EnableDns64.Value", "true")]).await;
    assert_eq!(refused.code(), "UnsupportedOperation");
}

#[tokio::test]
async fn blocks() {
    let world = World::new();
    let (vpc, _) = world.network().await;
    let id = ("VpcId", vpc.as_str());
    let added = world.call("AssociateVpcCidrBlock", &[id, ("CidrBlock", "10.1.0.0/16")]).await.ok();
    let association = added.text("associationId");
    let filter =
        [("Filter.1.Name", "cidr-block-association.association-id"), ("Filter.1.Value.1", &*association)];
    let shown = world.call("DescribeVpcs", &filter).await.ok();
    assert_eq!(shown.all("cidrBlock"), ["10.0.0.0/16", "10.1.0.0/16", "10.0.0.0/16"]);
    let first = shown.text("associationId");
    let subnet = world.call("CreateSubnet", &[id, ("CidrBlock", "10.1.5.0/24")]).await.ok().text("subnetId");
    let end = async |association: &str| {
        world.call("DisassociateVpcCidrBlock", &[("AssociationId", association)]).await.code()
    };
    assert_eq!(end(&association).await, "DependencyViolation");
    assert_eq!(end(&first).await, "OperationNotPermitted");
    world.call("DeleteSubnet", &[("SubnetId", &subnet)]).await.ok();
    assert_eq!(end(&association).await, "");
    assert_eq!(end(&association).await, "InvalidVpcCidrBlockAssociationID.NotFound");
    for (block, code) in [
        ("10.0.128.0/17", "InvalidVpc.Range"),
        ("10.0.0.0/8", "InvalidVpc.Range"),
        ("10.1.0.0/16", ""),
        ("10.2.0.0/16", ""),
        ("10.3.0.0/16", ""),
        ("10.4.0.0/16", ""),
        ("10.5.0.0/16", "CidrLimitExceeded"),
    ] {
        assert_eq!(
            world.call("AssociateVpcCidrBlock", &[id, ("CidrBlock", block)]).await.code(),
            code,
            "{block}"
        );
    }
}

#[tokio::test]
async fn every_vpc_has_an_acl_and_a_route_table() {
    let world = World::new();
    let (vpc, subnets) = world.network().await;
    world.call("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).await.ok();
    let of = |name: &'static str| {
        [
            ("Filter.1.Name", name),
            ("Filter.1.Value.1", "true"),
            ("Filter.2.Name", "vpc-id"),
            ("Filter.2.Value.1", &*vpc),
        ]
    };
    let acl = world.call("DescribeNetworkAcls", &of("default")).await.ok();
    assert_eq!((acl.all("vpcId"), acl.text("default")), (vec![vpc.clone()], "true".into()));
    let mut associated = acl.all("subnetId");
    associated.sort();
    let mut expected = subnets.clone();
    expected.sort();
    assert_eq!(associated, expected);
    let table = world.call("DescribeRouteTables", &of("association.main")).await.ok();
    assert_eq!((table.text("main"), table.text("gatewayId")), ("true".into(), "local".into()));
    let id = table.text("routeTableId");
    assert_eq!(world.call("DescribeRouteTables", &[("RouteTableId.1", &id)]).await.ok().text("vpcId"), vpc);
    for (action, parameter, code) in [
        ("DescribeRouteTables", "RouteTableId.1", "InvalidRouteTableID.NotFound"),
        ("DescribeNetworkAcls", "NetworkAclId.1", "InvalidNetworkAclID.NotFound"),
        ("DescribeNetworkInterfaces", "NetworkInterfaceId.1", "InvalidNetworkInterfaceID.NotFound"),
    ] {
        assert_eq!(world.call(action, &[(parameter, "x-00000000")]).await.code(), code);
    }
    let platforms =
        world.call("DescribeAccountAttributes", &[("AttributeName.1", "supported-platforms")]).await.ok();
    assert_eq!(platforms.all("attributeValue"), ["VPC"]);
}
