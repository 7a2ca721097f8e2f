//! Forms into typed requests: rows of good forms, rows of faulty ones, and round trips.

#![allow(clippy::unwrap_used)]

use aws_query::{
    Fault, Form, FromQuery, Kind, Limits, Members, QueryEnum, Unknown, decode, decode_with, encode,
};
use proptest::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, QueryEnum)]
enum Protocol {
    Tcp,
    Udp,
    #[query("dual-Stack")]
    Both,
}

#[derive(Debug, PartialEq, FromQuery)]
struct Filter {
    name: Option<String>,
    #[query(name = "Value", max = 3)]
    values: Vec<String>,
}

#[derive(Debug, PartialEq, FromQuery)]
struct LogOptions {
    enabled: Option<bool>,
    #[query(max_length = 8)]
    cloudwatch_log_group: Option<String>,
}

#[derive(Debug, PartialEq, FromQuery)]
struct Deep {
    #[query(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    saml_provider_arn: String,
}

#[derive(Debug, PartialEq, FromQuery)]
struct Login {
    r#type: Protocol,
    federated: Option<Deep>,
}

#[derive(Debug, PartialEq, FromQuery)]
struct Request {
    client_vpn_endpoint_id: String,
    connection_log_options: LogOptions,
    #[query(name = "Authentication", required, max = 2)]
    authentication_options: Vec<Login>,
    #[query(name = "Filter", max = 4, over = "FilterLimitExceeded")]
    filters: Vec<Filter>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    #[query(alias = "AssociationId")]
    association_ids: Vec<String>,
    #[query(range = "1..=9")]
    digits: Vec<u16>,
    transport_protocol: Option<Protocol>,
    split_tunnel: Option<bool>,
    deep: Option<Deep>,
    #[query(token)]
    client_token: Option<String>,
}

const LEAST: &str = "ClientVpnEndpointId=e&ConnectionLogOptions.Enabled=FALSE&Authentication.1.Type=udp";

fn least() -> Request {
    Request {
        client_vpn_endpoint_id: "e".into(),
        connection_log_options: LogOptions { enabled: Some(false), cloudwatch_log_group: None },
        authentication_options: vec![Login { r#type: Protocol::Udp, federated: None }],
        filters: vec![],
        max_results: None,
        association_ids: vec![],
        digits: vec![],
        transport_protocol: None,
        split_tunnel: None,
        deep: None,
        client_token: None,
    }
}

fn read(query: &str) -> Result<Request, Vec<Fault>> {
    decode(&Form::parse(query.as_bytes(), &Limits::default()).unwrap())
}

#[test]
fn good_forms() {
    let filter = |name: &str, values: &[&str]| Filter {
        name: Some(name.into()),
        values: values.iter().map(|v| v.to_string()).collect(),
    };
    let rows: Vec<(&str, Request)> = vec![
        ("", least()),
        ("&MaxResults=5", Request { max_results: Some(5), ..least() }),
        (
            "&MaxResults=1000&ClientToken=",
            Request { max_results: Some(1000), client_token: Some(String::new()), ..least() },
        ),
        // Gaps, and numeric rather than textual order.
        (
            "&AssociationIds.10=c&AssociationIds.2=a&AssociationIds.9=b",
            Request { association_ids: vec!["a".into(), "b".into(), "c".into()], ..least() },
        ),
        ("&AssociationId.1=x", Request { association_ids: vec!["x".into()], ..least() }),
        (
            "&Filter.3.Value.2=w&Filter.3.Name=b&Filter.1.Name=a+b&Filter.3.Value.1=v%2B",
            Request { filters: vec![filter("a b", &[]), filter("b", &["v+", "w"])], ..least() },
        ),
        (
            "&TransportProtocol=dual-Stack&SplitTunnel=True&Digits.1=9",
            Request {
                transport_protocol: Some(Protocol::Both),
                split_tunnel: Some(true),
                digits: vec![9],
                ..least()
            },
        ),
        (
            "&Authentication.7.Type=tcp&Authentication.7.Federated.SAMLProviderArn=p",
            Request {
                authentication_options: vec![
                    Login { r#type: Protocol::Udp, federated: None },
                    Login { r#type: Protocol::Tcp, federated: Some(Deep { saml_provider_arn: "p".into() }) },
                ],
                ..least()
            },
        ),
    ];
    for (extra, expected) in rows {
        assert_eq!(read(&format!("{LEAST}{extra}")), Ok(expected), "{extra}");
    }
}

#[test]
fn faulty_forms() {
    let rows: &[(&str, &[(&str, &str)])] = &[
        (
            "&MaxResults=3",
            &[(
                "InvalidParameterValue",
                "Value ( 3 ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.",
            )],
        ),
        (
            "&MaxResults=1001",
            &[(
                "InvalidParameterValue",
                "Value ( 1001 ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.",
            )],
        ),
        (
            "&MaxResults=",
            &[(
                "InvalidParameterValue",
                "Value () for parameter maxResults is invalid. Expecting an integer.",
            )],
        ),
        (
            "&MaxResults=%2B5",
            &[(
                "InvalidParameterValue",
                "Value (+5) for parameter maxResults is invalid. Expecting an integer.",
            )],
        ),
        (
            "&MaxResults=99999999999999999999",
            &[(
                "InvalidParameterValue",
                "Value (99999999999999999999) for parameter maxResults is invalid. Expecting an integer.",
            )],
        ),
        (
            "&Digits.1=0&Digits.2=5&Digits.3=10",
            &[
                (
                    "InvalidParameterValue",
                    "Value ( 0 ) for parameter digits.1 is invalid. Expecting a value between 1 and 9.",
                ),
                (
                    "InvalidParameterValue",
                    "Value ( 10 ) for parameter digits.3 is invalid. Expecting a value between 1 and 9.",
                ),
            ],
        ),
        (
            "&SplitTunnel=yes",
            &[(
                "InvalidParameterValue",
                "Value (yes) for parameter splitTunnel is invalid. Expecting true or false.",
            )],
        ),
        (
            "&SplitTunnel=1",
            &[(
                "InvalidParameterValue",
                "Value (1) for parameter splitTunnel is invalid. Expecting true or false.",
            )],
        ),
        (
            "&TransportProtocol=TCP",
            &[(
                "InvalidParameterValue",
                "Value (TCP) for parameter transportProtocol is invalid. Valid values: tcp, udp, dual-Stack.",
            )],
        ),
        (
            "&ConnectionLogOptions.CloudwatchLogGroup=123456789",
            &[(
                "InvalidParameterValue",
                "Value (123456789) for parameter connectionLogOptions.cloudwatchLogGroup is invalid. Expecting at most 8 characters.",
            )],
        ),
        (
            "&Filter.1.Value.1=a&Filter.1.Value.2=a&Filter.1.Value.3=a&Filter.1.Value.4=a",
            &[("InvalidParameterValue", "The parameter Filter.1.Value has 4 values. Expecting at most 3.")],
        ),
        (
            "&Filter.1.Name=a&Filter.2.Name=a&Filter.3.Name=a&Filter.4.Name=a&Filter.5.Name=a",
            &[("FilterLimitExceeded", "The parameter Filter has 5 values. Expecting at most 4.")],
        ),
        (
            "&Deep.Other=1",
            &[
                ("MissingParameter", "The request must contain the parameter Deep.SAMLProviderArn"),
                ("UnknownParameter", "The parameter Deep.Other is not recognized"),
            ],
        ),
        // A list without index, an index that is none, an element that is deeper or shallower than its type.
        ("&AssociationIds=x", &[("UnknownParameter", "The parameter AssociationIds is not recognized")]),
        ("&AssociationIds.0=x", &[("UnknownParameter", "The parameter AssociationIds.0 is not recognized")]),
        (
            "&AssociationIds.01=x",
            &[("UnknownParameter", "The parameter AssociationIds.01 is not recognized")],
        ),
        (
            "&AssociationIds.100001=x",
            &[("UnknownParameter", "The parameter AssociationIds.100001 is not recognized")],
        ),
        (
            "&AssociationIds.-1=x",
            &[("UnknownParameter", "The parameter AssociationIds.-1 is not recognized")],
        ),
        (
            "&AssociationIds.1.a=x",
            &[("UnknownParameter", "The parameter AssociationIds.1.a is not recognized")],
        ),
        (
            "&AssociationIds.member.1=x",
            &[("UnknownParameter", "The parameter AssociationIds.member.1 is not recognized")],
        ),
        ("&Filter.1=x", &[("UnknownParameter", "The parameter Filter.1 is not recognized")]),
        ("&Deep=x", &[("UnknownParameter", "The parameter Deep is not recognized")]),
        ("&maxresults=5", &[("UnknownParameter", "The parameter maxresults is not recognized")]),
        // Both names of one member: the alias is then a stranger.
        (
            "&AssociationIds.1=a&AssociationId.1=b",
            &[("UnknownParameter", "The parameter AssociationId.1 is not recognized")],
        ),
    ];
    for (extra, expected) in rows {
        let faults = read(&format!("{LEAST}{extra}")).expect_err(extra);
        let found: Vec<_> = faults.iter().map(|f| (f.code, f.message.as_str())).collect();
        assert_eq!(&found, expected, "{extra}");
    }
}

#[test]
fn all_faults_come_in_member_order_then_unknown_ones() {
    let faults = read("Zebra=1&Aardvark=1&MaxResults=x&Filter.1.Value=v&ClientToken=t").unwrap_err();
    let names: Vec<_> = faults.iter().map(|f| (f.code, f.parameter.as_deref().unwrap_or(""))).collect();
    assert_eq!(
        names,
        [
            ("MissingParameter", "ClientVpnEndpointId"),
            ("MissingParameter", "ConnectionLogOptions"),
            ("MissingParameter", "Authentication"),
            ("UnknownParameter", "Filter.1.Value"),
            ("InvalidParameterValue", "MaxResults"),
            ("UnknownParameter", "Aardvark"),
            ("UnknownParameter", "Zebra"),
        ]
    );
}

#[test]
fn faults_are_bounded() {
    let many: String = (0..3_000).map(|n| format!("&X{n}=1")).collect();
    assert_eq!(read(&format!("{LEAST}{many}")).unwrap_err().len(), aws_query::MAX_FAULTS);
}

#[test]
fn unknown_parameters_can_be_passed_over() {
    let form = Form::parse(format!("{LEAST}&Newer=1").as_bytes(), &Limits::default()).unwrap();
    assert_eq!(decode_with::<Request>(&form, Unknown::Ignore), Ok(least()));
    // Nothing is dropped from a list in silence.
    let form = Form::parse(format!("{LEAST}&AssociationIds.1.x=1").as_bytes(), &Limits::default()).unwrap();
    assert!(decode_with::<Request>(&form, Unknown::Ignore).is_err());
}

#[test]
fn members_describe_the_type() {
    let members = Request::members();
    let find = |name: &str| members.iter().find(|m| m.name == name).unwrap();
    let required: Vec<_> = members.iter().filter(|m| m.required).map(|m| m.wire).collect();
    assert_eq!(required, ["ClientVpnEndpointId", "ConnectionLogOptions", "Authentication"]);
    assert!(find("ClientToken").token && !find("MaxResults").token);
    assert_eq!(find("MaxResults").range, Some((5, 1000)));
    assert_eq!(find("TransportProtocol").kind, Kind::Enum(&["tcp", "udp", "dual-Stack"]));
    assert_eq!(find("AssociationIds").kind, Kind::List(Box::new(Kind::String)));
    let login = find("AuthenticationOptions");
    assert_eq!(login.wire, "Authentication");
    let wires: Vec<_> = login.kind.children().iter().map(|m| (m.name, m.wire, m.required)).collect();
    assert_eq!(wires, [("Type", "Type", true), ("Federated", "Federated", false)]);
    let deep = login.kind.children()[1].kind.children();
    assert_eq!((deep[0].name, deep[0].wire), ("SAMLProviderArn", "SAMLProviderArn"));
}

/// Writes a request as a client does.
fn write(request: &Request) -> String {
    let mut pairs: Vec<(String, String)> =
        vec![("ClientVpnEndpointId".into(), request.client_vpn_endpoint_id.clone())];
    pairs.push((
        "ConnectionLogOptions.Enabled".into(),
        request.connection_log_options.enabled.unwrap().to_string(),
    ));
    for (n, login) in (1..).zip(&request.authentication_options) {
        pairs.push((format!("Authentication.{n}.Type"), login.r#type.as_str().into()));
        if let Some(deep) = &login.federated {
            pairs.push((
                format!("Authentication.{n}.Federated.SAMLProviderArn"),
                deep.saml_provider_arn.clone(),
            ));
        }
    }
    for (n, filter) in (1..).zip(&request.filters) {
        pairs.push((format!("Filter.{n}.Name"), filter.name.clone().unwrap()));
        for (m, value) in (1..).zip(&filter.values) {
            pairs.push((format!("Filter.{n}.Value.{m}"), value.clone()));
        }
    }
    for (n, id) in (1..).zip(&request.association_ids) {
        pairs.push((format!("AssociationIds.{n}"), id.clone()));
    }
    pairs.extend(request.max_results.map(|most| ("MaxResults".into(), most.to_string())));
    pairs.extend(request.client_token.clone().map(|token| ("ClientToken".into(), token)));
    pairs.reverse();
    encode(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// Text the protocol can carry.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        any::<char>().prop_filter("XML", |c| {
            !matches!(c, '\0'..='\u{8}' | '\u{B}' | '\u{C}' | '\u{E}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}')
        }),
        0..12,
    )
    .prop_map(String::from_iter)
}

prop_compose! {
    fn request()(
        id in text(),
        enabled in any::<bool>(),
        logins in proptest::collection::vec((0..3usize, proptest::option::of(text())), 1..=2),
        filters in proptest::collection::vec((text(), proptest::collection::vec(text(), 0..=3)), 0..=4),
        max_results in proptest::option::of(5..=1000),
        association_ids in proptest::collection::vec(text(), 0..25),
        client_token in proptest::option::of(text()),
    ) -> Request {
        Request {
            client_vpn_endpoint_id: id,
            connection_log_options: LogOptions { enabled: Some(enabled), cloudwatch_log_group: None },
            authentication_options: logins.into_iter().map(|(kind, arn)| Login {
                r#type: [Protocol::Tcp, Protocol::Udp, Protocol::Both][kind],
                federated: arn.map(|arn| Deep { saml_provider_arn: arn }),
            }).collect(),
            filters: filters.into_iter().map(|(name, values)| Filter { name: Some(name), values }).collect(),
            max_results,
            association_ids,
            client_token,
            ..least()
        }
    }
}

proptest! {
    #[test]
    fn what_a_client_writes_is_read(request in request()) {
        prop_assert_eq!(read(&write(&request)), Ok(request));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(form) = Form::parse(&bytes, &Limits::default()) {
            let _ = decode::<Request>(&form);
        }
    }

    #[test]
    fn no_near_miss_panics(query in "(&?(Filter|AssociationIds|Deep|Authentication)(\\.(0|1|2|x|Name|Value|Type|)){0,4}=?[a-z%+]{0,2}){0,12}") {
        if let Ok(form) = Form::parse(query.as_bytes(), &Limits::default()) {
            let _ = decode::<Request>(&form);
        }
    }
}
