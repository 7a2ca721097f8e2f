//! Connect handlers on the whole gateway under virtual time: logins wait for the answer, and what changes meanwhile counts.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use crate::world::pki::client;
use crate::world::{Told, World, only};
use gateway::{EndReason, HandlerAnswer, HandlerFailure, HandlerVerdict, Limits, Question};

const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN-ask";
const FAILED: &str = "Error establishing connection. Please contact your administrator.";

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// An endpoint with a handler.
fn asking() -> World {
    let mut world = World::serving(&[1]);
    handler(&mut world, Some(FUNCTION));
    world
}

fn handler(world: &mut World, function: Option<&str>) {
    world.endpoint().connect_handler = function.map(Into::into);
    world.apply();
}

/// A client whose login waits; the question about it.
fn waiting(world: &mut World, certificate: &[u8]) -> (usize, Question) {
    let before = world.questions.len();
    let client = world.client(certificate);
    world.run(secs(3));
    assert_eq!((world.questions.len(), &world.clients[client].told), (before + 1, &None));
    (client, world.questions[before].clone())
}

fn answer(world: &mut World, question: &Question, said: Result<HandlerVerdict, HandlerFailure>) {
    let (now, wall) = (world.now, world.wall());
    world.gateway.handle_answer(HandlerAnswer { connection: question.connection.clone(), said }, now, wall);
    world.drain_gateway();
    world.run(secs(3));
}

fn verdict(allow: bool, message: &str, posture: &[&str]) -> Result<HandlerVerdict, HandlerFailure> {
    let posture = posture.iter().map(|status| (*status).to_owned()).collect();
    Ok(HandlerVerdict { allow, message: message.to_owned(), posture })
}

fn rejected(text: &str) -> Option<Told> {
    Some(Told::Rejected(text.to_owned()))
}

#[test]
fn a_login_waits_for_the_answer() {
    let mut world = asking();
    let (alice, question) = waiting(&mut world, &client(0));
    assert_eq!((&*question.function, question.common_name.as_str()), (FUNCTION, "alice.example"));
    assert_eq!(
        (question.platform.as_deref(), question.open_vpn_version.as_deref()),
        (Some("linux"), Some("2.6.14"))
    );
    assert_eq!((question.public_ip.to_string().as_str(), &question.username), ("198.51.100.7", &None));
    // Nothing is given to it meanwhile.
    assert!(world.paths.is_empty() && world.starts.is_empty() && world.gateway.session_count() == 0);
    assert_eq!(world.gateway.half_open_count(), 1);
    answer(&mut world, &question, verdict(true, "", &["compliant", "disk encrypted"]));
    assert!(world.clients[alice].ip().is_some());
    let start = world.live()[0];
    assert_eq!(
        (&start.id, start.posture.as_slice()),
        (&question.connection, &["compliant".to_owned(), "disk encrypted".to_owned()][..])
    );
    // The answer counts once.
    answer(&mut world, &question, verdict(false, "no", &[]));
    assert_eq!((world.live().len(), world.gateway.stats().handler_denials), (1, 0));
}

#[test]
fn a_denial_and_every_failure_is_told_with_its_own_reason() {
    let rows = [
        (verdict(false, "Not today", &["stale"]), "Not today", "client-connect-failed"),
        (verdict(false, "", &[]), FAILED, "client-connect-failed"),
        (Err(HandlerFailure::TimedOut), FAILED, "client-connect-handler-timed-out"),
        (Err(HandlerFailure::ExecutionError), FAILED, "client-connect-handler-other-execution-error"),
        (Err(HandlerFailure::Throttled), FAILED, "client-connect-handler-throttled"),
        (Err(HandlerFailure::InvalidResponse), FAILED, "client-connect-handler-invalid-response"),
        (Err(HandlerFailure::ServiceError), FAILED, "client-connect-handler-service-error"),
    ];
    for (said, told, reason) in rows {
        let mut world = asking();
        let (alice, question) = waiting(&mut world, &client(0));
        let posture = said.as_ref().map(|verdict| verdict.posture.clone()).unwrap_or_default();
        answer(&mut world, &question, said);
        assert_eq!(world.clients[alice].told, rejected(told), "{reason}");
        let attempt = &world.refused[0];
        assert_eq!((&attempt.id, attempt.reason, &attempt.posture), (&question.connection, reason, &posture));
        assert_eq!((world.refused.len(), world.gateway.half_open_count()), (1, 0));
        assert!(world.paths.is_empty() && world.starts.is_empty());
    }
}

#[test]
fn nobody_waits_for_ever() {
    let mut world = asking();
    let (alice, question) = waiting(&mut world, &client(0));
    world.run(secs(40));
    assert_eq!(world.clients[alice].told, rejected(FAILED));
    assert_eq!(world.refused[0].reason, "client-connect-handler-timed-out");
    answer(&mut world, &question, verdict(true, "", &[]));
    assert!(world.live().is_empty(), "too late");
}

#[test]
fn what_changed_meanwhile_counts() {
    // The last network went: the half-done login went with it.
    let mut world = asking();
    let (alice, question) = waiting(&mut world, &client(0));
    world.endpoint().associations.clear();
    world.apply();
    answer(&mut world, &question, verdict(true, "", &[]));
    assert!(world.live().is_empty() && world.clients[alice].ip().is_none());

    // A policy came that does not permit it.
    let mut world = asking();
    let (bob, question) = waiting(&mut world, &client(1));
    world.endpoint().policy = only(&["alice.example"]);
    world.apply();
    answer(&mut world, &question, verdict(true, "", &[]));
    assert_eq!(world.clients[bob].told, rejected("Denied by the authorization policy"));
    assert_eq!(
        (&world.refused[0].id, world.refused[0].reason),
        (&question.connection, "authorization-policy-deny")
    );

    // Another handler: it is asked in its turn.
    let mut world = asking();
    let (alice, first) = waiting(&mut world, &client(0));
    handler(&mut world, Some("another"));
    answer(&mut world, &first, verdict(true, "", &[]));
    assert!(world.live().is_empty());
    let second = world.questions[1].clone();
    assert_eq!(&*second.function, "another");
    answer(&mut world, &second, verdict(true, "", &[]));
    assert!(world.clients[alice].ip().is_some());

    // None any more: what it says counts for nothing.
    let mut world = asking();
    let (alice, question) = waiting(&mut world, &client(0));
    handler(&mut world, None);
    answer(&mut world, &question, verdict(false, "no", &[]));
    assert!(world.clients[alice].ip().is_some());
}

#[test]
fn those_that_may_not_in_anyway_are_not_asked_about() {
    let mut world = asking();
    let stranger = world.client(&crate::world::pki::pki().stranger);
    world.run(secs(5));
    assert!(world.questions.is_empty() && world.clients[stranger].ip().is_none());
    // Nor is a session that renews its keys.
    let (alice, question) = waiting(&mut world, &client(0));
    answer(&mut world, &question, verdict(true, "", &[]));
    let now = world.now;
    world.clients[alice].session.renegotiate(now);
    world.run(secs(5));
    assert_eq!((world.questions.len(), world.live().len()), (1, 1));
}

#[test]
fn questions_are_bounded() {
    let mut world = World::serving_within(Limits { max_questions: 1, ..Limits::default() }, &[1]);
    handler(&mut world, Some(FUNCTION));
    let (_, question) = waiting(&mut world, &client(0));
    let bob = world.client(&client(1));
    world.run(secs(3));
    assert_eq!(world.clients[bob].told, rejected(FAILED));
    assert_eq!(world.refused[0].reason, "client-connect-handler-throttled");
    answer(&mut world, &question, verdict(true, "", &[]));
    assert_eq!(world.live().len(), 1);
    let (_, later) = waiting(&mut world, &client(1));
    answer(&mut world, &later, verdict(true, "", &[]));
    assert_eq!((world.live().len(), world.end_of(&later.connection)), (2, None::<EndReason>));
}
