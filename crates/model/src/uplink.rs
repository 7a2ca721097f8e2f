//! Which network of the gateway's host a subnet is, as the operator says: a setting, not a record.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;

use crate::{AccountId, Subnet, SubnetId};

/// The way packets take out of an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The host's interface.
    pub interface: String,
    /// The router there; `None`: everything is on the interface's own link.
    pub next_hop: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub next_hop_ipv6: Option<Ipv6Addr>,
    /// As whom packets leave.
    pub source: UplinkSource,
}

/// The source address of IPv4 packets that leave. IPv6 is never translated (spec: aws-client-vpn §3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UplinkSource {
    /// The interface's own.
    #[default]
    Interface,
    /// This one, the association's address in its subnet.
    Address(Ipv4Addr),
    /// The client's: the far side has a route back.
    Client,
}

/// For which subnets an uplink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkMatch {
    /// The subnet, or where its block lies.
    pub subnet: SubnetMatch,
    /// A tag the subnet has: key and value.
    pub tag: Option<(String, String)>,
    /// Whose it is; `None`: anybody's.
    pub account: Option<AccountId>,
}

/// One subnet, or all within a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubnetMatch {
    /// This one.
    Id(SubnetId),
    /// Those whose block is within.
    Within(Ipv4Net),
}

impl UplinkMatch {
    fn covers(&self, subnet: &Subnet) -> bool {
        let named = match &self.subnet {
            SubnetMatch::Id(id) => *id == subnet.id,
            SubnetMatch::Within(block) => block.contains(&subnet.cidr),
        };
        let tagged = |(key, value): &(String, String)| subnet.tags.get(key) == Some(value);
        named
            && self.tag.as_ref().is_none_or(tagged)
            && self.account.as_ref().is_none_or(|account| *account == subnet.scope.account)
    }

    /// What is more particular is greater: an id before a block, a small block before a large one.
    fn rank(&self) -> (bool, u8, bool, bool) {
        let (id, bits) = match &self.subnet {
            SubnetMatch::Id(_) => (true, 0),
            SubnetMatch::Within(block) => (false, block.prefix_len()),
        };
        (id, bits, self.tag.is_some(), self.account.is_some())
    }
}

/// All that the operator says, the most particular first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uplinks(Vec<(UplinkMatch, Uplink)>);

impl Uplinks {
    /// In any order; of two that are equally particular the first counts.
    #[must_use]
    pub fn new(mut all: Vec<(UplinkMatch, Uplink)>) -> Self {
        all.sort_by_key(|(matched, _)| std::cmp::Reverse(matched.rank()));
        Self(all)
    }

    /// The uplink of a subnet; `None`: the host's own routing.
    #[must_use]
    pub fn of(&self, subnet: &Subnet) -> Option<&Uplink> {
        self.0.iter().find(|(matched, _)| matched.covers(subnet)).map(|(_, uplink)| uplink)
    }

    /// All of them, the most particular first.
    pub fn iter(&self) -> impl Iterator<Item = &(UplinkMatch, Uplink)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scope, SubnetAttributes, Timestamp, VpcId};

    fn subnet(id: u128, cidr: &str, tags: &[(&str, &str)], account: &str) -> Subnet {
        Subnet {
            id: SubnetId::from_entropy(id),
            scope: Scope { account: account.parse().unwrap(), region: "us-east-1".parse().unwrap() },
            vpc_id: VpcId::from_entropy(1),
            cidr: cidr.parse().unwrap(),
            ipv6_cidr: None,
            zone: "us-east-1a".parse().unwrap(),
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            created_at: Timestamp(0),
            attributes: SubnetAttributes::default(),
            mirrored: false,
        }
    }

    #[test]
    fn the_most_particular_counts_whatever_the_order() {
        let one = "000000000000";
        let row = |interface: &str, subnet: SubnetMatch, tag: Option<(&str, &str)>, account: Option<&str>| {
            let matched = UplinkMatch {
                subnet,
                tag: tag.map(|(key, value)| (key.to_owned(), value.to_owned())),
                account: account.map(|account| account.parse().unwrap()),
            };
            let uplink = Uplink {
                interface: interface.to_owned(),
                next_hop: None,
                next_hop_ipv6: None,
                source: UplinkSource::Interface,
            };
            (matched, uplink)
        };
        let within = |block: &str| SubnetMatch::Within(block.parse().unwrap());
        let mut rows = vec![
            row("wide", within("10.0.0.0/8"), None, None),
            row("narrow", within("10.1.0.0/16"), None, None),
            row("blue", within("10.1.0.0/16"), Some(("net", "blue")), None),
            row("other", within("10.2.0.0/16"), None, Some("111111111111")),
            row("named", SubnetMatch::Id(SubnetId::from_entropy(9)), None, None),
        ];
        for _ in 0..rows.len() {
            let uplinks = Uplinks::new(rows.clone());
            for (subnet, expected) in [
                (subnet(1, "10.9.0.0/24", &[], one), Some("wide")),
                (subnet(1, "10.1.5.0/24", &[], one), Some("narrow")),
                (subnet(1, "10.1.5.0/24", &[("net", "red")], one), Some("narrow")),
                (subnet(1, "10.1.5.0/24", &[("net", "blue")], one), Some("blue")),
                (subnet(9, "10.1.5.0/24", &[("net", "blue")], one), Some("named")),
                (subnet(1, "10.2.0.0/24", &[], one), Some("wide")),
                (subnet(1, "10.2.0.0/24", &[], "111111111111"), Some("other")),
                (subnet(1, "172.31.0.0/24", &[], one), None),
                // A block that is larger than what was said is not within it.
                (subnet(1, "8.0.0.0/6", &[], one), None),
            ] {
                let found = uplinks.of(&subnet).map(|uplink| uplink.interface.as_str());
                assert_eq!(found, expected, "{subnet:?}");
            }
            rows.rotate_left(1);
        }
    }
}
