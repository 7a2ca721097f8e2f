//! What a call for somebody else's service asks for, as far as its form tells: the service, the action, whether it only
//! reads. Two readings of one call must not differ here and upstream: whatever is not plainly one thing counts as any
//! action of its service, and as a write.

use aws_query::{Form, Limits};

use super::{rest, s3};
use crate::config::MAX_BODY_BYTES;
use crate::frame::Call;
use crate::service::Service;

/// Longest name of a service or an action, characters.
const MAX_NAME_CHARS: usize = 64;
/// Services whose prefix in policies is not their signing name (as the service authorization reference has them).
const PREFIXES: [(&str, &str); 3] = [("email", "ses"), ("monitoring", "cloudwatch"), ("tagging", "tag")];
/// Services that answer errors in XML although their calls are no forms.
const XML: [&str; 3] = ["cloudfront", "route53", "s3-control"];
/// Whose `X-Amz-Target` begins how, where calls are most likely: a target of one service under the signature of another
/// is nobody's call. Botocore's service models have them.
const TARGETS: [(&str, &str); 20] = [
    ("acm", "CertificateManager"),
    ("application-autoscaling", "AnyScaleFrontendService"),
    ("config", "StarlingDoveService"),
    ("ds", "DirectoryService_20150416"),
    ("dynamodb", "DynamoDBStreams_20120810"),
    ("dynamodb", "DynamoDB_20120810"),
    ("ecr", "AmazonEC2ContainerRegistry_V20150921"),
    ("ecs", "AmazonEC2ContainerServiceV20141113"),
    ("events", "AWSEvents"),
    ("firehose", "Firehose_20150804"),
    ("kinesis", "Kinesis_20131202"),
    ("kms", "TrentService"),
    ("logs", "Logs_20140328"),
    ("monitoring", "GraniteServiceVersion20100801"),
    ("route53resolver", "Route53Resolver"),
    ("secretsmanager", "secretsmanager"),
    ("sqs", "AmazonSQS"),
    ("ssm", "AmazonSSM"),
    ("states", "AWSStepFunctions"),
    ("tagging", "ResourceGroupsTaggingAPI_20170126"),
];

/// What is asked of the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The signing name of its service.
    pub service: String,
    /// The action in the words of policies; `None`: it cannot be told.
    pub action: Option<String>,
    /// Whether it changes nothing.
    pub reads: bool,
    /// The form of our own answers.
    pub form: Service,
}

impl Wanted {
    /// The service as policies and the setting `allow` name it.
    pub(crate) fn prefix(&self) -> &str {
        PREFIXES
            .iter()
            .find(|(service, _)| *service == self.service)
            .map_or(self.service.as_str(), |(_, prefix)| prefix)
    }
}

/// An action of one of our services that is not built; `None` if it cannot be one, or its form might be read otherwise.
pub(crate) fn own(call: &Call, service: Service, name: &str) -> Option<Wanted> {
    let plain = match service.protocol() {
        crate::service::Protocol::Query => is_form(call) && once(call, "x-amz-target") == 0,
        crate::service::Protocol::Json => call.query.is_empty() && once(call, "x-amz-target") == 1,
    };
    let signing = service.signing_name().filter(|_| plain && is_name(name))?;
    Some(Wanted {
        service: signing.to_owned(),
        action: Some(name.to_owned()),
        reads: reads(name),
        form: service,
    })
}

/// A call signed for a service that is not ours; `None` if nobody can have it.
pub(crate) fn foreign(call: &Call, signing: &str) -> Option<Wanted> {
    let service = signing;
    let good = !service.is_empty()
        && service.len() <= MAX_NAME_CHARS
        && service.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !good {
        return None;
    }
    let wanted = |action: Option<String>, reads, form| {
        Some(Wanted { service: service.to_owned(), action, reads, form })
    };
    if once(call, "x-amz-target") > 0 {
        let target = call.header("x-amz-target").unwrap_or_default();
        let (prefix, name) = target.rsplit_once('.').unwrap_or_default();
        let of: Vec<&str> = TARGETS.iter().filter(|(_, p)| *p == prefix).map(|(of, _)| *of).collect();
        let has_one = TARGETS.iter().any(|(of, _)| *of == service);
        if (!of.is_empty() || has_one) && !of.contains(&service) {
            return None;
        }
        let plain = call.method == "POST"
            && matches!(call.path.as_str(), "" | "/")
            && call.query.is_empty()
            && once(call, "x-amz-target") == 1
            && !rest::is_served(service)
            && service != "s3"
            && is_name(name);
        return wanted(plain.then(|| name.to_owned()), plain && reads(name), Service::OtherJson);
    }
    if call.header("smithy-protocol") == Some("rpc-v2-cbor") {
        let name = operation(&call.path).filter(|_| call.method == "POST" && call.query.is_empty());
        let name = name.filter(|_| !rest::is_served(service) && service != "s3");
        return wanted(name.map(str::to_owned), name.is_some_and(reads), Service::OtherCbor);
    }
    let limits = Limits { body_bytes: MAX_BODY_BYTES, ..Limits::default() };
    let query = Form::parse(call.query.as_bytes(), &limits).ok();
    let in_query = query.map(|mut form| form.strip_common().action.is_some());
    let is_rest = rest::is_served(service) || service == "s3";
    if !is_rest && (in_query != Some(false) || is_form_post(call)) {
        let form = Form::parse_all(&[call.query.as_bytes(), &call.body], &limits).ok();
        let name = form.and_then(|mut form| form.strip_common().action);
        let plain = matches!(call.path.as_str(), "" | "/")
            && matches!(call.method.as_str(), "GET" | "POST")
            && is_form(call);
        let name = name.filter(|name| plain && is_name(name));
        let reads = name.as_deref().is_some_and(reads);
        return wanted(name, reads, Service::OtherQuery);
    }
    let form = match service {
        "s3" => Service::OtherS3,
        service if XML.contains(&service) => Service::OtherQuery,
        _ => Service::OtherJson,
    };
    let reads = in_query == Some(false) && matches!(call.method.as_str(), "GET" | "HEAD");
    let action = match service {
        "s3" => s3::action(call),
        service => rest::action(service, &call.method, &call.path, &call.query),
    };
    wanted(action.map(str::to_owned).filter(|_| in_query == Some(false)), reads, form)
}

/// Whether an action's name says that it changes nothing. What hands out credentials is none of these.
fn reads(name: &str) -> bool {
    let gives = name.contains("Token") || name.contains("Credential");
    ["Describe", "List", "Head"].iter().any(|word| name.starts_with(word))
        || (name.starts_with("Get") && !gives)
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS * 2).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The operation of a path `/service/NAME/operation/NAME`.
fn operation(path: &str) -> Option<&str> {
    let mut parts = path.strip_prefix("/service/")?.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(service), Some("operation"), Some(name), None) if is_name(service) && is_name(name) => {
            Some(name)
        }
        _ => None,
    }
}

/// How often a header is given.
fn once(call: &Call, name: &str) -> usize {
    call.headers.iter().filter(|(found, _)| found == name).count()
}

/// Whether the body is parameters, as far as the content type says: nobody may find others in it than we do.
fn is_form(call: &Call) -> bool {
    let mut types = call.headers.iter().filter(|(name, _)| name == "content-type").map(|(_, value)| value);
    match (types.next(), types.next()) {
        (None, _) => call.body.is_empty(),
        (Some(one), None) => {
            let kind = one.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        }
        _ => false,
    }
}

fn is_form_post(call: &Call) -> bool {
    call.method == "POST" && matches!(call.path.as_str(), "" | "/") && is_form(call) && !call.body.is_empty()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn call(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Call {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Call {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: body.to_owned().into(),
            peer: IpAddr::from([127, 0, 0, 1]),
            secure: false,
        }
    }

    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");

    fn seen(service: &str, call: &Call) -> Option<(Option<String>, bool, Service)> {
        foreign(call, service).map(|wanted| (wanted.action, wanted.reads, wanted.form))
    }

    #[test]
    fn calls_name_their_action_in_five_ways() {
        let target = |name| [("x-amz-target", name), ("content-type", "application/x-amz-json-1.1")];
        let cbor = [("smithy-protocol", "rpc-v2-cbor")];
        let alarms = "/service/GraniteServiceVersion20100801/operation/DescribeAlarms";
        use Service::{OtherCbor, OtherJson, OtherQuery, OtherS3};
        let rows = [
            (
                "ssm",
                call("POST", "/", &target("AmazonSSM.GetParameter"), "{}"),
                "GetParameter",
                true,
                OtherJson,
            ),
            (
                "ssm",
                call("POST", "/", &target("AmazonSSM.PutParameter"), "{}"),
                "PutParameter",
                false,
                OtherJson,
            ),
            ("sns", call("POST", "/", &[FORM], "Action=ListTopics"), "ListTopics", true, OtherQuery),
            ("sns", call("GET", "/?Action=DeleteTopic", &[], ""), "DeleteTopic", false, OtherQuery),
            ("monitoring", call("POST", alarms, &cbor, ""), "DescribeAlarms", true, OtherCbor),
            ("lambda", call("GET", "/2015-03-31/functions/f", &[], ""), "GetFunction", true, OtherJson),
            ("lambda", call("POST", "/2015-03-31/functions", &[], "{}"), "CreateFunction", false, OtherJson),
            ("route53", call("GET", "/2013-04-01/hostedzone", &[], ""), "ListHostedZones", true, OtherQuery),
            ("s3", call("GET", "/", &[], ""), "ListAllMyBuckets", true, OtherS3),
            ("s3", call("HEAD", "/b/k", &[], ""), "GetObject", true, OtherS3),
            ("s3", call("PUT", "/b", &[], ""), "CreateBucket", false, OtherS3),
        ];
        for (service, call, action, reads, form) in rows {
            assert_eq!(
                seen(service, &call),
                Some((Some(action.to_owned()), reads, form)),
                "{service} {call:?}"
            );
        }
    }

    /// Whatever could be read in two ways is any action of its service, and a write.
    #[test]
    fn what_is_doubtful_is_a_write_of_any_action() {
        let get = ("x-amz-target", "AmazonSSM.GetParameter");
        let put = ("x-amz-target", "AmazonSSM.PutParameter");
        let multipart = ("content-type", "multipart/form-data; boundary=x");
        let odd = ("x-amz-target", "Odd.GetThing");
        for (service, call) in [
            ("ssm", call("POST", "/", &[get, put], "{}")),
            ("ssm", call("POST", "/?Action=DeleteParameter", &[get], "{}")),
            ("ssm", call("GET", "/", &[put], "")),
            ("ssm", call("POST", "/other", &[get], "{}")),
            ("lambda", call("DELETE", "/2015-03-31/functions/f", &[odd], "")),
            ("lambda", call("GET", "/2015-03-31/functions/f", &[odd], "")),
            ("s3", call("GET", "/b?Action=X", &[], "")),
            ("sns", call("GET", "/?Action=ListTopics&Action=DeleteTopic", &[], "")),
            ("sns", call("GET", "/?%41ction=DeleteTopic&a=%", &[], "")),
            ("sns", call("POST", "/?Action=ListTopics", &[multipart], "x")),
            ("sns", call("POST", "/?Action=ListTopics", &[], "Action=DeleteTopic")),
            ("sns", call("GET", "/other?Action=ListTopics", &[], "")),
            ("monitoring", call("POST", "/?x=1", &[("smithy-protocol", "rpc-v2-cbor")], "")),
        ] {
            let (action, reads, _) = seen(service, &call).unwrap();
            assert_eq!((action, reads), (None, false), "{service} {call:?}");
        }
        assert_eq!(
            seen("sns", &call("GET", "/?%41ction=DeleteTopic", &[], "")),
            Some((Some("DeleteTopic".into()), false, Service::OtherQuery))
        );
    }

    #[test]
    fn nobody_has_a_target_under_anothers_signature() {
        let get = [("x-amz-target", "AmazonSSM.GetParameter")];
        for service in ["kms", "sns", "secretsmanager"] {
            assert_eq!(seen(service, &call("POST", "/", &get, "{}")), None, "{service}");
        }
        assert_eq!(seen("kms", &call("POST", "/", &[("x-amz-target", "Odd.GetThing")], "{}")), None);
        for service in ["", "SSM", "a.b", "a_b", &"x".repeat(65)] {
            assert_eq!(seen(service, &call("POST", "/", &[], "{}")), None, "{service}");
        }
    }

    #[test]
    fn what_hands_out_credentials_is_no_read() {
        for name in
            ["GetSessionToken", "GetFederationToken", "GetAuthorizationToken", "GetClusterCredentials"]
        {
            assert!(!reads(name), "{name}");
        }
        for name in ["GetParameter", "ListTokens", "DescribeRegions", "HeadBucket"] {
            assert!(reads(name), "{name}");
        }
        for name in ["RunInstances", "PutGet", "AssumeRole", "describeRegions"] {
            assert!(!reads(name), "{name}");
        }
    }

    #[test]
    fn our_own_services_actions_are_words() {
        let form = call("POST", "/", &[FORM], "Action=DescribeRegions");
        let wanted = own(&form, Service::Ec2, "DescribeRegions").unwrap();
        assert_eq!((wanted.service.as_str(), wanted.reads), ("ec2", true));
        assert_eq!(own(&form, Service::Ec2, "Describe*"), None);
        assert_eq!(own(&form, Service::Ec2, ""), None);
        let multipart =
            call("POST", "/?Action=DescribeRegions", &[("content-type", "multipart/form-data")], "x");
        assert_eq!(own(&multipart, Service::Ec2, "DescribeRegions"), None);
        let json = [("x-amz-target", "Logs_20140328.PutMetricFilter")];
        assert!(own(&call("POST", "/", &json, "{}"), Service::Logs, "PutMetricFilter").is_some());
        assert_eq!(own(&call("POST", "/?a=b", &json, "{}"), Service::Logs, "PutMetricFilter"), None);
    }
}
