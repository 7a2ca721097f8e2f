//! The reliable-datagram layer under TLS: message ids, windows, acknowledgements, retransmission.
//!
//! One [`Reliable`] per key state; both directions. It knows neither packets nor sessions, only ids and payloads.
//! spec: openvpn-protocol §3

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::Instant;
use crate::wire::{AckIds, MAX_ACKS, Opcode};

/// Messages in flight, counted from the oldest one not acknowledged. At most 8 would suit all peers; 6 is safe.
pub const SEND_WINDOW: u32 = 6;
/// Messages accepted ahead of and including the next expected one.
pub const RECEIVE_WINDOW: u32 = 12;
/// Acknowledgements that ride on a message.
pub const ACKS_RIDING: usize = 4;
/// Acknowledgements repeated to spare the peer a retransmission.
const RECENT_ACKS: usize = 8;
/// Acknowledgements owed at once; beyond that the peer has to send again.
const OWED_ACKS: usize = 16;
/// Time to the first retransmission; doubles each time.
const FIRST_INTERVAL: Duration = Duration::from_secs(2);
/// A message is sent again at once when this many later ones were acknowledged before it.
const EARLY_AFTER: u8 = 3;

/// What became of a received message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Kept for delivery.
    New,
    /// Had it already; acknowledged again.
    Seen,
    /// Above the window: dropped, not acknowledged.
    Beyond,
}

/// A message to be put on the wire now.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Outgoing<'r> {
    /// Message id.
    pub id: u32,
    /// Opcode it was queued with.
    pub opcode: Opcode,
    /// Its bytes.
    pub payload: &'r [u8],
}

#[derive(Debug)]
struct InFlight {
    id: u32,
    opcode: Opcode,
    payload: Vec<u8>,
    /// `None`: not sent yet.
    due: Option<Instant>,
    interval: Duration,
    higher_acks: u8,
}

impl InFlight {
    fn is_due(&self, now: Instant, retransmits: bool) -> bool {
        let again = self.higher_acks >= EARLY_AFTER || self.due.is_none_or(|due| due <= now);
        if retransmits { again } else { self.due.is_none() }
    }
}

/// Both directions of one key state's message stream.
#[derive(Debug)]
pub struct Reliable {
    next_send: u32,
    in_flight: VecDeque<InFlight>,
    next_expected: u32,
    /// Received ahead of delivery; at most the receive window.
    waiting: BTreeMap<u32, (Opcode, Vec<u8>)>,
    owed: VecDeque<u32>,
    recent: VecDeque<u32>,
    repeat_acks: bool,
    retransmits: bool,
    send_window: u32,
    receive_window: u32,
}

impl Reliable {
    /// A stream whose next id is `first` in both directions: 0, or 1 where the hard resets were handled statelessly.
    #[must_use]
    pub fn new(first: u32) -> Self {
        Self {
            next_send: first,
            in_flight: VecDeque::new(),
            next_expected: first,
            waiting: BTreeMap::new(),
            owed: VecDeque::new(),
            recent: VecDeque::new(),
            repeat_acks: true,
            retransmits: true,
            send_window: SEND_WINDOW,
            receive_window: RECEIVE_WINDOW,
        }
    }

    /// The server's stream behind a client's hard reset that has just come: that was its message 0, ours is to be.
    #[must_use]
    pub fn answering_reset() -> Self {
        Self { next_expected: 1, owed: VecDeque::from([0]), ..Self::new(0) }
    }

    /// The same over TCP, which loses nothing: nothing is sent twice. (Peers may do so all the same.)
    #[must_use]
    pub fn over_tcp(self) -> Self {
        Self { retransmits: false, ..self }
    }

    /// The same, but each acknowledgement is sent once (as clients before 2.6 do).
    #[must_use]
    pub fn without_repeated_acks(first: u32) -> Self {
        Self { repeat_acks: false, ..Self::new(first) }
    }

    /// The same with other windows: of messages in flight, and of those accepted ahead.
    #[must_use]
    pub fn with_windows(self, send: u32, receive: u32) -> Self {
        Self { send_window: send.max(1), receive_window: receive.max(1), ..self }
    }

    /// Takes a message from the peer.
    pub fn receive(&mut self, id: u32, opcode: Opcode, payload: &[u8]) -> Received {
        if id >= self.next_expected.saturating_add(self.receive_window) {
            return Received::Beyond;
        }
        self.owe_ack(id);
        if id < self.next_expected || self.waiting.contains_key(&id) {
            return Received::Seen;
        }
        self.waiting.insert(id, (opcode, payload.to_vec()));
        Received::New
    }

    /// Bytes received ahead of delivery.
    pub fn held_bytes(&self) -> usize {
        self.waiting.values().map(|(_, payload)| payload.len()).sum()
    }

    /// The next message in order.
    pub fn deliver(&mut self) -> Option<(Opcode, Vec<u8>)> {
        let message = self.waiting.remove(&self.next_expected)?;
        self.next_expected = self.next_expected.saturating_add(1);
        Some(message)
    }

    /// Notes that `id` is to be acknowledged.
    pub fn owe_ack(&mut self, id: u32) {
        if !self.owed.contains(&id) && self.owed.len() < OWED_ACKS {
            self.owed.push_back(id);
        }
    }

    /// Takes the peer's acknowledgements; unknown ids are harmless.
    pub fn acknowledged(&mut self, ids: &[u32]) {
        for id in ids {
            let Some(place) = self.in_flight.iter().position(|message| message.id == *id) else { continue };
            if self.in_flight.get(place).is_none_or(|message| message.due.is_none()) {
                continue; // never sent: an ack out of the blue
            }
            self.in_flight.remove(place);
            for earlier in self.in_flight.iter_mut().take(place) {
                earlier.higher_acks = earlier.higher_acks.saturating_add(1);
            }
        }
    }

    /// True if another message may be queued.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let oldest = self.in_flight.front().map_or(self.next_send, |message| message.id);
        self.next_send < oldest.saturating_add(self.send_window)
    }

    /// Queues a message; the caller has asked [`Reliable::has_room`].
    pub fn send(&mut self, opcode: Opcode, payload: Vec<u8>) {
        self.in_flight.push_back(InFlight {
            id: self.next_send,
            opcode,
            payload,
            due: None,
            interval: FIRST_INTERVAL,
            higher_acks: 0,
        });
        self.next_send = self.next_send.saturating_add(1);
    }

    /// True if [`Reliable::poll`] would yield a message.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.in_flight.iter().any(|message| message.is_due(now, self.retransmits))
    }

    /// The next message to put on the wire: new, timed out, or overtaken by three acknowledged ones.
    pub fn poll(&mut self, now: Instant) -> Option<Outgoing<'_>> {
        let retransmits = self.retransmits;
        let message = self.in_flight.iter_mut().find(|message| message.is_due(now, retransmits))?;
        let timed_out = message.due.is_some_and(|due| due <= now);
        if timed_out {
            message.interval = message.interval.saturating_mul(2);
        }
        message.due = Some(now + message.interval);
        message.higher_acks = 0;
        Some(Outgoing { id: message.id, opcode: message.opcode, payload: &message.payload })
    }

    /// True if acknowledgements are owed that no message has carried.
    #[must_use]
    pub fn owes_acks(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Up to `max` acknowledgements to send now: the owed ones first, filled up with recent ones.
    pub fn acks(&mut self, max: usize) -> AckIds {
        let mut list = AckIds::default();
        let max = max.min(MAX_ACKS);
        let mut fresh = VecDeque::new();
        while list.as_slice().len() < max {
            let Some(id) = self.owed.pop_front() else { break };
            list.push(id);
            fresh.push_front(id);
        }
        if self.repeat_acks {
            for id in &self.recent {
                if list.as_slice().len() >= max {
                    break;
                }
                if !list.as_slice().contains(id) {
                    list.push(*id);
                }
            }
            self.recent.retain(|id| !fresh.contains(id));
            fresh.append(&mut self.recent);
            fresh.truncate(RECENT_ACKS);
            self.recent = fresh;
        }
        list
    }

    /// When [`Reliable::poll`] has something again, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.in_flight.iter().filter(|message| self.retransmits || message.due.is_none());
        waiting.map(|message| message.due.unwrap_or_default()).min()
    }

    /// True if all that was queued is acknowledged.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    fn sent(reliable: &mut Reliable, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| reliable.poll(now).map(|message| message.id)).collect()
    }

    #[test]
    fn delivers_in_order_once_and_acknowledges_replays() {
        let mut r = Reliable::new(0);
        let got = |r: &mut Reliable| std::iter::from_fn(|| r.deliver()).map(|m| m.1).collect::<Vec<_>>();
        assert_eq!(r.receive(1, Opcode::ControlV1, b"b"), Received::New);
        assert!(got(&mut r).is_empty());
        assert_eq!(r.receive(0, Opcode::ControlV1, b"a"), Received::New);
        assert_eq!(got(&mut r), [b"a", b"b"]);
        assert_eq!(r.receive(0, Opcode::ControlV1, b"a"), Received::Seen);
        assert_eq!(r.receive(2 + RECEIVE_WINDOW, Opcode::ControlV1, b"x"), Received::Beyond);
        assert_eq!(r.receive(1 + RECEIVE_WINDOW, Opcode::ControlV1, b"y"), Received::New);
        assert_eq!(r.acks(8).as_slice(), [1, 0, 13]);
        assert!(!r.owes_acks());
        // Nothing owed: the recent ones again, newest first.
        assert_eq!(r.acks(4).as_slice(), [13, 0, 1]);
    }

    #[test]
    fn at_most_eight_recent_acks_newest_first() {
        let mut r = Reliable::new(0);
        for id in 0..11 {
            r.receive(id, Opcode::ControlV1, b"");
            r.deliver();
            r.acks(1);
        }
        assert_eq!(r.acks(8).as_slice(), [10, 9, 8, 7, 6, 5, 4, 3]);
        let mut once = Reliable::without_repeated_acks(0);
        once.receive(0, Opcode::ControlV1, b"");
        assert_eq!(once.acks(8).as_slice(), [0]);
        assert!(once.acks(8).is_empty());
    }

    #[test]
    fn window_counts_from_the_oldest_in_flight() {
        let mut r = Reliable::new(1);
        while r.has_room() {
            r.send(Opcode::ControlV1, vec![]);
        }
        assert_eq!(sent(&mut r, at(0)), [1, 2, 3, 4, 5, 6]);
        r.acknowledged(&[2, 3, 6]);
        assert!(!r.has_room());
        r.acknowledged(&[1]);
        assert!(r.has_room());
        r.acknowledged(&[4, 5, 99]);
        assert!(r.is_idle());
    }

    #[test]
    fn windows_can_be_those_of_older_peers() {
        let mut r = Reliable::new(0).with_windows(4, 8);
        while r.has_room() {
            r.send(Opcode::ControlV1, vec![]);
        }
        assert_eq!(sent(&mut r, at(0)), [0, 1, 2, 3]);
        assert_eq!(r.receive(7, Opcode::ControlV1, b""), Received::New);
        assert_eq!(r.receive(8, Opcode::ControlV1, b""), Received::Beyond);
    }

    #[test]
    fn retransmits_on_a_doubling_timer_and_early() {
        let mut r = Reliable::new(0);
        for _ in 0..5 {
            r.send(Opcode::ControlV1, vec![]);
        }
        assert_eq!(sent(&mut r, at(0)), [0, 1, 2, 3, 4]);
        assert_eq!(r.deadline(), Some(at(2000)));
        r.acknowledged(&[2, 3]);
        assert_eq!(sent(&mut r, at(100)), [] as [u32; 0]);
        r.acknowledged(&[4]);
        assert_eq!(sent(&mut r, at(200)), [0, 1]);
        assert_eq!(sent(&mut r, at(2100)), [] as [u32; 0]);
        assert_eq!(sent(&mut r, at(2200)), [0, 1]);
        assert_eq!(r.deadline(), Some(at(6200)));
        assert_eq!(sent(&mut r, at(6200)), [0, 1]);
        assert_eq!(r.deadline(), Some(at(14_200)));
    }

    #[test]
    fn over_tcp_nothing_is_sent_twice() {
        let mut r = Reliable::answering_reset().over_tcp();
        assert_eq!((r.acks(4).as_slice(), r.deadline()), (&[0][..], None));
        for _ in 0..5 {
            r.send(Opcode::ControlV1, vec![]);
        }
        assert_eq!(r.deadline(), Some(Instant::default()));
        assert_eq!(sent(&mut r, at(0)), [0, 1, 2, 3, 4]);
        r.acknowledged(&[2, 3, 4]);
        assert_eq!((sent(&mut r, at(60_000)), r.deadline()), (vec![], None));
        assert_eq!(r.receive(0, Opcode::HardResetClientV2, b""), Received::Seen);
        assert_eq!(r.receive(1, Opcode::ControlV1, b"a"), Received::New);
        r.acknowledged(&[0, 1]);
        assert!(r.is_idle());
    }

    #[test]
    fn an_ack_of_something_unsent_is_ignored() {
        let mut r = Reliable::new(0);
        r.send(Opcode::ControlV1, vec![]);
        r.acknowledged(&[0]);
        assert!(!r.is_idle());
    }
}
