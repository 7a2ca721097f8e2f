//! Which of the host's doors are open: forwarding by interface, switched on for tunnels and off again after them.
//!
//! IPv4 forwards by the interface a packet comes in by. So does IPv6 where the kernel has `force_forwarding` (Linux 6.17);
//! before, all interfaces forward or none does, and a host that forwards takes no router advertisements unless it is told
//! to go on (`accept_ra` 2), or it would lose the routes it has from them. Whatever opens is guarded by the ruleset: what
//! may be forwarded now and could not be before is dropped but for tunnels, so that ours is the only door that opened.

use std::collections::BTreeSet;

use super::netlink::Netlink;
use super::sysctl::{self, Family};
use crate::fabric::{FabricAssociation, FabricError};
use crate::helper::log;

/// Stands among interfaces for all of them; no interface can be called so.
pub(super) const ALL: &str = "all";
/// Networks named in a log line.
const LOGGED_NETWORKS: usize = 4;

/// What we opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// Interfaces that forward IPv4.
    pub(super) v4: BTreeSet<String>,
    /// Interfaces that forward IPv6, or [`ALL`].
    pub(super) v6: BTreeSet<String>,
    /// Interfaces that go on to take router advertisements.
    pub(super) accept_ra: BTreeSet<String>,
    /// Whether the host forwarded IPv4 everywhere when we last looked: those of `v4` are then ones that the operator has
    /// closed all the same.
    everywhere: bool,
}

impl Opened {
    /// What an earlier life has noted.
    pub(super) fn noted(v4: BTreeSet<String>, v6: BTreeSet<String>, accept_ra: BTreeSet<String>) -> Self {
        Self { v4, v6, accept_ra, everywhere: false }
    }

    /// Notes which interfaces are to forward for an association and do not yet; whether there are any. They are opened by
    /// [`Self::open`] once the ruleset says so: it guards them, and tells a later life what to close.
    pub(super) fn note(&mut self, netlink: &Netlink, of: &FabricAssociation) -> Result<bool, FabricError> {
        let before = self.clone();
        for family in [Family::V4, Family::V6] {
            let far: Vec<_> = of.outlet.toward.iter().filter(|net| family.is_of(net)).copied().collect();
            if far.is_empty() {
                continue;
            }
            let interfaces = match &of.uplink {
                Some(uplink) => BTreeSet::from([uplink.interface.clone()]),
                None => netlink.interfaces_toward(&far)?,
            };
            if interfaces.is_empty() {
                let networks: Vec<String> =
                    far.iter().take(LOGGED_NETWORKS).map(ToString::to_string).collect();
                log(&format!(
                    "fabric: no route to {} yet (association {}); packets to it go nowhere",
                    networks.join(", "),
                    of.key
                ));
            }
            match family {
                Family::V4 => {
                    if self.v4.is_empty() {
                        self.everywhere = sysctl::forwards_everywhere(Family::V4);
                    }
                    self.v4.extend(closed(Family::V4, interfaces));
                }
                Family::V6 => self.note_v6(interfaces)?,
            }
        }
        Ok(*self != before)
    }

    fn note_v6(&mut self, interfaces: BTreeSet<String>) -> Result<(), FabricError> {
        if sysctl::forwards_everywhere(Family::V6) {
            return Ok(());
        }
        if sysctl::forwards_ipv6_by_interface() {
            self.v6.extend(closed(Family::V6, interfaces));
        } else if !interfaces.is_empty() {
            self.v6.insert(ALL.to_owned());
            self.accept_ra.extend(sysctl::accept_advertisements()?);
        }
        Ok(())
    }

    /// Opens what is noted.
    pub(super) fn open(&self) -> Result<(), FabricError> {
        self.v4.iter().try_for_each(|interface| sysctl::open_forwarding(Family::V4, interface))?;
        self.accept_ra.iter().try_for_each(|interface| sysctl::keep_accepting_advertisements(interface))?;
        self.v6.iter().try_for_each(|interface| sysctl::open_forwarding(Family::V6, interface))
    }

    /// Says what is noted, where the operator is to open it.
    pub(super) fn tell(&self, key: &str) {
        sysctl::tell_closed(Family::V4, &self.v4, key);
        sysctl::tell_closed(Family::V6, &self.v6, key);
    }

    /// Everything as it was.
    pub(super) fn close(&mut self) -> Result<(), FabricError> {
        if !self.is_open_since() {
            for interface in &self.v4 {
                sysctl::close_forwarding(Family::V4, interface)?;
            }
        }
        for interface in &self.v6 {
            sysctl::close_forwarding(Family::V6, interface)?;
        }
        for interface in &self.accept_ra {
            sysctl::accept_advertisements_as_before(interface)?;
        }
        *self = Self::default();
        Ok(())
    }

    /// Whether the operator has had the host forward IPv4 everywhere since we last looked.
    fn is_open_since(&self) -> bool {
        sysctl::forwards_everywhere(Family::V4) && !self.everywhere
    }

    /// Forgets what the operator has opened anyhow meanwhile. Says whether there was any.
    pub(super) fn forget_needless(&mut self) -> bool {
        let v4 = !self.v4.is_empty() && self.is_open_since();
        self.everywhere = sysctl::forwards_everywhere(Family::V4);
        // What we opened everywhere ourselves says nothing of the operator.
        let by_interface = !self.v6.is_empty() && !self.v6.contains(ALL);
        let v6 = by_interface && sysctl::forwards_everywhere(Family::V6);
        if v4 {
            self.v4.clear();
        }
        if v6 {
            self.v6.clear();
        }
        if v4 || v6 {
            log("fabric: forwarding is on for all interfaces now; ours are no longer guarded");
        }
        v4 || v6
    }
}

/// Those that do not forward.
fn closed(family: Family, interfaces: BTreeSet<String>) -> impl Iterator<Item = String> {
    interfaces.into_iter().filter(move |interface| !sysctl::forwards(family, interface))
}
