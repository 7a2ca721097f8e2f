//! What the fabric counts: flows, and what it refused, by reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why something of a client's was not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No rule of the association's security groups lets it out. Dropped.
    Egress,
    /// The destination is this host, or no host. Dropped.
    Destination,
    /// The host has no route there. Answered: unreachable.
    NoRoute,
    /// The association has its most flows. TCP is reset, others are told that it is prohibited.
    AssociationFlows,
    /// The client has its most flows. Answered likewise.
    ClientFlows,
    /// The fabric has its most flows, or the system no descriptor or port left. Answered likewise.
    Descriptors,
    /// Connections have their most memory. Answered likewise.
    Memory,
    /// The far side refused or could not be reached. Answered likewise.
    FarSide,
    /// The far side did not answer in time. Dropped.
    Silence,
    /// The host allows this user no ping socket. Dropped.
    NoPing,
    /// A packet of no flow that is known: TCP is reset. Or of a client that has left: dropped.
    Stray,
    /// A fragment that fits no packet, or contradicts others of its packet, which is dropped then, whole.
    Fragment,
    /// The client has its most packets of which fragments are missing: the oldest of them is dropped.
    ClientFragments,
    /// There are the most such packets in all: the client's oldest is dropped, or the oldest of all.
    Fragments,
    /// Fragments of a packet did not come in time. Dropped.
    FragmentMissing,
    /// Neither TCP, UDP nor an echo request. Dropped.
    Protocol,
    /// No packet at all. Dropped.
    Malformed,
    /// The socket towards the far side has no room for a datagram. Dropped.
    FarSideFull,
    /// The tunnel has no room for an answer. Dropped.
    TunnelFull,
}

impl Refusal {
    const ALL: [(Self, &'static str); 19] = [
        (Self::Egress, "egress"),
        (Self::Destination, "destination"),
        (Self::NoRoute, "no-route"),
        (Self::AssociationFlows, "association-flows"),
        (Self::ClientFlows, "client-flows"),
        (Self::Descriptors, "descriptors"),
        (Self::Memory, "memory"),
        (Self::FarSide, "far-side"),
        (Self::Silence, "silence"),
        (Self::NoPing, "no-ping"),
        (Self::Stray, "stray"),
        (Self::Fragment, "fragment"),
        (Self::ClientFragments, "client-fragments"),
        (Self::Fragments, "fragments"),
        (Self::FragmentMissing, "fragment-missing"),
        (Self::Protocol, "protocol"),
        (Self::Malformed, "malformed"),
        (Self::FarSideFull, "far-side-full"),
        (Self::TunnelFull, "tunnel-full"),
    ];

    /// Whether the client is to hear of it.
    pub(crate) fn is_answered(self) -> bool {
        matches!(
            self,
            Self::NoRoute
                | Self::AssociationFlows
                | Self::ClientFlows
                | Self::Descriptors
                | Self::Memory
                | Self::FarSide
        )
    }
}

/// Counters, written by the fabric's threads.
#[derive(Debug, Default)]
pub struct Stats {
    refused: [AtomicU64; Refusal::ALL.len()],
    open: [AtomicU64; 3],
    begun: [AtomicU64; 3],
    buffer_bytes: AtomicU64,
}

/// The counters as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What was refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Flows open, by protocol.
    pub open: BTreeMap<&'static str, u64>,
    /// Flows begun, by protocol.
    pub begun: BTreeMap<&'static str, u64>,
    /// Memory that open connections may fill, bytes.
    pub buffer_bytes: u64,
}

/// What flows are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Tcp,
    Udp,
    Icmp,
}

const COUNTED: [(Counted, &str); 3] = [(Counted::Tcp, "tcp"), (Counted::Udp, "udp"), (Counted::Icmp, "icmp")];

impl Stats {
    /// The counters as they are now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let read = |of: &[AtomicU64; 3]| {
            COUNTED.iter().zip(of).map(|((_, name), count)| (*name, count.load(Ordering::Relaxed))).collect()
        };
        Figures {
            refused: Refusal::ALL
                .iter()
                .zip(&self.refused)
                .map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
                .collect(),
            open: read(&self.open),
            begun: read(&self.begun),
            buffer_bytes: self.buffer_bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn refused(&self, why: Refusal) {
        // In the order of declaration.
        if let Some(count) = self.refused.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn opened(&self, what: Counted) {
        let place = what as usize;
        if let (Some(open), Some(begun)) = (self.open.get(place), self.begun.get(place)) {
            open.fetch_add(1, Ordering::Relaxed);
            begun.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn closed(&self, what: Counted) {
        if let Some(open) = self.open.get(what as usize) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn buffers(&self, bytes: u64) {
        self.buffer_bytes.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_counts_under_its_own_name() {
        for (place, (why, name)) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place, "{name}");
            let stats = Stats::default();
            stats.refused(why);
            let counted: Vec<_> =
                stats.figures().refused.into_iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(name, 1)]);
        }
    }
}
