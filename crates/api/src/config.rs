//! What the operator decides about the API. The binary fills it from flags, file and environment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::Ipv6Net;
use model::{AccountId, IpType, Quotas, RegionName, Uplinks};
use zeroize::Zeroizing;

/// The largest request body, bytes (spec: aws-client-vpn §2.2.17 asks for at least 4 MiB).
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account of the root, and of users who name no other.
    pub account: AccountId,
    /// Regions served; empty: any.
    pub regions: Vec<RegionName>,
    /// How much of each thing there may be.
    pub quotas: Quotas,
    /// The addresses endpoints may be given.
    pub addresses: Addresses,
    /// Ports of endpoints that the gateway may not bind, each with the one it binds instead, which profiles then name.
    pub moved_ports: Vec<(u16, u16)>,
    /// What blocks for clients' IPv6 addresses are taken from, a /64 each; `None`: unique local addresses, drawn once.
    pub client_ipv6_prefix: Option<Ipv6Net>,
    /// Endpoints are named under this domain, and profiles use that name; `None`: AWS-style names, and profiles use the address.
    pub domain: Option<String>,
    /// What profiles name when clients reach the gateway through something else.
    pub advertise: Option<Advertise>,
    /// Accept any credentials (loopback listeners only; the binary says so loudly).
    pub dev_open: bool,
    /// Zone letters of every region: `a` makes `us-east-1a`.
    pub zone_letters: Vec<char>,
    /// How long a mutating call waits for its effect, milliseconds.
    pub settle_timeout_ms: u64,
    /// How fast calls may come; `None`: as fast as they like.
    pub throttle: Option<Throttle>,
    /// Operations in flight on one endpoint, at most; `None`: any number.
    pub endpoint_operations: Option<usize>,
    /// Which networks of the gateway's host subnets are, and as whom packets leave there.
    pub uplinks: Uplinks,
    /// What every client needs beside what AWS's profiles have; `None`: nothing.
    pub profile_secret: Option<ProfileSecret>,
}

/// Lines of exported profiles that are a secret of the clients: an inline block with a key.
#[derive(Clone)]
pub struct ProfileSecret(Arc<Zeroizing<String>>);

impl ProfileSecret {
    /// Whole lines, as they shall stand in a profile.
    #[must_use]
    pub fn new(lines: Zeroizing<String>) -> Self {
        Self(Arc::new(lines))
    }

    pub(crate) fn lines(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ProfileSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProfileSecret(..)")
    }
}

/// How fast calls of one account, region and action may come (spec: aws-client-vpn §2.0.5). The defaults are what AWS
/// publishes as examples for EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Calls that change nothing.
    pub read: Bucket,
    /// All others.
    pub write: Bucket,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Calls at once, at most.
    pub burst: u32,
    /// Calls that come back each second.
    pub per_second: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { read: Bucket { burst: 100, per_second: 20 }, write: Bucket { burst: 50, per_second: 5 } }
    }
}

impl Throttle {
    /// The bucket an action has, by what its name says it does.
    pub(crate) fn of(&self, action: &str) -> Bucket {
        const READS: [&str; 5] = ["Describe", "Get", "List", "Export", "Filter"];
        if READS.iter().any(|word| action.starts_with(word)) { self.read } else { self.write }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account: "000000000000".parse().expect("invariant: twelve digits"),
            regions: Vec::new(),
            quotas: Quotas::default(),
            addresses: Addresses::default(),
            moved_ports: Vec::new(),
            client_ipv6_prefix: None,
            domain: None,
            advertise: None,
            dev_open: false,
            zone_letters: vec!['a', 'b', 'c', 'd', 'e', 'f'],
            settle_timeout_ms: 250,
            throttle: None,
            endpoint_operations: None,
            uplinks: Uplinks::default(),
            profile_secret: None,
        }
    }
}

/// What the exported profile names instead of the gateway's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// An address or a name.
    pub host: String,
    /// The port, if another than the endpoint's.
    pub port: Option<u16>,
}

/// The pool endpoints get their addresses from, in the order given, and their ports if addresses are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    ranges: Vec<(IpAddr, IpAddr)>,
    ports: Option<RangeInclusive<u16>>,
}

/// A text that is no address, block or range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address, a CIDR block or a range FIRST-LAST: {0}")]
pub struct AddressError(String);

impl Addresses {
    /// Each text is an address, a CIDR block (network and broadcast address of an IPv4 block are left out) or a range `FIRST-LAST`.
    ///
    /// # Errors
    /// The first text that is none of these.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, AddressError> {
        let ranges = texts
            .into_iter()
            .map(|text| range(text.trim()).ok_or_else(|| AddressError(text.to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Self { ranges, ports: None })
    }

    /// One range for each address.
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { ranges: addresses.into_iter().map(|address| (address, address)).collect(), ports: None }
    }

    /// Lets endpoints share addresses: each gets a port of this range, whatever VPN port it was made with.
    #[must_use]
    pub fn with_ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Where an endpoint with this VPN port may listen, in order, its own IP version first: that of IPv6 for an IPv6
    /// endpoint, else IPv4. Lazily, as there may be many places.
    pub fn places_for(&self, outside: IpType, vpn_port: u16) -> impl Iterator<Item = SocketAddr> + '_ {
        let ports = self.ports.clone().unwrap_or(vpn_port..=vpn_port);
        let own = move |first: &IpAddr| first.is_ipv6() == (outside == IpType::Ipv6);
        let ranges = move |wanted: bool| self.ranges.iter().filter(move |(first, _)| own(first) == wanted);
        let addresses = ranges(true).chain(ranges(false)).flat_map(|&(first, last)| between(first, last));
        addresses.flat_map(move |address| ports.clone().map(move |port| SocketAddr::new(address, port)))
    }

    /// The IPv6 ones of them.
    pub(crate) fn ipv6_places(&self, vpn_port: u16) -> impl Iterator<Item = SocketAddr> + '_ {
        // They come first, and a pool may have more of them than can be walked through.
        self.places_for(IpType::Ipv6, vpn_port).take_while(SocketAddr::is_ipv6)
    }

    /// Whether an endpoint with this VPN port may listen on that port.
    pub(crate) fn has_port(&self, vpn_port: u16, port: u16) -> bool {
        self.ports.as_ref().map_or(port == vpn_port, |ports| ports.contains(&port))
    }

    /// All addresses, in order; lazily, as a block may be large.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| between(first, last))
    }
}

fn range(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address, address));
    }
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (first.trim().parse::<IpAddr>().ok()?, last.trim().parse::<IpAddr>().ok()?);
        return (first.is_ipv4() == last.is_ipv4() && first <= last).then_some((first, last));
    }
    match text.parse::<ipnet::IpNet>().ok()?.trunc() {
        ipnet::IpNet::V4(net) if net.prefix_len() >= 31 => {
            Some((net.network().into(), net.broadcast().into()))
        }
        ipnet::IpNet::V4(net) => {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            Some((Ipv4Addr::from(first + 1).into(), Ipv4Addr::from(last - 1).into()))
        }
        ipnet::IpNet::V6(net) => Some((net.network().into(), net.broadcast().into())),
    }
}

fn between(first: IpAddr, last: IpAddr) -> Box<dyn Iterator<Item = IpAddr>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Box::new((u32::from(first)..=u32::from(last)).map(|bits| Ipv4Addr::from(bits).into()))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Box::new((u128::from(first)..=u128::from(last)).map(|bits| Ipv6Addr::from(bits).into()))
        }
        _ => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_addresses_blocks_and_ranges() {
        let rows: &[(&[&str], &[&str])] = &[
            (&["192.0.2.1"], &["192.0.2.1"]),
            (&["192.0.2.0/30", "2001:db8::1"], &["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
            (&["192.0.2.9-192.0.2.10"], &["192.0.2.9", "192.0.2.10"]),
            (&["192.0.2.4/31"], &["192.0.2.4", "192.0.2.5"]),
        ];
        for (texts, expected) in rows {
            let pool = Addresses::parse(texts.iter().copied()).unwrap();
            let all: Vec<String> = pool.iter().map(|address| address.to_string()).collect();
            assert_eq!(&all, expected, "{texts:?}");
        }
        assert_eq!(
            Addresses::parse(["127.64.0.0/16"]).unwrap().iter().take(1).last(),
            Some(IpAddr::from([127, 64, 0, 1]))
        );
        let shared = Addresses::parse(["192.0.2.1", "192.0.2.9"]).unwrap().with_ports(1194..=1195);
        let all: Vec<String> = shared.places_for(IpType::Ipv4, 443).map(|place| place.to_string()).collect();
        assert_eq!(all, ["192.0.2.1:1194", "192.0.2.1:1195", "192.0.2.9:1194", "192.0.2.9:1195"]);
        let both = Addresses::parse(["2001:db8::/64", "192.0.2.1"]).unwrap();
        let first = |outside| both.places_for(outside, 443).next().map(|place| place.to_string());
        for (outside, expected) in [
            (IpType::Ipv4, "192.0.2.1:443"),
            (IpType::DualStack, "192.0.2.1:443"),
            (IpType::Ipv6, "[2001:db8::]:443"),
        ] {
            assert_eq!(first(outside).as_deref(), Some(expected), "{outside:?}");
        }
        assert_eq!(both.places_for(IpType::Ipv6, 443).nth(1).unwrap().to_string(), "[2001:db8::1]:443");
        for bad in ["", "x", "192.0.2.9-192.0.2.1", "192.0.2.1-::1", "192.0.2.0/33"] {
            assert!(Addresses::parse([bad]).is_err(), "{bad}");
        }
    }
}
