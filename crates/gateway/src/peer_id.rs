//! Peer ids: the 24-bit numbers in DATA_V2 packets. Its remainder by the number of workers names a peer id's worker.

use std::collections::VecDeque;
use std::time::Duration;

use openvpn::Instant;

/// How long a released peer id rests (I-7).
pub const PEER_ID_QUARANTINE: Duration = Duration::from_secs(60);

/// One past the largest peer id: 0xffffff means "none" on the wire (spec: openvpn-protocol §8.3).
const PEER_IDS: u32 = 0xff_ffff;

/// Peer ids of the whole gateway.
#[derive(Debug)]
pub(crate) struct PeerIds {
    lanes: Vec<Lane>,
}

/// The ids of one worker.
#[derive(Debug)]
struct Lane {
    next: u32,
    in_use: u32,
    resting: VecDeque<(Instant, u32)>,
}

impl PeerIds {
    /// For this many workers, at least one.
    pub(crate) fn new(workers: u16) -> Self {
        let lane = |worker| Lane { next: u32::from(worker), in_use: 0, resting: VecDeque::new() };
        Self { lanes: (0..workers.max(1)).map(lane).collect() }
    }

    /// An id of this worker, or of the least busy one. Returns (worker, id).
    pub(crate) fn allocate(&mut self, on: Option<u16>, now: Instant) -> Option<(u16, u32)> {
        let stride = u32::try_from(self.lanes.len()).ok()?;
        let lanes = self.lanes.iter_mut().enumerate();
        let eligible = lanes.filter(|(at, _)| on.is_none_or(|on| usize::from(on) == *at));
        let (worker, lane) = eligible.min_by_key(|(_, lane)| lane.in_use)?;
        let rested = lane.resting.front().is_some_and(|(at, _)| now.since(*at) >= PEER_ID_QUARANTINE);
        let id = match rested.then(|| lane.resting.pop_front()).flatten() {
            Some((_, id)) => id,
            None if lane.next < PEER_IDS => {
                let id = lane.next;
                lane.next += stride;
                id
            }
            None => return None,
        };
        lane.in_use += 1;
        Some((u16::try_from(worker).ok()?, id))
    }

    /// Takes an id back, to rest from `now`.
    pub(crate) fn release(&mut self, worker: u16, id: u32, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(usize::from(worker)) {
            lane.in_use = lane.in_use.saturating_sub(1);
            lane.resting.push_back((now, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_over_workers_and_rests() {
        let mut ids = PeerIds::new(3);
        let now = Instant(0);
        let given: Vec<_> = (0..6).map(|_| ids.allocate(None, now).unwrap()).collect();
        assert_eq!(given, [(0, 0), (1, 1), (2, 2), (0, 3), (1, 4), (2, 5)]);
        assert_eq!(ids.allocate(Some(0), now), Some((0, 6)));
        assert_eq!(ids.allocate(Some(3), now), None, "there is no such worker");
        ids.release(1, 4, now);
        assert_eq!(ids.allocate(None, Instant(59_999_999)), Some((1, 7)));
        ids.release(1, 1, Instant(60_000_000));
        assert_eq!(ids.allocate(None, Instant(60_000_000)), Some((1, 4)));
    }

    #[test]
    fn never_gives_the_id_that_means_none() {
        let mut ids = PeerIds::new(1);
        ids.lanes[0].next = PEER_IDS - 1;
        assert_eq!(ids.allocate(None, Instant(0)), Some((0, 0xff_fffe)));
        assert_eq!(ids.allocate(None, Instant(0)), None);
    }
}
