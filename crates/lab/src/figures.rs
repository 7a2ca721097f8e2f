//! What a scene's server says of itself in figures: its metrics and its memory.

use anyhow::{Context, Result};

use crate::Scene;

impl Scene {
    /// The server's `/metrics`.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn metrics(&self) -> Result<String> {
        self.server_net.run(|| Ok(self.server().client().get("/metrics")?))
    }

    /// Memory of the server's main process that is resident, KiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_kib(&self) -> Result<u64> {
        self.memory_kib("VmRSS:")
    }

    /// The most it has been since [`Self::forget_peak`].
    ///
    /// # Errors
    /// It has ended.
    pub fn peak_kib(&self) -> Result<u64> {
        self.memory_kib("VmHWM:")
    }

    /// # Errors
    /// It has ended.
    pub fn forget_peak(&self) -> Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.server().id()), "5")?)
    }

    fn memory_kib(&self, of: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server().id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(of)).with_context(|| of.to_owned())?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

/// A figure of `/metrics`, by its name with labels.
///
/// # Errors
/// There is none, or it is not whole.
pub fn figure(metrics: &str, name: &str) -> Result<u64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.with_context(|| format!("no {name} in\n{metrics}"))?;
    value.parse().with_context(|| format!("{name} {value}"))
}

/// How often something has happened at the gateway, by its name there.
///
/// # Errors
/// As [`figure`].
pub fn events(metrics: &str, event: &str) -> Result<u64> {
    figure(metrics, &format!("bascule_gateway_events_total{{event=\"{event}\"}}"))
}
