//! Clients that have left: what the fabric keeps for them is to end. It hears of many at once, and only when their workers
//! have let go of them, so that nothing of theirs follows. Nobody waits for it: addresses rest for far longer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::AssociationId;
use netio::Departed;

use super::Control;
use crate::fabric::Order;

/// Those that the fabric has not heard of.
#[derive(Default)]
pub(super) struct Departures {
    /// Those whose worker may still have them, until it passed this barrier.
    pub(super) waiting: VecDeque<(u64, AssociationId, Departed)>,
    /// The others, each once: no more than there are addresses and workers.
    due: BTreeMap<AssociationId, BTreeSet<Departed>>,
    /// It is being told, and has not answered.
    under_way: bool,
}

impl Control {
    /// Tells the fabric who has left; those of associations that go need no word, as all of theirs goes along.
    pub(super) fn tell_departed(&mut self, acknowledged: u64) {
        if let Ok(unforgotten) = self.wiring.forgotten.try_recv() {
            self.departures.under_way = false;
            for (association, error) in unforgotten {
                self.wiring.shared.control.fabric_failures.add(1);
                tracing::warn!(%association, %error, "what clients left behind the tunnel may be there for a while");
            }
        }
        while let Some((_, id, departed)) =
            self.departures.waiting.pop_front_if(|(generation, ..)| *generation <= acknowledged)
        {
            if self.stands(&id) {
                self.departures.due.entry(id).or_default().insert(departed);
            }
        }
        if self.departures.under_way || self.departures.due.is_empty() {
            return;
        }
        let due = std::mem::take(&mut self.departures.due);
        // There is room, as none is under way; where the thread is gone, all that it kept is.
        self.departures.under_way = self.wiring.fabric.try_send(Order::Forget(due)).is_ok();
    }
}
