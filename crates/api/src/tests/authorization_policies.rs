//! Authorization policies (spec: aws-client-vpn, Appendix B).

use model::{AuthorizationPolicy, Kind};

use super::{Pairs, Reply, World};

const ALL: &str = "permit(principal, action, resource);";
const NONE: &str = "forbid(principal, action, resource);";
const NOT_FOUND: &str = "InvalidClientVpnEndpointAuthorizationPolicyNotFound";

async fn modify(world: &World, endpoint: &str, changes: Pairs<'_>) -> Reply {
    let mut pairs = vec![("ClientVpnEndpointId", endpoint)];
    pairs.extend(changes);
    world.call("ModifyClientVpnEndpointAuthorizationPolicy", &pairs).await
}

async fn get(world: &World, endpoint: &str) -> Reply {
    world.call("GetClientVpnEndpointAuthorizationPolicy", &[("ClientVpnEndpointId", endpoint)]).await
}

async fn delete(world: &World, endpoint: &str) -> Reply {
    world.call("DeleteClientVpnEndpointAuthorizationPolicy", &[("ClientVpnEndpointId", endpoint)]).await
}

/// Document, description, shadow mode and status as answered.
async fn shown(world: &World, endpoint: &str) -> (String, Option<String>, String, String) {
    let reply = get(world, endpoint).await.ok();
    assert_eq!(reply.text("clientVpnEndpointId"), endpoint);
    let description = reply.all("description").into_iter().next();
    (reply.text("policyDocument"), description, reply.text("shadowMode"), reply.text("status"))
}

fn row(
    document: &str,
    description: Option<&str>,
    shadow: &str,
    status: &str,
) -> (String, Option<String>, String, String) {
    (document.to_owned(), description.map(str::to_owned), shadow.to_owned(), status.to_owned())
}

#[tokio::test]
async fn the_life_of_a_policy() {
    let world = World::new();
    let id = world.endpoint(&[]).await;
    // None yet: nothing to show, to delete, or to change.
    assert_eq!(get(&world, &id).await.code(), NOT_FOUND);
    assert_eq!(delete(&world, &id).await.code(), NOT_FOUND);
    let nothing_to_change: [Pairs<'_>; 3] = [&[], &[("ShadowMode", "enabled")], &[("Description", "x")]];
    for changes in nothing_to_change {
        let reply = modify(&world, &id, changes).await;
        assert_eq!(reply.code(), "MissingParameter");
        assert!(reply.text("Message").contains("PolicyDocument"));
    }
    // Made; not final before it is in force.
    let made = modify(&world, &id, &[("PolicyDocument", ALL)]).await.ok();
    assert_eq!(made.text("status"), "creating");
    assert!(made.body.contains("<status>creating</status>"), "a bare word: {}", made.body);
    assert_eq!(shown(&world, &id).await, row(ALL, None, "disabled", "creating"));
    let more = modify(&world, &id, &[("Description", "first")]).await.ok();
    assert_eq!(more.text("status"), "creating");
    world.settle().await;
    assert_eq!(shown(&world, &id).await, row(ALL, Some("first"), "disabled", "active"));
    // Each value alone changes itself and nothing else.
    let rows: [(Pairs<'_>, (String, Option<String>, String, String)); 4] = [
        (&[("ShadowMode", "enabled")], row(ALL, Some("first"), "enabled", "updating")),
        (&[("PolicyDocument", NONE)], row(NONE, Some("first"), "enabled", "updating")),
        (&[("Description", "")], row(NONE, Some(""), "enabled", "updating")),
        (
            &[("PolicyDocument", ALL), ("ShadowMode", "disabled"), ("Description", "all")],
            row(ALL, Some("all"), "disabled", "updating"),
        ),
    ];
    for (changes, expected) in rows {
        assert_eq!(modify(&world, &id, changes).await.ok().text("status"), "updating");
        assert_eq!(shown(&world, &id).await, expected, "{changes:?}");
        world.settle().await;
        assert_eq!(shown(&world, &id).await.3, "active");
    }
    // What changes nothing writes nothing.
    let revision = store::Store::revision(world.store.as_ref()).await.unwrap();
    let same: [Pairs<'_>; 2] = [&[], &[("PolicyDocument", ALL), ("ShadowMode", "disabled")]];
    for changes in same {
        assert_eq!(modify(&world, &id, changes).await.ok().text("status"), "active");
    }
    assert_eq!(store::Store::revision(world.store.as_ref()).await.unwrap(), revision);
    // Its end: not final before it is in force either.
    for _ in 0..2 {
        assert_eq!(delete(&world, &id).await.ok().text("status"), "deleting");
    }
    assert_eq!(shown(&world, &id).await.3, "deleting");
    world.settle().await;
    assert_eq!(get(&world, &id).await.code(), NOT_FOUND);
    assert!(world.records::<AuthorizationPolicy>(Kind::AuthorizationPolicy).await.is_empty());
}

#[tokio::test]
async fn one_that_is_leaving_is_none() {
    let world = World::new();
    let id = world.endpoint(&[]).await;
    let first = [("PolicyDocument", ALL), ("ShadowMode", "enabled"), ("Description", "first")];
    modify(&world, &id, &first).await.ok();
    world.settle().await;
    delete(&world, &id).await.ok();
    assert_eq!(modify(&world, &id, &[("ShadowMode", "disabled")]).await.code(), "MissingParameter");
    assert_eq!(modify(&world, &id, &[("PolicyDocument", NONE)]).await.ok().text("status"), "creating");
    assert_eq!(shown(&world, &id).await, row(NONE, None, "disabled", "creating"));
}

#[tokio::test]
async fn what_is_no_policy_is_refused_and_the_old_one_stays() {
    let world = World::new();
    let id = world.endpoint(&[]).await;
    modify(&world, &id, &[("PolicyDocument", ALL)]).await.ok();
    world.settle().await;
    let (long, description) = (format!("{ALL}//{}", "x".repeat(10_000)), "x".repeat(256));
    let deep = format!("permit(principal, action, resource) when {{ {}", "(".repeat(4_000));
    let rows: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![("PolicyDocument", "")], "InvalidParameterValue"),
        (vec![("PolicyDocument", "permit")], "InvalidParameterValue"),
        (vec![("PolicyDocument", "{\"Version\":\"2012-10-17\"}")], "InvalidParameterValue"),
        (
            vec![("PolicyDocument", "permit(principal == ?principal, action, resource);")],
            "InvalidParameterValue",
        ),
        (vec![("PolicyDocument", &long)], "InvalidParameterValue"),
        (vec![("PolicyDocument", &deep)], "InvalidParameterValue"),
        (vec![("PolicyDocument", NONE), ("Description", &description)], "InvalidParameterValue"),
        (vec![("PolicyDocument", NONE), ("ShadowMode", "on")], "InvalidParameterValue"),
        (vec![("PolicyDocument", NONE), ("ShadowMode", "Enabled")], "InvalidParameterValue"),
    ];
    for (changes, code) in rows {
        let reply = modify(&world, &id, &changes).await;
        assert_eq!(reply.code(), code, "{:.80}", changes[0].1);
        if changes.len() == 1 {
            assert!(
                reply.text("Message").contains("provide a valid Cedar policy document"),
                "{}",
                reply.body
            );
        }
        assert!(reply.body.len() < 1_000);
        assert_eq!(shown(&world, &id).await, row(ALL, None, "disabled", "active"));
    }
}

#[tokio::test]
async fn a_token_answers_as_the_first_call_did() {
    let world = World::new();
    let id = world.endpoint(&[]).await;
    let first = [("PolicyDocument", ALL), ("ClientToken", "t")];
    assert_eq!(modify(&world, &id, &first).await.ok().text("status"), "creating");
    world.settle().await;
    modify(&world, &id, &[("PolicyDocument", NONE)]).await.ok();
    world.settle().await;
    // The same again says what it said and does nothing more.
    assert_eq!(modify(&world, &id, &first).await.ok().text("status"), "creating");
    assert_eq!(shown(&world, &id).await, row(NONE, None, "disabled", "active"));
    let other = [("PolicyDocument", NONE), ("ClientToken", "t")];
    assert_eq!(modify(&world, &id, &other).await.code(), "IdempotentParameterMismatch");
}

#[tokio::test]
async fn policies_of_two_endpoints_are_their_own() {
    let world = World::new();
    let (one, two) = (world.endpoint(&[]).await, world.endpoint(&[]).await);
    modify(&world, &one, &[("PolicyDocument", ALL)]).await.ok();
    assert_eq!(get(&world, &two).await.code(), NOT_FOUND);
    modify(&world, &two, &[("PolicyDocument", NONE)]).await.ok();
    delete(&world, &one).await.ok();
    world.settle().await;
    assert_eq!(shown(&world, &two).await, row(NONE, None, "disabled", "active"));
    // An endpoint that goes has none any more.
    world.call("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &two)]).await.ok();
    let goes: [Reply; 3] = [
        get(&world, &two).await,
        delete(&world, &two).await,
        modify(&world, &two, &[("PolicyDocument", ALL)]).await,
    ];
    for reply in goes {
        assert_eq!(reply.code(), "InvalidClientVpnEndpointId.NotFound");
    }
}
