//! Datagrams waiting to be sent together: one buffer, sealed into directly, no allocation once warm.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use netio::udp::BATCH;

use crate::handoff::PACKET_MAX;
use crate::stats::WorkerStats;

/// Datagrams gathered before they are sent, at most.
const OUTBOX_MAX: usize = 4 * BATCH;

struct Entry {
    endpoint: u32,
    peer: SocketAddr,
    range: Range<usize>,
}

/// The batch.
pub(super) struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(OUTBOX_MAX * PACKET_MAX), entries: Vec::with_capacity(OUTBOX_MAX) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= OUTBOX_MAX
    }

    /// Adds the datagram that `seal` appends, if it says it did.
    pub(super) fn push(
        &mut self,
        endpoint: u32,
        peer: SocketAddr,
        seal: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let start = self.bytes.len();
        let sealed = seal(&mut self.bytes);
        if sealed {
            self.entries.push(Entry { endpoint, peer, range: start..self.bytes.len() });
        } else {
            self.bytes.truncate(start);
        }
        sealed
    }

    /// Sends everything. What finds no room is dropped and counted, as a wire would.
    pub(super) fn flush(&mut self, sockets: &HashMap<u32, Rc<OwnedFd>>, stats: &WorkerStats) {
        for run in self.entries.chunk_by(|a, b| a.endpoint == b.endpoint) {
            let socket = run.first().and_then(|entry| sockets.get(&entry.endpoint));
            for batch in run.chunks(BATCH) {
                let sent = socket.map_or(0, |socket| send(socket, batch, &self.bytes));
                stats.send_drops.add(u64::try_from(batch.len() - sent).unwrap_or_default());
            }
        }
        self.entries.clear();
        self.bytes.clear();
    }
}

/// How many were sent.
fn send(socket: &OwnedFd, batch: &[Entry], bytes: &[u8]) -> usize {
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let mut datagrams: [(SocketAddr, &[u8]); BATCH] = [(nobody, &[]); BATCH];
    let mut count = 0;
    for (datagram, entry) in datagrams.iter_mut().zip(batch) {
        *datagram = (entry.peer, bytes.get(entry.range.clone()).unwrap_or_default());
        count += 1;
    }
    match netio::udp::send(socket, datagrams.get(..count).unwrap_or_default()) {
        Ok(sent) => sent.done.saturating_sub(sent.refused),
        Err(_) => 0,
    }
}
