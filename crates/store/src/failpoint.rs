//! A test hook: the process aborts at a chosen commit of its store, so that a test can see what a kill leaves behind.
//!
//! `BASCULE_FAILPOINT_STORE` is `N:before` (abort when the N-th durable commit of this process is about to begin) or
//! `N:after` (when it is done and nobody has been told); a plain `N` means before when N is odd, after when even. N
//! counts from 1, over all stores opened from a file. Unset, it does nothing. Not for use outside tests.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::StoreError;

/// The environment variable.
pub const VARIABLE: &str = "BASCULE_FAILPOINT_STORE";

static COMMITS: AtomicU64 = AtomicU64::new(0);

/// Where to abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failpoint {
    commit: u64,
    after: bool,
}

impl Failpoint {
    /// What the environment asks for. A value that is not understood is refused: a kill test that never kills proves
    /// nothing.
    pub(crate) fn from_environment() -> Result<Option<Self>, StoreError> {
        match std::env::var_os(VARIABLE) {
            None => Ok(None),
            Some(value) => value
                .to_str()
                .and_then(Self::parse)
                .map(Some)
                .ok_or_else(|| StoreError::Invalid(format!("{VARIABLE} is not N, N:before or N:after"))),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, side) = text.split_once(':').map_or((text, None), |(number, side)| (number, Some(side)));
        let commit: u64 = number.parse().ok().filter(|&commit| commit > 0)?;
        let after = match side {
            None => commit.is_multiple_of(2),
            Some("before") => false,
            Some("after") => true,
            Some(_) => return None,
        };
        Some(Self { commit, after })
    }

    /// A commit is about to begin; gives its number.
    pub(crate) fn before(self) -> u64 {
        let commit = COMMITS.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if commit == self.commit && !self.after {
            std::process::abort();
        }
        commit
    }

    /// That commit is durable and not yet answered.
    pub(crate) fn after(self, commit: u64) {
        if commit == self.commit && self.after {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read_strictly() {
        let at = |commit, after| Some(Failpoint { commit, after });
        let rows = [
            ("3", at(3, false)),
            ("4", at(4, true)),
            ("4:before", at(4, false)),
            ("3:after", at(3, true)),
            ("0", None),
            ("x", None),
            ("3:during", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(Failpoint::parse(text), expected, "{text}");
        }
    }
}
