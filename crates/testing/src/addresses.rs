//! Loopback addresses for endpoints that no other server on this machine gives to its own.

use std::net::{Ipv4Addr, UdpSocket};

use crate::Error;

/// The port of the socket that holds a block; nothing speaks there.
const HOLDING_PORT: u16 = 42_424;
/// The blocks: 127.128.0.0/24 and on.
const FIRST: u8 = 128;
const LAST: u8 = 191;

/// A block of addresses, held as long as the value lives, and by nobody after this process.
#[derive(Debug)]
pub(crate) struct Block {
    text: String,
    _held: UdpSocket,
}

impl Block {
    /// One that nobody holds. Where to begin depends on the process, so that those that start at the same time rarely
    /// ask for the same.
    pub(crate) fn hold() -> Result<Self, Error> {
        let count = (usize::from(LAST) - usize::from(FIRST) + 1) * 256;
        let blocks = (FIRST..=LAST).flat_map(|second| (0..=255_u8).map(move |third| (second, third)));
        let start = usize::try_from(std::process::id()).unwrap_or(0) * 7 % count;
        for (second, third) in blocks.cycle().skip(start).take(count) {
            let holder = Ipv4Addr::new(127, second, third, 255);
            if let Ok(held) = UdpSocket::bind((holder, HOLDING_PORT)) {
                return Ok(Self { text: format!("127.{second}.{third}.0/24"), _held: held });
            }
        }
        Err(Error::NoAddresses)
    }

    /// As `--gateway-address` takes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_block_is_given_twice() {
        let first = Block::hold().unwrap();
        let second = Block::hold().unwrap();
        assert_ne!(first.as_str(), second.as_str());
    }
}
