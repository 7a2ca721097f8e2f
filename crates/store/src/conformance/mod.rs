//! The one suite that every back end passes: a table of what the contract says, random operations against a reference
//! model, and watches under concurrent writers.
//!
//! It is ordinary code and not `cfg(test)`, so that a back end in another crate can run it from its own tests. It
//! panics when the store breaks the contract, and only works under [`PREFIX`].

mod contract;
pub(crate) mod random;
pub(crate) mod reference;
mod watching;

use std::sync::Arc;

use crate::Store;

/// The keys the suite works on. The store may hold others, but nobody else may write meanwhile.
pub const PREFIX: &str = "/conformance/";

/// Operations of the random part of [`run`].
const OPERATIONS: usize = 1_500;

/// Runs the whole suite on a store with nothing under [`PREFIX`] that nobody else writes to meanwhile.
///
/// # Panics
/// When the store breaks the contract.
pub async fn run(store: Arc<dyn Store>) {
    contract::run(&*store).await;
    random_operations(&store, 1, OPERATIONS).await;
    watching::run(&store).await;
}

/// Random operations from a seed, each answer compared with a reference model, and at the end every watch.
///
/// # Panics
/// At the first difference, naming the seed and the operation's number.
pub async fn random_operations(store: &Arc<dyn Store>, seed: u64, operations: usize) {
    random::run(&**store, seed, operations).await;
}

/// A small generator (SplitMix64): the suite's schedules depend on a seed alone.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True once in `n`.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
