//! `nft --json list ruleset`, read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::packet::{MISSING, THERE};
use super::ruleset::{Base, Chain, Effect, Field, Hook, Item, Key, Rule, Ruleset, Test, Tool, target};

/// Our own table, which is none of another program.
const OWN: (&str, &str) = ("inet", "bascule");

/// Sets and maps, by family, table and name.
type Sets<'a> = BTreeMap<(&'a str, &'a str, &'a str), &'a Value>;

/// The tables that filter IP packets; `None` if this is no such listing.
pub(super) fn read(listing: &str) -> Option<Ruleset> {
    let listing: Value = serde_json::from_str(listing).ok()?;
    let entries = listing.get("nftables")?.as_array()?;
    let mut sets = Sets::new();
    for set in entries.iter().filter_map(|entry| entry.get("set").or_else(|| entry.get("map"))) {
        sets.insert((text(set, "family"), text(set, "table"), text(set, "name")), set);
    }
    let mut ruleset = Ruleset::default();
    for (kind, entry) in entries.iter().filter_map(Value::as_object).flatten() {
        let (family, table) = (text(entry, "family"), text(entry, "table"));
        if (family, table) == OWN || !["ip", "ip6", "inet", "netdev"].contains(&family) {
            continue;
        }
        let name = if kind == "chain" { text(entry, "name") } else { text(entry, "chain") };
        let [family, table, name] = [family, table, name].map(str::to_owned);
        let key = Key { tool: Tool::Nft, family, table, name };
        match kind.as_str() {
            "chain" => ruleset.chains.entry(key).or_default().base = base(entry),
            "rule" => {
                let rule = rule(entry, &key, &sets);
                let chain: &mut Chain = ruleset.chains.entry(key).or_default();
                chain.rules.push(rule);
            }
            _ => {}
        }
    }
    Some(ruleset)
}

/// Tables with rules that only iptables can read.
pub(super) fn foreign_tables(listing: &str) -> Vec<(String, String)> {
    let Ok(listing) = serde_json::from_str::<Value>(listing) else { return Vec::new() };
    let entries = listing.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut found: Vec<(String, String)> = entries
        .iter()
        .filter_map(|entry| entry.get("rule"))
        .filter(|rule| statements(rule).any(|(kind, _)| kind == "xt"))
        .map(|rule| (text(rule, "family").to_owned(), text(rule, "table").to_owned()))
        .collect();
    found.sort();
    found.dedup();
    found
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn base(chain: &Value) -> Option<Base> {
    Some(Base {
        hook: Hook::named(text(chain, "hook"))?,
        priority: chain.get("prio").and_then(Value::as_i64).unwrap_or_default(),
        drops: text(chain, "policy") == "drop",
        nat: text(chain, "type") == "nat",
        devices: match chain.get("dev") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        },
    })
}

fn statements(rule: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let parts = rule.get("expr").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter_map(Value::as_object).flat_map(Map::iter)
}

fn rule(entry: &Value, key: &Key, sets: &Sets<'_>) -> Rule {
    let handle = entry.get("handle").and_then(Value::as_u64).unwrap_or_default();
    let said = format!("the rule with handle {handle} of the chain {}", key.name);
    let mut rule = Rule { tests: Vec::new(), effects: Vec::new(), said };
    for (kind, value) in statements(entry) {
        statement(kind, value, (key, sets), &mut rule);
    }
    rule
}

fn statement(kind: &str, value: &Value, at: (&Key, &Sets<'_>), rule: &mut Rule) {
    match kind {
        "match" => matches(value, at, &mut rule.tests),
        "vmap" => {
            let field = field(value.get("key").unwrap_or(&Value::Null), &mut rule.tests);
            let pairs = value.get("data").and_then(|data| elements(data, at)).unwrap_or_default();
            let entries = pairs.iter().map(|pair| match pair.as_array().map(Vec::as_slice) {
                Some([item_, effect]) => (item(item_, &field), verdict_in(effect)),
                _ => (Item::Odd, Effect::Odd),
            });
            rule.effects.push(Effect::Map(field.clone(), entries.collect()));
        }
        // What comes at an ordinary pace is within a limit.
        "limit" | "ct count" if value.get("inv").and_then(Value::as_bool) == Some(true) => {
            rule.tests.push(Test::never());
        }
        "set" => {
            let stmts = value.get("stmt").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for (kind, value) in stmts.iter().filter_map(Value::as_object).flat_map(Map::iter) {
                statement(kind, value, at, rule);
            }
        }
        "mangle" => {
            let key = value.get("key").and_then(|key| key.get("meta")).map(|meta| text(meta, "key"));
            rule.effects.push(if key == Some("mark") { Effect::Remark } else { Effect::Nothing });
        }
        "xt" => {
            let name = text(value, "name");
            match text(value, "type") {
                "match" if ["comment", "limit"].contains(&name) => {}
                "match" => rule.tests.push(Test::odd()),
                _ => rule.effects.push(target(name).unwrap_or(Effect::Odd)),
            }
        }
        "limit" | "ct count" | "counter" | "log" | "last" | "flow" | "dup" | "ct helper" | "ct timeout"
        | "ct expectation" | "secmark" => {}
        "quota" | "meter" => rule.tests.push(Test::odd()),
        _ => rule.effects.push(verdict(kind, value)),
    }
}

fn verdict_in(value: &Value) -> Effect {
    let only = value.as_object().and_then(|members| members.iter().next());
    only.map_or(Effect::Odd, |(kind, value)| verdict(kind, value))
}

fn verdict(kind: &str, value: &Value) -> Effect {
    match kind {
        "accept" | "masquerade" | "snat" => Effect::Accept,
        "drop" | "reject" => Effect::Stop,
        "dnat" | "redirect" | "tproxy" | "fwd" => Effect::Divert,
        "queue" => Effect::Ask,
        "jump" => Effect::Jump(text(value, "target").to_owned()),
        "goto" => Effect::Goto(text(value, "target").to_owned()),
        "return" => Effect::Return,
        "continue" => Effect::Nothing,
        "notrack" => Effect::Untrack,
        _ => Effect::Odd,
    }
}

fn matches(value: &Value, at: (&Key, &Sets<'_>), tests: &mut Vec<Test>) {
    let null = Value::Null;
    let (left, right) = (value.get("left").unwrap_or(&null), value.get("right").unwrap_or(&null));
    let op = text(value, "op");
    let negated = matches!(op, "!=" | "!");
    let field = field(left, tests);
    let items = match op {
        "<" => right.as_u64().map(|edge| vec![Item::Range(0, edge.saturating_sub(1))]),
        "<=" => right.as_u64().map(|edge| vec![Item::Range(0, edge)]),
        ">" => right.as_u64().map(|edge| vec![Item::Range(edge.saturating_add(1), u64::MAX)]),
        ">=" => right.as_u64().map(|edge| vec![Item::Range(edge, u64::MAX)]),
        _ => None,
    };
    let test = match (&field, items) {
        (_, Some(any)) => Test::is(field, any),
        // `tcp flags syn`: the bit is set, whatever the others are.
        (Field::Flags(u64::MAX), None) if op == "in" => match flags(right) {
            Some(bits) => Test { field: Field::Flags(bits), negated: true, any: vec![Item::Range(0, 0)] },
            None => Test::odd(),
        },
        (Field::Flags(_), None) => {
            let any = vec![flags(right).map_or(Item::Odd, |bits| Item::Range(bits, bits))];
            Test { field, negated, any }
        }
        (_, None) => {
            let any = elements(right, at).map_or_else(
                || vec![Item::Odd],
                |values| values.iter().map(|value| item(value, &field)).collect(),
            );
            Test { field, negated, any }
        }
    };
    tests.push(test);
}

/// The values of a set, of a list, or the one value.
fn elements<'a>(value: &'a Value, (key, sets): (&Key, &Sets<'a>)) -> Option<Vec<&'a Value>> {
    let elements = match value {
        Value::String(name) if name.starts_with('@') => {
            let place = (key.family.as_str(), key.table.as_str(), name.trim_start_matches('@'));
            let set = sets.iter().find(|(of, _)| **of == place).map(|(_, set)| *set)?;
            match set.get("elem") {
                Some(elements) => elements.as_array()?.iter().collect(),
                None => Vec::new(),
            }
        }
        Value::Array(list) => list.iter().collect(),
        Value::Object(members) => match members.get("set") {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(one) => vec![one],
            None => vec![value],
        },
        _ => vec![value],
    };
    Some(elements)
}

/// What is looked at; a header of one protocol implies that it is that protocol.
fn field(left: &Value, tests: &mut Vec<Test>) -> Field {
    if let Some(Value::Array(parts)) = left.get("&") {
        let [of, mask] = parts.as_slice() else { return Field::Odd };
        return match (field(of, tests), mask.as_u64()) {
            (Field::Mark(_), Some(mask)) => Field::Mark(mask),
            (Field::Flags(_), _) => flags(mask).map_or(Field::Odd, Field::Flags),
            _ => Field::Odd,
        };
    }
    if let Some(meta) = left.get("meta") {
        return match text(meta, "key") {
            "iif" | "iifname" => Field::InputInterface,
            "oif" | "oifname" => Field::OutputInterface,
            "l4proto" => Field::Protocol,
            "nfproto" | "protocol" => Field::Family,
            "mark" => Field::Mark(u64::MAX),
            "pkttype" => Field::PacketKind,
            _ => Field::Odd,
        };
    }
    if let Some(ct) = left.get("ct") {
        return match text(ct, "key") {
            "state" => Field::State,
            "direction" => Field::Direction,
            "status" => Field::Status,
            _ => Field::Odd,
        };
    }
    if let Some(fib) = left.get("fib") {
        let flags: Vec<&str> = fib.get("flags").and_then(Value::as_array).map_or_else(
            || vec![text(fib, "flags")],
            |flags| flags.iter().filter_map(Value::as_str).collect(),
        );
        return match text(fib, "result") {
            "type" if flags.contains(&"daddr") => Field::DestinationKind,
            "type" => Field::SourceKind,
            _ if flags.contains(&"daddr") => Field::Odd,
            _ => Field::WayBack { marked: flags.contains(&"mark"), strict: flags.contains(&"iif") },
        };
    }
    left.get("payload").map_or(Field::Odd, |payload| header(payload, tests))
}

fn header(payload: &Value, tests: &mut Vec<Test>) -> Field {
    let (protocol, name) = (text(payload, "protocol"), text(payload, "field"));
    match protocol {
        "ip" | "ip6" => tests.push(Test::text(Field::Family, protocol)),
        "tcp" | "udp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "udplite" | "esp" | "ah" => {
            tests.push(Test::text(Field::Protocol, protocol));
        }
        "th" => {}
        _ => return Field::Odd,
    }
    match (protocol, name) {
        ("ip" | "ip6", "saddr") => Field::Source,
        ("ip" | "ip6", "daddr") => Field::Destination,
        ("ip", "protocol") | ("ip6", "nexthdr") => Field::Protocol,
        ("tcp" | "udp" | "th", "dport") => Field::DestinationPort,
        ("tcp" | "udp" | "th", "sport") => Field::SourcePort,
        ("tcp", "flags") => Field::Flags(u64::MAX),
        _ => Field::Odd,
    }
}

fn item(value: &Value, field: &Field) -> Item {
    if let Some(inner) = value.get("elem").and_then(|elem| elem.get("val")) {
        return item(inner, field);
    }
    if let Some(prefix) = value.get("prefix") {
        let length = prefix.get("len").and_then(Value::as_u64).unwrap_or(u64::MAX);
        return format!("{}/{length}", text(prefix, "addr")).parse().map_or(Item::Odd, Item::Net);
    }
    if let Some(Value::Array(ends)) = value.get("range") {
        return match ends.as_slice() {
            [Value::Number(first), Value::Number(last)] => {
                first.as_u64().zip(last.as_u64()).map_or(Item::Odd, |(first, last)| Item::Range(first, last))
            }
            [Value::String(first), Value::String(last)] => {
                let ends = first.parse::<IpAddr>().ok().zip(last.parse().ok());
                ends.map_or(Item::Odd, |(first, last)| Item::Addresses(first, last))
            }
            _ => Item::Odd,
        };
    }
    if let Field::WayBack { .. } = field {
        return match value {
            Value::Bool(true) => Item::Text(THERE.to_owned()),
            Value::Bool(false) => Item::Text(MISSING.to_owned()),
            // The number of no interface.
            Value::String(zero) if zero == "0" => Item::Text(MISSING.to_owned()),
            _ => Item::Odd,
        };
    }
    match value {
        Value::Number(number) => number.as_u64().map_or(Item::Odd, |number| Item::Range(number, number)),
        Value::String(word) => match field {
            Field::Source | Field::Destination => {
                word.parse::<IpAddr>().map_or(Item::Odd, |ip| Item::Net(IpNet::from(ip)))
            }
            Field::InputInterface | Field::OutputInterface => word
                .strip_suffix('*')
                .map_or_else(|| Item::Text(word.clone()), |start| Item::Prefix(start.to_owned())),
            Field::Family => Item::Text(
                match word.as_str() {
                    "ipv4" => "ip",
                    "ipv6" => "ip6",
                    other => other,
                }
                .to_owned(),
            ),
            _ => Item::Text(word.clone()),
        },
        _ => Item::Odd,
    }
}

/// Bits of TCP's flags that are named.
fn flags(value: &Value) -> Option<u64> {
    match value {
        Value::String(name) => flag(name),
        Value::Number(bits) => bits.as_u64(),
        Value::Array(names) => names.iter().try_fold(0, |bits, name| Some(bits | flags(name)?)),
        Value::Object(members) => members.get("|").and_then(flags),
        _ => None,
    }
}

/// A flag of TCP by its name.
pub(super) fn flag(name: &str) -> Option<u64> {
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let place = names.iter().position(|known| name.eq_ignore_ascii_case(known))?;
    Some(1 << place)
}
