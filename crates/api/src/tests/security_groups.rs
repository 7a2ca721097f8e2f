//! Security groups and their rules, in both styles.

use model::{Kind, RuleTags, SecurityGroup, SubnetMatch, Uplink, UplinkMatch, UplinkSource, Uplinks};

use super::{How, Pairs, World, allow};

async fn group(world: &World, vpc: &str, name: &str) -> String {
    let pairs = [("VpcId", vpc), ("GroupName", name), ("GroupDescription", "for tests")];
    world.call("CreateSecurityGroup", &pairs).await.ok().text("groupId")
}

async fn vpc(world: &World) -> String {
    world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().text("vpcId")
}

#[tokio::test]
async fn a_group_lets_everything_out_and_nothing_in() {
    let world = World::new();
    let vpc = vpc(&world).await;
    let id = group(&world, &vpc, "web").await;
    let shown = world.call("DescribeSecurityGroups", &[("GroupId.1", &id)]).await.ok();
    assert_eq!((shown.text("groupName"), shown.text("groupDescription")), ("web".into(), "for tests".into()));
    assert!(shown.body.contains("<ipPermissions/>"), "{}", shown.body);
    assert_eq!(shown.all("cidrIp"), ["0.0.0.0/0"]);
    assert!(!shown.body.contains("fromPort"), "{}", shown.body);
    let rows: [(Pairs<'_>, &str); 6] = [
        (&[("VpcId", &vpc), ("GroupName", "web"), ("GroupDescription", "x")], "InvalidGroup.Duplicate"),
        (&[("VpcId", &vpc), ("GroupName", "default"), ("GroupDescription", "x")], "InvalidGroup.Reserved"),
        (&[("VpcId", &vpc), ("GroupName", "sg-x"), ("GroupDescription", "x")], "InvalidParameterValue"),
        (&[("VpcId", &vpc), ("GroupName", "a"), ("GroupDescription", "é")], "InvalidParameterValue"),
        (&[("GroupName", "a"), ("GroupDescription", "x")], "VPCIdNotSpecified"),
        (
            &[("VpcId", "vpc-00000000"), ("GroupName", "a"), ("GroupDescription", "x")],
            "InvalidVpcID.NotFound",
        ),
    ];
    for (pairs, code) in rows {
        assert_eq!(world.call("CreateSecurityGroup", pairs).await.code(), code, "{pairs:?}");
    }
}

/// What the provider does for `ingress { }` blocks: gathered permissions, and taking out the default rules.
#[tokio::test]
async fn rules_in_lists() {
    let world = World::new();
    let vpc = vpc(&world).await;
    let id = group(&world, &vpc, "web").await;
    let gid = ("GroupId", id.as_str());
    let all_v4 =
        [gid, ("IpPermissions.1.IpProtocol", "-1"), ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0")];
    let all_v6 =
        [gid, ("IpPermissions.1.IpProtocol", "-1"), ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "::/0")];
    let gone = world.call("RevokeSecurityGroupEgress", &all_v4).await.ok();
    assert_eq!(gone.all("cidrIpv4"), ["0.0.0.0/0"]);
    for again in [&all_v4, &all_v6] {
        assert_eq!(world.call("RevokeSecurityGroupEgress", again).await.code(), "InvalidPermission.NotFound");
    }
    let pairs = [
        gid,
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "443"),
        ("IpPermissions.1.ToPort", "443"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
        ("IpPermissions.1.IpRanges.1.Description", "inside"),
        ("IpPermissions.1.IpRanges.2.CidrIp", "192.168.0.0/16"),
        ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "2001:db8::/32"),
        ("IpPermissions.2.IpProtocol", "6"),
        ("IpPermissions.2.FromPort", "443"),
        ("IpPermissions.2.ToPort", "443"),
        ("IpPermissions.2.Groups.1.GroupId", &id),
    ];
    let made = world.call("AuthorizeSecurityGroupIngress", &pairs).await.ok();
    assert_eq!(made.all("securityGroupRuleId").len(), 4);
    let shown = world.call("DescribeSecurityGroups", &[("GroupId.1", &id)]).await.ok();
    // One permission for all of them: protocol and ports are the same.
    assert_eq!(shown.all("ipProtocol"), ["tcp"]);
    assert_eq!(shown.all("cidrIp"), ["10.0.0.0/8", "192.168.0.0/16"]);
    assert_eq!(
        (shown.text("cidrIpv6"), shown.text("description")),
        ("2001:db8::/32".into(), "inside".into())
    );
    assert_eq!(shown.all("groupId").iter().filter(|found| **found == id).count(), 2);
    assert_eq!(
        world.call("AuthorizeSecurityGroupIngress", &pairs).await.code(),
        "InvalidPermission.Duplicate"
    );
    // A description does not tell rules apart, and is not needed to take one out.
    let one = [
        gid,
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "443"),
        ("IpPermissions.1.ToPort", "443"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
    ];
    assert_eq!(world.call("AuthorizeSecurityGroupIngress", &one).await.code(), "InvalidPermission.Duplicate");
    let mut other = one.to_vec();
    other.push(("IpPermissions.1.IpRanges.1.Description", "other words"));
    world.call("UpdateSecurityGroupRuleDescriptionsIngress", &other).await.ok();
    let shown = world.call("DescribeSecurityGroups", &[("GroupId.1", &id)]).await.ok();
    assert_eq!(shown.text("description"), "other words");
    world.call("RevokeSecurityGroupIngress", &one).await.ok();
    assert_eq!(world.call("RevokeSecurityGroupIngress", &one).await.code(), "InvalidPermission.NotFound");
    let stored = &world.records::<SecurityGroup>(Kind::SecurityGroup).await;
    let rules: usize = stored.iter().map(|g| g.value.ingress.len() + g.value.egress.len()).sum();
    assert_eq!(rules, 5, "two of the default group, three of ours");
    assert_eq!(world.records::<RuleTags>(Kind::SecurityRule).await.len(), rules);
}

/// What the provider does for `aws_vpc_security_group_ingress_rule`: one rule, by its id, with tags.
#[tokio::test]
async fn rules_one_by_one() {
    let world = World::new();
    let vpc = vpc(&world).await;
    let (id, far) = (group(&world, &vpc, "web").await, group(&world, &vpc, "db").await);
    let gid = ("GroupId", id.as_str());
    let pairs = [
        gid,
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.Groups.1.GroupId", &far),
        ("TagSpecification.1.ResourceType", "security-group-rule"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "from db"),
    ];
    let made = world.call("AuthorizeSecurityGroupIngress", &pairs).await.ok();
    let rule = made.text("securityGroupRuleId");
    let by_id = ("SecurityGroupRuleId.1", rule.as_str());
    let shown = world.call("DescribeSecurityGroupRules", &[by_id]).await.ok();
    assert_eq!(
        (shown.text("fromPort"), shown.text("toPort"), shown.text("isEgress")),
        ("-1".into(), "-1".into(), "false".into())
    );
    assert_eq!(
        (shown.all("groupId"), shown.text("value")),
        (vec![id.clone(), far.clone()], "from db".into())
    );
    assert!(shown.text("securityGroupRuleArn").ends_with(&format!("security-group-rule/{rule}")));
    world
        .call("CreateTags", &[("ResourceId.1", &rule), ("Tag.1.Key", "Name"), ("Tag.1.Value", "new")])
        .await
        .ok();
    let filter = [("Filter.1.Name", "tag:Name"), ("Filter.1.Value.1", "new")];
    assert_eq!(
        world.call("DescribeSecurityGroupRules", &filter).await.ok().all("securityGroupRuleId"),
        [rule.as_str()]
    );
    assert_eq!(world.call("DeleteSecurityGroup", &[("GroupId", &far)]).await.code(), "DependencyViolation");
    let change = [
        gid,
        ("SecurityGroupRule.1.SecurityGroupRuleId", &rule),
        ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "udp"),
        ("SecurityGroupRule.1.SecurityGroupRule.FromPort", "53"),
        ("SecurityGroupRule.1.SecurityGroupRule.ToPort", "53"),
        ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv4", "10.0.0.2/32"),
        ("SecurityGroupRule.1.SecurityGroupRule.Description", "names"),
    ];
    world.call("ModifySecurityGroupRules", &change).await.ok();
    let shown = world.call("DescribeSecurityGroupRules", &[by_id]).await.ok();
    assert_eq!(
        (shown.text("cidrIpv4"), shown.text("description"), shown.text("value")),
        ("10.0.0.2/32".into(), "names".into(), "new".into())
    );
    assert!(!shown.body.contains("referencedGroupInfo"));
    world.call("DeleteSecurityGroup", &[("GroupId", &far)]).await.ok();
    world.call("RevokeSecurityGroupIngress", &[gid, by_id]).await.ok();
    for action in ["RevokeSecurityGroupIngress", "RevokeSecurityGroupEgress"] {
        assert_eq!(world.call(action, &[gid, by_id]).await.code(), "InvalidSecurityGroupRuleId.NotFound");
    }
    assert_eq!(
        world.call("DescribeSecurityGroupRules", &[by_id]).await.code(),
        "InvalidSecurityGroupRuleId.NotFound"
    );
    let egress = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", id.as_str())];
    assert_eq!(world.call("DescribeSecurityGroupRules", &egress).await.ok().all("isEgress"), ["true"]);
}

#[tokio::test]
async fn rules_of_rules() {
    let world = World::new();
    let (vpc, elsewhere) = (vpc(&world).await, vpc(&world).await);
    let id = group(&world, &vpc, "web").await;
    let foreign = group(&world, &elsewhere, "other").await;
    let gid = ("GroupId", id.as_str());
    let p = "IpPermissions.1.IpProtocol";
    let range = ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8");
    let rows: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![gid], "MissingParameter"),
        (vec![gid, (p, "-1")], "InvalidParameterValue"),
        (vec![gid, (p, "tcp"), range], "InvalidParameterValue"),
        (vec![gid, (p, "carrier-pigeon"), range], "InvalidParameterValue"),
        (vec![gid, (p, "-1"), ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.1/8")], "InvalidParameterValue"),
        (vec![gid, (p, "-1"), ("IpPermissions.1.IpRanges.1.CidrIp", "::/0")], "InvalidParameterValue"),
        (vec![gid, (p, "-1"), ("IpPermissions.1.Groups.1.GroupId", "sg-00000000")], "InvalidGroup.NotFound"),
        (vec![gid, (p, "-1"), ("IpPermissions.1.Groups.1.GroupId", &foreign)], "InvalidGroup.NotFound"),
        (
            vec![gid, (p, "-1"), ("IpPermissions.1.PrefixListIds.1.PrefixListId", "pl-1")],
            "InvalidPrefixListID.NotFound",
        ),
        (vec![("GroupId", "sg-00000000"), (p, "-1"), range], "InvalidGroup.NotFound"),
        (vec![gid, ("IpProtocol", "tcp"), ("FromPort", "1"), ("ToPort", "2"), ("CidrIp", "10.0.0.0/8")], ""),
        (
            vec![
                gid,
                (p, "icmp"),
                ("IpPermissions.1.FromPort", "8"),
                ("IpPermissions.1.ToPort", "-1"),
                range,
            ],
            "",
        ),
    ];
    for (pairs, code) in rows {
        for action in ["AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress"] {
            assert_eq!(world.call(action, &pairs).await.code(), code, "{action} {pairs:?}");
        }
    }
    for number in 0..59 {
        let cidr = format!("192.0.2.{number}/32");
        let pairs = [gid, (p, "-1"), ("IpPermissions.1.IpRanges.1.CidrIp", cidr.as_str())];
        let code = world.call("AuthorizeSecurityGroupIngress", &pairs).await.code();
        assert_eq!(code, if number < 58 { "" } else { "RulesPerSecurityGroupLimitExceeded" }, "{number}");
    }
}

/// Where the operator gives a subnet's packets an address, its interfaces have that one.
#[tokio::test]
async fn an_interface_has_the_address_that_packets_leave_with() {
    let uplink = |source| {
        let subnet = SubnetMatch::Within("10.0.0.0/24".parse().unwrap());
        let uplink = Uplink { interface: "eth1".to_owned(), next_hop: None, next_hop_ipv6: None, source };
        Uplinks::new(vec![(UplinkMatch { subnet, tag: None, account: None }, uplink)])
    };
    let own = std::net::Ipv4Addr::new(172, 31, 255, 9);
    for (source, shown) in [
        (UplinkSource::Address(own), "172.31.255.9"),
        (UplinkSource::Interface, "10.0.0."),
        (UplinkSource::Client, "10.0.0."),
    ] {
        let addresses = crate::Addresses::parse(["192.0.2.0/24"]).unwrap();
        let world =
            World::with(crate::Config { addresses, uplinks: uplink(source), ..crate::Config::default() });
        let (_, subnets) = world.network().await;
        let endpoint = world.endpoint(&[]).await;
        world.associate(&endpoint, &subnets[0]).await.ok();
        world.settle().await;
        let interfaces = world.call("DescribeNetworkInterfaces", &[]).await.ok();
        assert!(interfaces.text("privateIpAddress").starts_with(shown), "{}", interfaces.body);
    }
}

#[tokio::test]
async fn a_group_in_use_stays() {
    let world = World::new();
    let (vpc, subnets) = world.network().await;
    let id = group(&world, &vpc, "web").await;
    let endpoint = world.endpoint(&[("VpcId", &vpc), ("SecurityGroupId.1", &id)]).await;
    world.associate(&endpoint, &subnets[0]).await.ok();
    world.settle().await;
    assert_eq!(world.call("DeleteSecurityGroup", &[("GroupId", &id)]).await.code(), "DependencyViolation");
    let filter = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", id.as_str())];
    let interfaces = world.call("DescribeNetworkInterfaces", &filter).await.ok();
    assert_eq!(
        (interfaces.all("status").join(" "), interfaces.text("subnetId")),
        ("attached in-use".into(), subnets[0].clone())
    );
    assert!(interfaces.text("privateIpAddress").starts_with("10.0.0."));
    let count = |reply: super::Reply| reply.text("availableIpAddressCount");
    assert_eq!(count(world.call("DescribeSubnets", &[("SubnetId.1", &subnets[0])]).await.ok()), "250");
    let association = world
        .call("DescribeClientVpnTargetNetworks", &[("ClientVpnEndpointId", &endpoint)])
        .await
        .text("associationId");
    let pairs = [("ClientVpnEndpointId", endpoint.as_str()), ("AssociationId", association.as_str())];
    world.call("DisassociateClientVpnTargetNetwork", &pairs).await.ok();
    world.settle().await;
    assert!(world.call("DescribeNetworkInterfaces", &filter).await.ok().all("status").is_empty());
    world.call("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &endpoint)]).await.ok();
    world.settle().await;
    world.call("DeleteSecurityGroup", &[("GroupId", &id)]).await.ok();
    assert_eq!(
        world.call("DescribeSecurityGroups", &[("GroupId.1", &id)]).await.code(),
        "InvalidGroup.NotFound"
    );
    let default = world.call("DescribeSecurityGroups", &[]).await.ok().text("groupId");
    assert_eq!(world.call("DeleteSecurityGroup", &[("GroupId", &default)]).await.code(), "CannotDelete");
}

#[tokio::test]
async fn tagging_a_rule_needs_permission_for_it() {
    let world = World::new();
    let vpc = vpc(&world).await;
    let id = group(&world, &vpc, "web").await;
    world.users.policy("PLAIN", &allow("ec2:AuthorizeSecurityGroupIngress"));
    let how = How { key: "PLAIN", ..How::default() };
    let plain = [
        ("GroupId", id.as_str()),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
    ];
    let mut tagged = plain.to_vec();
    tagged.push(("TagSpecification.1.ResourceType", "security-group-rule"));
    tagged.push(("TagSpecification.1.Tag.1.Key", "a"));
    assert_eq!(
        world.call_as(how, "AuthorizeSecurityGroupIngress", &tagged).await.code(),
        "UnauthorizedOperation"
    );
    world.call_as(how, "AuthorizeSecurityGroupIngress", &plain).await.ok();
}
