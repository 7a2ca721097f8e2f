//! The few netfilter messages that no program is needed for: forgetting connections by mark, and whether our table is
//! still there.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::fabric::FabricError;
use crate::failpoint;

const CTNETLINK_DELETE: u16 = (1 << 8) | 2;
const NFT_GET_TABLE: u16 = (10 << 8) | 1;
const CTA_MARK: u16 = 8;
const CTA_MARK_MASK: u16 = 21;
const NFTA_TABLE_NAME: u16 = 1;
const FAMILY_UNSPECIFIED: u8 = 0;
const FAMILY_INET: u8 = 1;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const SEQUENCE: u32 = 1;

/// Deletes every tracked connection whose mark, under `mask`, is `mark`.
pub(super) fn forget_connections(mark: u32, mask: u32) -> Result<(), FabricError> {
    // Without a mark this message would delete every connection of the host.
    debug_assert!(mark & mask != 0);
    let attributes = [(CTA_MARK, mark.to_be_bytes().to_vec()), (CTA_MARK_MASK, mask.to_be_bytes().to_vec())];
    let done = exchange(CTNETLINK_DELETE, FAMILY_UNSPECIFIED, &attributes);
    failpoint::kernel_changed();
    match done {
        Ok(()) => Ok(()),
        // No such connection; or connection tracking was never used here, and its module is not even loaded.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::EOPNOTSUPP)) =>
        {
            Ok(())
        }
        Err(error) => Err(FabricError::Transient(format!("cannot delete tracked connections: {error}"))),
    }
}

/// Whether the `inet` table is there.
pub(super) fn table_exists(name: &str) -> io::Result<bool> {
    let mut value = name.as_bytes().to_vec();
    value.push(0);
    match exchange(NFT_GET_TABLE, FAMILY_INET, &[(NFTA_TABLE_NAME, value)]) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sends one request and waits for its acknowledgement.
fn exchange(kind: u16, family: u8, attributes: &[(u16, Vec<u8>)]) -> io::Result<()> {
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    rustix::net::send(&socket, &request(kind, family, attributes), SendFlags::empty())?;
    let mut buffer = vec![0; 8192];
    loop {
        let (got, _) = match rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let mut rest = buffer.get(..got).unwrap_or_default();
        while let Some((kind, body, next)) = first_message(rest) {
            if kind == NLMSG_ERROR {
                let code = body.first_chunk().map_or(-libc::EIO, |code| i32::from_ne_bytes(*code));
                return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            rest = next;
        }
    }
}

fn request(kind: u16, family: u8, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    bytes.extend_from_slice(&SEQUENCE.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    // nfgenmsg: family, version 0, resource 0
    bytes.extend_from_slice(&[family, 0, 0, 0]);
    for (kind, value) in attributes {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
    if let Some(head) = bytes.first_chunk_mut() {
        *head = length;
    }
    bytes
}

/// Kind and body of the first netlink message, and what follows it.
fn first_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let kind = u16::from_ne_bytes(*rest.first_chunk()?);
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}
