//! Whose control datagrams are let in: those from the address and with the session id of a session, and of one that is
//! about to begin.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use gateway::Instant;
use openvpn::wire::SessionId;

/// How long a client that has proved its address is expected: what it sends right behind its first packet is let in before
/// the control thread has made it a session.
const EXPECTED_FOR: Duration = Duration::from_secs(2);
/// Most expected at once; beyond it the first ones are no more, and have to send again.
const EXPECTED_MAX: usize = 4096;

/// Where a client is, and the session id that it chose.
pub(super) type Guest = (SocketAddr, SessionId);

/// Clients as one worker knows them. Both halves are of their choosing, hence the keyed hash.
#[derive(Default)]
pub(super) struct Guests {
    /// How many sessions are one's, and how often it is expected.
    known: HashMap<Guest, u32>,
    expected: VecDeque<(Instant, Guest)>,
}

impl Guests {
    pub(super) fn has(&mut self, client: Guest, now: Instant) -> bool {
        while self.expected.front().is_some_and(|(since, _)| now.since(*since) >= EXPECTED_FOR) {
            self.expect_no_more();
        }
        self.known.contains_key(&client)
    }

    /// A session is this client's.
    pub(super) fn know(&mut self, client: Guest) {
        *self.known.entry(client).or_default() += 1;
    }

    /// One session less is this client's.
    pub(super) fn forget(&mut self, client: Guest) {
        if let Entry::Occupied(mut times) = self.known.entry(client) {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
    }

    /// This client has proved its address.
    pub(super) fn expect(&mut self, client: Guest, now: Instant) {
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

    fn id(n: u64) -> Guest {
        (SocketAddr::from(([192, 0, 2, 1], 1194)), SessionId(n.to_be_bytes()))
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
        let elsewhere = (SocketAddr::from(([192, 0, 2, 1], 1195)), id(1).1);
        assert!(!guests.has(elsewhere, at(1)), "whoever knows the id is not the client");
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
