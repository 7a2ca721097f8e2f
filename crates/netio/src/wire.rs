//! Messages between the main process and the privileged helper: a 4-byte big-endian length, JSON, and descriptors that
//! ride with the length (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use crate::client::HelperOptions;
use crate::fabric::{FabricAssociation, FabricError, MAX_QUEUES, Outlet};

/// Longest message, in bytes: an association with the largest outlet fits several times.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Most descriptors with one message.
const MAX_DESCRIPTORS: usize = MAX_QUEUES as usize;
const CONTROL_BYTES: usize = rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS));

/// What the main process may ask for. Nothing else crosses.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first message.
    Hello(HelperOptions),
    /// See [`crate::Fabric::sweep`].
    Sweep,
    /// See [`crate::Fabric::prepare`].
    Prepare(Vec<FabricAssociation>),
    /// See [`crate::Fabric::add`].
    Add(FabricAssociation),
    /// See [`crate::Fabric::remove`].
    Remove {
        /// The association's id.
        key: String,
    },
    /// See [`crate::Fabric::set_outlet`].
    SetOutlet {
        /// The association's id.
        key: String,
        /// All of it.
        outlet: Outlet,
    },
    /// See [`crate::Fabric::look`].
    Look {
        /// The association's id.
        key: String,
    },
    /// See [`crate::Fabric::bind_udp`].
    BindUdp {
        /// Where.
        address: SocketAddr,
        /// How many.
        sockets: u16,
    },
    /// See [`crate::Fabric::bind_tcp`].
    BindTcp {
        /// Where.
        address: SocketAddr,
        /// How many.
        sockets: u16,
    },
}

/// More than an association, each of its egress rules and each network beyond it take of a message, in bytes.
const ASSOCIATION_BYTES: usize = 768;
const EGRESS_RULE_BYTES: usize = 128;
const TOWARD_BYTES: usize = 32;

/// What an association takes of a message at most, in bytes.
pub(crate) fn most_bytes(association: &FabricAssociation) -> usize {
    let Outlet { egress, toward } = &association.outlet;
    let rules = egress.len().saturating_mul(EGRESS_RULE_BYTES);
    rules.saturating_add(toward.len().saturating_mul(TOWARD_BYTES)).saturating_add(ASSOCIATION_BYTES)
}

/// The answer to each.
pub(crate) type Response = Result<(), FabricError>;

/// Sends one message.
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    if body.len() > MAX_MESSAGE_BYTES || fds.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too large for the fabric"));
    }
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?.to_be_bytes();
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent =
        retry(|| rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL))?;
    send_all(socket, length.get(sent..).unwrap_or_default())?;
    send_all(socket, &body)
}

fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = retry(|| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL))?;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Receives one message; `None` when the other side is gone.
pub(crate) fn receive<T: for<'a> Deserialize<'a>>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let mut filled = 0;
    let mut fds = Vec::new();
    while filled < length.len() {
        let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let rest = length.get_mut(filled..).unwrap_or_default();
        let got = retry(|| {
            let mut parts = [IoSliceMut::new(&mut *rest)];
            rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_DESCRIPTORS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors with one message"));
        }
        if got.bytes == 0 {
            return if filled == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        filled += got.bytes;
    }
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| io::ErrorKind::InvalidData)?;
    if length > MAX_MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too large for the fabric"));
    }
    let mut body = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let rest = body.get_mut(filled..).unwrap_or_default();
        let (got, _) = retry(|| rustix::net::recv(socket, &mut *rest, RecvFlags::empty()))?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += got;
    }
    Ok(Some((serde_json::from_slice(&body)?, fds)))
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (here, there) = pair();
        let (pipe_out, pipe_in) = rustix::pipe::pipe().unwrap();
        send(here.as_fd(), &Request::Remove { key: "a".into() }, &[pipe_in.as_fd()]).unwrap();
        send(here.as_fd(), &Request::Sweep, &[]).unwrap();
        drop((here, pipe_in));
        let (first, fds) = receive::<Request>(there.as_fd()).unwrap().unwrap();
        assert!(matches!(first, Request::Remove { key } if key == "a"));
        assert_eq!(fds.len(), 1);
        assert_eq!(rustix::io::write(&fds[0], b"x").unwrap(), 1);
        let mut byte = [0];
        assert_eq!(rustix::io::read(&pipe_out, &mut byte).unwrap(), 1);
        let (second, none) = receive::<Request>(there.as_fd()).unwrap().unwrap();
        assert!(matches!(second, Request::Sweep) && none.is_empty());
        assert!(receive::<Request>(there.as_fd()).unwrap().is_none());
    }

    #[test]
    fn what_is_not_a_message_is_an_error() {
        for bytes in [&[0, 0, 0][..], &[0xff, 0, 0, 0], &[0, 0, 0, 9, b'"'], &[0, 0, 0, 2, b'{', b'}']] {
            let (here, there) = pair();
            send_all(here.as_fd(), bytes).unwrap();
            drop(here);
            assert!(receive::<Request>(there.as_fd()).is_err(), "{bytes:?}");
        }
    }

    /// The other side may be taken over: whatever it sends is a whole message or an error, and takes no room for more than
    /// one.
    #[test]
    fn foreign_messages() {
        let framed = |message: &Request| {
            let (here, there) = pair();
            send(here.as_fd(), message, &[]).unwrap();
            drop(here);
            let mut bytes = vec![0; 4096];
            let length = rustix::io::read(&there, &mut bytes[..4]).unwrap();
            let more = rustix::io::read(&there, &mut bytes[length..]).unwrap();
            bytes.truncate(length + more);
            bytes
        };
        let seeds = vec![
            framed(&Request::Sweep),
            framed(&Request::Remove { key: "cvpn-assoc-1".into() }),
            framed(&Request::BindUdp { address: "192.0.2.1:443".parse().unwrap(), sockets: 2 }),
            framed(&Request::Prepare(vec![])),
        ];
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/corpus.txt");
        let (mut good, mut bad) = (0, 0);
        foreign::storm(&file, seeds, 5_000, |bytes, _| {
            let (here, there) = pair();
            send_all(here.as_fd(), bytes).unwrap();
            drop(here);
            loop {
                match receive::<Request>(there.as_fd()) {
                    Ok(Some((_, fds))) => {
                        good += 1;
                        assert!(fds.is_empty());
                    }
                    Ok(None) => return,
                    Err(_) => {
                        bad += 1;
                        return;
                    }
                }
            }
        });
        assert!(good > 100 && bad > 100, "{good} {bad}");
    }
}
