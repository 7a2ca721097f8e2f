//! The data channel: ciphers, key material, sealing and opening of packets, payloads of its own.
//!
//! spec: openvpn-protocol §8.

mod channel;
mod epochs;
mod ids;
mod limits;
mod replay;
#[cfg(test)]
mod tests;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use channel::{Channel, KeyError, OpenError, Opened, SealError};
pub use limits::Limits;
pub use replay::REPLAY_WINDOW_PACKETS;
pub(crate) use replay::ReplayWindow;

/// Bytes of key material of one key: two directions, each a cipher slot and an HMAC slot of 64.
pub const KEY_MATERIAL_BYTES: usize = 256;

/// Bytes that sealing adds to a payload in DATA_V2: header, packet id, tag.
pub const OVERHEAD_BYTES: usize = 4 + 4 + 16;

/// The same in the epoch format: its packet ids are longer.
pub const EPOCH_OVERHEAD_BYTES: usize = 4 + 8 + 16;

/// AEAD ciphers of the data channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cipher {
    /// AES-256-GCM.
    Aes256Gcm,
    /// AES-128-GCM.
    Aes128Gcm,
    /// CHACHA20-POLY1305.
    ChaCha20Poly1305,
}

impl Cipher {
    /// All of them, in AWS's order of preference.
    pub const ALL: [Self; 3] = [Self::Aes256Gcm, Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// OpenVPN's name, as in `IV_CIPHERS` and the `cipher` option.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Aes128Gcm => "AES-128-GCM",
            Self::ChaCha20Poly1305 => "CHACHA20-POLY1305",
        }
    }

    /// The cipher of that name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.name().eq_ignore_ascii_case(name))
    }
}

/// The 256 bytes that both directions' keys are cut from, and the format they are for. Wiped on drop; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeyMaterial {
    bytes: [u8; KEY_MATERIAL_BYTES],
    #[zeroize(skip)]
    epochs: bool,
}

impl KeyMaterial {
    /// Wraps the bytes as the PRF or the exporter gave them.
    #[must_use]
    pub fn new(bytes: [u8; KEY_MATERIAL_BYTES]) -> Self {
        Self { bytes, epochs: false }
    }

    /// The same for the epoch format, whose keys are derived from the bytes instead of being cut out of them; only
    /// with DATA_V2. spec: openvpn-protocol §8.4
    #[must_use]
    pub fn in_epochs(self) -> Self {
        let mut material = self;
        material.epochs = true;
        material
    }

    /// True if the keys are for the epoch format.
    #[must_use]
    pub fn has_epochs(&self) -> bool {
        self.epochs
    }

    pub(crate) fn zeroed() -> Self {
        Self::new([0; KEY_MATERIAL_BYTES])
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; KEY_MATERIAL_BYTES] {
        &mut self.bytes
    }

    /// The secret bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_MATERIAL_BYTES] {
        &self.bytes
    }
}

impl std::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMaterial(..)")
    }
}

/// Which end of the data channel we are: the client sends with the first half of the material.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Seals with the second half.
    Server,
    /// Seals with the first half.
    Client,
}

/// The keepalive payload. spec: openvpn-protocol §8.7
pub const PING: [u8; 16] =
    [0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48];

/// First bytes of an options-consistency payload; one operation byte follows.
pub const OCC: [u8; 16] =
    [0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81, 0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c];

/// Operation byte of the explicit exit notice of clients without `cc-exit`.
pub const OCC_EXIT: u8 = 6;

/// What a decrypted payload is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum InBand {
    /// Keepalive: a sign of life, nothing to forward.
    Ping,
    /// The peer says it leaves.
    OccExit,
    /// Any other options-consistency message: ignore.
    Occ,
    /// Looks like IPv4 by its first four bits; nothing else is checked.
    Ip4,
    /// Looks like IPv6.
    Ip6,
    /// Drop.
    Other,
}

/// Sorts a decrypted payload.
#[must_use]
pub fn classify(payload: &[u8]) -> InBand {
    if payload == PING {
        return InBand::Ping;
    }
    if let Some(rest) = payload.strip_prefix(&OCC) {
        return if rest.first() == Some(&OCC_EXIT) { InBand::OccExit } else { InBand::Occ };
    }
    match payload.first().map(|byte| byte >> 4) {
        Some(4) => InBand::Ip4,
        Some(6) => InBand::Ip6,
        _ => InBand::Other,
    }
}
