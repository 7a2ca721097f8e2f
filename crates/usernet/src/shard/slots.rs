//! The places of a thread's flows. A place is used again; its generation tells whose event a late event is.

use std::time::Instant;

use crate::flow::{Key, Kind};

/// Generations, after which they begin anew: what epoll's data has room for.
const GENERATION_MASK: u32 = 0x00ff_ffff;

/// A flow at its place.
pub(super) struct Flow {
    pub(super) key: Key,
    pub(super) association: u32,
    pub(super) kind: Kind,
    /// When it has its next turn, if that is set.
    pub(super) timer: Option<Instant>,
    /// It is in a queue for its next turn.
    pub(super) is_waiting: bool,
}

/// Where a flow is, and which flow of those that were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    flow: Option<Flow>,
}

/// Bounded by the flows there may be.
#[derive(Default)]
pub(super) struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    /// A free place; to be freed again.
    pub(super) fn reserve(&mut self) -> Place {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.all.push(Slot::default());
            // Flows have descriptors: there are never so many.
            u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
        });
        self.place(slot)
    }

    pub(super) fn place(&self, slot: u32) -> Place {
        Place { slot, generation: self.at(slot).map_or(0, |at| at.generation) }
    }

    pub(super) fn put(&mut self, slot: u32, flow: Flow) {
        if let Some(at) = self.at_mut(slot) {
            at.flow = Some(flow);
        }
    }

    pub(super) fn take(&mut self, slot: u32) -> Option<Flow> {
        self.at_mut(slot)?.flow.take()
    }

    pub(super) fn free(&mut self, slot: u32) {
        if let Some(at) = self.at_mut(slot) {
            at.flow = None;
            at.generation = at.generation.wrapping_add(1) & GENERATION_MASK;
            self.free.push(slot);
        }
    }

    pub(super) fn is_current(&self, place: Place) -> bool {
        self.at(place.slot).is_some_and(|at| at.generation == place.generation)
    }

    /// It waits no longer; false if that was another flow.
    pub(super) fn taken_up(&mut self, place: Place) -> bool {
        let current = self.is_current(place);
        if let Some(flow) = self.at_mut(place.slot).filter(|_| current).and_then(|at| at.flow.as_mut()) {
            flow.is_waiting = false;
        }
        current
    }

    pub(super) fn timer_fired(&mut self, slot: u32) {
        if let Some(flow) = self.at_mut(slot).and_then(|at| at.flow.as_mut()) {
            flow.timer = None;
        }
    }

    fn at(&self, slot: u32) -> Option<&Slot> {
        self.all.get(usize::try_from(slot).ok()?)
    }

    fn at_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.all.get_mut(usize::try_from(slot).ok()?)
    }
}
