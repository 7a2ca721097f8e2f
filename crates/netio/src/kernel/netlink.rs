//! Links, routes, and rules, by routing netlink. Blocking.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::{Stream, TryStreamExt};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::ClientNets;
use rtnetlink::packet_core::{DefaultNla, Emitable, NLA_F_NESTED};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Error, Handle, IpVersion, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::Runtime;

use super::ruleset::{
    ANY_MARK_MASK, MARK_MASK, REPLY_MARK, UP_MARK, UP_OR_REPLY_MASK, any_mark, table, uplink_table,
};
use crate::fabric::{FabricError, LOOPBACK, is_our_link};
use crate::failpoint;

/// First priority of our rules (of three): before the host's main table, and as a rule before those of other programs.
pub(super) const RULE_PRIORITY: u32 = 0x0ba5;
/// Where packets skip to that our tables do not concern.
const SKIP_PRIORITY: u32 = RULE_PRIORITY + 2;

/// Attribute of a link's IPv4 settings (linux/if_link.h, `IFLA_INET_CONF`); asked for, it is a list of numbered ones.
const INET_CONF: u16 = 1;
/// Settings of a TUN device that let IPv4 packets through, by their numbers in linux/ip.h. The reverse-path check takes the
/// stricter of this device's and the operator's setting for all; `src_valid_mark` makes it look into the association's
/// table, where it succeeds.
const TUN_SETTINGS: [(u16, u32); 4] = [
    (1, 1),  // forwarding
    (6, 0),  // send_redirects
    (8, 0),  // rp_filter
    (24, 1), // src_valid_mark
];

/// A conversation with the kernel.
#[derive(Debug)]
pub(crate) struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

impl Netlink {
    pub(crate) fn open() -> Result<Self, FabricError> {
        let failed = |e: std::io::Error| FabricError::Permanent(format!("cannot open netlink: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let entered = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
        drop(entered);
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    /// Carries out a change. What is there already is no error.
    fn change(&self, what: &str, step: impl Future<Output = Result<(), Error>>) -> Result<(), FabricError> {
        let done = self.runtime.block_on(step);
        failpoint::kernel_changed();
        match done {
            Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
            other => other.map_err(|error| explain(what, &error)),
        }
    }

    /// As [`Self::change`], but that it is gone already is no error.
    fn undo(&self, what: &str, step: impl Future<Output = Result<(), Error>>) -> Result<(), FabricError> {
        let done = self.runtime.block_on(step);
        failpoint::kernel_changed();
        match done {
            Err(error) if matches!(errno(&error), Some(libc::ENODEV | libc::ESRCH | libc::ENOENT)) => Ok(()),
            other => other.map_err(|error| explain(what, &error)),
        }
    }

    /// Everything of a kind; nothing where the kernel does not know the kind (IPv6 may be missing).
    pub(super) fn list<T>(
        &self,
        what: &str,
        stream: impl Stream<Item = Result<T, Error>>,
    ) -> Result<Vec<T>, FabricError> {
        match self.runtime.block_on(stream.try_collect()) {
            Err(error) if matches!(errno(&error), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
                Ok(Vec::new())
            }
            other => other.map_err(|error| explain(what, &error)),
        }
    }

    pub(super) fn address_get(&self) -> impl Stream<Item = Result<AddressMessage, Error>> {
        self.handle.address().get().execute()
    }

    pub(super) fn neighbour_get(
        &self,
        family: AddressFamily,
    ) -> impl Stream<Item = Result<NeighbourMessage, Error>> {
        self.handle.neighbours().get().set_address_family(family).execute()
    }

    fn links(&self) -> Result<Vec<LinkMessage>, FabricError> {
        self.list("list links", self.handle.link().get().execute())
    }

    /// The link of this name, if there is one.
    pub(super) fn link(&self, name: &str) -> Result<Option<LinkMessage>, FabricError> {
        let mut asked = self.handle.link().get().match_name(name.to_owned()).execute();
        match self.runtime.block_on(asked.try_next()) {
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(None),
            found => found.map_err(|error| explain("look at a link", &error)),
        }
    }

    /// Has a TUN device of ours let packets through, without an address of the kernel's own. Not by way of `/proc/sys`,
    /// which containers have read-only.
    pub(super) fn open_tun(&self, name: &str) -> Result<(), FabricError> {
        let link = self.tun(name)?;
        let set = |settings: AfSpecUnspec| {
            let message = LinkUnspec::new_with_index(link)
                .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![settings]))
                .build();
            self.handle.link().set(message).execute()
        };
        let settings: Vec<DefaultNla> = TUN_SETTINGS
            .iter()
            .map(|(number, value)| DefaultNla::new(*number, value.to_ne_bytes().to_vec()))
            .collect();
        let mut bytes = vec![0; settings.as_slice().buffer_len()];
        settings.as_slice().emit(&mut bytes);
        let settings = AfSpecInet::Other(DefaultNla::new(INET_CONF | NLA_F_NESTED, bytes));
        self.change("let a TUN device forward", set(AfSpecUnspec::Inet(vec![settings])))?;
        let no_address = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let done = self.runtime.block_on(set(AfSpecUnspec::Inet6(vec![no_address])));
        failpoint::kernel_changed();
        match done {
            // A kernel without IPv6, or a device too narrow for it.
            Err(error) if errno(&error) == Some(libc::EAFNOSUPPORT) => Ok(()),
            other => other.map_err(|error| explain("keep IPv6 addresses off a TUN device", &error)),
        }
    }

    fn tun(&self, name: &str) -> Result<u32, FabricError> {
        let found = self.link(name)?.map(|link| link.header.index);
        found.ok_or_else(|| FabricError::Transient(format!("TUN device {name} vanished")))
    }

    /// Sets the MTU and the device up; its index comes back.
    pub(super) fn raise_link(&self, name: &str, mtu: u16) -> Result<u32, FabricError> {
        let index = self.tun(name)?;
        let message = LinkUnspec::new_with_index(index).mtu(mtu.into()).up().build();
        self.change("set a TUN device up", self.handle.link().set(message).execute())?;
        Ok(index)
    }

    /// Deletes the TUN device of this name if it is there, or all whose names are of our form.
    pub(super) fn delete_links(&self, name: Option<&str>) -> Result<(), FabricError> {
        let links = match name {
            // Not by way of all of them, of which there may be thousands.
            Some(name) => self.link(name)?.into_iter().collect(),
            None => self.links()?,
        };
        for link in links {
            let Some(found) = link_name_of(&link) else { continue };
            if is_tun(&link) && name.map_or(is_our_link(found), |name| name == found) {
                self.undo("delete a link", self.handle.link().del(link.header.index).execute())?;
            }
        }
        Ok(())
    }

    /// The association's table: the client CIDR by its device, nothing else.
    pub(super) fn add_routes(&self, link: u32, table: u32, clients: ClientNets) -> Result<(), FabricError> {
        if let Some(net) = clients.v4 {
            let route = || RouteMessageBuilder::<Ipv4Addr>::new().table_id(table);
            let clients = route().destination_prefix(net.network(), net.prefix_len());
            self.add_route(clients.output_interface(link).scope(RouteScope::Link).build())?;
            self.add_route(route().kind(RouteType::Unreachable).priority(u32::MAX).build())?;
        }
        if let Some(net) = clients.v6 {
            let route = || RouteMessageBuilder::<Ipv6Addr>::new().table_id(table);
            let clients = route().destination_prefix(net.network(), net.prefix_len());
            self.add_route(clients.output_interface(link).build())?;
            self.add_route(route().kind(RouteType::Unreachable).priority(u32::MAX).build())?;
        }
        Ok(())
    }

    /// Adds a route, in place of one that is the same but for where it leads.
    pub(super) fn add_route(&self, route: RouteMessage) -> Result<(), FabricError> {
        self.change("add a route", self.handle.route().add(route).replace().execute())
    }

    pub(super) fn delete_route(&self, route: RouteMessage) -> Result<(), FabricError> {
        self.undo("delete a route", self.handle.route().del(route).execute())
    }

    /// Deletes the routes of one association's tables, or of all of ours.
    pub(super) fn delete_routes(&self, of: Option<u16>) -> Result<(), FabricError> {
        for route in self.routes()? {
            let number = table_of(&route);
            if of
                .map_or(is_our_table(number), |index| number == table(index) || number == uplink_table(index))
            {
                self.delete_route(route)?;
            }
        }
        Ok(())
    }

    /// All routes of both families.
    pub(super) fn routes(&self) -> Result<Vec<RouteMessage>, FabricError> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let mut found = self.list("list routes", self.handle.route().get(all).execute())?;
        let all = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let more: Vec<RouteMessage> = self.list("list routes", self.handle.route().get(all).execute())?;
        // A kernel without IPv6 lists what it has.
        found.extend(more.into_iter().filter(|route| route.header.address_family == AddressFamily::Inet6));
        Ok(found)
    }

    /// The association's rules: what bears one of its marks goes to its table, except that packets *from its device* on
    /// their way up, as well as questions of the reverse-path check about replies (which it asks as if from there), go
    /// to the uplink's table, or without an uplink on to the host's own rules, by a common rule that does nothing. The
    /// reverse-path check of a packet on its way up asks as if from outside, and so finds the device in the table,
    /// however strict the operator has made it.
    pub(super) fn add_rules(
        &self,
        index: u16,
        link: &str,
        clients: ClientNets,
        uplink: bool,
    ) -> Result<(), FabricError> {
        let families = [clients.v4.map(|_| AddressFamily::Inet), clients.v6.map(|_| AddressFamily::Inet6)];
        families.into_iter().flatten().try_for_each(|family| self.add_rules_of(family, index, link, uplink))
    }

    fn add_rules_of(
        &self,
        family: AddressFamily,
        index: u16,
        link: &str,
        uplink: bool,
    ) -> Result<(), FabricError> {
        let up = |action: RuleAttribute| {
            vec![
                RuleAttribute::FwMark(UP_MARK & UP_OR_REPLY_MASK),
                RuleAttribute::FwMask(UP_OR_REPLY_MASK),
                RuleAttribute::Iifname(link.to_owned()),
                action,
            ]
        };
        if uplink {
            let by = up(RuleAttribute::Table(uplink_table(index)));
            self.add_rule(family, RULE_PRIORITY, RuleAction::ToTable, by)?;
        } else {
            self.add_rule(family, SKIP_PRIORITY, RuleAction::Nop, Vec::new())?;
            let skip = up(RuleAttribute::Goto(SKIP_PRIORITY));
            self.add_rule(family, RULE_PRIORITY, RuleAction::Goto, skip)?;
        }
        let own = vec![
            RuleAttribute::FwMark(any_mark(index)),
            RuleAttribute::FwMask(ANY_MARK_MASK),
            RuleAttribute::Table(table(index)),
        ];
        self.add_rule(family, RULE_PRIORITY + 1, RuleAction::ToTable, own)
    }

    /// Whether this kernel knows IPv6: it then has rules of its own.
    pub(super) fn speaks_ipv6(&self) -> Result<bool, FabricError> {
        Ok(!self.list("list rules", self.handle.rule().get(IpVersion::V6).execute())?.is_empty())
    }

    fn add_rule(
        &self,
        family: AddressFamily,
        priority: u32,
        action: RuleAction,
        attributes: Vec<RuleAttribute>,
    ) -> Result<(), FabricError> {
        let mut message = RuleMessage::default();
        message.header.family = family;
        message.header.table = RouteHeader::RT_TABLE_UNSPEC;
        message.header.action = action;
        message.attributes.push(RuleAttribute::Priority(priority));
        message.attributes.extend(attributes);
        let mut rule = self.handle.rule().add();
        *rule.message_mut() = message;
        self.change("add a rule", rule.execute())
    }

    /// Deletes the rules of one association (its index and link), or all of ours.
    pub(super) fn delete_rules(&self, of: Option<(u16, &str)>) -> Result<(), FabricError> {
        let mut rules: Vec<RuleMessage> =
            self.list("list rules", self.handle.rule().get(IpVersion::V4).execute())?;
        rules.extend(self.list("list rules", self.handle.rule().get(IpVersion::V6).execute())?);
        for rule in rules {
            if is_our_rule(&rule, of) {
                self.undo("delete a rule", self.handle.rule().del(rule).execute())?;
            }
        }
        Ok(())
    }

    /// Names of the interfaces by which packets to `far` may leave: of every route, a default one too, that has
    /// addresses in common with it.
    pub(crate) fn interfaces_toward(&self, far: &[IpNet]) -> Result<BTreeSet<String>, FabricError> {
        let mut indexes = BTreeSet::new();
        for route in self.routes()? {
            let overlaps = destination_of(&route).is_some_and(|net| {
                !on_link_only(&net) && far.iter().any(|far| net.contains(far) || far.contains(&net))
            });
            if route.header.kind != RouteType::Unicast || !overlaps || is_our_table(table_of(&route)) {
                continue;
            }
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Oif(index) => {
                        indexes.insert(*index);
                    }
                    RouteAttribute::MultiPath(hops) => {
                        indexes.extend(hops.iter().map(|hop| hop.interface_index))
                    }
                    _ => {}
                }
            }
        }
        let links = self.links()?;
        let names: BTreeMap<u32, &str> =
            links.iter().filter_map(|link| Some((link.header.index, link_name_of(link)?))).collect();
        let names = indexes.iter().filter_map(|index| names.get(index));
        Ok(names
            .filter(|name| **name != LOOPBACK && !is_our_link(name))
            .map(|name| (*name).to_owned())
            .collect())
    }

    /// Interfaces of the default routes: where the world comes in.
    fn default_links(&self) -> Result<BTreeSet<u32>, FabricError> {
        let routes = self.routes()?;
        let default = routes.iter().filter(|route| {
            route.header.kind == RouteType::Unicast
                && destination_of(route)
                    .is_some_and(|net| matches!(net, IpNet::V4(net) if net.prefix_len() == 0))
        });
        Ok(default
            .flat_map(|route| &route.attributes)
            .filter_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            })
            .collect())
    }

    /// Global addresses of the interfaces that are up, loopback not: IPv4 first, those of the default route's
    /// interface before others, then by interface and in the kernel's order.
    pub(crate) fn host_addresses(&self) -> Result<Vec<IpAddr>, FabricError> {
        let up: BTreeSet<u32> = self
            .links()?
            .iter()
            .filter(|link| {
                link.header.flags.contains(LinkFlags::Up) && !link.header.flags.contains(LinkFlags::Loopback)
            })
            .map(|link| link.header.index)
            .collect();
        let outside = self.default_links()?;
        let mut found = Vec::new();
        for address in self.list("list addresses", self.address_get())? {
            if address.header.scope != AddressScope::Universe || !up.contains(&address.header.index) {
                continue;
            }
            // On a point-to-point link `Address` is the other end, `Local` ours.
            let local = address.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            });
            let own = local.or_else(|| {
                address.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Address(ip) => Some(*ip),
                    _ => None,
                })
            });
            let link = address.header.index;
            found.extend(own.map(|ip| ((ip.is_ipv6(), !outside.contains(&link), link), ip)));
        }
        // Stable: the kernel lists an interface's primary address first.
        found.sort_by_key(|(rank, _)| *rank);
        Ok(found.into_iter().map(|(_, ip)| ip).collect())
    }
}

fn link_name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn is_tun(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(parts) => {
            parts.iter().any(|part| matches!(part, LinkInfo::Kind(InfoKind::Tun)))
        }
        _ => false,
    })
}

fn is_our_table(number: u32) -> bool {
    matches!(number & MARK_MASK, REPLY_MARK | UP_MARK)
}

/// Whether a rule is one of an association's (its index and link), or any of ours.
fn is_our_rule(rule: &RuleMessage, of: Option<(u16, &str)>) -> bool {
    let (mut priority, mut mark, mut mask, mut from) = (0, 0, 0, "");
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::FwMark(value) => mark = *value,
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Iifname(name) => from = name,
            _ => {}
        }
    }
    let up = (priority, mask) == (RULE_PRIORITY, UP_OR_REPLY_MASK)
        && of.map_or(is_our_link(from), |(_, link)| link == from);
    let own = (priority, mask) == (RULE_PRIORITY + 1, ANY_MARK_MASK)
        && of.map_or(mark & ANY_MARK_MASK & MARK_MASK == any_mark(0), |(index, _)| mark == any_mark(index));
    match rule.header.action {
        RuleAction::Nop => of.is_none() && priority == SKIP_PRIORITY,
        RuleAction::Goto => up,
        RuleAction::ToTable => up || own,
        _ => false,
    }
}

pub(super) fn table_of(route: &RouteMessage) -> u32 {
    let large = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    large.unwrap_or_else(|| route.header.table.into())
}

/// `None` for what is no IP. Without an address it is the default route.
fn destination_of(route: &RouteMessage) -> Option<IpNet> {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => Some(address),
        _ => None,
    });
    let bits = route.header.destination_prefix_length;
    match (address, route.header.address_family) {
        (Some(RouteAddress::Inet(address)), _) => Ipv4Net::new(*address, bits).ok().map(IpNet::V4),
        (Some(RouteAddress::Inet6(address)), _) => Ipv6Net::new(*address, bits).ok().map(IpNet::V6),
        (Some(_), _) => None,
        (None, AddressFamily::Inet6) => Some(IpNet::V6(Ipv6Net::default())),
        (None, _) => Some(IpNet::V4(Ipv4Net::default())),
    }
}

/// Whether nothing goes by such a route to anywhere else: every interface has those of IPv6.
fn on_link_only(net: &IpNet) -> bool {
    match net {
        IpNet::V4(_) => false,
        IpNet::V6(net) => net.network().is_unicast_link_local() || net.network().is_multicast(),
    }
}

fn errno(error: &Error) -> Option<i32> {
    match error {
        Error::NetlinkError(message) => message.to_io().raw_os_error(),
        _ => None,
    }
}

fn explain(what: &str, error: &Error) -> FabricError {
    let text = format!("cannot {what}: {error}");
    match errno(error) {
        Some(libc::EPERM | libc::EACCES) => FabricError::Permanent(text),
        _ => FabricError::Transient(text),
    }
}
