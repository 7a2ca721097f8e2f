//! A server's processes, seen from outside: processor time and memory.

use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};

/// A server's process; ended with this value.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// The processes: the server's own and those it started.
    fn processes(&self) -> Vec<u32> {
        let own = self.0.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        std::iter::once(own).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.processes().into_iter().map(cpu_of).sum()
    }

    /// Resident memory of all of them, KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory each ever had, KiB, added up.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let of = |id: u32| -> Option<u64> {
            let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            text.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
        };
        self.processes().into_iter().filter_map(of).sum()
    }
}

/// User and system time of a process so far.
fn cpu_of(id: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let after = text.rsplit_once(')').context("a process's stat has its name in parentheses")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).context("a process's times");
    // Fields 14 and 15 of proc(5); the third is the first after the name. Linux counts in hundredths for programs.
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}
