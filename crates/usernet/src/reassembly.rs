//! Packets that clients send in fragments, held until all of one have come. Time is handed in.
//!
//! Whose fragments they are is known: the gateway has checked each one's source. So a client can fill its own share, and
//! what is dropped for want of room is its own first.
//!
//! Unlike whole packets these need memory each: it is bounded, and given back with the packet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::fragment::{self, Fragment};
use crate::stats::{Refusal, Stats};

/// How long a packet's missing fragments are waited for, from its first one on: as long as Linux waits for IPv4's. RFC
/// 791 would have 15 s, RFC 8200 60 s; identifiers of IPv4 have 16 bits, and come again the sooner the faster one sends.
const AGE_MAX: Duration = Duration::from_secs(30);
/// Packets being put together at one thread.
const PACKETS_MAX: usize = 512;
/// Those of one client's address.
const CLIENT_PACKETS_MAX: usize = 32;
/// Memory they hold at one thread, bytes: what Linux allows a network namespace.
const BYTES_MAX: usize = 4 << 20;
/// The same of one client's address: several of the longest packets at once.
const CLIENT_BYTES_MAX: usize = 512 << 10;
/// Fragments of one packet: enough for the longest by the narrowest link that IPv4 hosts must expect (576 bytes).
const FRAGMENTS_MAX: usize = 128;

/// One client's address, in one association: others may have the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client {
    association: u32,
    address: IpAddr,
}

/// What fragments of one packet have in common (RFC 791, 3.2; RFC 8200, 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: Client,
    destination: IpAddr,
    /// IPv6 does not tell packets apart by it.
    protocol: Option<u8>,
    ident: u32,
}

/// A packet of which fragments are missing.
#[derive(Debug)]
struct Pending {
    key: Key,
    until: Instant,
    /// `None`: its fragments contradict each other. None of them counts, nor any that is still to come (RFC 5722).
    pieces: Option<Pieces>,
}

/// What has come of a packet.
#[derive(Debug, Default)]
struct Pieces {
    /// Of the fragment with offset 0, what it says the packet carries, and how much that may be.
    header: Vec<u8>,
    protocol: u8,
    room_bytes: usize,
    /// Data in the order they came.
    data: Vec<u8>,
    /// In the packet's order; they do not overlap.
    places: Vec<Place>,
    /// Where the last fragment ends.
    total_bytes: Option<usize>,
}

/// Where data stand in the packet behind its header, and where in what has come.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    at: usize,
}

/// What came of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// Others are missing.
    Held,
    /// It was the one that was missing.
    Complete,
    /// It cannot be of the same packet as those that are there.
    Contradicts,
}

impl Pieces {
    fn take(&mut self, part: &Fragment<'_>) -> Taken {
        let (start, end, is_last) = (part.start, part.end(), !part.more);
        let behind = self.places.partition_point(|place| place.start < start);
        let next = self.places.get(behind);
        if next.is_some_and(|place| self.is_repeated(place, part)) {
            return Taken::Held;
        }
        let before = behind.checked_sub(1).and_then(|place| self.places.get(place));
        let overlaps =
            before.is_some_and(|place| place.end > start) || next.is_some_and(|place| place.start < end);
        let beyond_the_end = match self.total_bytes {
            Some(total) => is_last || end > total,
            None => is_last && self.places.last().is_some_and(|place| place.end > end),
        };
        if overlaps || beyond_the_end || self.places.len() >= FRAGMENTS_MAX {
            return Taken::Contradicts;
        }
        self.places.insert(behind, Place { start, end, at: self.data.len() });
        self.data.extend_from_slice(part.data);
        if start == 0 {
            self.header = part.header.to_vec();
            self.protocol = part.protocol;
            self.room_bytes = part.room_bytes();
        }
        if is_last {
            self.total_bytes = Some(end);
        }
        // Without overlap or anything beyond the end, as many bytes are all bytes.
        if self.total_bytes != Some(self.data.len()) {
            Taken::Held
        } else if self.data.len() > self.room_bytes {
            Taken::Contradicts
        } else {
            Taken::Complete
        }
    }

    /// Whether a fragment says what is known already: networks repeat packets.
    fn is_repeated(&self, place: &Place, part: &Fragment<'_>) -> bool {
        (place.start, place.end) == (part.start, part.end())
            && self.data_at(place) == part.data
            && part.more == (self.total_bytes != Some(part.end()))
    }

    fn data_at(&self, place: &Place) -> &[u8] {
        // All places are of what has come.
        self.data.get(place.at..place.at + (place.end - place.start)).unwrap_or_default()
    }

    /// Memory of it, bytes.
    fn held_bytes(&self) -> usize {
        self.header.capacity() + self.data.capacity() + self.places.capacity() * size_of::<Place>()
    }

    fn join(&self, out: &mut Vec<u8>) {
        fragment::join(&self.header, self.protocol, self.places.iter().map(|place| self.data_at(place)), out);
    }
}

impl Pending {
    fn held_bytes(&self) -> usize {
        self.pieces.as_ref().map_or(0, Pieces::held_bytes)
    }
}

/// What one client has there.
#[derive(Debug, Default)]
struct Holdings {
    /// By number: oldest first.
    pending: BTreeSet<u64>,
    bytes: usize,
}

/// All packets of which fragments are missing at one thread.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// By number, in the order they began, which is the order they end in.
    pending: BTreeMap<u64, Pending>,
    numbers: HashMap<Key, u64>,
    clients: HashMap<Client, Holdings>,
    bytes: usize,
    next_number: u64,
}

impl Reassembly {
    /// Takes a fragment that came from an association. True: `out` is the whole packet now. What is dropped is counted,
    /// a packet of which fragments have come once.
    pub(crate) fn add(
        &mut self,
        association: u32,
        part: &Fragment<'_>,
        now: Instant,
        stats: &Stats,
        out: &mut Vec<u8>,
    ) -> bool {
        if part.is_whole() {
            fragment::join(part.header, part.protocol, [part.data], out);
            return true;
        }
        let client = Client { association, address: part.source };
        let protocol = part.source.is_ipv4().then_some(part.protocol);
        let key = Key { client, destination: part.destination, protocol, ident: part.ident };
        let number = self.numbers.get(&key).copied().unwrap_or_else(|| self.begin(key, now));
        let Some(pending) = self.pending.get_mut(&number) else { return false };
        let before = pending.held_bytes();
        let taken = pending.pieces.as_mut().map_or(Taken::Contradicts, |pieces| pieces.take(part));
        match (taken, &pending.pieces) {
            (Taken::Held, _) => {}
            (Taken::Complete, Some(pieces)) => pieces.join(out),
            _ => {
                pending.pieces = None;
                stats.refused(Refusal::Fragment);
            }
        }
        let after = pending.held_bytes();
        self.account(client, before, after);
        if taken == Taken::Complete {
            self.forget(number);
            return true;
        }
        self.make_room(number, client, stats);
        false
    }

    fn begin(&mut self, key: Key, now: Instant) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(key, number);
        self.clients.entry(key.client).or_default().pending.insert(number);
        let pieces = Some(Pieces::default());
        self.pending.insert(number, Pending { key, until: now + AGE_MAX, pieces });
        number
    }

    fn account(&mut self, client: Client, before: usize, after: usize) {
        self.bytes = self.bytes + after - before;
        if let Some(holdings) = self.clients.get_mut(&client) {
            holdings.bytes = holdings.bytes + after - before;
        }
    }

    /// Drops packets until all bounds hold: the client's own first, oldest first, then the oldest of all; never `newest`,
    /// which alone is within them.
    fn make_room(&mut self, newest: u64, client: Client, stats: &Stats) {
        loop {
            let Some(own) = self.clients.get(&client) else { return };
            let own_full = own.pending.len() > CLIENT_PACKETS_MAX || own.bytes > CLIENT_BYTES_MAX;
            let all_full = self.pending.len() > PACKETS_MAX || self.bytes > BYTES_MAX;
            let why = match (own_full, all_full) {
                (true, _) => Refusal::ClientFragments,
                (false, true) => Refusal::Fragments,
                (false, false) => return,
            };
            let mut oldest = own.pending.iter().chain(self.pending.keys());
            let Some(number) = oldest.find(|number| **number != newest).copied() else { return };
            self.give_up(number, why, stats);
        }
    }

    /// Drops what has waited for too long.
    pub(crate) fn expire(&mut self, now: Instant, stats: &Stats) {
        while let Some((&number, pending)) = self.pending.first_key_value()
            && pending.until <= now
        {
            self.give_up(number, Refusal::FragmentMissing, stats);
        }
    }

    /// When `expire` has something to do.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|(_, pending)| pending.until)
    }

    /// Drops what came from an association.
    pub(crate) fn forget_association(&mut self, association: u32) {
        let of_it = |(_, pending): &(&u64, &Pending)| pending.key.client.association == association;
        let numbers: Vec<u64> = self.pending.iter().filter(of_it).map(|(number, _)| *number).collect();
        numbers.into_iter().for_each(|number| drop(self.forget(number)));
    }

    /// Drops what came from one client of it.
    pub(crate) fn forget_client(&mut self, association: u32, address: IpAddr) {
        let holdings = self.clients.get(&Client { association, address });
        let numbers: Vec<u64> = holdings.into_iter().flat_map(|it| &it.pending).copied().collect();
        numbers.into_iter().for_each(|number| drop(self.forget(number)));
    }

    fn give_up(&mut self, number: u64, why: Refusal, stats: &Stats) {
        // One without pieces has been counted.
        if self.forget(number).is_some_and(|pending| pending.pieces.is_some()) {
            stats.refused(why);
        }
    }

    fn forget(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        let client = pending.key.client;
        self.numbers.remove(&pending.key);
        self.account(client, pending.held_bytes(), 0);
        if let Some(holdings) = self.clients.get_mut(&client) {
            holdings.pending.remove(&number);
            if holdings.pending.is_empty() {
                self.clients.remove(&client);
            }
        }
        Some(pending)
    }
}

#[cfg(test)]
mod tests;
