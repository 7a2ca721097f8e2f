//! The addresses of clients inside the tunnel, of one IP version or both: an endpoint's blocks, and what one client has of
//! them. A client has one place, which is the same in both blocks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{AddrParseError, IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Places of an endpoint without an IPv4 block: as many as the largest of these has.
const V6_ONLY_PLACES: u32 = 1 << 20;
/// The gateway's own place.
const GATEWAY_PLACE: u32 = 1;

/// The blocks of an endpoint's clients: one at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientNets {
    /// Of IPv4; `None`: the tunnel carries none.
    pub v4: Option<Ipv4Net>,
    /// Of IPv6; `None`: the tunnel carries none.
    pub v6: Option<Ipv6Net>,
}

/// What one client has: an address in each block that there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientAddresses {
    /// In the IPv4 block.
    pub v4: Option<Ipv4Addr>,
    /// In the IPv6 block.
    pub v6: Option<Ipv6Addr>,
}

impl ClientNets {
    /// Whether an address is in one of the blocks.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.is_some_and(|net| net.contains(&address)),
            IpAddr::V6(address) => self.v6.is_some_and(|net| net.contains(&address)),
        }
    }

    /// The highest place: the IPv4 block's broadcast address, or what an IPv6 block is bounded by.
    pub fn last_place(&self) -> u32 {
        let v6 = self.v6.map(|net| {
            let bits = u32::from(net.max_prefix_len().saturating_sub(net.prefix_len()));
            1_u32.checked_shl(bits).unwrap_or(V6_ONLY_PLACES).min(V6_ONLY_PLACES).saturating_sub(1)
        });
        match (self.v4, v6) {
            (Some(net), _) => u32::from(net.broadcast()) - u32::from(net.network()),
            (None, Some(last)) => last,
            (None, None) => 0,
        }
    }

    /// The addresses of a place.
    pub fn at(&self, place: u32) -> ClientAddresses {
        ClientAddresses {
            v4: self.v4.map(|net| Ipv4Addr::from(u32::from(net.network()).saturating_add(place))),
            v6: self
                .v6
                .map(|net| Ipv6Addr::from(u128::from(net.network()).saturating_add(u128::from(place)))),
        }
    }

    /// The place of an address.
    pub fn place(&self, address: IpAddr) -> Option<u32> {
        let place = match address {
            IpAddr::V4(address) => u32::from(address).checked_sub(u32::from(self.v4?.network()))?,
            IpAddr::V6(address) => {
                u32::try_from(u128::from(address).checked_sub(u128::from(self.v6?.network()))?).ok()?
            }
        };
        (place <= self.last_place()).then_some(place)
    }

    /// The gateway's own addresses: the first hosts.
    pub fn gateway(&self) -> ClientAddresses {
        self.at(GATEWAY_PLACE)
    }

    /// The blocks there are, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + use<> {
        [self.v4.map(IpNet::V4), self.v6.map(IpNet::V6)].into_iter().flatten()
    }
}

impl ClientAddresses {
    /// Whether this is one of them.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4 == Some(address),
            IpAddr::V6(address) => self.v6 == Some(address),
        }
    }

    /// Those there are, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6)].into_iter().flatten()
    }
}

impl From<Ipv4Net> for ClientNets {
    fn from(net: Ipv4Net) -> Self {
        Self { v4: Some(net), v6: None }
    }
}

impl From<Ipv4Addr> for ClientAddresses {
    fn from(address: Ipv4Addr) -> Self {
        Self { v4: Some(address), v6: None }
    }
}

/// Blocks parted by a comma.
impl FromStr for ClientNets {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let mut nets = Self::default();
        for part in text.split(',') {
            match part.parse()? {
                IpNet::V4(net) => nets.v4 = Some(net),
                IpNet::V6(net) => nets.v6 = Some(net),
            }
        }
        Ok(nets)
    }
}

impl fmt::Display for ClientNets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.iter())
    }
}

impl fmt::Display for ClientAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.iter())
    }
}

fn listed<T: fmt::Display>(f: &mut fmt::Formatter<'_>, parts: impl Iterator<Item = T>) -> fmt::Result {
    for (number, part) in parts.enumerate() {
        if number > 0 {
            f.write_str(",")?;
        }
        part.fmt(f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_same_in_both_blocks() {
        let rows = [
            ("10.8.0.0/22", 1023, "10.8.0.1", "10.8.3.255"),
            ("10.8.0.0/22,fd00:0:0:7::/64", 1023, "10.8.0.1,fd00:0:0:7::1", "10.8.3.255,fd00:0:0:7::3ff"),
            ("fd00:0:0:7::/64", (1 << 20) - 1, "fd00:0:0:7::1", "fd00::7:0:0:f:ffff"),
            ("fd00::/126", 3, "fd00::1", "fd00::3"),
            ("::/0", (1 << 20) - 1, "::1", "::f:ffff"),
        ];
        for (text, last, first, broadcast) in rows {
            let nets: ClientNets = text.parse().unwrap();
            assert_eq!((nets.to_string().as_str(), nets.last_place()), (text, last));
            assert_eq!(nets.gateway().to_string(), first);
            assert_eq!(nets.at(last).to_string(), broadcast);
            for place in [0, 1, 2, last] {
                for address in nets.at(place).iter() {
                    assert_eq!(nets.place(address), Some(place), "{address}");
                    assert!(nets.contains(address) && nets.at(place).has(address));
                }
            }
            for outside in nets.at(last.saturating_add(1)).iter().chain(["9.9.9.9".parse().unwrap()]) {
                assert_eq!(nets.place(outside), None, "{outside}");
            }
        }
        assert!("10.8.0.0/22;".parse::<ClientNets>().is_err());
        assert_eq!(ClientNets::default().last_place(), 0);
    }
}
