//! Agent and controllers over a memory store and a data plane without packets: from record to status.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::world::*;
use engine::{DataPlane, InMemory};
use model::*;
use store::{MemoryStore, Op, Store, Transaction, typed};

#[tokio::test]
async fn an_association_opens_the_endpoint_and_its_end_closes_it() {
    let world = World::start(InMemory::new()).await;
    let association_key = || Key::association(&scope(), &endpoint_id(), &association().id);
    world.associate().await;
    world.until(Key::endpoint(&scope(), &endpoint_id()), is(EndpointCode::Available)).await;
    let desired = world.plane.desired().unwrap();
    let of = desired.endpoints.get(&endpoint_id()).unwrap();
    assert!(of.admits && of.client_roots.len() == 1 && of.associations.len() == 1);

    assert!(world.plane.connect(connection(5)));
    let row = || Key::connection(&scope(), &endpoint_id(), &ConnectionId::from_entropy(5));
    world
        .until(row(), |record: Option<Connection>| {
            record.is_some_and(|row| row.status.code == ConnectionCode::Active)
        })
        .await;

    let mut leaving = association();
    leaving.status = Status::of(AssociationCode::Disassociating);
    world.put(association_key(), &leaving).await;
    world.until(Key::endpoint(&scope(), &endpoint_id()), is(EndpointCode::PendingAssociate)).await;
    assert!(typed::get::<Association>(&*world.store, association_key().as_str()).await.unwrap().is_none());
    // I-2: whoever sees the final status sees the connection ended.
    let row = typed::get::<Connection>(&*world.store, row().as_str()).await.unwrap().unwrap().value;
    assert_eq!(row.status.code, ConnectionCode::Terminated);
    assert!(row.ended_at.is_some());
}

#[tokio::test]
async fn a_policy_goes_to_the_gateway_and_is_active_then() {
    let world = World::start(InMemory::new()).await;
    world.associate().await;
    world.until(Key::endpoint(&scope(), &endpoint_id()), is(EndpointCode::Available)).await;
    let key = || Key::authorization_policy(&scope(), &endpoint_id());
    let policy = |code| AuthorizationPolicy {
        endpoint: endpoint_id(),
        scope: scope(),
        document: "permit(principal, action, resource);".into(),
        description: None,
        shadow: true,
        status: Status::of(code),
        created_at: Timestamp(0),
    };
    let decides = || world.plane.desired().unwrap().endpoints.get(&endpoint_id()).unwrap().policy.clone();
    assert_eq!(decides(), None);
    world.put(key(), &policy(PolicyCode::Creating)).await;
    let active = |record: Option<AuthorizationPolicy>| {
        record.is_some_and(|policy| policy.status.code == PolicyCode::Active)
    };
    world.until(key(), active).await;
    assert!(
        decides().is_some_and(
            |policy| policy.shadow && &*policy.document == "permit(principal, action, resource);"
        )
    );
    world.put(key(), &policy(PolicyCode::Deleting)).await;
    world.until(key(), |record: Option<AuthorizationPolicy>| record.is_none()).await;
    assert_eq!(decides(), None);
    // A connection's row says when it was last evaluated, as it lives and after its end.
    let start = connection(7);
    start.counters.policy_evaluated(gateway::UnixTime(123));
    assert!(world.plane.connect(start.clone()));
    let live = agent::live_connections(&*world.plane, &endpoint_id());
    assert_eq!(live.first().and_then(|row| row.policy_evaluated_at), Some(Timestamp(123)));
    start.counters.policy_evaluated(gateway::UnixTime(456));
    assert!(world.plane.disconnect(&start.id));
    let row = Key::connection(&scope(), &endpoint_id(), &start.id);
    world
        .until(row, |record: Option<Connection>| {
            record
                .is_some_and(|row| row.ended_at.is_some() && row.policy_evaluated_at == Some(Timestamp(456)))
        })
        .await;
}

#[tokio::test]
async fn a_transit_gateway_carries_clients_with_their_own_addresses() {
    let world = World::start(InMemory::new()).await;
    let id = AttachmentId::from_entropy(9);
    let attached = Endpoint {
        attachment: Some(Attachment {
            id: id.clone(),
            gateway: TransitGatewayId::from_entropy(8),
            gateway_scope: scope(),
            status: AttachmentCode::Pending,
            created_at: Timestamp(0),
            zones: vec![],
        }),
        ..endpoint()
    };
    world.put(Key::endpoint(&scope(), &endpoint_id()), &attached).await;
    for (n, code) in [(1, RouteCode::Creating), (2, RouteCode::Deleting)] {
        let route = Route {
            endpoint: endpoint_id(),
            scope: scope(),
            destination: format!("10.{n}.0.0/16").parse().unwrap(),
            target: RouteTarget::TransitGateway(id.clone()),
            origin: RouteOrigin::AddRoute,
            description: None,
            status: Status::of(code),
            created_at: Timestamp(0),
        };
        let key = Key::route(&scope(), &endpoint_id(), &route.destination, &route.target);
        world.put(key, &route).await;
    }
    let mut joined = association();
    joined.spec.network = TargetNetwork::TransitGateway;
    world.put(Key::association(&scope(), &endpoint_id(), &joined.id), &joined).await;
    world.until(Key::endpoint(&scope(), &endpoint_id()), is(EndpointCode::Available)).await;
    let desired = world.plane.desired().unwrap();
    let of = &desired.endpoints[&endpoint_id()].associations[&joined.id];
    assert!(!of.source_nat);
    assert_eq!(of.toward, ["10.1.0.0/16".parse().unwrap()]);
    assert_eq!(of.routes.len(), 1);
    let open: Vec<_> = of.security.iter().map(|rule| (rule.protocol.as_str(), rule.cidr)).collect();
    assert_eq!(open, [("-1", "0.0.0.0/0".parse().ok()), ("-1", "::/0".parse().ok())]);
}

#[tokio::test]
async fn a_failing_removal_stays_transitional_and_completes_when_it_heals() {
    let world = World::start(InMemory::new()).await;
    world.associate().await;
    world.until(Key::endpoint(&scope(), &endpoint_id()), is(EndpointCode::Available)).await;
    let failure = Failure { reason: "nft failed".into(), permanent: false };
    world.plane.fail(association().id, failure);
    let mut leaving = association();
    leaving.status = Status::of(AssociationCode::Disassociating);
    let key = || Key::association(&scope(), &endpoint_id(), &association().id);
    world.put(key(), &leaving).await;
    world
        .until(key(), |record: Option<Association>| {
            record.is_some_and(|a| a.status.message.as_deref() == Some("nft failed"))
        })
        .await;
    world.plane.heal(&association().id);
    world.until(key(), |record: Option<Association>| record.is_none()).await;
    world.until(Key::endpoint(&scope(), &endpoint_id()), is(EndpointCode::PendingAssociate)).await;
}

#[tokio::test]
async fn without_privilege_an_association_fails_with_the_reason() {
    let world = World::start(InMemory::refusing("run as root")).await;
    world.associate().await;
    let key = Key::association(&scope(), &endpoint_id(), &association().id);
    world
        .until(key, |record: Option<Association>| {
            record
                .is_some_and(|a| a.status == Status::with(AssociationCode::AssociationFailed, "run as root"))
        })
        .await;
}

#[tokio::test]
async fn a_certificate_that_is_gone_fails_the_association() {
    let world = World::start(InMemory::new()).await;
    let certificate: String = Key::certificate(&scope(), "c1").into();
    world
        .store
        .transact(Transaction { checks: vec![], ops: vec![Op::Delete(certificate)], soft: false })
        .await
        .unwrap();
    world.associate().await;
    let key = Key::association(&scope(), &endpoint_id(), &association().id);
    world
        .until(key, |record: Option<Association>| {
            record.is_some_and(|a| a.status.code == AssociationCode::AssociationFailed)
        })
        .await;
}

/// The row of a connection that lives.
fn row(start: &gateway::ConnectionStart) -> Connection {
    let start = start.clone();
    Connection {
        id: start.id,
        endpoint: start.endpoint,
        scope: start.scope,
        association: start.association,
        common_name: start.common_name,
        username: None,
        client_ip: start.client.v4,
        client_ipv6: start.client.v6,
        peer: start.peer,
        ingress_bytes: 1,
        egress_bytes: 2,
        ingress_packets: 3,
        egress_packets: 4,
        status: Status::of(ConnectionCode::Active),
        established_at: Timestamp(100),
        ended_at: None,
        posture: vec![],
        policy_evaluated_at: None,
    }
}

#[tokio::test]
async fn rows_of_an_earlier_life_are_closed_at_start() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let world = World::over(store, InMemory::new());
    world.records().await;
    let key = || Key::connection(&scope(), &endpoint_id(), &ConnectionId::from_entropy(9));
    world.put(key(), &row(&connection(9))).await;
    let world = world.run().await;
    world
        .until(key(), |record: Option<Connection>| {
            record.is_some_and(|row| row.status.code == ConnectionCode::Terminated && row.ended_at.is_some())
        })
        .await;
    assert!(world.plane.live().is_empty());
}

#[tokio::test]
async fn the_gateway_learns_who_had_which_addresses_before() {
    let world = World::over(Arc::new(MemoryStore::new()), InMemory::new());
    world.records().await;
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(time.as_secs()).unwrap();
    // One that nobody ended, one that ended before the server did, and one of long ago.
    for (n, ended_at) in [(2, None), (3, Some(Timestamp(now - 20))), (4, Some(Timestamp(now - 400)))] {
        let row = Connection {
            common_name: format!("client{n}"),
            client_ip: Some([10, 8, 0, n].into()),
            established_at: Timestamp(now - 1_000 - i64::from(n)),
            ended_at,
            ..row(&connection(n.into()))
        };
        world.put(Key::connection(&scope(), &endpoint_id(), &row.id), &row).await;
    }
    let world = world.run().await;
    let former = || {
        let desired = world.plane.desired().unwrap();
        let of = desired.endpoints.get(&endpoint_id()).unwrap();
        let each = of.former.iter().map(|one| {
            (one.addresses.to_string(), one.common_name.clone(), one.username.clone(), one.at.to_string())
        });
        each.collect::<Vec<_>>()
    };
    let row = |address: &str, name: &str| (address.into(), name.into(), None, "192.0.2.9".into());
    let expected = [row("10.8.0.2", "client2"), row("10.8.0.3", "client3")];
    assert_eq!(former(), expected);
    // Those of this life are no former ones, whatever is read anew.
    world.associate().await;
    world.until(Key::endpoint(&scope(), &endpoint_id()), is(EndpointCode::Available)).await;
    assert!(world.plane.connect(connection(7)));
    let mut leaving = association();
    leaving.status = Status::of(AssociationCode::Disassociating);
    world.put(Key::association(&scope(), &endpoint_id(), &leaving.id), &leaving).await;
    world.until(Key::endpoint(&scope(), &endpoint_id()), is(EndpointCode::PendingAssociate)).await;
    assert_eq!(former(), expected);
}

/// Endpoints, rules and routes of each, of the store of a large installation.
const ENDPOINTS: u128 = 100;
const RULES: u8 = 200;
const ROUTES: u8 = 100;

#[tokio::test]
async fn a_change_of_one_rule_concerns_one_endpoint() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let world = World::over(store, InMemory::new());
    world.records().await;
    for n in 1..=ENDPOINTS {
        let id = EndpointId::from_entropy(n);
        let mut ops = Vec::new();
        let record = Endpoint { id: id.clone(), ..endpoint() };
        ops.push(Op::Put(Key::endpoint(&scope(), &id).into(), typed::encode(&record)));
        let own = Association { id: AssociationId::from_entropy(n), endpoint: id.clone(), ..association() };
        ops.push(Op::Put(Key::association(&scope(), &id, &own.id).into(), typed::encode(&own)));
        for m in 0..RULES {
            let rule = rule(&id, m);
            ops.push(Op::Put(rule_key(&rule).into(), typed::encode(&rule)));
        }
        for m in 0..ROUTES {
            let route = Route {
                endpoint: id.clone(),
                scope: scope(),
                destination: format!("10.{m}.0.0/16").parse().unwrap(),
                target: RouteTarget::Subnet(SubnetId::from_entropy(1)),
                origin: RouteOrigin::AddRoute,
                description: None,
                status: Status::of(RouteCode::Creating),
                created_at: Timestamp(0),
            };
            let key = Key::route(&scope(), &id, &route.destination, &route.target);
            ops.push(Op::Put(key.into(), typed::encode(&route)));
        }
        world.store.transact(Transaction { checks: vec![], ops, soft: false }).await.unwrap();
    }
    let world = world.run().await;
    for n in 1..=ENDPOINTS {
        world.until(Key::endpoint(&scope(), &EndpointId::from_entropy(n)), is(EndpointCode::Available)).await;
    }
    let (one, last) = (EndpointId::from_entropy(1), EndpointId::from_entropy(ENDPOINTS));
    let active =
        |record: Option<AuthorizationRule>| record.is_some_and(|rule| rule.status.code == RuleCode::Active);
    world.until(rule_key(&rule(&last, RULES - 1)), active).await;
    // One more rule: everything else in the snapshot is the value it was.
    let more = rule(&one, RULES);
    let before = world.plane.desired().unwrap();
    world.put(rule_key(&more), &more).await;
    world.until(rule_key(&more), active).await;
    let after = world.plane.desired().unwrap();
    let same = |id: &EndpointId| Arc::ptr_eq(&before.endpoints[id], &after.endpoints[id]);
    assert_eq!(after.endpoints[&one].rules.len(), usize::from(RULES) + 1);
    let changed: Vec<&EndpointId> = after.endpoints.keys().filter(|id| !same(id)).collect();
    assert_eq!(changed, [&one]);
    // So does a status that moves on, of any of them; what all of them refer to concerns them all.
    let mut subnet =
        typed::get::<Subnet>(&*world.store, Key::subnet(&scope(), &SubnetId::from_entropy(1)).as_str())
            .await
            .unwrap()
            .unwrap()
            .value;
    subnet.cidr = "192.168.7.0/24".parse().unwrap();
    world.put(Key::subnet(&scope(), &subnet.id), &subnet).await;
    let moved = |of: &Arc<gateway::desired::Endpoint>| {
        of.associations.values().all(|association| association.toward.contains(&subnet.cidr.into()))
    };
    let wait = async {
        while !world.plane.desired().unwrap().endpoints.values().all(moved) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap();
}

fn rule(endpoint: &EndpointId, n: u8) -> AuthorizationRule {
    AuthorizationRule {
        endpoint: endpoint.clone(),
        scope: scope(),
        destination: format!("10.{n}.0.0/16").parse().unwrap(),
        group: RuleGroup::All,
        description: None,
        status: Status::of(RuleCode::Authorizing),
        created_at: Timestamp(0),
    }
}

fn rule_key(rule: &AuthorizationRule) -> Key {
    Key::rule(&scope(), &rule.endpoint, &rule.destination, &rule.group)
}
