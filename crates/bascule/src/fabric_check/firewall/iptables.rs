//! What `iptables-save` and `ip6tables-save` print, read. `nft` shows such tables without most of what their rules ask.

use std::net::IpAddr;

use ipnet::IpNet;

use super::nft::flag;
use super::packet::THERE;
use super::ruleset::{Base, Effect, Field, Hook, Item, Key, Rule, Ruleset, Test, Tool, target};

/// Adds the tables of a text to what is known.
pub(super) fn read(text: &str, tool: Tool, family: &str, ruleset: &mut Ruleset) {
    let mut table = String::new();
    for line in text.lines() {
        let key =
            |name: &str| Key { tool, family: family.to_owned(), table: table.clone(), name: name.to_owned() };
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let (name, policy) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let base = (policy != "-").then(|| base(&table, name, policy)).flatten();
            ruleset.chains.entry(key(name)).or_default().base = base;
        } else if line.starts_with("-A ") {
            let words = words(line);
            let Some(name) = words.get(1) else { continue };
            let chains = |target: &str| ruleset.chains.contains_key(&key(target));
            let rule = rule(words.get(2..).unwrap_or_default(), line, &chains);
            ruleset.chains.entry(key(name)).or_default().rules.push(rule);
        }
    }
}

fn base(table: &str, name: &str, policy: &str) -> Option<Base> {
    let hook = Hook::named(name)?;
    let priority = match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", Hook::Prerouting | Hook::Output) => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    };
    Some(Base { hook, priority, drops: policy == "DROP", nat: table == "nat", devices: Vec::new() })
}

/// Words of a line; what is in quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut escaped) = (String::new(), false, false);
    for letter in line.chars() {
        match letter {
            _ if escaped => {
                word.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    words.push(word);
    words
}

fn rule(words: &[String], line: &str, is_chain: &dyn Fn(&str) -> bool) -> Rule {
    let mut rule = Rule { tests: Vec::new(), effects: Vec::new(), said: format!("the rule \"{line}\"") };
    let mut rest = words.iter().map(String::as_str);
    let mut negated = false;
    while let Some(option) = rest.next() {
        if option == "!" {
            negated = true;
            continue;
        }
        match option {
            "-j" | "-g" => {
                let name = rest.next().unwrap_or_default();
                let effect = match target(name) {
                    Some(Effect::Nothing) if name == "CT" && rest.any(|word| word == "--notrack") => {
                        Effect::Untrack
                    }
                    Some(effect) => effect,
                    None if is_chain(name) && option == "-g" => Effect::Goto(name.to_owned()),
                    None if is_chain(name) => Effect::Jump(name.to_owned()),
                    None => Effect::Odd,
                };
                rule.effects.push(effect);
                return rule;
            }
            "-m" => {
                if rest.next() == Some("rpfilter") {
                    let field = Field::WayBack { marked: false, strict: true };
                    rule.tests.push(Test::text(field, THERE));
                }
            }
            "--loose" | "--validmark" | "--accept-local" | "--invert" => {
                let asked = rule.tests.last_mut();
                if let Some(Test { field: Field::WayBack { marked, strict }, negated, .. }) = asked {
                    match option {
                        "--loose" => *strict = false,
                        "--validmark" => *marked = true,
                        "--invert" => *negated = true,
                        _ => {}
                    }
                }
            }
            "--limit"
            | "--limit-burst"
            | "--comment"
            | "--hashlimit-upto"
            | "--hashlimit-burst"
            | "--hashlimit-mode"
            | "--hashlimit-name"
            | "--hashlimit-srcmask"
            | "--hashlimit-dstmask"
            | "--hashlimit-htable-size"
            | "--hashlimit-htable-max"
            | "--hashlimit-htable-expire"
            | "--hashlimit-htable-gcinterval"
            | "--connlimit-upto"
            | "--connlimit-mask" => {
                rest.next();
            }
            "--limit-iface-in" | "--limit-iface-out" | "--connlimit-saddr" | "--connlimit-daddr" => {}
            "--syn" => {
                let (mask, syn) = (0b1_0111, 0b10);
                rule.tests.push(Test {
                    field: Field::Flags(mask),
                    negated,
                    any: vec![Item::Range(syn, syn)],
                });
            }
            "--hashlimit-above" | "--connlimit-above" => {
                rest.next();
                if !negated {
                    rule.tests.push(Test::never());
                }
            }
            "--tcp-flags" => {
                let bits = |list: Option<&str>| {
                    list.unwrap_or_default().split(',').try_fold(0, |bits, name| match name {
                        "NONE" => Some(bits),
                        "ALL" => Some(0b11_1111),
                        _ => Some(bits | flag(name)?),
                    })
                };
                rule.tests.push(match (bits(rest.next()), bits(rest.next())) {
                    (Some(mask), Some(set)) => {
                        Test { field: Field::Flags(mask), negated, any: vec![Item::Range(set, set)] }
                    }
                    _ => Test::odd(),
                });
            }
            _ => match test(option, &mut rest) {
                Some((field, any)) => rule.tests.push(Test { field, negated, any }),
                // How many words belong to it nobody knows: on with the target.
                None => {
                    rule.tests.push(Test::odd());
                    let mut ahead = rest.clone();
                    while ahead.next().is_some_and(|word| word != "-j" && word != "-g") {
                        rest = ahead.clone();
                    }
                }
            },
        }
        negated = false;
    }
    rule
}

fn test<'a>(option: &str, rest: &mut impl Iterator<Item = &'a str>) -> Option<(Field, Vec<Item>)> {
    let field = match option {
        "-s" => Field::Source,
        "-d" => Field::Destination,
        "-i" => Field::InputInterface,
        "-o" => Field::OutputInterface,
        "-p" => Field::Protocol,
        "--sport" | "--sports" => Field::SourcePort,
        "--dport" | "--dports" => Field::DestinationPort,
        "--ctstate" | "--state" => Field::State,
        "--ctdir" => Field::Direction,
        "--ctstatus" => Field::Status,
        "--src-type" => Field::SourceKind,
        "--dst-type" => Field::DestinationKind,
        "--pkt-type" => Field::PacketKind,
        // Of packets that are no TCP or UDP, or have a header that ordinary ones have not.
        "--icmp-type" | "--icmpv6-type" | "--rt-type" => Field::Never,
        "--mark" => Field::Mark(u64::MAX),
        _ => return None,
    };
    let value = rest.next()?;
    if let Field::Mark(_) = field {
        let (mark, mask) = value.split_once('/').unwrap_or((value, "0xffffffff"));
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        let (mark, mask) = number(mark).zip(number(mask))?;
        return Some((Field::Mark(mask), vec![Item::Range(mark, mark)]));
    }
    let any = value.split(',').map(|word| item(word, &field)).collect();
    Some((field, any))
}

fn item(word: &str, field: &Field) -> Item {
    match field {
        Field::Source | Field::Destination => {
            let net = word.parse::<IpNet>().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
            net.map_or(Item::Odd, Item::Net)
        }
        Field::InputInterface | Field::OutputInterface => word
            .strip_suffix('+')
            .map_or_else(|| Item::Text(word.to_owned()), |start| Item::Prefix(start.to_owned())),
        Field::SourcePort | Field::DestinationPort => {
            let (first, last) = word.split_once(':').unwrap_or((word, word));
            let ends = first.parse().ok().zip(last.parse().ok());
            ends.map_or(Item::Odd, |(first, last)| Item::Range(first, last))
        }
        _ => Item::Text(word.to_ascii_lowercase()),
    }
}
