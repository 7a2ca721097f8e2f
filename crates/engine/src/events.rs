//! The bounded queue of session events between the control thread and whoever records them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::SessionEvent;

/// Most events waiting for the agent; beyond it the oldest goes and is counted. The agent can always tell the truth
/// from [`crate::DataPlane::live`].
pub const EVENTS_MAX: usize = 65_536;

/// Most events waiting at which an evaluation of a policy still joins them; beyond it the evaluation goes and is counted:
/// a new policy asks for everybody at once, and must not push out who came and went.
pub(crate) const EVALUATIONS_MAX: usize = EVENTS_MAX / 4;

/// Many-to-one queue: pushing never waits.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    queue: Mutex<VecDeque<SessionEvent>>,
    ready: Notify,
    closed: AtomicBool,
    lost: AtomicU64,
}

impl EventQueue {
    pub(crate) fn push(&self, event: SessionEvent) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(event, SessionEvent::Evaluated(_)) && queue.len() >= EVALUATIONS_MAX {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if queue.len() >= EVENTS_MAX {
            queue.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        queue.push_back(event);
        drop(queue);
        self.ready.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<SessionEvent> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    pub(crate) async fn next(&self) -> Option<SessionEvent> {
        loop {
            let event = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if event.is_some() {
                return event;
            }
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            // A push or close between the look and this wait leaves a permit behind: no wake-up is lost.
            self.ready.notified().await;
        }
    }

    /// No more events will come; what is queued can still be taken.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ready.notify_one();
    }

    /// Events dropped because nobody took them.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
