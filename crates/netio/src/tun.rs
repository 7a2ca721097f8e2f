//! One IP packet per call on a queue of a TUN device. Non-blocking: `WouldBlock` when there is none, or no room.

use std::io;
use std::os::fd::AsFd;

/// Reads one IP packet; its length comes back. A buffer smaller than the packet cuts it: give one of the device's MTU.
///
/// # Errors
/// `WouldBlock` when the queue is empty; `EBADFD` (77) once the device is gone.
pub fn read(queue: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(queue.as_fd(), &mut *buffer) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}

/// Writes one IP packet.
///
/// # Errors
/// `WouldBlock` when the kernel has no room; `InvalidInput` (EINVAL) for what is not an IP packet; `EBADFD` (77) once
/// the device is gone, `EIO` while it is down.
pub fn write(queue: impl AsFd, packet: &[u8]) -> io::Result<()> {
    loop {
        match rustix::io::write(queue.as_fd(), packet) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            // The kernel takes a packet whole or not at all.
            Ok(_) => return Ok(()),
        }
    }
}
