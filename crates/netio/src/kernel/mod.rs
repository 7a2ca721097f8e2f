//! The fabric itself, as the privileged helper runs it: TUN devices, routes, rules, nftables, connection tracking.
//!
//! # How packets go
//! *Up*: a client's packet enters at the association's TUN device. Before connection tracking it is put into the zone
//! of the association **for its original direction only**: two associations may have the same client addresses, while
//! replies, which arrive from outside, are looked up in the common zone, where source NAT has made them distinct.
//! The connection gets the association's mark. Routing is the host's own, or that of the association's uplink (see
//! [`netlink::Netlink::add_rules`]), then the egress rules, which every packet of the original direction has to pass,
//! then masquerading by output interface, or the uplink's own address.
//!
//! *An uplink* has a table of its own: one interface, and unreachable without it. Networks of the same addresses behind
//! two interfaces are so kept apart on the way up. On the way down source NAT makes answers distinct, and one that comes
//! by another interface than it was asked by is dropped.
//!
//! *Down*: a reply finds its connection; the mark goes from there to the packet, before routing, and `ip rule` sends it
//! to the association's table: the client CIDR by the TUN device, everything else unreachable. No address is assigned
//! to the device, as that would put its network into the host's main table, where a second one may be the same.
//!
//! *IPv6* goes the same ways, with rules and a table of its own and without masquerading: no two associations have the
//! same block, so replies are distinct as they are.
//!
//! Dropped: from a tunnel to the host itself, to another tunnel, or back into the same one (who gives clients' packets to
//! clients does so before they come here); from outside to a tunnel except replies.
//!
//! # What is ours
//! TUN devices `bsc…`, the nftables table `inet bascule` (a change is one transaction, of the association's own chains and
//! elements; where that fails, of the whole table, which mends it), routing tables `0x0ba4….` and `0x0ba5….`, connection
//! marks `0x0ba5….`, packet marks `0x0ba4….` and `0x0ba5….`, and rules of priority 2981 to 2983. Nothing else is touched but the sysctls that are logged.

pub(crate) mod bind;
mod forwarding;
mod netfilter;
pub(crate) mod netlink;
mod nft;
mod ruleset;
mod sysctl;
mod tun_device;
pub(crate) mod uplink;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::fabric::{
    Fabric, FabricAssociation, FabricError, MAX_EGRESS_RULES, MAX_KEY_BYTES, MAX_QUEUES, MAX_TOWARD,
    MAX_TUN_MTU, MIN_TUN_MTU, Outlet, Uplink, interface_name_fault, link_name,
};
use crate::helper::log;
use forwarding::Opened;
use netlink::Netlink;

/// The fabric on the kernel of this network namespace. Needs `CAP_NET_ADMIN`.
#[derive(Debug)]
pub struct KernelFabric {
    netlink: Netlink,
    /// In force.
    live: BTreeMap<String, FabricAssociation>,
    /// Those of `live` whose rules are in force and whose device is still to be made.
    prepared: BTreeSet<String>,
    /// Being removed, with something left to remove.
    leaving: BTreeMap<String, FabricAssociation>,
    /// Where we switched forwarding on.
    opened: Opened,
    /// The nftables table is there and says what `live` and `opened` say, as far as we know.
    installed: bool,
    /// What uplinks of those in force lack, by association.
    wanting: BTreeMap<String, FabricError>,
    leave_sysctls: bool,
}

impl KernelFabric {
    /// A fabric with nothing in it.
    ///
    /// # Errors
    /// Netlink is not to be had.
    pub fn new(leave_sysctls: bool) -> Result<Self, FabricError> {
        Ok(Self {
            netlink: Netlink::open()?,
            live: BTreeMap::new(),
            prepared: BTreeSet::new(),
            leaving: BTreeMap::new(),
            opened: Opened::default(),
            installed: false,
            wanting: BTreeMap::new(),
            leave_sysctls,
        })
    }

    /// Mends what others did to us: a flushed ruleset comes back, the guard of opened interfaces goes once the operator
    /// forwards everywhere, and uplinks follow their interfaces. Called every few seconds between commands.
    pub fn maintain(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let mut stale = self.opened.forget_needless();
        if matches!(netfilter::table_exists(ruleset::TABLE), Ok(false)) {
            log("fabric: the nftables table `inet bascule` was removed by someone; putting it back");
            stale = true;
        }
        if stale && let Err(error) = self.install_ruleset() {
            log(&format!("fabric: {error}"));
        }
        self.mend_uplinks();
    }

    /// Interfaces come and go, and their addresses with them; so do the routes by them.
    fn mend_uplinks(&mut self) {
        let standing: Vec<&FabricAssociation> = self
            .live
            .values()
            .filter(|association| association.uplink.is_some() && !self.prepared.contains(&association.key))
            .collect();
        if standing.is_empty() {
            return;
        }
        let uplinks: Vec<(u32, &Uplink)> = standing
            .iter()
            .filter_map(|of| Some((ruleset::uplink_table(of.index), of.uplink.as_ref()?)))
            .collect();
        let outcomes = match self.netlink.set_uplinks(&uplinks) {
            Ok(outcomes) => outcomes,
            Err(error) => return log(&format!("fabric: {error}")),
        };
        for (association, outcome) in standing.iter().zip(outcomes) {
            let key = &association.key;
            match outcome {
                Ok(changed) => {
                    if self.wanting.remove(key).is_some() || changed {
                        log(&format!("fabric: the way out of association {key} is there again"));
                    }
                }
                Err(error) => {
                    if self.wanting.get(key) != Some(&error) {
                        log(&format!("fabric: association {key} carries nothing: {error}"));
                    }
                    self.wanting.insert(key.clone(), error);
                }
            }
        }
        self.open_uplinks();
    }

    /// An interface that came back forwards nothing yet.
    fn open_uplinks(&mut self) {
        if self.leave_sysctls {
            return;
        }
        let mut more = false;
        for association in self.live.values().filter(|association| association.uplink.is_some()) {
            match self.opened.note(&self.netlink, association) {
                Ok(noted) => more |= noted,
                Err(error) => log(&format!("fabric: {error}")),
            }
        }
        let guarded = if more { self.alter(&ruleset::opens(&self.opened)) } else { Ok(()) };
        if let Err(error) = guarded.and_then(|()| self.opened.open()) {
            log(&format!("fabric: {error}"));
        }
    }

    /// The whole table anew.
    fn install_ruleset(&mut self) -> Result<(), FabricError> {
        self.installed = false;
        nft::run(&ruleset::whole(self.live.values(), &self.opened))?;
        self.installed = !self.live.is_empty();
        Ok(())
    }

    /// A change of a part, where the rest is as it shall be; else the whole.
    fn alter(&mut self, script: &str) -> Result<(), FabricError> {
        if self.installed && !self.live.is_empty() {
            match nft::run(script) {
                Ok(()) => return Ok(()),
                Err(error) => log(&format!("fabric: the whole nftables table is written anew: {error}")),
            }
        }
        self.install_ruleset()
    }

    fn check(&self, association: &FabricAssociation) -> Result<(), FabricError> {
        check_alone(association)?;
        let link = link_name(&association.key);
        for other in
            self.live.values().chain(self.leaving.values()).filter(|other| other.key != association.key)
        {
            if other.index == association.index || link_name(&other.key) == link {
                return Err(FabricError::Transient(format!(
                    "association {} still holds index {} or link {link}",
                    other.key, association.index
                )));
            }
        }
        Ok(())
    }

    /// Those of these that stand in nobody's way: not there yet, and each with an index and a link of its own.
    fn preparable<'a>(&self, associations: &'a [FabricAssociation]) -> Vec<&'a FabricAssociation> {
        let (mut indices, mut links) = (BTreeSet::new(), BTreeSet::new());
        for other in self.live.values().chain(self.leaving.values()) {
            indices.insert(other.index);
            links.insert(link_name(&other.key));
        }
        let fits = |association: &&FabricAssociation| {
            check_alone(association).is_ok()
                && indices.insert(association.index)
                && links.insert(link_name(&association.key))
        };
        associations.iter().filter(fits).collect()
    }

    /// Everything but the record and the rules, which come first. The device is up at the very end: never a moment
    /// without rules.
    fn build(&mut self, association: &FabricAssociation) -> Result<Vec<OwnedFd>, FabricError> {
        let link = link_name(&association.key);
        // Connections of an earlier holder of the index would lead replies to the wrong tunnel.
        netfilter::forget_connections(ruleset::reply_mark(association.index), u32::MAX)?;
        self.netlink.delete_links(Some(&link))?;
        if let Some(uplink) = &association.uplink {
            let table = ruleset::uplink_table(association.index);
            self.netlink.set_uplinks(&[(table, uplink)])?.into_iter().try_for_each(|set| set.map(drop))?;
        }
        let queues = tun_device::create(&link, association.queues)?;
        self.netlink.open_tun(&link)?;
        sysctl::prepare_tun(&link, self.leave_sysctls, association.client_cidr.v6.is_some())?;
        let index = self.netlink.raise_link(&link, association.mtu)?;
        self.netlink.add_routes(index, ruleset::table(association.index), association.client_cidr)?;
        let clients = association.client_cidr;
        self.netlink.add_rules(association.index, &link, clients, association.uplink.is_some())?;
        Ok(queues)
    }

    /// Rules, and forwarding behind their guard.
    fn open(&mut self, association: &FabricAssociation) -> Result<(), FabricError> {
        self.note_opening(association)?;
        let lost = ruleset::lost(association, self.live.values());
        self.alter(&(ruleset::opens(&self.opened) + &ruleset::joins(association) + &lost))?;
        self.opened.open()
    }

    fn note_opening(&mut self, association: &FabricAssociation) -> Result<(), FabricError> {
        if !self.leave_sysctls {
            return self.opened.note(&self.netlink, association).map(drop);
        }
        let mut closed = Opened::default();
        closed.note(&self.netlink, association)?;
        closed.tell(&association.key);
        Ok(())
    }

    /// Removes what is left of one that is no longer live; each step whatever became of the others.
    fn finish(&mut self, association: &FabricAssociation) -> Result<(), FabricError> {
        let mut first = Ok(());
        let mut step = |result: Result<(), FabricError>| {
            if first.is_ok() {
                first = result;
            }
        };
        // The device first: from here on no packet comes in. Forwarding closes before its guard goes.
        let link = link_name(&association.key);
        step(self.netlink.delete_links(Some(&link)));
        step(self.netlink.delete_rules(Some((association.index, &link))));
        step(self.netlink.delete_routes(Some(association.index)));
        if self.live.is_empty() {
            step(self.netlink.delete_rules(None));
            step(self.opened.close());
        }
        let lost = ruleset::lost(association, self.live.values());
        step(self.alter(&(ruleset::leaves(association) + &lost)));
        step(netfilter::forget_connections(ruleset::reply_mark(association.index), u32::MAX));
        first.map_err(|error| match error {
            FabricError::Permanent(text) | FabricError::Transient(text) => FabricError::Transient(text),
        })
    }
}

fn check_alone(association: &FabricAssociation) -> Result<(), FabricError> {
    let wrong =
        |what: String| Err(FabricError::Permanent(format!("association {}: {what}", association.key)));
    if association.key.is_empty() || association.key.len() > MAX_KEY_BYTES {
        return Err(FabricError::Permanent(format!("an association's key has 1 to {MAX_KEY_BYTES} bytes")));
    }
    if association.index == 0 {
        return wrong("index 0 is the host's own zone".to_owned());
    }
    if !(1..=MAX_QUEUES).contains(&association.queues) {
        return wrong(format!("1 to {MAX_QUEUES} queues"));
    }
    if !(MIN_TUN_MTU..=MAX_TUN_MTU).contains(&association.mtu) {
        return wrong(format!("MTU {MIN_TUN_MTU} to {MAX_TUN_MTU}"));
    }
    if association.client_cidr.iter().next().is_none() {
        return wrong("no client addresses".to_owned());
    }
    if let Some(uplink) = &association.uplink
        && let Some(fault) = interface_name_fault(&uplink.interface)
    {
        return wrong(format!("uplink {:?}: {fault}", uplink.interface));
    }
    check_outlet(&association.outlet)
}

fn check_outlet(outlet: &Outlet) -> Result<(), FabricError> {
    if outlet.egress.len() > MAX_EGRESS_RULES {
        return Err(FabricError::Permanent(format!("more than {MAX_EGRESS_RULES} egress rules")));
    }
    if outlet.toward.len() > MAX_TOWARD {
        return Err(FabricError::Permanent(format!("routes to more than {MAX_TOWARD} networks")));
    }
    Ok(())
}

impl Fabric for KernelFabric {
    fn sweep(&mut self) -> Result<(), FabricError> {
        let mut first = Ok(());
        let mut step = |result: Result<(), FabricError>| {
            if first.is_ok() {
                first = result;
            }
        };
        self.prepared.clear();
        self.leaving.append(&mut self.live);
        step(self.netlink.delete_links(None));
        step(self.netlink.delete_rules(None));
        step(self.netlink.delete_routes(None));
        match nft::opened() {
            Ok(opened) => {
                self.opened = opened;
                step(self.opened.close());
            }
            Err(error) => step(Err(error)),
        }
        step(self.install_ruleset());
        step(netfilter::forget_connections(ruleset::REPLY_MARK, ruleset::MARK_MASK));
        if first.is_ok() {
            self.leaving.clear();
        }
        first
    }

    fn prepare(&mut self, associations: &[FabricAssociation]) {
        let mut networks = BTreeSet::new();
        let mut keys = Vec::new();
        let mut script = String::new();
        for association in self.preparable(associations) {
            let network = (&association.uplink, &association.outlet.toward);
            if !networks.contains(&network) {
                if self.note_opening(association).is_err() {
                    continue;
                }
                networks.insert(network);
            }
            self.live.insert(association.key.clone(), association.clone());
            keys.push(association.key.clone());
            script.push_str(&ruleset::joins(association));
            script.push_str(&ruleset::lost(association, self.live.values()));
        }
        if keys.is_empty() {
            return;
        }
        let altered = self.alter(&(ruleset::opens(&self.opened) + &script));
        match altered.and_then(|()| self.opened.open()) {
            Ok(()) => self.prepared.extend(keys),
            Err(error) => {
                log(&format!("fabric: {} associations together: {error}", keys.len()));
                for key in &keys {
                    self.live.remove(key);
                }
            }
        }
    }

    fn add(&mut self, association: &FabricAssociation) -> Result<Vec<OwnedFd>, FabricError> {
        let prepared =
            self.prepared.remove(&association.key) && self.live.get(&association.key) == Some(association);
        if !prepared {
            self.check(association)?;
            self.remove(&association.key)?;
            if let Some(uplink) = &association.uplink {
                self.netlink.usable(uplink)?;
            }
            self.live.insert(association.key.clone(), association.clone());
        }
        let opened = if prepared { Ok(()) } else { self.open(association) };
        opened.and_then(|()| self.build(association)).inspect_err(|_| {
            // The reason of the failure counts, not what else fails on the way back; `remove` knows what is left.
            let _ = self.remove(&association.key);
        })
    }

    fn remove(&mut self, key: &str) -> Result<(), FabricError> {
        self.prepared.remove(key);
        self.wanting.remove(key);
        if let Some(association) = self.live.remove(key) {
            self.leaving.insert(key.to_owned(), association);
        }
        let Some(association) = self.leaving.get(key).cloned() else {
            return Ok(());
        };
        self.finish(&association)?;
        self.leaving.remove(key);
        Ok(())
    }

    fn set_outlet(&mut self, key: &str, outlet: &Outlet) -> Result<(), FabricError> {
        check_outlet(outlet)?;
        let Some(old) = self.live.get(key) else {
            return Err(FabricError::Permanent(format!("association {key} is not there")));
        };
        let (old, new) = (old.clone(), FabricAssociation { outlet: outlet.clone(), ..old.clone() });
        self.live.insert(key.to_owned(), new.clone());
        let opened = if old.outlet.toward == outlet.toward { Ok(()) } else { self.note_opening(&new) };
        let altered = opened.and_then(|()| {
            self.alter(&(ruleset::opens(&self.opened) + &ruleset::outlet(&new)))?;
            self.opened.open()
        });
        altered.inspect_err(|_| {
            // So that a later change of another association does not install these unasked.
            self.live.insert(key.to_owned(), old);
        })
    }

    fn look(&mut self, key: &str) -> Result<(), FabricError> {
        self.wanting.get(key).cloned().map_or(Ok(()), Err)
    }

    fn bind_udp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
        bind::group(bind::Kind::Udp, address, sockets)
    }

    fn bind_tcp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
        bind::group(bind::Kind::Tcp, address, sockets)
    }
}
