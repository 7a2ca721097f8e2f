//! The fabric in the configuration: `fabric = "KIND"`, or a table `[fabric]`.

mod subnet;

use std::fmt;
use std::net::IpAddr;

use anyhow::Result;
use clap::ValueEnum;
use ipnet::IpNet;
use model::Uplinks;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use usernet::Limits;

use self::subnet::SubnetKeys;
use super::usage;

/// What lies behind the tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FabricKind {
    /// The kernel's where it may be had, else in user space.
    #[default]
    Auto,
    /// TUN devices, routes and nftables of the kernel.
    Kernel,
    /// Ordinary sockets of this process.
    Userspace,
    /// Nothing: the API only, and every association fails.
    None,
}

/// Who sets what the kernel fabric needs under `/proc/sys`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sysctls {
    /// The fabric, for the interfaces that need it, and back at the end.
    #[default]
    Set,
    /// The operator, beforehand.
    Leave,
}

/// Table `fabric`, or its kind alone.
#[derive(Debug, Default)]
pub(super) struct FabricTable(FabricKeys);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct FabricKeys {
    kind: Option<FabricKind>,
    sysctls: Sysctls,
    flows: Option<usize>,
    association_flows: Option<usize>,
    client_flows: Option<usize>,
    buffer_bytes: Option<usize>,
    subnet: Vec<SubnetKeys>,
}

/// Least memory of connections, bytes: room for a few.
const MIN_BUFFER_BYTES: usize = 1 << 20;

impl FabricTable {
    pub(super) fn kind(&self) -> Option<FabricKind> {
        self.0.kind
    }

    /// Whether `/proc/sys` is left as it is.
    pub(super) fn leaves_sysctls(&self) -> bool {
        self.0.sysctls == Sysctls::Leave
    }

    /// Which networks of this host subnets are.
    pub(super) fn uplinks(self) -> Result<Uplinks> {
        subnet::uplinks(self.0.subnet)
    }

    /// Bounds of the user-space fabric.
    pub(super) fn limits(&self) -> Result<Limits> {
        let default = Limits::default();
        let keys = &self.0;
        let limits = Limits {
            flows: keys.flows.unwrap_or(default.flows),
            association_flows: keys.association_flows.unwrap_or(default.association_flows),
            client_flows: keys.client_flows.unwrap_or(default.client_flows),
            buffer_bytes: keys.buffer_bytes.unwrap_or(default.buffer_bytes),
        };
        let flows = [
            ("flows", limits.flows),
            ("association-flows", limits.association_flows),
            ("client-flows", limits.client_flows),
        ];
        if let Some((name, _)) = flows.into_iter().find(|(_, count)| *count == 0) {
            return usage(format!("fabric.{name} = 0: no flow could ever begin"));
        }
        if limits.buffer_bytes < MIN_BUFFER_BYTES {
            return usage(format!(
                "fabric.buffer-bytes = {}: at least {MIN_BUFFER_BYTES}",
                limits.buffer_bytes
            ));
        }
        Ok(limits)
    }
}

impl<'de> Deserialize<'de> for FabricTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = FabricTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("auto, kernel, userspace, none, or a table")
            }

            fn visit_str<E: serde::de::Error>(self, kind: &str) -> std::result::Result<FabricTable, E> {
                let kind = FabricKind::from_str(kind, false)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(kind), &self))?;
                Ok(FabricTable(FabricKeys { kind: Some(kind), ..FabricKeys::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, keys: A) -> std::result::Result<FabricTable, A::Error> {
                FabricKeys::deserialize(MapAccessDeserializer::new(keys)).map(FabricTable)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Most addresses and blocks of `userspace-host`.
const MAX_USERSPACE_HOSTS: usize = 1_000;

/// Addresses of this host that clients may reach.
pub(super) fn userspace_hosts(texts: &[String]) -> Result<Vec<IpNet>> {
    if texts.len() > MAX_USERSPACE_HOSTS {
        return usage(format!("userspace-host: {} of them, at most {MAX_USERSPACE_HOSTS}", texts.len()));
    }
    let parse = |text: &String| {
        let text = text.trim();
        let net = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
        match net {
            Ok(net) if net.addr().is_loopback() || net.addr().is_unspecified() && net.prefix_len() > 0 => {
                usage(format!("userspace-host = {text}: loopback is never reached through a tunnel"))
            }
            Ok(net) => Ok(net.trunc()),
            Err(_) => usage(format!("userspace-host = {text}: not an address and not a CIDR block")),
        }
    };
    texts.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, refused};
    use super::*;
    use crate::cli::Serve;

    #[test]
    fn the_fabric_is_a_word_or_a_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bascule.toml");
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Serve { config: Some(path.clone()), ..Default::default() }
        };
        assert_eq!(load(with("")).unwrap().fabric, FabricKind::Auto);
        assert_eq!(load(with("fabric = 'none'")).unwrap().fabric, FabricKind::None);
        assert_eq!(load(with("[fabric]\nkind = 'kernel'")).unwrap().fabric, FabricKind::Kernel);
        assert!(refused(with("fabric = 'other'")).contains("other"));
        assert!(!load(with("fabric = 'kernel'")).unwrap().leave_sysctls);
        assert!(load(with("[fabric]\nsysctls = 'leave'")).unwrap().leave_sysctls);
        assert!(refused(with("[fabric]\nsysctls = 'never'")).contains("never"));
        let limits = load(with("[fabric]\nclient-flows = 7")).unwrap().userspace_limits;
        assert_eq!(limits, usernet::Limits { client_flows: 7, ..usernet::Limits::default() });
        for (text, why) in
            [("client-flows = 0", "fabric.client-flows = 0"), ("buffer-bytes = 1", "fabric.buffer-bytes = 1")]
        {
            assert!(refused(with(&format!("[fabric]\n{text}"))).contains(why));
        }
    }

    #[test]
    fn loopback_is_never_an_address_that_clients_may_reach() {
        for text in ["127.0.0.1", "::1", "127.0.0.0/8", "somewhere"] {
            let bad = Serve { userspace_host: vec![text.into()], ..Default::default() };
            assert!(refused(bad).contains(&format!("userspace-host = {text}")));
        }
    }
}
