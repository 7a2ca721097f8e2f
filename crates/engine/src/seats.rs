//! How many TCP connections there may be, over all workers. A connection costs a descriptor from its first byte on,
//! long before anybody knows whose it is: those that are not a session's yet are bounded by where they come from.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::StreamLimits;

/// Descriptors kept for everything else, when the system's limit is lower than ours.
const SPARE_DESCRIPTORS: usize = 256;

/// The counts.
#[derive(Debug)]
pub(crate) struct Seats {
    limits: StreamLimits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Those without a session.
    waiting: usize,
    /// The same by source; no entry is zero.
    sources: HashMap<u128, usize>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    /// Its source, as long as it has no session.
    waiting: Option<u128>,
}

impl Seats {
    /// `descriptors`: how many this process may have open, where that is known.
    pub(crate) fn new(limits: StreamLimits, descriptors: Option<usize>) -> Self {
        let most = descriptors.map_or(usize::MAX, |most| most.saturating_sub(SPARE_DESCRIPTORS));
        let limits = StreamLimits { max_streams: limits.max_streams.min(most), ..limits };
        Self { limits, taken: Mutex::default() }
    }

    pub(crate) fn limits(&self) -> &StreamLimits {
        &self.limits
    }

    /// A place for a connection that has just come, if there is one.
    pub(crate) fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<Seat> {
        let source = gateway::source(peer);
        let mut taken = self.taken();
        let here = taken.sources.get(&source).copied().unwrap_or(0);
        if taken.all >= self.limits.max_streams
            || taken.waiting >= self.limits.max_waiting
            || here >= self.limits.max_waiting_per_source
        {
            return None;
        }
        taken.all += 1;
        taken.waiting += 1;
        taken.sources.insert(source, here + 1);
        Some(Seat { seats: Arc::clone(self), waiting: Some(source) })
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.taken().all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The connection carries a session from now on.
    pub(crate) fn admitted(&mut self) {
        if let Some(source) = self.waiting.take() {
            self.seats.taken().no_longer_waits(source);
        }
    }
}

impl Taken {
    fn no_longer_waits(&mut self, source: u128) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(count) = self.sources.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(source) = self.waiting.take() {
            taken.no_longer_waits(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn bounds_all_the_waiting_and_each_source() {
        let limits = StreamLimits {
            max_streams: 5,
            max_waiting: 3,
            max_waiting_per_source: 2,
            ..StreamLimits::default()
        };
        let seats = Arc::new(Seats::new(limits, None));
        let a: Vec<_> = (1..=2).filter_map(|port| seats.take(([192, 0, 2, 1], port).into())).collect();
        assert_eq!((a.len(), seats.take(peer("192.0.2.1:9")).is_none()), (2, true));
        let mut b = seats.take(peer("[2001:db8::1]:1")).unwrap();
        assert!(seats.take(peer("192.0.2.3:1")).is_none(), "three wait");
        b.admitted();
        b.admitted();
        // One that has a session counts among all only; what ends makes room.
        let mut c = seats.take(peer("[2001:db8::2]:1")).unwrap();
        c.admitted();
        drop(a);
        let d: Vec<_> = (1..=4).filter_map(|host| seats.take(([192, 0, 2, host], 1).into())).collect();
        assert_eq!((d.len(), seats.open()), (3, 5));
        drop((b, c, d));
        let taken = seats.taken();
        assert_eq!((taken.all, taken.waiting, taken.sources.len()), (0, 0, 0));
    }

    #[test]
    fn leaves_descriptors_for_others() {
        let seats = |descriptors| Seats::new(StreamLimits::default(), descriptors).limits().max_streams;
        assert_eq!(seats(None), StreamLimits::default().max_streams);
        assert_eq!((seats(Some(1024)), seats(Some(10))), (768, 0));
    }
}
