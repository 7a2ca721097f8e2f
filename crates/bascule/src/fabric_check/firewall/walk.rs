//! Follows a packet through the chains. Where a rule may hold or not, both ways are gone, and both ends are told.

use super::packet::{Carried, Packet, Truth};
use super::ruleset::{Base, Effect, Hook, Key, Rule, Ruleset};

/// How deep chains lead into each other, at most; the kernel has the same bound.
const DEPTH_MAX: usize = 16;
/// Rules looked at for one packet, at most.
const STEPS_MAX: u32 = 50_000;
/// Connections are looked up at this priority.
const LOOKUP: i64 = -200;
/// Rules that are named where it cannot be said what becomes of a packet.
const NAMED: usize = 3;

/// What becomes of a packet in the chains of one base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passes,
    /// It ends, or is sent elsewhere; in which chain.
    Stops {
        within: String,
        diverted: bool,
    },
    /// It depends on what could not be judged.
    Unclear(Vec<String>),
}

/// The verdict of each base chain on the packet's way, a rule for particular addresses or ports holding or not.
pub(super) fn follow(ruleset: &Ruleset, packet: &Packet, particular: Truth) -> Vec<(Key, Verdict)> {
    // What comes out of a tunnel or goes back there bears a mark of ours.
    let marked = packet.own.is_none();
    let mut walk = Walk {
        ruleset,
        packet,
        carried: Carried { mark: (!marked).then_some(0), marked: Truth::No, tracked: Truth::Yes, particular },
        remarked: false,
        steps_left: STEPS_MAX,
        doubts: Vec::new(),
        ends: Vec::new(),
    };
    let mut verdicts = Vec::new();
    for hook in packet.journey.hooks() {
        for (key, base) in ruleset.at(*hook) {
            if walk.sees(key, base) {
                let verdict = walk.base(key, base);
                verdicts.push((key.clone(), verdict));
            }
        }
    }
    verdicts
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accept,
    Stop,
    Divert,
}

/// Where a walk is.
#[derive(Clone, Copy)]
struct Place<'a> {
    key: &'a Key,
    base: &'a Base,
    depth: usize,
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    packet: &'a Packet,
    carried: Carried,
    /// Whether another program may have put a mark on it.
    remarked: bool,
    steps_left: u32,
    doubts: Vec<String>,
    /// Ends that were reached, each with the chain.
    ends: Vec<(End, String)>,
}

/// Whether a packet may go on behind a rule, or behind a chain.
type Goes = bool;

impl Walk<'_> {
    fn sees(&self, key: &Key, base: &Base) -> bool {
        let family = match key.family.as_str() {
            "ip" => !self.packet.ipv6,
            "ip6" => self.packet.ipv6,
            _ => true,
        };
        let device = match base.hook {
            Hook::Ingress => &self.packet.input,
            Hook::Egress => &self.packet.output,
            _ => &None,
        };
        let of_device = match device {
            Some(name) => base.devices.is_empty() || base.devices.contains(name),
            None => true,
        };
        family && of_device && !(base.nat && self.packet.journey.answers())
    }

    fn base(&mut self, key: &Key, base: &Base) -> Verdict {
        (self.doubts, self.ends) = (Vec::new(), Vec::new());
        self.carried.marked = if self.remarked { Truth::Maybe } else { self.packet.journey.marked(base) };
        let place = Place { key, base, depth: 0 };
        if self.chain(&key.name, place) {
            let end = if base.drops { End::Stop } else { End::Accept };
            self.ends.push((end, key.name.clone()));
        }
        // Some versions of `nft` do not say which device such a chain is for.
        let by_device = matches!(base.hook, Hook::Ingress | Hook::Egress) && base.devices.is_empty();
        if by_device && self.ends.iter().any(|(end, _)| *end != End::Accept) {
            return Verdict::Unclear(vec![format!("the device of the chain {}", key.name)]);
        }
        let accepts = self.ends.iter().any(|(end, _)| *end == End::Accept);
        match self.ends.iter().find(|(end, _)| *end != End::Accept) {
            None => Verdict::Passes,
            Some((end, within)) if !accepts => {
                Verdict::Stops { within: within.clone(), diverted: *end == End::Divert }
            }
            Some(_) => {
                self.doubts.dedup();
                self.doubts.truncate(NAMED);
                Verdict::Unclear(std::mem::take(&mut self.doubts))
            }
        }
    }

    /// Whether a packet may come out at the end of the chain.
    fn chain(&mut self, name: &str, place: Place<'_>) -> Goes {
        let Some(chain) = self.ruleset.chains.get(&place.key.beside(name)) else { return true };
        if place.depth > DEPTH_MAX {
            return self.give_up(name);
        }
        let mut returned = false;
        for rule in &chain.rules {
            let Some(left) = self.steps_left.checked_sub(1) else { return self.give_up(name) };
            self.steps_left = left;
            let holds = self.holds(rule, place);
            if holds == Truth::No {
                continue;
            }
            let doubtful = holds == Truth::Maybe;
            if doubtful && !rule.effects.iter().all(|effect| matches!(effect, Effect::Nothing)) {
                self.doubts.push(rule.said.clone());
            }
            match self.rule(rule, name, place, doubtful) {
                After::Next => {}
                After::Left if doubtful => {}
                After::Left => return returned,
                After::Returned if doubtful => returned = true,
                After::Returned => return true,
            }
        }
        true
    }

    fn give_up(&mut self, name: &str) -> Goes {
        self.doubts.push(format!("the many rules of the chain {name}"));
        self.ends.extend([End::Accept, End::Stop].map(|end| (end, name.to_owned())));
        true
    }

    fn holds(&self, rule: &Rule, place: Place<'_>) -> Truth {
        let (hook, early) = (place.base.hook, early(place.base));
        let tests = rule.tests.iter().map(|test| self.packet.fits(test, hook, early, &self.carried));
        tests.min().unwrap_or(Truth::Yes)
    }

    fn rule(&mut self, rule: &Rule, name: &str, place: Place<'_>, doubtful: bool) -> After {
        for effect in &rule.effects {
            match self.effect(effect, rule, name, place, doubtful) {
                After::Next => {}
                after => return after,
            }
        }
        After::Next
    }

    fn effect(
        &mut self,
        effect: &Effect,
        rule: &Rule,
        name: &str,
        place: Place<'_>,
        doubtful: bool,
    ) -> After {
        let deeper = Place { depth: place.depth.saturating_add(1), ..place };
        let end = |end: End| (end, name.to_owned());
        match effect {
            Effect::Accept => self.ends.push(end(End::Accept)),
            Effect::Stop => self.ends.push(end(End::Stop)),
            Effect::Divert => self.ends.push(end(End::Divert)),
            Effect::Ask | Effect::Odd => {
                self.doubts.push(rule.said.clone());
                self.ends.extend([end(End::Accept), end(End::Stop)]);
                return if matches!(effect, Effect::Ask) { After::Left } else { After::Next };
            }
            Effect::Jump(to) => return if self.chain(to, deeper) { After::Next } else { After::Left },
            Effect::Goto(to) => return if self.chain(to, deeper) { After::Returned } else { After::Left },
            Effect::Return => return After::Returned,
            Effect::Map(field, entries) => {
                let (hook, early) = (place.base.hook, early(place.base));
                for (item, effect) in entries {
                    let fits = self.packet.item_fits(field, item, hook, early, &self.carried);
                    if fits == Truth::No {
                        continue;
                    }
                    let after = self.effect(effect, rule, name, place, doubtful || fits == Truth::Maybe);
                    if fits == Truth::Yes {
                        return after;
                    }
                    self.doubts.push(rule.said.clone());
                    if matches!(after, After::Returned) {
                        self.ends.extend([end(End::Accept), end(End::Stop)]);
                    }
                }
                return After::Next;
            }
            Effect::Remark => {
                (self.carried.mark, self.carried.marked) = (None, Truth::Maybe);
                self.remarked = true;
                return After::Next;
            }
            Effect::Untrack => {
                self.carried.tracked = if doubtful { Truth::Maybe } else { Truth::No };
                return After::Next;
            }
            Effect::Nothing => return After::Next,
        }
        After::Left
    }
}

/// What comes behind a rule that holds.
enum After {
    /// The next rule.
    Next,
    /// Nothing: its end is told.
    Left,
    /// The chain that led here.
    Returned,
}

fn early(base: &Base) -> bool {
    matches!(base.hook, Hook::Ingress)
        || (matches!(base.hook, Hook::Prerouting | Hook::Output) && base.priority < LOOKUP)
}
