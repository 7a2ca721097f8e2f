//! What connection logs say of authorization policies, key by key, in both places, under virtual time.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use crate::world::*;
use agent::Lines;
use engine::{DataPlane, InMemory};
use gateway::cedar::{Decision, Record, Value, Verdict};
use gateway::{Attempt, ConnectionStart, EvaluationType, PolicyEvaluation, UnixTime};
use model::*;
use serde_json::{Value as Json, json};
use store::{MemoryStore, Op, Outcome, Store, Transaction, typed};
use tokio::sync::mpsc;
use tokio::time::Instant;

use Decision::{Deny, Error, Permit};
use EvaluationType::{ConnectionAttempt, Periodic};

const GROUP: &str = "/vpn/connections";
const STREAM: &str = "stream";

/// A world whose endpoint is open and logs; its entries as they are written.
struct Logged {
    world: World,
    lines: mpsc::UnboundedReceiver<String>,
    /// All that were read.
    read: Vec<String>,
}

struct Sent(mpsc::UnboundedSender<String>);

impl Lines for Sent {
    fn line(&mut self, line: &str) {
        self.0.send(line.to_owned()).unwrap();
    }
}

impl Logged {
    async fn start(with_context: bool) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut world = World::over(store.clone(), InMemory::new());
        world.records().await;
        let group = LogGroup {
            id: "group".into(),
            name: GROUP.into(),
            scope: scope(),
            class: "STANDARD".into(),
            retention_days: None,
            kms_key_id: None,
            deletion_protected: false,
            tags: Default::default(),
            created_at_ms: 0,
        };
        world.put(Key::log_group(&scope(), GROUP), &group).await;
        world.put(Key::endpoint(&scope(), &endpoint_id()), &logging(endpoint(), with_context)).await;
        let (sender, lines) = mpsc::unbounded_channel();
        let (logs, writer) = agent::connection_logs(store, Some(Box::new(Sent(sender))));
        world.logs = Some(logs);
        world.tasks.push(tokio::spawn(writer.run()));
        let world = world.run().await;
        world.associate().await;
        world.until(Key::endpoint(&scope(), &endpoint_id()), is(EndpointCode::Available)).await;
        Self { world, lines, read: Vec::new() }
    }

    /// The next entry, however late it is written.
    async fn next(&mut self) -> Json {
        let line =
            tokio::time::timeout(3 * agent::UPDATE_INTERVAL, self.lines.recv()).await.unwrap().unwrap();
        let entry = serde_json::from_str(&line).unwrap();
        self.read.push(line);
        entry
    }

    /// Modifies the endpoint's log options and waits until that is in force.
    async fn include_context(&self, with_context: bool) {
        let key = Key::endpoint(&scope(), &endpoint_id());
        let record = typed::get::<Endpoint>(&*self.world.store, key.as_str()).await.unwrap().unwrap().value;
        let ops = vec![Op::Put(key.into(), typed::encode(&logging(record, with_context)))];
        let transaction = Transaction { checks: vec![], ops, soft: false };
        let Outcome::Committed(revision) = self.world.store.transact(transaction).await.unwrap() else {
            panic!("nothing was checked");
        };
        let applied = |status: Option<GatewayStatus>| status.is_some_and(|s| s.applied_revision >= revision);
        self.world.until(Key::gateway("node"), applied).await;
    }

    /// That the log group has what the file has.
    async fn same_in_the_log_group(&self) {
        let stream = Key::log_stream(&scope(), "group", STREAM);
        let stream = typed::get::<LogStream>(&*self.world.store, stream.as_str()).await.unwrap().unwrap();
        let batch = Key::log_batch(&scope(), &stream.value.id, 0);
        let messages = |batch: LogBatch| batch.events.into_iter().map(|event| event.message);
        let all =
            |batch: Option<LogBatch>| batch.is_some_and(|it| messages(it).eq(self.read.iter().cloned()));
        self.world.until(batch, all).await;
    }

    fn connect(&self, n: u128, evaluation: Option<PolicyEvaluation>) {
        let evaluation = evaluation.map(Arc::new);
        assert!(self.world.plane.connect(ConnectionStart { evaluation, ..connection(n) }));
    }

    fn refuse(&self, n: u128, reason: &'static str, evaluation: PolicyEvaluation) {
        let start = connection(n);
        self.world.plane.refuse(Attempt {
            id: start.id,
            endpoint: start.endpoint,
            scope: start.scope,
            common_name: start.common_name,
            username: None,
            platform: Some("linux".into()),
            peer: start.peer,
            at: UnixTime(100),
            reason,
            posture: vec![],
            evaluation: Some(Arc::new(evaluation)),
        });
    }
}

fn logging(mut endpoint: Endpoint, include_policy_context: bool) -> Endpoint {
    let (group, stream) = (Some(GROUP.to_owned()), Some(STREAM.to_owned()));
    endpoint.spec.connection_log = ConnectionLog { enabled: true, group, stream, include_policy_context };
    endpoint
}

fn evaluation(
    n: u128,
    decision: Decision,
    evaluation_type: EvaluationType,
    shadow: bool,
) -> PolicyEvaluation {
    let start = connection(n);
    let record = |name: &str, value: &str| Value::Record([(name.to_owned(), Value::text(value))].into());
    let context: Record = [
        ("connection".to_owned(), record("publicIp", "192.0.2.9")),
        ("mutual-authentication".to_owned(), record("commonName", "client1")),
    ]
    .into();
    PolicyEvaluation {
        connection: start.id,
        endpoint: start.endpoint,
        scope: start.scope,
        peer: start.peer,
        common_name: start.common_name,
        at: UnixTime(418),
        evaluation_type,
        shadow,
        verdict: Verdict { decision, matched: vec![], failed: vec![] },
        context,
    }
}

/// The entry of a connection that has just begun; in `changes` what is otherwise, null where a key is not there.
fn entry(n: u128, changes: Json) -> Json {
    let mut entry = json!({
        "connection-log-type": "connection-attempt",
        "connection-attempt-status": "successful",
        "connection-reset-status": "NA",
        "connection-attempt-failure-reason": "NA",
        "connection-id": ConnectionId::from_entropy(n).to_string(),
        "client-vpn-endpoint-id": endpoint_id().to_string(),
        "transport-protocol": "udp",
        "connection-start-time": "1970-01-01 00:01:40",
        "connection-last-update-time": "1970-01-01 00:01:40",
        "client-ip": "10.8.0.2",
        "client-ip-v6": "NA",
        "common-name": "client1",
        "device-type": "NA",
        "device-ip": "192.0.2.9",
        "port": "1194",
        "ingress-bytes": "0",
        "egress-bytes": "0",
        "ingress-packets": "0",
        "egress-packets": "0",
        "connection-end-time": "NA",
        "connection-duration-seconds": "0",
    });
    merge(&mut entry, changes);
    entry
}

/// The entry of an attempt that failed.
fn failed(n: u128, reason: &str, evaluation: Json) -> Json {
    let changes = json!({
        "connection-attempt-status": "failed",
        "connection-attempt-failure-reason": reason,
        "connection-start-time": "NA",
        "client-ip": "NA",
        "device-type": "linux",
        "connection-duration-seconds": "NA",
        "authorization-policy-evaluation": evaluation,
    });
    entry(n, changes)
}

fn merge(entry: &mut Json, changes: Json) {
    let Json::Object(changes) = changes else { panic!("{changes}") };
    let entry = entry.as_object_mut().unwrap();
    entry.extend(changes);
    entry.retain(|_, value| !value.is_null());
}

/// Asserts that an entry is `expected` but for what depends on the clock of this machine.
fn assert_later(actual: &Json, mut expected: Json) {
    let last = actual["connection-last-update-time"].as_str().unwrap();
    assert!(last > "2026" && last.len() == 19, "{actual}");
    let end = if expected["connection-log-type"] == "connection-reset" { json!(last) } else { json!("NA") };
    let duration = actual["connection-duration-seconds"].as_str().unwrap();
    assert!(duration.parse::<u64>().unwrap() > 0);
    let times = json!({
        "connection-last-update-time": last,
        "connection-end-time": end,
        "connection-duration-seconds": duration,
    });
    merge(&mut expected, times);
    assert_eq!(*actual, expected);
}

fn reset(n: u128, evaluation: Json) -> Json {
    let changes = json!({
        "connection-log-type": "connection-reset",
        "connection-attempt-status": "NA",
        "authorization-policy-evaluation": evaluation,
    });
    entry(n, changes)
}

#[tokio::test(start_paused = true)]
async fn attempts_tell_what_the_policy_said() {
    let mut logged = Logged::start(false).await;
    logged.connect(1, Some(evaluation(1, Permit, ConnectionAttempt, false)));
    let permit =
        json!({"result": "permit", "evaluation-type": "connection-attempt", "shadow-mode": "disabled"});
    let told = json!({"authorization-policy-evaluation": permit});
    assert_eq!(logged.next().await, entry(1, told));

    let denied = |result: &str| {
        json!({"result": result, "evaluation-type": "connection-attempt", "shadow-mode": "disabled",
               "reason": "policy-deny"})
    };
    logged.refuse(2, "authorization-policy-deny", evaluation(2, Deny, ConnectionAttempt, false));
    assert_eq!(logged.next().await, failed(2, "authorization-policy-deny", denied("deny")));
    logged.refuse(3, "authorization-policy-deny", evaluation(3, Error, ConnectionAttempt, false));
    assert_eq!(logged.next().await, failed(3, "authorization-policy-deny", denied("error")));
    logged.refuse(4, "quota-exceeded", evaluation(4, Permit, ConnectionAttempt, false));
    assert_eq!(logged.next().await, failed(4, "quota-exceeded", permit));
    logged.same_in_the_log_group().await;
}

#[tokio::test(start_paused = true)]
async fn the_context_comes_and_goes_with_its_option_and_cuts_nobody() {
    let mut logged = Logged::start(false).await;
    logged.connect(1, Some(evaluation(1, Permit, ConnectionAttempt, false)));
    assert_eq!(logged.next().await["authorization-policy-evaluation"]["context"], Json::Null);
    let before = logged.world.plane.desired().unwrap();
    for (n, with_context) in [(2, true), (3, false), (4, true)] {
        logged.include_context(with_context).await;
        let mut told = json!({"result": "deny", "evaluation-type": "connection-attempt",
                              "shadow-mode": "disabled", "reason": "policy-deny"});
        if with_context {
            let context = json!({"connection": {"publicIp": "192.0.2.9"},
                                 "mutual-authentication": {"commonName": "client1"}});
            merge(&mut told, json!({"context": context}));
        }
        logged.refuse(n, "authorization-policy-deny", evaluation(n, Deny, ConnectionAttempt, false));
        assert_eq!(logged.next().await, failed(n, "authorization-policy-deny", told));
    }
    // What the gateway is to do is the same value all along.
    let after = logged.world.plane.desired().unwrap();
    assert!(Arc::ptr_eq(&before.endpoints[&endpoint_id()], &after.endpoints[&endpoint_id()]));
    assert_eq!(logged.world.plane.live().len(), 1);
    logged.same_in_the_log_group().await;
}

/// What a policy in shadow mode would have done is told when it comes to that, and not every time it is asked.
#[tokio::test(start_paused = true)]
async fn shadow_mode_is_told_and_ends_nothing() {
    let mut logged = Logged::start(false).await;
    let told = |result: &str, evaluation_type: &str| {
        let mut told =
            json!({"result": result, "evaluation-type": evaluation_type, "shadow-mode": "enabled"});
        if result != "permit" {
            merge(&mut told, json!({"reason": "policy-deny"}));
        }
        told
    };
    logged.connect(1, Some(evaluation(1, Deny, ConnectionAttempt, true)));
    let expected = json!({"authorization-policy-evaluation": told("deny", "connection-attempt")});
    assert_eq!(logged.next().await, entry(1, expected));
    // Of these only the one that differs from the one before, and would have ended it.
    for decision in [Deny, Deny, Permit, Permit, Error, Error] {
        assert!(logged.world.plane.evaluate(evaluation(1, decision, Periodic, true)));
    }
    let expected = json!({
        "connection-last-update-time": "1970-01-01 00:06:58",
        "connection-duration-seconds": "318",
        "authorization-policy-evaluation": told("error", "periodic"),
    });
    assert_eq!(logged.next().await, entry(1, expected));
    assert!(logged.world.plane.evaluate(evaluation(1, Permit, Periodic, true)));
    assert_eq!(logged.world.plane.live().len(), 1);
    assert!(logged.world.plane.disconnect(&ConnectionId::from_entropy(1)));
    assert_later(&logged.next().await, reset(1, told("permit", "periodic")));
    logged.same_in_the_log_group().await;
}

/// A policy that is new and denies.
#[tokio::test(start_paused = true)]
async fn a_denial_by_change_is_told_by_the_end() {
    let mut logged = Logged::start(true).await;
    logged.connect(1, None);
    assert_eq!(logged.next().await, entry(1, json!({})));
    assert!(logged.world.plane.evaluate(evaluation(1, Deny, Periodic, false)));
    let context =
        json!({"connection": {"publicIp": "192.0.2.9"}, "mutual-authentication": {"commonName": "client1"}});
    let told = json!({"result": "deny", "evaluation-type": "periodic", "shadow-mode": "disabled",
                      "reason": "policy-deny", "context": context});
    assert_later(&logged.next().await, reset(1, told));
    let row = Key::connection(&scope(), &endpoint_id(), &ConnectionId::from_entropy(1));
    let evaluated = |row: Option<Connection>| {
        row.is_some_and(|row| row.ended_at.is_some() && row.policy_evaluated_at == Some(Timestamp(418)))
    };
    logged.world.until(row, evaluated).await;
    logged.same_in_the_log_group().await;
}

/// Evaluations that permit are told by the updates that come anyway, every five minutes; one that denies by the end.
#[tokio::test(start_paused = true)]
async fn periodic_evaluations_go_with_updates_until_one_denies() {
    let mut logged = Logged::start(false).await;
    let begun = Instant::now();
    logged.connect(1, Some(evaluation(1, Permit, ConnectionAttempt, false)));
    let told = |result: &str, evaluation_type: &str| json!({"result": result, "evaluation-type": evaluation_type, "shadow-mode": "disabled"});
    let permit =
        |evaluation_type: &str| json!({"authorization-policy-evaluation": told("permit", evaluation_type)});
    assert_eq!(logged.next().await, entry(1, permit("connection-attempt")));
    assert!(begun.elapsed() < Duration::from_secs(1));
    // Passes over the store, of which there are several by then, change nothing about it.
    let at = async |logged: &mut Logged, minutes: u64, expected: Json| {
        assert_later(&logged.next().await, expected);
        let elapsed = begun.elapsed();
        let due = Duration::from_secs(minutes * 60);
        assert!(elapsed <= due && elapsed + Duration::from_secs(2) > due, "{elapsed:?}");
    };
    at(&mut logged, 5, entry(1, permit("connection-attempt"))).await;
    assert!(logged.world.plane.evaluate(evaluation(1, Permit, Periodic, false)));
    at(&mut logged, 10, entry(1, permit("periodic"))).await;
    let live = agent::live_connections(&*logged.world.plane, &endpoint_id());
    assert_eq!(live[0].policy_evaluated_at, Some(Timestamp(418)));
    // Without a policy nothing is said of one.
    logged.world.plane.lift_policy(&ConnectionId::from_entropy(1));
    at(&mut logged, 15, entry(1, json!({}))).await;
    assert!(logged.world.plane.evaluate(evaluation(1, Deny, Periodic, false)));
    let mut why = told("deny", "periodic");
    merge(&mut why, json!({"reason": "policy-deny"}));
    at(&mut logged, 15, reset(1, why)).await;
    logged.same_in_the_log_group().await;
}
