//! What the clients of a run add up to: how many, how fast, and why not.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Times of one kind that are kept; later ones are counted only.
const MAX_TIMES: usize = 1_000_000;
/// Reasons that are told apart; further ones are put together.
const MAX_REASONS: usize = 64;
/// What further reasons are put under.
const OTHER_REASONS: &str = "other reasons";

#[derive(Default)]
struct Held {
    counts: Counts,
    connect_times: Vec<Duration>,
    ping_times: Vec<Duration>,
    failures: BTreeMap<String, u64>,
    farewells: BTreeMap<String, u64>,
}

/// Shared by the clients of a run.
#[derive(Default)]
pub(crate) struct Tally(Mutex<Held>);

/// How often things happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Clients that have begun.
    pub started: u64,
    /// Tunnels that came up; a client that came back counts again.
    pub ups: u64,
    /// Tunnels that are up now.
    pub up: u64,
    /// Clients that are over.
    pub ended: u64,
    /// Times a server said RESTART (or left).
    pub restarts: u64,
    /// Attempts that came to nothing, and tunnels that were lost without a farewell.
    pub failures: u64,
    /// Changes of a tunnel's terms that a client was told without an interruption.
    pub updates: u64,
    /// Renegotiations.
    pub rekeys: u64,
    /// Echo requests of the endless pings.
    pub pings_sent: u64,
    /// Their replies.
    pub pings_answered: u64,
}

/// How times are spread, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Half took no longer.
    pub p50_ms: f64,
    /// All but one in a hundred took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Spread {
    /// Of these times.
    #[must_use]
    pub fn of(times: &[Duration]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        // The nearest rank: a time that really occurred.
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).map_or(0.0, |time| (time.as_secs_f64() * 10_000.0).round() / 10.0)
        };
        Self { count: sorted.len(), p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

impl Tally {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.held().counts);
    }

    /// A tunnel is up, this long after its attempt began.
    pub(crate) fn connected(&self, took: Duration) {
        let mut held = self.held();
        held.counts.ups += 1;
        held.counts.up += 1;
        if held.connect_times.len() < MAX_TIMES {
            held.connect_times.push(took);
        }
    }

    /// An attempt came to nothing.
    pub(crate) fn failed(&self, why: &str) {
        let mut held = self.held();
        held.counts.failures += 1;
        note(&mut held.failures, why);
    }

    /// The server sent a client away.
    pub(crate) fn sent_away(&self, words: &str) {
        note(&mut self.held().farewells, words);
    }

    pub(crate) fn pinged(&self) {
        self.held().counts.pings_sent += 1;
    }

    pub(crate) fn ponged(&self, took: Duration) {
        let mut held = self.held();
        held.counts.pings_answered += 1;
        if held.ping_times.len() < MAX_TIMES {
            held.ping_times.push(took);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.held().counts
    }

    pub(crate) fn connect_times(&self) -> Spread {
        Spread::of(&self.held().connect_times)
    }

    pub(crate) fn ping_times(&self) -> Spread {
        Spread::of(&self.held().ping_times)
    }

    pub(crate) fn failures(&self) -> BTreeMap<String, u64> {
        self.held().failures.clone()
    }

    pub(crate) fn farewells(&self) -> BTreeMap<String, u64> {
        self.held().farewells.clone()
    }
}

fn note(reasons: &mut BTreeMap<String, u64>, why: &str) {
    let known = reasons.contains_key(why) || reasons.len() < MAX_REASONS;
    *reasons.entry(if known { why } else { OTHER_REASONS }.to_owned()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        assert_eq!(Spread::of(&[]), Spread::default());
        let one = Spread::of(&[Duration::from_millis(7)]);
        assert_eq!((one.count, one.p50_ms, one.p99_ms, one.max_ms), (1, 7.0, 7.0, 7.0));
        let many: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let spread = Spread::of(&many);
        assert_eq!((spread.count, spread.p50_ms, spread.p99_ms, spread.max_ms), (200, 100.0, 198.0, 200.0));
    }

    #[test]
    fn reasons_are_bounded() {
        let tally = Tally::default();
        for number in 0..200 {
            tally.failed(&format!("reason {number}"));
            tally.failed("reason 1");
        }
        let failures = tally.failures();
        assert_eq!(failures.len(), MAX_REASONS + 1);
        assert_eq!(failures["reason 1"], 201);
        assert_eq!(tally.counts().failures, 400);
        assert_eq!(failures.values().sum::<u64>(), 400);
    }
}
