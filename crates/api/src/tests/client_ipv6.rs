//! Endpoints that carry IPv6: their clients' blocks, what they can be associated with, their routes and rules.

use store::Store;

use super::World;
use crate::Config;

const BLOCK: &str = "2001:db8:7::/64";

fn config() -> Config {
    Config { client_ipv6_prefix: Some("2001:db8:7::/63".parse().unwrap()), ..Config::default() }
}

/// A VPC with a subnet in both IP versions and one in IPv4 alone.
async fn network(world: &World) -> [String; 2] {
    let pairs = [("CidrBlock", "10.0.0.0/16"), ("Ipv6CidrBlock", "2001:db8:1::/56")];
    let vpc = world.call("CreateVpc", &pairs).await.ok().text("vpcId");
    let vpc = ("VpcId", vpc.as_str());
    let both = [vpc, ("CidrBlock", "10.0.1.0/24"), ("Ipv6CidrBlock", "2001:db8:1:1::/64")];
    let both = world.call("CreateSubnet", &both).await.ok().text("subnetId");
    let alone = world.call("CreateSubnet", &[vpc, ("CidrBlock", "10.0.2.0/24")]).await.ok().text("subnetId");
    [both, alone]
}

#[tokio::test]
async fn each_gets_a_block_of_its_own_while_there_are_some() {
    let world = World::with(config());
    let blocks = async || {
        let listing = world.store.list(&model::prefix::unscoped(model::Kind::ClientBlock)).await.unwrap();
        listing
            .entries
            .into_iter()
            .map(|entry| entry.key.rsplit('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    world.endpoint(&[]).await;
    assert_eq!(blocks().await, [""; 0], "IPv4 alone needs none");
    let dual = [("TrafficIpAddressType", "dual-stack")];
    world.endpoint(&dual).await;
    world.endpoint(&dual).await;
    assert_eq!(blocks().await, ["2001:db8:7:1::-64", "2001:db8:7::-64"]);
    let certificate = world.certificate("server.example.com").await;
    let pairs = super::endpoint_pairs(&certificate);
    let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    pairs.extend(dual);
    assert_eq!(world.call("CreateClientVpnEndpoint", &pairs).await.code(), "ClientVpnEndpointLimitExceeded");
}

#[tokio::test]
async fn without_a_prefix_one_is_drawn_for_all() {
    let world = World::new();
    for _ in 0..2 {
        world.endpoint(&[("TrafficIpAddressType", "dual-stack")]).await;
    }
    let listing = world.store.list(&model::prefix::unscoped(model::Kind::ClientBlock)).await.unwrap();
    let keys: Vec<&str> = listing.entries.iter().map(|entry| entry.key.rsplit('/').next().unwrap()).collect();
    assert_eq!((keys.len(), keys[2]), (3, "prefix"), "{keys:?}");
    assert!(keys[0].starts_with("fd") && keys[0][..14] == keys[1][..14], "{keys:?}");
}

#[tokio::test]
async fn traffic_decides_about_subnets_routes_and_rules() {
    let world = World::with(config());
    let [both, alone] = network(&world).await;
    let endpoint = world.endpoint(&[("TrafficIpAddressType", "dual-stack")]).await;
    let on = ("ClientVpnEndpointId", endpoint.as_str());
    let refused = world.call("AssociateClientVpnTargetNetwork", &[on, ("SubnetId", &alone)]).await;
    assert_eq!(refused.code(), "InvalidParameterValue");
    world.call("AssociateClientVpnTargetNetwork", &[on, ("SubnetId", &both)]).await.ok();
    let routes = world.call("DescribeClientVpnRoutes", &[on]).await.ok();
    let mut destinations = routes.all("destinationCidr");
    destinations.sort();
    assert_eq!(destinations, ["10.0.0.0/16", "2001:db8:1::/56"], "one for each block of the VPC");
    world.settle().await;
    for (destination, target, code) in [
        (BLOCK, "local", ""),
        ("2001:db8:7:1::/64", "local", "InvalidParameterValue"),
        ("10.100.0.0/16", "local", ""),
        ("2001:db8:7::8/128", both.as_str(), "InvalidParameterValue"),
        ("::/0", both.as_str(), ""),
        ("2001:db8:9::/48", both.as_str(), ""),
        ("2001:db8:1::/56", both.as_str(), "InvalidClientVpnDuplicateRoute"),
        ("2001:db8:9::1/48", both.as_str(), "InvalidParameterValue"),
    ] {
        let pairs = [on, ("DestinationCidrBlock", destination), ("TargetVpcSubnetId", target)];
        assert_eq!(world.call("CreateClientVpnRoute", &pairs).await.code(), code, "{destination} {target}");
    }
    for (cidr, code) in
        [("2001:db8:1::/56", ""), ("::/0", ""), ("10.0.0.0/16", ""), ("fe80::1/64", "InvalidParameterValue")]
    {
        let pairs = [on, ("TargetNetworkCidr", cidr), ("AuthorizeAllGroups", "true")];
        assert_eq!(world.call("AuthorizeClientVpnIngress", &pairs).await.code(), code, "{cidr}");
    }
    for (traffic, cidr, code) in [
        ("ipv4", "2001:db8:1::/56", "InvalidParameterValue"),
        ("ipv4", "10.0.0.0/16", ""),
        ("ipv6", "10.0.0.0/16", "InvalidParameterValue"),
        ("ipv6", "2001:db8:1::/56", ""),
    ] {
        let mut more = vec![("TrafficIpAddressType", traffic)];
        if traffic == "ipv6" {
            more.push(("ClientCidrBlock", ""));
        }
        let other = World::with(config());
        let endpoint = other.endpoint(&more).await;
        let pairs = [
            ("ClientVpnEndpointId", endpoint.as_str()),
            ("TargetNetworkCidr", cidr),
            ("AuthorizeAllGroups", "true"),
        ];
        assert_eq!(other.call("AuthorizeClientVpnIngress", &pairs).await.code(), code, "{traffic} {cidr}");
    }
}
