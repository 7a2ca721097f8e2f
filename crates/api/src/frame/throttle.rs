//! Throttling (spec: aws-client-vpn §2.0.5): a token bucket for each account, region and action. Off unless configured.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use model::{Scope, Timestamp};

use crate::config::{Bucket, Throttle};

/// Buckets kept at once: any region may be named. Beyond them, buckets that are full again are forgotten, and calls that
/// would need one more share one.
const MAX_BUCKETS: usize = 4_096;

type Key = Option<(Scope, &'static str, &'static str)>;

/// The buckets in use.
#[derive(Default)]
pub(crate) struct Buckets {
    levels: Mutex<BTreeMap<Key, Level>>,
}

/// How many calls a bucket lets through at once, as of a time.
#[derive(Clone, Copy)]
struct Level {
    left: u64,
    at: Timestamp,
}

impl Level {
    /// Refilled up to now. A clock that goes back refills nothing.
    fn refilled(self, bucket: Bucket, now: Timestamp) -> Self {
        let seconds = u64::try_from(now.0.saturating_sub(self.at.0)).unwrap_or(0);
        let left = self.left.saturating_add(seconds.saturating_mul(u64::from(bucket.per_second)));
        Self { left: left.min(u64::from(bucket.burst)), at: now }
    }
}

impl Buckets {
    /// Whether a call of this action may go on; takes its token.
    pub(crate) fn take(
        &self,
        limits: &Throttle,
        scope: &Scope,
        service: &'static str,
        action: &'static str,
        now: Timestamp,
    ) -> bool {
        let bucket = limits.of(action);
        let full = Level { left: u64::from(bucket.burst), at: now };
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = Some((scope.clone(), service, action));
        if !levels.contains_key(&key) && levels.len() >= MAX_BUCKETS {
            levels.retain(|key, level| {
                let bucket = limits.of(key.as_ref().map_or("", |(_, _, action)| action));
                level.refilled(bucket, now).left < u64::from(bucket.burst)
            });
            if levels.len() >= MAX_BUCKETS {
                key = None;
            }
        }
        let level = levels.entry(key).or_insert(full);
        *level = level.refilled(bucket, now);
        match level.left.checked_sub(1) {
            Some(left) => {
                level.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(account: &str, region: &str) -> Scope {
        Scope { account: account.parse().unwrap(), region: region.parse().unwrap() }
    }

    fn limits() -> Throttle {
        Throttle { read: Bucket { burst: 3, per_second: 2 }, write: Bucket { burst: 1, per_second: 1 } }
    }

    #[test]
    fn a_bucket_empties_and_refills() {
        let (buckets, limits, here) = (Buckets::default(), limits(), scope("000000000000", "us-east-1"));
        let take = |action, now| buckets.take(&limits, &here, "ec2", action, Timestamp(now));
        let taken = |action, now| (0..10).filter(|_| take(action, now)).count();
        assert_eq!(taken("DescribeVpcs", 100), 3);
        assert_eq!(taken("CreateVpc", 100), 1);
        assert_eq!(taken("DescribeVpcs", 101), 2);
        assert_eq!(taken("DescribeVpcs", 1_000), 3, "no more than it holds");
        assert_eq!(taken("DescribeVpcs", 500), 0, "a clock that goes back brings nothing");
        assert_eq!(taken("CreateVpc", 102), 1);
    }

    #[test]
    fn account_region_and_action_have_buckets_of_their_own() {
        let (buckets, limits) = (Buckets::default(), limits());
        let take = |account, region, action| {
            buckets.take(&limits, &scope(account, region), "ec2", action, Timestamp(1))
        };
        assert!(take("000000000000", "us-east-1", "CreateVpc"));
        assert!(!take("000000000000", "us-east-1", "CreateVpc"));
        assert!(take("000000000000", "us-east-1", "DeleteVpc"));
        assert!(take("000000000000", "us-east-2", "CreateVpc"));
        assert!(take("111111111111", "us-east-1", "CreateVpc"));
    }

    #[test]
    fn there_are_only_so_many_buckets() {
        let (buckets, limits) = (Buckets::default(), limits());
        let take = |n: usize, now| {
            let here = scope("000000000000", &format!("r-{n}"));
            buckets.take(&limits, &here, "ec2", "CreateVpc", Timestamp(now))
        };
        for n in 0..MAX_BUCKETS - 1 {
            assert!(take(n, 1));
        }
        assert!(take(MAX_BUCKETS, 1));
        assert!(take(MAX_BUCKETS + 1, 1), "the shared one");
        assert!(!take(MAX_BUCKETS + 2, 1), "and it is empty now");
        assert!(buckets.levels.lock().unwrap().len() <= MAX_BUCKETS + 1);
        assert!(take(MAX_BUCKETS + 3, 5), "those that are full again make room");
        assert!(buckets.levels.lock().unwrap().len() <= 2);
    }
}
