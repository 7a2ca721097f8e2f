//! The data plane without packets behaves like the real one, as far as callers see.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway::cedar::{Decision, Record, Verdict};
use gateway::desired::{Association, Endpoint, ServerIdentity};
use gateway::{Counters, EvaluationType};
use model::{EndpointId, Scope, Transport};

use super::*;
use crate::events::EVALUATIONS_MAX;

fn endpoint(associations: &[u128]) -> Endpoint {
    let association = |n: u128| {
        let id = AssociationId::from_entropy(n);
        let association = Association {
            id: id.clone(),
            toward: vec!["172.31.0.0/20".parse().unwrap()],
            source_nat: true,
            uplink: None,
            routes: Vec::new(),
            security: Vec::new(),
        };
        (id, association)
    };
    Endpoint {
        id: EndpointId::from_entropy(1),
        scope: scope(),
        listen: None,
        listen_second: None,
        transport: Transport::Udp,
        client_cidr: "10.8.0.0/22".parse().unwrap(),
        dns_servers: Vec::new(),
        split_tunnel: false,
        session_timeout: Duration::from_hours(24),
        route_enforcement: false,
        former: Default::default(),
        disconnect_on_session_timeout: true,
        banner: None,
        connect_handler: None,
        server: ServerIdentity {
            fingerprint: [0; 32],
            chain: Arc::default(),
            key: Arc::new(Vec::new().into()),
        },
        client_roots: Arc::default(),
        crl: None,
        policy: None,
        admits: true,
        associations: associations.iter().map(|n| association(*n)).collect(),
        rules: Vec::new(),
        terminate: BTreeSet::new(),
    }
}

fn scope() -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() }
}

fn desired(revision: u64, endpoint: Endpoint) -> Arc<Desired> {
    Arc::new(Desired { revision, endpoints: [(endpoint.id.clone(), Arc::new(endpoint))].into() })
}

fn client(n: u128, association: u128) -> ConnectionStart {
    ConnectionStart {
        id: ConnectionId::from_entropy(n),
        endpoint: EndpointId::from_entropy(1),
        scope: scope(),
        association: AssociationId::from_entropy(association),
        common_name: "client".to_owned(),
        username: None,
        platform: None,
        client: std::net::Ipv4Addr::new(10, 8, 0, 2).into(),
        peer: ([127, 0, 0, 1], 1194).into(),
        counters: Arc::new(Counters::default()),
        established_at: wall(),
        posture: Vec::new(),
        evaluation: None,
    }
}

fn reasons(memory: &InMemory) -> Vec<EndReason> {
    let reason = |event| match event {
        SessionEvent::Ended(end) => Some(end.reason),
        SessionEvent::Connected(_) | SessionEvent::Refused(_) | SessionEvent::Evaluated(_) => None,
    };
    memory.take_events().into_iter().filter_map(reason).collect()
}

#[tokio::test]
async fn connections_live_as_long_as_their_association() {
    let memory = InMemory::new();
    assert!(!memory.connect(client(1, 11)), "nothing is in force yet");
    memory.apply(desired(1, endpoint(&[11, 12]))).await;
    assert!(memory.connect(client(1, 11)) && memory.connect(client(2, 12)) && memory.connect(client(3, 12)));
    assert_eq!(memory.live().len(), 3);

    let mut wanted = endpoint(&[12]);
    wanted.terminate.insert(ConnectionId::from_entropy(2));
    assert_eq!(memory.apply(desired(2, wanted)).await, Applied { revision: 2, ..Applied::default() });
    assert_eq!(reasons(&memory), [EndReason::Disassociated, EndReason::Terminated]);
    assert_eq!(memory.live().len(), 1);

    // One that comes late changes nothing.
    assert_eq!(memory.apply(desired(1, endpoint(&[11]))).await.revision, 2);
    assert_eq!(memory.live().len(), 1);
    assert!(memory.disconnect(&ConnectionId::from_entropy(3)));
    assert!(memory.connect(client(4, 12)));
    memory.apply(Arc::new(Desired { revision: 3, ..Desired::default() })).await;
    assert_eq!(reasons(&memory), [EndReason::ClientExit, EndReason::EndpointDeleted]);
    assert_eq!((memory.live().len(), memory.applies()), (0, 4));
}

#[tokio::test]
async fn failures_are_injected_and_healed() {
    let memory = InMemory::new();
    let (id, failure) =
        (AssociationId::from_entropy(11), Failure { reason: "broken".to_owned(), permanent: false });
    memory.fail(id.clone(), failure.clone());
    let applied = memory.apply(desired(1, endpoint(&[11]))).await;
    assert_eq!(applied.failures, [(id.clone(), failure)].into());
    assert!(!memory.connect(client(1, 11)));
    memory.heal(&id);
    assert!(memory.apply(desired(1, endpoint(&[11]))).await.failures.is_empty());
    assert!(memory.connect(client(1, 11)));
}

#[tokio::test]
async fn a_refusing_one_refuses_everything_for_good() {
    let memory = InMemory::refusing("no privilege");
    let applied = memory.apply(desired(1, endpoint(&[11, 12]))).await;
    assert_eq!(applied.failures.len(), 2);
    assert!(applied.failures.values().all(|failure| failure.permanent && failure.reason == "no privilege"));
    assert!(!memory.connect(client(1, 11)));
    assert!(memory.apply(desired(2, endpoint(&[]))).await.failures.is_empty());
}

#[tokio::test]
async fn events_end_with_the_drain() {
    let memory = InMemory::new();
    memory.apply(desired(1, endpoint(&[11]))).await;
    memory.connect(client(1, 11));
    memory.drain().await;
    assert!(matches!(memory.next_event().await, Some(SessionEvent::Connected(_))));
    assert!(matches!(memory.next_event().await, Some(SessionEvent::Ended(_))));
    assert!(memory.next_event().await.is_none());
    assert!(!memory.connect(client(2, 11)));
}

/// A policy that is asked about everybody at once does not push out who came and went.
#[tokio::test]
async fn evaluations_give_way_to_beginnings_and_ends() {
    let memory = InMemory::new();
    memory.apply(desired(1, endpoint(&[11]))).await;
    let start = client(1, 11);
    assert!(memory.connect(start.clone()));
    let evaluation = PolicyEvaluation {
        connection: start.id.clone(),
        endpoint: start.endpoint.clone(),
        scope: scope(),
        peer: start.peer,
        common_name: start.common_name.clone(),
        at: wall(),
        evaluation_type: EvaluationType::Periodic,
        shadow: false,
        verdict: Verdict { decision: Decision::Permit, matched: Vec::new(), failed: Vec::new() },
        context: Record::new(),
    };
    for _ in 0..=EVALUATIONS_MAX {
        assert!(memory.evaluate(evaluation.clone()));
    }
    assert_eq!(memory.events.lost(), 2);
    // Nor does its being lost change what stands.
    let denied = Verdict { decision: Decision::Deny, ..evaluation.verdict.clone() };
    assert!(memory.evaluate(PolicyEvaluation { verdict: denied, ..evaluation }));
    assert_eq!(memory.events.lost(), 3);
    let events = memory.take_events();
    assert_eq!(events.len(), EVALUATIONS_MAX + 1);
    assert!(matches!(&events[0], SessionEvent::Connected(first) if first.id == start.id));
    let Some(SessionEvent::Ended(end)) = events.last() else { panic!("the end is not lost") };
    assert_eq!(end.reason, EndReason::PolicyDenied);
    assert!(end.evaluation.as_ref().is_some_and(|of| of.verdict.decision == Decision::Deny));
}
