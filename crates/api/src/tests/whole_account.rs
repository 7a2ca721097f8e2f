//! Reset, snapshot and restore of an account (`docs/testing.md`).

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Association, AssociationCode, Endpoint, EndpointCode, Key, Kind, Vpc};
use serde_json::Value;
use store::{Store, Transaction, typed};

use super::{How, NOW, Pairs, Reply, World, allow, endpoint_pairs, import, signed};
use crate::{Addresses, Config};

const OTHER: &str = "OTHER";

fn world() -> World {
    let world = World::new();
    world.users.elsewhere("111111111111", OTHER, &allow("*"));
    world
}

impl World {
    /// A call of Bascule's own, to its end, with controllers at work.
    async fn own(&self, key: &str, name: &str, body: &str) -> (u16, Value) {
        let how = How { key, service: "anything", ..How::default() };
        self.own_signed(&how, name, body, &[]).await
    }

    async fn own_signed(&self, how: &How<'_>, name: &str, body: &str, more: Pairs<'_>) -> (u16, Value) {
        let call = signed(how, &format!("/_bascule/{name}"), "", body.as_bytes().to_vec(), more);
        let mut answer = Box::pin(self.send(call));
        loop {
            tokio::select! {
                biased;
                reply = answer.as_mut() => return read(&reply),
                () = tokio::time::sleep(Duration::from_millis(1)) => self.settle().await,
            }
        }
    }

    /// Everything that is stored.
    async fn everything(&self) -> BTreeMap<String, String> {
        let listing = self.store.list("/v1/").await.unwrap();
        let text = |value: Vec<u8>| String::from_utf8(value).unwrap();
        listing.entries.into_iter().map(|entry| (entry.key, text(entry.value))).collect()
    }

    /// An endpoint of the other account.
    async fn others_endpoint(&self) -> Reply {
        let (_, body) = self.acm(OTHER, "ImportCertificate", &import("server.example.com")).await;
        let pairs = endpoint_pairs(body["CertificateArn"].as_str().unwrap());
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.call_as(How { key: OTHER, ..How::default() }, "CreateClientVpnEndpoint", &pairs).await.ok()
    }

    /// Something of every sort that a snapshot has: an endpoint in use, a transit gateway, a provider, a log group.
    async fn furnished(&self) -> String {
        let (endpoint, ..) = self.available().await;
        let of = ("ClientVpnEndpointId", endpoint.as_str());
        let rule = [of, ("TargetNetworkCidr", "10.0.0.0/16"), ("AuthorizeAllGroups", "true")];
        self.call("AuthorizeClientVpnIngress", &rule).await.ok();
        self.call("CreateTransitGateway", &[]).await.ok();
        let metadata = super::iam::metadata("one");
        let provider = [("Name", "idp"), ("SAMLMetadataDocument", metadata.as_str())];
        self.iam("CreateSAMLProvider", &provider).await.ok();
        self.logs("CreateLogGroup", &serde_json::json!({ "logGroupName": "vpn" })).await;
        self.settle().await;
        endpoint
    }
}

fn read(reply: &Reply) -> (u16, Value) {
    assert_eq!(reply.content_type, "application/json");
    (reply.status, serde_json::from_str(&reply.body).unwrap())
}

#[tokio::test]
async fn a_reset_leaves_nothing_of_the_account_and_all_of_others() {
    let world = world();
    let others = world.others_endpoint().await.text("clientVpnEndpointId");
    let before = world.everything().await;
    let endpoint = world.furnished().await;
    let (status, body) = world.own(super::ROOT, "reset", "").await;
    assert_eq!((status, &body["account"]), (200, &"000000000000".into()), "{body}");
    assert_eq!(world.everything().await, before);
    let (proof, line) = world.audit.last();
    assert_eq!(proof, crate::Proof::Signed);
    assert_eq!((&line["eventName"], &line["httpStatus"]), (&"Reset".into(), &200.into()), "{line}");
    assert_eq!(line["eventSource"], "bascule.amazonaws.com");
    // Ids are not given again, and an empty account is reset too.
    assert_eq!(world.own(super::ROOT, "reset", "").await.0, 200);
    let (anew, ..) = world.available().await;
    assert!(anew != endpoint && anew != others);
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_not_done_while_a_gateway_may_still_carry_clients() {
    let world = World::new();
    let (endpoint, association, _) = world.available().await;
    let how = How { service: "bascule", ..How::default() };
    // Nobody ends the association.
    let (status, body) = read(&world.send(signed(&how, "/_bascule/reset", "", Vec::new(), &[])).await);
    assert_eq!((status, &body["error"]), (503, &"NotDone".into()));
    assert!(body["message"].as_str().unwrap().contains(&association), "{body}");
    let stored = world.records::<Association>(Kind::Association).await;
    assert_eq!(stored[0].value.status.code, AssociationCode::Disassociating);
    assert_eq!(world.stored(&endpoint).await.status.code, EndpointCode::Available);
    assert_eq!(world.own(super::ROOT, "reset", "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_reset_waits_for_gateways_to_have_it_in_force() {
    let world = World::new();
    world.endpoint(&[]).await;
    let report = |revision| {
        let status = model::GatewayStatus { applied_revision: revision };
        Transaction::new().put_record(Key::gateway("local").as_str(), &status)
    };
    world.store.transact(report(0)).await.unwrap();
    let how = How::default();
    let mut reset = Box::pin(world.send(signed(&how, "/_bascule/reset", "", Vec::new(), &[])));
    assert!(tokio::time::timeout(Duration::from_secs(5), reset.as_mut()).await.is_err());
    let revision = world.store.revision().await.unwrap();
    world.store.transact(report(revision)).await.unwrap();
    assert_eq!(reset.await.status, 200);
}

#[tokio::test]
async fn thousands_of_records_go_in_several_transactions() {
    let world = World::new();
    world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok();
    let vpc = world.records::<Vpc>(Kind::Vpc).await[0].value.clone();
    for _ in 0..3 {
        let mut many = Transaction::new();
        for number in 0..1_500_u32 {
            let key = format!(
                "/v1/000000000000/us-east-1/vpc/vpc-{number}-{}",
                world.store.revision().await.unwrap()
            );
            many = many.put_record(key, &vpc);
        }
        world.store.transact(many).await.unwrap();
    }
    assert_eq!(world.own(super::ROOT, "reset", "").await.0, 200);
    assert!(world.everything().await.is_empty());
}

#[tokio::test]
async fn only_those_who_may() {
    let world = world();
    world.users.policy("NOBODY", &allow("iam:None"));
    world.users.policy("EC2", &allow("ec2:*"));
    world.users.policy("TESTER", &allow("bascule:Reset"));
    for (key, name, status, code) in [
        ("NOBODY", "reset", 403, "AccessDenied"),
        ("EC2", "reset", 403, "AccessDenied"),
        ("EC2", "snapshot", 403, "AccessDenied"),
        ("TESTER", "restore", 403, "AccessDenied"),
        ("UNKNOWN", "reset", 403, "AccessDenied"),
        ("TESTER", "reset", 200, ""),
        (OTHER, "reset", 200, ""),
        (super::ROOT, "everything", 404, "NotFound"),
    ] {
        let (got, body) = world.own(key, name, "").await;
        assert_eq!((got, body["error"].as_str().unwrap_or_default()), (status, code), "{key} {name}: {body}");
    }
    let how = How { method: "GET", ..How::default() };
    assert_eq!(world.own_signed(&how, "reset", "", &[]).await.0, 405);
    let late = How { signed_at: NOW - 3_600, ..How::default() };
    assert_eq!(world.own_signed(&late, "reset", "", &[]).await.0, 403);
    let mut unsigned = signed(&How::default(), "/_bascule/reset", "", Vec::new(), &[]);
    unsigned.headers.retain(|(name, _)| name == "host");
    assert_eq!(read(&world.send(unsigned).await).0, 403);
}

#[tokio::test]
async fn an_open_development_server_listens_to_local_programs_only() {
    let world = World::with(Config {
        dev_open: true,
        addresses: Addresses::parse(["192.0.2.0/24"]).unwrap(),
        ..Config::default()
    });
    world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok();
    let mut call = signed(&How::default(), "/_bascule/reset", "", Vec::new(), &[]);
    call.headers.retain(|(name, _)| name == "host");
    let mut from_a_page = call.clone();
    from_a_page.headers.push(("origin".to_owned(), "http://evil.example".to_owned()));
    let (status, body) = read(&world.send(from_a_page).await);
    assert_eq!((status, &body["error"]), (403, &"OperationNotPermitted".into()));
    assert!(!world.everything().await.is_empty());
    assert_eq!(read(&world.send(call).await).0, 200);
    assert!(world.everything().await.is_empty());
}

#[tokio::test]
async fn a_snapshot_brings_everything_back_and_nothing_else_stays() {
    let world = world();
    world.others_endpoint().await;
    let endpoint = world.furnished().await;
    let before = world.everything().await;
    let (status, snapshot) = world.own(super::ROOT, "snapshot", "").await;
    assert_eq!(status, 200);
    assert_eq!(snapshot["bascule-snapshot"], 1);
    let snapshot = snapshot.to_string();
    assert!(!snapshot.contains("PRIVATE KEY") && !snapshot.contains(&endpoint));
    assert_eq!(world.everything().await, before, "looking changes nothing");

    // Something more, something less, something else.
    world.call("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).await.ok();
    let of = ("ClientVpnEndpointId", endpoint.as_str());
    let rule = [of, ("TargetNetworkCidr", "10.0.0.0/16"), ("RevokeAllGroups", "true")];
    world.call("RevokeClientVpnIngress", &rule).await.ok();
    world.call("ModifyClientVpnEndpoint", &[of, ("SplitTunnel", "true"), ("VpnPort", "1194")]).await.ok();
    world.endpoint(&[]).await;
    world.settle().await;
    assert_ne!(world.everything().await, before);
    let (status, body) = world.own(super::ROOT, "restore", &snapshot).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(world.everything().await, before);
    // From nothing too.
    assert_eq!(world.own(super::ROOT, "reset", "").await.0, 200);
    assert_eq!(world.own(super::ROOT, "restore", &snapshot).await.0, 200);
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn what_was_in_force_is_on_its_way_until_a_gateway_has_it() {
    let world = World::new();
    let endpoint = world.furnished().await;
    let (_, snapshot) = world.own(super::ROOT, "snapshot", "").await;
    assert_eq!(world.own(super::ROOT, "reset", "").await.0, 200);
    let body = snapshot.to_string().into_bytes();
    let mut restore = Box::pin(world.send(signed(&How::default(), "/_bascule/restore", "", body, &[])));
    assert!(tokio::time::timeout(Duration::from_millis(50), restore.as_mut()).await.is_err());
    assert_eq!(world.stored(&endpoint).await.status.code, EndpointCode::PendingAssociate);
    let associations = world.records::<Association>(Kind::Association).await;
    assert_eq!(associations[0].value.status.code, AssociationCode::Associating);
    // It fails here: then it was not restored.
    let mut failed = associations[0].value.clone();
    failed.status = model::Status::with(AssociationCode::AssociationFailed, "no such device");
    for route in world.records::<model::Route>(Kind::Route).await {
        let mut value = route.value;
        value.status = model::Status::of(model::RouteCode::Failed);
        world.store.transact(Transaction::new().put_record(route.key, &value)).await.unwrap();
    }
    for rule in world.records::<model::AuthorizationRule>(Kind::Rule).await {
        let mut value = rule.value;
        value.status = model::Status::of(model::RuleCode::Active);
        world.store.transact(Transaction::new().put_record(rule.key, &value)).await.unwrap();
    }
    let failing = Transaction::new().put_record(associations[0].key.clone(), &failed);
    world.store.transact(failing).await.unwrap();
    let (status, body) = read(&restore.await);
    assert_eq!((status, &body["error"]), (503, &"NotInForce".into()));
    assert!(body["message"].as_str().unwrap().contains("no such device"), "{body}");
}

#[tokio::test]
async fn documents_that_are_not_of_here_are_refused_and_nothing_is_touched() {
    let world = world();
    world.furnished().await;
    let (_, snapshot) = world.own(super::ROOT, "snapshot", "").await;
    let before = world.everything().await;
    let with = |name: &str, value: Value| {
        let mut changed = snapshot.clone();
        changed[name] = value;
        changed.to_string()
    };
    let sealed = snapshot["sealed"].as_str().unwrap();
    let altered = match sealed.strip_suffix('=').unwrap_or(sealed).split_at(40) {
        (head, tail) if tail.starts_with('A') => format!("{head}B{}", &tail[1..]),
        (head, tail) => format!("{head}A{}", &tail[1..]),
    };
    for (key, body, code) in [
        (super::ROOT, String::new(), "InvalidSnapshot"),
        (super::ROOT, "{}".to_owned(), "InvalidSnapshot"),
        (super::ROOT, "\u{0}".to_owned(), "InvalidSnapshot"),
        (super::ROOT, with("more", 1.into()), "InvalidSnapshot"),
        (super::ROOT, with("bascule-snapshot", 2.into()), "UnknownFormat"),
        (super::ROOT, with("sealed", altered.into()), "InvalidSnapshot"),
        (super::ROOT, with("sealed", "".into()), "InvalidSnapshot"),
        (super::ROOT, with("account", "111111111111".into()), "InvalidSnapshot"),
        (OTHER, snapshot.to_string(), "InvalidSnapshot"),
        (OTHER, with("account", "111111111111".into()), "InvalidSnapshot"),
    ] {
        let (status, answer) = world.own(key, "restore", &body).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some(code)), "{key} {body:.60}: {answer}");
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn an_address_that_is_anothers_now_is_not_taken_back() {
    let world = world();
    world.furnished().await;
    let (_, snapshot) = world.own(super::ROOT, "snapshot", "").await;
    assert_eq!(world.own(super::ROOT, "reset", "").await.0, 200);
    let id = world.others_endpoint().await.text("clientVpnEndpointId");
    world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok();
    let before = world.everything().await;
    let (status, body) = world.own(super::ROOT, "restore", &snapshot.to_string()).await;
    assert_eq!((status, &body["error"]), (409, &"Taken".into()), "{body}");
    assert_eq!(world.everything().await, before);
    assert!(before.keys().any(|key| key.contains(&id)));
}

#[tokio::test]
async fn a_snapshot_that_could_not_be_restored_is_none() {
    let world = world();
    world.furnished().await;
    // A gateway that another account's endpoint is on.
    let gateway = [
        ("Options.AutoAcceptSharedAttachments", "enable"),
        ("Options.TransitGatewayCidrBlocks.1", "10.200.0.0/24"),
    ];
    let gateway = world.call("CreateTransitGateway", &gateway).await.ok().text("transitGatewayId");
    let (_, body) = world.acm(OTHER, "ImportCertificate", &import("server.example.com")).await;
    let pairs = endpoint_pairs(body["CertificateArn"].as_str().unwrap());
    let mut pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    pairs.push(("TransitGatewayConfiguration.TransitGatewayId", gateway.as_str()));
    let other = How { key: OTHER, ..How::default() };
    let id = world.call_as(other, "CreateClientVpnEndpoint", &pairs).await.ok().text("clientVpnEndpointId");
    world.settle_other().await;
    for key in [super::ROOT, OTHER] {
        let (status, body) = world.own(key, "snapshot", "").await;
        assert_eq!((status, &body["error"]), (409, &"Shared".into()), "{body}");
    }
    // The owner's reset takes the endpoint off its gateway; the endpoint stays, without it.
    let how = How { service: "bascule", ..How::default() };
    let mut reset = Box::pin(world.send(signed(&how, "/_bascule/reset", "", Vec::new(), &[])));
    loop {
        tokio::select! {
            biased;
            reply = reset.as_mut() => break assert_eq!(reply.status, 200, "{}", reply.body),
            () = tokio::time::sleep(Duration::from_millis(1)) => {
                world.settle().await;
                world.settle_other().await;
            }
        }
    }
    let left = world.everything().await;
    assert!(
        !left.keys().any(|key| key.starts_with("/v1/000000000000/") || key.contains(&gateway)),
        "{left:?}"
    );
    assert!(left.keys().any(|key| key.starts_with("/v1/111111111111/") && key.ends_with(&id)));
}

impl World {
    /// The controllers' work on the other account's attachments and associations.
    async fn settle_other(&self) {
        let endpoints = typed::list::<Endpoint>(self.store.as_ref(), "/v1/111111111111/us-east-1/endpoint/");
        for record in endpoints.await.unwrap().0 {
            let mut endpoint = record.value;
            let Some(attachment) = &mut endpoint.attachment else { continue };
            let mut transaction = Transaction::new();
            attachment.status = match attachment.status {
                model::AttachmentCode::Deleting => {
                    let entry = Key::attachment_entry(&attachment.gateway_scope, &attachment.id);
                    transaction = transaction.delete(entry.as_str());
                    model::AttachmentCode::Deleted
                }
                model::AttachmentCode::Pending => model::AttachmentCode::Available,
                _ => continue,
            };
            let gone = attachment.status == model::AttachmentCode::Deleted;
            let under = "/v1/111111111111/us-east-1/association/";
            for association in typed::list::<Association>(self.store.as_ref(), under).await.unwrap().0 {
                let mut value = association.value;
                value.status = model::Status::of(AssociationCode::Associated);
                transaction = match gone {
                    true => transaction.delete(association.key),
                    false => transaction.put_record(association.key, &value),
                };
            }
            self.store.transact(transaction.put_record(record.key, &endpoint)).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_of_a_settled_state() {
    let world = World::new();
    let (_, subnets) = world.network().await;
    let endpoint = world.endpoint(&[]).await;
    world.associate(&endpoint, &subnets[0]).await.ok();
    let how = How::default();
    let (status, body) = read(&world.send(signed(&how, "/_bascule/snapshot", "", Vec::new(), &[])).await);
    assert_eq!((status, &body["error"]), (503, &"NotDone".into()));
    assert!(body["message"].as_str().unwrap().contains("association cvpn-endpoint-"), "{body}");
    assert_eq!(world.own(super::ROOT, "snapshot", "").await.0, 200);
}

#[tokio::test]
async fn what_is_larger_than_a_request_may_be_is_no_snapshot() {
    let world = World::new();
    let group = "/v1/000000000000/us-east-1/log-batch/s/";
    for number in 0..4 {
        let text = "x".repeat(1_000_000);
        world.store.transact(Transaction::new().put_record(format!("{group}{number}"), &text)).await.unwrap();
    }
    let (status, body) = world.own(super::ROOT, "snapshot", "").await;
    assert_eq!((status, &body["error"]), (413, &"TooLarge".into()), "{body}");
}

#[tokio::test]
async fn one_of_these_calls_at_a_time() {
    let world = world();
    world.endpoint(&[]).await;
    let stale = model::GatewayStatus { applied_revision: 0 };
    let gateway = Key::gateway("local");
    world.store.transact(Transaction::new().put_record(gateway.as_str(), &stale)).await.unwrap();
    let how = How::default();
    let call = || signed(&how, "/_bascule/reset", "", Vec::new(), &[]);
    let mut first = Box::pin(world.send(call()));
    assert!(tokio::time::timeout(Duration::from_millis(20), first.as_mut()).await.is_err());
    let (status, body) = read(&world.send(call()).await);
    assert_eq!((status, &body["error"]), (409, &"Busy".into()));
    // Others are not concerned, and what was given up leaves nothing behind.
    assert_eq!(world.own(OTHER, "reset", "").await.0, 200);
    drop(first);
    world.store.transact(Transaction::new().delete(gateway.as_str())).await.unwrap();
    assert_eq!(world.own(super::ROOT, "reset", "").await.0, 200);
}
