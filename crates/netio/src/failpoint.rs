//! Test hooks: end the process with SIGKILL at the Nth fabric command, or both processes after the Nth change of the
//! kernel, to try what a crash leaves behind.
//!
//! Inert unless `BASCULE_FAILPOINT_FABRIC` is set when the fabric is spawned: `before:N` kills before the Nth command
//! (counted from 1) is sent to the helper, `after:N` (or just `N`) after it is sent and before its answer is read.
//! `BASCULE_FAILPOINT_KERNEL=N` kills the helper and its parent after the helper's Nth change: of links, routes, rules,
//! nftables, tracked connections, or a setting under `/proc/sys`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the environment variable.
pub const VARIABLE: &str = "BASCULE_FAILPOINT_FABRIC";

/// Name of the environment variable for the helper's own changes.
pub const KERNEL_VARIABLE: &str = "BASCULE_FAILPOINT_KERNEL";

/// Notes that the kernel has been asked for a change and has answered; does not come back if the failpoint is reached.
pub(crate) fn kernel_changed() {
    static AT: OnceLock<Option<u64>> = OnceLock::new();
    static CHANGES: AtomicU64 = AtomicU64::new(0);
    let armed = AT.get_or_init(|| std::env::var(KERNEL_VARIABLE).ok()?.parse().ok());
    if armed.is_none_or(|at| CHANGES.fetch_add(1, Ordering::Relaxed) + 1 != at) {
        return;
    }
    if let Some(parent) = rustix::process::getppid() {
        let _ = rustix::process::kill_process(parent, rustix::process::Signal::KILL);
    }
    kill_self();
}

fn kill_self() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not yet sent.
    Before,
    /// Sent, not answered.
    After,
}

/// The armed failpoint, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failpoint {
    armed: Option<(Stage, u64)>,
    commands: u64,
}

impl Failpoint {
    /// Reads [`VARIABLE`]. Anything unreadable leaves it inert.
    #[must_use]
    pub fn from_env() -> Self {
        Self::parse(std::env::var(VARIABLE).ok().as_deref())
    }

    fn parse(value: Option<&str>) -> Self {
        let armed = value.and_then(|text| {
            let (stage, number) = match text.split_once(':') {
                Some(("before", number)) => (Stage::Before, number),
                Some(("after", number)) => (Stage::After, number),
                Some(_) => return None,
                None => (Stage::After, text),
            };
            Some((stage, number.parse().ok().filter(|n| *n > 0)?))
        });
        Self { armed, commands: 0 }
    }

    /// Notes that the command stands at `stage`; does not come back if the failpoint is reached.
    pub(crate) fn pass(&mut self, stage: Stage) {
        if self.reached(stage) {
            kill_self();
        }
    }

    fn reached(&mut self, stage: Stage) -> bool {
        if stage == Stage::Before {
            self.commands = self.commands.saturating_add(1);
        }
        self.armed == Some((stage, self.commands))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_commands_and_stages() {
        for (text, kills_at) in [
            (None, None),
            (Some("2"), Some((Stage::After, 2))),
            (Some("after:1"), Some((Stage::After, 1))),
            (Some("before:3"), Some((Stage::Before, 3))),
            (Some("0"), None),
            (Some("sometimes:3"), None),
            (Some("before:x"), None),
        ] {
            let mut failpoint = Failpoint::parse(text);
            let mut reached = None;
            for command in 1..=4 {
                for stage in [Stage::Before, Stage::After] {
                    if failpoint.reached(stage) {
                        assert_eq!(reached, None, "{text:?} reached twice");
                        reached = Some((stage, command));
                    }
                }
            }
            assert_eq!(reached, kills_at, "{text:?}");
        }
    }
}
