//! Settings of interfaces under `/proc/sys`. Each change is logged in one line.

use std::io;

use crate::fabric::FabricError;
use crate::failpoint;
use crate::helper::log;

/// Settings of a TUN device that are ours alone to decide, whatever the options: no IPv6 goes through it, and the
/// kernel shall not try.
const TUN_OWN: [(&str, &str, &str); 1] = [("ipv6", "disable_ipv6", "1")];
/// Settings of a TUN device that let packets through. The reverse-path check takes the stricter of this device's and
/// the operator's setting for all; `src_valid_mark` makes it look into the association's table, where it succeeds.
const TUN_FORWARDING: [(&str, &str, &str); 4] = [
    ("ipv4", "rp_filter", "0"),
    ("ipv4", "src_valid_mark", "1"),
    ("ipv4", "send_redirects", "0"),
    ("ipv4", "forwarding", "1"),
];

pub(super) fn prepare_tun(link: &str, leave: bool) -> Result<(), FabricError> {
    for (family, name, value) in TUN_OWN {
        // A kernel without IPv6 has no such setting.
        match set(family, link, name, value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map(drop).map_err(|e| failed(link, name, &e))?,
        }
    }
    if !leave {
        for (family, name, value) in TUN_FORWARDING {
            set(family, link, name, value).map_err(|e| failed(link, name, &e))?;
        }
    }
    Ok(())
}

/// Whether an interface forwards. One that is not there needs no opening.
pub(super) fn forwards(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
    std::fs::read_to_string(path).map_or(true, |value| value.trim() == "1")
}

/// Switches forwarding on.
pub(super) fn open_forwarding(interface: &str) -> Result<(), FabricError> {
    match set("ipv4", interface, "forwarding", "1") {
        // Gone since we looked.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(interface, "forwarding", &error)),
        _ => Ok(()),
    }
}

/// Switches forwarding off again.
pub(super) fn close_forwarding(interface: &str) -> Result<(), FabricError> {
    match set("ipv4", interface, "forwarding", "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(interface, "forwarding", &error)),
        _ => Ok(()),
    }
}

/// Whether the operator forwards on all interfaces.
pub(super) fn forwards_everywhere() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/forwarding").is_ok_and(|value| value.trim() == "1")
}

/// Whether it had to be changed.
fn set(family: &str, interface: &str, name: &str, value: &str) -> io::Result<bool> {
    if interface.contains('/') || interface.starts_with('.') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let path = format!("/proc/sys/net/{family}/conf/{interface}/{name}");
    let old = std::fs::read_to_string(&path)?;
    if old.trim() == value {
        return Ok(false);
    }
    std::fs::write(&path, value)?;
    failpoint::kernel_changed();
    log(&format!("fabric: net.{family}.conf.{interface}.{name} = {value} (was {})", old.trim()));
    Ok(true)
}

fn failed(interface: &str, name: &str, error: &io::Error) -> FabricError {
    FabricError::Permanent(format!(
        "cannot set {name} of {interface}: {error}; set it yourself and start with the setting that leaves sysctls alone"
    ))
}
