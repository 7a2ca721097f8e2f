//! Connections (spec: aws-client-vpn §2.2.15, §2.2.16).

use model::{Connection, ConnectionCode, ConnectionId, Key, Kind, Status, Termination, Timestamp};

use super::{NOW, World};

fn connection(world: &World, endpoint: &str, number: u128, code: ConnectionCode) -> Connection {
    Connection {
        id: ConnectionId::from_entropy(number),
        endpoint: endpoint.parse().unwrap(),
        scope: world.scope.clone(),
        association: model::AssociationId::from_entropy(1),
        common_name: "laptop".into(),
        username: Some("ann".into()),
        client_ip: Some([10, 100, 0, 2].into()),
        client_ipv6: Some("fd00:9::2".parse().unwrap()),
        peer: "198.51.100.7:5000".parse().unwrap(),
        ingress_bytes: 1,
        egress_bytes: 2,
        ingress_packets: 3,
        egress_packets: 4,
        status: Status::of(code),
        established_at: Timestamp(NOW - 60),
        ended_at: (code == ConnectionCode::Terminated).then_some(Timestamp(NOW - 30)),
        posture: vec![],
        policy_evaluated_at: None,
    }
}

async fn store(world: &World, row: &Connection) {
    let key = Key::connection(&row.scope, &row.endpoint, &row.id);
    let transaction = store::Transaction::new().put_record(key.as_str(), row);
    store::Store::transact(world.store.as_ref(), transaction).await.unwrap();
}

#[tokio::test]
async fn live_counters_come_before_stored_ones() {
    let world = World::new();
    let endpoint = world.endpoint(&[]).await;
    let base = ("ClientVpnEndpointId", endpoint.as_str());
    store(&world, &connection(&world, &endpoint, 1, ConnectionCode::Active)).await;
    store(&world, &connection(&world, &endpoint, 2, ConnectionCode::Terminating)).await;
    store(&world, &connection(&world, &endpoint, 3, ConnectionCode::Terminated)).await;
    let mut old = connection(&world, &endpoint, 4, ConnectionCode::Terminated);
    old.ended_at = Some(Timestamp(NOW - 3_600));
    store(&world, &old).await;
    for number in [1, 2, 3, 5] {
        let mut live = connection(&world, &endpoint, number, ConnectionCode::Active);
        live.ingress_bytes = 100;
        live.username = None;
        live.policy_evaluated_at = (number == 2).then_some(Timestamp(NOW - 15));
        world.live.0.lock().unwrap().push(live);
    }
    let shown = world.call("DescribeClientVpnConnections", &[base]).await.ok();
    assert_eq!(shown.all("ingressBytes"), ["100", "100", "1", "100"]);
    assert_eq!(shown.all("code"), ["active", "terminating", "terminated", "active"]);
    assert_eq!(shown.all("connectionEndTime"), ["-", "-", "2027-01-15 07:59:30", "-"]);
    assert_eq!(
        shown.all("timestamp")[..3],
        ["2027-01-15 08:00:00", "2027-01-15 08:00:00", "2027-01-15 07:59:30"]
    );
    assert_eq!(shown.all("authorizationPolicyLastEvaluatedTime"), ["2027-01-15 07:59:45"]);
    assert_eq!(shown.text("connectionEstablishedTime"), "2027-01-15 07:59:00");
    assert_eq!((shown.text("clientIp"), shown.text("commonName")), ("10.100.0.2".into(), "laptop".into()));
    assert_eq!(shown.text("clientIpv6Address"), "fd00:9::2");
    assert_eq!((shown.text("egressBytes"), shown.text("egressPackets")), ("2".into(), "4".into()));
    let by_name = [base, ("Filter.1.Name", "username"), ("Filter.1.Value.1", "ann")];
    let shown = world.call("DescribeClientVpnConnections", &by_name).await.ok();
    assert_eq!(shown.all("connectionId"), [ConnectionId::from_entropy(3).to_string()]);
}

#[tokio::test]
async fn terminating_one() {
    let world = World::new();
    let endpoint = world.endpoint(&[]).await;
    let base = ("ClientVpnEndpointId", endpoint.as_str());
    let stored = connection(&world, &endpoint, 1, ConnectionCode::Active);
    store(&world, &stored).await;
    store(&world, &connection(&world, &endpoint, 2, ConnectionCode::Terminated)).await;
    let live = connection(&world, &endpoint, 3, ConnectionCode::Active);
    world.live.0.lock().unwrap().push(live.clone());
    for row in [&stored, &live] {
        let reply = world
            .call("TerminateClientVpnConnections", &[base, ("ConnectionId", row.id.as_str())])
            .await
            .ok();
        assert_eq!(reply.all("code"), ["active", "terminating"]);
        assert_eq!(reply.text("connectionId"), row.id.as_str());
        let again = world
            .call("TerminateClientVpnConnections", &[base, ("ConnectionId", row.id.as_str())])
            .await
            .ok();
        assert_eq!(again.all("code"), ["terminating", "terminating"]);
    }
    let orders = world.records::<Termination>(Kind::Termination).await;
    assert_eq!(orders.len(), 2);
    assert_eq!(world.records::<Connection>(Kind::Connection).await.len(), 3);
    let ended = ConnectionId::from_entropy(2).to_string();
    let rows: [(&[(&str, &str)], &str); 5] = [
        (&[("ConnectionId", &ended)], "InvalidClientVpnConnection.IdNotFound"),
        (&[("ConnectionId", "cvpn-connection-x")], "InvalidClientVpnConnection.IdNotFound"),
        (&[("Username", "bob")], "InvalidClientVpnConnection.UserNotFound"),
        (&[("Username", "ann"), ("ConnectionId", &ended)], "InvalidParameterCombination"),
        (&[], "MissingParameter"),
    ];
    for (more, code) in rows {
        let pairs: Vec<(&str, &str)> = [base].into_iter().chain(more.iter().copied()).collect();
        assert_eq!(world.call("TerminateClientVpnConnections", &pairs).await.code(), code, "{more:?}");
    }
}

#[tokio::test]
async fn terminating_a_user_has_a_limit() {
    let world = World::new();
    let endpoint = world.endpoint(&[]).await;
    let pairs = [("ClientVpnEndpointId", endpoint.as_str()), ("Username", "ann")];
    for number in 1..=6 {
        store(&world, &connection(&world, &endpoint, number, ConnectionCode::Active)).await;
    }
    let reply = world.call("TerminateClientVpnConnections", &pairs).await;
    assert_eq!(reply.code(), "ClientVpnTerminateConnectionsLimitExceeded");
    store(&world, &connection(&world, &endpoint, 6, ConnectionCode::Terminated)).await;
    let reply = world.call("TerminateClientVpnConnections", &pairs).await.ok();
    assert_eq!((reply.all("connectionId").len(), reply.text("username")), (5, "ann".into()));
}
