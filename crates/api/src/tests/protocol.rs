//! The protocol: envelopes, signatures, versions, services, regions, methods (spec: aws-client-vpn §2.0).

use super::{How, NOW, ROOT, World, allow, signed};
use crate::Config;

#[tokio::test]
async fn an_answer_has_the_form_clients_parse() {
    let world = World::new();
    let reply = world.call("DescribeVpcs", &[("Version", "2016-11-15")]).await.ok();
    assert_eq!(reply.content_type, "text/xml;charset=UTF-8");
    let start = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeVpcsResponse \
                 xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>";
    assert!(reply.body.starts_with(start), "{}", reply.body);
    assert_eq!(reply.text("requestId"), reply.request_id);
    let error = world.call("DescribeVpcs", &[("VpcId.1", "vpc-00000000")]).await;
    assert_eq!(error.text("RequestID"), error.request_id);
    assert_eq!(error.code(), "InvalidVpcID.NotFound");
}

#[tokio::test]
async fn get_works_as_post_does() {
    let world = World::new();
    world.call_as(How { method: "GET", ..How::default() }, "DescribeVpcs", &[]).await.ok();
    let mut how = How { method: "PUT", ..How::default() };
    assert_eq!(world.call_as(how, "DescribeVpcs", &[]).await.status, 405);
    how.method = "POST";
    let call = signed(&how, "/other", "", b"Action=DescribeVpcs".to_vec(), &[]);
    assert_eq!(world.send(call).await.status, 404);
}

#[tokio::test]
async fn versions() {
    let world = World::new();
    let reply = world.call("DescribeVpcs", &[("Version", "2014-10-01")]).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "NoSuchVersion"));
    assert!(reply.text("Message").contains("2014-10-01"));
    let sts = How { service: "sts", ..How::default() };
    assert_eq!(
        world.call_as(sts, "GetCallerIdentity", &[("Version", "2016-11-15")]).await.code(),
        "NoSuchVersion"
    );
}

#[tokio::test]
async fn signatures_that_do_not_hold() {
    let world = World::new();
    type Spoil = fn(&mut crate::Call);
    let rows: [(&str, How<'_>, Spoil, u16, &str); 7] = [
        ("unknown key", How { key: "AKIANOBODY", ..How::default() }, |_| {}, 401, "AuthFailure"),
        (
            "body changed",
            How::default(),
            |call| call.body = "Action=DescribeVpcs&Version=".into(),
            401,
            "AuthFailure",
        ),
        ("query added", How::default(), |call| call.query = "x=1".into(), 401, "AuthFailure"),
        ("too old", How { signed_at: NOW - 1_000, ..How::default() }, |_| {}, 400, "RequestExpired"),
        ("from the future", How { signed_at: NOW + 1_000, ..How::default() }, |_| {}, 400, "RequestExpired"),
        (
            "header cut",
            How::default(),
            |call| {
                call.headers
                    .iter_mut()
                    .filter(|(n, _)| n == "authorization")
                    .for_each(|(_, v)| v.truncate(40))
            },
            400,
            "IncompleteSignature",
        ),
        ("host changed", How::default(), |call| call.headers[0].1 = "other".into(), 401, "AuthFailure"),
    ];
    for (what, how, spoil, status, code) in rows {
        let mut call = signed(&how, "/", "", b"Action=DescribeVpcs".to_vec(), &[]);
        spoil(&mut call);
        let reply = world.send(call).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{what}");
    }
}

#[tokio::test]
async fn each_service_answers_in_its_own_words() {
    let world = World::new();
    let unknown_key = How { key: "AKIANOBODY", service: "sts", ..How::default() };
    let reply = world.call_as(unknown_key, "GetCallerIdentity", &[]).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "InvalidClientTokenId"));
    assert!(reply.body.contains("<ErrorResponse"), "{}", reply.body);
    assert_eq!(reply.text("Type"), "Sender");
    let (status, body) = world.acm("AKIANOBODY", "ListCertificates", &serde_json::json!({})).await;
    assert_eq!((status, &body["__type"]), (400, &"UnrecognizedClientException".into()));
    let (status, body) = world.acm(ROOT, "RequestCertificate", &serde_json::json!({})).await;
    assert_eq!((status, &body["__type"]), (400, &"UnknownOperationException".into()));
    let rds = How { service: "rds", ..How::default() };
    let reply = world.call_as(rds, "DescribeDBInstances", &[("Version", "2014-10-31")]).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidAction"));
    let lambda = How { service: "lambda", ..How::default() };
    let call = signed(&lambda, "/", "", b"{}".to_vec(), &[("x-amz-target", "AWSLambda.Invoke")]);
    let reply = world.send(call).await;
    assert!(reply.body.contains("UnknownOperationException"), "{}", reply.body);
}

/// A signature for one service is not good for another.
#[tokio::test]
async fn the_scope_names_the_service() {
    let world = World::new();
    let how = How { service: "logs", ..How::default() };
    let call =
        signed(&how, "/", "", b"{}".to_vec(), &[("x-amz-target", "CertificateManager.ListCertificates")]);
    let reply = world.send(call).await;
    assert!(reply.status == 400 && reply.body.contains("InvalidSignatureException"), "{}", reply.body);
}

#[tokio::test]
async fn who_am_i() {
    let world = World::new();
    world.users.policy("AUDITOR", &allow("s3:*"));
    let sts = How { service: "sts", ..How::default() };
    let reply = world.call_as(sts, "GetCallerIdentity", &[("Version", "2011-06-15")]).await.ok();
    assert_eq!(reply.text("Arn"), "arn:aws:iam::000000000000:root");
    assert_eq!((reply.text("Account"), reply.text("UserId")), ("000000000000".into(), "000000000000".into()));
    assert!(reply.body.contains("<GetCallerIdentityResult><Arn>"), "{}", reply.body);
    assert_eq!(reply.text("RequestId"), reply.request_id);
    let reply = world.call_as(How { key: "AUDITOR", ..sts }, "GetCallerIdentity", &[]).await.ok();
    assert_eq!(reply.text("Arn"), "arn:aws:iam::000000000000:user/auditor");
    assert!(reply.text("UserId").starts_with("AIDA"));
}

#[tokio::test]
async fn regions_are_apart_and_may_be_limited() {
    let world = World::with(Config {
        regions: vec!["us-east-1".parse().unwrap(), "eu-west-2".parse().unwrap()],
        ..Config::default()
    });
    let vpc = world.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().text("vpcId");
    let london = How { region: "eu-west-2", ..How::default() };
    assert_eq!(
        world.call_as(london, "DescribeVpcs", &[("VpcId.1", &vpc)]).await.code(),
        "InvalidVpcID.NotFound"
    );
    for region in ["us-west-1", "no/region"] {
        let reply = world.call_as(How { region, ..How::default() }, "DescribeVpcs", &[]).await;
        assert!(reply.status >= 400, "{region}");
    }
}

#[tokio::test]
async fn an_open_server_takes_any_credentials_of_local_programs() {
    let world = World::with(Config { dev_open: true, ..Config::default() });
    let how = How { key: "AKIAANYTHING", ..How::default() };
    world.call_as(how, "DescribeVpcs", &[]).await.ok();
    let mut call = signed(&how, "/", "", b"Action=DescribeVpcs".to_vec(), &[]);
    call.headers.push(("origin".into(), "http://evil.example".into()));
    assert_eq!(world.send(call).await.code(), "OperationNotPermitted");
    let mut call = signed(&how, "/", "", b"Action=DescribeVpcs".to_vec(), &[]);
    call.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(world.send(call).await.code(), "MissingAuthenticationToken");
}

#[tokio::test]
async fn malformed_forms() {
    let world = World::new();
    let rows = [
        ("Action=DescribeVpcs&Action=DescribeVpcs", "InvalidQueryParameter"),
        ("Action=DescribeVpcs&X=%zz", "MalformedQueryString"),
        ("", "MissingAction"),
        ("Version=2016-11-15", "MissingAction"),
        ("Action=", "MissingAction"),
    ];
    for (body, code) in rows {
        let reply = world.send(signed(&How::default(), "/", "", body.as_bytes().to_vec(), &[])).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{body}");
    }
    let large = vec![b'a'; crate::MAX_BODY_BYTES + 1];
    assert_eq!(world.send(signed(&How::default(), "/", "", large, &[])).await.status, 413);
}

#[tokio::test]
async fn conditions_of_policies_see_the_resource() {
    let world = World::new();
    let endpoint = world
        .endpoint(&[
            ("TagSpecification.1.ResourceType", "client-vpn-endpoint"),
            ("TagSpecification.1.Tag.1.Key", "team"),
            ("TagSpecification.1.Tag.1.Value", "net"),
        ])
        .await;
    let policy = |team: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"ec2:*ClientVpn*",
            "Resource":"arn:aws:ec2:*:*:client-vpn-endpoint/*","Condition":{{"StringEquals":{{"aws:ResourceTag/team":"{team}"}}}}}}]}}"#
        )
    };
    world.users.policy("NET", &policy("net"));
    world.users.policy("DEV", &policy("dev"));
    let pairs = [("ClientVpnEndpointId", endpoint.as_str())];
    for (key, code) in [("NET", ""), ("DEV", "UnauthorizedOperation")] {
        let reply =
            world.call_as(How { key, ..How::default() }, "ExportClientVpnClientConfiguration", &pairs).await;
        assert_eq!(reply.code(), code, "{key}");
    }
}

#[tokio::test]
async fn tagging_at_creation_needs_its_own_permission() {
    let world = World::new();
    world.users.policy("MAKER", &allow("ec2:CreateVpc"));
    let how = How { key: "MAKER", ..How::default() };
    let tagged = [
        ("CidrBlock", "10.0.0.0/16"),
        ("TagSpecification.1.ResourceType", "vpc"),
        ("TagSpecification.1.Tag.1.Key", "a"),
        ("TagSpecification.1.Tag.1.Value", "b"),
    ];
    assert_eq!(world.call_as(how, "CreateVpc", &tagged[..1]).await.code(), "");
    assert_eq!(world.call_as(how, "CreateVpc", &tagged).await.code(), "UnauthorizedOperation");
    world.users.policy("MAKER", &allow("ec2:Create*"));
    assert_eq!(world.call_as(how, "CreateVpc", &tagged).await.code(), "");
}

#[tokio::test]
async fn a_presigned_request_is_good_until_it_expires() {
    let world = World::new();
    for (signed_at, code) in [(NOW, ""), (NOW - 59, ""), (NOW - 61, "RequestExpired")] {
        let headers = [("host".to_owned(), "127.0.0.1:8585".to_owned())];
        let query = "Action=DescribeVpcs&Version=2016-11-15";
        let request =
            aws_auth::SignedRequest { method: "GET", path: "/", query, headers: &headers, body: b"" };
        let query = aws_auth::presign(&request, &super::credentials(ROOT), "us-east-1", "ec2", 60, signed_at)
            .unwrap();
        let call = crate::Call {
            method: "GET".into(),
            path: "/".into(),
            query,
            headers: headers.to_vec(),
            body: Default::default(),
            peer: [127, 0, 0, 1].into(),
            secure: false,
        };
        assert_eq!(world.send(call).await.code(), code, "{signed_at}");
    }
}
