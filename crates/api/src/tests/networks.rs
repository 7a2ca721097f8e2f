//! VPCs, subnets, zones, security groups.

use super::World;
use crate::Config;

#[tokio::test]
async fn a_vpc_has_a_default_security_group() {
    let world = World::new();
    let reply = world
        .call(
            "CreateVpc",
            &[
                ("CidrBlock", "10.0.0.0/16"),
                ("InstanceTenancy", "default"),
                ("AmazonProvidedIpv6CidrBlock", "false"),
                ("TagSpecification.1.ResourceType", "vpc"),
                ("TagSpecification.1.Tag.1.Key", "Name"),
                ("TagSpecification.1.Tag.1.Value", "main"),
            ],
        )
        .await
        .ok();
    let vpc = reply.text("vpcId");
    assert_eq!((reply.text("cidrBlock"), reply.text("isDefault")), ("10.0.0.0/16".into(), "false".into()));
    let shown =
        world.call("DescribeVpcs", &[("Filter.1.Name", "tag:Name"), ("Filter.1.Value.1", "main")]).await.ok();
    assert_eq!(shown.text("vpcId"), vpc);
    assert!(
        shown.body.contains("<state>available</state><cidrBlock>10.0.0.0/16</cidrBlock>"),
        "{}",
        shown.body
    );
    let filters = [
        ("Filter.1.Name", "group-name"),
        ("Filter.1.Value.1", "default"),
        ("Filter.2.Name", "vpc-id"),
        ("Filter.2.Value.1", vpc.as_str()),
    ];
    let group = world.call("DescribeSecurityGroups", &filters).await.ok();
    assert_eq!((group.text("groupName"), group.text("vpcId")), ("default".into(), vpc));
    assert!(
        group.body.contains("<ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges>"),
        "{}",
        group.body
    );
    assert!(group.body.contains("<ipProtocol>-1</ipProtocol>"));
    let id = group.text("groupId");
    assert_eq!(world.call("DescribeSecurityGroups", &[("GroupId.1", &id)]).await.ok().text("groupId"), id);
    for pairs in [[("GroupId.1", "sg-00000000")], [("GroupName.1", "other")]] {
        assert_eq!(world.call("DescribeSecurityGroups", &pairs).await.code(), "InvalidGroup.NotFound");
    }
}

#[tokio::test]
async fn rules_of_vpcs() {
    let world = World::with(Config::default());
    let rows: [(&[(&str, &str)], &str); 8] = [
        (&[], "MissingParameter"),
        (&[("CidrBlock", "10.0.0.0/15")], "InvalidVpc.Range"),
        (&[("CidrBlock", "10.0.0.0/29")], "InvalidVpc.Range"),
        (&[("CidrBlock", "10.0.0.1/16")], "InvalidParameterValue"),
        (&[("CidrBlock", "2001:db8::/56")], "InvalidVpc.Range"),
        (&[("CidrBlock", "10.0.0.0/16"), ("InstanceTenancy", "mine")], "InvalidParameterValue"),
        (&[("CidrBlock", "10.0.0.0/16"), ("Ipv6CidrBlock", "2001:db8::/66")], "InvalidVpc.Range"),
        (&[("CidrBlock", "10.0.0.0/16")], ""),
    ];
    for (pairs, code) in rows {
        assert_eq!(world.call("CreateVpc", pairs).await.code(), code, "{pairs:?}");
    }
    for _ in 0..4 {
        world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok();
    }
    assert_eq!(world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.code(), "VpcLimitExceeded");
}

#[tokio::test]
async fn rules_of_subnets() {
    let world = World::new();
    let (vpc, subnets) = world.network().await;
    let vpc = ("VpcId", vpc.as_str());
    let rows: [(Vec<(&str, &str)>, &str); 9] = [
        (vec![vpc], "MissingParameter"),
        (vec![("VpcId", "vpc-00000000"), ("CidrBlock", "10.0.5.0/24")], "InvalidVpcID.NotFound"),
        (vec![vpc, ("CidrBlock", "10.1.0.0/24")], "InvalidSubnet.Range"),
        (vec![vpc, ("CidrBlock", "10.0.5.0/29")], "InvalidSubnet.Range"),
        (vec![vpc, ("CidrBlock", "10.0.1.128/25")], "InvalidSubnet.Conflict"),
        (
            vec![vpc, ("CidrBlock", "10.0.5.0/24"), ("AvailabilityZone", "us-east-1z")],
            "InvalidParameterValue",
        ),
        (
            vec![
                vpc,
                ("CidrBlock", "10.0.5.0/24"),
                ("AvailabilityZone", "us-east-1a"),
                ("AvailabilityZoneId", "use1-az1"),
            ],
            "InvalidParameterCombination",
        ),
        (vec![vpc, ("CidrBlock", "10.0.5.0/24"), ("AvailabilityZoneId", "use1-az4")], ""),
        (vec![vpc, ("CidrBlock", "10.0.6.0/24")], ""),
    ];
    for (pairs, code) in &rows {
        assert_eq!(world.call("CreateSubnet", pairs).await.code(), *code, "{pairs:?}");
    }
    // Without a zone the emptiest is taken.
    let shown = world
        .call("DescribeSubnets", &[("Filter.1.Name", "cidr-block"), ("Filter.1.Value.1", "10.0.6.0/24")])
        .await
        .ok();
    assert_eq!(shown.text("availabilityZone"), "us-east-1e");
    assert_eq!(shown.text("availableIpAddressCount"), "251");
    let shown = world.call("DescribeSubnets", &[("SubnetId.1", &subnets[1])]).await.ok();
    assert_eq!(
        (shown.text("availabilityZoneId"), shown.text("vpcId")),
        ("use1-az2".into(), vpc.1.to_owned())
    );
    let unknown = world.call("DescribeSubnets", &[("SubnetId.1", "subnet-00000000")]).await;
    assert_eq!(unknown.code(), "InvalidSubnetID.NotFound");
    assert_eq!(
        world.call("DescribeSubnets", &[("SubnetId.1", "x")]).await.code(),
        "InvalidSubnetID.Malformed"
    );
}

#[tokio::test]
async fn overlapping_subnets_cannot_be_made_at_once() {
    for _ in 0..10 {
        let world = std::sync::Arc::new(World::new());
        let vpc = world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().text("vpcId");
        let make = |cidr: &'static str| {
            let (world, vpc) = (world.clone(), vpc.clone());
            tokio::spawn(async move {
                world.call("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", cidr)]).await.code()
            })
        };
        let (a, b) = (make("10.0.0.0/20"), make("10.0.1.0/24"));
        let mut codes = [a.await.unwrap(), b.await.unwrap()];
        codes.sort();
        assert_eq!(codes, ["", "InvalidSubnet.Conflict"]);
    }
}

#[tokio::test]
async fn zones() {
    let world = World::new();
    let all = world.call("DescribeAvailabilityZones", &[("AllAvailabilityZones", "true")]).await.ok();
    assert_eq!(all.all("zoneName").len(), 6);
    assert_eq!(
        (all.text("zoneName"), all.text("zoneId"), all.text("zoneState")),
        ("us-east-1a".into(), "use1-az1".into(), "available".into())
    );
    let one = world.call("DescribeAvailabilityZones", &[("ZoneName.1", "us-east-1c")]).await.ok();
    assert_eq!(one.all("zoneId"), ["use1-az3"]);
    assert_eq!(
        world.call("DescribeAvailabilityZones", &[("ZoneName.1", "x")]).await.code(),
        "InvalidParameterValue"
    );
}

#[tokio::test]
async fn ipv6_blocks_of_vpcs_and_subnets() {
    let world = World::new();
    let v4 = ("CidrBlock", "10.0.0.0/16");
    for (pairs, code) in [
        (
            vec![("AmazonProvidedIpv6CidrBlock", "true"), ("Ipv6CidrBlock", "2001:db8::/56")],
            "InvalidParameterCombination",
        ),
        (vec![("Ipv6CidrBlock", "2001:db8::1/56")], "InvalidParameterValue"),
        (vec![("Ipv6CidrBlock", "10.0.0.0/16")], "InvalidVpc.Range"),
        (vec![("Ipv6IpamPoolId", "ipam-pool-1")], "MissingParameter"),
    ] {
        let pairs: Vec<_> = [v4].into_iter().chain(pairs).collect();
        assert_eq!(world.call("CreateVpc", &pairs).await.code(), code, "{pairs:?}");
    }
    let provided = world.call("CreateVpc", &[v4, ("AmazonProvidedIpv6CidrBlock", "true")]).await.ok();
    let block: ipnet::Ipv6Net = provided.text("ipv6CidrBlock").parse().unwrap();
    assert_eq!((block.prefix_len(), block.network().segments()[0] >> 8), (56, 0xfd));
    let named =
        world.call("CreateVpc", &[v4, ("Ipv6CidrBlock", "2001:db8::/56"), ("Ipv6Pool", "own")]).await.ok();
    assert_eq!((named.text("ipv6CidrBlock"), named.text("ipv6Pool")), ("2001:db8::/56".into(), "own".into()));
    assert_eq!(provided.text("ipv6Pool"), "Amazon");
    let vpc = named.text("vpcId");
    let vpc = ("VpcId", vpc.as_str());
    let groups = world
        .call("DescribeSecurityGroups", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.1)])
        .await
        .ok();
    assert_eq!(groups.all("cidrIpv6"), ["::/0"], "as the service makes it");
    let subnet = |v4: &'static str, v6: &'static str| {
        let world = &world;
        async move { world.call("CreateSubnet", &[vpc, ("CidrBlock", v4), ("Ipv6CidrBlock", v6)]).await }
    };
    let first = subnet("10.0.1.0/24", "2001:db8:0:1::/64").await.ok();
    assert!(
        first.body.contains("<ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState>"),
        "{}",
        first.body
    );
    for (v4, v6, code) in [
        ("10.0.2.0/24", "2001:db8:0:1::/64", "InvalidSubnet.Conflict"),
        ("10.0.2.0/24", "2001:db8:1:1::/64", "InvalidSubnet.Range"),
        ("10.0.2.0/24", "2001:db8:0:2::/66", "InvalidSubnet.Range"),
        ("10.0.2.0/24", "10.0.2.0/24", "InvalidSubnet.Range"),
    ] {
        assert_eq!(subnet(v4, v6).await.code(), code, "{v6}");
    }
    let filter = [
        ("Filter.1.Name", "ipv6-cidr-block-association.ipv6-cidr-block"),
        ("Filter.1.Value.1", "2001:db8:0:1::/64"),
    ];
    assert_eq!(world.call("DescribeSubnets", &filter).await.ok().text("subnetId"), first.text("subnetId"));
    let acl = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.1)];
    assert_eq!(world.call("DescribeNetworkAcls", &acl).await.ok().all("ipv6CidrBlock").len(), 4);
    let table = world.call("DescribeRouteTables", &acl).await.ok();
    assert_eq!(table.text("destinationIpv6CidrBlock"), "2001:db8::/56");

    // Beside IPv4, later; and off again.
    let plain = world.call("CreateSubnet", &[vpc, ("CidrBlock", "10.0.3.0/24")]).await.ok().text("subnetId");
    let plain = ("SubnetId", plain.as_str());
    let assign = [plain, ("AssignIpv6AddressOnCreation.Value", "true")];
    assert_eq!(world.call("ModifySubnetAttribute", &assign).await.code(), "InvalidParameterValue");
    let given = [plain, ("Ipv6CidrBlock", "2001:db8:0:3::/64")];
    let added = world.call("AssociateSubnetCidrBlock", &given).await.ok();
    assert_eq!(world.call("AssociateSubnetCidrBlock", &given).await.code(), "InvalidParameterValue");
    world.call("ModifySubnetAttribute", &assign).await.ok();
    let shown = world.call("DescribeSubnets", &[("SubnetId.1", plain.1)]).await.ok();
    assert_eq!(shown.text("assignIpv6AddressOnCreation"), "true");
    let vpc_block = named.all("associationId").into_iter().next().unwrap();
    let off = async |action: &str, id: &str| world.call(action, &[("AssociationId", id)]).await.code();
    assert_eq!(off("DisassociateVpcCidrBlock", &vpc_block).await, "DependencyViolation");
    for subnet in [&added, &first] {
        let id = subnet.text("associationId");
        assert_eq!(off("DisassociateSubnetCidrBlock", &id).await, "");
        assert_eq!(
            off("DisassociateSubnetCidrBlock", &id).await,
            "InvalidSubnetCidrBlockAssociationID.NotFound"
        );
    }
    assert_eq!(off("DisassociateVpcCidrBlock", &vpc_block).await, "");
    let shown = world.call("DescribeVpcs", &[("VpcId.1", vpc.1)]).await.ok();
    assert_eq!(shown.all("ipv6CidrBlock"), [""; 0]);
    for (pairs, code) in [
        (
            vec![("Ipv6CidrBlock", "2001:db8:5::/48"), ("CidrBlock", "10.1.0.0/16")],
            "InvalidParameterCombination",
        ),
        (vec![("Ipv6CidrBlock", "2001:db8:5::/48")], ""),
        (vec![("Ipv6CidrBlock", "2001:db8:5:8::/64")], "InvalidVpc.Range"),
        (vec![("AmazonProvidedIpv6CidrBlock", "true")], ""),
    ] {
        let pairs: Vec<_> = [vpc].into_iter().chain(pairs).collect();
        assert_eq!(world.call("AssociateVpcCidrBlock", &pairs).await.code(), code, "{pairs:?}");
    }
}

#[tokio::test]
async fn a_default_group_lets_ipv6_out_once_there_is_some() {
    let world = World::new();
    let vpc = world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().text("vpcId");
    let of = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
    assert_eq!(world.call("DescribeSecurityGroups", &of).await.ok().all("cidrIpv6"), [""; 0]);
    for block in ["2001:db8::/56", "2001:db8:1::/56"] {
        world.call("AssociateVpcCidrBlock", &[("VpcId", vpc.as_str()), ("Ipv6CidrBlock", block)]).await.ok();
        assert_eq!(world.call("DescribeSecurityGroups", &of).await.ok().all("cidrIpv6"), ["::/0"]);
    }
    let made = [("VpcId", vpc.as_str()), ("GroupName", "web"), ("GroupDescription", "web")];
    let group = world.call("CreateSecurityGroup", &made).await.ok().text("groupId");
    assert_eq!(
        world.call("DescribeSecurityGroups", &[("GroupId.1", &group)]).await.ok().all("cidrIpv6"),
        ["::/0"]
    );
}
