//! What is counted: a session's traffic, and packets dropped by reason.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use openvpn::data::{OpenError, SealError};
use openvpn::{Instant, UnixTime};

use crate::packet::Malformed;
use crate::policy::Verdict;

/// Traffic of one session: IP packets that passed, without the tunnel's overhead. One worker writes; anybody reads.
/// Beside it what else changes while a session lives.
#[derive(Debug, Default)]
pub struct Counters {
    ingress_bytes: AtomicU64,
    ingress_packets: AtomicU64,
    egress_bytes: AtomicU64,
    egress_packets: AtomicU64,
    last_seen_us: AtomicU64,
    /// Written by the gateway's own thread; 0: never.
    policy_evaluated_unix: AtomicI64,
}

/// [`Counters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the client.
    pub ingress_bytes: u64,
    /// Packets from the client.
    pub ingress_packets: u64,
    /// Bytes to the client.
    pub egress_bytes: u64,
    /// Packets to the client.
    pub egress_packets: u64,
    /// When the last authenticated packet came, pings included.
    pub last_seen: Instant,
}

impl Counters {
    /// The figures now; each is right, together they may be a packet apart.
    pub fn read(&self) -> Traffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            ingress_bytes: load(&self.ingress_bytes),
            ingress_packets: load(&self.ingress_packets),
            egress_bytes: load(&self.egress_bytes),
            egress_packets: load(&self.egress_packets),
            last_seen: Instant(load(&self.last_seen_us)),
        }
    }

    pub(crate) fn ingress(&self, bytes: usize) {
        add(&self.ingress_bytes, bytes);
        add(&self.ingress_packets, 1);
    }

    pub(crate) fn egress(&self, bytes: usize) {
        add(&self.egress_bytes, bytes);
        add(&self.egress_packets, 1);
    }

    /// Notes that the endpoint's authorization policy was evaluated for this session.
    pub fn policy_evaluated(&self, at: UnixTime) {
        self.policy_evaluated_unix.store(at.0, Ordering::Relaxed);
    }

    /// When that was last, if ever.
    pub fn policy_evaluated_at(&self) -> Option<UnixTime> {
        Some(UnixTime(self.policy_evaluated_unix.load(Ordering::Relaxed))).filter(|at| at.0 != 0)
    }

    /// Notes that an authenticated packet came.
    pub fn seen(&self, now: Instant) {
        self.last_seen_us.store(now.0, Ordering::Relaxed);
    }
}

/// There is one writer, so load and store do: no locked instruction per packet.
fn add(counter: &AtomicU64, amount: usize) {
    let amount = u64::try_from(amount).unwrap_or(u64::MAX);
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a data packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All of them, in order.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// The reason's name in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// Not a data packet, or too short for one.
    NotData = "not-data",
    /// Under a key that is not installed.
    UnknownKey = "unknown-key",
    /// With a peer id that is not the session's.
    WrongPeerId = "wrong-peer-id",
    /// Seen before, or too old to tell.
    Replay = "replay",
    /// The tag does not fit.
    Forged = "forged",
    /// From another address than the session's, and this session cannot float.
    WrongAddress = "wrong-address",
    /// From an address that another session has.
    FloatRefused = "float-refused",
    /// The inner bytes are no IP packet.
    Malformed = "malformed",
    /// The inner packet carries a source route.
    SourceRoute = "source-route",
    /// IPv6 inside an IPv4-only tunnel; every client sends some right after it connected.
    Ipv6 = "ipv6",
    /// IPv4 inside an IPv6-only tunnel.
    Ipv4 = "ipv4",
    /// IPv6 that stays on its link: neighbour and router discovery, group membership. Every client sends some right after
    /// it connected.
    LinkLocal = "link-local",
    /// A packet from a client whose source is not the client's address.
    Spoofed = "spoofed",
    /// A packet to a client whose destination is not the client's address.
    NotForClient = "not-for-client",
    /// No route covers the far address.
    NoRoute = "no-route",
    /// No authorization rule covers it.
    NoRule = "no-rule",
    /// The most specific rules that cover it are for others.
    NotAuthorized = "not-authorized",
    /// There is no key to send with, or it is used up.
    NoSendKey = "no-send-key",
    /// The cipher failed.
    SealFailed = "seal-failed",
}

impl From<OpenError> for DropReason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Malformed => DropReason::NotData,
            OpenError::UnknownKey => DropReason::UnknownKey,
            OpenError::WrongPeerId => DropReason::WrongPeerId,
            OpenError::Replayed => DropReason::Replay,
            OpenError::Unauthenticated => DropReason::Forged,
        }
    }
}

impl From<SealError> for DropReason {
    fn from(error: SealError) -> Self {
        match error {
            SealError::NoKey | SealError::Exhausted => DropReason::NoSendKey,
            SealError::Empty | SealError::Cipher => DropReason::SealFailed,
        }
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::SourceRoute => DropReason::SourceRoute,
            Malformed::Version | Malformed::Length | Malformed::Options => DropReason::Malformed,
        }
    }
}

impl DropReason {
    /// The reason a verdict gives; `None` where the packet passes.
    pub(crate) fn of(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Forward | Verdict::Local => None,
            Verdict::NoRoute => Some(DropReason::NoRoute),
            Verdict::NoRule => Some(DropReason::NoRule),
            Verdict::NotAuthorized => Some(DropReason::NotAuthorized),
        }
    }
}

/// Dropped packets by reason. A worker owns one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    /// Counts one.
    pub fn add(&mut self, reason: DropReason) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// Every reason with its count, in the order of [`DropReason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().copied().zip(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_land_on_their_reason() {
        let mut counts = DropCounts::default();
        counts.add(DropReason::Replay);
        counts.add(DropReason::SealFailed);
        counts.add(DropReason::SealFailed);
        let counted: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [(DropReason::Replay, 1), (DropReason::SealFailed, 2)]);
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
