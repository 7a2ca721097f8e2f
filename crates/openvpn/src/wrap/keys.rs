//! Keys of wrapped control channels, and OpenVPN's files of them.
//!
//! A static key is 256 bytes: for each end a cipher slot and an HMAC slot of 64, of which the first 32 are used. A
//! server key of tls-crypt-v2 is one such pair. A client key of tls-crypt-v2 is a static key and the same key again,
//! wrapped for the server. spec: openvpn-protocol §4

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use constant_time_eq::constant_time_eq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::seal::{Half, TAG_BYTES};
use crate::keys::Draw;

const SLOT_BYTES: usize = 64;
/// Bytes of a slot that are in use.
const USED_BYTES: usize = 32;
const LENGTH_BYTES: usize = 2;
/// A wrapped key without metadata: tag, key, length.
const MIN_WRAPPED_BYTES: usize = TAG_BYTES + StaticKey::BYTES + LENGTH_BYTES;
/// Longest wrapped key, metadata and all.
pub const MAX_WRAPPED_BYTES: usize = 1024;
/// Longest metadata.
pub const MAX_METADATA_BYTES: usize = MAX_WRAPPED_BYTES - MIN_WRAPPED_BYTES;
/// Longest file that is looked at.
const MAX_FILE_BYTES: usize = 64 * 1024;

const STATIC_NAME: &str = "OpenVPN Static key V1";
const SERVER_NAME: &str = "OpenVPN tls-crypt-v2 server key";
const CLIENT_NAME: &str = "OpenVPN tls-crypt-v2 client key";

/// Why a file is no key.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Longer than any key file.
    #[error("file too long")]
    TooLong,
    /// The lines that begin and end the key are not there.
    #[error("not a key of this kind")]
    Frame,
    /// What stands between them is not hexadecimal (static key) or base64.
    #[error("malformed key text")]
    Encoding,
    /// Too few bytes, or too many.
    #[error("wrong key length")]
    Length,
}

/// Why a wrapped key is refused, or a key cannot be wrapped.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapKeyError {
    /// Its length is impossible, or not what it says itself.
    #[error("wrapped key of impossible length")]
    Length,
    /// It was not made with this server key.
    #[error("wrapped key is not authentic")]
    Forged,
    /// More metadata than fits.
    #[error("metadata too long")]
    Metadata,
    /// The cipher failed.
    #[error("cipher failure")]
    Cipher,
}

/// A static key of 2,048 bits. Wiped on drop; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StaticKey([u8; Self::BYTES]);

impl StaticKey {
    /// Its length.
    pub const BYTES: usize = 4 * SLOT_BYTES;

    /// Wraps bytes that must be random.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// A new key. `seed` must be random and used for nothing else.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(*Draw::new(seed).bytes())
    }

    /// Reads OpenVPN's file: lines of hexadecimal digits.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn from_file(text: &str) -> Result<Self, KeyFileError> {
        let digits = between(text, STATIC_NAME)?;
        let mut key = Zeroizing::new([0; Self::BYTES]);
        if digits.len() != 2 * Self::BYTES {
            return Err(KeyFileError::Length);
        }
        for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| KeyFileError::Encoding)?;
            // from_str_radix takes a sign; a digit it is not.
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(KeyFileError::Encoding);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| KeyFileError::Encoding)?;
        }
        Ok(Self(*key))
    }

    /// OpenVPN's file (`--genkey tls-crypt`).
    #[must_use]
    pub fn to_file(&self) -> Zeroizing<String> {
        use std::fmt::Write as _;
        let mut body = Zeroizing::new(String::with_capacity(2 * Self::BYTES + 16));
        for line in self.0.chunks(16) {
            for byte in line {
                let _ = write!(body, "{byte:02x}"); // into a String: cannot fail
            }
            body.push('\n');
        }
        let mut text = framed(STATIC_NAME, &body);
        text.insert_str(0, "#\n# 2048 bit OpenVPN static key\n#\n");
        text
    }

    /// The secret bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Cipher and HMAC key of the first half, or of the second.
    pub(super) fn half(&self, first: bool) -> (Zeroizing<[u8; USED_BYTES]>, Zeroizing<[u8; USED_BYTES]>) {
        let (one, two) = self.0.split_at(2 * SLOT_BYTES);
        let half = if first { one } else { two };
        (leading(half, 0), leading(half, SLOT_BYTES))
    }
}

impl std::fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StaticKey(..)")
    }
}

/// What a server of tls-crypt-v2 wraps its clients' keys with. Wiped on drop; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ServerKey([u8; Self::BYTES]);

impl ServerKey {
    /// Its length.
    pub const BYTES: usize = 2 * SLOT_BYTES;

    /// Wraps bytes that must be random.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// A new key. `seed` must be random and used for nothing else.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(*Draw::new(seed).bytes())
    }

    /// Reads OpenVPN's file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn from_file(text: &str) -> Result<Self, KeyFileError> {
        let bytes = decoded(text, SERVER_NAME)?;
        Ok(Self(bytes.as_slice().try_into().map_err(|_| KeyFileError::Length)?))
    }

    /// OpenVPN's file (`--genkey tls-crypt-v2-server`).
    #[must_use]
    pub fn to_file(&self) -> Zeroizing<String> {
        encoded(SERVER_NAME, &self.0)
    }

    fn keys(&self) -> Half {
        Half { cipher: leading(&self.0, 0), mac: leading(&self.0, SLOT_BYTES) }
    }

    /// Makes a client's key out of a fresh static one. `metadata` is for other servers: ours ignores it. It begins
    /// with its type, 0 for free data, 1 for the time of issue as 64 bits, big endian.
    ///
    /// # Errors
    /// Too much metadata.
    pub fn wrap(&self, key: StaticKey, metadata: &[u8]) -> Result<ClientKey, WrapKeyError> {
        if metadata.len() > MAX_METADATA_BYTES {
            return Err(WrapKeyError::Metadata);
        }
        let total = MIN_WRAPPED_BYTES + metadata.len();
        let length = u16::try_from(total).map_err(|_| WrapKeyError::Length)?.to_be_bytes();
        let keys = self.keys();
        let mut body = Zeroizing::new(Vec::with_capacity(StaticKey::BYTES + metadata.len()));
        body.extend_from_slice(key.as_bytes());
        body.extend_from_slice(metadata);
        let tag = keys.tag(&[&length, &body]);
        if !keys.apply(&tag, &mut body) {
            return Err(WrapKeyError::Cipher);
        }
        let wrapped = [tag.as_slice(), body.as_slice(), &length].concat();
        Ok(ClientKey { key, wrapped })
    }

    /// The client's key inside a wrapped one; metadata is ignored. All lengths are looked at before anything else.
    ///
    /// # Errors
    /// It was not wrapped with this key.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<StaticKey, WrapKeyError> {
        if !(MIN_WRAPPED_BYTES..=MAX_WRAPPED_BYTES).contains(&wrapped.len()) {
            return Err(WrapKeyError::Length);
        }
        let (tag, rest) = wrapped.split_first_chunk::<TAG_BYTES>().ok_or(WrapKeyError::Length)?;
        let (body, length) = rest.split_last_chunk::<LENGTH_BYTES>().ok_or(WrapKeyError::Length)?;
        if usize::from(u16::from_be_bytes(*length)) != wrapped.len() {
            return Err(WrapKeyError::Length);
        }
        let keys = self.keys();
        let mut body = Zeroizing::new(body.to_vec());
        if !keys.apply(tag, &mut body) {
            return Err(WrapKeyError::Cipher);
        }
        if !constant_time_eq(&keys.tag(&[length, &body]), tag) {
            return Err(WrapKeyError::Forged);
        }
        let key = body.first_chunk::<{ StaticKey::BYTES }>().ok_or(WrapKeyError::Length)?;
        Ok(StaticKey(*key))
    }
}

impl std::fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerKey(..)")
    }
}

/// A client's own key of tls-crypt-v2, and the same wrapped for its server.
#[derive(Clone)]
pub struct ClientKey {
    key: StaticKey,
    wrapped: Vec<u8>,
}

impl ClientKey {
    /// Reads OpenVPN's file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn from_file(text: &str) -> Result<Self, KeyFileError> {
        let bytes = decoded(text, CLIENT_NAME)?;
        let (key, wrapped) = bytes.split_first_chunk::<{ StaticKey::BYTES }>().ok_or(KeyFileError::Length)?;
        if split_wrapped_key(wrapped).is_none_or(|(before, _)| !before.is_empty()) {
            return Err(KeyFileError::Length);
        }
        Ok(Self { key: StaticKey(*key), wrapped: wrapped.to_vec() })
    }

    /// OpenVPN's file (`--genkey tls-crypt-v2-client`).
    #[must_use]
    pub fn to_file(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([self.key.0.as_slice(), &self.wrapped].concat());
        encoded(CLIENT_NAME, &bytes)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &StaticKey {
        &self.key
    }

    /// The key as only the server can read it; no secret.
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

/// Cuts the wrapped key off the end of a packet; its last two bytes are its length. `None` if that length is
/// impossible. Nothing is authenticated.
pub(super) fn split_wrapped_key(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_be_bytes(*packet.last_chunk::<LENGTH_BYTES>()?));
    if !(MIN_WRAPPED_BYTES..=MAX_WRAPPED_BYTES).contains(&length) {
        return None;
    }
    packet.split_at_checked(packet.len().checked_sub(length)?)
}

/// The used part of the slot at `from`.
fn leading(bytes: &[u8], from: usize) -> Zeroizing<[u8; USED_BYTES]> {
    let mut key = Zeroizing::new([0; USED_BYTES]);
    for (to, from) in key.iter_mut().zip(bytes.iter().skip(from)) {
        *to = *from;
    }
    key
}

/// What stands between the lines that begin and end a key, without white space.
fn between(text: &str, name: &str) -> Result<Zeroizing<String>, KeyFileError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(KeyFileError::TooLong);
    }
    let (begin, end) = (format!("-----BEGIN {name}-----"), format!("-----END {name}-----"));
    let (_, rest) = text.split_once(&begin).ok_or(KeyFileError::Frame)?;
    let (body, _) = rest.split_once(&end).ok_or(KeyFileError::Frame)?;
    let mut kept = Zeroizing::new(String::with_capacity(body.len()));
    kept.extend(body.chars().filter(|c| !c.is_ascii_whitespace()));
    Ok(kept)
}

fn decoded(text: &str, name: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let body = between(text, name)?;
    Ok(Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| KeyFileError::Encoding)?))
}

fn encoded(name: &str, bytes: &[u8]) -> Zeroizing<String> {
    let all = Zeroizing::new(STANDARD.encode(bytes));
    let mut body = Zeroizing::new(String::with_capacity(all.len() + all.len() / 32));
    let mut rest = all.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
        body.push_str(line);
        body.push('\n');
        rest = tail;
    }
    framed(name, &body)
}

fn framed(name: &str, body: &str) -> Zeroizing<String> {
    // Its own comment lines come in front of a static key: room for them, so that nothing is moved.
    let mut text = Zeroizing::new(String::with_capacity(body.len() + 256));
    for part in ["-----BEGIN ", name, "-----\n", body, "-----END ", name, "-----\n"] {
        text.push_str(part);
    }
    text
}
