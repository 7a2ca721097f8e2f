//! The audit trail: one line for each call, whatever comes of it, and no secret.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{How, ROOT, World, import, signed};
use crate::{Addresses, Committed, Config, Convergence, Proof};

#[tokio::test]
async fn a_line_says_who_did_what_and_what_allowed_it() {
    let world = World::new();
    world.users.policy(
        "MAKER",
        r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*"},
            {"Sid":"Make","Effect":"Allow","Action":"ec2:Create*","Resource":"*"},
            {"Effect":"Deny","Action":"ec2:DeleteVpc","Resource":"*"}]}"#,
    );
    let how = How { key: "MAKER", ..How::default() };
    let pairs = [
        ("CidrBlock", "10.0.0.0/16"),
        ("TagSpecification.1.ResourceType", "vpc"),
        ("TagSpecification.1.Tag.1.Key", "a"),
        ("TagSpecification.1.Tag.1.Value", "b"),
    ];
    let reply = world.call_as(how, "CreateVpc", &pairs).await.ok();
    let (proof, line) = world.audit.last();
    assert_eq!(proof, Proof::Signed);
    assert_eq!(line["eventName"], "CreateVpc");
    assert_eq!(line["eventSource"], "ec2.amazonaws.com");
    assert_eq!(line["eventTime"], "2027-01-15T08:00:00Z");
    assert_eq!(line["awsRegion"], "us-east-1");
    assert_eq!(line["recipientAccountId"], "000000000000");
    assert_eq!(line["sourceIPAddress"], "127.0.0.1");
    assert_eq!(line["requestID"], reply.request_id.as_str());
    assert_eq!(line["httpStatus"], 200);
    assert!(line.get("errorCode").is_none() && line["durationUs"].is_u64(), "{line}");
    let who = &line["userIdentity"];
    assert_eq!((&who["type"], &who["userName"]), (&json!("IAMUser"), &json!("maker")));
    assert_eq!(who["arn"], "arn:aws:iam::000000000000:user/maker");
    assert_eq!(who["accessKeyId"], "MAKER");
    assert_eq!(
        line["requestParameters"]["CreateVpcRequest"]["TagSpecification"],
        json!([{"tag": 1, "ResourceType": "vpc", "Tag": [{"tag": 1, "Key": "a", "Value": "b"}]}])
    );
    let vpc = "arn:aws:ec2:us-east-1:000000000000:vpc/*";
    assert_eq!(
        line["resources"],
        json!([
            {"ARN": vpc, "action": "ec2:CreateVpc", "effect": "allow", "policy": "test", "statement": "Make"},
            {"ARN": vpc, "action": "ec2:CreateTags", "effect": "allow", "policy": "test", "statement": "0"},
        ])
    );

    let id = reply.text("vpcId");
    world.call_as(how, "DeleteVpc", &[("VpcId", &id)]).await;
    let (_, line) = world.audit.last();
    assert_eq!(line["decision"], json!({"effect": "explicit-deny", "policy": "test", "statement": "2"}));
    assert_eq!((&line["errorCode"], &line["httpStatus"]), (&json!("UnauthorizedOperation"), &json!(403)));
    world.call_as(how, "DescribeVpcs", &[]).await;
    assert_eq!(world.audit.last().1["decision"], json!({"effect": "implicit-deny"}));
    world.call("DeleteVpc", &[("VpcId", &id), ("DryRun", "true")]).await;
    let (_, line) = world.audit.last();
    assert_eq!(line["decision"], json!({"effect": "root"}));
    assert_eq!((&line["dryRun"], &line["errorCode"]), (&json!(true), &json!("DryRunOperation")));
    assert_eq!(line["userIdentity"]["type"], "Root");
    assert_eq!(line["resources"][0]["ARN"], format!("arn:aws:ec2:us-east-1:000000000000:vpc/{id}"));
}

#[tokio::test]
async fn strangers_have_lines_too_and_none_of_their_parameters() {
    let world = World::new();
    let unknown = How { key: "AKIANOBODY", ..How::default() };
    let mut unsigned = signed(&How::default(), "/", "", b"Action=DescribeVpcs&X=canary".to_vec(), &[]);
    unsigned.headers.retain(|(name, _)| name != "authorization");
    let mut spoilt = signed(&How::default(), "/", "", b"Action=DescribeVpcs".to_vec(), &[]);
    spoilt.body = "Action=DescribeVpcs&VpcId.1=canary".into();
    let rows = [
        (signed(&unknown, "/", "", b"Action=DescribeVpcs&VpcId.1=canary".to_vec(), &[]), "AuthFailure", None),
        (unsigned, "MissingAuthenticationToken", None),
        (spoilt, "AuthFailure", Some(ROOT)),
    ];
    for (number, (call, code, key)) in rows.into_iter().enumerate() {
        world.send(call).await;
        let (proof, line) = world.audit.last();
        assert_eq!(world.audit.count(), number + 1);
        assert_eq!((proof, &line["errorCode"]), (Proof::Unproven, &json!(code)));
        assert_eq!(line["eventName"], "DescribeVpcs");
        assert_eq!(line["userIdentity"].get("accessKeyId").and_then(|id| id.as_str()), key, "{line}");
        assert!(line["userIdentity"].get("arn").is_none() && line.get("decision").is_none(), "{line}");
        assert!(!line.to_string().contains("canary"), "{line}");
    }
    // What is no action of ours is not written down either.
    world.send(signed(&unknown, "/", "", b"Action=Canary".to_vec(), &[])).await;
    assert!(!world.audit.last().1.to_string().contains("Canary"));
    world.send(signed(&How::default(), "/canary", "", Vec::new(), &[])).await;
    assert!(!world.audit.last().1.to_string().contains("canary"));
}

#[tokio::test]
async fn no_secret_of_a_body_is_kept() {
    let world = World::new();
    let mut body = import("server.example.com");
    let key = body["PrivateKey"].as_str().unwrap().to_owned();
    for (name, value) in [("PrivateKey", json!(key)), ("PrivateKey", json!([key])), ("Canary", json!(key))] {
        body[name] = value;
        let (status, _) = world.acm(ROOT, "ImportCertificate", &body).await;
        let (proof, line) = world.audit.last();
        assert_eq!((proof, &line["httpStatus"]), (Proof::Signed, &json!(status)));
        let text = line.to_string();
        assert!(!text.contains(&key[40..80]) && !text.contains("Canary"), "{text}");
        assert_eq!(line["eventName"], "ImportCertificate");
        body.as_object_mut().unwrap().remove("Canary");
    }
    world.call("DescribeVpcs", &[("NextToken", "canary"), ("MaxResults", "5")]).await;
    let (_, line) = world.audit.last();
    assert_eq!(line["requestParameters"]["DescribeVpcsRequest"]["MaxResults"], "5");
    assert!(!line.to_string().contains("canary"), "{line}");
    world.call("DescribeVpcs", &[("NoSuchThing", "canary")]).await;
    assert!(!world.audit.last().1.to_string().contains("canary"));
}

/// Waits for an effect that never comes.
struct Never;

#[async_trait::async_trait]
impl Convergence for Never {
    async fn settled(&self, _change: &Committed) {
        std::future::pending().await
    }
}

/// A call whose client went away leaves its line all the same: it may have had its effect.
#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_is_written_down() {
    let config = Config {
        addresses: Addresses::parse(["192.0.2.0/24"]).unwrap(),
        settle_timeout_ms: 60_000,
        ..Config::default()
    };
    let world = World::built(config, Arc::new(Never));
    let (_, subnets) = world.network().await;
    let endpoint = world.endpoint(&[]).await;
    let body = format!(
        "Action=AssociateClientVpnTargetNetwork&ClientVpnEndpointId={endpoint}&SubnetId={}",
        subnets[0]
    );
    let call = signed(&How::default(), "/", "", body.into_bytes(), &[]);
    let before = world.audit.count();
    let answered = tokio::time::timeout(Duration::from_secs(1), world.api.handle(&call)).await;
    assert!(answered.is_err(), "it waits for its effect");
    let (proof, line) = world.audit.last();
    assert_eq!((proof, world.audit.count()), (Proof::Signed, before + 1));
    assert_eq!((&line["errorCode"], &line["httpStatus"]), (&json!("ClientGone"), &json!(0)));
    assert_eq!(line["eventName"], "AssociateClientVpnTargetNetwork");
    assert_eq!(
        line["resources"][1]["ARN"],
        format!("arn:aws:ec2:us-east-1:000000000000:subnet/{}", subnets[0])
    );
}
