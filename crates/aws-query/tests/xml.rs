//! Typed responses into documents, checked as text and through an XML parser.

use aws_query::{
    FromQuery, Kind, Members, QueryEnum, ToXml, ec2_error_xml, query_error_xml, query_response_xml,
    response_body_xml, response_xml, wrap_response,
};
use proptest::prelude::*;

#[derive(Copy, Clone, QueryEnum)]
enum Code {
    PendingAssociate,
    #[query("a&b")]
    Odd,
}

#[derive(ToXml)]
struct Status {
    code: Code,
    message: Option<String>,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
struct LogOptions {
    enabled: bool,
    cloudwatch_log_group: Option<String>,
}

/// Both ways: the wire names differ.
#[derive(FromQuery, ToXml)]
#[xml(no_members)]
struct Tag {
    key: Option<String>,
    value: Option<String>,
}

#[derive(ToXml)]
struct Empty {}

#[derive(ToXml)]
struct Endpoint {
    client_vpn_endpoint_id: String,
    description: String,
    status: Status,
    #[xml(name = "dnsServer", model = "DnsServers")]
    dns_servers: Vec<String>,
    vpn_port: i32,
    #[xml(name = "tagSet")]
    tags: Vec<Tag>,
    connection_log_options: LogOptions,
    #[xml(case = "pascal")]
    odd_one: Option<u64>,
    #[xml(omit_empty)]
    zones: Vec<String>,
    #[xml(item = "member")]
    parts: Option<Vec<Code>>,
    nothing: Empty,
    r#return: bool,
}

fn endpoint() -> Endpoint {
    Endpoint {
        client_vpn_endpoint_id: "cvpn-endpoint-1".into(),
        description: String::new(),
        status: Status { code: Code::PendingAssociate, message: None },
        dns_servers: vec![],
        vpn_port: -443,
        tags: vec![
            Tag { key: Some("a<b".into()), value: Some(String::new()) },
            Tag { key: None, value: None },
        ],
        connection_log_options: LogOptions { enabled: false, cloudwatch_log_group: Some("g".into()) },
        odd_one: Some(u64::MAX),
        zones: vec![],
        parts: Some(vec![Code::Odd]),
        nothing: Empty {},
        r#return: true,
    }
}

const BODY: &str = "<clientVpnEndpointId>cvpn-endpoint-1</clientVpnEndpointId><description/>\
    <status><code>pending-associate</code></status><dnsServer/><vpnPort>-443</vpnPort>\
    <tagSet><item><key>a&lt;b</key><value/></item><item/></tagSet>\
    <connectionLogOptions><Enabled>false</Enabled><CloudwatchLogGroup>g</CloudwatchLogGroup></connectionLogOptions>\
    <OddOne>18446744073709551615</OddOne><parts><member>a&amp;b</member></parts><nothing/><return>true</return>";

#[test]
fn a_response_is_spelled_exactly() {
    assert_eq!(response_body_xml(&endpoint()), BODY);
    let whole = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<XResponse xmlns=\"http://n/?a&amp;b\"><requestId>r</requestId>{BODY}</XResponse>"
    );
    assert_eq!(response_xml("X", "http://n/?a&b", "r", &endpoint()), whole);
    assert_eq!(wrap_response("X", "http://n/?a&b", "r", BODY), whole);
    roxmltree::Document::parse(&whole).unwrap();
}

#[test]
fn the_other_envelopes() {
    let declaration = aws_query::XML_DECLARATION;
    assert_eq!(
        ec2_error_xml("C.D", "a < b", "r"),
        format!(
            "{declaration}<Response><Errors><Error><Code>C.D</Code><Message>a &lt; b</Message></Error></Errors><RequestID>r</RequestID></Response>"
        )
    );
    assert_eq!(
        query_error_xml("", true, "C", "m", "r"),
        format!(
            "{declaration}<ErrorResponse><Error><Type>Sender</Type><Code>C</Code><Message>m</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        )
    );
    assert_eq!(
        query_error_xml("n", false, "C", "", "r"),
        format!(
            "{declaration}<ErrorResponse xmlns=\"n\"><Error><Type>Receiver</Type><Code>C</Code><Message/></Error><RequestId>r</RequestId></ErrorResponse>"
        )
    );
    let status = Status { code: Code::Odd, message: Some("m".into()) };
    assert_eq!(
        query_response_xml("X", "n", "r", &status),
        format!(
            "{declaration}<XResponse xmlns=\"n\"><XResult><code>a&amp;b</code><message>m</message></XResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></XResponse>"
        )
    );
}

#[test]
fn members_describe_the_type() {
    let members = Endpoint::members();
    let names: Vec<_> = members.iter().map(|m| (m.name, m.wire)).collect();
    assert_eq!(names[3], ("DnsServers", "dnsServer"));
    assert_eq!(names[5], ("Tags", "tagSet"));
    assert_eq!(names[7], ("OddOne", "OddOne"));
    assert_eq!(names[11], ("Return", "return"));
    assert!(members.iter().all(|m| !m.required));
    let tag: Vec<_> = members[5].kind.children().iter().map(|m| m.wire).collect();
    assert_eq!(tag, ["key", "value"]);
    let tag: Vec<_> = Tag::members().iter().map(|m| m.wire).collect();
    assert_eq!(tag, ["Key", "Value"]);
    assert_eq!(members[2].kind.children()[0].kind, Kind::Enum(&["pending-associate", "a&b"]));
}

proptest! {
    #[test]
    fn any_text_comes_back_from_a_parser(text in any::<String>()) {
        let status = Status { code: Code::Odd, message: Some(text.clone()) };
        let xml = response_xml("X", "n", "r", &status);
        let document = roxmltree::Document::parse(&xml).unwrap();
        let message = document.descendants().find(|node| node.has_tag_name(("n", "message"))).unwrap();
        // What XML cannot carry is replaced; everything else is exact.
        let expected: String = text
            .chars()
            .map(|c| match c {
                '\0'..='\u{8}' | '\u{B}' | '\u{C}' | '\u{E}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => '\u{FFFD}',
                c => c,
            })
            .collect();
        prop_assert_eq!(message.text().unwrap_or(""), expected);
    }
}
