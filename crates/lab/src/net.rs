//! Network namespaces and the cables between them.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::output;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Below `/proc/sys/net`: forwarding and filtering that nobody asked for.
const FRESH: [&str; 4] =
    ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"];

/// A network namespace of our own, with its loopback up; deleted with this value.
pub struct Net {
    name: String,
}

impl Net {
    /// A new one; the label is for people who look at `ip netns`.
    pub fn new(label: &str) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bsc-{label}-{}-{number}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))?;
        let net = Self { name };
        net.ip(&["link", "set", "lo", "up"])?;
        // A new one takes these from the host, where containers or a firewall may have set them.
        net.run(|| FRESH.iter().try_for_each(|name| std::fs::write(format!("/proc/sys/net/{name}"), "0")))
            .with_context(|| format!("one of {FRESH:?}"))?;
        Ok(net)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Lets programs in it ask this server for names.
    pub fn resolve_by(&self, server: &str) -> Result<()> {
        let folder = self.settings();
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("resolv.conf"), format!("nameserver {server}\noptions timeout:1\n"))?;
        Ok(())
    }

    /// Files in it stand for those of `/etc`, for `ip netns exec`.
    pub fn settings(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// Runs a program in it to its end; what it printed.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program).args(arguments))
    }

    /// `ip` in it.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        output(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// Runs a closure on a thread that lives in it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter().expect("invariant: the namespace exists as long as this value");
                work()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread into it, for good.
    pub(crate) fn enter(&self) -> Result<()> {
        let file = File::open(format!("/run/netns/{}", self.name)).context("the namespace is gone")?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// Joins two namespaces: an interface with an address (`10.0.0.1/24`) at each end.
    pub fn cable(
        &self,
        interface: &str,
        address: &str,
        other: &Net,
        other_interface: &str,
        other_address: &str,
    ) -> Result<()> {
        output(Command::new("ip").args([
            "-n",
            &self.name,
            "link",
            "add",
            interface,
            "type",
            "veth",
            "peer",
            "name",
            other_interface,
            "netns",
            &other.name,
        ]))?;
        for (net, interface, address) in [(self, interface, address), (other, other_interface, other_address)]
        {
            net.ip(&["addr", "add", address, "dev", interface])?;
            net.ip(&["link", "set", interface, "up"])?;
        }
        Ok(())
    }

    /// Whether one echo request to an address is answered within a second.
    pub fn pings(&self, address: &str) -> bool {
        self.output("ping", &["-c", "1", "-W", "1", "-n", "-q", address]).is_ok()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = output(Command::new("ip").args(["netns", "del", &self.name]));
        let _ = std::fs::remove_dir_all(self.settings());
    }
}
