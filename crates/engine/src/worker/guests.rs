//! Whose control datagrams are let in: those with the session id of a session, and of one that is about to begin.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use gateway::Instant;
use openvpn::wire::SessionId;

/// How long a client that has proved its address is expected: what it sends right behind its first packet is let in before
/// the control thread has made it a session.
const EXPECTED_FOR: Duration = Duration::from_secs(2);
/// Most expected at once; beyond it the first ones are no more, and have to send again.
const EXPECTED_MAX: usize = 4096;

/// Session ids of clients, as one worker knows them. Clients choose them, hence the keyed hash.
#[derive(Default)]
pub(super) struct Guests {
    /// How many sessions have one, and how often it is expected.
    known: HashMap<SessionId, u32>,
    expected: VecDeque<(Instant, SessionId)>,
}

impl Guests {
    pub(super) fn has(&mut self, client: SessionId, now: Instant) -> bool {
        while self.expected.front().is_some_and(|(since, _)| now.since(*since) >= EXPECTED_FOR) {
            self.expect_no_more();
        }
        self.known.contains_key(&client)
    }

    /// A session has it.
    pub(super) fn know(&mut self, client: SessionId) {
        *self.known.entry(client).or_default() += 1;
    }

    /// One session less has it.
    pub(super) fn forget(&mut self, client: SessionId) {
        if let Entry::Occupied(mut times) = self.known.entry(client) {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
    }

    /// A client with it has proved its address.
    pub(super) fn expect(&mut self, client: SessionId, now: Instant) {
        if self.expected.len() >= EXPECTED_MAX {
            self.expect_no_more();
        }
        self.expected.push_back((now, client));
        self.know(client);
    }

    fn expect_no_more(&mut self) {
        if let Some((_, client)) = self.expected.pop_front() {
            self.forget(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> SessionId {
        SessionId(n.to_be_bytes())
    }

    #[test]
    fn expected_for_a_moment_known_as_long_as_a_session_lives() {
        let mut guests = Guests::default();
        let at = |s: u64| Instant(s * 1_000_000);
        assert!(!guests.has(id(1), at(0)));
        for guest in [1, 2] {
            guests.expect(id(guest), at(0));
        }
        guests.know(id(1));
        assert!(guests.has(id(1), at(1)) && guests.has(id(2), at(1)));
        assert!(guests.has(id(1), at(2)) && !guests.has(id(2), at(2)));
        guests.know(id(1));
        guests.forget(id(1));
        assert!(guests.has(id(1), at(9)), "another session has it too");
        guests.forget(id(1));
        guests.forget(id(1));
        assert!(!guests.has(id(1), at(9)) && guests.known.is_empty());
    }

    #[test]
    fn bounded() {
        let mut guests = Guests::default();
        for n in 0..10_000 {
            guests.expect(id(n), Instant(0));
        }
        assert_eq!((guests.known.len(), guests.expected.len()), (EXPECTED_MAX, EXPECTED_MAX));
        assert!(guests.has(id(9_999), Instant(0)) && !guests.has(id(0), Instant(0)));
    }
}
