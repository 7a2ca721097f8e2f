//! Sealing and opening of data packets under up to eight keys.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, UnboundKey};

use super::epochs::EpochKeys;
use super::ids::IdKeys;
use super::{Cipher, KeyMaterial, Limits, Role};
use crate::wire::Opcode;

pub(super) const TAG_BYTES: usize = 16;

/// Why a key cannot be installed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Key ids are 0 to 7.
    #[error("key id out of range")]
    KeyId,
    /// Peer ids have 24 bits.
    #[error("peer id out of range")]
    PeerId,
    /// The epoch format needs a peer id.
    #[error("the epoch format exists with a peer id only")]
    Format,
    /// The library refused the key.
    #[error("key refused by the cipher")]
    Cipher,
}

/// Why a packet is dropped. Never told to the peer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// Not a data packet, too short, or without payload.
    #[error("malformed data packet")]
    Malformed,
    /// No such key is installed, or the packet is of an epoch too far ahead or gone by.
    #[error("unknown key id")]
    UnknownKey,
    /// The peer id is not this session's.
    #[error("wrong peer id")]
    WrongPeerId,
    /// Packet id seen before, too old, or zero.
    #[error("replayed packet")]
    Replayed,
    /// The tag does not fit; or so many have not fitted that the key is not tried any more.
    #[error("authentication failed")]
    Unauthenticated,
}

/// Why a payload cannot be sealed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SealError {
    /// No key to send with yet, or it has been retired.
    #[error("no key to send with")]
    NoKey,
    /// A data packet needs at least one byte.
    #[error("empty payload")]
    Empty,
    /// The key has sealed as much as it may.
    #[error("key used up")]
    Exhausted,
    /// The cipher failed.
    #[error("cipher failure")]
    Cipher,
}

/// An authenticated packet.
#[derive(Debug)]
pub struct Opened<'p> {
    /// Key it came under.
    pub key_id: u8,
    /// Decrypted, in place, at least one byte.
    pub payload: &'p mut [u8],
    /// True for the first authenticated packet under this key.
    pub first_use: bool,
}

/// One key of the channel.
struct Slot {
    form: Form,
    peer_id: Option<u32>,
    used: bool,
    failures: u64,
}

/// The format a key's packets have; it never changes.
#[allow(clippy::large_enum_variant)] // a slot is boxed whole
enum Form {
    Ids(Box<IdKeys>),
    Epochs(Box<EpochKeys>),
}

/// Keys of one session's data channel; one owner (a worker). No allocation per packet.
pub struct Channel {
    role: Role,
    limits: Limits,
    slots: [Option<Slot>; 8],
    sending: Option<u8>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("role", &self.role)
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

impl Channel {
    /// A channel without keys: drops everything, sends nothing.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self::with_limits(role, Limits::default())
    }

    /// The same with other bounds than the usual ones.
    #[must_use]
    pub fn with_limits(role: Role, limits: Limits) -> Self {
        Self { role, limits, slots: Default::default(), sending: None }
    }

    /// Makes a key ready to receive under (and to send, once [`Channel::send_with`] says so). A key of the same id
    /// is replaced. With `v2_peer_id` packets are DATA_V2 (in epochs, if `keys` are for that), without it DATA_V1.
    ///
    /// # Errors
    /// An id is out of range or missing, or the cipher refuses the key.
    pub fn install(
        &mut self,
        key_id: u8,
        keys: &KeyMaterial,
        cipher: Cipher,
        v2_peer_id: Option<u32>,
    ) -> Result<(), KeyError> {
        if v2_peer_id.is_some_and(|id| id > 0x00ff_ffff) {
            return Err(KeyError::PeerId);
        }
        if keys.has_epochs() && v2_peer_id.is_none() {
            return Err(KeyError::Format);
        }
        let place = self.slots.get_mut(usize::from(key_id)).ok_or(KeyError::KeyId)?;
        let (client_to_server, server_to_client) = keys.as_bytes().split_at(128);
        let (open, seal) = match self.role {
            Role::Server => (client_to_server, server_to_client),
            Role::Client => (server_to_client, client_to_server),
        };
        let form = if keys.has_epochs() {
            Form::Epochs(Box::new(EpochKeys::new(open, seal, cipher)?))
        } else {
            Form::Ids(Box::new(IdKeys::new(open, seal, cipher)?))
        };
        *place = Some(Slot { form, peer_id: v2_peer_id, used: false, failures: 0 });
        Ok(())
    }

    /// From now on seal with this key. Ignored if it is not installed.
    pub fn send_with(&mut self, key_id: u8) {
        if self.slots.get(usize::from(key_id)).is_some_and(Option::is_some) {
            self.sending = Some(key_id);
        }
    }

    /// Forgets a key; the cipher library wipes it.
    pub fn retire(&mut self, key_id: u8) {
        if let Some(slot) = self.slots.get_mut(usize::from(key_id)) {
            *slot = None;
        }
        if self.sending == Some(key_id) {
            self.sending = None;
        }
    }

    /// Opens a packet in place: header, replay check, authentication, then (only then) the replay commit.
    /// DATA_V1 and DATA_V2 are told apart by the first byte. Of a failed packet the contents are undefined.
    ///
    /// # Errors
    /// The packet is to be dropped.
    pub fn open<'p>(&mut self, packet: &'p mut [u8]) -> Result<Opened<'p>, OpenError> {
        let (opcode, key_id) = crate::wire::opcode(packet).ok_or(OpenError::Malformed)?;
        if !opcode.is_data() {
            return Err(OpenError::Malformed);
        }
        let v2 = opcode == Opcode::DataV2;
        let peer_id = crate::wire::peer_id(packet);
        let slot =
            self.slots.get_mut(usize::from(key_id)).and_then(Option::as_mut).ok_or(OpenError::UnknownKey)?;
        // Clients do not look at the peer id they are sent; the server's routing to us did, so the two must agree.
        if self.role == Role::Server && v2 && peer_id != slot.peer_id {
            return Err(OpenError::WrongPeerId);
        }
        if slot.failures >= self.limits.max_failures {
            return Err(OpenError::Unauthenticated);
        }
        let opened = match &mut slot.form {
            Form::Ids(keys) => keys.open(v2, packet),
            Form::Epochs(keys) if v2 => keys.open(packet),
            Form::Epochs(_) => Err(OpenError::Malformed),
        };
        match opened {
            Ok(payload) => {
                let first_use = !std::mem::replace(&mut slot.used, true);
                Ok(Opened { key_id, payload, first_use })
            }
            Err(error) => {
                if error == OpenError::Unauthenticated {
                    slot.failures += 1;
                }
                Err(error)
            }
        }
    }

    /// Appends one whole data packet for `payload` to `out`.
    ///
    /// # Errors
    /// Nothing is appended; see [`SealError`].
    pub fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let key_id = self.sending.ok_or(SealError::NoKey)?;
        let slot =
            self.slots.get_mut(usize::from(key_id)).and_then(Option::as_mut).ok_or(SealError::NoKey)?;
        if payload.is_empty() {
            return Err(SealError::Empty);
        }
        match (&mut slot.form, slot.peer_id) {
            (Form::Ids(keys), peer_id) => keys.seal(key_id, peer_id, payload, out, &self.limits),
            (Form::Epochs(keys), Some(peer_id)) => keys.seal(key_id, peer_id, payload, out, &self.limits),
            (Form::Epochs(_), None) => Err(SealError::NoKey),
        }
    }

    /// True if the key in use nears the end of its packet ids, of its epochs, or of what its cipher may protect.
    #[must_use]
    pub fn needs_rekey(&self) -> bool {
        let Some(slot) = self.sending.and_then(|id| self.slots.get(usize::from(id))?.as_ref()) else {
            return false;
        };
        slot.failures > self.limits.rekey_failures
            || match &slot.form {
                Form::Ids(keys) => keys.nears_end(&self.limits),
                Form::Epochs(keys) => keys.nears_end(&self.limits),
            }
    }

    /// Lets a test come to the end of the packet ids.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, key_id: u8, next_id: u64) {
        if let Some(Form::Ids(keys)) = self.form(key_id) {
            keys.skip_to(next_id);
        }
    }

    /// Lets a test come near the last epoch.
    #[cfg(test)]
    pub(super) fn skip_to_epoch(&mut self, key_id: u8, epoch: u16) {
        if let Some(Form::Epochs(keys)) = self.form(key_id) {
            keys.skip_to(epoch);
        }
    }

    /// Epochs of sending and receiving.
    #[cfg(test)]
    pub(super) fn epochs(&mut self, key_id: u8) -> Option<(u16, u16)> {
        match self.form(key_id) {
            Some(Form::Epochs(keys)) => Some(keys.epochs()),
            _ => None,
        }
    }

    #[cfg(test)]
    fn form(&mut self, key_id: u8) -> Option<&mut Form> {
        self.slots.get_mut(usize::from(key_id))?.as_mut().map(|slot| &mut slot.form)
    }
}

/// A cipher's key out of the leading bytes of `bytes`.
pub(super) fn aead_key(bytes: &[u8], cipher: Cipher) -> Result<LessSafeKey, KeyError> {
    let algorithm: &'static Algorithm = match cipher {
        Cipher::Aes256Gcm => &AES_256_GCM,
        Cipher::Aes128Gcm => &AES_128_GCM,
        Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
    };
    let key = bytes.get(..algorithm.key_len()).ok_or(KeyError::Cipher)?;
    let key = UnboundKey::new(algorithm, key).map_err(|_| KeyError::Cipher)?;
    Ok(LessSafeKey::new(key))
}

/// What a packet costs of a GCM key's bound: itself and its 16-byte blocks.
pub(super) fn blocks(bytes: usize) -> u64 {
    1 + u64::try_from(bytes.div_ceil(16)).unwrap_or(u64::MAX >> 1)
}
