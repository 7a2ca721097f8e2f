//! Makes multi-queue TUN devices.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::fabric::FabricError;
use crate::failpoint;

/// Makes the device `link` and opens its queues, non-blocking. It lives as long as one of these is open.
pub(super) fn create(link: &str, queues: u16) -> Result<Vec<OwnedFd>, FabricError> {
    (0..queues)
        .map(|queue| {
            let opened = open_queue(link, queue == 0);
            failpoint::kernel_changed();
            opened.map_err(|error| {
                let hint = match error.raw_os_error() {
                    Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => ": load it (modprobe tun)",
                    Some(libc::EBUSY) => ": a device of this name is there already (ip link delete it)",
                    _ => "",
                };
                FabricError::Transient(format!(
                    "cannot open queue {queue} of TUN device {link}: {error}{hint}"
                ))
            })
        })
        .collect()
}

fn open_queue(link: &str, first: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let queue = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    #[allow(unsafe_code)]
    // SAFETY: a plain C structure whose union holds integers and pointers only, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if link.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(link.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    let exclusive = if first { libc::IFF_TUN_EXCL } else { 0 };
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE | exclusive;
    // A 16-bit set of flags, the uppermost too.
    request.ifr_ifru.ifru_flags = i16::from_ne_bytes(u16::try_from(flags).unwrap_or(0).to_ne_bytes());
    #[allow(unsafe_code)]
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    let result =
        unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF as _, std::ptr::from_mut(&mut request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(queue) }
}
