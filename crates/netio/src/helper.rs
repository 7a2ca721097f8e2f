//! The privileged process: keeps only the capabilities it needs, and carries out the fabric's messages one at a time
//! until its socket closes.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::thread;
use std::time::{Duration, Instant};

use caps::{CapSet, Capability, CapsHashSet};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

use crate::fabric::{Fabric, FabricError};
use crate::kernel::KernelFabric;
use crate::wire::{self, Request, Response};

/// The argument that makes the program this process.
pub const HELPER_ARGUMENT: &str = "fabric-helper";

/// All that the helper, and the `nft` it runs, can do.
const KEPT: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_BIND_SERVICE];
/// Abstract socket names belong to a network namespace, as all that we change does: the name is the lock.
const LOCK_NAME: &[u8] = b"bascule-fabric";
/// How often, and how long apart, the lock is tried: a killed predecessor's helper ends within its last command.
const LOCK_TRIES: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at what others may have changed under us.
const MAINTENANCE: Duration = Duration::from_secs(2);

/// Body of the helper process, whose standard input is the socket to the main process. Ends when that closes.
pub fn run_fabric_helper() -> ! {
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    if !matches!(socket_type(socket), Ok(SocketType::STREAM)) {
        log("fabric-helper is started by bascule itself; there is nothing to type here");
        std::process::exit(2);
    }
    let code = match serve(socket) {
        Ok(()) => 0,
        // The main process died while we worked.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => 0,
        Err(error) => {
            log(&format!("fabric helper: {error}"));
            1
        }
    };
    std::process::exit(code);
}

/// One line to standard error; that it may be closed is no reason to end.
pub(crate) fn log(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn serve(socket: BorrowedFd<'_>) -> io::Result<()> {
    ignore_signals();
    let Some((Request::Hello(options), _)) = wire::receive(socket)? else {
        return Ok(());
    };
    let started = give_up_privileges()
        .and_then(|()| lock())
        .and_then(|lock| KernelFabric::new(options.leave_sysctls).map(|fabric| (lock, fabric)));
    let (_lock, mut fabric) = match started {
        Ok(parts) => parts,
        Err(error) => return answer(socket, Err(error)),
    };
    answer(socket, Ok(Vec::new()))?;
    let mut maintained = Instant::now();
    loop {
        let asked = wait(socket)?;
        // Also between requests that never cease.
        if !asked || maintained.elapsed() >= MAINTENANCE {
            fabric.maintain();
            maintained = Instant::now();
        }
        if !asked {
            continue;
        }
        let Some((request, _)) = wire::receive(socket)? else {
            return Ok(());
        };
        answer(socket, carry_out(&mut fabric, request))?;
    }
}

fn carry_out(fabric: &mut KernelFabric, request: Request) -> Result<Vec<OwnedFd>, FabricError> {
    match request {
        Request::Hello(_) => Err(FabricError::Permanent("said hello twice".to_owned())),
        Request::Sweep => fabric.sweep().map(|()| Vec::new()),
        Request::Prepare(associations) => {
            fabric.prepare(&associations);
            Ok(Vec::new())
        }
        Request::Add(association) => fabric.add(&association),
        Request::Remove { key } => fabric.remove(&key).map(|()| Vec::new()),
        Request::SetOutlet { key, outlet } => fabric.set_outlet(&key, &outlet).map(|()| Vec::new()),
        Request::Look { key } => fabric.look(&key).map(|()| Vec::new()),
        Request::BindUdp { address, sockets } => fabric.bind_udp(address, sockets),
        Request::BindTcp { address, sockets } => fabric.bind_tcp(address, sockets),
    }
}

fn answer(socket: BorrowedFd<'_>, result: Result<Vec<OwnedFd>, FabricError>) -> io::Result<()> {
    let (response, fds): (Response, _) = match result {
        Ok(fds) => (Ok(()), fds),
        Err(error) => (Err(error), Vec::new()),
    };
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    wire::send(socket, &response, &borrowed)
}

/// Waits for a message or the end; `false`: time for maintenance.
fn wait(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut polled = [PollFd::new(&socket, PollFlags::IN)];
    let seconds = i64::try_from(MAINTENANCE.as_secs()).unwrap_or(1);
    let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A terminal's Ctrl-C and a service manager's SIGTERM reach the whole group; the main process still needs us then, to
/// take its associations down.
fn ignore_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        #[allow(unsafe_code)]
        // SAFETY: setting a signal's disposition to SIG_IGN runs no code of ours.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

fn give_up_privileges() -> Result<(), FabricError> {
    let failed =
        |error: caps::errors::CapsError| FabricError::Permanent(format!("cannot set capabilities: {error}"));
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    if !permitted.contains(&Capability::CAP_NET_ADMIN) {
        return Err(FabricError::Permanent(
            "no privilege for links, routes, and nftables: run bascule as root, or give it CAP_NET_ADMIN and \
             CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)"
                .to_owned(),
        ));
    }
    // A program run as root takes all of the bounding set back; so it must shrink too. Only root may shrink it.
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::all() {
            if !KEPT.contains(&capability) {
                // Kernels older than a capability refuse to drop it, and cannot grant it either.
                let _ = caps::drop(None, CapSet::Bounding, capability);
            }
        }
    }
    let kept: CapsHashSet = KEPT.into_iter().filter(|c| permitted.contains(c)).collect();
    // Inheritable and ambient: `nft` needs them when we are not root.
    caps::set(None, CapSet::Inheritable, &kept).map_err(failed)?;
    caps::set(None, CapSet::Ambient, &kept).map_err(failed)?;
    caps::set(None, CapSet::Effective, &kept).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(failed)?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|e| FabricError::Permanent(format!("cannot give up new privileges: {e}")))
}

fn lock() -> Result<UnixDatagram, FabricError> {
    let address = UnixAddr::from_abstract_name(LOCK_NAME)
        .map_err(|e| FabricError::Permanent(format!("cannot name the fabric's lock: {e}")))?;
    for _ in 0..LOCK_TRIES {
        match UnixDatagram::bind_addr(&address) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(LOCK_PAUSE),
            Err(error) => {
                return Err(FabricError::Permanent(format!("cannot take the fabric's lock: {error}")));
            }
        }
    }
    Err(FabricError::Permanent(
        "another bascule works in this network namespace: stop it first (see who: ss -xlp src @bascule-fabric)".to_owned(),
    ))
}
