//! How many stateless answers are given: they go to addresses that nobody has proved (spec: openvpn-protocol §5).

use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use openvpn::Instant;

use crate::limits::Limits;

/// Buckets that sources fall into; a fixed table, so that a flood of sources grows nothing.
const BUCKETS: usize = 4096;

/// Counts the answers of the current second, in all and by bucket of sources.
pub(crate) struct AnswerBudget {
    secret: [u8; 32],
    began: Instant,
    given: u32,
    buckets: Vec<u32>,
}

impl AnswerBudget {
    /// `secret` keeps a flooder from choosing whose bucket it fills.
    pub(crate) fn new(secret: [u8; 32], now: Instant) -> Self {
        Self { secret, began: now, given: 0, buckets: vec![0; BUCKETS] }
    }

    /// Whether one more answer may go to `peer`; counts it if so.
    pub(crate) fn take(&mut self, peer: SocketAddr, limits: &Limits, now: Instant) -> bool {
        if now.since(self.began) >= Duration::from_secs(1) {
            self.began = now;
            self.given = 0;
            self.buckets.fill(0);
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.secret);
        hasher.write_u128(source(peer));
        let at = usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or(0);
        let Some(bucket) = self.buckets.get_mut(at) else { return false };
        let within = self.given < limits.max_answers_per_s && *bucket < limits.max_answers_per_source_per_s;
        if within {
            self.given += 1;
            *bucket += 1;
        }
        within
    }
}

/// What counts as one source of handshakes: an IPv4 address, or an IPv6 /64.
pub fn source(peer: SocketAddr) -> u128 {
    match peer.ip().to_canonical() {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a) & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_a_source_and_all_and_refills() {
        let limits = Limits { max_answers_per_s: 6, max_answers_per_source_per_s: 4, ..Limits::default() };
        let mut budget = AnswerBudget::new([7; 32], Instant(0));
        let mut take = |peer: &str, at| budget.take(peer.parse().unwrap(), &limits, Instant(at));
        assert_eq!((0..9).filter(|port| take(&format!("192.0.2.1:{port}"), 0)).count(), 4);
        assert_eq!((0..9).filter(|_| take("192.0.2.2:1", 999_999)).count(), 2);
        assert!(take("192.0.2.1:1", 1_000_000));
    }

    #[test]
    fn sources() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:1]:9"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(of("[::ffff:192.0.2.1]:1"), of("192.0.2.1:2"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
    }
}
