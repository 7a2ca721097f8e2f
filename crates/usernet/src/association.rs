//! One association at one of the fabric's threads: its queue, and the flows that came by it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use netio::Outlet;

use crate::flow::Key;
use crate::outlet;
use crate::queue::Queue;
use crate::reach::Out;
use crate::shard::Place;
use crate::share::Share;
use crate::stats::Refusal;

pub(crate) struct Association {
    pub(crate) queue: Queue,
    pub(crate) outlet: Arc<Outlet>,
    /// Places of its flows; bounded by the limits.
    pub(crate) flows: HashMap<Key, u32>,
    /// Flows of each client address here. A client's packets come by one queue.
    clients: HashMap<IpAddr, usize>,
    /// Its flows at all threads.
    count: Arc<AtomicUsize>,
    /// Flows that wait for room towards the client; each at most once.
    pub(crate) starved: VecDeque<Place>,
    /// Clients that have left, until what they sent last is read from the queue, and dropped. No more than have addresses.
    pub(crate) departed: HashSet<IpAddr>,
}

impl Association {
    pub(crate) fn new(queue: Queue, outlet: Arc<Outlet>, count: Arc<AtomicUsize>) -> Self {
        Self {
            queue,
            outlet,
            flows: HashMap::new(),
            clients: HashMap::new(),
            count,
            starved: VecDeque::new(),
            departed: HashSet::new(),
        }
    }

    /// Whether a flow may begin; a place for it is not taken yet.
    pub(crate) fn permits(&self, key: &Key, share: &Share) -> Result<(), Refusal> {
        if !outlet::allows(&self.outlet, key) {
            return Err(Refusal::Egress);
        }
        share.reach.check(key.protocol, key.far).map_err(|out| match out {
            Out::OfReach => Refusal::Destination,
            Out::NoRoute => Refusal::NoRoute,
        })
    }

    /// Takes a place for a flow that may begin.
    pub(crate) fn take(&mut self, key: &Key, share: &Share) -> Result<(), Refusal> {
        let own = self.clients.get(&key.client.ip()).copied().unwrap_or(0);
        if own >= share.limits.client_flows {
            return Err(Refusal::ClientFlows);
        }
        share.take_flow(&self.count)?;
        self.clients.insert(key.client.ip(), own + 1);
        share.stats.opened(key.counted());
        Ok(())
    }

    /// Gives the place back.
    pub(crate) fn give(&mut self, key: &Key, share: &Share) {
        self.flows.remove(key);
        if let Some(own) = self.clients.get_mut(&key.client.ip()) {
            *own -= 1;
            if *own == 0 {
                self.clients.remove(&key.client.ip());
            }
        }
        share.give_flow(&self.count);
        share.stats.closed(key.counted());
    }
}
