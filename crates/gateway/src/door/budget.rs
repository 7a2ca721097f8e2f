//! How many stateless answers are given: they go to addresses that nobody has proved (spec: openvpn-protocol §5).
//!
//! Bounded for each source, for each prefix of sources, and in all. What is refused is noted, and a reset that comes again as
//! clients repeat theirs has a budget of its own: so a client gets in while its own network is flooded in its name.

use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use openvpn::Instant;
use openvpn::wire::SessionId;

use super::repeats::Repeats;
use crate::limits::Limits;

/// Buckets that sources fall into; fixed tables, so that a flood of sources grows nothing.
const BUCKETS: usize = 4096;
/// The part of the bounds that repeated resets have beside them.
const REPEATED_SHARE: u32 = 4;

/// Counts the answers of the current second.
pub(super) struct AnswerBudget {
    secret: [u8; 32],
    began: Instant,
    max: u32,
    max_of_source: u32,
    max_of_prefix: u32,
    given: u32,
    sources: Vec<u32>,
    prefixes: Vec<u32>,
    given_repeated: u32,
    repeated_prefixes: Vec<u32>,
    repeats: Repeats,
}

impl AnswerBudget {
    /// `secret` keeps a flooder from choosing whose bucket it fills.
    pub(super) fn new(secret: [u8; 32], limits: &Limits, now: Instant) -> Self {
        Self {
            secret,
            began: now,
            max: limits.max_answers_per_s,
            max_of_source: limits.max_answers_per_source_per_s,
            max_of_prefix: limits.max_answers_per_prefix_per_s,
            given: 0,
            sources: vec![0; BUCKETS],
            prefixes: vec![0; BUCKETS],
            given_repeated: 0,
            repeated_prefixes: vec![0; BUCKETS],
            repeats: Repeats::new(now),
        }
    }

    /// Whether one more answer may go to `peer`; counts it if so.
    pub(super) fn take(&mut self, peer: SocketAddr, client: SessionId, now: Instant) -> bool {
        if now.since(self.began) >= Duration::from_secs(1) {
            self.began = now;
            (self.given, self.given_repeated) = (0, 0);
            for table in [&mut self.sources, &mut self.prefixes, &mut self.repeated_prefixes] {
                table.fill(0);
            }
        }
        let of = self.bucket(prefix(peer));
        let mut usual = [
            Some((&mut self.given, self.max)),
            self.sources.get_mut(bucket(&self.secret, source(peer))).map(|n| (n, self.max_of_source)),
            self.prefixes.get_mut(of).map(|n| (n, self.max_of_prefix)),
        ];
        if count(&mut usual) {
            return true;
        }
        let mut name = DefaultHasher::new();
        name.write(&self.secret);
        name.write_u128(address(peer));
        name.write_u16(peer.port());
        name.write(&client.0);
        if !self.repeats.note(&name, now) {
            return false;
        }
        let mut repeated = [
            Some((&mut self.given_repeated, self.max / REPEATED_SHARE)),
            self.repeated_prefixes.get_mut(of).map(|n| (n, self.max_of_prefix / REPEATED_SHARE)),
        ];
        count(&mut repeated)
    }

    fn bucket(&self, of: u128) -> usize {
        bucket(&self.secret, of)
    }
}

fn bucket(secret: &[u8; 32], of: u128) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(secret);
    hasher.write_u128(of);
    usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or(0)
}

/// Counts one in all of them, if none is full.
fn count(counters: &mut [Option<(&mut u32, u32)>]) -> bool {
    let room = counters.iter().all(|it| it.as_ref().is_some_and(|(given, max)| **given < *max));
    if room {
        for (given, _) in counters.iter_mut().flatten() {
            **given += 1;
        }
    }
    room
}

fn address(peer: SocketAddr) -> u128 {
    match peer.ip().to_canonical() {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// What counts as one source of handshakes: an IPv4 address, or an IPv6 /64.
pub fn source(peer: SocketAddr) -> u128 {
    match peer.ip().to_canonical() {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a) & !u128::from(u64::MAX),
    }
}

/// What counts as one network of sources: an IPv4 /24, or an IPv6 /48.
fn prefix(peer: SocketAddr) -> u128 {
    match peer.ip().to_canonical() {
        IpAddr::V4(a) => u128::from(u32::from(a) & 0xffff_ff00),
        IpAddr::V6(a) => u128::from(a) >> 80 << 80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: SessionId = SessionId([1; 8]);

    fn budget(max: u32, of_source: u32, of_prefix: u32) -> AnswerBudget {
        let limits = Limits {
            max_answers_per_s: max,
            max_answers_per_source_per_s: of_source,
            max_answers_per_prefix_per_s: of_prefix,
            ..Limits::default()
        };
        AnswerBudget::new([7; 32], &limits, Instant(0))
    }

    #[test]
    fn bounds_a_source_a_prefix_and_all_and_refills() {
        let mut budget = budget(10, 4, 6);
        let mut take = |peer: &str, at| budget.take(peer.parse().unwrap(), SID, Instant(at));
        assert_eq!((0..9).filter(|port| take(&format!("192.0.2.1:{port}"), 0)).count(), 4);
        assert_eq!((0..9).filter(|_| take("192.0.2.2:1", 999_999)).count(), 2);
        assert!(!take("192.0.2.3:1", 999_999), "the prefix is used up");
        assert_eq!((0..9).filter(|host| take(&format!("198.51.{host}.1:1"), 999_999)).count(), 4);
        assert!(take("192.0.2.1:1", 1_000_000));
    }

    #[test]
    fn ipv6_sources_and_prefixes_have_the_same_bounds() {
        let mut budget = budget(100, 4, 6);
        let mut take = |peer: &str| budget.take(peer.parse().unwrap(), SID, Instant(0));
        // Other hosts of a /64 are the same source; other /64s of a /48 the same network; another /48 is none of it.
        assert_eq!((0..9).filter(|host| take(&format!("[2001:db8:7:1::{host}]:1"))).count(), 4);
        assert_eq!((2..90).filter(|net| take(&format!("[2001:db8:7:{net}::1]:1"))).count(), 2);
        assert!(!take("[2001:db8:7:ffff:ffff::1]:1"), "the prefix is used up to its last /64");
        assert_eq!((0..9).filter(|host| take(&format!("[2001:db8:8:{host}::1]:1"))).count(), 6);
        assert_eq!((0..9).filter(|net| take(&format!("[2001:db8:1{net}::1]:1"))).count(), 9);
        // In all there are 100.
        assert_eq!((0..200).filter(|net| take(&format!("[2001:dba:{net}::1]:1"))).count(), 100 - 21);
    }

    #[test]
    fn whoever_comes_again_gets_through_a_flood_of_its_own_network() {
        let mut budget = budget(100_000, 1_024, 64);
        let client: SocketAddr = "192.0.2.77:7".parse().unwrap();
        let flood = |budget: &mut AnswerBudget, from_ms: u64| {
            for n in 0..5_000_u64 {
                let host = u8::try_from(n % 251).unwrap();
                let port = u16::try_from(n).unwrap();
                let sid = SessionId((n | from_ms << 32).to_be_bytes());
                budget.take(SocketAddr::from(([192, 0, 2, host], port)), sid, Instant(from_ms * 1_000));
            }
        };
        flood(&mut budget, 0);
        assert!(!budget.take(client, SID, Instant(500_000)), "the network's budget is used up");
        for at in [1_000, 2_100] {
            flood(&mut budget, at);
        }
        assert!(budget.take(client, SID, Instant(2_700_000)), "as clients come again");
        // Bounded too: who repeats without end gets no more than its share.
        let again = (0..100).filter(|_| budget.take(client, SID, Instant(2_800_000))).count();
        assert!((1..64 / 4).contains(&again), "{again}");
    }

    #[test]
    fn sources_and_prefixes() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:1]:9"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(of("[::ffff:192.0.2.1]:1"), of("192.0.2.1:2"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
        let of = |text: &str| prefix(text.parse().unwrap());
        assert_eq!(of("192.0.2.1:1"), of("192.0.2.254:2"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.3.1:1"));
        assert_eq!(of("[2001:db8:1:2::1]:1"), of("[2001:db8:1:3::1]:1"));
        assert_ne!(of("[2001:db8:1::1]:1"), of("[2001:db8:2::1]:1"));
    }
}
