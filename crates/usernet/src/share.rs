//! What the fabric's threads share: bounds, and how much of them is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};

use crate::reach::Reach;
use crate::stats::{Refusal, Stats};

/// Least and most bytes of one of a connection's two buffers.
const BUFFER_MIN_BYTES: usize = 16 << 10;
const BUFFER_MAX_BYTES: usize = 256 << 10;
/// A connection's buffers take this part of what is left, at most: many may come after it.
const BUFFER_SHARE: usize = 64;

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
    /// Memory of all connections' buffers, bytes. The fuller it is, the smaller are those of new connections.
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
    pub(crate) reach: Reach,
    pub(crate) stats: Arc<Stats>,
    flows: AtomicUsize,
    buffers: AtomicUsize,
}

impl Share {
    pub(crate) fn new(limits: Limits, reach: Reach) -> Self {
        Self {
            limits,
            reach,
            stats: Arc::default(),
            flows: AtomicUsize::new(0),
            buffers: AtomicUsize::new(0),
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

    /// Takes memory for a connection: the bytes of each of its two buffers. To be given back.
    pub(crate) fn take_buffers(&self) -> Result<usize, Refusal> {
        let limit = self.limits.buffer_bytes;
        let left = limit.saturating_sub(self.buffers.load(Ordering::Acquire));
        let mut bytes = BUFFER_MAX_BYTES;
        while bytes > BUFFER_MIN_BYTES && bytes * 2 > left / BUFFER_SHARE {
            bytes /= 2;
        }
        let taken = take(&self.buffers, bytes * 2, limit).ok_or(Refusal::Memory)?;
        self.stats.buffers(u64::try_from(taken).unwrap_or(u64::MAX));
        Ok(bytes)
    }

    pub(crate) fn give_buffers(&self, bytes: usize) {
        let before = self.buffers.fetch_sub(bytes * 2, Ordering::AcqRel);
        self.stats.buffers(u64::try_from(before.saturating_sub(bytes * 2)).unwrap_or(u64::MAX));
    }
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
        Share::new(limits, Reach::new(Vec::new(), Vec::new()))
    }

    #[test]
    fn buffers_shrink_as_memory_fills_and_never_pass_the_limit() {
        let limits = Limits { buffer_bytes: 64 << 20, ..Limits::default() };
        let share = share(limits);
        let mut taken = Vec::new();
        let why = loop {
            match share.take_buffers() {
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
