//! Forwarding: what goes to an upstream and what never does, as whom, and what comes of an upstream that fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_auth::{Credentials, Secret, SignedRequest};
use bytes::Bytes;
use serde_json::json;

use super::{How, NOW, ROOT, World, allow, credentials, signed};
use crate::{
    Call, Config, Destination, MAX_FORWARDED_AT_ONCE, Throttle, Transport, Upstream, UpstreamFault,
    UpstreamUrl,
};

const UPSTREAM_KEY: &str = "AKIAUPSTREAM00000000";
const UPSTREAM_SECRET: &str = "an upstream's secret of forty characters";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");

/// What the upstream of a test does.
#[derive(Clone, Copy)]
enum Does {
    Answers(u16),
    Fails(UpstreamFault),
    Hangs,
}

/// An upstream that keeps what it gets.
struct Double {
    does: Does,
    got: Mutex<Vec<(Destination, http::Request<Bytes>)>>,
}

#[async_trait::async_trait]
impl Transport for Double {
    async fn send(
        &self,
        to: &Destination,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, UpstreamFault> {
        self.got.lock().unwrap().push((to.clone(), request));
        match self.does {
            Does::Hangs => std::future::pending().await,
            Does::Fails(fault) => Err(fault),
            Does::Answers(status) => Ok(http::Response::builder()
                .status(status)
                .header("content-type", "text/plain")
                .header("x-amzn-requestid", "theirs")
                .header("connection", "close")
                .body(Bytes::from_static(b"<theirs/>"))
                .unwrap()),
        }
    }
}

impl Double {
    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

fn upstream(double: &Arc<Double>, allow: &[&str]) -> Upstream {
    Upstream::new(
        UpstreamUrl::parse("http://upstream.example.com:5000").unwrap(),
        Credentials {
            access_key_id: UPSTREAM_KEY.to_owned(),
            secret: Secret::new(UPSTREAM_SECRET),
            session_token: Some(Secret::new("an upstream's token")),
        },
        allow.iter().map(|service| (*service).to_owned()),
        Duration::from_secs(30),
        double.clone(),
    )
}

fn world(config: Config, does: Does, allow: &[&str]) -> (World, Arc<Double>) {
    let double = Arc::new(Double { does, got: Mutex::default() });
    let world = World::with(config);
    let api = world.api.with_upstream(upstream(&double, allow));
    (World { api, ..world }, double)
}

fn plain(allow: &[&str]) -> (World, Arc<Double>) {
    world(Config::default(), Does::Answers(200), allow)
}

/// A call of a Query service.
fn query(key: &str, service: &str, action: &str) -> Call {
    signed(&How { key, service, ..How::default() }, "/", "", format!("Action={action}").into_bytes(), &[FORM])
}

/// A call of a JSON service.
fn json_call(key: &str, service: &str, target: &str) -> Call {
    let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
    signed(&How { key, service, ..How::default() }, "/", "", b"{}".to_vec(), &headers)
}

/// A call of a REST service.
fn rest(key: &str, service: &str, method: &str, path: &str) -> Call {
    signed(&How { key, service, method, ..How::default() }, path, "", Vec::new(), &[])
}

#[tokio::test]
async fn a_read_that_is_not_built_is_signed_anew_and_passed_through() {
    let (world, double) = plain(&[]);
    let answer = world.api.handle(&query(ROOT, "ec2", "DescribeRegions")).await;
    assert_eq!((answer.status, answer.content_type.as_ref()), (200, "text/plain"));
    assert_eq!(answer.body.as_ref(), b"<theirs/>");
    let header = |name: &str| answer.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(header("x-amzn-requestid"), Some("theirs"));
    assert_eq!(header("x-bascule-request-id"), Some(answer.request_id.as_str()));
    assert_eq!(header("connection"), None);

    let got = double.got.lock().unwrap();
    let (to, request) = &got[0];
    assert_eq!((to.host.as_str(), to.port, to.tls), ("upstream.example.com", 5000, false));
    assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/"));
    assert_eq!(request.body().as_ref(), b"Action=DescribeRegions");
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let text = format!("{headers:?}");
    assert!(!text.contains(ROOT) && text.contains("an upstream's token"), "{text}");
    assert_eq!(request.headers()["host"], "upstream.example.com:5000");
    assert_eq!(request.headers()["x-bascule-forwarded"], "1");
    // As the upstream will check it.
    let again =
        SignedRequest { method: "POST", path: "/", query: "", headers: &headers, body: request.body() };
    let presented = aws_auth::parse(&again).unwrap();
    assert_eq!(presented.access_key_id, UPSTREAM_KEY);
    assert_eq!((presented.scope.service.as_str(), presented.scope.region.as_str()), ("ec2", "us-east-1"));
    aws_auth::verify(&again, &presented, &Secret::new(UPSTREAM_SECRET), NOW).unwrap();
}

#[tokio::test]
async fn what_is_built_and_what_is_not_authentic_stays_here() {
    let (world, double) = plain(&["ec2", "sts", "iam", "acm", "logs", "lambda", "ssm"]);
    let mut unsigned = rest(ROOT, "lambda", "GET", "/2015-03-31/functions");
    unsigned.headers.retain(|(name, _)| name != "authorization");
    let mut spoilt = rest(ROOT, "lambda", "GET", "/2015-03-31/functions");
    spoilt.path = "/2015-03-31/functions/f".into();
    let mut looped = query(ROOT, "ec2", "DescribeRegions");
    looped.headers.push(("x-bascule-forwarded".into(), "1".into()));
    let mut looped_rest = rest(ROOT, "lambda", "GET", "/2015-03-31/functions");
    looped_rest.headers.push(("x-bascule-forwarded".into(), "1".into()));
    let old =
        signed(&How::default(), "/", "", b"Action=DescribeRegions&Version=2014-10-01".to_vec(), &[FORM]);
    for (call, status, code) in [
        (query(ROOT, "ec2", "DescribeVpcs"), 200, "DescribeVpcsResponse"),
        (query(ROOT, "sts", "GetCallerIdentity"), 200, "GetCallerIdentityResult"),
        (json_call(ROOT, "acm", "CertificateManager.ListCertificates"), 200, "CertificateSummaryList"),
        (query(ROOT, "ec2", "CreateVpc"), 400, "MissingParameter"),
        (query(ROOT, "ec2", ""), 400, "MissingAction"),
        (query(ROOT, "ec2", "Describe%2A"), 400, "InvalidAction"),
        (old, 400, "NoSuchVersion"),
        (rest(ROOT, "ec2", "GET", "/elsewhere"), 404, "InvalidRequest"),
        (query("AKIANOBODY", "ec2", "DescribeRegions"), 401, "AuthFailure"),
        (query("AKIANOBODY", "sns", "ListTopics"), 403, "InvalidClientTokenId"),
        (json_call("AKIANOBODY", "ssm", "AmazonSSM.GetParameter"), 400, "UnrecognizedClientException"),
        (rest("AKIANOBODY", "s3", "GET", "/b"), 403, "InvalidAccessKeyId"),
        (spoilt, 400, "InvalidSignatureException"),
        (unsigned, 404, "InvalidRequest"),
        // A target of one service under the signature of another.
        (json_call(ROOT, "acm", "AmazonSSM.GetParameter"), 400, "UnknownOperationException"),
        (json_call(ROOT, "ssm", "TrentService.ListKeys"), 400, "UnknownOperationException"),
        (looped, 400, "UnsupportedOperation"),
        (looped_rest, 404, "InvalidRequest"),
    ] {
        let reply = world.send(call.clone()).await;
        assert_eq!(reply.status, status, "{call:?}: {}", reply.body);
        assert!(reply.body.contains(code), "{call:?}: {}", reply.body);
    }
    assert_eq!(double.count(), 0);
}

#[tokio::test]
async fn without_an_upstream_everything_is_as_it_was() {
    let open = Config { dev_open: true, ..Config::default() };
    let (dev, double) = world(open, Does::Answers(200), &["lambda"]);
    for world in [World::new(), dev] {
        for (call, status, code) in [
            (query(ROOT, "ec2", "DescribeRegions"), 400, "UnsupportedOperation"),
            (query(ROOT, "ec2", "RunInstances"), 400, "InvalidAction"),
            (query(ROOT, "sns", "ListTopics"), 400, "InvalidAction"),
            (json_call(ROOT, "ssm", "AmazonSSM.GetParameter"), 400, "UnknownOperationException"),
            (rest(ROOT, "lambda", "GET", "/2015-03-31/functions"), 404, "InvalidRequest"),
        ] {
            let reply = world.send(call.clone()).await;
            assert_eq!(reply.status, status, "{call:?}: {}", reply.body);
            assert!(reply.body.contains(code), "{call:?}: {}", reply.body);
        }
    }
    assert_eq!(double.count(), 0, "nothing is forwarded for callers who need no credentials");
}

#[tokio::test]
async fn writes_pass_for_the_services_that_are_named() {
    let (world, double) = plain(&["lambda", "cloudwatch"]);
    for call in [
        rest(ROOT, "lambda", "POST", "/2015-03-31/functions"),
        query(ROOT, "monitoring", "PutMetricAlarm"),
        query(ROOT, "sns", "ListTopics"),
        rest(ROOT, "s3", "HEAD", "/b/k"),
        rest(ROOT, "batch", "GET", "/v1/anything"),
    ] {
        assert_eq!(world.api.handle(&call).await.status, 200, "{call:?}");
    }
    assert_eq!(double.count(), 5);
    for (call, status, code, service) in [
        (query(ROOT, "ec2", "RunInstances"), 403, "UnauthorizedOperation", "ec2"),
        (query(ROOT, "sts", "GetFederationToken"), 403, "AccessDenied", "sts"),
        (query(ROOT, "iam", "CreateRole"), 403, "AccessDenied", "iam"),
        (json_call(ROOT, "ssm", "AmazonSSM.PutParameter"), 400, "AccessDeniedException", "ssm"),
        (
            json_call(ROOT, "acm", "CertificateManager.RequestCertificate"),
            400,
            "AccessDeniedException",
            "acm",
        ),
        (rest(ROOT, "s3", "PUT", "/b"), 403, "AccessDenied", "s3"),
        (rest(ROOT, "batch", "POST", "/v1/anything"), 400, "AccessDeniedException", "batch"),
    ] {
        let reply = world.send(call.clone()).await;
        assert_eq!(reply.status, status, "{call:?}: {}", reply.body);
        for word in [code, "[upstream]", service] {
            assert!(reply.body.contains(word), "{call:?}: {word} in {}", reply.body);
        }
        let (_, line) = world.audit.last();
        assert!(line.get("forwarded").is_none(), "{line}");
        assert_eq!(line["errorCode"], code);
    }
    assert_eq!(double.count(), 5);
}

#[tokio::test]
async fn a_caller_needs_the_permission_here_first() {
    let (world, double) = plain(&["lambda", "batch", "ssm"]);
    world.users.policy("READER", &allow("lambda:Get*"));
    world.users.policy("LAMBDA", &allow("lambda:*"));
    world.users.policy("BATCH", &allow("batch:*"));
    let but = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
        {"Sid":"No","Effect":"Deny","Action":["batch:DeleteJobQueue","ssm:Put*"],"Resource":"*"}]}"#;
    world.users.policy("BUT", but);
    let function = "/2015-03-31/functions/f";
    let put = "AmazonSSM.PutParameter";
    for (call, allowed, asked) in [
        (rest("READER", "lambda", "GET", function), true, "lambda:GetFunction"),
        (rest("READER", "lambda", "DELETE", function), false, "lambda:DeleteFunction"),
        (rest("READER", "lambda", "GET", "/2015-03-31/functions"), false, "lambda:ListFunctions"),
        (rest("READER", "lambda", "GET", "/unheard-of"), false, "lambda:*"),
        (rest("LAMBDA", "lambda", "GET", "/unheard-of"), true, "lambda:*"),
        (rest("LAMBDA", "batch", "POST", "/v1/x"), false, "batch:*"),
        (rest("BATCH", "batch", "POST", "/v1/x"), true, "batch:*"),
        (rest("BUT", "batch", "POST", "/v1/x"), false, "batch:*"),
        (rest("BUT", "lambda", "DELETE", function), true, "lambda:DeleteFunction"),
        (json_call("BUT", "ssm", put), false, "ssm:PutParameter"),
        (json_call("BUT", "ssm", "AmazonSSM.DeleteParameter"), true, "ssm:DeleteParameter"),
        (query("READER", "ec2", "DescribeRegions"), false, "ec2:DescribeRegions"),
    ] {
        let before = double.count();
        let status = world.api.handle(&call).await.status;
        assert_eq!(status == 200, allowed, "{call:?} {status}");
        assert_eq!(double.count() - before, usize::from(allowed), "{call:?}");
        let (_, line) = world.audit.last();
        assert_eq!(
            (&line["resources"][0]["action"], &line["resources"][0]["ARN"]),
            (&json!(asked), &json!("*"))
        );
    }
    world.api.handle(&json_call("BUT", "ssm", put)).await;
    let (_, line) = world.audit.last();
    assert_eq!(line["decision"], json!({"effect": "explicit-deny", "policy": "test", "statement": "No"}));
    assert_eq!(
        (&line["eventSource"], &line["eventName"]),
        (&json!("ssm.amazonaws.com"), &json!("PutParameter"))
    );
}

#[tokio::test]
async fn the_audit_trail_has_both_identities() {
    let (world, _) = world(Config::default(), Does::Answers(404), &[]);
    world.users.policy("READER", &allow("lambda:Get*"));
    let answer = world.api.handle(&rest("READER", "lambda", "GET", "/2015-03-31/functions/f")).await;
    assert_eq!(answer.status, 404);
    let (_, line) = world.audit.last();
    assert_eq!(
        line["forwarded"],
        json!({
            "upstream": "upstream.example.com:5000", "accessKeyId": UPSTREAM_KEY, "method": "GET",
            "httpStatus": 404, "requestID": "theirs",
        })
    );
    assert_eq!(line["userIdentity"]["accessKeyId"], "READER");
    assert_eq!(line["requestID"], answer.request_id.as_str());
    assert_eq!((&line["httpStatus"], &line["eventSource"]), (&json!(404), &json!("lambda.amazonaws.com")));
    assert!(!line.to_string().contains("secret") && !line.to_string().contains("token"), "{line}");
    assert_eq!(line["eventName"], "GetFunction");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_fails_is_the_services_own_error() {
    for does in [
        Does::Fails(UpstreamFault::Unreachable),
        Does::Fails(UpstreamFault::Garbled),
        Does::Fails(UpstreamFault::TooLong),
        Does::Hangs,
        Does::Answers(101),
    ] {
        let (world, _) = world(Config::default(), does, &[]);
        for (call, code) in [
            (query(ROOT, "ec2", "DescribeRegions"), "<Code>Unavailable</Code>"),
            (query(ROOT, "sns", "ListTopics"), "<Code>ServiceUnavailable</Code>"),
            (json_call(ROOT, "ssm", "AmazonSSM.GetParameter"), "ServiceUnavailableException"),
            (rest(ROOT, "s3", "GET", "/b"), "<Error><Code>ServiceUnavailable</Code>"),
        ] {
            let reply =
                tokio::time::timeout(Duration::from_secs(31), world.send(call)).await.expect("in time");
            assert_eq!(reply.status, 503);
            assert!(reply.body.contains(code) && reply.body.contains("upstream"), "{}", reply.body);
            let (_, line) = world.audit.last();
            assert!(line["forwarded"].get("httpStatus").is_none(), "{line}");
            assert_eq!(line["forwarded"]["accessKeyId"], UPSTREAM_KEY);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_under_way() {
    let (world, double) = world(Config::default(), Does::Hangs, &[]);
    let world = Arc::new(world);
    let running: Vec<_> = (0..MAX_FORWARDED_AT_ONCE)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.send(query(ROOT, "ec2", "DescribeRegions")).await.status })
        })
        .collect();
    while double.count() < MAX_FORWARDED_AT_ONCE {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.send(query(ROOT, "ec2", "DescribeRegions")).await.code(), "RequestLimitExceeded");
    let reply = world.send(rest(ROOT, "s3", "GET", "/b")).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "SlowDown"));
    // Our own work goes on meanwhile.
    world.call("DescribeVpcs", &[]).await.ok();
    for call in running {
        assert_eq!(call.await.unwrap(), 503, "each ends at its deadline");
    }
    let (last, before) = (world.send(query(ROOT, "ec2", "DescribeRegions")), double.count());
    assert_eq!((last.await.status, double.count()), (503, before + 1), "and makes room");
}

#[tokio::test]
async fn forwarded_calls_are_throttled_too() {
    let mut throttle = Throttle::default();
    (throttle.read.burst, throttle.write.burst) = (2, 1);
    let config = Config { throttle: Some(throttle), ..Config::default() };
    let (world, double) = world(config, Does::Answers(200), &["sns"]);
    let mut codes = Vec::new();
    for action in ["ListTopics", "GetTopicAttributes", "ListTopics", "DeleteTopic", "CreateTopic"] {
        codes.push(world.api.handle(&query(ROOT, "sns", action)).await.status);
    }
    assert_eq!((codes, double.count()), (vec![200, 200, 400, 200, 400], 3));
}

#[tokio::test]
async fn a_presigned_call_goes_without_its_signature() {
    let (world, double) = plain(&[]);
    let headers = vec![("host".to_owned(), "127.0.0.1:8585".to_owned())];
    let request = SignedRequest {
        method: "GET",
        path: "/bucket/key",
        query: "response-expires=x",
        headers: &headers,
        body: b"",
    };
    let query = aws_auth::presign(&request, &credentials(ROOT), "eu-west-1", "s3", 60, NOW).unwrap();
    let call = Call { query, headers, path: "/bucket/key".into(), ..rest(ROOT, "s3", "GET", "/") };
    assert_eq!(world.api.handle(&call).await.status, 200);
    let got = double.got.lock().unwrap();
    assert_eq!(got[0].1.uri().to_string(), "/bucket/key?response-expires=x");
    let authorization = got[0].1.headers()["authorization"].to_str().unwrap();
    assert!(authorization.contains("/eu-west-1/s3/") && !authorization.contains(ROOT), "{authorization}");
}

/// Where only some regions are served, services without regions are still reached by the one they are signed for.
#[tokio::test]
async fn regions_hold_for_forwarded_calls_too() {
    let config = Config { regions: vec!["eu-west-1".parse().unwrap()], ..Config::default() };
    let (world, double) = world(config, Does::Answers(200), &[]);
    assert_eq!(world.api.handle(&query(ROOT, "sns", "ListTopics")).await.status, 403);
    assert_eq!(double.count(), 0);
    assert_eq!(world.api.handle(&rest(ROOT, "route53", "GET", "/2013-04-01/hostedzone")).await.status, 200);
}

#[test]
fn no_secret_is_shown() {
    let double = Arc::new(Double { does: Does::Hangs, got: Mutex::default() });
    let shown = format!("{:?}", upstream(&double, &["s3"]));
    assert!(shown.contains("upstream.example.com") && shown.contains("s3"), "{shown}");
    assert!(!shown.contains("secret") && !shown.contains("token"), "{shown}");
}
