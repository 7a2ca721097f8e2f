//! The client addresses of an endpoint: each given to one session at a time, with a pause before the next.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use model::{ClientAddresses, ClientNets};
use openvpn::Instant;

/// How long a released address rests before it is given again: longer than anything sent to or from its former
/// holder lives (I-7).
pub const ADDRESS_QUARANTINE: Duration = Duration::from_secs(60);

/// The first place that is given: network address and gateway come before it.
const FIRST_PLACE: u32 = 2;

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
}

impl Pool {
    /// All places of `nets` free.
    pub fn new(nets: ClientNets) -> Self {
        let (used, resting, free) = (BTreeSet::new(), VecDeque::new(), VecDeque::new());
        Self { nets, untouched: FIRST_PLACE, used, resting, free }
    }

    /// The blocks.
    pub fn nets(&self) -> ClientNets {
        self.nets
    }

    /// The addresses of a free place; `None` when all are given or resting.
    pub fn allocate(&mut self, now: Instant) -> Option<ClientAddresses> {
        while let Some((at, place)) = self.resting.front().copied() {
            if now.since(at) < ADDRESS_QUARANTINE {
                break;
            }
            self.resting.pop_front();
            self.free.push_back(place);
        }
        let place = if self.untouched < self.nets.last_place() {
            let place = self.untouched;
            self.untouched += 1;
            place
        } else {
            self.free.pop_front()?
        };
        self.used.insert(place);
        Some(self.nets.at(place))
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
        self.used.is_empty() && self.resting.back().is_none_or(|(at, _)| now.since(*at) >= ADDRESS_QUARANTINE)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    #[test]
    fn reserves_network_gateway_and_broadcast() {
        let mut pool = Pool::new("10.1.0.0/29".parse().unwrap());
        let given: Vec<String> = std::iter::from_fn(|| pool.allocate(at(0))).map(|a| a.to_string()).collect();
        assert_eq!(given, ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
    }

    #[test]
    fn the_longest_unused_comes_first() {
        let mut pool = Pool::new("10.1.0.0/29".parse().unwrap());
        let mut next = |released: Option<&str>, seconds: u64| {
            if let Some(address) = released {
                pool.release(address.parse::<Ipv4Addr>().unwrap().into(), at(seconds));
            }
            pool.allocate(at(seconds)).and_then(|given| given.v4).map(|address| address.octets()[3])
        };
        assert_eq!((next(None, 0), next(None, 0)), (Some(2), Some(3)));
        assert_eq!((next(Some("10.1.0.3"), 100), next(Some("10.1.0.2"), 200)), (Some(4), Some(5)));
        assert_eq!((next(None, 300), next(None, 300), next(None, 300)), (Some(6), Some(3), Some(2)));
    }

    #[test]
    fn a_released_address_rests() {
        let mut pool = Pool::new("10.1.0.0/30".parse().unwrap());
        let address = pool.allocate(at(0)).unwrap();
        assert_eq!(pool.allocate(at(0)), None);
        pool.release(address, at(10));
        pool.release(address, at(10));
        assert_eq!(pool.allocate(at(69)), None);
        assert!(!pool.idle(at(69)));
        assert!(pool.idle(at(70)));
        assert_eq!(pool.allocate(at(70)), Some(address));
        assert_eq!(pool.allocate(at(70)), None);
        pool.release(Ipv4Addr::new(10, 1, 0, 3).into(), at(71));
        assert_eq!(pool.allocate(at(700)), None);
    }

    #[test]
    fn both_addresses_of_a_place_come_and_rest_together() {
        let mut pool = Pool::new("10.1.0.0/29,fd00::/64".parse().unwrap());
        let given: Vec<String> = std::iter::from_fn(|| pool.allocate(at(0))).map(|a| a.to_string()).collect();
        let expected = ["10.1.0.2,fd00::2", "10.1.0.3,fd00::3", "10.1.0.4,fd00::4", "10.1.0.5,fd00::5"];
        assert_eq!((&given[..4], given.len()), (&expected.map(str::to_owned)[..], 5), "IPv4 ends it");
        // Either of them names the place.
        let v6_only = ClientAddresses { v4: None, v6: Some("fd00::3".parse().unwrap()) };
        pool.release(v6_only, at(100));
        pool.release(Ipv4Addr::new(10, 1, 0, 3).into(), at(100));
        assert_eq!(pool.allocate(at(159)), None);
        let again = pool.allocate(at(160)).map(|given| given.to_string());
        assert_eq!(again.as_deref(), Some("10.1.0.3,fd00::3"));
        assert_eq!(pool.allocate(at(160)), None);
    }

    #[test]
    fn addresses_of_ipv6_alone() {
        let mut pool = Pool::new("fd00:0:0:9::/64".parse().unwrap());
        let mut next = || pool.allocate(at(0)).map(|given| given.to_string());
        assert_eq!((next().as_deref(), next().as_deref()), (Some("fd00:0:0:9::2"), Some("fd00:0:0:9::3")));
    }
}
