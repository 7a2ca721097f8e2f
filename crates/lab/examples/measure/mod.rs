//! What all measuring programs share: load, processes seen from outside, and numbers in order.

// Not every program takes all of it.
#![allow(dead_code)]

pub(crate) mod load;
pub(crate) mod process;

/// A value below which so many of a hundred lie.
pub(crate) fn percentile(rising: &[u64], hundredths: usize) -> u64 {
    rising.get((rising.len() * hundredths / 100).min(rising.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// Cores and kernel: all that a page says of the machine.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Machine: {cores} cores, Linux {}.", kernel.trim())
}
