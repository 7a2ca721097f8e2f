//! The process groups of the handlers at work, so that none outlives its time or the spawner.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

use super::MOST_AT_WORK;

#[derive(Debug, Default)]
struct Held {
    places: usize,
    /// By number; the leaders are not reaped yet, so no id is another's.
    groups: BTreeMap<u64, Pid>,
    begun: u64,
    over: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Living(Mutex<Held>);

/// Room for one.
#[derive(Debug)]
pub(super) struct Place(Arc<Living>);

/// One at work; with this value its whole group ends.
pub(super) struct Group {
    living: Arc<Living>,
    number: u64,
    pub(super) child: Child,
}

impl Living {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for another one, if there is some.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let mut held = self.held();
        if held.places >= MOST_AT_WORK {
            return None;
        }
        held.places += 1;
        Some(Place(Arc::clone(self)))
    }

    /// Kills all of them, and lets no other begin.
    pub(super) fn end(&self) {
        let mut held = self.held();
        held.over = true;
        for group in held.groups.values() {
            let _ = kill_process_group(*group, Signal::KILL);
        }
    }
}

impl Place {
    /// Starts a command, which leads a process group of its own.
    pub(super) fn start(&self, command: &mut Command) -> std::io::Result<Group> {
        // Under the lock: what has begun is in the list before anybody ends the list.
        let mut held = self.0.held();
        if held.over {
            return Err(std::io::Error::other("the server stops"));
        }
        let child = command.spawn()?;
        held.begun += 1;
        let number = held.begun;
        held.groups.insert(number, Pid::from_child(&child));
        Ok(Group { living: Arc::clone(&self.0), number, child })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.0.held();
        held.places = held.places.saturating_sub(1);
    }
}

impl Group {
    /// Kills what is left of it; how its leader ended.
    pub(super) fn end(&mut self) -> std::io::Result<std::process::ExitStatus> {
        if let Some(group) = self.living.held().groups.remove(&self.number) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.child.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
