//! What each client of an association has: flows, and those of them that hold memory. A client's packets come by one queue,
//! so one thread counts all that is its.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::share::Share;
use crate::stats::Refusal;

/// By address; bounded by the flows there may be.
#[derive(Debug, Default)]
pub(crate) struct Clients(HashMap<IpAddr, Holding>);

#[derive(Debug, Default)]
struct Holding {
    flows: usize,
    /// Flows with buffers.
    connections: usize,
}

impl Clients {
    /// Its flows.
    pub(crate) fn flows(&self, client: IpAddr) -> usize {
        self.0.get(&client).map_or(0, |holding| holding.flows)
    }

    /// One more flow.
    pub(crate) fn take_flow(&mut self, client: IpAddr) {
        self.0.entry(client).or_default().flows += 1;
    }

    /// One flow less, which holds no buffers.
    pub(crate) fn give_flow(&mut self, client: IpAddr) {
        if let Some(holding) = self.0.get_mut(&client) {
            holding.flows = holding.flows.saturating_sub(1);
            if holding.flows == 0 {
                self.0.remove(&client);
            }
        }
    }

    /// Takes memory for one of its flows: the bytes of each of two buffers. To be given back before the flow is.
    pub(crate) fn take_buffers(&mut self, client: IpAddr, share: &Share) -> Result<usize, Refusal> {
        let holding = self.0.entry(client).or_default();
        let bytes = share.take_buffers(holding.connections)?;
        holding.connections += 1;
        Ok(bytes)
    }

    /// Gives memory of one of its flows back.
    pub(crate) fn give_buffers(&mut self, client: IpAddr, bytes: usize, share: &Share) {
        if let Some(holding) = self.0.get_mut(&client) {
            holding.connections = holding.connections.saturating_sub(1);
        }
        share.give_buffers(bytes);
    }
}
