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
        (&[("CidrBlock", "10.0.0.0/16"), ("AmazonProvidedIpv6CidrBlock", "true")], "UnsupportedOperation"),
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
