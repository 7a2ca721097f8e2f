//! Tunnel address → peer id, for packets that come back from the network.
//!
//! Dense, by offset in the client CIDR, so that a look-up is two loads and no lock. A /12 holds a million addresses:
//! chunks come to be when an address in them is first given out.

use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::Ipv4Net;

/// Addresses per chunk; a chunk is 4 KiB.
const CHUNK_ADDRESSES: usize = 1024;

type Chunk = Box<[AtomicU32]>;

/// The addresses of one endpoint. Written by the session's worker, read by all.
#[derive(Debug)]
pub(crate) struct AddressTable {
    first: u32,
    chunks: Box<[OnceLock<Chunk>]>,
}

impl AddressTable {
    pub(crate) fn new(client_cidr: Ipv4Net) -> Self {
        let first = u32::from(client_cidr.network());
        let span = u64::from(u32::from(client_cidr.broadcast()) - first) + 1;
        let span = usize::try_from(span).unwrap_or(usize::MAX);
        let chunks = (0..span.div_ceil(CHUNK_ADDRESSES)).map(|_| OnceLock::new()).collect();
        Self { first, chunks }
    }

    /// The peer id of the session that has `address`.
    pub(crate) fn find(&self, address: Ipv4Addr) -> Option<u32> {
        let (chunk, offset) = self.place(address)?;
        // Peer ids are stored plus one: zero means nobody.
        self.chunks.get(chunk)?.get()?.get(offset)?.load(Ordering::Acquire).checked_sub(1)
    }

    pub(crate) fn set(&self, address: Ipv4Addr, peer_id: u32) {
        let Some((chunk, offset)) = self.place(address) else { return };
        let Some(chunk) = self.chunks.get(chunk) else { return };
        let chunk = chunk.get_or_init(|| (0..CHUNK_ADDRESSES).map(|_| AtomicU32::new(0)).collect());
        if let Some(entry) = chunk.get(offset) {
            entry.store(peer_id.saturating_add(1), Ordering::Release);
        }
    }

    /// Forgets `address` if it still is `peer_id`'s.
    pub(crate) fn clear(&self, address: Ipv4Addr, peer_id: u32) {
        let Some((chunk, offset)) = self.place(address) else { return };
        if let Some(entry) =
            self.chunks.get(chunk).and_then(OnceLock::get).and_then(|chunk| chunk.get(offset))
        {
            let mine = peer_id.saturating_add(1);
            // A failed exchange means the address has moved on: nothing to do.
            let _ = entry.compare_exchange(mine, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    fn place(&self, address: Ipv4Addr) -> Option<(usize, usize)> {
        let offset = usize::try_from(u32::from(address).checked_sub(self.first)?).ok()?;
        Some((offset / CHUNK_ADDRESSES, offset % CHUNK_ADDRESSES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_only_while_they_are_someones() {
        let table = AddressTable::new("10.16.0.0/12".parse().unwrap());
        let cases: [(&str, u32); 4] =
            [("10.16.0.2", 0), ("10.16.4.0", 7), ("10.31.255.254", 0xff_ffff), ("10.20.1.1", 3)];
        for (address, peer_id) in cases {
            let address = address.parse().unwrap();
            assert_eq!(table.find(address), None);
            table.set(address, peer_id);
            assert_eq!(table.find(address), Some(peer_id), "{address}");
        }
        for outside in ["10.15.255.255", "10.32.0.0", "0.0.0.0", "255.255.255.255"] {
            let outside = outside.parse().unwrap();
            table.set(outside, 1);
            assert_eq!(table.find(outside), None, "{outside}");
        }
    }

    #[test]
    fn clearing_spares_a_successor() {
        let table = AddressTable::new("10.0.0.0/22".parse().unwrap());
        let address = "10.0.0.2".parse().unwrap();
        table.set(address, 4);
        table.set(address, 8);
        table.clear(address, 4);
        assert_eq!(table.find(address), Some(8));
        table.clear(address, 8);
        assert_eq!(table.find(address), None);
    }

    #[test]
    fn chunks_are_made_on_demand() {
        let table = AddressTable::new("10.16.0.0/12".parse().unwrap());
        table.set("10.16.0.2".parse().unwrap(), 1);
        assert_eq!(table.chunks.iter().filter(|chunk| chunk.get().is_some()).count(), 1);
        assert_eq!(table.chunks.len(), 1024);
    }
}
