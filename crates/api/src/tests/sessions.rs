//! Temporary credentials: given, used, and at their end; roles, and who may assume them.

use std::sync::atomic::Ordering;

use aws_auth::{Credentials, Secret, SignedRequest};
use bytes::Bytes;
use serde_json::json;

use super::{How, NOW, Pairs, ROOT, Reply, World, allow, signed_with};
use crate::Call;

const STS: How<'static> =
    How { key: "USER", region: "us-east-1", service: "sts", method: "POST", signed_at: NOW };
const READER: &str = "arn:aws:iam::000000000000:role/reader";
const USER_ARN: &str = "arn:aws:iam::000000000000:user/user";

/// A trust policy for these principals, with these conditions.
fn trust(principals: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":{principals}}},
            "Action":["sts:AssumeRole","sts:TagSession"],"Condition":{{{condition}}}}}]}}"#
    )
}

/// A user who may assume all roles, and a role that may describe.
fn world() -> World {
    let world = World::new();
    world.users.policy("USER", &allow("sts:*"));
    world.users.role("000000000000", "reader", &allow("ec2:Describe*"), &trust(r#""000000000000""#, ""), &[]);
    world
}

fn taken(reply: &Reply) -> Credentials {
    Credentials {
        access_key_id: reply.text("AccessKeyId"),
        secret: Secret::new(reply.text("SecretAccessKey")),
        session_token: Some(Secret::new(reply.text("SessionToken"))),
    }
}

fn assume<'p>(role: &'p str, more: Pairs<'p>) -> Vec<(&'p str, &'p str)> {
    [("RoleArn", role), ("RoleSessionName", "tests")].iter().chain(more).copied().collect()
}

impl World {
    async fn by(&self, credentials: &Credentials, service: &str, action: &str, pairs: Pairs<'_>) -> Reply {
        let form = aws_query::encode([("Action", action)].into_iter().chain(pairs.iter().copied()));
        let how = How { service, signed_at: self.clock.load(Ordering::Relaxed), ..STS };
        self.send(signed_with(credentials, &how, "/", "", form.into_bytes(), &[])).await
    }

    async fn assumed(&self, key: &str, role: &str, more: Pairs<'_>) -> Credentials {
        taken(&self.call_as(How { key, ..STS }, "AssumeRole", &assume(role, more)).await.ok())
    }

    async fn may(&self, credentials: &Credentials, action: &str) -> bool {
        let code = self.by(credentials, "ec2", action, &[("DryRun", "true")]).await.code();
        assert!(["DryRunOperation", "UnauthorizedOperation"].contains(&code.as_str()), "{code}");
        code == "DryRunOperation"
    }
}

#[tokio::test]
async fn a_session_token_has_the_users_rights_and_no_more_sessions() {
    let world = world();
    world.users.tagged("USER", &allow("ec2:DescribeVpcs"), &[("team", "red")]);
    let reply = world.call_as(STS, "GetSessionToken", &[]).await.ok();
    assert_eq!(reply.text("Expiration"), "2027-01-15T20:00:00Z");
    let session = taken(&reply);
    assert!(session.access_key_id.starts_with("ASIA") && session.access_key_id.len() == 20);
    assert_eq!(session.secret.expose().len(), 40);
    assert!(world.may(&session, "DescribeVpcs").await && !world.may(&session, "DescribeSubnets").await);
    let who = world.by(&session, "sts", "GetCallerIdentity", &[]).await.ok();
    assert_eq!(who.text("Arn"), USER_ARN);
    let refused = world.by(&session, "sts", "GetSessionToken", &[]).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "AccessDenied"));
    assert_eq!(refused.text("Message"), "Cannot call GetSessionToken with session credentials");
    let refused = world.by(&session, "iam", "GetUser", &[]).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "InvalidClientTokenId"));
    // The rights are those of now.
    world.users.policy("USER", &allow("ec2:DescribeSubnets"));
    assert!(!world.may(&session, "DescribeVpcs").await && world.may(&session, "DescribeSubnets").await);
    // And a role may be assumed with it.
    world.users.policy("USER", &allow("sts:AssumeRole"));
    world.by(&session, "sts", "AssumeRole", &assume(READER, &[])).await.ok();
}

#[tokio::test]
async fn sessions_last_as_long_as_asked_for() {
    let world = world();
    // An action, what is asked for, by whom, and how long it lasts or what is answered.
    let rows: &[(&str, &str, &str, Result<i64, &str>)] = &[
        ("GetSessionToken", "", "USER", Ok(43_200)),
        ("GetSessionToken", "900", "USER", Ok(900)),
        ("GetSessionToken", "129600", "USER", Ok(129_600)),
        ("GetSessionToken", "899", "USER", Err("ValidationError")),
        ("GetSessionToken", "129601", "USER", Err("ValidationError")),
        ("GetSessionToken", "", ROOT, Ok(3_600)),
        ("GetSessionToken", "129600", ROOT, Ok(3_600)),
        ("GetSessionToken", "1000", ROOT, Ok(1_000)),
        ("AssumeRole", "", "USER", Ok(3_600)),
        ("AssumeRole", "900", "USER", Ok(900)),
        ("AssumeRole", "7200", "USER", Ok(7_200)),
        ("AssumeRole", "7201", "USER", Err("ValidationError")),
        ("AssumeRole", "43201", "USER", Err("ValidationError")),
        ("AssumeRole", "899", "USER", Err("ValidationError")),
        ("AssumeRole", "x", "USER", Err("ValidationError")),
    ];
    for (action, asked, key, expected) in rows {
        let duration = [("DurationSeconds", *asked)];
        let duration = if asked.is_empty() { &[][..] } else { &duration[..] };
        let pairs = if *action == "AssumeRole" { assume(READER, duration) } else { duration.to_vec() };
        let reply = world.call_as(How { key, ..STS }, action, &pairs).await;
        match expected {
            Ok(life_s) => {
                let credentials = taken(&reply.ok());
                let who = async |at: i64, service: &str| {
                    world.clock.store(NOW + at, Ordering::Relaxed);
                    let action = if service == "ec2" { "DescribeVpcs" } else { "GetCallerIdentity" };
                    let reply = world.by(&credentials, service, action, &[]).await;
                    world.clock.store(NOW, Ordering::Relaxed);
                    (reply.status, reply.code())
                };
                assert_eq!(who(life_s - 1, "sts").await, (200, String::new()), "{action} {asked}");
                assert_eq!(who(*life_s, "sts").await, (403, "ExpiredToken".to_owned()), "{action} {asked}");
                assert_eq!(who(*life_s, "ec2").await, (400, "RequestExpired".to_owned()), "{action} {asked}");
            }
            Err(code) => assert_eq!((reply.status, reply.code().as_str()), (400, *code), "{action} {asked}"),
        }
    }
}

#[tokio::test]
async fn json_services_have_their_own_word_for_the_end() {
    let world = world();
    world.users.role("000000000000", "reader", &allow("acm:*"), &trust(r#""000000000000""#, ""), &[]);
    let credentials = world.assumed("USER", READER, &[]).await;
    let ask = async |credentials: &Credentials| {
        let how = How { service: "acm", signed_at: world.clock.load(Ordering::Relaxed), ..STS };
        let more = [("x-amz-target", "CertificateManager.ListCertificates")];
        let reply = world.send(signed_with(credentials, &how, "/", "", b"{}".to_vec(), &more)).await;
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        (reply.status, body["__type"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(ask(&credentials).await, (200, String::new()));
    let none = Credentials { session_token: None, ..credentials.clone() };
    assert_eq!(ask(&none).await, (400, "UnrecognizedClientException".to_owned()));
    world.clock.store(NOW + 3_600, Ordering::Relaxed);
    assert_eq!(ask(&credentials).await, (400, "ExpiredTokenException".to_owned()));
}

#[tokio::test]
async fn only_the_whole_of_it_is_taken() {
    let world = world();
    let good = world.assumed("USER", READER, &[]).await;
    let other = world.assumed("USER", READER, &[]).await;
    let token = good.session_token.as_ref().unwrap().expose().to_owned();
    let with = |text: &str| Some(Secret::new(text));
    let mut rows: Vec<(String, Credentials, &str)> = vec![
        ("no token".into(), Credentials { session_token: None, ..good.clone() }, "InvalidClientTokenId"),
        (
            "another's token".into(),
            Credentials { session_token: other.session_token.clone(), ..good.clone() },
            "InvalidClientTokenId",
        ),
        (
            "empty token".into(),
            Credentials { session_token: with(""), ..good.clone() },
            "InvalidClientTokenId",
        ),
        (
            "another secret".into(),
            Credentials { secret: other.secret.clone(), ..good.clone() },
            "SignatureDoesNotMatch",
        ),
        (
            "another key id".into(),
            Credentials { access_key_id: other.access_key_id.clone(), ..good.clone() },
            "InvalidClientTokenId",
        ),
        (
            "a token with a lasting key".into(),
            Credentials { session_token: with(&token), ..super::credentials("USER") },
            "InvalidClientTokenId",
        ),
    ];
    // Any letter of it.
    for at in (0..token.len()).step_by(29) {
        let mut letters = token.clone().into_bytes();
        letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(letters).unwrap();
        let row = Credentials { session_token: with(&text), ..good.clone() };
        rows.push((format!("letter {at}"), row, "InvalidClientTokenId"));
    }
    for (what, credentials, code) in rows {
        let reply = world.by(&credentials, "sts", "GetCallerIdentity", &[]).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, code), "{what}");
        let reply = world.by(&credentials, "ec2", "DescribeVpcs", &[]).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "AuthFailure"), "{what}");
    }
    assert!(world.may(&good, "DescribeVpcs").await);
    // Where there is no such role it is nobody's.
    let elsewhere = super::World::new();
    elsewhere.users.policy("USER", &allow("sts:*"));
    assert_eq!(elsewhere.by(&good, "ec2", "DescribeVpcs", &[]).await.code(), "AuthFailure");
}

#[tokio::test]
async fn a_presigned_call_carries_its_token() {
    let world = world();
    let credentials = world.assumed("USER", READER, &[]).await;
    let headers = [("host".to_owned(), "127.0.0.1:8585".to_owned())];
    let query = "Action=DescribeVpcs";
    let request = SignedRequest { method: "GET", path: "/", query, headers: &headers, body: b"" };
    let signed = aws_auth::presign(&request, &credentials, "us-east-1", "ec2", 60, NOW).unwrap();
    let call = |query: String| Call {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        query,
        headers: headers.to_vec(),
        body: Bytes::new(),
        peer: [127, 0, 0, 1].into(),
        secure: false,
    };
    assert!(signed.contains("X-Amz-Security-Token="), "{signed}");
    world.send(call(signed.clone())).await.ok();
    let without: Vec<&str> =
        signed.split('&').filter(|pair| !pair.starts_with("X-Amz-Security-Token=")).collect();
    assert_eq!(world.send(call(without.join("&"))).await.code(), "AuthFailure");
}

#[tokio::test]
async fn a_session_ends_with_its_key_its_user_or_its_role() {
    let world = world();
    let role = world.assumed("USER", READER, &[]).await;
    let own = taken(&world.call_as(STS, "GetSessionToken", &[]).await.ok());
    let codes = async || {
        let mut found = Vec::new();
        for credentials in [&role, &own] {
            found.push(world.by(credentials, "sts", "GetCallerIdentity", &[]).await.code());
        }
        found
    };
    let gone = "InvalidClientTokenId";
    assert_eq!(codes().await, ["", ""]);
    world.users.remove_role("reader");
    assert_eq!(codes().await, [gone, ""]);
    world.users.role("000000000000", "reader", &allow("*"), &trust(r#""*""#, ""), &[]);
    assert_eq!(codes().await, ["", ""]);
    world.users.remove("USER");
    assert_eq!(codes().await, [gone, gone]);
    // The key is another user's now.
    world.users.elsewhere("111111111111", "USER", &allow("*"));
    assert_eq!(codes().await, [gone, gone]);
    // A policy that bounds a session is gone.
    world.users.policy("USER", &allow("sts:*"));
    world.users.managed("narrow", &allow("ec2:DescribeVpcs"));
    let narrow = [("PolicyArns.member.1.arn", "arn:aws:iam::000000000000:policy/narrow")];
    let bounded = world.assumed("USER", READER, &narrow).await;
    assert!(world.may(&bounded, "DescribeVpcs").await && !world.may(&bounded, "DescribeSubnets").await);
    world.users.policies.lock().unwrap().clear();
    assert_eq!(world.by(&bounded, "ec2", "DescribeVpcs", &[]).await.code(), "AuthFailure");
}

#[tokio::test]
async fn who_may_assume_a_role() {
    let world = world();
    world.users.elsewhere("111111111111", "FOREIGN", &allow("sts:*"));
    let (yes, no) = (allow("sts:AssumeRole"), allow("ec2:*"));
    let deny = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"sts:*","Resource":"*"}]}"#;
    let external = r#""StringEquals":{"sts:ExternalId":"x-1"}"#;
    let denied_by_trust = format!(
        r#"{{"Version":"2012-10-17","Statement":[
            {{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}},
            {{"Effect":"Deny","Principal":{{"AWS":"{USER_ARN}"}},"Action":"sts:AssumeRole"}}]}}"#
    );
    let (own, named) = (trust(r#""000000000000""#, ""), trust(&format!(r#""{USER_ARN}""#), ""));
    let foreign = trust(r#""arn:aws:iam::111111111111:user/foreign""#, "");
    let foreign_account = trust(r#"["arn:aws:iam::111111111111:root"]"#, "");
    let with_id = trust(r#""000000000000""#, external);
    // Who asks, with which policy, for a role that trusts whom, with which external id; and whether he gets it.
    let rows = [
        ("USER", yes.as_str(), own.as_str(), None, true),
        ("USER", &no, &own, None, false),
        ("USER", deny, &named, None, false),
        ("USER", &no, &named, None, true),
        ("USER", &yes, &denied_by_trust, None, false),
        ("USER", &yes, &foreign, None, false),
        ("USER", &yes, &with_id, None, false),
        ("USER", &yes, &with_id, Some("x-2"), false),
        ("USER", &yes, &with_id, Some("x-1"), true),
        ("FOREIGN", &yes, &own, None, false),
        ("FOREIGN", &yes, &foreign, None, true),
        ("FOREIGN", &no, &foreign, None, false),
        ("FOREIGN", &yes, &foreign_account, None, true),
        ("FOREIGN", &no, &foreign_account, None, false),
    ];
    for (key, policy, trust, external_id, expected) in rows {
        match key {
            "USER" => world.users.policy(key, policy),
            _ => world.users.elsewhere("111111111111", key, policy),
        }
        world.users.role("000000000000", "reader", &allow("ec2:Describe*"), trust, &[]);
        let external_id = external_id.map(|id| ("ExternalId", id));
        let pairs = assume(READER, external_id.as_slice());
        let reply = world.call_as(How { key, ..STS }, "AssumeRole", &pairs).await;
        let row = format!("{key} {policy} {trust} {external_id:?}: {}", reply.body);
        if expected {
            let session = taken(&reply.ok());
            // In the role's account, whoever assumed it.
            let who = world.by(&session, "sts", "GetCallerIdentity", &[]).await.ok();
            assert_eq!(who.text("Account"), "000000000000", "{row}");
            continue;
        }
        assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDenied"), "{row}");
        let caller = if key == "USER" { USER_ARN } else { "arn:aws:iam::111111111111:user/foreign" };
        let expected =
            format!("User: {caller} is not authorized to perform: sts:AssumeRole on resource: {READER}");
        assert_eq!(reply.text("Message"), expected);
    }
    // One that is not there is not told from one that is closed; and the root assumes none.
    world.users.policy("USER", &yes);
    let absent = assume("arn:aws:iam::000000000000:role/absent", &[]);
    assert_eq!(world.call_as(STS, "AssumeRole", &absent).await.code(), "AccessDenied");
    let reply = world.call_as(How { key: ROOT, ..STS }, "AssumeRole", &assume(READER, &[])).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDenied"));
    assert_eq!(reply.text("Message"), "Roles may not be assumed by root accounts.");
}

#[tokio::test]
async fn an_assumed_role_says_so_everywhere() {
    let world = world();
    let tags = [("team", "red"), ("Cost", "1")];
    world.users.role("000000000000", "reader", &allow("*"), &trust(r#""*""#, ""), &tags);
    let more = [("Tags.member.1.Key", "cost"), ("Tags.member.1.Value", "2")];
    let reply = world.call_as(STS, "AssumeRole", &assume(READER, &more)).await.ok();
    let arn = "arn:aws:sts::000000000000:assumed-role/reader/tests";
    assert_eq!(reply.text("Arn"), arn);
    let id = reply.text("AssumedRoleId");
    assert!(id.starts_with("AROA") && id.ends_with(":tests") && id.len() == 27, "{id}");
    assert!((1..10).contains(&reply.text("PackedPolicySize").parse::<i32>().unwrap()));
    let session = taken(&reply);
    let who = world.by(&session, "sts", "GetCallerIdentity", &[]).await.ok();
    assert_eq!((who.text("Arn").as_str(), who.text("UserId")), (arn, id.clone()));
    let reply = world.by(&session, "iam", "GetUser", &[]).await;
    assert_eq!(reply.code(), "ValidationError");
    assert_eq!(reply.text("Message"), "Must specify userName when calling with non-User credentials");
    for (condition, expected) in [
        (format!(r#""ArnEquals":{{"aws:PrincipalArn":"{READER}"}}"#), true),
        (format!(r#""StringEquals":{{"aws:userid":"{id}"}}"#), true),
        (r#""StringEquals":{"aws:PrincipalType":"AssumedRole"}"#.to_owned(), true),
        (r#""Null":{"aws:username":"true"}"#.to_owned(), true),
        (r#""Null":{"aws:MultiFactorAuthPresent":"true"}"#.to_owned(), true),
        (r#""DateEquals":{"aws:TokenIssueTime":"2027-01-15T08:00:00Z"}"#.to_owned(), true),
        (r#""StringEquals":{"aws:PrincipalTag/team":"red"}"#.to_owned(), true),
        (r#""StringEquals":{"aws:PrincipalTag/cost":"2"}"#.to_owned(), true),
        (r#""StringEquals":{"aws:PrincipalTag/cost":"1"}"#.to_owned(), false),
    ] {
        let document = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"*","Resource":"*",
                "Condition":{{{condition}}}}}]}}"#
        );
        world.users.role("000000000000", "reader", &document, &trust(r#""*""#, ""), &tags);
        assert_eq!(world.may(&session, "DescribeVpcs").await, expected, "{condition}");
    }
    // A lasting key has no time of issue.
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*",
        "Condition":{"Null":{"aws:TokenIssueTime":"true"}}}]}"#;
    world.users.policy("USER", document);
    assert!(world.may(&super::credentials("USER"), "DescribeVpcs").await);
}

#[tokio::test]
async fn policies_of_a_session_bound_it() {
    let world = world();
    world.users.managed("subnets", &allow("ec2:DescribeSubnets"));
    let vpcs = allow("ec2:DescribeVpcs");
    let everything = allow("*");
    let arn = ("PolicyArns.member.1.arn", "arn:aws:iam::000000000000:policy/subnets");
    // What comes with the call; whether VPCs, subnets, and making a VPC are allowed.
    let rows: [(&[(&str, &str)], [bool; 3]); 4] = [
        (&[], [true, true, false]),
        (&[("Policy", &vpcs)], [true, false, false]),
        (&[("Policy", &everything)], [true, true, false]),
        (&[("Policy", &vpcs), arn], [true, true, false]),
    ];
    for (more, expected) in rows {
        let session = world.assumed("USER", READER, more).await;
        assert_eq!(world.may(&session, "DescribeVpcs").await, expected[0], "{more:?}");
        assert_eq!(world.may(&session, "DescribeSubnets").await, expected[1], "{more:?}");
        let vpc = [("CidrBlock", "10.0.0.0/16"), ("DryRun", "true")];
        let code = world.by(&session, "ec2", "CreateVpc", &vpc).await.code();
        assert_eq!(code == "DryRunOperation", expected[2], "{more:?}");
    }
}

#[tokio::test]
async fn sessions_of_sessions_are_short_and_tags_go_on() {
    let world = world();
    let reader = r#""arn:aws:iam::000000000000:role/reader""#;
    world.users.role(
        "000000000000",
        "reader",
        &allow("sts:AssumeRole"),
        &trust(r#""000000000000""#, ""),
        &[],
    );
    let red = r#""StringEquals":{"aws:PrincipalTag/team":"red"}"#;
    world.users.role("000000000000", "next", &allow("*"), &trust(reader, red), &[]);
    let next = "arn:aws:iam::000000000000:role/next";
    let first = [
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "red"),
        ("Tags.member.2.Key", "own"),
        ("Tags.member.2.Value", "1"),
        ("TransitiveTagKeys.member.1", "team"),
    ];
    let session = world.assumed("USER", READER, &first).await;
    let second = world.by(&session, "sts", "AssumeRole", &assume(next, &[])).await.ok();
    let who = world.by(&taken(&second), "sts", "GetCallerIdentity", &[]).await.ok();
    assert_eq!(who.text("Arn"), "arn:aws:sts::000000000000:assumed-role/next/tests");
    let long = assume(next, &[("DurationSeconds", "3601")]);
    let reply = world.by(&session, "sts", "AssumeRole", &long).await;
    assert_eq!(reply.code(), "ValidationError");
    assert!(reply.text("Message").contains("1 hour session limit"), "{}", reply.body);
    // What goes on is there in the second, and cannot be set again.
    let team = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{
        "StringEquals":{"aws:PrincipalTag/team":"red"},"Null":{"aws:PrincipalTag/own":"true"}}}]}"#;
    world.users.role("000000000000", "next", team, &trust(r#""000000000000""#, ""), &[]);
    assert!(world.may(&taken(&second), "DescribeVpcs").await);
    world.users.role("000000000000", "reader", &allow("sts:*"), &trust(r#""000000000000""#, ""), &[]);
    let again = assume(next, &[("Tags.member.1.Key", "TEAM"), ("Tags.member.1.Value", "blue")]);
    assert_eq!(world.by(&session, "sts", "AssumeRole", &again).await.code(), "InvalidParameterValue");
    // Tagging is a permission of its own.
    let only = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000000"},
        "Action":"sts:AssumeRole"}]}"#;
    world.users.role("000000000000", "next", team, only, &[]);
    let reply = world.call_as(STS, "AssumeRole", &assume(next, &first)).await;
    assert_eq!(reply.code(), "AccessDenied");
    assert!(reply.text("Message").contains("perform: sts:TagSession on"), "{}", reply.body);
}

#[tokio::test]
async fn parameters_of_a_role() {
    let world = world();
    let long = "x".repeat(2_049);
    let many: Vec<(String, String)> = (0..40)
        .flat_map(|n| {
            let key = (format!("Tags.member.{}.Key", n + 1), format!("key-{n}"));
            [key, (format!("Tags.member.{}.Value", n + 1), "v".repeat(256))]
        })
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let rows: Vec<(&str, &str, Vec<(&str, &str)>, &str)> = vec![
        ("reader", "ab", vec![], "ValidationError"),
        ("arn:aws:iam::000000000000:user/reader", "ab", vec![], "ValidationError"),
        ("arn:aws:iam:us-east-1:000000000000:role/reader", "ab", vec![], "ValidationError"),
        (READER, "a", vec![], "ValidationError"),
        (READER, &long, vec![], "ValidationError"),
        (READER, "a b", vec![], "ValidationError"),
        (READER, "a/b", vec![], "ValidationError"),
        (READER, "a=b,c.d@e-f+g_1", vec![], ""),
        (READER, "ab", vec![("Policy", "{}")], "MalformedPolicyDocument"),
        (READER, "ab", vec![("Policy", &long)], "ValidationError"),
        (
            READER,
            "ab",
            vec![("PolicyArns.member.1.arn", "arn:aws:iam::000000000000:policy/none")],
            "InvalidParameterValue",
        ),
        (
            READER,
            "ab",
            vec![("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess")],
            "InvalidParameterValue",
        ),
        (READER, "ab", vec![("ExternalId", "x")], "ValidationError"),
        (READER, "ab", vec![("ExternalId", "a b")], "ValidationError"),
        (READER, "ab", vec![("SerialNumber", "arn:aws:iam::000000000000:mfa/x")], "ValidationError"),
        (READER, "ab", vec![("TokenCode", "123456")], "ValidationError"),
        (READER, "ab", vec![("SourceIdentity", "me")], "ValidationError"),
        (READER, "ab", vec![("TransitiveTagKeys.member.1", "k")], "InvalidParameterValue"),
        (READER, "ab", vec![("Tags.member.1.Key", "aws:x"), ("Tags.member.1.Value", "1")], "ValidationError"),
        (READER, "ab", many, "PackedPolicyTooLarge"),
        (READER, "ab", vec![("Nonsense", "1")], "UnknownParameter"),
    ];
    for (arn, name, more, code) in rows {
        let pairs: Vec<(&str, &str)> =
            [("RoleArn", arn), ("RoleSessionName", name)].into_iter().chain(more.clone()).collect();
        let reply = world.call_as(STS, "AssumeRole", &pairs).await;
        assert_eq!(reply.code(), code, "{arn} {name} {more:?}: {}", reply.body);
    }
    for name in ["RoleArn", "RoleSessionName"] {
        let mut pairs = assume(READER, &[]);
        pairs.retain(|(found, _)| *found != name);
        assert_eq!(world.call_as(STS, "AssumeRole", &pairs).await.code(), "MissingParameter");
    }
    let reply = world.call_as(STS, "GetSessionToken", &[("TokenCode", "123456")]).await;
    assert_eq!(reply.code(), "ValidationError");
}

#[tokio::test]
async fn the_audit_trail_names_the_session_and_keeps_no_secret() {
    let world = world();
    let reply = world.call_as(STS, "AssumeRole", &assume(READER, &[("ExternalId", "x-1")])).await.ok();
    let (_, line) = world.audit.last();
    assert_eq!(
        (&line["eventName"], &line["eventSource"]),
        (&json!("AssumeRole"), &json!("sts.amazonaws.com"))
    );
    assert_eq!(line["resources"][0]["ARN"], READER);
    assert_eq!(line["requestParameters"]["RoleSessionName"], "tests");
    let session = taken(&reply);
    let secrets =
        [session.secret.expose().to_owned(), session.session_token.as_ref().unwrap().expose().to_owned()];
    let clean = |line: &serde_json::Value| {
        let text = line.to_string();
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())), "{text}");
    };
    clean(&line);
    world.by(&session, "ec2", "DescribeVpcs", &[]).await.ok();
    let (_, line) = world.audit.last();
    clean(&line);
    let who = &line["userIdentity"];
    assert_eq!(who["type"], "AssumedRole");
    assert_eq!(who["arn"], "arn:aws:sts::000000000000:assumed-role/reader/tests");
    assert_eq!(who["accessKeyId"], session.access_key_id);
    assert!(who.get("userName").is_none(), "{who}");
    let id = who["principalId"].as_str().unwrap().strip_suffix(":tests").unwrap();
    assert_eq!(
        who["sessionContext"],
        json!({
            "sessionIssuer": {
                "type": "Role", "principalId": id, "arn": READER, "accountId": "000000000000", "userName": "reader",
            },
            "attributes": {"creationDate": "2027-01-15T08:00:00Z", "mfaAuthenticated": "false"},
        })
    );
    let own = taken(&world.call_as(STS, "GetSessionToken", &[]).await.ok());
    world.by(&own, "sts", "GetCallerIdentity", &[]).await.ok();
    let (_, line) = world.audit.last();
    let who = &line["userIdentity"];
    assert_eq!((&who["type"], &who["userName"]), (&json!("IAMUser"), &json!("user")));
    assert_eq!(who["sessionContext"]["attributes"]["creationDate"], "2027-01-15T08:00:00Z");
    assert!(who["sessionContext"].get("sessionIssuer").is_none(), "{who}");
    // What decided, and that it was a trust policy.
    let named = trust(&format!(r#""{USER_ARN}""#), "");
    world.users.role("000000000000", "reader", &allow("*"), &named, &[]);
    world.users.policy("USER", &allow("ec2:*"));
    world.call_as(STS, "AssumeRole", &assume(READER, &[])).await.ok();
    let (_, line) = world.audit.last();
    assert_eq!(line["decision"], json!({"effect": "allow", "policy": "trust of reader", "statement": "0"}));
    // Past its end its call is a stranger's.
    world.clock.store(NOW + 100_000, Ordering::Relaxed);
    world.by(&session, "ec2", "DescribeVpcs", &[]).await;
    let (proof, line) = world.audit.last();
    assert_eq!((proof, &line["errorCode"]), (crate::Proof::Unproven, &json!("RequestExpired")));
}
