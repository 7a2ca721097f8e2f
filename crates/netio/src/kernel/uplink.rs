//! An uplink's routing table: everything by one interface, and nothing when that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType};

use super::netlink::{Netlink, table_of};
use crate::fabric::{FabricError, Uplink};

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) up: bool,
    /// Whether neighbours are asked for on it.
    pub(crate) has_neighbours: bool,
    /// Its addresses with their networks.
    pub(crate) addresses: Vec<IpNet>,
}

/// A route of an uplink's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Leg {
    destination: IpNet,
    gateway: Option<IpAddr>,
    /// `None`: unreachable.
    link: Option<u32>,
}

impl Leg {
    /// What is left when the interface goes: not the host's main table, which may know another network of that name.
    const NOWHERE: [Self; 2] = [
        Self {
            destination: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
            gateway: None,
            link: None,
        },
        Self {
            destination: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
            gateway: None,
            link: None,
        },
    ];

    fn message(&self, table: u32) -> RouteMessage {
        match (self.destination, self.gateway) {
            (IpNet::V4(net), gateway) => {
                let mut route = RouteMessageBuilder::<Ipv4Addr>::new().table_id(table);
                if net.prefix_len() > 0 {
                    route = route.destination_prefix(net.network(), net.prefix_len());
                }
                match (self.link, gateway) {
                    (None, _) => route = route.kind(RouteType::Unreachable).priority(u32::MAX),
                    // On the link whatever its addresses say: the operator says so.
                    (Some(link), Some(IpAddr::V4(hop))) => {
                        route = route.output_interface(link).gateway(hop).onlink();
                    }
                    (Some(link), _) => route = route.output_interface(link).scope(RouteScope::Link),
                }
                route.build()
            }
            (IpNet::V6(net), gateway) => {
                let mut route = RouteMessageBuilder::<Ipv6Addr>::new().table_id(table);
                if net.prefix_len() > 0 {
                    route = route.destination_prefix(net.network(), net.prefix_len());
                }
                match (self.link, gateway) {
                    (None, _) => route = route.kind(RouteType::Unreachable).priority(u32::MAX),
                    (Some(link), Some(IpAddr::V6(hop))) => {
                        route = route.output_interface(link).gateway(hop).onlink();
                    }
                    (Some(link), _) => route = route.output_interface(link),
                }
                route.build()
            }
        }
    }

    fn of(route: &RouteMessage) -> Option<Self> {
        let (mut destination, mut gateway, mut link) = (None, None, None);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = Some(IpAddr::V4(*ip)),
                RouteAttribute::Destination(RouteAddress::Inet6(ip)) => destination = Some(IpAddr::V6(*ip)),
                RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(IpAddr::V4(*ip)),
                RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => gateway = Some(IpAddr::V6(*ip)),
                RouteAttribute::Oif(index) => link = Some(*index),
                _ => {}
            }
        }
        let anywhere = match route.header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let bits = route.header.destination_prefix_length;
        let destination = IpNet::new(destination.unwrap_or(anywhere), bits).ok()?;
        // IPv6 names the loopback interface in routes that lead nowhere.
        let link = link.filter(|_| route.header.kind != RouteType::Unreachable);
        Some(Self { destination, gateway, link })
    }
}

/// The table of these addresses and next hops, whatever comes first.
fn legs(interface: &Interface, uplink: &Uplink) -> BTreeSet<Leg> {
    let link = Some(interface.index);
    let mut legs = BTreeSet::new();
    let speaks_ipv6 = interface.addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
    let families = [
        (true, uplink.next_hop.map(IpAddr::V4), Leg::NOWHERE[0]),
        (speaks_ipv6, uplink.next_hop_ipv6.map(IpAddr::V6), Leg::NOWHERE[1]),
    ];
    for (spoken, hop, nowhere) in families {
        legs.insert(nowhere);
        if !spoken {
            continue;
        }
        legs.insert(Leg { gateway: hop, link, ..nowhere });
        if hop.is_none() {
            continue;
        }
        // Who is on the link is spoken to without the router.
        let same_family = |net: &&IpNet| {
            matches!(net, IpNet::V4(_)) == matches!(nowhere.destination, IpNet::V4(_))
                && net.prefix_len() < net.max_prefix_len()
        };
        let near = interface.addresses.iter().filter(same_family);
        legs.extend(near.map(|net| Leg { destination: net.trunc(), gateway: None, link }));
    }
    legs
}

impl Netlink {
    /// The interface of this name, if there is one.
    pub(crate) fn interface(&self, name: &str) -> Result<Option<Interface>, FabricError> {
        let Some(link) = self.link(name)? else { return Ok(None) };
        let index = link.header.index;
        let mut addresses = Vec::new();
        for (owner, address) in self.addresses()? {
            if owner == index {
                addresses.push(address);
            }
        }
        Ok(Some(Interface {
            index,
            up: link.header.flags.contains(LinkFlags::Up),
            has_neighbours: !link.header.flags.contains(LinkFlags::Noarp),
            addresses,
        }))
    }

    /// All addresses of the host, each with its interface's index.
    pub(crate) fn addresses(&self) -> Result<Vec<(u32, IpNet)>, FabricError> {
        let listed = self.list("list addresses", self.address_get())?;
        let found = listed.iter().filter_map(|address| {
            let ip = address.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            });
            let network = address.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            });
            let net = IpNet::new(ip.or(network)?, address.header.prefix_len).ok()?;
            Some((address.header.index, net))
        });
        Ok(found.collect())
    }

    /// What stands in the way of an uplink; the interface if nothing does.
    pub(super) fn usable(&self, uplink: &Uplink) -> Result<Interface, FabricError> {
        let name = &uplink.interface;
        let wanting = |what: String| Err(FabricError::Transient(what));
        let Some(interface) = self.interface(name)? else {
            return wanting(format!("this host has no interface {name} (see which: ip -brief link)"));
        };
        if !interface.up {
            return wanting(format!("the interface {name} is down: ip link set {name} up"));
        }
        if let Some(address) = uplink.nat_address
            && !self.addresses()?.iter().any(|(_, own)| own.addr() == IpAddr::V4(address))
        {
            return wanting(format!(
                "{address} is not an address of this host: ip address add {address}/32 dev {name}"
            ));
        }
        Ok(interface)
    }

    /// Makes the tables of these uplinks what they shall be, and says of each whether that changed anything, or what the
    /// host lacks for it. One that cannot be used leads nowhere.
    ///
    /// # Errors
    /// The kernel's word, when it cannot even be asked.
    pub(super) fn set_uplinks(
        &self,
        uplinks: &[(u32, &Uplink)],
    ) -> Result<Vec<Result<bool, FabricError>>, FabricError> {
        let (routes, ipv6) = (self.routes()?, self.speaks_ipv6()?);
        let mut standing: BTreeMap<u32, Vec<&RouteMessage>> = BTreeMap::new();
        for route in &routes {
            standing.entry(table_of(route)).or_default().push(route);
        }
        // Associations of one subnet have the same uplink.
        let mut looked: BTreeMap<&Uplink, Result<Interface, FabricError>> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(uplinks.len());
        for &(table, uplink) in uplinks {
            let found = looked.entry(uplink).or_insert_with(|| self.usable(uplink));
            let mut wanted = match &found {
                Ok(interface) => legs(interface, uplink),
                Err(_) => Leg::NOWHERE.into(),
            };
            wanted.retain(|leg| ipv6 || leg.destination.addr().is_ipv4());
            let mended = self.mend(table, &wanted, standing.get(&table).map_or(&[], Vec::as_slice));
            outcomes.push(found.as_ref().map_err(Clone::clone).and(mended));
        }
        Ok(outcomes)
    }

    /// Turns the routes that stand in a table into those that are wanted; whether they were others.
    fn mend(
        &self,
        table: u32,
        wanted: &BTreeSet<Leg>,
        routes: &[&RouteMessage],
    ) -> Result<bool, FabricError> {
        let standing: BTreeSet<Leg> = routes.iter().filter_map(|route| Leg::of(route)).collect();
        let (nowhere, legs): (Vec<&Leg>, Vec<&Leg>) =
            wanted.difference(&standing).partition(|leg| leg.link.is_none());
        let surplus: Vec<&&RouteMessage> =
            routes.iter().filter(|route| Leg::of(route).is_none_or(|leg| !wanted.contains(&leg))).collect();
        let changed = !(nowhere.is_empty() && legs.is_empty() && surplus.is_empty());
        // What leads nowhere stands before anything else: never a moment in which the main table decides.
        for leg in nowhere {
            self.add_route(leg.message(table))?;
        }
        for route in surplus {
            self.delete_route((*route).clone())?;
        }
        for leg in legs {
            self.add_route(leg.message(table))?;
        }
        Ok(changed)
    }

    /// Whether a neighbour has been found on an interface: `None` while it is being asked for.
    pub(crate) fn neighbour(&self, interface: u32, ip: IpAddr) -> Result<Option<bool>, FabricError> {
        let family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        for neighbour in self.list("list neighbours", self.neighbour_get(family))? {
            let is_it = neighbour.attributes.iter().any(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => IpAddr::V4(*found) == ip,
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => IpAddr::V6(*found) == ip,
                _ => false,
            });
            if !is_it || neighbour.header.ifindex != interface {
                continue;
            }
            return Ok(match neighbour.header.state {
                NeighbourState::Failed => Some(false),
                NeighbourState::Incomplete | NeighbourState::None => None,
                _ => Some(true),
            });
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(next_hop: Option<&str>, next_hop_ipv6: Option<&str>) -> Uplink {
        Uplink {
            interface: "eth1".into(),
            next_hop: next_hop.map(|hop| hop.parse().unwrap()),
            next_hop_ipv6: next_hop_ipv6.map(|hop| hop.parse().unwrap()),
            nat_address: None,
        }
    }

    #[test]
    fn a_table_leads_by_one_interface_or_nowhere() {
        type Row =
            (&'static [&'static str], Option<&'static str>, Option<&'static str>, &'static [&'static str]);
        let nowhere = ["0.0.0.0/0 nowhere", "::/0 nowhere"];
        let rows: [Row; 6] = [
            (&["10.1.0.5/24"], None, None, &["0.0.0.0/0 link"]),
            (&["10.1.0.5/24"], Some("10.1.0.1"), None, &["0.0.0.0/0 via 10.1.0.1", "10.1.0.0/24 link"]),
            // The address of a point-to-point link is a network of nobody.
            (&["10.1.0.5/32"], Some("10.1.0.1"), None, &["0.0.0.0/0 via 10.1.0.1"]),
            (&[], Some("10.1.0.1"), Some("fe80::1"), &["0.0.0.0/0 via 10.1.0.1"]),
            (&["fe80::5/64"], None, None, &["0.0.0.0/0 link", "::/0 link"]),
            (
                &["10.1.0.5/24", "fd01::5/64", "fe80::5/64"],
                Some("10.1.0.1"),
                Some("fe80::1"),
                &[
                    "0.0.0.0/0 via 10.1.0.1",
                    "10.1.0.0/24 link",
                    "::/0 via fe80::1",
                    "fd01::/64 link",
                    "fe80::/64 link",
                ],
            ),
        ];
        for (addresses, hop, hop_ipv6, expected) in rows {
            let addresses = addresses.iter().map(|net| net.parse().unwrap()).collect();
            let interface = Interface { index: 7, up: true, has_neighbours: true, addresses };
            let told: BTreeSet<String> = legs(&interface, &uplink(hop, hop_ipv6))
                .into_iter()
                .map(|leg| match (leg.link, leg.gateway) {
                    (None, _) => format!("{} nowhere", leg.destination),
                    (Some(7), None) => format!("{} link", leg.destination),
                    (_, gateway) => format!("{} via {}", leg.destination, gateway.unwrap()),
                })
                .collect();
            let expected: BTreeSet<String> =
                expected.iter().chain(&nowhere).map(|text| (*text).to_owned()).collect();
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_leg_is_known_again() {
        let v4 = IpNet::V4("10.1.0.0/24".parse().unwrap());
        let v6 = IpNet::V6("fd01::/64".parse().unwrap());
        let hop = |text: &str| Some(text.parse().unwrap());
        for leg in [
            Leg::NOWHERE[0],
            Leg::NOWHERE[1],
            Leg { destination: v4, gateway: None, link: Some(7) },
            Leg { destination: v4, gateway: hop("10.2.0.1"), link: Some(7) },
            Leg { destination: v6, gateway: hop("fe80::1"), link: Some(7) },
        ] {
            assert_eq!(Leg::of(&leg.message(0x0ba4_0001)), Some(leg));
        }
    }
}
