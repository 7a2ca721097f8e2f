//! IAM evaluation against an independent evaluator: 10,000 random policies and requests, from a fixed seed, and a table of
//! cases as AWS documents them. The other evaluator is the crate `iam-rs`.
//!
//! What is not generated, because that crate departs from AWS's documentation (IAM user guide, the pages on condition
//! operators, on policy variables, and on conditions with several values):
//! - `ArnEquals` and `ArnNotEquals` with wildcards: documented as the same as `ArnLike`; the crate compares texts.
//! - Variables in conditions: the crate takes them as plain text. Variables without a value and without a default: the
//!   statement must not match; the crate puts the empty text.
//! - A star that reaches over the colons of an ARN in `Resource`: the crate matches segment by segment, and no wildcard in
//!   the service. So resources here have their six segments, and no colon in the last.
//! - `IfExists` with `ForAnyValue` or `ForAllValues`, and `Null` with a list: the crate has no such operators, or looks at
//!   the first value only.
//! - A key with several values under an operator without a set qualifier: AWS warns of it without saying what comes; ours
//!   wants all of them for an allow and any for a deny, the crate takes any.
//! - A resource that is `*`, IPv4 addresses written as IPv6: the crate has no word for them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use aws_auth::policy::{self, Policy};
use iam_rs::{Arn, Context, ContextValue, IAMPolicy, IAMRequest, PolicyEvaluator, Principal, PrincipalId};
use serde_json::{Map, Value, json};

const CASES: usize = 10_000;
const SEED: u64 = 0x0ba5_c01e;

/// A small generator (splitmix64): the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// Once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }

    /// One to three of them; one alone is not always a list.
    fn some(&mut self, from: &[&str]) -> Value {
        let count = 1 + self.below(3);
        let values: Vec<&str> = (0..count).map(|_| self.pick(from)).collect();
        match values.as_slice() {
            [one] if self.once_in(2) => json!(one),
            values => json!(values),
        }
    }
}

const ACTIONS: &[&str] =
    &["ec2:DescribeVpcs", "ec2:CreateVpc", "ec2:DeleteClientVpnEndpoint", "iam:GetUser", "logs:PutLogEvents"];
const ACTION_PATTERNS: &[&str] = &[
    "*",
    "*:*",
    "ec2:*",
    "ec2:Describe*",
    "EC2:createvpc",
    "ec2:?reateVpc",
    "ec2:*Vpc*",
    "ec2:DescribeVpcs",
    "iam:*",
    "iam:GetUser",
    "logs:Put*s",
    "s3:*",
];
const RESOURCES: &[&str] = &[
    "arn:aws:ec2:us-east-1:000000000000:vpc/vpc-1",
    "arn:aws:ec2:eu-west-1:000000000000:vpc/vpc-22",
    "arn:aws:ec2:us-east-1:111111111111:client-vpn-endpoint/cvpn-endpoint-1",
    "arn:aws:iam::000000000000:user/mary",
    "arn:aws:iam::000000000000:user/none",
];
const RESOURCE_PATTERNS: &[&str] = &[
    "*",
    "arn:aws:ec2:*:*:*",
    "arn:aws:ec2:*:000000000000:vpc/*",
    "arn:aws:ec2:us-*:*:vpc/vpc-?",
    "arn:aws:ec2:?s-east-1:*:*/*-1",
    "arn:aws:ec2:us-east-1:111111111111:client-vpn-endpoint/*",
    "arn:aws:ec2:us-east-1:000000000000:vpc/vpc-1",
    "arn:aws:iam::000000000000:user/${aws:username}",
    "arn:aws:iam::*:user/${aws:PrincipalTag/team, 'none'}",
    "arn:aws:iam::000000000000:user/m*",
    "arn:aws:s3:::bucket/*",
];

/// A condition: operators, the key as policies may write it, values.
type Rows = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

const SINGLE: &[Rows] = &[
    (
        &[
            "StringEquals",
            "StringNotEquals",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "ForAnyValue:StringEquals",
            "ForAllValues:StringNotEquals",
        ],
        &["ec2:ResourceTag/team", "EC2:resourcetag/Team", "aws:username"],
        &["red", "Red", "blue", "mary", "r*"],
    ),
    (
        &["StringLike", "StringNotLike", "ForAllValues:StringLike", "ForAnyValue:StringNotLike"],
        &["ec2:ResourceTag/team", "aws:username"],
        &["r*", "?ed", "*", "m??y", "RED", "blue"],
    ),
    (
        &["ArnLike", "ArnNotLike"],
        &["aws:PrincipalArn"],
        &["arn:aws:iam::*:user/*", "arn:aws:iam::000000000000:user/m?ry", "arn:aws:iam::1?1111111111:*"],
    ),
    (
        &["ArnEquals", "ArnNotEquals"],
        &["aws:PrincipalArn"],
        &["arn:aws:iam::000000000000:user/mary", "arn:aws:iam::111111111111:user/bob"],
    ),
    (
        &[
            "NumericEquals",
            "NumericNotEquals",
            "NumericLessThan",
            "NumericLessThanEquals",
            "NumericGreaterThan",
            "NumericGreaterThanEquals",
        ],
        &["ec2:Count"],
        &["-3", "0", "2.5", "10", "10.0"],
    ),
    (
        &[
            "DateEquals",
            "DateNotEquals",
            "DateLessThan",
            "DateLessThanEquals",
            "DateGreaterThan",
            "DateGreaterThanEquals",
        ],
        &["aws:CurrentTime", "aws:currenttime"],
        &["2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00", "2027-06-30T12:00:00Z", "1767225600"],
    ),
    (&["Bool"], &["aws:SecureTransport"], &["true", "false"]),
    (
        &["IpAddress", "NotIpAddress"],
        &["aws:SourceIp", "aws:sourceIP"],
        &["198.51.100.0/24", "198.51.100.7", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1"],
    ),
];
const SEVERAL: Rows = (
    &[
        "ForAllValues:StringEquals",
        "ForAnyValue:StringEquals",
        "ForAllValues:StringNotEquals",
        "ForAnyValue:StringNotEquals",
        "ForAllValues:StringLike",
        "ForAnyValue:StringNotLike",
        "ForAnyValue:StringEqualsIgnoreCase",
    ],
    &["aws:TagKeys"],
    &["a", "b", "c", "A", "*"],
);

fn condition(dice: &mut Dice) -> Value {
    let mut block = Map::new();
    for _ in 0..=dice.below(2) {
        let (operators, keys, values) = match dice.below(SINGLE.len() + 2) {
            at if at < SINGLE.len() => SINGLE[at],
            at if at == SINGLE.len() => SEVERAL,
            _ => {
                let key = dice.pick(&["aws:TagKeys", "ec2:ResourceTag/team", "aws:absent"]);
                block.insert("Null".to_owned(), json!({ key: dice.pick(&["true", "false"]) }));
                continue;
            }
        };
        let mut operator = dice.pick(operators).to_owned();
        if !operator.contains(':') && dice.once_in(4) {
            operator.push_str("IfExists");
        }
        let key = dice.pick(keys);
        block.insert(operator, json!({ key: dice.some(values) }));
    }
    Value::Object(block)
}

fn document(dice: &mut Dice) -> Value {
    let statements: Vec<Value> = (0..=dice.below(3))
        .map(|_| {
            let mut statement = Map::new();
            let effect = if dice.once_in(3) { "Deny" } else { "Allow" };
            statement.insert("Effect".to_owned(), json!(effect));
            let not = if dice.once_in(6) { "Not" } else { "" };
            statement.insert(format!("{not}Action"), dice.some(ACTION_PATTERNS));
            let not = if dice.once_in(6) { "Not" } else { "" };
            statement.insert(format!("{not}Resource"), dice.some(RESOURCE_PATTERNS));
            if !dice.once_in(3) {
                statement.insert("Condition".to_owned(), condition(dice));
            }
            Value::Object(statement)
        })
        .collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

type Keys = BTreeMap<String, Vec<String>>;

fn keys(dice: &mut Dice) -> Keys {
    let mut keys = Keys::new();
    let mut put = |key: &str, values: &[&str]| {
        keys.insert(key.to_owned(), values.iter().map(|value| (*value).to_owned()).collect());
    };
    put("aws:username", &[dice.pick(&["mary", "bob"])]);
    for (key, values) in [
        ("ec2:ResourceTag/team", &["red", "Red", "blue"] as &[&str]),
        ("aws:PrincipalTag/team", &["mary", "red"]),
        ("aws:PrincipalArn", &["arn:aws:iam::000000000000:user/mary", "arn:aws:iam::111111111111:user/bob"]),
        ("ec2:Count", &["-3", "0", "2.5", "10", "many"]),
        ("aws:CurrentTime", &["2026-01-01T00:00:00Z", "2026-09-09T09:09:09Z", "2028-01-01T00:00:00Z"]),
        ("aws:SecureTransport", &["true", "false"]),
        ("aws:SourceIp", &["198.51.100.7", "203.0.113.1", "2001:db8::1", "2001:db9::1"]),
    ] {
        if !dice.once_in(4) {
            put(key, &[dice.pick(values)]);
        }
    }
    let tags: Vec<&str> = ["a", "b", "c"].into_iter().filter(|_| dice.once_in(2)).collect();
    if !tags.is_empty() {
        put("aws:TagKeys", &tags);
    }
    keys
}

/// `A`, `D` or `-`, as ours decides.
fn ours(documents: &[Value], action: &str, resource: &str, keys: &Keys) -> char {
    let policies: Vec<Policy> =
        documents.iter().map(|document| Policy::parse(&document.to_string()).unwrap()).collect();
    match policy::evaluate(&policies, &policy::Request { action, resource, context: keys }) {
        policy::Decision::Allow { .. } => 'A',
        policy::Decision::ExplicitDeny { .. } => 'D',
        policy::Decision::ImplicitDeny => '-',
    }
}

/// The same as the other evaluator decides.
fn theirs(documents: &[Value], action: &str, resource: &str, keys: &Keys) -> char {
    let policies: Vec<IAMPolicy> =
        documents.iter().map(|document| serde_json::from_value(document.clone()).unwrap()).collect();
    let mut context = Context::new();
    for (key, values) in keys {
        let value = match values.as_slice() {
            [one] if key == "aws:SecureTransport" => ContextValue::Boolean(one == "true"),
            [one] if key != "aws:TagKeys" => ContextValue::String(one.clone()),
            several => ContextValue::StringList(several.to_vec()),
        };
        context.insert(key.clone(), value);
    }
    let caller = Principal::Aws(PrincipalId::String("arn:aws:iam::000000000000:user/mary".to_owned()));
    let mut request = IAMRequest::new(caller, action, Arn::parse(resource).unwrap());
    request.context = context;
    match PolicyEvaluator::with_policies(policies).evaluate(&request).unwrap().decision {
        iam_rs::Decision::Allow => 'A',
        iam_rs::Decision::Deny => 'D',
        iam_rs::Decision::NotApplicable => '-',
    }
}

#[test]
fn ten_thousand_random_cases_are_decided_alike() {
    let mut dice = Dice(SEED);
    let mut found: BTreeMap<char, usize> = BTreeMap::new();
    for case in 0..CASES {
        let documents: Vec<Value> = (0..=dice.below(2)).map(|_| document(&mut dice)).collect();
        let (action, resource, keys) = (dice.pick(ACTIONS), dice.pick(RESOURCES), keys(&mut dice));
        let (here, there) =
            (ours(&documents, action, resource, &keys), theirs(&documents, action, resource, &keys));
        assert_eq!(here, there, "case {case}: {action} on {resource} with {keys:?} by {documents:?}");
        *found.entry(here).or_default() += 1;
    }
    // Every answer is common: nothing is decided alike because nothing is decided.
    for answer in ['A', 'D', '-'] {
        assert!(found.get(&answer).is_some_and(|count| *count > CASES / 10), "{found:?}");
    }
}

fn tags<'v>(values: &[&'v str]) -> (&'static str, Vec<&'v str>) {
    ("aws:TagKeys", values.to_vec())
}

/// Cases of AWS's documentation (IAM user guide): a name, statements, keys, the answer, and whether the other evaluator
/// is asked as well.
#[test]
fn documented_cases() {
    let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let when = |effect: &str, condition: Value| json!({"Effect": effect, "Action": "*", "Resource": "*", "Condition": condition});
    let department = json!({"StringLike": {"aws:PrincipalTag/department": ["finance", "hr", "legal"]}});
    let role = json!({"ArnLike": {"aws:PrincipalArn": ["arn:aws:iam::222222222222:user/Ana", "arn:aws:iam::*:user/Mary"]}});
    let both = json!({
        "StringLike": {"aws:PrincipalTag/department": ["finance", "hr", "legal"]},
        "ArnLike": {"aws:PrincipalArn": ["arn:aws:iam::222222222222:user/Ana", "arn:aws:iam::*:user/Mary"]},
    });
    let ana = ("aws:PrincipalArn", vec!["arn:aws:iam::222222222222:user/Ana"]);
    let all_of = json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]}});
    let any_of = json!({"ForAnyValue:StringEquals": {"aws:TagKeys": ["environment", "webserver"]}});
    let not_all = json!({"ForAllValues:StringNotEquals": {"aws:TagKeys": ["key1", "key2"]}});
    let vpc = json!({"StringNotEquals": {"aws:SourceVpc": ["vpc-111111", "vpc-222222"]}});
    type Case<'c> = (&'c str, Vec<Value>, Vec<(&'c str, Vec<&'c str>)>, char, bool);
    let rows: Vec<Case<'_>> = vec![
        (
            "all requests are denied by default",
            vec![json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})],
            vec![],
            '-',
            true,
        ),
        ("an explicit allow overrides the default", vec![all.clone()], vec![], 'A', true),
        (
            "an explicit deny overrides every allow",
            vec![all.clone(), when("Deny", json!({}))],
            vec![],
            'D',
            true,
        ),
        ("and the order does not matter", vec![when("Deny", json!({})), all.clone()], vec![], 'D', true),
        (
            "a deny whose condition does not hold is none",
            vec![all.clone(), when("Deny", all_of.clone())],
            vec![tags(&["dept"])],
            'A',
            true,
        ),
        (
            "values are alternatives",
            vec![when("Allow", department.clone())],
            vec![("aws:PrincipalTag/department", vec!["hr"])],
            'A',
            true,
        ),
        (
            "none of the values",
            vec![when("Allow", department)],
            vec![("aws:PrincipalTag/department", vec!["it"])],
            '-',
            true,
        ),
        (
            "a wildcard in an ARN",
            vec![when("Allow", role.clone())],
            vec![("aws:PrincipalArn", vec!["arn:aws:iam::1:user/Mary"])],
            'A',
            true,
        ),
        (
            "operators hold together",
            vec![when("Allow", both.clone())],
            vec![("aws:PrincipalTag/department", vec!["hr"]), ana.clone()],
            'A',
            true,
        ),
        (
            "one of two operators is not enough",
            vec![when("Allow", both)],
            vec![("aws:PrincipalTag/department", vec!["it"]), ana.clone()],
            '-',
            true,
        ),
        ("an absent key matches nothing", vec![when("Allow", role)], vec![], '-', true),
        ("but fulfils a negation", vec![when("Allow", vpc.clone())], vec![], 'A', true),
        (
            "a negation wants none of the values",
            vec![when("Allow", vpc.clone())],
            vec![("aws:SourceVpc", vec!["vpc-222222"])],
            '-',
            true,
        ),
        (
            "a negation with another value",
            vec![when("Allow", vpc)],
            vec![("aws:SourceVpc", vec!["vpc-3"])],
            'A',
            true,
        ),
        (
            "IfExists: an absent key is fine",
            vec![when("Allow", json!({"StringLikeIfExists": {"ec2:InstanceType": "t1.*"}}))],
            vec![],
            'A',
            true,
        ),
        (
            "IfExists: one that is there must match",
            vec![when("Allow", json!({"StringLikeIfExists": {"ec2:InstanceType": "t1.*"}}))],
            vec![("ec2:InstanceType", vec!["m1.small"])],
            '-',
            true,
        ),
        (
            "ForAllValues: all are in the list",
            vec![when("Allow", all_of.clone())],
            vec![tags(&["environment"])],
            'A',
            true,
        ),
        (
            "ForAllValues: both are",
            vec![when("Allow", all_of.clone())],
            vec![tags(&["environment", "cost-center"])],
            'A',
            true,
        ),
        (
            "ForAllValues: one is not",
            vec![when("Allow", all_of.clone())],
            vec![tags(&["environment", "dept"])],
            '-',
            true,
        ),
        ("ForAllValues: without the key", vec![when("Allow", all_of)], vec![], 'A', true),
        (
            "ForAnyValue: one is",
            vec![when("Allow", any_of.clone())],
            vec![tags(&["environment", "dept"])],
            'A',
            true,
        ),
        ("ForAnyValue: none is", vec![when("Allow", any_of.clone())], vec![tags(&["dept"])], '-', true),
        ("ForAnyValue: without the key", vec![when("Allow", any_of)], vec![], '-', true),
        (
            "ForAllValues, negated: none is",
            vec![when("Allow", not_all.clone())],
            vec![tags(&["key3"])],
            'A',
            true,
        ),
        (
            "ForAllValues, negated: one is",
            vec![when("Allow", not_all)],
            vec![tags(&["key1", "key3"])],
            '-',
            true,
        ),
        (
            "names of keys are not case-sensitive",
            vec![when("Allow", json!({"Bool": {"AWS:securetransport": "true"}}))],
            vec![("aws:SecureTransport", vec!["true"])],
            'A',
            true,
        ),
        (
            "values are",
            vec![when("Allow", json!({"StringEquals": {"aws:username": "Mary"}}))],
            vec![("aws:username", vec!["mary"])],
            '-',
            true,
        ),
        (
            "ArnEquals takes wildcards as ArnLike does",
            vec![when("Allow", json!({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}))],
            vec![ana.clone()],
            'A',
            false,
        ),
        (
            "a variable has the caller's value",
            vec![when("Allow", json!({"StringEquals": {"aws:ResourceTag/owner": "${aws:username}"}}))],
            vec![("aws:username", vec!["mary"]), ("aws:ResourceTag/owner", vec!["mary"])],
            'A',
            false,
        ),
        (
            "a variable without a value matches nothing",
            vec![when(
                "Allow",
                json!({"StringEquals": {"aws:ResourceTag/owner": "${aws:PrincipalTag/team}"}}),
            )],
            vec![("aws:ResourceTag/owner", vec![""])],
            '-',
            false,
        ),
        (
            "a variable's default",
            vec![when(
                "Allow",
                json!({"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team, 'company-wide'}"}}),
            )],
            vec![("aws:ResourceTag/team", vec!["company-wide"])],
            'A',
            false,
        ),
        (
            "an escaped star is a character",
            vec![when("Allow", json!({"StringLike": {"aws:username": "${*}"}}))],
            vec![("aws:username", vec!["mary"])],
            '-',
            false,
        ),
        (
            "an address range",
            vec![when("Allow", json!({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}))],
            vec![("aws:SourceIp", vec!["203.0.113.9"])],
            'A',
            true,
        ),
        (
            "outside an address range",
            vec![
                when("Deny", json!({"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"]}})),
                all.clone(),
            ],
            vec![("aws:SourceIp", vec!["198.51.100.1"])],
            'D',
            true,
        ),
        (
            "Null: the key must not be there",
            vec![when("Allow", json!({"Null": {"aws:TokenIssueTime": "true"}}))],
            vec![],
            'A',
            true,
        ),
        (
            "Null: the key must be there",
            vec![when("Allow", json!({"Null": {"aws:TokenIssueTime": "false"}}))],
            vec![],
            '-',
            true,
        ),
        (
            "NotAction is all but these",
            vec![json!({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"})],
            vec![],
            'A',
            true,
        ),
        (
            "a deny with NotAction",
            vec![all, json!({"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"})],
            vec![],
            'D',
            true,
        ),
        (
            "NotResource is all but these",
            vec![json!({"Effect": "Allow", "Action": "*", "NotResource": ["arn:aws:ec2:*:*:vpc/*"]})],
            vec![],
            '-',
            true,
        ),
    ];
    for (name, statements, given, expected, comparable) in rows {
        let document = json!({"Version": "2012-10-17", "Statement": statements});
        let keys: Keys = given
            .into_iter()
            .map(|(key, values)| (key.to_owned(), values.into_iter().map(str::to_owned).collect()))
            .collect();
        let (action, resource) = ("ec2:DescribeVpcs", RESOURCES[0]);
        let documents = [document];
        assert_eq!(ours(&documents, action, resource, &keys), expected, "{name}");
        if comparable {
            assert_eq!(
                theirs(&documents, action, resource, &keys),
                expected,
                "{name}, by the other evaluator"
            );
        }
    }
}
