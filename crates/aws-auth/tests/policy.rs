//! IAM policies: how AWS documents the language, as tables of documents, requests and answers.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use aws_auth::policy::{Decision, Policy, Request, StatementRef, evaluate};
use proptest::prelude::*;

const VPC: &str = "arn:aws:ec2:eu-central-1:111122223333:vpc/vpc-1";
const ENDPOINT: &str = "arn:aws:ec2:eu-central-1:111122223333:client-vpn-endpoint/cvpn-endpoint-1";

/// `key=a|b; other=c`: condition keys with their values; `key=` has the empty text, `key!` no value.
fn context(text: &str) -> BTreeMap<String, Vec<String>> {
    text.split(';')
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| match line.split_once('=') {
            Some((key, values)) => (key.to_owned(), values.split('|').map(str::to_owned).collect()),
            None => (line.trim_end_matches('!').to_owned(), Vec::new()),
        })
        .collect()
}

fn policy(statements: &str) -> Policy {
    Policy::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)).unwrap()
}

fn ask(policies: &[Policy], action: &str, resource: &str, keys: &str) -> char {
    match evaluate(policies, &Request { action, resource, context: &context(keys) }) {
        Decision::Allow { .. } => 'A',
        Decision::ExplicitDeny { .. } => 'D',
        Decision::ImplicitDeny => '-',
    }
}

#[test]
fn actions_and_resources() {
    let rows = [
        (r#""Action":"*","Resource":"*""#, "ec2:DescribeVpcs", "*", 'A'),
        (r#""Action":"*:*","Resource":"*""#, "ec2:DescribeVpcs", "*", 'A'),
        (r#""Action":"ec2:*","Resource":"*""#, "ec2:DescribeVpcs", VPC, 'A'),
        (r#""Action":"ec2:*","Resource":"*""#, "sts:GetCallerIdentity", "*", '-'),
        (r#""Action":"EC2:describe*","Resource":"*""#, "ec2:DescribeVpcs", "*", 'A'),
        (r#""Action":"ec2:Describe?pcs","Resource":"*""#, "ec2:DescribeVpcs", "*", 'A'),
        (r#""Action":"ec2:DescribeVpc","Resource":"*""#, "ec2:DescribeVpcs", "*", '-'),
        (
            r#""Action":["ec2:A","ec2:DescribeVpcs"],"Resource":["arn:aws:s3:::x","*"]"#,
            "ec2:DescribeVpcs",
            "*",
            'A',
        ),
        (r#""NotAction":"iam:*","Resource":"*""#, "ec2:DescribeVpcs", "*", 'A'),
        (r#""NotAction":["iam:*","ec2:Desc*"],"Resource":"*""#, "ec2:DescribeVpcs", "*", '-'),
        (r#""Action":"ec2:*","NotResource":"arn:aws:ec2:*:*:vpc/*""#, "ec2:CreateTags", VPC, '-'),
        (r#""Action":"ec2:*","NotResource":"arn:aws:ec2:*:*:vpc/*""#, "ec2:CreateTags", ENDPOINT, 'A'),
        // An action that knows no resource needs "*".
        (r#""Action":"ec2:*","Resource":"arn:aws:ec2:*:*:*""#, "ec2:DescribeVpcs", "*", '-'),
        (
            r#""Action":"ec2:*","Resource":"arn:aws:ec2:*:111122223333:client-vpn-endpoint/*""#,
            "ec2:X",
            ENDPOINT,
            'A',
        ),
        (
            r#""Action":"ec2:*","Resource":"arn:aws:ec2:*:111122223333:client-vpn-endpoint/*""#,
            "ec2:X",
            VPC,
            '-',
        ),
        (
            r#""Action":"ec2:*","Resource":"arn:aws:ec2:*:999999999999:client-vpn-endpoint/*""#,
            "ec2:X",
            ENDPOINT,
            '-',
        ),
        (r#""Action":"ec2:*","Resource":"arn:aws:ec2:*:*:VPC/*""#, "ec2:X", VPC, '-'),
    ];
    for (elements, action, resource, expected) in rows {
        let allow = policy(&format!(r#"{{"Effect":"Allow",{elements}}}"#));
        assert_eq!(ask(std::slice::from_ref(&allow), action, resource, ""), expected, "{elements}");
        // The same words in a deny: it forbids exactly what the allow permitted.
        let all = policy(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#);
        let deny = policy(&format!(r#"{{"Effect":"Deny",{elements}}}"#));
        let denied = if expected == 'A' { 'D' } else { 'A' };
        assert_eq!(ask(&[all, deny.clone()], action, resource, ""), denied, "deny {elements}");
        assert_ne!(ask(&[deny, allow], action, resource, ""), 'A', "both {elements}");
    }
}

#[test]
fn conditions() {
    // Condition block, context, outcome of an Allow with it.
    let rows: &[(&str, &str, bool)] = &[
        ("", "", true),
        // Strings.
        (r#""StringEquals":{"a:k":"x"}"#, "a:k=x", true),
        (r#""StringEquals":{"a:k":"x"}"#, "A:K=x", true),
        (r#""StringEquals":{"a:k":"x"}"#, "a:k=X", false),
        (r#""StringEquals":{"a:k":"x"}"#, "", false),
        (r#""StringEquals":{"a:k":"x"}"#, "a:k!", false),
        (r#""StringEquals":{"a:k":["x","y"]}"#, "a:k=y", true),
        (r#""StringEquals":{"a:k":"x*"}"#, "a:k=xy", false),
        (r#""StringEquals":{"a:k":"x*"}"#, "a:k=x*", true),
        (r#""StringEquals":{"a:k":""}"#, "a:k=", true),
        (r#""StringEquals":{"a:k":true}"#, "a:k=true", true),
        (r#""StringEquals":{"a:k":7}"#, "a:k=7", true),
        (r#""StringNotEquals":{"a:k":"x"}"#, "a:k=y", true),
        (r#""StringNotEquals":{"a:k":"x"}"#, "a:k=x", false),
        (r#""StringNotEquals":{"a:k":["x","y"]}"#, "a:k=y", false),
        (r#""StringNotEquals":{"a:k":["x","y"]}"#, "a:k=z", true),
        (r#""StringNotEquals":{"a:k":"x"}"#, "", true),
        (r#""StringEqualsIgnoreCase":{"a:k":"Äx"}"#, "a:k=äX", true),
        (r#""StringNotEqualsIgnoreCase":{"a:k":"x"}"#, "a:k=X", false),
        (r#""StringLike":{"a:k":"x*z?"}"#, "a:k=xyz1", true),
        (r#""StringLike":{"a:k":"x*z?"}"#, "a:k=xyz", false),
        (r#""StringLike":{"a:k":["q","X*"]}"#, "a:k=xyz", false),
        (r#""StringNotLike":{"a:k":"x*"}"#, "a:k=xy", false),
        (r#""StringNotLike":{"a:k":"x*"}"#, "", true),
        // Between operators and between keys: and. Between values: or.
        (r#""StringEquals":{"a:k":"x","a:l":"y"}"#, "a:k=x;a:l=y", true),
        (r#""StringEquals":{"a:k":"x","a:l":"y"}"#, "a:k=x;a:l=z", false),
        (r#""StringEquals":{"a:k":"x"},"Bool":{"a:l":"true"}"#, "a:k=x;a:l=false", false),
        // IfExists, Null.
        (r#""StringEqualsIfExists":{"a:k":"x"}"#, "", true),
        (r#""StringEqualsIfExists":{"a:k":"x"}"#, "a:k=y", false),
        (r#""StringNotEqualsIfExists":{"a:k":"x"}"#, "", true),
        (r#""BoolIfExists":{"aws:MultiFactorAuthPresent":false}"#, "", true),
        (r#""Null":{"a:k":"true"}"#, "", true),
        (r#""Null":{"a:k":"true"}"#, "a:k!", true),
        (r#""Null":{"a:k":true}"#, "a:k=", false),
        (r#""Null":{"a:k":"false"}"#, "a:k=", true),
        (r#""Null":{"a:k":"false"}"#, "", false),
        // Numbers.
        (r#""NumericEquals":{"a:k":"10"}"#, "a:k=10.0", true),
        (r#""NumericNotEquals":{"a:k":"10"}"#, "a:k=10", false),
        (r#""NumericLessThan":{"a:k":10}"#, "a:k=9", true),
        (r#""NumericLessThan":{"a:k":10}"#, "a:k=10", false),
        (r#""NumericLessThanEquals":{"a:k":10}"#, "a:k=10", true),
        (r#""NumericGreaterThan":{"a:k":"-1.5"}"#, "a:k=-1", true),
        (r#""NumericGreaterThanEquals":{"a:k":[100,10]}"#, "a:k=10", true),
        (r#""NumericGreaterThan":{"a:k":1}"#, "a:k=many", false),
        (r#""NumericGreaterThan":{"a:k":1}"#, "a:k=inf", false),
        (r#""NumericGreaterThan":{"a:k":1}"#, "a:k=1e9", false),
        // Dates.
        (
            r#""DateGreaterThan":{"aws:CurrentTime":"2020-04-01T00:00:00Z"}"#,
            "aws:CurrentTime=2020-04-01T00:00:01Z",
            true,
        ),
        (
            r#""DateGreaterThan":{"aws:CurrentTime":"2020-04-01T00:00:00Z"}"#,
            "aws:CurrentTime=2020-04-01T01:00:00+02:00",
            false,
        ),
        (
            r#""DateLessThan":{"aws:CurrentTime":"2020-04-01"}"#,
            "aws:CurrentTime=2020-03-31T23:59:59.9Z",
            true,
        ),
        (
            r#""DateLessThanEquals":{"aws:CurrentTime":"2020-04-01T00:00Z"}"#,
            "aws:CurrentTime=2020-04-01T00:00:00Z",
            true,
        ),
        (
            r#""DateGreaterThanEquals":{"aws:EpochTime":"1585699200"}"#,
            "aws:EpochTime=2020-04-01T00:00:00Z",
            true,
        ),
        (r#""DateEquals":{"aws:EpochTime":1585699200}"#, "aws:EpochTime=1585699200", true),
        (r#""DateNotEquals":{"aws:EpochTime":1585699200}"#, "aws:EpochTime=1585699200", false),
        (r#""DateLessThan":{"aws:CurrentTime":"2020-04-01"}"#, "aws:CurrentTime=soon", false),
        // Booleans.
        (r#""Bool":{"aws:SecureTransport":"true"}"#, "aws:SecureTransport=true", true),
        (r#""Bool":{"aws:SecureTransport":true}"#, "aws:SecureTransport=True", true),
        (r#""Bool":{"aws:SecureTransport":"true"}"#, "aws:SecureTransport=false", false),
        (r#""Bool":{"aws:SecureTransport":"false"}"#, "", false),
        // Addresses.
        (r#""IpAddress":{"aws:SourceIp":"203.0.113.0/24"}"#, "aws:SourceIp=203.0.113.77", true),
        (r#""IpAddress":{"aws:SourceIp":"203.0.113.0/24"}"#, "aws:SourceIp=203.0.114.1", false),
        (
            r#""IpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:DB8:1234:5678::/64"]}"#,
            "aws:SourceIp=2001:db8:1234:5678::1",
            true,
        ),
        (r#""IpAddress":{"aws:SourceIp":"203.0.113.7"}"#, "aws:SourceIp=203.0.113.7", true),
        (r#""IpAddress":{"aws:SourceIp":"203.0.113.0/24"}"#, "aws:SourceIp=::ffff:203.0.113.7", true),
        (r#""IpAddress":{"aws:SourceIp":"0.0.0.0/0"}"#, "aws:SourceIp=::1", false),
        (r#""IpAddress":{"aws:SourceIp":"0.0.0.0/0"}"#, "aws:SourceIp=localhost", false),
        (
            r#""NotIpAddress":{"aws:SourceIp":["192.0.2.0/24","203.0.113.0/24"]}"#,
            "aws:SourceIp=203.0.113.77",
            false,
        ),
        (r#""NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}"#, "aws:SourceIp=198.51.100.1", true),
        (r#""NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}"#, "", true),
        // ARNs: part by part.
        (
            r#""ArnEquals":{"a:k":"arn:aws:acm:*:111122223333:certificate/*"}"#,
            "a:k=arn:aws:acm:r:111122223333:certificate/c:d",
            true,
        ),
        (
            r#""ArnLike":{"a:k":"arn:aws:acm:*:certificate/c:*"}"#,
            "a:k=arn:aws:acm:r:1:certificate/c:x",
            false,
        ),
        (r#""ArnLike":{"a:k":"arn:aws:acm:*:*:*"}"#, "a:k=arn:aws:acm:r:1", false),
        (r#""ArnLike":{"a:k":"*"}"#, "a:k=arn:aws:acm:r:1:x", true),
        (r#""ArnNotLike":{"a:k":"arn:aws:acm:*:*:*"}"#, "a:k=arn:aws:acm:r:1:x", false),
        (r#""ArnNotEquals":{"a:k":"arn:aws:acm:*:*:*"}"#, "", true),
        // Variables.
        (
            r#""StringEquals":{"aws:ResourceTag/owner":"${aws:username}"}"#,
            "aws:username=mary;aws:ResourceTag/owner=mary",
            true,
        ),
        (
            r#""StringEquals":{"aws:ResourceTag/owner":"${aws:username}"}"#,
            "aws:username=bob;aws:ResourceTag/owner=mary",
            false,
        ),
        (
            r#""StringEquals":{"aws:ResourceTag/owner":"${aws:username}"}"#,
            "aws:ResourceTag/owner=mary",
            false,
        ),
        (
            r#""StringEquals":{"aws:ResourceTag/owner":["${aws:username}","mary"]}"#,
            "aws:ResourceTag/owner=mary",
            true,
        ),
        (
            r#""StringNotEquals":{"aws:ResourceTag/owner":"${aws:username}"}"#,
            "aws:ResourceTag/owner=mary",
            false,
        ),
        (r#""StringLike":{"a:k":"home/${aws:username, 'nobody'}/*"}"#, "a:k=home/nobody/x", true),
        (r#""StringLike":{"a:k":"${*}"}"#, "a:k=x", false),
        (
            r#""ArnLike":{"a:k":"arn:aws:iam::${aws:PrincipalAccount}:user/*"}"#,
            "a:k=arn:aws:iam::1:user/x;aws:PrincipalAccount=1",
            true,
        ),
        (
            r#""ArnLike":{"a:k":"arn:aws:iam::${aws:PrincipalAccount}:user/*"}"#,
            "a:k=arn:aws:iam::1:user/x",
            false,
        ),
        // Several values in the request.
        (
            r#""ForAllValues:StringEquals":{"aws:TagKeys":["environment","cost-center"]}"#,
            "aws:TagKeys=environment",
            true,
        ),
        (
            r#""ForAllValues:StringEquals":{"aws:TagKeys":["environment","cost-center"]}"#,
            "aws:TagKeys=environment|cost-center",
            true,
        ),
        (
            r#""ForAllValues:StringEquals":{"aws:TagKeys":["environment","cost-center"]}"#,
            "aws:TagKeys=environment|dept",
            false,
        ),
        (r#""ForAllValues:StringEquals":{"aws:TagKeys":["environment","cost-center"]}"#, "", true),
        (r#""ForAllValues:StringNotEquals":{"aws:TagKeys":["a","b"]}"#, "aws:TagKeys=c|d", true),
        (r#""ForAllValues:StringNotEquals":{"aws:TagKeys":["a","b"]}"#, "aws:TagKeys=c|a", false),
        (
            r#""ForAnyValue:StringEquals":{"aws:TagKeys":["environment","webserver"]}"#,
            "aws:TagKeys=dept|environment",
            true,
        ),
        (
            r#""ForAnyValue:StringEquals":{"aws:TagKeys":["environment","webserver"]}"#,
            "aws:TagKeys=dept",
            false,
        ),
        (r#""ForAnyValue:StringEquals":{"aws:TagKeys":["environment"]}"#, "", false),
        (r#""ForAnyValue:StringNotEquals":{"aws:TagKeys":"a"}"#, "", false),
        (r#""ForAnyValue:StringNotEquals":{"aws:TagKeys":"a"}"#, "aws:TagKeys=a|b", true),
        (r#""ForAnyValue:StringLikeIfExists":{"aws:TagKeys":"a*"}"#, "", true),
        // Without a qualifier an allow wants all of them.
        (r#""StringEquals":{"aws:TagKeys":"a"}"#, "aws:TagKeys=a|b", false),
        (r#""StringNotEquals":{"aws:TagKeys":"a"}"#, "aws:TagKeys=a|b", false),
    ];
    for (block, keys, expected) in rows {
        let text = format!(r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{{{block}}}}}"#);
        let found = ask(&[policy(&text)], "ec2:X", VPC, keys);
        assert_eq!(found == 'A', *expected, "{block} on {keys}");
    }
}

#[test]
fn a_deny_takes_the_doubtful_case() {
    for (elements, keys, expected) in [
        (
            r#""Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:TagKeys":"a"}}"#,
            "aws:TagKeys=a|b",
            'D',
        ),
        (
            r#""Action":"*","Resource":"*","Condition":{"StringNotEquals":{"a:k":"${aws:username}"}}"#,
            "a:k=x",
            'D',
        ),
        (r#""Action":"*","NotResource":"arn:aws:ec2:*:*:vpc/${aws:username}""#, "", 'D'),
        (r#""Action":"*","Resource":"arn:aws:ec2:*:*:vpc/${aws:username}""#, "", 'A'),
    ] {
        let policies = [
            policy(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#),
            policy(&format!(r#"{{"Effect":"Deny",{elements}}}"#)),
        ];
        assert_eq!(ask(&policies, "ec2:X", VPC, keys), expected, "{elements}");
    }
    let allow =
        policy(r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:ec2:*:*:vpc/${aws:username}"}"#);
    assert_eq!(ask(&[allow], "ec2:X", VPC, ""), '-');
}

#[test]
fn the_decision_names_its_statement() {
    let policies = [
        policy(
            r#"{"Effect":"Allow","Action":"iam:*","Resource":"*"},
               {"Sid":"Look","Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}"#,
        ),
        policy(
            r#"{"Effect":"Allow","Action":"ec2:*","Resource":"*"},
               {"Sid":"NoDelete","Effect":"Deny","Action":"ec2:Delete*","Resource":"*"}"#,
        ),
    ];
    let empty = BTreeMap::new();
    let decide = |action| evaluate(&policies, &Request { action, resource: "*", context: &empty });
    let at = |policy, statement, sid: Option<&str>| StatementRef {
        policy,
        statement,
        sid: sid.map(str::to_owned),
    };
    assert_eq!(decide("ec2:DescribeVpcs"), Decision::Allow { statement: at(0, 1, Some("Look")) });
    assert_eq!(decide("ec2:CreateVpc"), Decision::Allow { statement: at(1, 0, None) });
    assert_eq!(decide("ec2:DeleteVpc"), Decision::ExplicitDeny { statement: at(1, 1, Some("NoDelete")) });
    assert_eq!(decide("s3:GetObject"), Decision::ImplicitDeny);
    assert_eq!(
        evaluate(&[], &Request { action: "a:b", resource: "*", context: &empty }),
        Decision::ImplicitDeny
    );
    assert!(decide("ec2:CreateVpc").is_allowed() && !decide("ec2:DeleteVpc").is_allowed());
}

#[test]
fn a_client_vpn_operator() {
    // Tag on create, work on one's own, look at all, only from the office and over TLS.
    let operator = policy(
        r#"{"Sid":"Look","Effect":"Allow","Action":"ec2:DescribeClientVpn*","Resource":"*"},
           {"Sid":"Make","Effect":"Allow","Action":["ec2:CreateClientVpnEndpoint","ec2:CreateTags"],
            "Resource":"arn:aws:ec2:*:111122223333:client-vpn-endpoint/*",
            "Condition":{"StringEquals":{"aws:RequestTag/team":"${aws:PrincipalTag/team}"},
                         "ForAllValues:StringEquals":{"aws:TagKeys":["team","Name"]}}},
           {"Sid":"Work","Effect":"Allow","NotAction":["ec2:DeleteClientVpnEndpoint","iam:*"],
            "Resource":"arn:aws:ec2:*:111122223333:*",
            "Condition":{"StringEquals":{"ec2:ResourceTag/team":"${aws:PrincipalTag/team}"}}},
           {"Sid":"Office","Effect":"Deny","Action":"*","Resource":"*",
            "Condition":{"NotIpAddress":{"aws:SourceIp":"198.51.100.0/24"}}},
           {"Sid":"Tls","Effect":"Deny","Action":"*","Resource":"*",
            "Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
    );
    let who = "aws:PrincipalTag/team=net;aws:SecureTransport=true;aws:SourceIp=198.51.100.9";
    for (action, resource, keys, expected) in [
        ("ec2:DescribeClientVpnEndpoints", "*", who.to_owned(), 'A'),
        ("ec2:DescribeVpcs", "*", who.to_owned(), '-'),
        ("ec2:DescribeClientVpnEndpoints", "*", who.replace("100.9", "101.9"), 'D'),
        ("ec2:DescribeClientVpnEndpoints", "*", who.replace("Transport=true", "Transport=false"), 'D'),
        (
            "ec2:CreateClientVpnEndpoint",
            ENDPOINT,
            format!("{who};aws:RequestTag/team=net;aws:TagKeys=team"),
            'A',
        ),
        (
            "ec2:CreateClientVpnEndpoint",
            ENDPOINT,
            format!("{who};aws:RequestTag/team=net;aws:TagKeys=team|x"),
            '-',
        ),
        (
            "ec2:CreateClientVpnEndpoint",
            ENDPOINT,
            format!("{who};aws:RequestTag/team=hr;aws:TagKeys=team"),
            '-',
        ),
        ("ec2:CreateClientVpnEndpoint", ENDPOINT, who.to_owned(), '-'),
        ("ec2:DisassociateClientVpnTargetNetwork", ENDPOINT, format!("{who};ec2:ResourceTag/team=net"), 'A'),
        ("ec2:DisassociateClientVpnTargetNetwork", ENDPOINT, format!("{who};ec2:ResourceTag/team=hr"), '-'),
        ("ec2:DeleteClientVpnEndpoint", ENDPOINT, format!("{who};ec2:ResourceTag/team=net"), '-'),
    ] {
        assert_eq!(
            ask(std::slice::from_ref(&operator), action, resource, &keys),
            expected,
            "{action} {keys}"
        );
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let statement = r#""Effect":"Allow","Action":"*","Resource":"*""#;
    let whole = |inner: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{{{inner}}}]}}"#);
    let with = |inner: &str| whole(&format!("{statement},{inner}"));
    let condition = |inner: &str| with(&format!(r#""Condition":{{{inner}}}"#));
    let rows: Vec<(String, &str)> = vec![
        (String::new(), "document"),
        ("[]".into(), "document: not a JSON object"),
        ("{".into(), "document"),
        (format!("{} ", "{}").repeat(40_000), "document: longer than"),
        ("[".repeat(1_000), "document"),
        ("{}".into(), "Statement: is missing"),
        (r#"{"Statement":[]}"#.into(), "Statement: expecting between"),
        (r#"{"Statement":"x"}"#.into(), "Statement: has the wrong type"),
        (r#"{"Statement":["x"]}"#.into(), "Statement[0]: not a JSON object"),
        (
            format!(r#"{{"Version":"2011-10-17","Statement":{{{statement}}}}}"#),
            "Version: \"2011-10-17\" is not",
        ),
        (format!(r#"{{"Version":2012,"Statement":{{{statement}}}}}"#), "Version: has the wrong type"),
        (format!(r#"{{"statement":{{{statement}}}}}"#), "statement: is not an element"),
        (format!(r#"{{"Statement":{{{statement}}},"Statement":{{{statement}}}}}"#), "comes twice"),
        (with(r#""Effect":"Deny""#), "comes twice"),
        (with(r#""effect":"Deny""#), "Statement[0].effect: is not an element"),
        (with(r#""Principal":"*""#), "Statement[0].Principal: has no place"),
        (with(r#""NotAction":"*""#), "both Action and NotAction"),
        (with(r#""NotResource":"*""#), "both Resource and NotResource"),
        (with(r#""Sid":"a b""#), "Sid: expecting letters"),
        (with(r#""Sid":1"#), "Sid: has the wrong type"),
        (with(r#""Condition":[]"#), "Condition: has the wrong type"),
        (whole(r#""Action":"*","Resource":"*""#), "Statement[0]: Effect is missing"),
        (whole(r#""Effect":"Allow","Resource":"*""#), "Action or NotAction is missing"),
        (whole(r#""Effect":"Allow","Action":"*""#), "Resource or NotResource is missing"),
        (whole(r#""Effect":"allow","Action":"*","Resource":"*""#), "Effect: expecting"),
        (whole(r#""Effect":"Allow","Action":[],"Resource":"*""#), "Action: expecting between 1"),
        (whole(r#""Effect":"Allow","Action":["*",1],"Resource":"*""#), "Action: expecting strings"),
        (
            whole(r#""Effect":"Allow","Action":"DescribeVpcs","Resource":"*""#),
            "\"DescribeVpcs\" is not an action",
        ),
        (whole(r#""Effect":"Allow","Action":"ec*:X","Resource":"*""#), "is not an action"),
        (whole(r#""Effect":"Allow","Action":"ec2:","Resource":"*""#), "is not an action"),
        (whole(r#""Effect":"Allow","Action":"ec2:A:b","Resource":"*""#), "is not an action"),
        (whole(r#""Effect":"Allow","Action":"*","Resource":"vpc-1""#), "must be an ARN"),
        (
            whole(r#""Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:*:*:vpc/${aws:username""#),
            "not closed",
        ),
        (
            whole(r#""Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:*:*:vpc/${username}""#),
            "not a policy variable",
        ),
        (condition(r#""StringMatches":{"a:k":"x"}"#), "operator \"StringMatches\" is not supported"),
        (condition(r#""stringequals":{"a:k":"x"}"#), "is not supported"),
        (condition(r#""StringLessThan":{"a:k":"x"}"#), "is not supported"),
        (condition(r#""BinaryEquals":{"a:k":"eA=="}"#), "is not supported"),
        (condition(r#""ForSomeValues:StringEquals":{"a:k":"x"}"#), "is not supported"),
        (condition(r#""ForAnyValue:Null":{"a:k":"true"}"#), "is not supported"),
        (condition(r#""NullIfExists":{"a:k":"true"}"#), "is not supported"),
        (condition(r#""StringEqualsIfExistsIfExists":{"a:k":"x"}"#), "is not supported"),
        (condition(r#""StringEquals":"x""#), "expecting an object"),
        (condition(r#""StringEquals":{"k":"x"}"#), "Condition.StringEquals.k: \"k\" is not a condition key"),
        (condition(r#""StringEquals":{"a:*":"x"}"#), "is not a condition key"),
        (condition(r#""StringEquals":{"a:k":"x","a:k":"y"}"#), "comes twice"),
        (condition(r#""StringEquals":{"a:k":[]}"#), "is empty"),
        (condition(r#""StringEquals":{"a:k":null}"#), "must be a string"),
        (condition(r#""StringEquals":{"a:k":["x",["y"]]}"#), "must be a string"),
        (condition(r#""StringEquals":{"a:k":"${x"}"#), "not closed"),
        (condition(r#""NumericEquals":{"a:k":"ten"}"#), "is not a number"),
        (condition(r#""NumericEquals":{"a:k":"${aws:a}"}"#), "is not a number"),
        (condition(r#""NumericEquals":{"a:k":"nan"}"#), "is not a number"),
        (condition(r#""DateEquals":{"a:k":"yesterday"}"#), "is not a date"),
        (condition(r#""DateEquals":{"a:k":"2020-04-01T00:00:00"}"#), "is not a date"),
        (condition(r#""Bool":{"a:k":"yes"}"#), "is not true or false"),
        (condition(r#""Null":{"a:k":"x"}"#), "is not true or false"),
        (condition(r#""IpAddress":{"a:k":"203.0.113.0/33"}"#), "is not an address range"),
        (condition(r#""ArnLike":{"a:k":"arn:aws:ec2"}"#), "is not an ARN"),
        (condition(r#""ArnLike":{"a:k":"x:aws:ec2:r:1:v"}"#), "is not an ARN"),
        (
            format!(r#"{{"Statement":[{{"Sid":"A",{statement}}},{{"Sid":"A",{statement}}}]}}"#),
            "the Sid \"A\" comes twice",
        ),
    ];
    for (text, expected) in rows {
        let error = Policy::parse(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text}\n{error}");
    }
}

#[test]
fn the_old_version_has_no_variables() {
    let text = |version: &str| {
        format!(
            r#"{{{version}"Id":"x","Statement":{{"Effect":"Allow","Action":"*","Resource":"*",
                "Condition":{{"StringEquals":{{"a:k":"${{aws:username}}"}}}}}}}}"#
        )
    };
    for (version, value, expected) in [
        ("", "${aws:username}", 'A'),
        ("", "mary", '-'),
        (r#""Version":"2008-10-17","#, "${aws:username}", 'A'),
        (r#""Version":"2012-10-17","#, "${aws:username}", '-'),
        (r#""Version":"2012-10-17","#, "mary", 'A'),
    ] {
        let policy = Policy::parse(&text(version)).unwrap();
        assert_eq!(policy.statement_count(), 1);
        let found = ask(&[policy], "ec2:X", "*", &format!("aws:username=mary;a:k={value}"));
        assert_eq!(found, expected, "{version} {value}");
    }
}

/// A glob the plain way, to compare with.
fn glob(pattern: &[char], value: &[char]) -> bool {
    match (pattern.first(), value.first()) {
        (None, None) => true,
        (Some('*'), _) => glob(&pattern[1..], value) || !value.is_empty() && glob(pattern, &value[1..]),
        (Some('?'), Some(_)) => glob(&pattern[1..], &value[1..]),
        (Some(a), Some(b)) => a == b && glob(&pattern[1..], &value[1..]),
        _ => false,
    }
}

proptest! {
    #[test]
    fn wildcards_match_as_the_plain_way_does(pattern in "[ab*?]{0,8}", value in "[ab]{0,8}") {
        let text = format!(
            r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{{"StringLike":{{"a:k":"{pattern}"}}}}}}"#
        );
        let found = ask(&[policy(&text)], "a:b", "*", &format!("a:k={value}"));
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(found == 'A', glob(&chars(&pattern), &chars(&value)));
    }

    #[test]
    fn no_document_panics(text in ".{0,200}") {
        let _ = Policy::parse(&text);
    }

    #[test]
    fn no_values_panic(
        operator in "(ForAllValues:|ForAnyValue:)?(String(Not)?(Equals|Like)|NumericLessThan|DateEquals|Bool|NotIpAddress|ArnLike|Null)(IfExists)?",
        value in "[${}aws:,'*?0-9.-]{0,16}|2020-[0-9-]{5,8}",
        found in ".{0,10}",
    ) {
        let text = serde_json::json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {operator: {"a:k": value}},
        }});
        if let Ok(policy) = Policy::parse(&text.to_string()) {
            let context = BTreeMap::from([("a:k".to_owned(), vec![found])]);
            evaluate(&[policy], &Request { action: "a:b", resource: "*", context: &context });
        }
    }

    #[test]
    fn a_deny_of_all_leaves_nothing(allow in "(ec2|iam|\\*):[A-Za-z*?]{1,5}", action in "(ec2|iam):[A-Za-z]{1,8}") {
        let Ok(allowed) = Policy::parse(&format!(
            r#"{{"Statement":{{"Effect":"Allow","Action":"{allow}","Resource":"*"}}}}"#
        )) else { return Ok(()) };
        let denied = policy(r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#);
        prop_assert_eq!(ask(&[allowed, denied], &action, "*", ""), 'D');
    }
}

#[test]
fn a_policy_says_what_it_asks_for() {
    let policy = policy(
        r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:*:${aws:PrincipalAccount}:vpc/*",
            "Condition":{"StringEquals":{"aws:ResourceTag/team":["${aws:PrincipalTag/team, 'none'}","${*}"]},
                         "ArnLike":{"a:k":"arn:aws:iam::1:user/${aws:username}"},
                         "Null":{"a:l":"true"}}}"#,
    );
    assert_eq!(
        policy.variables().into_iter().collect::<Vec<_>>(),
        ["aws:PrincipalAccount", "aws:PrincipalTag/team", "aws:username"]
    );
    assert_eq!(
        policy.condition_keys().into_iter().collect::<Vec<_>>(),
        ["a:k", "a:l", "aws:ResourceTag/team"]
    );
}
