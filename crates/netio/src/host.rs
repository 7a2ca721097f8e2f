//! What the host has: whether a fabric can work here, and its addresses.

use std::net::IpAddr;
use std::path::PathBuf;

use caps::{CapSet, Capability};

use crate::kernel::netlink::Netlink;

/// Whether this process could run a fabric: the privilege, `/dev/net/tun`, and the `nft` program.
#[must_use]
pub fn fabric_available() -> bool {
    fabric_lacks().is_empty()
}

/// What this process lacks to run a fabric, in words.
#[must_use]
pub fn fabric_lacks() -> Vec<&'static str> {
    let has_cap = caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap_or(false);
    let has_tun = std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_ok();
    [
        (has_cap, "the privilege (CAP_NET_ADMIN)"),
        (has_tun, "/dev/net/tun"),
        (nft_program().is_some(), "the program nft"),
    ]
    .into_iter()
    .filter_map(|(has, what)| (!has).then_some(what))
    .collect()
}

/// Where `nft` is, by `PATH` and where distributions put it.
#[must_use]
pub fn nft_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join("nft"))
        .find(|file| file.is_file())
}

/// Global addresses of the interfaces that are up, IPv4 first. Empty when they cannot be read.
#[must_use]
pub fn host_addresses() -> Vec<IpAddr> {
    // On a thread of its own: the caller may be inside an async runtime, where another cannot be driven.
    std::thread::spawn(|| Netlink::open().and_then(|netlink| netlink.host_addresses()))
        .join()
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_are_global() {
        assert!(
            super::host_addresses().iter().all(|address| !address.is_loopback() && !address.is_unspecified())
        );
    }
}
