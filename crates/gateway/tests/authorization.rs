//! Authorization policies on the whole gateway under virtual time: who is let in, and who may stay.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::world::pki::client;
use crate::world::{Told, World, association, association_id, endpoint, only, rule, udp};
use gateway::cedar::{Decision, Value};
use gateway::desired::AuthorizationPolicy;
use gateway::{EndReason, EvaluationType, Limits, PolicyEvaluation};
use openvpn::client::{HandshakeOrder, SessionConfig};

const ALICE: &str = "alice.example";
const BOB: &str = "bob.example";
const HALTED: Told = Told::Halt(String::new());

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn refused() -> Option<Told> {
    Some(Told::Rejected("Denied by the authorization policy".to_owned()))
}

/// A policy of one permit.
fn permits(condition: &str) -> Option<AuthorizationPolicy> {
    let document = format!("permit(principal, action, resource) when {{ {condition} }};");
    Some(AuthorizationPolicy { document: document.as_str().into(), shadow: false })
}

/// Makes another policy wanted and applies it.
fn decide(world: &mut World, policy: Option<AuthorizationPolicy>) {
    world.endpoint().policy = policy;
    world.apply();
}

fn shadow(policy: Option<AuthorizationPolicy>) -> Option<AuthorizationPolicy> {
    policy.map(|policy| AuthorizationPolicy { shadow: true, ..policy })
}

fn passes(world: &mut World, client: usize) -> bool {
    let Some(ip) = world.clients[client].ip() else { return false };
    world.send(client, &udp(ip, "10.0.5.5")).is_ok_and(|packet| packet.is_some())
}

/// What came of each evaluation, oldest first.
fn results(world: &World) -> Vec<(String, Decision, EvaluationType, bool)> {
    let row =
        |e: &Arc<PolicyEvaluation>| (e.common_name.clone(), e.verdict.decision, e.evaluation_type, e.shadow);
    world.evaluations.iter().map(row).collect()
}

fn text<'v>(evaluation: &'v PolicyEvaluation, record: &str, name: &str) -> Option<&'v str> {
    let Some(Value::Record(record)) = evaluation.context.get(record) else { return None };
    match record.get(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[test]
fn lets_in_whom_it_permits_and_tells_the_others() {
    let mut world = World::serving(&[1]);
    decide(&mut world, only(&[ALICE]));
    let alice = world.connected(&client(0));
    let bob = world.client(&client(1));
    world.run(secs(8));
    assert_eq!(world.clients[bob].told, refused());
    assert!(passes(&mut world, alice));
    assert_eq!((world.starts.len(), world.paths.len(), world.gateway.session_count()), (1, 1, 1));
    let stats = world.gateway.stats();
    assert_eq!((stats.policy_permits, stats.policy_denials, stats.policy_refused), (1, 1, 1));
    assert_eq!((stats.policy_errors, stats.policy_terminated, stats.identity_refused), (0, 0, 0));
    use EvaluationType::ConnectionAttempt;
    let expected = [
        (ALICE.to_owned(), Decision::Permit, ConnectionAttempt, false),
        (BOB.to_owned(), Decision::Deny, ConnectionAttempt, false),
    ];
    assert_eq!(results(&world), expected);
    assert_eq!(world.evaluations[0].verdict.matched, ["policy0"]);
    // What it was asked with, and when.
    let start = world.live()[0].clone();
    let asked = &world.evaluations[0];
    assert_eq!(
        (&asked.connection, &asked.endpoint, &asked.scope),
        (&start.id, &start.endpoint, &start.scope)
    );
    let connection = |name| text(asked, "connection", name);
    assert_eq!(connection("endpointId"), Some(start.endpoint.as_str()));
    assert_eq!(connection("connectionId"), Some(start.id.as_str()));
    assert_eq!(connection("publicIp"), Some("198.51.100.7"));
    assert_eq!(connection("platform"), Some("linux"));
    assert_eq!(connection("clientOpenVpnVersion"), Some("2.6.14"));
    assert_eq!((connection("platformVersion"), connection("awsClientVersion")), (None, None));
    assert_eq!(text(asked, "mutual-authentication", "commonName"), Some(ALICE));
    assert!(text(asked, "mutual-authentication", "serialNumber").is_some_and(|serial| !serial.is_empty()));
    // What came of it carries it.
    assert!(start.evaluation.as_ref().is_some_and(|of| Arc::ptr_eq(of, asked)));
    let (attempt, denied) = (&world.refused[0], &world.evaluations[1]);
    assert!(attempt.evaluation.as_ref().is_some_and(|of| Arc::ptr_eq(of, denied)));
    assert_eq!((&attempt.id, attempt.reason), (&denied.connection, "authorization-policy-deny"));
    assert_eq!((world.refused.len(), denied.passes(), asked.passes()), (1, false, true));
    let evaluated = start.counters.policy_evaluated_at().unwrap();
    assert_eq!(evaluated, asked.at);
    assert!((0..=3).contains(&(evaluated.0 - crate::world::EPOCH)), "{evaluated:?}");
}

#[test]
fn a_new_policy_cuts_whom_it_denies_at_once_and_nobody_else() {
    let mut world = World::serving(&[1]);
    let (alice, bob) = (world.connected(&client(0)), world.connected(&client(1)));
    assert!(world.evaluations.is_empty() && world.live()[0].counters.policy_evaluated_at().is_none());
    assert!(world.live().iter().all(|start| start.evaluation.is_none()));
    let bobs = world.live().iter().find(|start| start.common_name == BOB).unwrap().id.clone();
    decide(&mut world, only(&[ALICE]));
    // Before any time passes.
    assert_eq!(world.end_of(&bobs), Some(EndReason::PolicyDenied));
    let why = world.ends[0].evaluation.clone().unwrap();
    assert_eq!((&why.connection, why.verdict.decision), (&bobs, Decision::Deny));
    assert_eq!((why.evaluation_type, why.shadow), (EvaluationType::Periodic, false));
    assert!(passes(&mut world, alice) && !passes(&mut world, bob));
    world.run(secs(3));
    assert_eq!((&world.clients[alice].told, &world.clients[bob].told), (&None, &Some(HALTED)));
    let stats = world.gateway.stats();
    assert_eq!((stats.policy_terminated, stats.policy_refused), (1, 0));
    // The same again, and other changes, ask nobody.
    let asked = world.evaluations.len();
    decide(&mut world, only(&[ALICE]));
    world.endpoint().rules = vec![rule("10.0.0.0/8")];
    world.apply();
    assert_eq!(world.evaluations.len(), asked);
    // The other way round.
    decide(&mut world, only(&[BOB]));
    world.run(secs(3));
    assert_eq!(world.clients[alice].told, Some(HALTED));
    assert!(world.live().is_empty() && world.paths.is_empty());
    world.connected(&client(1));
    let judged = world.live()[0].id.clone();
    assert!(world.lifted.is_empty() && world.refused.is_empty());
    // Without one everybody gets in as before, and nobody is said to have been asked about.
    decide(&mut world, None);
    assert_eq!(world.lifted, [judged]);
    let (asked, again) = (world.evaluations.len(), world.connected(&client(0)));
    assert!(passes(&mut world, again));
    assert_eq!((world.evaluations.len(), world.live().len()), (asked, 2));
    world.endpoint().associations.clear();
    world.apply();
    let ends = world.ends.iter().rev().take(2);
    assert!(ends.filter(|end| end.evaluation.is_none()).count() == 2 && world.live().is_empty());
}

/// Whoever is permitted and finds no room is told of with the permission.
#[test]
fn other_refusals_carry_the_evaluation_too() {
    let mut world = World::new(Limits { max_sessions: 1, ..Limits::default() });
    let mut wanted = endpoint(1);
    wanted.associations = [(association_id(1), association(1))].into();
    wanted.policy = only(&[ALICE, BOB]);
    world.desired.endpoints.insert(wanted.id.clone(), Arc::new(wanted));
    world.apply();
    world.set_ready(1, true);
    world.connected(&client(0));
    world.client(&client(1));
    world.run(secs(3));
    let attempt = &world.refused[0];
    let evaluation = attempt.evaluation.as_ref().unwrap();
    assert_eq!((attempt.reason, evaluation.verdict.decision), ("quota-exceeded", Decision::Permit));
    assert_eq!(attempt.id, evaluation.connection);
}

#[test]
fn shadow_mode_asks_and_blocks_nobody() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    decide(&mut world, shadow(only(&[ALICE])));
    let bob = world.connected(&client(1));
    decide(&mut world, shadow(only(&[])));
    world.run(secs(3));
    assert!(passes(&mut world, alice) && passes(&mut world, bob));
    assert!(results(&world).iter().all(|(.., shadow)| *shadow));
    let stats = world.gateway.stats();
    assert_eq!((stats.policy_permits, stats.policy_denials), (1, 3));
    assert_eq!((stats.policy_refused, stats.policy_terminated), (0, 0));
    assert!(world.live().iter().all(|start| start.counters.policy_evaluated_at().is_some()));
    // In earnest.
    decide(&mut world, only(&[ALICE]));
    world.run(secs(3));
    assert_eq!((&world.clients[alice].told, &world.clients[bob].told), (&None, &Some(HALTED)));
}

#[test]
fn what_cannot_be_read_or_known_lets_nobody_in() {
    let unreadable = Some(AuthorizationPolicy { document: "permit everything".into(), shadow: false });
    let unknown = permits("context.crowdstrike.assessment.overall > 50");
    for (policy, unreadables) in [(unreadable, 1), (unknown, 0)] {
        let mut world = World::serving(&[1]);
        let alice = world.connected(&client(0));
        decide(&mut world, policy.clone());
        world.run(secs(3));
        assert_eq!(world.clients[alice].told, Some(HALTED));
        let bob = world.client(&client(1));
        world.run(secs(8));
        assert_eq!(world.clients[bob].told, refused());
        assert_eq!((world.gateway.session_count(), world.gateway.half_open_count()), (0, 0));
        let stats = *world.gateway.stats();
        assert_eq!((stats.policy_errors, stats.unreadable_policies), (2, unreadables));
        assert!(results(&world).iter().all(|(_, decision, ..)| *decision == Decision::Error));
        // In shadow mode it is counted and blocks nobody.
        decide(&mut world, shadow(policy));
        world.connected(&client(1));
        assert_eq!(world.gateway.stats().policy_errors, 3);
        // A good one opens again.
        decide(&mut world, only(&[ALICE, BOB]));
        world.connected(&client(0));
        assert_eq!(world.live().len(), 2);
    }
}

#[test]
fn clients_are_told_apart_by_what_they_say_of_themselves() {
    let mut world = World::serving(&[1]);
    decide(
        &mut world,
        permits(
            r#"context.connection.platform == "win" && context.connection.platformVersion like "10.*" &&
               context.connection has awsClientVersion"#,
        ),
    );
    let says = |plat: &str, version: &str, gui: &str| SessionConfig {
        peer_info: format!(
            "IV_VER=2.6.12\nIV_PLAT={plat}\nIV_PLAT_VER={version}\nIV_GUI_VER={gui}\nIV_NCP=2\nIV_PROTO=2\n"
        ),
        ..SessionConfig::default()
    };
    let rows = [
        ("win", "10.0", "AWS VPN Client 5.0", true),
        ("win", "10.0", "cli_1.0", false),
        ("win", "6.1", "AWS VPN Client 5.0", false),
        ("linux", "10.0", "AWS VPN Client 5.0", false),
        // Text of a client is only text.
        ("win\" || true || \"", "10.0", "AWS VPN Client 5.0", false),
    ];
    for (port, (plat, version, gui, allowed)) in (1..).zip(rows) {
        let address = SocketAddr::from(([198, 51, 100, 9], port));
        let it = world.client_at(address, &client(0), says(plat, version, gui));
        world.run(secs(4));
        assert_eq!(world.clients[it].pushed.is_some(), allowed, "{plat} {version} {gui}");
    }
}

#[test]
fn sessions_are_asked_again_from_time_to_time() {
    let mut world = World::serving(&[1]);
    decide(&mut world, only(&[ALICE]));
    world.connected(&client(0));
    let counters = world.live()[0].counters.clone();
    let first = counters.policy_evaluated_at().unwrap();
    world.run(secs(4 * 60));
    assert_eq!((world.evaluations.len(), counters.policy_evaluated_at()), (1, Some(first)));
    world.run(secs(2 * 60));
    assert_eq!(world.evaluations.len(), 2);
    assert_eq!(world.evaluations[1].evaluation_type, EvaluationType::Periodic);
    let second = counters.policy_evaluated_at().unwrap();
    assert!((300..=301).contains(&(second.0 - first.0)), "{first:?} {second:?}");
    world.run(secs(10 * 60));
    assert_eq!((world.evaluations.len(), world.live().len()), (4, 1));
    // Without a policy nothing is asked any more.
    decide(&mut world, None);
    world.run(secs(10 * 60));
    assert_eq!((world.evaluations.len(), world.live().len()), (4, 1));
}

#[test]
fn a_client_that_moves_is_asked_again() {
    let mut world = World::serving(&[1]);
    decide(&mut world, permits(r#"ip(context.connection.publicIp).isInRange(ip("198.51.100.0/24"))"#));
    let alice = world.connected(&client(0));
    let moves = |world: &mut World, address: [u8; 4], port: u16| {
        world.clients[alice].address = SocketAddr::from((address, port));
        assert!(passes(world, alice));
    };
    moves(&mut world, [198, 51, 100, 99], 7);
    world.run(secs(2));
    assert_eq!((world.evaluations.len(), world.live().len()), (2, 1));
    // However often it moves: at most once a second.
    for port in 10..60 {
        moves(&mut world, [198, 51, 100, 99], port);
    }
    world.run(secs(2));
    assert_eq!((world.evaluations.len(), world.live().len()), (3, 1));
    moves(&mut world, [203, 0, 113, 9], 7);
    world.run(secs(2));
    assert_eq!((world.clients[alice].told.clone(), world.live().len()), (Some(HALTED), 0));
    assert_eq!(world.ends[0].reason, EndReason::PolicyDenied);
    let why = world.ends[0].evaluation.as_ref().unwrap();
    assert_eq!((why.evaluation_type, why.verdict.decision), (EvaluationType::Periodic, Decision::Deny));
    assert_eq!(text(why, "connection", "publicIp"), Some("203.0.113.9"));
    assert_eq!(world.live().len() + world.refused.len(), 0);
}

/// Whatever is under way when a policy comes to deny: refused or cut.
#[test]
fn a_policy_at_every_step_of_a_handshake() {
    let waits = SessionConfig { peer_info: "IV_PROTO=2\nIV_NCP=2\n".to_owned(), ..SessionConfig::default() };
    let old = SessionConfig { order: HandshakeOrder::AckAlone, ..waits.clone() };
    let mut unfinished = 0;
    for config in [SessionConfig::default(), waits, old] {
        let (mut refusals, mut cuts) = (0, 0);
        for steps in 0..200 {
            let mut world = World::serving(&[1]);
            let address = "198.51.100.7:1".parse().unwrap();
            let it = world.client_at(address, &client(1), config.clone());
            let mut quiet = false;
            for _ in 0..steps {
                if world.wire.is_empty() {
                    let Some(at) = world.next_timeout() else {
                        quiet = true;
                        break;
                    };
                    world.advance_to(at);
                } else {
                    let flying = world.wire.remove(0);
                    world.deliver(flying);
                }
            }
            let (was_in, was_up) = (world.gateway.session_count() > 0, !world.live().is_empty());
            let was_over = !world.ends.is_empty();
            decide(&mut world, only(&[ALICE]));
            assert_eq!(world.gateway.session_count(), 0, "after {steps} steps");
            world.run(secs(60));
            assert!(world.live().is_empty() && world.paths.is_empty(), "after {steps} steps");
            assert_eq!(world.gateway.half_open_count(), 0);
            if !was_over {
                told_of_once(&world, was_up);
                unfinished += usize::from(was_in && !was_up);
            }
            let told = world.clients[it].told.clone();
            match was_in {
                true => cuts += 1,
                false => refusals += usize::from(told == refused()),
            }
            if quiet {
                break;
            }
        }
        assert!(refusals > 3 && cuts > 3, "{refusals} {cuts}");
    }
    assert!(unfinished > 0, "some were admitted and not up yet");
}

/// The one client there was is told of once, with why: as an end where it began, else as an attempt.
fn told_of_once(world: &World, was_up: bool) {
    let ends = world.ends.iter().map(|end| (&end.id, &end.evaluation, EvaluationType::Periodic));
    let attempts = world.refused.iter().map(|attempt| {
        assert_eq!(attempt.reason, "authorization-policy-deny");
        (&attempt.id, &attempt.evaluation, EvaluationType::ConnectionAttempt)
    });
    let told: Vec<_> = ends.chain(attempts).collect();
    let [(id, Some(why), evaluation_type)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*id, *evaluation_type), (&why.connection, why.evaluation_type));
    assert_eq!((why.verdict.decision, world.ends.len()), (Decision::Deny, usize::from(was_up)));
}
