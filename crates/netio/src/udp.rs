//! Batched UDP: several datagrams per system call, each with its own peer, and the steering of DATA_V2 packets to the
//! worker that owns their session.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use socket2::SockAddr;

/// Most datagrams per system call.
pub const BATCH: usize = 32;

/// What a buffer now holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Bytes in the buffer.
    pub len: usize,
    /// The datagram was longer than the buffer, and is cut.
    pub truncated: bool,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams dealt with, from the front: sent, or refused one by one (unreachable, too large). The rest found no
    /// room: give them again when the socket is writable.
    pub done: usize,
    /// How many of these were refused.
    pub refused: usize,
    /// Error number of the last refusal.
    pub errno: Option<i32>,
}

/// Receives up to [`BATCH`] datagrams, the i-th into `buffers[i]`, described by `received[i]`; their number comes back.
/// `received` is cleared first, and keeps its memory.
///
/// # Errors
/// `WouldBlock` when there is none.
pub fn receive<B: AsMut<[u8]>>(
    socket: impl AsFd,
    buffers: &mut [B],
    received: &mut Vec<Received>,
) -> io::Result<usize> {
    received.clear();
    let mut names = [zeroed_name(); BATCH];
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers = [zeroed_header(); BATCH];
    let mut count: libc::c_uint = 0;
    for (((buffer, name), part), header) in
        buffers.iter_mut().zip(&mut names).zip(&mut parts).zip(&mut headers)
    {
        let buffer = buffer.as_mut();
        part.iov_base = buffer.as_mut_ptr().cast();
        part.iov_len = buffer.len();
        header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = NAME_BYTES;
        header.msg_hdr.msg_iov = std::ptr::from_mut(part);
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    #[allow(unsafe_code)]
    // SAFETY: the first `count` headers point to live, distinct names and parts above, and the parts to the caller's
    // buffers with their lengths, all of which outlive the call; no timeout is given.
    let got = unsafe {
        libc::recvmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    received.extend(headers.iter().zip(&names).take(got).map(|(header, name)| Received {
        peer: peer(name),
        len: usize::try_from(header.msg_len).unwrap_or(0),
        truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
    }));
    Ok(got)
}

/// Sends datagrams to their peers, without the don't-fragment bit if the socket came from the fabric.
///
/// # Errors
/// `WouldBlock` when there is no room for the first. A datagram that the kernel refuses is counted, not an error.
pub fn send(socket: impl AsFd, datagrams: &[(SocketAddr, &[u8])]) -> io::Result<Sent> {
    let socket = socket.as_fd();
    let mut sent = Sent::default();
    while let Some(rest) = datagrams.get(sent.done..).filter(|rest| !rest.is_empty()) {
        match send_batch(socket.as_raw_fd(), rest.get(..BATCH).unwrap_or(rest)) {
            Ok(0) => break,
            Ok(count) => sent.done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return if sent.done == 0 { Err(error) } else { Ok(sent) };
            }
            // It concerns the first of the batch only.
            Err(error) => {
                sent.done += 1;
                sent.refused += 1;
                sent.errno = error.raw_os_error();
            }
        }
    }
    Ok(sent)
}

fn send_batch(socket: libc::c_int, datagrams: &[(SocketAddr, &[u8])]) -> io::Result<usize> {
    let names: [Option<SockAddr>; BATCH] =
        std::array::from_fn(|i| datagrams.get(i).map(|(peer, _)| (*peer).into()));
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers = [zeroed_header(); BATCH];
    let mut count: libc::c_uint = 0;
    for ((((_, bytes), name), part), header) in
        datagrams.iter().zip(names.iter().flatten()).zip(&mut parts).zip(&mut headers)
    {
        part.iov_base = bytes.as_ptr().cast_mut().cast();
        part.iov_len = bytes.len();
        header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = name.len();
        header.msg_hdr.msg_iov = std::ptr::from_mut(part);
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    #[allow(unsafe_code)]
    // SAFETY: the first `count` headers point to names, parts, and through these to datagrams that all outlive the
    // call; the kernel only reads what they point to.
    let sent = unsafe {
        libc::sendmmsg(socket, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Steers a `SO_REUSEPORT` group of `workers` sockets, given any one of them: a DATA_V2 packet goes to the socket number
/// `peer id % workers` (in the order of binding), so it finds its session's worker from whatever address it comes; the
/// rest is spread by the kernel's hash of the addresses.
///
/// # Errors
/// The kernel refuses the program, or there is no group.
pub fn steering(socket: impl AsFd, workers: u16) -> io::Result<()> {
    const DATA_V2: u32 = 9;
    const PEER_ID_MASK: u32 = 0x00ff_ffff;
    // No socket has this number: the kernel falls back to the hash.
    const NO_CHOICE: u32 = u32::MAX;
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt,
        jf,
        k,
    };
    if workers == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The program sees the UDP payload. A load beyond its end would end the program with 0, socket 0: look first.
    let mut program = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 7, 4),
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, 0, 3),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 4, DATA_V2),
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, PEER_ID_MASK),
        op(libc::BPF_ALU | 0x90 /* BPF_MOD */ | libc::BPF_K, 0, 0, u32::from(workers)),
        op(libc::BPF_RET | 0x10 /* BPF_A */, 0, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, NO_CHOICE),
    ];
    let described =
        libc::sock_fprog { len: u16::try_from(program.len()).unwrap_or(0), filter: program.as_mut_ptr() };
    #[allow(unsafe_code)]
    // SAFETY: `described` and the program it points to live through the call, with their true lengths; the kernel
    // checks the program and copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&described).cast(),
            u32::try_from(size_of::<libc::sock_fprog>()).unwrap_or(0),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[allow(clippy::cast_possible_truncation)] // 28 bytes
const NAME_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;

/// An empty name, large enough for IPv4 and IPv6 and laid out for both.
fn zeroed_name() -> libc::sockaddr_in6 {
    #[allow(unsafe_code)]
    // SAFETY: a plain C structure of integers, for which all zeroes is a value.
    unsafe {
        std::mem::zeroed()
    }
}

fn zeroed_header() -> libc::mmsghdr {
    #[allow(unsafe_code)]
    // SAFETY: a plain C structure of integers and pointers, for which all zeroes is a value.
    unsafe {
        std::mem::zeroed()
    }
}

/// The peer in a name that the kernel wrote.
fn peer(name: &libc::sockaddr_in6) -> SocketAddr {
    if i32::from(name.sin6_family) == libc::AF_INET6 {
        return SocketAddr::V6(SocketAddrV6::new(
            name.sin6_addr.s6_addr.into(),
            u16::from_be(name.sin6_port),
            name.sin6_flowinfo,
            name.sin6_scope_id,
        ));
    }
    // In both structures the port stands second; an IPv4 address then takes the place of the flow information.
    let address = Ipv4Addr::from(u32::from_be(name.sin6_flowinfo));
    SocketAddr::V4(SocketAddrV4::new(address, u16::from_be(name.sin6_port)))
}

#[cfg(test)]
#[path = "udp/tests.rs"]
mod tests;
