//! `[[fabric.subnet]]` in the configuration: which networks of this host subnets are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use ipnet::Ipv4Net;
use model::{SubnetMatch, Uplink, UplinkMatch, UplinkSource, Uplinks};
use netio::interface_name_fault;
use serde::Deserialize;

use super::super::usage;

/// Most tables `fabric.subnet`.
const MAX_SUBNETS: usize = 4_000;
/// Word for "no source NAT" in `nat-address`.
const NONE: &str = "none";

/// One table `fabric.subnet`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SubnetKeys {
    subnet: String,
    tag: Option<String>,
    account: Option<String>,
    interface: String,
    next_hop: Option<String>,
    next_hop_ipv6: Option<String>,
    nat_address: Option<String>,
}

/// The tables in the form that associations ask.
pub(super) fn uplinks(tables: Vec<SubnetKeys>) -> Result<Uplinks> {
    if tables.len() > MAX_SUBNETS {
        return usage(format!("fabric.subnet: {} tables, at most {MAX_SUBNETS}", tables.len()));
    }
    let mut all: Vec<(UplinkMatch, Uplink)> = Vec::new();
    for keys in tables {
        let said = format!("fabric.subnet.subnet = {}", keys.subnet);
        let (matched, uplink) = keys.checked()?;
        if all.iter().any(|(other, _)| *other == matched) {
            return usage(format!("{said}: said twice, with the same tag and account"));
        }
        all.push((matched, uplink));
    }
    Ok(Uplinks::new(all))
}

impl SubnetKeys {
    fn checked(self) -> Result<(UplinkMatch, Uplink)> {
        let matched = UplinkMatch {
            subnet: subnet(&self.subnet)?,
            tag: self.tag.as_deref().map(tag).transpose()?,
            account: match &self.account {
                None => None,
                Some(text) => match text.parse() {
                    Ok(account) => Some(account),
                    Err(_) => {
                        return usage(format!(
                            "fabric.subnet.account = {text}: an account id has twelve digits"
                        ));
                    }
                },
            },
        };
        if let Some(fault) = interface_name_fault(&self.interface) {
            return usage(format!("fabric.subnet.interface = {}: {fault}", self.interface));
        }
        let next_hop_ipv6 = self.next_hop_ipv6.as_deref().map(|text| hop_ipv6("next-hop-ipv6", text));
        let uplink = Uplink {
            next_hop: self.next_hop.as_deref().map(|text| ipv4("next-hop", text)).transpose()?,
            next_hop_ipv6: next_hop_ipv6.transpose()?,
            source: match self.nat_address.as_deref() {
                None => UplinkSource::Interface,
                Some(NONE) => UplinkSource::Client,
                Some(text) => UplinkSource::Address(ipv4("nat-address", text)?),
            },
            interface: self.interface,
        };
        if let UplinkSource::Address(address) = uplink.source
            && uplink.next_hop == Some(address)
        {
            return usage(format!("fabric.subnet.nat-address = {address}: that is the next hop"));
        }
        Ok((matched, uplink))
    }
}

fn subnet(text: &str) -> Result<SubnetMatch> {
    if let Ok(id) = text.parse() {
        return Ok(SubnetMatch::Id(id));
    }
    match text.parse::<Ipv4Net>() {
        Ok(block) if block.trunc() == block => Ok(SubnetMatch::Within(block)),
        Ok(block) => usage(format!("fabric.subnet.subnet = {text}: the block is {}", block.trunc())),
        Err(_) => usage(format!(
            "fabric.subnet.subnet = {text}: neither a subnet id (subnet-0123…) nor an IPv4 block (10.0.1.0/24)"
        )),
    }
}

fn tag(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => usage(format!("fabric.subnet.tag = {text}: not a tag (KEY=VALUE)")),
    }
}

fn ipv4(key: &str, text: &str) -> Result<Ipv4Addr> {
    match text.parse::<Ipv4Addr>() {
        Ok(ip) if usable(ip.into()) => Ok(ip),
        Ok(_) => usage(format!("fabric.subnet.{key} = {text}: not the address of a host")),
        Err(_) => usage(format!("fabric.subnet.{key} = {text}: not an IPv4 address")),
    }
}

fn hop_ipv6(key: &str, text: &str) -> Result<Ipv6Addr> {
    match text.parse::<Ipv6Addr>() {
        Ok(ip) if usable(ip.into()) => Ok(ip),
        Ok(_) => usage(format!("fabric.subnet.{key} = {text}: not the address of a host")),
        Err(_) => usage(format!("fabric.subnet.{key} = {text}: not an IPv6 address")),
    }
}

fn usable(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || broadcast)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{load, refused};
    use super::*;
    use crate::cli::Serve;

    #[test]
    fn what_is_wrong_with_a_subnet_names_key_and_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bascule.toml");
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Serve { config: Some(path.clone()), ..Default::default() }
        };
        let good = "[[fabric.subnet]]\nsubnet = '10.1.0.0/16'\ninterface = 'eth1.20'\nnext-hop = '10.1.0.1'\n\
                    next-hop-ipv6 = 'fe80::1'\nnat-address = '10.1.0.9'\ntag = 'net=a=b'\naccount = '111111111111'\n\
                    [[fabric.subnet]]\nsubnet = 'subnet-0123456789abcdef0'\ninterface = 'wg0'\nnat-address = 'none'\n";
        let uplinks = load(with(good)).unwrap().uplinks;
        let all: Vec<_> = uplinks.iter().collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].1.interface.as_str(), all[0].1.source), ("wg0", UplinkSource::Client));
        let (matched, uplink) = all[1];
        assert_eq!(matched.tag, Some(("net".to_owned(), "a=b".to_owned())));
        assert_eq!(uplink.source, UplinkSource::Address(Ipv4Addr::new(10, 1, 0, 9)));
        assert_eq!((uplink.next_hop.is_some(), uplink.next_hop_ipv6.is_some()), (true, true));
        assert!(load(Serve::default()).unwrap().uplinks.iter().next().is_none());
        let head = "[[fabric.subnet]]\nsubnet = '10.1.0.0/16'\ninterface = 'eth1'\n";
        for (text, words) in [
            ("[fabric]\nsubnets = 1\n".to_owned(), "subnets"),
            ("[[fabric.subnet]]\nsubnet = '10.1.0.0/16'\n".to_owned(), "interface"),
            ("[[fabric.subnet]]\ninterface = 'eth1'\n".to_owned(), "subnet"),
            (format!("{head}gateway = '10.1.0.1'\n"), "gateway"),
            (
                head.replace("10.1.0.0/16", "10.1.0.1/16"),
                "fabric.subnet.subnet = 10.1.0.1/16: the block is 10.1.0.0/16",
            ),
            (head.replace("10.1.0.0/16", "subnet-1"), "fabric.subnet.subnet = subnet-1"),
            (head.replace("10.1.0.0/16", "fd00::/8"), "fabric.subnet.subnet = fd00::/8"),
            (head.replace("eth1", "eth1\" drop"), "fabric.subnet.interface = eth1\" drop"),
            (head.replace("eth1", "lo"), "fabric.subnet.interface = lo"),
            (head.replace("eth1", "bsc0123456789ab"), "fabric.subnet.interface = bsc0123456789ab"),
            (head.replace("eth1", "a-very-long-name"), "fabric.subnet.interface = a-very-long-name"),
            (format!("{head}next-hop = 'router'\n"), "fabric.subnet.next-hop = router"),
            (format!("{head}next-hop = 'fe80::1'\n"), "fabric.subnet.next-hop = fe80::1"),
            (format!("{head}next-hop-ipv6 = '10.1.0.1'\n"), "fabric.subnet.next-hop-ipv6 = 10.1.0.1"),
            (format!("{head}nat-address = 'no'\n"), "fabric.subnet.nat-address = no"),
            (format!("{head}nat-address = '0.0.0.0'\n"), "fabric.subnet.nat-address = 0.0.0.0"),
            (format!("{head}next-hop = '10.1.0.1'\nnat-address = '10.1.0.1'\n"), "that is the next hop"),
            (format!("{head}tag = 'blue'\n"), "fabric.subnet.tag = blue"),
            (format!("{head}account = '1'\n"), "fabric.subnet.account = 1"),
            (format!("{head}{head}"), "fabric.subnet.subnet = 10.1.0.0/16: said twice"),
        ] {
            let why = refused(with(&text));
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
