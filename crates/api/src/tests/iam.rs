//! IAM: who calls, and SAML providers.

use model::{Kind, SamlProvider, Scope};
use store::typed;

use super::{How, World, allow};

pub(super) fn metadata(entity: &str) -> String {
    let padding = "x".repeat(1_000);
    format!(
        "<EntityDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\" entityID=\"{entity}\"><!--{padding}-->\
         <IDPSSODescriptor/></EntityDescriptor>"
    )
}

#[tokio::test]
async fn who_calls() {
    let world = World::new();
    let root = world.iam("GetUser", &[("Version", "2010-05-08")]).await.ok();
    assert_eq!(root.text("Arn"), "arn:aws:iam::000000000000:root");
    assert!(
        root.body.contains("<GetUserResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">"),
        "{}",
        root.body
    );
    world.users.policy("ALICE", &allow("iam:GetUser"));
    let how = How { key: "ALICE", service: "iam", ..How::default() };
    let alice = world.call_as(how, "GetUser", &[("UserName", "alice")]).await.ok();
    assert_eq!((alice.text("UserName"), alice.text("Path")), ("alice".into(), "/".into()));
    let other = world.call_as(how, "GetUser", &[("UserName", "bob")]).await;
    assert_eq!((other.status, other.code().as_str()), (404, "NoSuchEntity"));
    assert_eq!(world.call_as(how, "ListSAMLProviders", &[]).await.code(), "AccessDenied");
    assert_eq!(world.iam("ListUsers", &[]).await.code(), "InvalidAction");
}

#[tokio::test]
async fn a_provider_lives() {
    let world = World::new();
    let first = metadata("one");
    let create = [
        ("Name", "okta"),
        ("SAMLMetadataDocument", first.as_str()),
        ("Tags.member.1.Key", "env"),
        ("Tags.member.1.Value", "test"),
    ];
    let arn = world.iam("CreateSAMLProvider", &create).await.ok().text("SAMLProviderArn");
    assert_eq!(arn, "arn:aws:iam::000000000000:saml-provider/okta");
    let again = world.iam("CreateSAMLProvider", &create).await;
    assert_eq!((again.status, again.code().as_str()), (409, "EntityAlreadyExists"));
    let id = ("SAMLProviderArn", arn.as_str());
    // It has no region: another one's credential scope finds it too.
    let elsewhere = How { service: "iam", region: "eu-west-1", ..How::default() };
    let shown = world.call_as(elsewhere, "GetSAMLProvider", &[id]).await.ok();
    assert_eq!((shown.text("SAMLMetadataDocument"), shown.text("Value")), (first.clone(), "test".into()));
    assert_eq!(shown.text("CreateDate"), "2027-01-15T08:00:00Z");
    assert_eq!(world.iam("ListSAMLProviders", &[]).await.ok().all("Arn"), [arn.as_str()]);
    let second = metadata("two");
    world.iam("UpdateSAMLProvider", &[id, ("SAMLMetadataDocument", &second)]).await.ok();
    assert_eq!(world.iam("GetSAMLProvider", &[id]).await.ok().text("SAMLMetadataDocument"), second);
    world.iam("TagSAMLProvider", &[id, ("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "1")]).await.ok();
    world.iam("UntagSAMLProvider", &[id, ("TagKeys.member.1", "env")]).await.ok();
    assert_eq!(world.iam("ListSAMLProviderTags", &[id]).await.ok().all("Key"), ["a"]);
    let gone = world.iam("DeleteSAMLProvider", &[id]).await.ok();
    assert!(!gone.body.contains("Result"), "{}", gone.body);
    for action in ["GetSAMLProvider", "DeleteSAMLProvider", "ListSAMLProviderTags"] {
        let none = world.iam(action, &[id]).await;
        assert_eq!((none.status, none.code().as_str()), (404, "NoSuchEntity"), "{action}");
    }
    let global = Scope::global(&world.scope.account);
    let prefix = model::prefix::of(&global, Kind::SamlProvider);
    let left = typed::list::<SamlProvider>(world.store.as_ref(), &prefix).await.unwrap().0;
    assert!(left.is_empty());
}

#[tokio::test]
async fn what_is_no_provider() {
    let world = World::new();
    let good = metadata("one");
    let rows: [(&str, &str, &str); 4] = [
        ("a b", &good, "ValidationError"),
        ("ok", "short", "ValidationError"),
        ("ok", &"x".repeat(1_000), "InvalidInput"),
        ("ok", "", "ValidationError"),
    ];
    for (name, document, code) in rows {
        let reply =
            world.iam("CreateSAMLProvider", &[("Name", name), ("SAMLMetadataDocument", document)]).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{name}");
    }
    assert_eq!(world.iam("GetSAMLProvider", &[("SAMLProviderArn", "x")]).await.code(), "InvalidInput");
    assert_eq!(world.iam("GetSAMLProvider", &[]).await.code(), "MissingParameter");
}
