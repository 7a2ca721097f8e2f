//! The client addresses of an endpoint: each given to one session at a time, with a pause before the next.

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use openvpn::Instant;

/// How long a released address rests before it is given again: longer than anything sent to or from its former
/// holder lives (I-7).
pub const ADDRESS_QUARANTINE: Duration = Duration::from_secs(60);

/// Addresses of one client CIDR, but for its network address, its first host (the gateway) and its broadcast
/// (spec: aws-client-vpn §3.5). The one that has not been used for longest is given first, so that what is still
/// under way to or from a former holder meets nobody. Memory grows with the addresses ever given.
#[derive(Debug)]
pub struct Pool {
    cidr: Ipv4Net,
    /// The lowest address never given so far.
    untouched: u32,
    used: BTreeSet<u32>,
    resting: VecDeque<(Instant, u32)>,
    /// Rested, the longest first.
    free: VecDeque<u32>,
}

impl Pool {
    /// All addresses of `cidr` free.
    pub fn new(cidr: Ipv4Net) -> Self {
        let untouched = u32::from(cidr.network()).saturating_add(2);
        Self { cidr, untouched, used: BTreeSet::new(), resting: VecDeque::new(), free: VecDeque::new() }
    }

    /// The block.
    pub fn cidr(&self) -> Ipv4Net {
        self.cidr
    }

    /// The gateway's own address in a client CIDR: its first host.
    pub fn gateway(cidr: Ipv4Net) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(cidr.network()).saturating_add(1))
    }

    /// A free address; `None` when all are given or resting.
    pub fn allocate(&mut self, now: Instant) -> Option<Ipv4Addr> {
        while let Some((at, address)) = self.resting.front().copied() {
            if now.since(at) < ADDRESS_QUARANTINE {
                break;
            }
            self.resting.pop_front();
            self.free.push_back(address);
        }
        let address = if self.untouched < u32::from(self.cidr.broadcast()) {
            let address = self.untouched;
            self.untouched += 1;
            address
        } else {
            self.free.pop_front()?
        };
        self.used.insert(address);
        Some(Ipv4Addr::from(address))
    }

    /// Takes an address back, to rest from `now`. One that is not given is ignored.
    pub fn release(&mut self, address: Ipv4Addr, now: Instant) {
        if self.used.remove(&u32::from(address)) {
            self.resting.push_back((now, u32::from(address)));
        }
    }

    /// Whether no address is given and the last one released has rested: forgetting the pool forgets nothing.
    pub fn idle(&self, now: Instant) -> bool {
        self.used.is_empty() && self.resting.back().is_none_or(|(at, _)| now.since(*at) >= ADDRESS_QUARANTINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    #[test]
    fn reserves_network_gateway_and_broadcast() {
        let mut pool = Pool::new("10.1.0.0/29".parse().unwrap());
        let given: Vec<String> = std::iter::from_fn(|| pool.allocate(at(0))).map(|a| a.to_string()).collect();
        assert_eq!(given, ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
        assert_eq!(Pool::gateway(pool.cidr()), Ipv4Addr::new(10, 1, 0, 1));
    }

    #[test]
    fn the_longest_unused_comes_first() {
        let mut pool = Pool::new("10.1.0.0/29".parse().unwrap());
        let mut next = |released: Option<&str>, seconds: u64| {
            if let Some(address) = released {
                pool.release(address.parse().unwrap(), at(seconds));
            }
            pool.allocate(at(seconds)).map(|address| address.octets()[3])
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
        pool.release(Ipv4Addr::new(10, 1, 0, 3), at(71));
        assert_eq!(pool.allocate(at(700)), None);
    }
}
