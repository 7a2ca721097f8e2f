//! What a connect handler is asked, and what it has to say (spec: aws-client-vpn §4.5).

use gateway::{HANDLER_TEXT_MAX_CHARS, HandlerFailure, HandlerVerdict, POSTURE_STATUSES_MAX, Question};
use serde::{Deserialize, Serialize};

const SCHEMA: &str = "v2";

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Request<'q> {
    connection_id: &'q str,
    endpoint_id: &'q str,
    common_name: &'q str,
    username: &'q str,
    platform: &'q str,
    platform_version: &'q str,
    public_ip: String,
    client_openvpn_version: &'q str,
    /// UNVERIFIED: how several groups are told; with certificates there are none.
    groups: &'q str,
    schema_version: &'q str,
}

/// The request, as JSON.
pub(super) fn request(question: &Question) -> String {
    let text = |given: &'_ Option<String>| given.clone().unwrap_or_default();
    let (username, platform) = (text(&question.username), text(&question.platform));
    let (platform_version, version) = (text(&question.platform_version), text(&question.open_vpn_version));
    let request = Request {
        connection_id: question.connection.as_str(),
        endpoint_id: question.endpoint.as_str(),
        common_name: &question.common_name,
        username: &username,
        platform: &platform,
        platform_version: &platform_version,
        public_ip: question.public_ip.to_string(),
        client_openvpn_version: &version,
        groups: "",
        schema_version: SCHEMA,
    };
    serde_json::to_string(&request).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Response {
    allow: bool,
    error_msg_on_denied_connection: String,
    posture_compliance_statuses: Vec<String>,
    schema_version: String,
}

/// What was said. Anything but the documented form, whole, is no answer.
pub(super) fn verdict(body: &[u8]) -> Result<HandlerVerdict, HandlerFailure> {
    // The deserializer would take an array of the members' values too.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(HandlerFailure::InvalidResponse);
    }
    let said: Response = serde_json::from_slice(body).map_err(|_| HandlerFailure::InvalidResponse)?;
    let fits = |text: &String| text.chars().count() <= HANDLER_TEXT_MAX_CHARS;
    let statuses = &said.posture_compliance_statuses;
    let good = said.schema_version == SCHEMA
        && fits(&said.error_msg_on_denied_connection)
        && statuses.len() <= POSTURE_STATUSES_MAX
        && statuses.iter().all(fits);
    if !good {
        return Err(HandlerFailure::InvalidResponse);
    }
    Ok(HandlerVerdict {
        allow: said.allow,
        message: said.error_msg_on_denied_connection,
        posture: said.posture_compliance_statuses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            connection: "cvpn-connection-0123456789abcdef0".parse().unwrap(),
            endpoint: "cvpn-endpoint-0123456789abcdef0".parse().unwrap(),
            function: "arn".into(),
            common_name: "a \"quoted\" name".into(),
            username: None,
            platform: Some("win".into()),
            platform_version: Some("10.0".into()),
            open_vpn_version: Some("2.6.14".into()),
            public_ip: "192.0.2.7".parse().unwrap(),
        }
    }

    #[test]
    fn the_request_has_every_documented_member() {
        let request: serde_json::Value = serde_json::from_str(&request(&question())).unwrap();
        let expected = serde_json::json!({
            "connection-id": "cvpn-connection-0123456789abcdef0",
            "endpoint-id": "cvpn-endpoint-0123456789abcdef0",
            "common-name": "a \"quoted\" name",
            "username": "",
            "platform": "win",
            "platform-version": "10.0",
            "public-ip": "192.0.2.7",
            "client-openvpn-version": "2.6.14",
            "groups": "",
            "schema-version": "v2",
        });
        assert_eq!(request, expected);
    }

    /// Whatever a handler says: an answer is within its bounds, and is what another reader finds in it.
    #[test]
    fn foreign_answers() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/connect_handler/corpus.txt");
        let mut compared = 0;
        foreign::storm(&file, vec![], 20_000, |bytes, _| {
            let Ok(said) = verdict(bytes) else { return };
            // Members that nobody knows are passed over, and need not be readable.
            let Ok(read) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
            compared += 1;
            let expected = serde_json::json!([said.allow, said.message, said.posture, SCHEMA]);
            let names =
                ["allow", "error-msg-on-denied-connection", "posture-compliance-statuses", "schema-version"];
            assert_eq!(serde_json::json!(names.map(|name| read[name].clone())), expected);
            let texts = said.posture.iter().chain([&said.message]);
            assert!(texts.into_iter().all(|text| text.chars().count() <= 255));
            assert!(said.posture.len() <= 10);
        });
        assert!(compared > 100, "{compared}");
    }

    #[test]
    fn only_the_whole_form_is_an_answer() {
        let good = serde_json::json!({
            "allow": true,
            "error-msg-on-denied-connection": "no",
            "posture-compliance-statuses": ["a", "b"],
            "schema-version": "v2",
        });
        let said = verdict(good.to_string().as_bytes()).unwrap();
        assert_eq!((said.allow, said.message.as_str(), said.posture.len()), (true, "no", 2));
        let with = |name: &str, value: serde_json::Value| {
            let mut other = good.clone();
            other[name] = value;
            other.to_string()
        };
        let without = |name: &str| {
            let mut other = good.clone();
            other.as_object_mut().unwrap().remove(name);
            other.to_string()
        };
        let rows = [
            String::new(),
            "null".to_owned(),
            "{\"allow\":true}".to_owned(),
            without("allow"),
            without("error-msg-on-denied-connection"),
            without("posture-compliance-statuses"),
            without("schema-version"),
            with("allow", "true".into()),
            with("allow", 1.into()),
            with("schema-version", "v1".into()),
            with("error-msg-on-denied-connection", "x".repeat(256).into()),
            with("posture-compliance-statuses", vec!["x"; 11].into()),
            with("posture-compliance-statuses", vec!["x".repeat(256)].into()),
            with("posture-compliance-statuses", "x".into()),
            format!("{good} trailing"),
            "[true,\"no\",[\"a\",\"b\"],\"v2\"]".to_owned(),
        ];
        for row in rows {
            assert_eq!(verdict(row.as_bytes()), Err(HandlerFailure::InvalidResponse), "{row}");
        }
    }
}
