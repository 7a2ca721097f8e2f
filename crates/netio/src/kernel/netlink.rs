//! Links, routes, and rules, by routing netlink. Blocking.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use futures_util::{Stream, TryStreamExt};
use ipnet::Ipv4Net;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Error, Handle, IpVersion, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::Runtime;

use super::ruleset::{MARK_MASK, REPLY_MARK, UP_MARK, reply_mark, table, up_mark};
use crate::fabric::FabricError;

/// Priority of an association's rules: before the host's main table, and before those of other programs as a rule.
pub(super) const RULE_PRIORITY: u32 = 0x0ba5;
/// One rule for all associations, see [`Netlink::add_rules`].
const REVERSE_PRIORITY: u32 = RULE_PRIORITY - 1;
/// Name in rules of where locally made packets, and questions of the reverse-path check, come from.
const LOOPBACK: &str = "lo";

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

    fn wait<T>(&self, what: &str, step: impl Future<Output = Result<T, Error>>) -> Result<T, FabricError> {
        self.runtime.block_on(step).map_err(|error| explain(what, &error))
    }

    /// As [`Self::wait`], but that it is gone already is no error.
    fn wait_gone(
        &self,
        what: &str,
        step: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), FabricError> {
        match self.runtime.block_on(step) {
            Err(error) if matches!(errno(&error), Some(libc::ENODEV | libc::ESRCH | libc::ENOENT)) => Ok(()),
            other => other.map_err(|error| explain(what, &error)),
        }
    }

    fn list<T>(
        &self,
        what: &str,
        stream: impl Stream<Item = Result<T, Error>>,
    ) -> Result<Vec<T>, FabricError> {
        self.wait(what, stream.try_collect())
    }

    fn links(&self) -> Result<Vec<LinkMessage>, FabricError> {
        self.list("list links", self.handle.link().get().execute())
    }

    fn link_index(&self, name: &str) -> Result<Option<u32>, FabricError> {
        Ok(self.links()?.iter().find(|link| link_name_of(link) == Some(name)).map(|link| link.header.index))
    }

    /// Sets the MTU and the device up; its index comes back.
    pub(super) fn raise_link(&self, name: &str, mtu: u16) -> Result<u32, FabricError> {
        let index = self
            .link_index(name)?
            .ok_or_else(|| FabricError::Transient(format!("TUN device {name} vanished")))?;
        let message = LinkUnspec::new_with_index(index).mtu(mtu.into()).up().build();
        self.wait("set a TUN device up", self.handle.link().set(message).execute())?;
        Ok(index)
    }

    /// Deletes the link if it is there.
    pub(super) fn delete_link(&self, name: &str) -> Result<(), FabricError> {
        match self.link_index(name)? {
            Some(index) => self.wait_gone("delete a link", self.handle.link().del(index).execute()),
            None => Ok(()),
        }
    }

    /// Deletes every TUN device whose name is of our form.
    pub(super) fn delete_our_links(&self) -> Result<(), FabricError> {
        for link in self.links()? {
            if is_tun(&link) && link_name_of(&link).is_some_and(is_our_link) {
                self.wait_gone("delete a link", self.handle.link().del(link.header.index).execute())?;
            }
        }
        Ok(())
    }

    /// The association's table: the client CIDR by its device, nothing else.
    pub(super) fn add_routes(&self, link: u32, table: u32, client_cidr: Ipv4Net) -> Result<(), FabricError> {
        let clients = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(client_cidr.network(), client_cidr.prefix_len())
            .output_interface(link)
            .scope(RouteScope::Link)
            .table_id(table)
            .build();
        let rest = RouteMessageBuilder::<Ipv4Addr>::new()
            .kind(RouteType::Unreachable)
            .priority(u32::MAX)
            .table_id(table)
            .build();
        for route in [clients, rest] {
            self.wait("add a route", self.handle.route().add(route).replace().execute())?;
        }
        Ok(())
    }

    /// Deletes the routes of one of our tables, or of all of them.
    pub(super) fn delete_routes(&self, table: Option<u32>) -> Result<(), FabricError> {
        for route in self.routes()? {
            let number = table_of(&route);
            if table.map_or(number & MARK_MASK == REPLY_MARK, |table| table == number) {
                self.wait_gone("delete a route", self.handle.route().del(route).execute())?;
            }
        }
        Ok(())
    }

    fn routes(&self) -> Result<Vec<RouteMessage>, FabricError> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        self.list("list routes", self.handle.route().get(all).execute())
    }

    /// The association's rules. Replies, by their mark, go to its table. Packets on their way up carry another mark,
    /// which counts only for what comes "from the loopback device": the reverse-path check of the TUN device, and our
    /// own ICMP errors to clients. The rule before keeps the reverse-path check of *replies* in the main table, for
    /// operators who make that look at marks everywhere.
    pub(super) fn add_rules(&self, index: u16) -> Result<(), FabricError> {
        let add = |priority: u32, mark: u32, mask: Option<u32>, from_loopback: bool, table: u32| {
            let mut rule = self
                .handle
                .rule()
                .add()
                .v4()
                .priority(priority)
                .fw_mark(mark)
                .table_id(table)
                .action(RuleAction::ToTable);
            if let Some(mask) = mask {
                rule.message_mut().attributes.push(RuleAttribute::FwMask(mask));
            }
            if from_loopback {
                rule = rule.input_interface(LOOPBACK);
            }
            match self.runtime.block_on(rule.execute()) {
                Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
                other => other.map_err(|error| explain("add a rule", &error)),
            }
        };
        let main = u32::from(RouteHeader::RT_TABLE_MAIN);
        add(REVERSE_PRIORITY, REPLY_MARK, Some(MARK_MASK), true, main)?;
        add(RULE_PRIORITY, reply_mark(index), None, false, table(index))?;
        add(RULE_PRIORITY, up_mark(index), None, true, table(index))
    }

    /// Deletes the rules of one association, or all of ours.
    pub(super) fn delete_rules(&self, index: Option<u16>) -> Result<(), FabricError> {
        let rules: Vec<RuleMessage> =
            self.list("list rules", self.handle.rule().get(IpVersion::V4).execute())?;
        for rule in rules {
            let (mut priority, mut mark) = (0, 0);
            for attribute in &rule.attributes {
                match attribute {
                    RuleAttribute::Priority(value) => priority = *value,
                    RuleAttribute::FwMark(value) => mark = *value,
                    _ => {}
                }
            }
            let ours = match index {
                Some(index) => {
                    priority == RULE_PRIORITY && (mark == reply_mark(index) || mark == up_mark(index))
                }
                None => {
                    [RULE_PRIORITY, REVERSE_PRIORITY].contains(&priority)
                        && [REPLY_MARK, UP_MARK].contains(&(mark & MARK_MASK))
                }
            };
            if ours {
                self.wait_gone("delete a rule", self.handle.rule().del(rule).execute())?;
            }
        }
        Ok(())
    }

    /// Names of the interfaces by which packets to `far` may leave: of every route, a default one too, that has
    /// addresses in common with it.
    pub(super) fn interfaces_toward(&self, far: Ipv4Net) -> Result<BTreeSet<String>, FabricError> {
        let mut indexes = BTreeSet::new();
        for route in self.routes()? {
            let overlaps = destination_of(&route).is_some_and(|net| net.contains(&far) || far.contains(&net));
            if route.header.kind != RouteType::Unicast
                || !overlaps
                || table_of(&route) & MARK_MASK == REPLY_MARK
            {
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

    /// Global addresses of the interfaces that are up, IPv4 first, loopback not.
    pub(crate) fn host_addresses(&self) -> Result<Vec<IpAddr>, FabricError> {
        let up: BTreeSet<u32> = self
            .links()?
            .iter()
            .filter(|link| {
                link.header.flags.contains(LinkFlags::Up) && !link.header.flags.contains(LinkFlags::Loopback)
            })
            .map(|link| link.header.index)
            .collect();
        let mut found = BTreeSet::new();
        for address in self.list("list addresses", self.handle.address().get().execute())? {
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
            found.extend(own);
        }
        Ok(found.into_iter().collect())
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

fn is_our_link(name: &str) -> bool {
    name.strip_prefix("bsc")
        .is_some_and(|hex| (8..=12).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn table_of(route: &RouteMessage) -> u32 {
    let large = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    large.unwrap_or_else(|| route.header.table.into())
}

/// `None` for what is not IPv4. Without an address it is the default route.
fn destination_of(route: &RouteMessage) -> Option<Ipv4Net> {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => Some(address),
        _ => None,
    });
    match address {
        Some(RouteAddress::Inet(address)) => {
            Ipv4Net::new(*address, route.header.destination_prefix_length).ok()
        }
        Some(_) => None,
        None => Some(Ipv4Net::default()),
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
