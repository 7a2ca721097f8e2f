//! The control thread's end of the line to one worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;

use crate::handoff::Waker;
use crate::worker::Command;

/// Commands waiting for one worker. A worker waits for nobody, so a full queue empties by itself.
pub(crate) const COMMANDS_MAX: usize = 4096;

/// Sends commands to one worker and hears its acknowledgements.
#[derive(Debug)]
pub(crate) struct WorkerLink {
    pub(crate) commands: Sender<Command>,
    pub(crate) waker: Arc<Waker>,
    /// The newest barrier the worker has passed; the largest number once it is gone.
    pub(crate) passed: Arc<AtomicU64>,
}

impl WorkerLink {
    /// Waits while the queue is full. To a worker that is gone nothing need be said: its sessions went with it.
    pub(crate) fn send(&self, command: Command) {
        if self.commands.is_full() {
            self.waker.wake();
        }
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.passed.load(Ordering::Acquire)
    }
}
