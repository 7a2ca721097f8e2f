//! Whether the filters of other programs let clients in, and on to their networks.
//!
//! The filters are read and followed here, rule by rule, for the packets that matter. Sending probes would ask the kernel
//! itself, but only for the addresses and interfaces of the probe, as root, and by changing a host that may be at work; a
//! rule names the interface by which the world comes in, and no probe of ours comes from there. What is not understood
//! counts as unknown, and is said to be.

mod advice;
mod iptables;
mod nft;
mod packet;
mod read;
mod ruleset;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use self::advice::{Advice, Programs, Wanted, ways};
use self::packet::{Journey, Packet, Protocol, Truth};
use self::ruleset::{Hook, Key, Ruleset, Tool};
use self::walk::{Verdict, follow};
use super::{Finding, Good, lack, note, unknown};

/// What shall get through.
pub(super) struct Ways {
    /// Addresses of endpoints, each with the interface clients come by, where that can be said.
    pub doors: Vec<(IpAddr, Option<String>)>,
    pub ports: Ports,
    /// Interfaces to the networks behind, of IPv4 and of IPv6.
    pub inside: [Vec<Inside>; 2],
}

/// An interface to networks behind.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    pub name: Option<String>,
    /// Whether it is certain that clients' packets leave by it.
    pub certain: bool,
}

/// Ports of endpoints.
pub(super) enum Ports {
    Each(Vec<u16>),
    Range(u16, u16),
}

impl Ports {
    /// Those that are tried.
    fn tried(&self) -> Vec<u16> {
        match self {
            Self::Each(ports) => ports.clone(),
            Self::Range(first, last) => {
                let between = first.saturating_add(last.saturating_sub(*first) / 2);
                let mut ports = vec![*first, between, *last];
                ports.dedup();
                ports
            }
        }
    }

    /// Those to open where these are closed.
    fn to_open(&self, closed: &BTreeSet<u16>) -> Vec<(u16, u16)> {
        match self {
            Self::Each(_) => closed.iter().map(|port| (*port, *port)).collect(),
            Self::Range(first, last) => vec![(*first, *last)],
        }
    }
}

/// What this host's filters do with them.
pub(super) fn findings(ways: &Ways) -> Vec<Finding> {
    let (ruleset, mut findings) = read::host();
    let judged = ruleset.map(|ruleset| judge(&ruleset, ways, &read::Installed));
    findings.extend(judged.into_iter().flatten());
    if findings.is_empty() {
        return vec![Good(
            "no filter of another program stops clients, on their way in or behind".to_owned(),
        )];
    }
    findings
}

/// One packet that is followed.
struct Probe {
    packet: Packet,
    /// Which other probes it stands for together with.
    group: String,
    certain: bool,
}

fn probes(ways: &Ways) -> Vec<Probe> {
    let mut probes = Vec::new();
    for (ip, interface) in &ways.doors {
        for port in ways.ports.tried() {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                for journey in [Journey::Arriving, Journey::Answering] {
                    let arriving = journey == Journey::Arriving;
                    let (ipv6, own) = (ip.is_ipv6(), Some((*ip, port)));
                    let input = interface.clone().filter(|_| arriving);
                    let output = interface.clone().filter(|_| !arriving);
                    let packet = Packet { journey, ipv6, protocol, input, output, own };
                    probes.push(Probe { packet, group: ip.to_string(), certain: false });
                }
            }
        }
    }
    for (interfaces, ipv6) in ways.inside.iter().zip([false, true]) {
        for inside in interfaces {
            for journey in [Journey::Outward, Journey::Back] {
                let (tunnel, name) = (Some(format!("{}0123456789ab", super::LINKS)), inside.name.clone());
                let outward = journey == Journey::Outward;
                let (input, output) = if outward { (tunnel, name) } else { (name, tunnel) };
                let packet = Packet { journey, ipv6, protocol: Protocol::Tcp, input, output, own: None };
                let group = inside.name.clone().unwrap_or_default();
                probes.push(Probe { packet, group, certain: inside.certain });
            }
        }
    }
    probes
}

/// What a base chain does to the probes of one kind.
#[derive(Default)]
struct Stopped {
    hook: Option<Hook>,
    within: BTreeSet<String>,
    diverted: bool,
    doubts: BTreeSet<String>,
    closed: BTreeMap<Protocol, BTreeSet<u16>>,
    journeys: BTreeSet<Journey>,
    groups: BTreeSet<(String, Journey)>,
    certain: bool,
    probes: Vec<Packet>,
}

fn judge(ruleset: &Ruleset, ways: &Ways, programs: &dyn Programs) -> Vec<Finding> {
    let probes = probes(ways);
    // Of what comes in, and of what goes on; each of IPv4 and IPv6, as what is typed differs.
    let mut stopped: BTreeMap<(Key, bool, bool), Stopped> = BTreeMap::new();
    let mut unclear: BTreeMap<(Key, bool, bool), Stopped> = BTreeMap::new();
    // Of all probes of a group and direction, how many there are, and how many are stopped somewhere.
    let mut counts: BTreeMap<(String, bool, Journey), (usize, usize)> = BTreeMap::new();
    for probe in &probes {
        let (packet, door) = (&probe.packet, probe.packet.own.is_some());
        let particular = follow(ruleset, packet, Truth::Maybe);
        let mut is_stopped = false;
        for (key, verdict) in follow(ruleset, packet, Truth::No) {
            let place = (key.clone(), door, packet.ipv6);
            let entry = match verdict {
                Verdict::Passes => continue,
                Verdict::Stops { within, diverted } => {
                    let some = particular
                        .iter()
                        .any(|(other, verdict)| *other == key && !matches!(verdict, Verdict::Stops { .. }));
                    let entry = if some { unclear.entry(place) } else { stopped.entry(place) }.or_default();
                    entry.within.insert(within);
                    entry.diverted |= diverted;
                    is_stopped |= !some;
                    entry
                }
                Verdict::Unclear(doubts) => {
                    let entry = unclear.entry(place).or_default();
                    entry.doubts.extend(doubts);
                    entry
                }
            };
            entry.add(probe, ruleset, &key);
        }
        let (known, gone) = counts.entry((probe.group.clone(), packet.ipv6, packet.journey)).or_default();
        *known = known.saturating_add(1);
        *gone = gone.saturating_add(usize::from(is_stopped));
    }
    let mut findings = Vec::new();
    for ((key, door, ipv6), stopped) in &stopped {
        let is_shut = |(group, journey): &(String, Journey)| {
            counts.get(&(group.clone(), *ipv6, *journey)).is_some_and(|(known, gone)| known == gone)
        };
        findings.push(stopped.finding((ruleset, key), ways, programs, (*door, *ipv6), &is_shut));
    }
    for ((key, door, ipv6), unclear) in &unclear {
        findings.push(unclear.doubt((ruleset, key), ways, programs, (*door, *ipv6)));
    }
    findings
}

impl Stopped {
    fn add(&mut self, probe: &Probe, ruleset: &Ruleset, key: &Key) {
        let packet = &probe.packet;
        self.hook = ruleset.chains.get(key).and_then(|chain| chain.base.as_ref()).map(|base| base.hook);
        if let (Some((_, port)), Journey::Arriving) = (packet.own, packet.journey) {
            self.closed.entry(packet.protocol).or_default().insert(port);
        }
        self.journeys.insert(packet.journey);
        self.groups.insert((probe.group.clone(), packet.journey));
        self.certain |= probe.certain;
        self.probes.push(packet.clone());
    }

    fn wanted(&self, ports: &Ports) -> Vec<Wanted> {
        let arriving = self
            .closed
            .iter()
            .map(|(protocol, closed)| Wanted::of(Journey::Arriving, *protocol, ports.to_open(closed)));
        let others = self.journeys.iter().filter(|journey| **journey != Journey::Arriving);
        arriving.chain(others.map(|journey| Wanted::of(*journey, Protocol::Udp, Vec::new()))).collect()
    }

    /// The first way that gets these packets through, as far as can be foreseen.
    fn advice(
        &self,
        (ruleset, key): (&Ruleset, &Key),
        ways_: &Ways,
        programs: &dyn Programs,
    ) -> Option<Advice> {
        let wanted = self.wanted(&ways_.ports);
        ways(ruleset, (key, self.hook?, &self.within), &wanted, programs).into_iter().find(|way| {
            way.followed(ruleset).is_none_or(|then| {
                self.probes.iter().all(|packet| {
                    let passes = |(of, verdict): &(Key, Verdict)| of != key || *verdict == Verdict::Passes;
                    follow(&then, packet, Truth::No).iter().all(passes)
                })
            })
        })
    }

    fn typed(advice: Option<&Advice>, key: &Key) -> String {
        let Key { tool, family, table, name } = key;
        advice.map_or_else(
            || match tool {
                Tool::Legacy => format!("iptables-legacy -t {table} -nvL {name}, and let it pass there"),
                _ => format!("nft --handle list chain {family} {table} {name}, and let it pass there"),
            },
            |advice| advice.commands.clone(),
        )
    }

    fn chain(&self, advice: Option<&Advice>, key: &Key) -> String {
        let whose = advice.and_then(|advice| advice.whose).map(|whose| format!(" ({whose})"));
        let Key { family, table, name, .. } = key;
        format!("the chain {name} of the table {family} {table}{}", whose.unwrap_or_default())
    }

    fn what(&self, ipv6: bool, ports: &Ports) -> String {
        let version = if ipv6 { "IPv6" } else { "IPv4" };
        let mut whats = Vec::new();
        for (protocol, closed) in &self.closed {
            let each = ports.to_open(closed).into_iter().map(|(first, last)| {
                if first == last { first.to_string() } else { format!("{first} to {last}") }
            });
            let each = each.collect::<Vec<_>>().join(" and ");
            whats.push(format!("what comes to {} {each}", protocol.name().to_ascii_uppercase()));
        }
        for journey in &self.journeys {
            match journey {
                Journey::Arriving => {}
                Journey::Answering => whats.push("what endpoints answer".to_owned()),
                Journey::Outward => whats.push("what clients send to networks".to_owned()),
                Journey::Back => whats.push("what networks answer".to_owned()),
            }
        }
        format!("{} by {version}", whats.join(", "))
    }

    fn finding(
        &self,
        (ruleset, key): (&Ruleset, &Key),
        ways: &Ways,
        programs: &dyn Programs,
        (door, ipv6): (bool, bool),
        is_shut: &dyn Fn(&(String, Journey)) -> bool,
    ) -> Finding {
        let advice = self.advice((ruleset, key), ways, programs);
        let verb = if self.diverted { "sends elsewhere" } else { "drops" };
        let inner: Vec<&str> =
            self.within.iter().map(String::as_str).filter(|within| *within != key.name).collect();
        let inner = if inner.is_empty() { String::new() } else { format!(" (in {})", inner.join(" and ")) };
        let stopped: BTreeSet<&str> = self.groups.iter().map(|(group, _)| group.as_str()).collect();
        let whole = if door {
            self.groups.iter().any(is_shut)
        } else {
            let known = ways.inside.get(usize::from(ipv6)).map(Vec::len).unwrap_or_default();
            self.certain || known <= stopped.len()
        };
        let consequence = match (door, whole) {
            (true, true) => "no client gets in there",
            (true, false) => "an endpoint is not reached there",
            (false, true) => "clients reach nothing",
            (false, false) => "clients reach no network behind some interfaces",
        };
        let by = match (door, whole) {
            (false, false) => format!(" ({})", stopped.into_iter().collect::<Vec<_>>().join(", ")),
            _ => String::new(),
        };
        let what = format!(
            "{} {verb}{inner} {}{by}: what one table drops, no other lets through, so {consequence}",
            self.chain(advice.as_ref(), key),
            self.what(ipv6, &ways.ports),
        );
        let do_this = Self::typed(advice.as_ref(), key);
        if whole { lack(what, do_this) } else { note(what, do_this) }
    }

    fn doubt(
        &self,
        (ruleset, key): (&Ruleset, &Key),
        ways: &Ways,
        programs: &dyn Programs,
        (_, ipv6): (bool, bool),
    ) -> Finding {
        let what = self.what(ipv6, &ways.ports);
        let advice = self.advice((ruleset, key), ways, programs);
        let chain = self.chain(advice.as_ref(), key);
        let do_this = Self::typed(advice.as_ref(), key);
        if self.doubts.is_empty() {
            return unknown(
                format!("{chain} lets {what} pass for particular addresses only"),
                format!("{do_this}, if it shall pass for all"),
            );
        }
        let doubts: Vec<&str> = self.doubts.iter().map(String::as_str).collect();
        unknown(
            format!(
                "whether {chain} lets {what} pass depends on what is not understood here: {}",
                doubts.join("; ")
            ),
            format!("{do_this}, if clients do not get through"),
        )
    }
}

#[cfg(test)]
mod tests;
