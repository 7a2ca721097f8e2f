//! Where live sessions are, and when each was last heard from: a reset from there is not theirs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use gateway::{Counters, Instant};

/// How long after a session was heard from its address has no answer for anybody who would begin another there. A client
/// takes such an answer for its server's word and begins anew, whoever asked for it. Longer than a client that is there
/// is silent (it is told to ping every second), shorter than the pause before a client that did begin anew asks for the
/// second time (spec: openvpn-protocol §3).
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// Of all endpoints. Written by the control thread; read by workers for each answer they would give to strangers.
#[derive(Debug, Default)]
pub(crate) struct Residents(RwLock<Places>);

#[derive(Debug, Default)]
struct Places {
    /// Endpoint and address → whoever is there; two while one client has two sessions.
    there: HashMap<(u32, SocketAddr), Vec<(u32, Arc<Counters>)>>,
    /// Peer id → where it is.
    places: HashMap<u32, (u32, SocketAddr)>,
}

impl Residents {
    /// A session begins.
    pub(crate) fn arrive(&self, peer_id: u32, endpoint: u32, peer: SocketAddr, counters: Arc<Counters>) {
        let mut places = self.write();
        places.places.insert(peer_id, (endpoint, peer));
        places.there.entry((endpoint, peer)).or_default().push((peer_id, counters));
    }

    /// Its client is somewhere else now.
    pub(crate) fn move_to(&self, peer_id: u32, peer: SocketAddr) {
        let mut places = self.write();
        if let Some((endpoint, counters)) = places.take(peer_id) {
            places.places.insert(peer_id, (endpoint, peer));
            places.there.entry((endpoint, peer)).or_default().push((peer_id, counters));
        }
    }

    /// It is over.
    pub(crate) fn leave(&self, peer_id: u32) {
        self.write().take(peer_id);
    }

    /// Whether somebody was heard from there a moment ago.
    pub(crate) fn is_at_home(&self, endpoint: u32, peer: SocketAddr, now: Instant) -> bool {
        let places = self.read();
        let there = places.there.get(&(endpoint, peer)).into_iter().flatten();
        there.into_iter().any(|(_, counters)| {
            let last_seen = counters.read().last_seen;
            last_seen != Instant::default() && now.since(last_seen) < HEARD_WITHIN
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Places> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Places> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn take(&mut self, peer_id: u32) -> Option<(u32, Arc<Counters>)> {
        let place = self.places.remove(&peer_id)?;
        let here = self.there.get_mut(&place)?;
        let at = here.iter().position(|(id, _)| *id == peer_id)?;
        let (_, counters) = here.swap_remove(at);
        if here.is_empty() {
            self.there.remove(&place);
        }
        Some((place.0, counters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_home_is_who_was_heard_from_a_moment_ago() {
        let residents = Residents::default();
        let [here, there]: [SocketAddr; 2] = ["192.0.2.1:5", "192.0.2.1:6"].map(|text| text.parse().unwrap());
        let at = |ms: u64| Instant(ms * 1_000);
        let [old, new] = [(); 2].map(|()| Arc::new(Counters::default()));
        residents.arrive(7, 1, here, Arc::clone(&old));
        assert!(!residents.is_at_home(1, here, at(500)), "never heard from");
        old.seen(at(1_000));
        let cases = [
            (1, here, 1_000, true),
            (1, here, 2_999, true),
            (1, here, 3_000, false),
            (1, there, 1_000, false),
            (2, here, 1_000, false),
        ];
        for (endpoint, peer, ms, expected) in cases {
            assert_eq!(residents.is_at_home(endpoint, peer, at(ms)), expected, "{endpoint} {peer} {ms}");
        }
        residents.arrive(8, 1, here, Arc::clone(&new));
        residents.move_to(7, there);
        assert!(residents.is_at_home(1, there, at(1_500)) && !residents.is_at_home(1, here, at(1_500)));
        new.seen(at(1_400));
        residents.leave(7);
        assert!(residents.is_at_home(1, here, at(1_500)) && !residents.is_at_home(1, there, at(1_500)));
        residents.leave(8);
        residents.leave(8);
        let places = residents.read();
        assert_eq!((places.there.len(), places.places.len()), (0, 0));
    }
}
