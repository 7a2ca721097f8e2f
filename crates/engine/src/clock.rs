//! The only clock of the data plane: everything below takes `now` as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use gateway::{Instant, UnixTime};

/// One origin for every thread of an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// Monotonic time since the start.
    pub(crate) fn now(&self) -> Instant {
        // Offset by a second: a fresh machine never sees instant 0, which some records use for "never".
        let micros = self.origin.elapsed().as_micros().saturating_add(1_000_000);
        Instant(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The wall clock.
    pub(crate) fn wall(&self) -> UnixTime {
        wall()
    }
}

/// The wall clock.
pub(crate) fn wall() -> UnixTime {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    UnixTime(i64::try_from(seconds).unwrap_or(i64::MAX))
}
