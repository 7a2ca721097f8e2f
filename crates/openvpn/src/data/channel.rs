//! Sealing and opening of data packets under up to eight keys.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

use super::replay::ReplayWindow;
use super::{Cipher, KeyMaterial, Role};
use crate::wire::Opcode;

const TAG_BYTES: usize = 16;
/// From this packet id on a new key is due; half a minute at ten gigabit is left. spec: openvpn-protocol §8.6
const REKEY_PACKET_ID: u32 = 0xff00_0000;
/// Packets plus 16-byte blocks under one GCM key; the bound is 2^36.
const REKEY_BLOCKS: u64 = (1 << 36) - (1 << 32);
/// Failed authentications tolerated under one key before it is replaced.
const REKEY_FAILURES: u64 = (1 << 36) - (1 << 32);

/// Why a key cannot be installed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Key ids are 0 to 7.
    #[error("key id out of range")]
    KeyId,
    /// Peer ids have 24 bits.
    #[error("peer id out of range")]
    PeerId,
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
    /// No such key is installed.
    #[error("unknown key id")]
    UnknownKey,
    /// The peer id is not this session's.
    #[error("wrong peer id")]
    WrongPeerId,
    /// Packet id seen before, too old, or zero.
    #[error("replayed packet")]
    Replayed,
    /// The tag does not fit.
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
    /// All packet ids of the key are used up.
    #[error("packet ids used up")]
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
    open: LessSafeKey,
    seal: LessSafeKey,
    open_iv: [u8; 8],
    seal_iv: [u8; 8],
    peer_id: Option<u32>,
    /// Next packet id to send; beyond `u32::MAX` the key is exhausted.
    next_id: u64,
    replay: ReplayWindow,
    used: bool,
    sealed_blocks: u64,
    opened_blocks: u64,
    failures: u64,
}

/// Keys of one session's data channel; one owner (a worker). No allocation per packet.
pub struct Channel {
    role: Role,
    slots: [Option<Box<Slot>>; 8],
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
        Self { role, slots: Default::default(), sending: None }
    }

    /// Makes a key ready to receive under (and to send, once [`Channel::send_with`] says so). A key of the same id
    /// is replaced. With `v2_peer_id` packets are DATA_V2, without it DATA_V1.
    ///
    /// # Errors
    /// An id is out of range, or the cipher refuses the key.
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
        let place = self.slots.get_mut(usize::from(key_id)).ok_or(KeyError::KeyId)?;
        let (client_to_server, server_to_client) = keys.as_bytes().split_at(128);
        let (open, seal) = match self.role {
            Role::Server => (client_to_server, server_to_client),
            Role::Client => (server_to_client, client_to_server),
        };
        let (open, open_iv) = half(open, cipher)?;
        let (seal, seal_iv) = half(seal, cipher)?;
        *place = Some(Box::new(Slot {
            open,
            seal,
            open_iv,
            seal_iv,
            peer_id: v2_peer_id,
            next_id: 1,
            replay: ReplayWindow::new(),
            used: false,
            sealed_blocks: 0,
            opened_blocks: 0,
            failures: 0,
        }));
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
        let (header_bytes, aad_from) = match opcode {
            Opcode::DataV1 => (1, 1),
            Opcode::DataV2 => (4, 0),
            _ => return Err(OpenError::Malformed),
        };
        let peer_id = crate::wire::peer_id(packet);
        let slot =
            self.slots.get_mut(usize::from(key_id)).and_then(Option::as_mut).ok_or(OpenError::UnknownKey)?;
        // Clients do not look at the peer id they are sent; the server's routing to us did, so the two must agree.
        if self.role == Role::Server && opcode == Opcode::DataV2 && peer_id != slot.peer_id {
            return Err(OpenError::WrongPeerId);
        }
        let (head, rest) = packet.split_at_mut_checked(header_bytes + 4).ok_or(OpenError::Malformed)?;
        let (tag, ciphertext) = rest.split_first_chunk_mut::<TAG_BYTES>().ok_or(OpenError::Malformed)?;
        if ciphertext.is_empty() {
            return Err(OpenError::Malformed);
        }
        let id_bytes = *head.last_chunk::<4>().ok_or(OpenError::Malformed)?;
        let id = u32::from_be_bytes(id_bytes);
        if !slot.replay.check(id) {
            return Err(OpenError::Replayed);
        }
        let aad = head.get(aad_from..).ok_or(OpenError::Malformed)?;
        let blocks = blocks(ciphertext.len());
        let nonce = nonce(id_bytes, slot.open_iv);
        let Ok(payload) = slot.open.open_in_place_separate_tag(nonce, Aad::from(aad), tag, ciphertext) else {
            slot.failures += 1;
            return Err(OpenError::Unauthenticated);
        };
        slot.replay.commit(id);
        slot.opened_blocks = slot.opened_blocks.saturating_add(blocks);
        let first_use = !std::mem::replace(&mut slot.used, true);
        Ok(Opened { key_id, payload, first_use })
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
        let id = u32::try_from(slot.next_id).map_err(|_| SealError::Exhausted)?;
        // Used up even if sealing fails below: an id must never meet two payloads.
        slot.next_id += 1;
        let id_bytes = id.to_be_bytes();
        let [i0, i1, i2, i3] = id_bytes;
        let (head, head_bytes, aad_from) = match slot.peer_id {
            Some(peer) => {
                let [_, p0, p1, p2] = peer.to_be_bytes();
                ([Opcode::DataV2.first_byte(key_id), p0, p1, p2, i0, i1, i2, i3], 8, 0)
            }
            None => ([Opcode::DataV1.first_byte(key_id), i0, i1, i2, i3, 0, 0, 0], 5, 1),
        };
        let head = head.get(..head_bytes).ok_or(SealError::Cipher)?;
        let aad = head.get(aad_from..).ok_or(SealError::Cipher)?;
        let start = out.len();
        out.extend_from_slice(head);
        let body = out.len();
        out.resize(body + TAG_BYTES + payload.len(), 0);
        let sealed = out.get_mut(body..).and_then(|space| space.split_at_mut_checked(TAG_BYTES)).is_some_and(
            |(tag, ciphertext)| {
                let nonce = nonce(id_bytes, slot.seal_iv);
                slot.seal
                    .seal_out_of_place_scatter(nonce, Aad::from(aad), payload, ciphertext, &[], tag)
                    .is_ok()
            },
        );
        if !sealed {
            out.truncate(start);
            return Err(SealError::Cipher);
        }
        slot.sealed_blocks = slot.sealed_blocks.saturating_add(blocks(payload.len()));
        Ok(())
    }

    /// Lets a test come to the end of the packet ids.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, key_id: u8, next_id: u64) {
        if let Some(slot) = &mut self.slots[usize::from(key_id)] {
            slot.next_id = next_id;
        }
    }

    /// True if the key in use nears the end of its packet ids or of what its cipher may protect.
    #[must_use]
    pub fn needs_rekey(&self) -> bool {
        let Some(slot) = self.sending.and_then(|id| self.slots.get(usize::from(id))?.as_ref()) else {
            return false;
        };
        slot.next_id > u64::from(REKEY_PACKET_ID)
            || slot.replay.highest() > REKEY_PACKET_ID
            || slot.sealed_blocks > REKEY_BLOCKS
            || slot.opened_blocks > REKEY_BLOCKS
            || slot.failures > REKEY_FAILURES
    }
}

/// Key and implicit IV of one direction: `cipher slot(64) | HMAC slot(64)`.
fn half(material: &[u8], cipher: Cipher) -> Result<(LessSafeKey, [u8; 8]), KeyError> {
    let algorithm: &'static Algorithm = match cipher {
        Cipher::Aes256Gcm => &AES_256_GCM,
        Cipher::Aes128Gcm => &AES_128_GCM,
        Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
    };
    let (cipher_slot, hmac_slot) = material.split_at_checked(64).ok_or(KeyError::Cipher)?;
    let key = cipher_slot.get(..algorithm.key_len()).ok_or(KeyError::Cipher)?;
    let iv = *hmac_slot.first_chunk::<8>().ok_or(KeyError::Cipher)?;
    let key = UnboundKey::new(algorithm, key).map_err(|_| KeyError::Cipher)?;
    Ok((LessSafeKey::new(key), iv))
}

fn nonce(id: [u8; 4], iv: [u8; 8]) -> Nonce {
    let [a, b, c, d] = id;
    let [e, f, g, h, i, j, k, l] = iv;
    Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
}

/// What a packet costs of a GCM key's bound: itself and its 16-byte blocks.
fn blocks(bytes: usize) -> u64 {
    1 + u64::try_from(bytes.div_ceil(16)).unwrap_or(u64::MAX >> 1)
}
