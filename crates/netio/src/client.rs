//! The main process's side of the fabric: starts the privileged helper and talks to it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

use crate::fabric::{Fabric, FabricAssociation, FabricError, Outlet};
use crate::failpoint::{Failpoint, Stage};
use crate::helper::HELPER_ARGUMENT;
use crate::wire::{self, MAX_MESSAGE_BYTES, Request, Response};

/// Longest wait for one answer of the helper. Above the helper's own limits, so that its reason comes first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What the helper is told once, at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelperOptions {
    /// Write nothing under `/proc/sys`: forwarding is the operator's to open.
    pub leave_sysctls: bool,
}

/// The fabric in a privileged helper process.
#[derive(Debug)]
pub struct HelperFabric {
    /// `None` once the conversation is out of step.
    socket: Option<OwnedFd>,
    child: Child,
    failpoint: Failpoint,
}

impl HelperFabric {
    /// Starts the helper: this program again, with the argument `fabric-helper`. Call it while the process still has
    /// its privileges.
    ///
    /// # Errors
    /// The helper cannot start, lacks a privilege, or another one is at work in this network namespace.
    pub fn spawn() -> Result<Self, FabricError> {
        Self::spawn_with(HelperOptions::default())
    }

    /// As [`HelperFabric::spawn`], with options.
    ///
    /// # Errors
    /// As [`HelperFabric::spawn`].
    pub fn spawn_with(options: HelperOptions) -> Result<Self, FabricError> {
        let failed = |what: &str, error: io::Error| FabricError::Permanent(format!("{what}: {error}"));
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| failed("cannot make a socket pair", e.into()))?;
        set_socket_timeout(&ours, Timeout::Recv, Some(ANSWER_TIMEOUT))
            .map_err(|e| failed("cannot set a timeout", e.into()))?;
        let child = Command::new("/proc/self/exe")
            .arg(HELPER_ARGUMENT)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| failed("cannot start the fabric helper", e))?;
        let mut fabric = Self { socket: Some(ours), child, failpoint: Failpoint::from_env() };
        fabric.exchange(&Request::Hello(options), false)?;
        Ok(fabric)
    }

    fn call(&mut self, request: &Request) -> Result<Vec<OwnedFd>, FabricError> {
        self.exchange(request, true)
    }

    fn exchange(&mut self, request: &Request, command: bool) -> Result<Vec<OwnedFd>, FabricError> {
        let Some(socket) = self.socket.as_ref() else {
            return Err(gone("it was given up after an earlier failure"));
        };
        match converse(socket.as_fd(), request, command.then_some(&mut self.failpoint)) {
            Ok((answer, fds)) => answer.map(|()| fds),
            Err(error) => {
                // Out of step: no later answer could be told from this one's.
                self.socket = None;
                Err(gone(&error.to_string()))
            }
        }
    }
}

fn converse(
    socket: BorrowedFd<'_>,
    request: &Request,
    mut failpoint: Option<&mut Failpoint>,
) -> io::Result<(Response, Vec<OwnedFd>)> {
    if let Some(failpoint) = failpoint.as_mut() {
        failpoint.pass(Stage::Before);
    }
    wire::send(socket, request, &[])?;
    if let Some(failpoint) = failpoint.as_mut() {
        failpoint.pass(Stage::After);
    }
    wire::receive(socket)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn gone(why: &str) -> FabricError {
    FabricError::Permanent(format!("the fabric helper is gone ({why}): restart bascule"))
}

impl Fabric for HelperFabric {
    fn sweep(&mut self) -> Result<(), FabricError> {
        self.call(&Request::Sweep).map(drop)
    }

    fn prepare(&mut self, associations: &[FabricAssociation]) {
        let mut rest = associations;
        while !rest.is_empty() {
            let mut bytes = 0_usize;
            let fits = |association: &&FabricAssociation| {
                bytes = bytes.saturating_add(wire::most_bytes(association));
                bytes <= MAX_MESSAGE_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let Some((now, later)) = rest.split_at_checked(count) else { return };
            // A helper that is gone says so at the first `add`.
            let _ = self.call(&Request::Prepare(now.to_vec()));
            rest = later;
        }
    }

    fn add(&mut self, association: &FabricAssociation) -> Result<Vec<OwnedFd>, FabricError> {
        self.call(&Request::Add(association.clone()))
    }

    fn remove(&mut self, key: &str) -> Result<(), FabricError> {
        self.call(&Request::Remove { key: key.to_owned() }).map(drop)
    }

    fn set_outlet(&mut self, key: &str, outlet: &Outlet) -> Result<(), FabricError> {
        self.call(&Request::SetOutlet { key: key.to_owned(), outlet: outlet.clone() }).map(drop)
    }

    fn look(&mut self, key: &str) -> Result<(), FabricError> {
        self.call(&Request::Look { key: key.to_owned() }).map(drop)
    }

    fn bind_udp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
        self.call(&Request::BindUdp { address, sockets })
    }

    fn bind_tcp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
        self.call(&Request::BindTcp { address, sockets })
    }
}

impl Drop for HelperFabric {
    fn drop(&mut self) {
        // The helper ends when its socket closes.
        self.socket = None;
        let _ = self.child.wait();
    }
}
