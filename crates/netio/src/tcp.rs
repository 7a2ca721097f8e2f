//! TCP connections, non-blocking: accept, read, write, and the end of writing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, set_tcp_user_timeout};
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};

/// Bytes not yet sent that the kernel keeps for one connection, beyond what is on its way. More would only be delay,
/// and memory that a peer who does not read could make us hold.
const UNSENT_BYTES: libc::c_int = 128 << 10;
/// A peer that acknowledges nothing for this long, in milliseconds, is gone.
const UNACKNOWLEDGED_MS: u32 = 40_000;

/// Accepts one connection and sets it up: non-blocking, small packets sent at once, little kept in the kernel.
///
/// # Errors
/// `WouldBlock` when none waits. Others concern this connection only (`ConnectionAborted`), or say that the system has
/// no more descriptors or memory.
pub fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, SocketAddr)> {
    loop {
        match rustix::net::acceptfrom_with(listener.as_fd(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok((socket, peer)) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
                set_tcp_nodelay(&socket, true)?;
                set_tcp_user_timeout(&socket, UNACKNOWLEDGED_MS)?;
                limit_unsent(&socket)?;
                return Ok((socket, peer));
            }
        }
    }
}

fn limit_unsent(socket: &OwnedFd) -> io::Result<()> {
    let value = UNSENT_BYTES;
    #[allow(unsafe_code)]
    // SAFETY: the kernel reads one integer of the given length from a live variable.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            std::ptr::from_ref(&value).cast(),
            u32::try_from(size_of::<libc::c_int>()).unwrap_or(0),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads what has come; 0: the peer sends no more.
///
/// # Errors
/// `WouldBlock` when there is nothing; anything else: the connection is broken.
pub fn read(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::net::recv(socket.as_fd(), &mut *buffer, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok((got, _)) => return Ok(got),
        }
    }
}

/// Writes as much as there is room for.
///
/// # Errors
/// `WouldBlock` when there is none; anything else: the connection is broken.
pub fn write(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(socket.as_fd(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}

/// Says that no more will be written. What was, is still delivered.
///
/// # Errors
/// The connection is broken already.
pub fn finish(socket: impl AsFd) -> io::Result<()> {
    rustix::net::shutdown(socket.as_fd(), Shutdown::Write).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Tries again while nothing is there.
    fn until<T>(mut step: impl FnMut() -> io::Result<T>) -> T {
        loop {
            match step() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                other => return other.unwrap(),
            }
        }
    }

    #[test]
    fn bytes_go_both_ways_and_ends_are_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                println!("SKIP: no address {address}");
                continue;
            };
            listener.set_nonblocking(true).unwrap();
            assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, peer) = until(|| accept(&listener));
            assert_eq!(peer, client.local_addr().unwrap());
            assert!(rustix::net::sockopt::tcp_nodelay(&socket).unwrap());
            let mut buffer = [0; 16];
            assert_eq!(read(&socket, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            client.write_all(b"up").unwrap();
            assert_eq!(until(|| read(&socket, &mut buffer)), 2);
            assert_eq!(write(&socket, b"down").unwrap(), 4);
            finish(&socket).unwrap();
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"down");
            drop(client);
            assert_eq!(until(|| read(&socket, &mut buffer)), 0);
        }
    }

    #[test]
    fn a_peer_that_does_not_read_stops_the_writer_soon() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = accept(&listener).unwrap();
        let (block, mut written) = (vec![0; 65_536], 0);
        loop {
            match write(&socket, &block) {
                Ok(bytes) => written += bytes,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
            assert!(written < 64 << 20, "without end");
        }
        drop(client);
    }
}
