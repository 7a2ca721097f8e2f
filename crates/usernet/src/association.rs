//! One association at one of the fabric's threads: its queue, and the flows that came by it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use netio::Outlet;

use crate::clients::Clients;
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
    /// What each client address has here.
    pub(crate) clients: Clients,
    /// Its flows at all threads.
    count: Arc<AtomicUsize>,
    /// Flows that wait for room towards the client; each at most once.
    pub(crate) starved: VecDeque<Place>,
    /// Its queue is among those that wait for their next turn.
    pub(crate) is_waiting: bool,
    /// Clients that have left, until what they sent last is read from the queue, and dropped. No more than have addresses.
    pub(crate) departed: HashSet<IpAddr>,
}

impl Association {
    pub(crate) fn new(queue: Queue, outlet: Arc<Outlet>, count: Arc<AtomicUsize>) -> Self {
        Self {
            queue,
            outlet,
            flows: HashMap::new(),
            clients: Clients::default(),
            count,
            starved: VecDeque::new(),
            is_waiting: false,
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
        if self.clients.flows(key.client.ip()) >= share.limits.client_flows {
            return Err(Refusal::ClientFlows);
        }
        share.take_flow(&self.count)?;
        self.clients.take_flow(key.client.ip());
        share.stats.opened(key.counted());
        Ok(())
    }

    /// Gives the place back.
    pub(crate) fn give(&mut self, key: &Key, share: &Share) {
        self.flows.remove(key);
        self.clients.give_flow(key.client.ip());
        share.give_flow(&self.count);
        share.stats.closed(key.counted());
    }
}
