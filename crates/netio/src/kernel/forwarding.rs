//! Which of the host's doors are open: forwarding by interface, switched on for tunnels and off again after them.
//!
//! IPv4 forwards by the interface a packet comes in by. So does IPv6 where the kernel has `force_forwarding` (Linux 6.17);
//! before, all interfaces forward or none does, and a host that forwards takes no router advertisements unless it is told
//! to go on (`accept_ra` 2), or it would lose the routes it has from them. Whatever opens is guarded by the ruleset: what
//! may be forwarded now and could not be before is dropped but for tunnels, so that ours is the only door that opened.

use std::collections::BTreeSet;

use super::netlink::Netlink;
use super::sysctl::{self, Family};
use crate::fabric::{FabricError, Outlet};
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
}

impl Opened {
    /// The interfaces toward some networks forward from now on. `key` says for whom.
    pub(super) fn toward(
        &mut self,
        netlink: &Netlink,
        key: &str,
        outlet: &Outlet,
    ) -> Result<(), FabricError> {
        for family in [Family::V4, Family::V6] {
            let far: Vec<_> = outlet.toward.iter().filter(|net| family.is_of(net)).copied().collect();
            if far.is_empty() {
                continue;
            }
            let interfaces = netlink.interfaces_toward(&far)?;
            if interfaces.is_empty() {
                let networks: Vec<String> =
                    far.iter().take(LOGGED_NETWORKS).map(ToString::to_string).collect();
                log(&format!(
                    "fabric: no route to {} yet (association {key}); packets to it go nowhere",
                    networks.join(", ")
                ));
            }
            match family {
                Family::V4 => self.open_v4(interfaces)?,
                Family::V6 => self.open_v6(interfaces)?,
            }
        }
        Ok(())
    }

    fn open_v4(&mut self, interfaces: BTreeSet<String>) -> Result<(), FabricError> {
        for interface in interfaces {
            if sysctl::open_forwarding(Family::V4, &interface)? {
                self.v4.insert(interface);
            }
        }
        Ok(())
    }

    fn open_v6(&mut self, interfaces: BTreeSet<String>) -> Result<(), FabricError> {
        if sysctl::forwards_everywhere(Family::V6) {
            return Ok(());
        }
        if sysctl::forwards_ipv6_by_interface() {
            for interface in interfaces {
                if sysctl::open_forwarding(Family::V6, &interface)? {
                    self.v6.insert(interface);
                }
            }
        } else if !interfaces.is_empty() {
            // Noted first: what fails half way is closed again.
            self.v6.insert(ALL.to_owned());
            self.accept_ra.extend(sysctl::keep_accepting_advertisements()?);
            sysctl::open_forwarding(Family::V6, ALL)?;
        }
        Ok(())
    }

    /// Everything as it was.
    pub(super) fn close(&mut self) -> Result<(), FabricError> {
        if !sysctl::forwards_everywhere(Family::V4) {
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

    /// Forgets what the operator has opened anyhow meanwhile. Says whether there was any.
    pub(super) fn forget_needless(&mut self) -> bool {
        let v4 = !self.v4.is_empty() && sysctl::forwards_everywhere(Family::V4);
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
