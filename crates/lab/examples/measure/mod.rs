//! What all measuring programs share: load, processes seen from outside, and numbers in order.

// Not every program takes all of it.
#![allow(dead_code)]

use std::io::{Seek, SeekFrom, Write};
use std::time::Instant;

pub(crate) mod load;
pub(crate) mod process;

/// Syncs that are timed, and what each makes last.
const SYNCS: u64 = 200;
const PAGE_BYTES: usize = 4_096;

/// A value below which so many of a hundred lie.
pub(crate) fn percentile(rising: &[u64], hundredths: usize) -> u64 {
    rising.get((rising.len() * hundredths / 100).min(rising.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// What it takes to make 4 KiB last where data directories are made: without it no figure of a write means anything.
pub(crate) fn disk() -> std::io::Result<String> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&vec![1; 64 * PAGE_BYTES])?;
    file.sync_all()?;
    let mut waits_us = Vec::new();
    for n in 0..SYNCS {
        file.seek(SeekFrom::Start(n % 64 * PAGE_BYTES as u64))?;
        file.write_all(&vec![2; PAGE_BYTES])?;
        let started = Instant::now();
        file.sync_data()?;
        waits_us.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    waits_us.sort_unstable();
    let ms = |hundredths| percentile(&waits_us, hundredths) as f64 / 1_000.0;
    Ok(format!(
        "Disk: 4 KiB written and synced in {:.1} ms (p50), {:.1} ms (p90), {:.1} ms (p99); a durable write takes two such syncs.",
        ms(50),
        ms(90),
        ms(99)
    ))
}

/// Cores and kernel: all that a page says of the machine.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Machine: {cores} cores, Linux {}.", kernel.trim())
}
