//! Settings of interfaces under `/proc/sys`. Each change is logged in one line.
//!
//! It may be read-only, as in containers. Then what is so already is enough, and what is not fails with what to set; what
//! our own devices cannot do without goes by netlink where it can ([`super::netlink::Netlink::open_tun`]).

use std::collections::BTreeSet;
use std::io;

use ipnet::IpNet;

use super::forwarding::ALL;
use crate::fabric::{FabricError, is_our_link};
use crate::failpoint;
use crate::helper::log;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn folder(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// Whether a network is of this version.
    pub(super) fn is_of(self, net: &IpNet) -> bool {
        matches!((self, net), (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_)))
    }

    /// What lets an interface alone forward.
    fn forwarding(self, interface: &str) -> &'static str {
        match self {
            Self::V6 if interface != ALL => FORCE_FORWARDING,
            Self::V4 | Self::V6 => "forwarding",
        }
    }
}

const FORCE_FORWARDING: &str = "force_forwarding";

/// Settings of a TUN device by which the kernel does not listen to who is at its other end. Not needed, as the gateway lets
/// nothing through but packets from clients' own addresses.
const TUN_DEAF: [(&str, &str); 2] = [("accept_ra", "0"), ("accept_redirects", "0")];
/// The same where no IPv6 goes through the device: the kernel shall not try.
const TUN_WITHOUT_V6: [(&str, &str); 1] = [("disable_ipv6", "1")];

/// What a TUN device needs for IPv6, or to go without. With `leave` nothing is written.
pub(super) fn prepare_tun(link: &str, leave: bool, v6: bool) -> Result<(), FabricError> {
    if !leave {
        for (name, value) in if v6 { &TUN_DEAF[..] } else { &TUN_WITHOUT_V6[..] } {
            match set(Family::V6, link, name, value) {
                // A kernel without IPv6 has no such setting.
                Err(error) if is_read_only(&error) || error.kind() == io::ErrorKind::NotFound => {}
                other => other.map(drop).map_err(|e| failed(Family::V6, link, name, &e))?,
            }
        }
    }
    if !v6 {
        return Ok(());
    }
    if !leave {
        set(Family::V6, link, "disable_ipv6", "0")
            .map_err(|error| failed(Family::V6, link, "disable_ipv6", &error))?;
        return match open_forwarding(Family::V6, link) {
            Err(_) if forwards_everywhere(Family::V6) => Ok(()),
            other => other,
        };
    }
    match read(Family::V6, link, "disable_ipv6") {
        Ok(value) if value == "0" => Ok(()),
        Ok(_) => Err(FabricError::Permanent(format!(
            "IPv6 is off on {link}, and fabric.sysctls = leave: sysctl -w net.ipv6.conf.default.disable_ipv6=0"
        ))),
        Err(error) => Err(failed(Family::V6, link, "disable_ipv6", &error)),
    }
}

/// Whether a setting cannot be written, whatever it is.
fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Says what an operator who sets everything himself has not set: interfaces that packets of an association come and go by,
/// and that do not forward.
pub(super) fn tell_closed(family: Family, interfaces: &BTreeSet<String>, key: &str) {
    let all = match family {
        Family::V4 => "net.ipv4.ip_forward",
        Family::V6 => "net.ipv6.conf.all.forwarding",
    };
    for interface in interfaces {
        let folder = family.folder();
        log(&format!(
            "fabric: {folder} is not forwarded by {interface}, and fabric.sysctls = leave: association {key} carries nothing \
             there until sysctl -w {all}=1"
        ));
    }
}

/// Whether an interface forwards. One that is not there needs no opening.
pub(super) fn forwards(family: Family, interface: &str) -> bool {
    read(family, interface, family.forwarding(interface)).map_or(true, |value| value == "1")
}

/// Switches forwarding on.
pub(super) fn open_forwarding(family: Family, interface: &str) -> Result<(), FabricError> {
    let name = family.forwarding(interface);
    match set(family, interface, name, "1") {
        // Gone since we looked; or a kernel that knows no forwarding by interface.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(family, interface, name, &error)),
        _ => Ok(()),
    }
}

/// Switches forwarding off again.
pub(super) fn close_forwarding(family: Family, interface: &str) -> Result<(), FabricError> {
    let name = family.forwarding(interface);
    match set(family, interface, name, "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(family, interface, name, &error)),
        _ => Ok(()),
    }
}

/// Whether all interfaces forward.
pub(super) fn forwards_everywhere(family: Family) -> bool {
    read(family, ALL, "forwarding").is_ok_and(|value| value == "1")
}

/// Whether the kernel can forward IPv6 by interface.
pub(super) fn forwards_ipv6_by_interface() -> bool {
    read(Family::V6, ALL, FORCE_FORWARDING).is_ok()
}

/// Interfaces that take router advertisements as long as the host does not forward.
pub(super) fn accept_advertisements() -> Result<Vec<String>, FabricError> {
    let unread = |error: io::Error| failed(Family::V6, ALL, "accept_ra", &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/sys/net/ipv6/conf").map_err(unread)? {
        let Ok(interface) = entry.map_err(unread)?.file_name().into_string() else { continue };
        let ours = matches!(interface.as_str(), "all" | "default" | "lo") || is_our_link(&interface);
        if !ours && read(Family::V6, &interface, "accept_ra").is_ok_and(|value| value == "1") {
            found.push(interface);
        }
    }
    Ok(found)
}

/// Has such an interface take them all the same.
pub(super) fn keep_accepting_advertisements(interface: &str) -> Result<(), FabricError> {
    accept_ra(interface, "1", "2")
}

/// Takes back what [`keep_accepting_advertisements`] did to an interface.
pub(super) fn accept_advertisements_as_before(interface: &str) -> Result<(), FabricError> {
    accept_ra(interface, "2", "1")
}

/// Not where somebody else has changed it since.
fn accept_ra(interface: &str, from: &str, to: &str) -> Result<(), FabricError> {
    if read(Family::V6, interface, "accept_ra").is_ok_and(|value| value == from) {
        set(Family::V6, interface, "accept_ra", to)
            .map_err(|error| failed(Family::V6, interface, "accept_ra", &error))?;
    }
    Ok(())
}

fn read(family: Family, interface: &str, name: &str) -> io::Result<String> {
    if interface.contains('/') || interface.starts_with('.') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let text = std::fs::read_to_string(path(family, interface, name))?;
    Ok(text.trim().to_owned())
}

fn path(family: Family, interface: &str, name: &str) -> String {
    format!("/proc/sys/net/{}/conf/{interface}/{name}", family.folder())
}

/// Whether it had to be changed.
fn set(family: Family, interface: &str, name: &str, value: &str) -> io::Result<bool> {
    let old = read(family, interface, name)?;
    if old == value {
        return Ok(false);
    }
    std::fs::write(path(family, interface, name), value)?;
    failpoint::kernel_changed();
    log(&format!("fabric: net.{}.conf.{interface}.{name} = {value} (was {old})", family.folder()));
    Ok(true)
}

fn failed(family: Family, interface: &str, name: &str, error: &io::Error) -> FabricError {
    FabricError::Permanent(format!(
        "cannot set net.{}.conf.{interface}.{name}: {error}; set it yourself where /proc/sys can be written (bascule fabric \
         check says what), or say sysctls = \"leave\" in the table [fabric] of the configuration",
        family.folder()
    ))
}
