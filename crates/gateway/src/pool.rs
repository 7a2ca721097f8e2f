//! The client addresses of an endpoint: each given to one session at a time, with a pause before the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use model::{ClientAddresses, ClientNets};
use openvpn::Instant;

use crate::desired;

/// How long a released address rests before it is given again: longer than anything sent to or from its former
/// holder lives (I-7).
pub const ADDRESS_QUARANTINE: Duration = Duration::from_secs(60);

/// The first place that is given: network address and gateway come before it.
const FIRST_PLACE: u32 = 2;

/// Who asks for addresses.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'h> {
    /// The common name of its certificate.
    pub common_name: &'h str,
    /// Its user name.
    pub username: Option<&'h str>,
    /// Where it is, outside.
    pub at: IpAddr,
}

/// Places in an endpoint's client blocks, but for the network address, the first host (the gateway) and the broadcast
/// address (spec: aws-client-vpn §3.5). Both addresses of a place are given, rest, and come free together. The one that
/// has not been used for longest is given first, so that what is still under way to or from a former holder meets
/// nobody. Memory grows with the places ever given.
#[derive(Debug)]
pub struct Pool {
    nets: ClientNets,
    /// The lowest place never given so far.
    untouched: u32,
    used: BTreeSet<u32>,
    resting: VecDeque<(Instant, u32)>,
    /// Rested, the longest first.
    free: VecDeque<u32>,
    former: Former,
}

/// Places of an earlier life of this gateway: their holders find them again, others get them last and rested.
#[derive(Debug, Default)]
struct Former {
    /// By common name and user name: where each was, and its place.
    held: BTreeMap<(String, Option<String>), Vec<(IpAddr, u32)>>,
    /// Those that nobody was given yet.
    left: BTreeSet<u32>,
    /// Those that the untouched ones have not come to.
    ahead: BTreeSet<u32>,
    rested_at: Instant,
}

impl Former {
    fn new(nets: ClientNets, former: &[desired::Former], now: Instant) -> Self {
        let mut all = Self { rested_at: now + ADDRESS_QUARANTINE, ..Self::default() };
        for one in former {
            let place = one.addresses.iter().next().and_then(|address| nets.place(address));
            let given = FIRST_PLACE..nets.last_place();
            let Some(place) = place.filter(|place| given.contains(place) && all.left.insert(*place)) else {
                continue;
            };
            let person = (one.common_name.clone(), one.username.clone());
            all.held.entry(person).or_default().push((one.at, place));
        }
        all.ahead.clone_from(&all.left);
        all
    }

    /// The place that somebody had: where it still is, or its only one.
    fn claim(&mut self, who: Holder<'_>) -> Option<u32> {
        if self.left.is_empty() {
            return None;
        }
        let person = (who.common_name.to_owned(), who.username.map(str::to_owned));
        let held = self.held.get_mut(&person)?;
        held.retain(|(_, place)| self.left.contains(place));
        let number = match held.iter().position(|(at, _)| *at == who.at) {
            Some(number) => number,
            None if held.len() == 1 => 0,
            None => return None,
        };
        let (_, place) = held.swap_remove(number);
        if held.is_empty() {
            self.held.remove(&person);
        }
        self.left.remove(&place);
        Some(place)
    }

    /// A place for somebody else.
    fn give_up(&mut self, now: Instant) -> Option<u32> {
        if now < self.rested_at { None } else { self.left.pop_first() }
    }

    fn idle(&self, now: Instant) -> bool {
        self.left.is_empty() || now >= self.rested_at
    }
}

impl Pool {
    /// All places of `nets` free, but for those that somebody had before this gateway was started: they rest from `now`,
    /// and who had one is given it again.
    pub fn new(nets: ClientNets, former: &[desired::Former], now: Instant) -> Self {
        let (used, resting, free) = (BTreeSet::new(), VecDeque::new(), VecDeque::new());
        Self { nets, untouched: FIRST_PLACE, used, resting, free, former: Former::new(nets, former, now) }
    }

    /// The blocks.
    pub fn nets(&self) -> ClientNets {
        self.nets
    }

    /// The addresses of a free place; `None` when all are given or resting.
    pub fn allocate(&mut self, who: Holder<'_>, now: Instant) -> Option<ClientAddresses> {
        let place = self.former.claim(who).or_else(|| self.next(now))?;
        self.used.insert(place);
        Some(self.nets.at(place))
    }

    fn next(&mut self, now: Instant) -> Option<u32> {
        while let Some((at, place)) = self.resting.front().copied() {
            if now.since(at) < ADDRESS_QUARANTINE {
                break;
            }
            self.resting.pop_front();
            self.free.push_back(place);
        }
        while self.former.ahead.remove(&self.untouched) {
            self.untouched += 1;
        }
        if self.untouched < self.nets.last_place() {
            self.untouched += 1;
            return Some(self.untouched - 1);
        }
        self.free.pop_front().or_else(|| self.former.give_up(now))
    }

    /// Takes addresses back, to rest from `now`. Those that are not given are ignored.
    pub fn release(&mut self, addresses: ClientAddresses, now: Instant) {
        let place = addresses.iter().next().and_then(|address| self.nets.place(address));
        if let Some(place) = place.filter(|place| self.used.remove(place)) {
            self.resting.push_back((now, place));
        }
    }

    /// Whether no address is given and the last one released has rested: forgetting the pool forgets nothing.
    pub fn idle(&self, now: Instant) -> bool {
        self.used.is_empty()
            && self.former.idle(now)
            && self.resting.back().is_none_or(|(at, _)| now.since(*at) >= ADDRESS_QUARANTINE)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SOMEBODY: Holder<'_> =
        Holder { common_name: "somebody", username: None, at: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)) };

    fn pool(nets: &str) -> Pool {
        Pool::new(nets.parse().unwrap(), &[], at(0))
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    #[test]
    fn reserves_network_gateway_and_broadcast() {
        let mut pool = pool("10.1.0.0/29");
        let given: Vec<String> =
            std::iter::from_fn(|| pool.allocate(SOMEBODY, at(0))).map(|a| a.to_string()).collect();
        assert_eq!(given, ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
    }

    #[test]
    fn the_longest_unused_comes_first() {
        let mut pool = pool("10.1.0.0/29");
        let mut next = |released: Option<&str>, seconds: u64| {
            if let Some(address) = released {
                pool.release(address.parse::<Ipv4Addr>().unwrap().into(), at(seconds));
            }
            pool.allocate(SOMEBODY, at(seconds)).and_then(|given| given.v4).map(|address| address.octets()[3])
        };
        assert_eq!((next(None, 0), next(None, 0)), (Some(2), Some(3)));
        assert_eq!((next(Some("10.1.0.3"), 100), next(Some("10.1.0.2"), 200)), (Some(4), Some(5)));
        assert_eq!((next(None, 300), next(None, 300), next(None, 300)), (Some(6), Some(3), Some(2)));
    }

    #[test]
    fn a_released_address_rests() {
        let mut pool = pool("10.1.0.0/30");
        let address = pool.allocate(SOMEBODY, at(0)).unwrap();
        assert_eq!(pool.allocate(SOMEBODY, at(0)), None);
        pool.release(address, at(10));
        pool.release(address, at(10));
        assert_eq!(pool.allocate(SOMEBODY, at(69)), None);
        assert!(!pool.idle(at(69)));
        assert!(pool.idle(at(70)));
        assert_eq!(pool.allocate(SOMEBODY, at(70)), Some(address));
        assert_eq!(pool.allocate(SOMEBODY, at(70)), None);
        pool.release(Ipv4Addr::new(10, 1, 0, 3).into(), at(71));
        assert_eq!(pool.allocate(SOMEBODY, at(700)), None);
    }

    #[test]
    fn both_addresses_of_a_place_come_and_rest_together() {
        let mut pool = pool("10.1.0.0/29,fd00::/64");
        let given: Vec<String> =
            std::iter::from_fn(|| pool.allocate(SOMEBODY, at(0))).map(|a| a.to_string()).collect();
        let expected = ["10.1.0.2,fd00::2", "10.1.0.3,fd00::3", "10.1.0.4,fd00::4", "10.1.0.5,fd00::5"];
        assert_eq!((&given[..4], given.len()), (&expected.map(str::to_owned)[..], 5), "IPv4 ends it");
        // Either of them names the place.
        let v6_only = ClientAddresses { v4: None, v6: Some("fd00::3".parse().unwrap()) };
        pool.release(v6_only, at(100));
        pool.release(Ipv4Addr::new(10, 1, 0, 3).into(), at(100));
        assert_eq!(pool.allocate(SOMEBODY, at(159)), None);
        let again = pool.allocate(SOMEBODY, at(160)).map(|given| given.to_string());
        assert_eq!(again.as_deref(), Some("10.1.0.3,fd00::3"));
        assert_eq!(pool.allocate(SOMEBODY, at(160)), None);
    }

    #[test]
    fn addresses_of_ipv6_alone() {
        let mut pool = pool("fd00:0:0:9::/64");
        let mut next = || pool.allocate(SOMEBODY, at(0)).map(|given| given.to_string());
        assert_eq!((next().as_deref(), next().as_deref()), (Some("fd00:0:0:9::2"), Some("fd00:0:0:9::3")));
    }

    fn had(address: &str, common_name: &str, at: &str) -> desired::Former {
        let addresses = address.parse::<Ipv4Addr>().unwrap().into();
        let (common_name, at) = (common_name.to_owned(), at.parse().unwrap());
        desired::Former { addresses, common_name, username: None, at }
    }

    fn who<'h>(common_name: &'h str, at: &str) -> Holder<'h> {
        Holder { common_name, username: None, at: at.parse().unwrap() }
    }

    #[test]
    fn who_had_an_address_before_a_restart_has_it_again() {
        let former = [
            had("10.1.0.3", "alice", "192.0.2.1"),
            had("10.1.0.5", "shared", "192.0.2.1"),
            had("10.1.0.2", "shared", "192.0.2.2"),
            // Not of this endpoint, and given twice: the first one holds.
            had("10.9.0.2", "carol", "192.0.2.3"),
            had("10.1.0.3", "carol", "192.0.2.3"),
        ];
        let mut pool = Pool::new("10.1.0.0/28".parse().unwrap(), &former, at(0));
        let mut next = |common_name, at_ip| {
            pool.allocate(who(common_name, at_ip), at(1)).and_then(|given| given.v4).map(|v4| v4.octets()[3])
        };
        assert_eq!(next("shared", "192.0.2.2"), Some(2));
        assert_eq!(next("alice", "203.0.113.1"), Some(3), "wherever it is: it had one only");
        assert_eq!(next("alice", "203.0.113.1"), Some(4), "another one of its name");
        assert_eq!(next("carol", "192.0.2.3"), Some(6), "the fifth is kept");
        assert_eq!(next("shared", "192.0.2.2"), Some(5), "what is left of its name");
        assert_eq!(next("shared", "192.0.2.2"), Some(7));
        // Of two, only where it is.
        let former = [had("10.1.0.4", "shared", "192.0.2.1"), had("10.1.0.2", "shared", "192.0.2.2")];
        let mut pool = Pool::new("10.1.0.0/28".parse().unwrap(), &former, at(0));
        let given = pool.allocate(who("shared", "192.0.2.9"), at(1)).map(|given| given.to_string());
        assert_eq!(given.as_deref(), Some("10.1.0.3"));
        let user = Holder { username: Some("other"), ..who("shared", "192.0.2.1") };
        assert_eq!(pool.allocate(user, at(1)).map(|given| given.to_string()).as_deref(), Some("10.1.0.5"));
    }

    #[test]
    fn others_get_a_former_holders_address_last_and_rested() {
        let former = [had("10.1.0.3", "alice", "192.0.2.1"), had("10.1.0.5", "bob", "192.0.2.1")];
        let mut pool = Pool::new("10.1.0.0/29".parse().unwrap(), &former, at(10));
        let mut next = |seconds| {
            pool.allocate(SOMEBODY, at(seconds)).and_then(|given| given.v4).map(|v4| v4.octets()[3])
        };
        assert_eq!((next(11), next(11), next(11), next(69)), (Some(2), Some(4), Some(6), None));
        assert_eq!((next(70), next(70), next(70)), (Some(3), Some(5), None));
        // Every place once, whoever had it.
        assert_eq!(pool.allocate(who("alice", "192.0.2.1"), at(71)), None);
    }

    #[test]
    fn a_pool_with_former_holders_is_idle_when_their_addresses_have_rested() {
        let former = [had("10.1.0.3", "alice", "192.0.2.1")];
        let mut pool = Pool::new("10.1.0.0/29".parse().unwrap(), &former, at(10));
        assert!(!pool.idle(at(69)) && pool.idle(at(70)));
        let given = pool.allocate(who("alice", "192.0.2.1"), at(20)).unwrap();
        assert!(!pool.idle(at(70)));
        pool.release(given, at(30));
        assert!(!pool.idle(at(89)) && pool.idle(at(90)));
        // As any other from then on.
        let again: Vec<String> =
            std::iter::from_fn(|| pool.allocate(SOMEBODY, at(90))).map(|given| given.to_string()).collect();
        assert_eq!(again, ["10.1.0.2", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.3"]);
    }
}
