//! Parameters as the audit trail keeps them: never a secret, never more than there is room for. Only parameters that had
//! their action's form come here, so every name is one the action knows.

use std::collections::BTreeMap;

use aws_query::Form;
use serde_json::{Map, Value, json};

use crate::error::short;

/// Most values kept of one call.
const MAX_VALUES: usize = 200;
/// Most bytes of names and values kept of one call.
const MAX_BYTES: usize = 32 * 1024;
/// Names whose values are not kept, in lower case: keys, documents, tokens, and what others' programs write.
const SECRET: &[&str] = &[
    "certificate",
    "certificatechain",
    "certificaterevocationlist",
    "clienttoken",
    "logevents",
    "nexttoken",
    "policydocument",
    "privatekey",
    "samlmetadatadocument",
    "sequencetoken",
    "tokencode",
];

/// What is left, and how many values were left out.
pub(crate) struct Kept {
    /// The parameters.
    pub value: Value,
    /// How many values found no room.
    pub left_out: usize,
}

/// Room for the values of one call.
struct Room {
    values: usize,
    bytes: usize,
    left_out: usize,
}

impl Room {
    fn new() -> Self {
        Self { values: MAX_VALUES, bytes: MAX_BYTES, left_out: 0 }
    }

    /// The value as it is kept; `None` without room.
    fn take(&mut self, name: &str, value: &str, secret: bool) -> Option<String> {
        let text = if secret { not_kept(value.len()) } else { short(value).into_owned() };
        let bytes = name.len() + text.len();
        if self.values == 0 || self.bytes < bytes {
            self.left_out += 1;
            return None;
        }
        self.values -= 1;
        self.bytes -= bytes;
        Some(text)
    }
}

fn not_kept(bytes: usize) -> String {
    format!("({bytes} bytes not kept)")
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.contains(&name.as_str())
}

/// Parameters of a Query call as a tree; of EC2 under `{Action}Request`, with the items of lists as CloudTrail writes them:
/// `{"tag":1,"content":…}`, or `{"tag":1,` and the members.
pub(crate) fn of_form(form: &Form, envelope: Option<&str>) -> Kept {
    let mut room = Room::new();
    let mut tree = Node::default();
    for (name, value) in form.iter() {
        let path: Vec<&str> = name.split('.').filter(|part| *part != "member").collect();
        let secret = path.iter().any(|part| is_secret(part));
        if let Some(text) = room.take(name, value, secret) {
            tree.put(&path, text);
        }
    }
    let value = tree.json();
    let value = match (envelope, value) {
        (_, Value::Null) => Value::Null,
        (Some(action), value) => json!({ format!("{action}Request"): value }),
        (None, value) => value,
    };
    Kept { value, left_out: room.left_out }
}

/// Parameters by name, part for part.
#[derive(Default)]
struct Node {
    text: Option<String>,
    members: BTreeMap<String, Node>,
}

impl Node {
    fn put(&mut self, path: &[&str], text: String) {
        match path.split_first() {
            None => self.text = Some(text),
            Some((first, rest)) => self.members.entry((*first).to_owned()).or_default().put(rest, text),
        }
    }

    fn json(self) -> Value {
        if self.members.is_empty() {
            return self.text.map_or(Value::Null, Value::String);
        }
        let numbers: Option<Vec<u64>> = self.members.keys().map(|key| key.parse().ok()).collect();
        let Some(numbers) = numbers else {
            return self.members.into_iter().map(|(name, node)| (name, node.json())).collect();
        };
        let mut items: Vec<(u64, Node)> = numbers.into_iter().zip(self.members.into_values()).collect();
        items.sort_by_key(|(number, _)| *number);
        items.into_iter().map(|(number, node)| item(number, node.json())).collect()
    }
}

fn item(number: u64, value: Value) -> Value {
    let mut item = Map::new();
    item.insert("tag".to_owned(), number.into());
    match value {
        Value::Object(members) => item.extend(members),
        content => {
            item.insert("content".to_owned(), content);
        }
    }
    Value::Object(item)
}

/// Parameters of a JSON call.
pub(crate) fn of_json(body: &[u8]) -> Kept {
    let mut room = Room::new();
    let value = serde_json::from_slice(body).map_or(Value::Null, |value| kept("", value, &mut room));
    let value = if value.as_object().is_some_and(Map::is_empty) { Value::Null } else { value };
    Kept { value, left_out: room.left_out }
}

fn kept(name: &str, value: Value, room: &mut Room) -> Value {
    match value {
        secret if is_secret(name) => match &secret {
            Value::Null => Value::Null,
            Value::Array(items) => json!(format!("({} items not kept)", items.len())),
            Value::String(text) => json!(not_kept(text.len())),
            _ => json!("(not kept)"),
        },
        Value::Object(members) => members
            .into_iter()
            .filter_map(|(name, value)| {
                let value = kept(&name, value, room);
                (!value.is_null()).then(|| (short(&name).into_owned(), value))
            })
            .collect(),
        Value::Array(items) => {
            let items = items.into_iter().map(|value| kept(name, value, room));
            items.filter(|value| !value.is_null()).collect()
        }
        Value::String(text) => room.take(name, &text, false).map_or(Value::Null, Value::String),
        plain => room.take(name, "", false).map_or(Value::Null, |_| plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_become_what_cloudtrail_shows() {
        let form: Form = [
            ("SplitTunnel", "true"),
            ("SecurityGroupId.10", "sg-10"),
            ("SecurityGroupId.2", "sg-2"),
            ("ConnectionLogOptions.Enabled", "false"),
            ("TagSpecification.1.ResourceType", "vpc"),
            ("TagSpecification.1.Tag.1.Key", "a"),
            ("TagSpecification.1.Tag.1.Value", "b"),
            ("ClientToken", "secret-token"),
            ("Tags.member.1.Key", "k"),
        ]
        .into_iter()
        .collect();
        let kept = of_form(&form, Some("CreateThing"));
        assert_eq!(
            kept.value,
            json!({"CreateThingRequest": {
                "SplitTunnel": "true",
                "SecurityGroupId": [{"tag": 2, "content": "sg-2"}, {"tag": 10, "content": "sg-10"}],
                "ConnectionLogOptions": {"Enabled": "false"},
                "TagSpecification": [
                    {"tag": 1, "ResourceType": "vpc", "Tag": [{"tag": 1, "Key": "a", "Value": "b"}]},
                ],
                "ClientToken": "(12 bytes not kept)",
                "Tags": [{"tag": 1, "Key": "k"}],
            }})
        );
        assert_eq!(kept.left_out, 0);
        assert!(of_form(&Form::default(), Some("X")).value.is_null());
    }

    #[test]
    fn bodies_keep_no_secret() {
        let body = json!({
            "CertificateArn": "arn",
            "PrivateKey": "c2VjcmV0",
            "certificateChain": null,
            "Tags": [{"Key": "a", "Value": "b"}],
            "logEvents": [{"message": "secret"}],
            "limit": 5,
        });
        assert_eq!(
            of_json(body.to_string().as_bytes()).value,
            json!({
                "CertificateArn": "arn",
                "PrivateKey": "(8 bytes not kept)",
                "Tags": [{"Key": "a", "Value": "b"}],
                "logEvents": "(1 items not kept)",
                "limit": 5,
            })
        );
        assert!(of_json(b"{}").value.is_null() && of_json(b"").value.is_null());
    }

    #[test]
    fn there_is_only_so_much_room() {
        let many: Vec<(String, String)> =
            (1..=1_000).map(|n| (format!("ResourceId.{n}"), format!("vpc-{n}"))).collect();
        let form: Form = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let kept = of_form(&form, None);
        assert_eq!(kept.left_out, 1_000 - MAX_VALUES);
        let long = "x".repeat(100_000);
        let form: Form = [("Description", long.as_str())].into_iter().collect();
        let text = of_form(&form, None).value.to_string();
        assert!(text.len() < 300, "{text}");
        let body = json!({ "tags": (0..1_000).map(|n| (n.to_string(), "v")).collect::<BTreeMap<_, _>>() });
        assert!(of_json(body.to_string().as_bytes()).left_out > 700);
    }
}
