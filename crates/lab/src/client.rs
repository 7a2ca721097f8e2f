//! A real `openvpn` process.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;

use crate::net::Net;
use crate::process::{Logged, wait_until};

/// What it says when the tunnel is up.
const UP: &str = "Initialization Sequence Completed";

/// A running client; ended with this value.
pub struct OpenVpn {
    process: Logged,
}

impl OpenVpn {
    /// Starts a client in a namespace with a profile and more arguments; its log stands beside the profile.
    pub fn start(net: &Net, profile: &Path, label: &str, arguments: &[&str]) -> Result<Self> {
        let log = profile.with_file_name(format!("{label}.log"));
        let mut command = net.command("openvpn");
        command.arg("--config").arg(profile).args(["--verb", "4", "--suppress-timestamps"]).args(arguments);
        Ok(Self { process: Logged::start(&mut command, &log)? })
    }

    /// Waits until the tunnel is up for the `times`th time.
    pub fn wait_up(&mut self, times: usize, limit: Duration) -> Result<()> {
        let up = wait_until(limit, || self.times_up() >= times || self.process.ended().is_some());
        anyhow::ensure!(
            up && self.times_up() >= times,
            "the client did not connect; it said:\n{}",
            self.log()
        );
        Ok(())
    }

    /// How often the tunnel has come up so far.
    pub fn times_up(&self) -> usize {
        self.log().matches(UP).count()
    }

    /// Waits for a line of its output, from byte `after` on.
    pub fn wait_for(&mut self, text: &str, after: usize, limit: Duration) -> Result<String> {
        self.process.wait_for(text, after, limit)
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The exit status, if it has ended within the limit.
    pub fn wait_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit)
    }

    /// SIGTERM: it says goodbye and ends.
    pub fn stop(mut self) -> Option<ExitStatus> {
        self.process.signal(rustix::process::Signal::TERM);
        self.process.wait(Duration::from_secs(5))
    }

    /// SIGSTOP: it neither reads nor writes any more, and its connections stay.
    pub fn freeze(&self) {
        self.process.signal(rustix::process::Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub fn thaw(&self) {
        self.process.signal(rustix::process::Signal::CONT);
    }

    /// SIGUSR1: it connects anew.
    pub fn reconnect(&self) {
        self.process.signal(rustix::process::Signal::USR1);
    }
}
