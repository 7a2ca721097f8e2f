//! The packets that have to get through, and what a test sees of one.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::ruleset::{Base, Field, Hook, Item, Test};

/// What is said of a way back.
pub(super) const THERE: &str = "there";
pub(super) const MISSING: &str = "missing";

/// Where our own rules mark what comes from a tunnel, and where what goes back to one.
const OUTWARD: i64 = -300;
const BACK: i64 = 200;
/// Where ours take the mark of an answer away, as it is forwarded.
const FORWARDED: i64 = 0;

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    Maybe,
    Yes,
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Udp,
    Tcp,
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Journey {
    /// A client's first packet to an endpoint.
    Arriving,
    /// An endpoint's answer to a client.
    Answering,
    /// From a client's tunnel to a network.
    Outward,
    /// Its answer, back to the tunnel.
    Back,
}

impl Journey {
    pub(super) fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Arriving => &[Hook::Ingress, Hook::Prerouting, Hook::Input],
            Self::Answering => &[Hook::Output, Hook::Postrouting, Hook::Egress],
            Self::Outward | Self::Back => {
                &[Hook::Ingress, Hook::Prerouting, Hook::Forward, Hook::Postrouting, Hook::Egress]
            }
        }
    }

    /// Whether our mark is on the packet in this chain. It leads to the client and nowhere else.
    pub(super) fn marked(self, base: &Base) -> Truth {
        let behind = |ours: i64| match base.priority.cmp(&ours) {
            Ordering::Less => Truth::No,
            // Whichever was loaded first.
            Ordering::Equal => Truth::Maybe,
            Ordering::Greater => Truth::Yes,
        };
        match (self, base.hook) {
            (Self::Arriving | Self::Answering, _) | (_, Hook::Ingress) => Truth::No,
            (Self::Outward, Hook::Prerouting) => behind(OUTWARD),
            (Self::Outward, _) => Truth::Yes,
            (Self::Back, Hook::Prerouting) => behind(BACK),
            (Self::Back, Hook::Forward) => behind(FORWARDED).not(),
            (Self::Back, _) => Truth::No,
        }
    }

    /// Whether it is an answer within a connection that is there.
    pub(super) fn answers(self) -> bool {
        matches!(self, Self::Answering | Self::Back)
    }
}

/// A packet of a client nobody knows. Its far side has no address that a rule could mean: a rule for particular addresses
/// or ports holds for some packets, and not for this one.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub journey: Journey,
    pub ipv6: bool,
    pub protocol: Protocol,
    /// The interface it comes by; `None`: it cannot be said.
    pub input: Option<String>,
    /// The one it leaves by.
    pub output: Option<String>,
    /// The endpoint's own address and port, of one that arrives or answers.
    pub own: Option<(IpAddr, u16)>,
}

/// What of it changes on its way.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    /// Its mark; `None`: unknown.
    pub mark: Option<u64>,
    /// Whether the mark is ours.
    pub marked: Truth,
    /// Whether its connection is tracked.
    pub tracked: Truth,
    /// Whether a rule for particular addresses or ports holds.
    pub particular: Truth,
}

enum Seen<'a> {
    Text(&'a str),
    Number(u64),
    Address(IpAddr),
    /// Some address or port: nobody says which.
    Unsaid,
    Unknown,
}

impl Packet {
    /// Whether a test holds at a hook, `early` being before connections are looked up.
    pub(super) fn fits(&self, test: &Test, hook: Hook, early: bool, carried: &Carried) -> Truth {
        let holds = match test.field {
            Field::Never => Truth::No,
            _ => self.any_fits(&test.field, &test.any, hook, early, carried),
        };
        if test.negated { holds.not() } else { holds }
    }

    fn any_fits(&self, field: &Field, items: &[Item], hook: Hook, early: bool, carried: &Carried) -> Truth {
        let seen = self.seen(field, hook, early, carried);
        items.iter().map(|item| one_fits(&seen, item, carried.particular)).max().unwrap_or(Truth::No)
    }

    /// Whether one item fits what is seen.
    pub(super) fn item_fits(
        &self,
        field: &Field,
        item: &Item,
        hook: Hook,
        early: bool,
        carried: &Carried,
    ) -> Truth {
        one_fits(&self.seen(field, hook, early, carried), item, carried.particular)
    }

    fn seen(&self, field: &Field, hook: Hook, early: bool, carried: &Carried) -> Seen<'_> {
        let arriving = self.journey == Journey::Arriving;
        match field {
            Field::InputInterface => interface(self.input.as_ref(), self.journey != Journey::Answering),
            Field::OutputInterface => {
                let there = !matches!(hook, Hook::Ingress | Hook::Prerouting | Hook::Input);
                interface(self.output.as_ref(), there)
            }
            Field::Source => self.own_address(self.journey == Journey::Answering),
            Field::Destination => self.own_address(arriving),
            Field::SourcePort => self.own_port(self.journey == Journey::Answering),
            Field::DestinationPort => self.own_port(arriving),
            Field::Protocol => Seen::Text(self.protocol.name()),
            Field::Family => Seen::Text(if self.ipv6 { "ip6" } else { "ip" }),
            Field::State => match carried.tracked {
                Truth::Maybe => Seen::Unknown,
                _ if early => Seen::Text("invalid"),
                Truth::No => Seen::Text("untracked"),
                Truth::Yes if self.journey.answers() => Seen::Text("established"),
                Truth::Yes => Seen::Text("new"),
            },
            Field::Direction => Seen::Text(if self.journey.answers() { "reply" } else { "original" }),
            // Of what is rewritten only our own rules know.
            Field::Status => Seen::Text("seen"),
            Field::Mark(mask) => carried.mark.map_or(Seen::Unknown, |mark| Seen::Number(mark & mask)),
            Field::Flags(mask) => Seen::Number(mask & if self.journey.answers() { 0b1_0000 } else { 0b10 }),
            Field::SourceKind if self.journey == Journey::Answering => Seen::Text("local"),
            Field::DestinationKind if arriving => Seen::Text("local"),
            Field::SourceKind | Field::DestinationKind => Seen::Text("unicast"),
            Field::WayBack { marked, strict } => {
                self.way_back(if *marked { carried.marked } else { Truth::No }, *strict)
            }
            Field::PacketKind => Seen::Text(if self.journey == Journey::Answering { "" } else { "host" }),
            Field::Odd | Field::Never => Seen::Unknown,
        }
    }

    /// What the routing says of its source, with our mark or without: a client is in our own table, and all others are in
    /// the main one.
    fn way_back(&self, marked: Truth, strict: bool) -> Seen<'_> {
        match (self.journey, marked) {
            (Journey::Arriving, _) | (Journey::Outward, Truth::Yes) | (Journey::Back, Truth::No) => {
                Seen::Text(THERE)
            }
            (Journey::Outward, Truth::No) if strict => Seen::Text(MISSING),
            (Journey::Back, Truth::Yes) => Seen::Text(MISSING),
            // A default route leads to everybody.
            (Journey::Outward | Journey::Back | Journey::Answering, _) => Seen::Unknown,
        }
    }

    fn own_address(&self, own: bool) -> Seen<'_> {
        self.own.filter(|_| own).map_or(Seen::Unsaid, |(ip, _)| Seen::Address(ip))
    }

    fn own_port(&self, own: bool) -> Seen<'_> {
        self.own.filter(|_| own).map_or(Seen::Unsaid, |(_, port)| Seen::Number(port.into()))
    }
}

/// The kernel has no name for an interface that is not known yet.
fn interface(name: Option<&String>, there: bool) -> Seen<'_> {
    match name {
        _ if !there => Seen::Text(""),
        Some(name) => Seen::Text(name),
        None => Seen::Unknown,
    }
}

fn one_fits(seen: &Seen<'_>, item: &Item, particular: Truth) -> Truth {
    let so = |yes: bool| if yes { Truth::Yes } else { Truth::No };
    match (seen, item) {
        (Seen::Unsaid, Item::Net(net)) if net.prefix_len() == 0 => Truth::Yes,
        (Seen::Unsaid, Item::Range(0 | 1, last)) if *last >= u64::from(u16::MAX) => Truth::Yes,
        // A port is what makes a service: others are shut out. An address may stand for all that clients need.
        (Seen::Unsaid, Item::Range(..)) => Truth::No,
        (Seen::Unsaid, _) => particular,
        (Seen::Unknown, _) | (_, Item::Odd) => Truth::Maybe,
        (Seen::Text(text), Item::Text(wanted)) => so(text.eq_ignore_ascii_case(wanted)),
        (Seen::Text(text), Item::Prefix(start)) => so(text.starts_with(start.as_str())),
        (Seen::Number(number), Item::Range(first, last)) => so((first..=last).contains(&number)),
        (Seen::Address(ip), Item::Net(net)) => so(net.contains(ip)),
        (Seen::Address(ip), Item::Addresses(first, last)) => so((first..=last).contains(&ip)),
        (Seen::Text(_) | Seen::Number(_) | Seen::Address(_), _) => Truth::Maybe,
    }
}
