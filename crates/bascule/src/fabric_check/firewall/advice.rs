//! What to type so that packets get through, in the words of the program that keeps the chain. Each piece of advice is
//! tried on the ruleset that was read before it is given.

use std::collections::BTreeSet;

use super::packet::{Journey, Protocol};
use super::ruleset::{Effect, Field, Hook, Item, Key, Rule, Ruleset, Test, Tool};
use crate::fabric_check::LINKS;

/// What shall get through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    Ports(Protocol, Vec<(u16, u16)>),
    /// Answers of endpoints.
    Answers,
    FromTunnels,
    ToTunnels,
}

impl Wanted {
    pub(super) fn of(journey: Journey, protocol: Protocol, ports: Vec<(u16, u16)>) -> Self {
        match journey {
            Journey::Arriving => Self::Ports(protocol, ports),
            Journey::Answering => Self::Answers,
            Journey::Outward => Self::FromTunnels,
            Journey::Back => Self::ToTunnels,
        }
    }

    fn tests(&self, hook: Hook) -> Vec<Test> {
        let established = Test::is(
            Field::State,
            ["established", "related"].map(|state| Item::Text(state.to_owned())).to_vec(),
        );
        match self {
            Self::Ports(protocol, ports) => {
                let ports = ports.iter().map(|(first, last)| Item::Range((*first).into(), (*last).into()));
                vec![
                    Test::text(Field::Protocol, protocol.name()),
                    Test::is(Field::DestinationPort, ports.collect()),
                ]
            }
            Self::FromTunnels => vec![links(Field::InputInterface)],
            Self::ToTunnels if hook != Hook::Prerouting => vec![links(Field::OutputInterface), established],
            Self::Answers | Self::ToTunnels => vec![established],
        }
    }

    fn nft(&self, hook: Hook) -> String {
        let established = "ct state established,related accept";
        match self {
            Self::Ports(protocol, ports) => {
                let ports = listed(ports, "-", ", ");
                let ports = if ports.contains(',') { format!("'{{ {ports} }}'") } else { ports };
                format!("{} dport {ports} accept", protocol.name())
            }
            Self::FromTunnels => format!("iifname '\"{LINKS}*\"' accept"),
            Self::ToTunnels if hook != Hook::Prerouting => {
                format!("oifname '\"{LINKS}*\"' {established}")
            }
            Self::Answers | Self::ToTunnels => established.to_owned(),
        }
    }

    /// `None`: iptables cannot say it there.
    fn iptables(&self, hook: Hook) -> Option<String> {
        let established = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
        Some(match self {
            Self::Ports(protocol, ports) => {
                let name = protocol.name();
                let listed = listed(ports, ":", ",");
                if listed.contains(',') {
                    format!("-p {name} -m multiport --dports {listed} -j ACCEPT")
                } else {
                    format!("-p {name} --dport {listed} -j ACCEPT")
                }
            }
            Self::FromTunnels if hook == Hook::Postrouting => return None,
            Self::FromTunnels => format!("-i {LINKS}+ -j ACCEPT"),
            Self::ToTunnels if hook != Hook::Prerouting => format!("-o {LINKS}+ {established}"),
            Self::Answers | Self::ToTunnels => established.to_owned(),
        })
    }
}

fn links(field: Field) -> Test {
    Test::is(field, vec![Item::Prefix(LINKS.to_owned())])
}

fn listed(ports: &[(u16, u16)], dash: &str, comma: &str) -> String {
    let each = ports
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}{dash}{last}") });
    each.collect::<Vec<_>>().join(comma)
}

/// A way to let it through.
pub(super) struct Advice {
    /// Whose the chain is, as `Docker's`; nothing if it is no program's that is known.
    pub whose: Option<&'static str>,
    pub commands: String,
    /// Rules that come first in these chains then; `None` where the program decides where they stand.
    inserts: Option<Vec<(Key, Rule)>>,
}

impl Advice {
    /// The rules as they are after it; `None` where that cannot be foreseen.
    pub(super) fn followed(&self, ruleset: &Ruleset) -> Option<Ruleset> {
        let mut ruleset = ruleset.clone();
        for (key, rule) in self.inserts.as_ref()? {
            ruleset.chains.entry(key.clone()).or_default().rules.insert(0, rule.clone());
        }
        Some(ruleset)
    }
}

/// Programs of iptables that are installed.
pub(super) trait Programs {
    /// What to type for `iptables` or `ip6tables` on tables of this tool.
    fn iptables(&self, tool: Tool, family: &str) -> Option<String>;
}

/// Ways to let what is wanted pass this base chain, the best first. `within`: the chains in which it ends so far.
pub(super) fn ways(
    ruleset: &Ruleset,
    (key, hook, within): (&Key, Hook, &BTreeSet<String>),
    wanted: &[Wanted],
    programs: &dyn Programs,
) -> Vec<Advice> {
    let filter = key.table == "filter";
    let iptables = (key.tool != Tool::Nft).then(|| programs.iptables(key.tool, &key.family)).flatten();
    let whole =
        |chain: &Key| wanted.iter().map(|wanted| (chain.clone(), accept(wanted, hook))).collect::<Vec<_>>();
    let mut ways = Vec::new();
    let ufw = if key.family == "ip6" { "ufw6" } else { "ufw" };
    if filter && matches!(hook, Hook::Input | Hook::Forward) {
        let user = if hook == Hook::Input { "user-input" } else { "user-forward" };
        let chain = key.beside(&format!("{ufw}-{user}"));
        let commands: Vec<String> = wanted.iter().filter_map(ufw_command).collect();
        if ruleset.has(&chain) && !commands.is_empty() {
            let said = wanted.iter().filter(|wanted| ufw_command(wanted).is_some());
            let inserts = said.map(|wanted| (chain.clone(), accept(wanted, hook))).collect();
            ways.push(Advice { whose: Some("ufw's"), commands: commands.join("; "), inserts: Some(inserts) });
        }
    }
    let docker = key.beside("DOCKER-USER");
    if filter && hook == Hook::Forward && ruleset.has(&docker) {
        let commands = insertions(iptables.as_deref(), &docker, hook, wanted);
        ways.push(Advice { whose: Some("Docker's"), commands, inserts: Some(whole(&docker)) });
    }
    if matches!(hook, Hook::Input | Hook::Forward) {
        ways.extend(firewalld(ruleset, key, within, wanted));
    }
    let whose = (key.family != "netdev" && iptables.is_some())
        .then(|| insertions(iptables.as_deref(), key, hook, wanted));
    let commands = whose.unwrap_or_else(|| insertions(None, key, hook, wanted));
    if key.tool != Tool::Legacy || iptables.is_some() {
        ways.push(Advice { whose: None, commands, inserts: Some(whole(key)) });
    }
    ways
}

fn accept(wanted: &Wanted, hook: Hook) -> Rule {
    Rule { tests: wanted.tests(hook), effects: vec![Effect::Accept], said: "what was advised".to_owned() }
}

fn insertions(iptables: Option<&str>, chain: &Key, hook: Hook, wanted: &[Wanted]) -> String {
    let Key { family, table, name, .. } = chain;
    let each = wanted.iter().map(|wanted| {
        if let Some((iptables, rule)) = iptables.zip(wanted.iptables(hook)) {
            let table = if table == "filter" { String::new() } else { format!("-t {table} ") };
            return format!("{iptables} {table}-I {name} {rule}");
        }
        format!("nft insert rule {family} {table} {name} {}", wanted.nft(hook))
    });
    each.collect::<Vec<_>>().join("; ")
}

/// It lets answers through by itself.
fn ufw_command(wanted: &Wanted) -> Option<String> {
    match wanted {
        Wanted::Ports(protocol, ports) => {
            Some(format!("ufw allow {}/{}", listed(ports, ":", ","), protocol.name()))
        }
        Wanted::FromTunnels => Some(format!("ufw route allow in on {LINKS}+")),
        Wanted::Answers | Wanted::ToTunnels => None,
    }
}

/// It lets answers through by itself. Ports are a zone's, and the zone that counts is the one clients come in by.
fn firewalld(ruleset: &Ruleset, key: &Key, within: &BTreeSet<String>, wanted: &[Wanted]) -> Option<Advice> {
    let kind = if key.table == "firewalld" { "filter_" } else { "" };
    // The chain that leads to those of zones; its name is another in newer versions.
    let mut entries = ["FORWARD_ZONES", "FORWARD_dispatch"].map(|name| format!("{kind}{name}")).into_iter();
    let entry = entries.find(|name| ruleset.has(&key.beside(name)));
    if kind.is_empty() && entry.is_none() && !ruleset.has(&key.beside("INPUT_ZONES")) {
        return None;
    }
    let place = format!("{kind}IN_");
    let zones: BTreeSet<&str> = within
        .iter()
        .filter_map(|chain| chain.strip_prefix(&place))
        .map(|zone| zone.strip_suffix("_to_HOST").unwrap_or(zone))
        .filter(|zone| ruleset.has(&key.beside(&format!("{place}{zone}_allow"))))
        .collect();
    let (mut opened, mut commands) = (String::new(), Vec::new());
    let mut inserts = Vec::new();
    let mut insert = |chain: String, wanted: &Wanted, hook: Hook| {
        inserts.push((key.beside(&chain), accept(wanted, hook)));
    };
    for wanted in wanted {
        match wanted {
            Wanted::Ports(protocol, ports) => {
                for port in ports {
                    let port = listed(&[*port], "-", ",");
                    opened.push_str(&format!(" --add-port={port}/{}", protocol.name()));
                }
                for zone in &zones {
                    insert(format!("{place}{zone}_allow"), wanted, Hook::Input);
                }
            }
            Wanted::FromTunnels => {
                // It leads to the zone's own chain, which accepts.
                insert(entry.clone().unwrap_or_default(), wanted, Hook::Forward);
                commands.push(format!("firewall-cmd --permanent --zone=trusted --change-interface={LINKS}+"));
            }
            Wanted::Answers | Wanted::ToTunnels => {}
        }
    }
    if !opened.is_empty() {
        let mut zones: Vec<String> = zones.iter().map(|zone| format!(" --zone={zone}")).collect();
        if zones.is_empty() {
            // Then it is the default one.
            zones.push(String::new());
        }
        commands.extend(zones.iter().map(|zone| format!("firewall-cmd --permanent{zone}{opened}")));
    }
    if commands.is_empty() {
        return None;
    }
    commands.push("firewall-cmd --reload".to_owned());
    let foreseen = !inserts.is_empty() && inserts.iter().all(|(chain, _)| ruleset.has(chain));
    Some(Advice {
        whose: Some("firewalld's"),
        commands: commands.join("; "),
        inserts: foreseen.then_some(inserts),
    })
}
