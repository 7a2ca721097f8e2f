//! The host's filters as far as they can be judged: chains, and rules as tests and effects. Whatever is not understood is
//! a test that may hold or not, never one that is left out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Which program a table belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Nft,
    /// Made by iptables and kept by nftables.
    Iptables,
    /// Kept by the kernel's older tables, which `nft` does not show.
    Legacy,
}

/// Where a chain stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub tool: Tool,
    /// `ip`, `ip6`, `inet` or `netdev`.
    pub family: String,
    pub table: String,
    pub name: String,
}

impl Key {
    /// Another chain of the same table.
    pub(super) fn beside(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Ingress,
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    Egress,
}

impl Hook {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "ingress" => Self::Ingress,
            "prerouting" => Self::Prerouting,
            "input" => Self::Input,
            "forward" => Self::Forward,
            "output" => Self::Output,
            "postrouting" => Self::Postrouting,
            "egress" => Self::Egress,
            _ => return None,
        })
    }
}

/// What makes a chain one that the kernel itself calls.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub hook: Hook,
    pub priority: i64,
    /// Whether what no rule decides is dropped.
    pub drops: bool,
    /// Whether it sees the first packet of a connection only.
    pub nat: bool,
    /// The devices it is for; empty where none is said.
    pub devices: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub tests: Vec<Test>,
    pub effects: Vec<Effect>,
    /// How a person finds it.
    pub said: String,
}

/// What of a packet is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    InputInterface,
    OutputInterface,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    Protocol,
    Family,
    State,
    Direction,
    /// What has been rewritten of its connection.
    Status,
    /// The mark under a mask.
    Mark(u64),
    /// TCP's flags under a mask.
    Flags(u64),
    SourceKind,
    DestinationKind,
    PacketKind,
    /// Whether there is a way back to the source, by its mark or without; `strict`: by the interface it came by.
    WayBack {
        marked: bool,
        strict: bool,
    },
    /// Not understood.
    Odd,
    /// Holds for no ordinary packet: a rate that is exceeded.
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Text(String),
    /// Texts that begin so.
    Prefix(String),
    Range(u64, u64),
    Net(IpNet),
    Addresses(IpAddr, IpAddr),
    /// Not understood.
    Odd,
}

#[derive(Clone, Debug)]
pub(super) struct Test {
    pub field: Field,
    pub negated: bool,
    /// One of them has to fit.
    pub any: Vec<Item>,
}

impl Test {
    pub(super) fn is(field: Field, any: Vec<Item>) -> Self {
        Self { field, negated: false, any }
    }

    pub(super) fn text(field: Field, text: &str) -> Self {
        Self::is(field, vec![Item::Text(text.to_owned())])
    }

    pub(super) fn odd() -> Self {
        Self::is(Field::Odd, vec![Item::Odd])
    }

    pub(super) fn never() -> Self {
        Self::is(Field::Never, vec![Item::Odd])
    }
}

#[derive(Clone, Debug)]
pub(super) enum Effect {
    Accept,
    Stop,
    /// To another place than it was sent to.
    Divert,
    /// Another program is asked.
    Ask,
    Jump(String),
    Goto(String),
    Return,
    /// By the first item that fits.
    Map(Field, Vec<(Item, Effect)>),
    /// The mark is another one from here.
    Remark,
    /// Its connection is not tracked.
    Untrack,
    /// Nothing that matters here.
    Nothing,
    /// Not understood.
    Odd,
}

/// What an extension of iptables does with a packet; `None`: it is no extension that is known.
pub(super) fn target(name: &str) -> Option<Effect> {
    Some(match name {
        "ACCEPT" | "MASQUERADE" | "SNAT" => Effect::Accept,
        "DROP" | "REJECT" | "TARPIT" => Effect::Stop,
        "DNAT" | "REDIRECT" | "TPROXY" => Effect::Divert,
        "QUEUE" | "NFQUEUE" => Effect::Ask,
        "RETURN" => Effect::Return,
        "MARK" | "CONNMARK" => Effect::Remark,
        "NOTRACK" => Effect::Untrack,
        "LOG" | "NFLOG" | "TCPMSS" | "TOS" | "DSCP" | "TTL" | "HL" | "CLASSIFY" | "CHECKSUM" | "SET"
        | "TRACE" | "AUDIT" | "TEE" | "CT" | "SECMARK" | "CONNSECMARK" | "IDLETIMER" => Effect::Nothing,
        _ => return None,
    })
}

/// All tables of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Ruleset {
    pub chains: BTreeMap<Key, Chain>,
}

impl Ruleset {
    /// The chains that the kernel calls at this hook, in its order.
    pub(super) fn at(&self, hook: Hook) -> Vec<(&Key, &Base)> {
        let mut found: Vec<(&Key, &Base)> = self
            .chains
            .iter()
            .filter_map(|(key, chain)| chain.base.as_ref().map(|base| (key, base)))
            .filter(|(_, base)| base.hook == hook)
            .collect();
        found.sort_by_key(|(_, base)| base.priority);
        found
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.chains.contains_key(key)
    }
}
