//! Routes and authorization rules, compiled for one (association, groups): a verdict per far address.
//!
//! Both tables are flattened at compile time into ranges of addresses that share a verdict, so that a lookup is
//! one binary search: no allocation, no locks, and the same cost whatever the rules look like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::RuleGroup;

use crate::desired::{Route, Rule, Target};

/// Whether a packet from or to an address may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Through the association.
    Forward,
    /// To or from another client.
    Local,
    /// No route covers the address.
    NoRoute,
    /// No authorization rule covers the address.
    NoRule,
    /// Rules cover the address, but the most specific ones are for others.
    NotAuthorized,
}

/// Routes and rules of one association as seen by a member of some groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    v4: Ranges,
    v6: Ranges,
}

impl Default for Policy {
    fn default() -> Self {
        Self::compile(&[], &[], &[])
    }
}

impl Policy {
    /// Compiles. Among routes to the same destination `Local` wins; a host bit set in a destination is ignored.
    /// Costs O((routes + rules)²): at quota sizes (hundreds) about a millisecond, once per change.
    pub fn compile(routes: &[Route], rules: &[Rule], groups: &[String]) -> Self {
        let tables = Tables { routes, rules, groups };
        Self { v4: Ranges::compile(&tables, Family::V4), v6: Ranges::compile(&tables, Family::V6) }
    }

    /// The verdict for the far end of a packet: the destination of one from a client, the source of one to it.
    pub fn verdict(&self, far: IpAddr) -> Verdict {
        match far {
            IpAddr::V4(a) => self.v4.lookup(u128::from(u32::from(a))),
            IpAddr::V6(a) => self.v6.lookup(u128::from(a)),
        }
    }
}

struct Tables<'a> {
    routes: &'a [Route],
    rules: &'a [Rule],
    groups: &'a [String],
}

impl Tables<'_> {
    /// The algorithm itself, on one address (spec: aws-client-vpn §3.4, §4.4).
    fn verdict(&self, far: IpAddr) -> Verdict {
        let covering = self.routes.iter().filter(|r| r.destination.contains(&far));
        let Some(route) = covering.max_by_key(|r| (r.destination.prefix_len(), r.target)) else {
            return Verdict::NoRoute;
        };
        if never_through(far, route.destination) {
            return Verdict::NoRoute;
        }
        let covering = || self.rules.iter().filter(|r| r.destination.contains(&far));
        // The longest prefix is sought over ALL rules, whoever they are for: a more specific rule for another
        // group takes away what a broader one gave.
        let Some(longest) = covering().map(|r| r.destination.prefix_len()).max() else {
            return Verdict::NoRule;
        };
        let allowed = covering().filter(|r| r.destination.prefix_len() == longest).any(|r| match &r.group {
            RuleGroup::All => true,
            RuleGroup::Group(id) => self.groups.contains(id),
        });
        match (allowed, route.target) {
            (false, _) => Verdict::NotAuthorized,
            (true, Target::Association) => Verdict::Forward,
            (true, Target::Local) => Verdict::Local,
        }
    }
}

/// Addresses that a broad route such as 0.0.0.0/0 must not open: they mean the gateway's own host or link (a
/// cloud host's metadata service stands at a link-local address), or nobody. Link-local ones open by a route of
/// their own.
fn never_through(far: IpAddr, route: IpNet) -> bool {
    SPECIAL
        .iter()
        .any(|(special, may_open)| special.contains(&far) && !(*may_open && special.contains(&route)))
}

/// Ranges that do not lead anywhere, and whether a route inside of one opens it.
static SPECIAL: [(IpNet, bool); 8] = [
    (v4(Ipv4Addr::UNSPECIFIED, 8), false),
    (v4(Ipv4Addr::new(127, 0, 0, 0), 8), false),
    (v4(Ipv4Addr::new(169, 254, 0, 0), 16), true),
    // Multicast, reserved and broadcast.
    (v4(Ipv4Addr::new(224, 0, 0, 0), 3), false),
    // Unspecified, loopback, and IPv4 addresses written as IPv6 in either way.
    (v6(Ipv6Addr::UNSPECIFIED, 96), false),
    (v6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), false),
    (v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), true),
    (v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8), false),
];

const fn v4(address: Ipv4Addr, bits: u8) -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(address, bits))
}

const fn v6(address: Ipv6Addr, bits: u8) -> IpNet {
    IpNet::V6(ipnet::Ipv6Net::new_assert(address, bits))
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn bounds(self, net: &IpNet) -> Option<(u128, u128)> {
        match (self, net) {
            (Family::V4, IpNet::V4(n)) => {
                Some((u128::from(u32::from(n.network())), u128::from(u32::from(n.broadcast()))))
            }
            (Family::V6, IpNet::V6(n)) => Some((u128::from(n.network()), u128::from(n.broadcast()))),
            (Family::V4, IpNet::V6(_)) | (Family::V6, IpNet::V4(_)) => None,
        }
    }

    fn address(self, key: u128) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(key).unwrap_or(u32::MAX))),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(key)),
        }
    }

    fn last(self) -> u128 {
        match self {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        }
    }
}

/// Ranges in order: each runs from its first address to the one before the next; the first starts at 0.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ranges {
    first: Vec<u128>,
    verdict: Vec<Verdict>,
}

impl Ranges {
    fn compile(tables: &Tables<'_>, family: Family) -> Self {
        let destinations = tables.routes.iter().map(|r| &r.destination);
        let destinations = destinations.chain(tables.rules.iter().map(|r| &r.destination));
        let destinations = destinations.chain(SPECIAL.iter().map(|(net, _)| net));
        let mut starts: Vec<u128> = destinations
            .filter_map(|net| family.bounds(net))
            .flat_map(|(first, last)| [Some(first), (last < family.last()).then(|| last + 1)])
            .flatten()
            .chain([0])
            .collect();
        starts.sort_unstable();
        starts.dedup();
        let mut ranges = Ranges { first: Vec::new(), verdict: Vec::new() };
        for start in starts {
            let verdict = tables.verdict(family.address(start));
            if ranges.verdict.last() != Some(&verdict) {
                ranges.first.push(start);
                ranges.verdict.push(verdict);
            }
        }
        ranges
    }

    fn lookup(&self, key: u128) -> Verdict {
        let after = self.first.partition_point(|first| *first <= key);
        let found = after.checked_sub(1).and_then(|at| self.verdict.get(at));
        found.copied().unwrap_or(Verdict::NoRoute)
    }
}

#[cfg(test)]
mod tests;
