//! What the fabric's threads share: bounds, and how much of them is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};

use crate::Timeouts;
use crate::reach::Reach;
use crate::stats::{Refusal, Stats};

/// Least and most bytes of one of a connection's two buffers. The least has room for two segments of a tunnel: with less
/// a window would be too narrow to go on smoothly.
const BUFFER_MIN_BYTES: usize = 4 << 10;
const BUFFER_MAX_BYTES: usize = 256 << 10;
/// A connection's buffers take one part of what is left, at most: many may come after it. So many parts there are for the
/// first, and more by each that holds buffers: few have much, and yet thousands have room.
const PARTS: usize = 64;
const PARTS_PER_CONNECTION: usize = 2;
/// The same by the client's own: who has many leaves the more for others.
const PARTS_PER_OWN: usize = 8;

/// Bounds of the fabric. What is beyond them is refused, politely where the protocol knows how, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows at once over all associations; each has a descriptor. Fewer where the system's limit is low: half of what
    /// it allows this process.
    pub flows: usize,
    /// Flows at once of one association.
    pub association_flows: usize,
    /// Flows at once of one client address.
    pub client_flows: usize,
    /// Memory of all connections' buffers, bytes. The fuller it is, and the more connections there are, above all of the
    /// same client, the smaller are those of new ones.
    pub buffer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { flows: 16_384, association_flows: 8_192, client_flows: 1_024, buffer_bytes: 512 << 20 }
    }
}

/// Shared by all threads.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) reach: Reach,
    pub(crate) stats: Arc<Stats>,
    flows: AtomicUsize,
    /// Bytes of buffers, and connections that hold them.
    buffers: AtomicUsize,
    connections: AtomicUsize,
}

impl Share {
    pub(crate) fn new(limits: Limits, timeouts: Timeouts, reach: Reach) -> Self {
        Self {
            limits,
            timeouts,
            reach,
            stats: Arc::default(),
            flows: AtomicUsize::new(0),
            buffers: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        }
    }

    /// Takes a place for a flow of an association, which counts its own.
    pub(crate) fn take_flow(&self, of_association: &AtomicUsize) -> Result<(), Refusal> {
        let allowed = descriptors() / 2;
        take(of_association, 1, self.limits.association_flows).ok_or(Refusal::AssociationFlows)?;
        if take(&self.flows, 1, self.limits.flows.min(allowed)).is_none() {
            of_association.fetch_sub(1, Ordering::AcqRel);
            return Err(Refusal::Descriptors);
        }
        Ok(())
    }

    pub(crate) fn give_flow(&self, of_association: &AtomicUsize) {
        of_association.fetch_sub(1, Ordering::AcqRel);
        self.flows.fetch_sub(1, Ordering::AcqRel);
    }

    /// Takes memory for a connection of a client that has so many with memory already: the bytes of each of its two
    /// buffers. To be given back.
    pub(crate) fn take_buffers(&self, own: usize) -> Result<usize, Refusal> {
        let limit = self.limits.buffer_bytes;
        let left = limit.saturating_sub(self.buffers.load(Ordering::Acquire));
        let all = self.connections.load(Ordering::Acquire);
        let bytes = fair_bytes(left, all, own);
        let taken = take(&self.buffers, bytes * 2, limit).ok_or(Refusal::Memory)?;
        self.connections.fetch_add(1, Ordering::AcqRel);
        self.stats.buffers(u64::try_from(taken).unwrap_or(u64::MAX));
        Ok(bytes)
    }

    pub(crate) fn give_buffers(&self, bytes: usize) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
        let before = self.buffers.fetch_sub(bytes * 2, Ordering::AcqRel);
        self.stats.buffers(u64::try_from(before.saturating_sub(bytes * 2)).unwrap_or(u64::MAX));
    }
}

/// Bytes of each of a new connection's buffers, where so many are left, so many connections hold some, and so many of those
/// are of the same client.
fn fair_bytes(left: usize, all: usize, own: usize) -> usize {
    let by_all = all.saturating_mul(PARTS_PER_CONNECTION).saturating_add(PARTS);
    let by_own = own.saturating_mul(PARTS_PER_OWN).saturating_add(PARTS);
    let each = left / by_all.max(by_own) / 2;
    each.checked_ilog2().map_or(0, |bits| 1 << bits).clamp(BUFFER_MIN_BYTES, BUFFER_MAX_BYTES)
}

/// Adds if the sum stays within the limit; the sum.
fn take(count: &AtomicUsize, more: usize, limit: usize) -> Option<usize> {
    let within = |now: usize| now.checked_add(more).filter(|sum| *sum <= limit);
    count.fetch_update(Ordering::AcqRel, Ordering::Acquire, within).ok().map(|before| before + more)
}

/// Descriptors the system allows this process now; the engine raises it at its start.
fn descriptors() -> usize {
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(limits: Limits) -> Share {
        Share::new(limits, Timeouts::default(), Reach::new(Vec::new(), Vec::new()))
    }

    /// Memory of so many connections of so many clients by turns, until there is none or they have enough.
    fn taken(share: &Share, clients: usize, connections: usize) -> Result<Vec<usize>, Refusal> {
        (0..connections).map(|number| share.take_buffers(number / clients)).collect()
    }

    #[test]
    fn buffers_shrink_as_memory_fills_and_never_pass_the_limit() {
        let limits = Limits { buffer_bytes: 64 << 20, ..Limits::default() };
        let share = share(limits);
        let mut taken = Vec::new();
        let why = loop {
            match share.take_buffers(taken.len()) {
                Ok(bytes) => taken.push(bytes),
                Err(why) => break why,
            }
        };
        assert_eq!(why, Refusal::Memory);
        assert_eq!(taken.first(), Some(&BUFFER_MAX_BYTES));
        assert_eq!(taken.last(), Some(&BUFFER_MIN_BYTES));
        assert!(taken.is_sorted_by(|a, b| a >= b));
        let sum: usize = taken.iter().map(|bytes| bytes * 2).sum();
        assert!(sum <= limits.buffer_bytes && sum + 2 * BUFFER_MIN_BYTES > limits.buffer_bytes);
        assert_eq!(share.stats.figures().buffer_bytes, sum as u64);
        taken.into_iter().for_each(|bytes| share.give_buffers(bytes));
        assert_eq!(share.stats.figures().buffer_bytes, 0);
        assert_eq!(share.take_buffers(0), Ok(BUFFER_MAX_BYTES), "as at the beginning");
    }

    #[test]
    fn one_client_leaves_more_than_half_to_others() {
        let limits = Limits::default();
        let share = share(limits);
        let own: usize = taken(&share, 1, limits.client_flows).unwrap().iter().map(|bytes| bytes * 2).sum();
        println!("{} connections of one client take {} MiB", limits.client_flows, own >> 20);
        assert!(own < limits.buffer_bytes / 2, "{own}");
        let other = share.take_buffers(0).unwrap();
        println!("another client's first has buffers of {} KiB", other >> 10);
        assert!(other >= 32 << 10, "{other}");
    }

    #[test]
    fn few_have_much_and_many_have_room() {
        let lonely = share(Limits::default());
        assert_eq!(lonely.take_buffers(0), Ok(BUFFER_MAX_BYTES));
        for (clients, connections) in [(200, 200 * 7), (200, 8_000), (2_000, 8_000), (16_384, 16_384)] {
            let share = share(Limits::default());
            let taken = taken(&share, clients, connections).unwrap();
            let sum: usize = taken.iter().map(|bytes| bytes * 2).sum();
            println!(
                "{connections} connections of {clients} clients take {} MiB; the last has buffers of {} KiB",
                sum >> 20,
                taken.last().unwrap() >> 10
            );
        }
    }

    #[test]
    fn flows_are_counted_for_each_association_and_for_all() {
        let share = share(Limits { flows: 3, association_flows: 2, ..Limits::default() });
        let (one, other) = (AtomicUsize::new(0), AtomicUsize::new(0));
        assert_eq!(share.take_flow(&one), Ok(()));
        assert_eq!(share.take_flow(&one), Ok(()));
        assert_eq!(share.take_flow(&one), Err(Refusal::AssociationFlows));
        assert_eq!(share.take_flow(&other), Ok(()));
        assert_eq!(share.take_flow(&other), Err(Refusal::Descriptors));
        share.give_flow(&one);
        assert_eq!(share.take_flow(&other), Ok(()));
    }
}
