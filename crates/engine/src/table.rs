//! Tunnel address → peer id, for packets that come back from the network.
//!
//! Dense, by place in the client blocks, so that a look-up is two loads and no lock. A /12 holds a million places:
//! chunks come to be when one of theirs is first given out. Both addresses of a client are one place.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use model::{ClientAddresses, ClientNets};

/// Places per chunk; a chunk is 4 KiB.
const CHUNK_PLACES: usize = 1024;

type Chunk = Box<[AtomicU32]>;

/// The addresses of one endpoint. Written by the session's worker, read by all.
#[derive(Debug)]
pub(crate) struct AddressTable {
    nets: ClientNets,
    chunks: Box<[OnceLock<Chunk>]>,
}

impl AddressTable {
    pub(crate) fn new(nets: ClientNets) -> Self {
        let places = usize::try_from(nets.last_place()).unwrap_or(usize::MAX).saturating_add(1);
        let chunks = (0..places.div_ceil(CHUNK_PLACES)).map(|_| OnceLock::new()).collect();
        Self { nets, chunks }
    }

    /// The peer id of the session that has `address`.
    pub(crate) fn find(&self, address: IpAddr) -> Option<u32> {
        let (chunk, offset) = self.place(address)?;
        // Peer ids are stored plus one: zero means nobody.
        self.chunks.get(chunk)?.get()?.get(offset)?.load(Ordering::Acquire).checked_sub(1)
    }

    pub(crate) fn set(&self, addresses: ClientAddresses, peer_id: u32) {
        let Some((chunk, offset)) = self.place_of(addresses) else { return };
        let Some(chunk) = self.chunks.get(chunk) else { return };
        let chunk = chunk.get_or_init(|| (0..CHUNK_PLACES).map(|_| AtomicU32::new(0)).collect());
        if let Some(entry) = chunk.get(offset) {
            entry.store(peer_id.saturating_add(1), Ordering::Release);
        }
    }

    /// Forgets `addresses` if they still are `peer_id`'s.
    pub(crate) fn clear(&self, addresses: ClientAddresses, peer_id: u32) {
        let Some((chunk, offset)) = self.place_of(addresses) else { return };
        if let Some(entry) =
            self.chunks.get(chunk).and_then(OnceLock::get).and_then(|chunk| chunk.get(offset))
        {
            let mine = peer_id.saturating_add(1);
            // A failed exchange means the place has moved on: nothing to do.
            let _ = entry.compare_exchange(mine, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    fn place_of(&self, addresses: ClientAddresses) -> Option<(usize, usize)> {
        addresses.iter().next().and_then(|address| self.place(address))
    }

    fn place(&self, address: IpAddr) -> Option<(usize, usize)> {
        let place = usize::try_from(self.nets.place(address)?).ok()?;
        Some((place / CHUNK_PLACES, place % CHUNK_PLACES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(table: &AddressTable, text: &str) -> ClientAddresses {
        let address: IpAddr = text.parse().unwrap();
        table.nets.place(address).map(|place| table.nets.at(place)).unwrap_or_default()
    }

    #[test]
    fn addresses_are_found_only_while_they_are_someones() {
        let table = AddressTable::new("10.16.0.0/12,fd00::/64".parse().unwrap());
        let cases: [(&str, &str, u32); 4] = [
            ("10.16.0.2", "fd00::2", 0),
            ("10.16.4.0", "fd00::400", 7),
            ("10.31.255.254", "fd00::f:fffe", 0xff_ffff),
            ("10.20.1.1", "fd00::4:101", 3),
        ];
        for (v4, v6, peer_id) in cases {
            let both = [v4, v6].map(|address| address.parse().unwrap());
            assert_eq!(both.map(|address| table.find(address)), [None; 2]);
            table.set(addresses(&table, v4), peer_id);
            assert_eq!(both.map(|address| table.find(address)), [Some(peer_id); 2], "{v4}");
        }
        for outside in
            ["10.15.255.255", "10.32.0.0", "0.0.0.0", "255.255.255.255", "fd00::10:0", "fcff::", "::2"]
        {
            assert_eq!(table.find(outside.parse().unwrap()), None, "{outside}");
        }
    }

    #[test]
    fn clearing_spares_a_successor() {
        for (nets, address) in [("10.0.0.0/22", "10.0.0.2"), ("fd00::/64", "fd00::2")] {
            let table = AddressTable::new(nets.parse().unwrap());
            let (both, address) = (addresses(&table, address), address.parse().unwrap());
            table.set(both, 4);
            table.set(both, 8);
            table.clear(both, 4);
            assert_eq!(table.find(address), Some(8));
            table.clear(both, 8);
            assert_eq!(table.find(address), None);
        }
    }

    #[test]
    fn chunks_are_made_on_demand() {
        let table = AddressTable::new("10.16.0.0/12".parse().unwrap());
        table.set(addresses(&table, "10.16.0.2"), 1);
        assert_eq!(table.chunks.iter().filter(|chunk| chunk.get().is_some()).count(), 1);
        assert_eq!(table.chunks.len(), 1024);
    }
}
