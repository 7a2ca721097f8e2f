//! What a call reads and writes does not grow with what others have: counted, as time would flake.

use model::{Association, AssociationId, EndpointId, Kind, prefix};
use store::counted::Counts;
use store::{Op, Store, Transaction, typed};

use super::World;
use crate::{Addresses, Config};

/// Endpoints of the two states; both end with a full page.
const SMALL: u128 = 15;
const LARGE: u128 = 60;
const PAGE: usize = 5;
const RULES: usize = 40;
const ROUTES: usize = 20;
/// Bytes by which the same change may differ.
const MOST_MORE_BYTES: u64 = 64;

/// A world of so many endpoints alike, and the ids of three of them.
async fn world(endpoints: u128) -> (World, [String; 3]) {
    let mut config = Config { addresses: Addresses::parse(["192.0.2.0/24"]).unwrap(), ..Config::default() };
    config.quotas.endpoints_per_region = 1_000;
    let world = World::with(config);
    let (_, subnets) = world.network().await;
    let first = world.endpoint(&[]).await;
    for subnet in &subnets {
        world.associate(&first, subnet).await.ok();
    }
    world.settle().await;
    let own = ("ClientVpnEndpointId", first.as_str());
    for n in 0..RULES {
        let network = format!("172.16.{n}.0/24");
        let pairs = [own, ("TargetNetworkCidr", network.as_str()), ("AuthorizeAllGroups", "true")];
        world.call("AuthorizeClientVpnIngress", &pairs).await.ok();
    }
    for n in 0..ROUTES {
        let network = format!("172.17.{n}.0/24");
        let pairs = [own, ("DestinationCidrBlock", network.as_str()), ("TargetVpcSubnetId", &subnets[0])];
        world.call("CreateClientVpnRoute", &pairs).await.ok();
    }
    world.settle().await;
    for n in 1..endpoints {
        copy(&world, &first, n).await;
    }
    let ids = [1, endpoints / 2, endpoints - 1].map(|n| EndpointId::from_entropy(n).to_string());
    (world, ids)
}

/// Another endpoint like this one, under the `n`th id.
async fn copy(world: &World, like: &str, n: u128) {
    let id = EndpointId::from_entropy(n);
    let prefix = prefix::under(&world.scope, Kind::Association, &like.parse().unwrap());
    let associations = typed::list::<Association>(world.store.as_ref(), &prefix).await.unwrap().0;
    let mut names = vec![(like.to_owned(), id.to_string())];
    for (m, record) in (0..).zip(associations) {
        names.push((record.value.id.to_string(), AssociationId::from_entropy(n * 10 + m).to_string()));
    }
    let renamed = |text: String| names.iter().fold(text, |text, (old, new)| text.replace(old, new));
    let mut ops = Vec::new();
    for kind in [Kind::Endpoint, Kind::Association, Kind::AssociationClaim, Kind::Route, Kind::Rule] {
        let of = format!("{}{like}", prefix::of(&world.scope, kind));
        for entry in world.store.list(&of).await.unwrap().entries {
            ops.push(Op::Put(renamed(entry.key), renamed(String::from_utf8(entry.value).unwrap()).into()));
        }
    }
    world.store.transact(Transaction { checks: Vec::new(), ops, soft: false }).await.unwrap();
}

/// What one call costs.
async fn cost(world: &World, action: &str, pairs: &[(&str, &str)]) -> Counts {
    let before = world.store.counts();
    world.call(action, pairs).await.ok();
    world.store.counts().since(before)
}

/// All questions and changes, and what each costs.
async fn costs(endpoints: u128) -> Vec<(&'static str, Counts)> {
    let (world, [one, other, last]) = world(endpoints).await;
    let (rules, routes) = ("DescribeClientVpnAuthorizationRules", "DescribeClientVpnRoutes");
    let all = "DescribeClientVpnEndpoints";
    let own = ("ClientVpnEndpointId", one.as_str());
    let cidr = |name: &'static str| [("Filter.1.Name", "destination-cidr"), ("Filter.1.Value.1", name)];
    let ([a, b], [c, d]) = (cidr("172.16.7.0/24"), cidr("172.17.7.0/24"));
    let subnet = world.stored_subnet(&one).await;
    let mut found = vec![
        ("a page of rules", cost(&world, rules, &[own, ("MaxResults", "5")]).await),
        ("all rules", cost(&world, rules, &[own]).await),
        ("a rule by filter", cost(&world, rules, &[own, a, b]).await),
        ("a page of routes", cost(&world, routes, &[own, ("MaxResults", "5")]).await),
        ("all routes", cost(&world, routes, &[own]).await),
        ("a route by filter", cost(&world, routes, &[own, c, d]).await),
        ("target networks", cost(&world, "DescribeClientVpnTargetNetworks", &[own]).await),
        ("connections", cost(&world, "DescribeClientVpnConnections", &[own]).await),
        ("a profile", cost(&world, "ExportClientVpnClientConfiguration", &[own]).await),
        ("an endpoint", cost(&world, all, &[("ClientVpnEndpointId.1", other.as_str())]).await),
        (
            "an endpoint by filter",
            cost(&world, all, &[("Filter.1.Name", "endpoint-id"), ("Filter.1.Value.1", last.as_str())]).await,
        ),
        ("the first endpoints", cost(&world, all, &[("MaxResults", "5")]).await),
    ];
    let before_last = last_token(&world).await;
    let pairs = [("MaxResults", "5"), ("NextToken", before_last.as_str())];
    found.push(("the last endpoints", cost(&world, all, &pairs).await));
    let network = [own, ("TargetNetworkCidr", "172.18.0.0/24")];
    let destination =
        [own, ("DestinationCidrBlock", "172.18.0.0/24"), ("TargetVpcSubnetId", subnet.as_str())];
    let everyone = |name| [network.as_slice(), &[(name, "true")]].concat();
    found.push((
        "authorize",
        cost(&world, "AuthorizeClientVpnIngress", &everyone("AuthorizeAllGroups")).await,
    ));
    found.push(("revoke", cost(&world, "RevokeClientVpnIngress", &everyone("RevokeAllGroups")).await));
    found.push(("create a route", cost(&world, "CreateClientVpnRoute", &destination).await));
    let target = [own, ("DestinationCidrBlock", "172.18.0.0/24"), ("TargetVpcSubnetId", subnet.as_str())];
    found.push(("delete a route", cost(&world, "DeleteClientVpnRoute", &target).await));
    let description = [own, ("Description", "another")];
    found.push(("modify", cost(&world, "ModifyClientVpnEndpoint", &description).await));
    let tag = [("ResourceId.1", one.as_str()), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
    found.push(("tag", cost(&world, "CreateTags", &tag).await));
    found
}

/// The token that asks for the last page of endpoints.
async fn last_token(world: &World) -> String {
    let mut token = String::new();
    let (mut pages, mut shown) = (1, 0);
    loop {
        let mut pairs = vec![("MaxResults", "5")];
        if !token.is_empty() {
            pairs.push(("NextToken", &token));
        }
        let reply = world.call("DescribeClientVpnEndpoints", &pairs).await.ok();
        shown += reply.all("clientVpnEndpointId").len();
        match reply.all("nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
        pages += 1;
    }
    assert_eq!(shown, pages * PAGE, "every page is full");
    token
}

impl World {
    /// A subnet the endpoint is associated with.
    async fn stored_subnet(&self, endpoint: &str) -> String {
        let prefix = prefix::under(&self.scope, Kind::Association, &endpoint.parse().unwrap());
        let found = typed::list::<Association>(self.store.as_ref(), &prefix).await.unwrap().0;
        found.first().unwrap().value.spec.subnet_id().unwrap().to_string()
    }
}

#[tokio::test]
async fn no_call_about_an_endpoint_costs_more_where_there_are_more_endpoints() {
    let (small, large) = (costs(SMALL).await, costs(LARGE).await);
    for ((what, few), (_, many)) in small.iter().zip(&large) {
        assert_eq!(few.records_read, many.records_read, "{what}");
        assert_eq!(few.records_written, many.records_written, "{what}");
        // Signatures of certificates differ in length by a few bytes.
        let more = many.bytes_written.saturating_sub(few.bytes_written);
        assert!(more <= MOST_MORE_BYTES, "{what}: {few:?} {many:?}");
    }
    // And a page costs its length: its rows, one more, and the endpoint.
    let page = u64::try_from(PAGE).unwrap() + 2;
    for (what, counts) in large.iter().filter(|(what, _)| what.starts_with("a page of")) {
        assert_eq!(counts.records_read, page, "{what}");
    }
}
