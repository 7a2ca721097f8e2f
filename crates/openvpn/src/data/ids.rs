//! One key in the formats with 32-bit packet ids, DATA_V1 and DATA_V2: keys and implicit IVs are cut out of the
//! material, the tag stands in front. spec: openvpn-protocol §8.1, §8.3

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use super::channel::{KeyError, OpenError, SealError, TAG_BYTES, aead_key, blocks};
use super::replay::ReplayWindow;
use super::{Cipher, Limits};
use crate::wire::Opcode;

/// Key and implicit IV of one direction.
struct Half {
    key: LessSafeKey,
    iv: [u8; 8],
}

impl Half {
    /// Out of `cipher slot(64) | HMAC slot(64)`.
    fn new(material: &[u8], cipher: Cipher) -> Result<Self, KeyError> {
        let (cipher_slot, hmac_slot) = material.split_at_checked(64).ok_or(KeyError::Cipher)?;
        let iv = *hmac_slot.first_chunk().ok_or(KeyError::Cipher)?;
        Ok(Self { key: aead_key(cipher_slot, cipher)?, iv })
    }

    fn nonce(&self, id: [u8; 4]) -> Nonce {
        let [a, b, c, d] = id;
        let [e, f, g, h, i, j, k, l] = self.iv;
        Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

/// Both directions of one key.
pub(super) struct IdKeys {
    open: Half,
    seal: Half,
    /// Next packet id to send; beyond `u32::MAX` the key is exhausted.
    next_id: u64,
    replay: ReplayWindow,
    sealed_blocks: u64,
    opened_blocks: u64,
}

impl IdKeys {
    /// From the halves of the material that we open and seal with.
    pub(super) fn new(open: &[u8], seal: &[u8], cipher: Cipher) -> Result<Self, KeyError> {
        Ok(Self {
            open: Half::new(open, cipher)?,
            seal: Half::new(seal, cipher)?,
            next_id: 1,
            replay: ReplayWindow::new(),
            sealed_blocks: 0,
            opened_blocks: 0,
        })
    }

    pub(super) fn open<'p>(&mut self, v2: bool, packet: &'p mut [u8]) -> Result<&'p mut [u8], OpenError> {
        let (header_bytes, aad_from) = if v2 { (4, 0) } else { (1, 1) };
        let (head, rest) = packet.split_at_mut_checked(header_bytes + 4).ok_or(OpenError::Malformed)?;
        let (tag, ciphertext) = rest.split_first_chunk_mut::<TAG_BYTES>().ok_or(OpenError::Malformed)?;
        if ciphertext.is_empty() {
            return Err(OpenError::Malformed);
        }
        let id_bytes = *head.last_chunk::<4>().ok_or(OpenError::Malformed)?;
        let id = u64::from(u32::from_be_bytes(id_bytes));
        if !self.replay.check(id) {
            return Err(OpenError::Replayed);
        }
        let aad = head.get(aad_from..).ok_or(OpenError::Malformed)?;
        let cost = blocks(ciphertext.len());
        let nonce = self.open.nonce(id_bytes);
        let opened = self.open.key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, ciphertext);
        let payload = opened.map_err(|_| OpenError::Unauthenticated)?;
        self.replay.commit(id);
        self.opened_blocks = self.opened_blocks.saturating_add(cost);
        Ok(payload)
    }

    pub(super) fn seal(
        &mut self,
        key_id: u8,
        peer_id: Option<u32>,
        payload: &[u8],
        out: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<(), SealError> {
        let cost = self.sealed_blocks.saturating_add(blocks(payload.len()));
        if cost > limits.max_blocks {
            return Err(SealError::Exhausted);
        }
        let id = u32::try_from(self.next_id).map_err(|_| SealError::Exhausted)?;
        // Used up even if sealing fails below: an id must never meet two payloads.
        self.next_id += 1;
        self.sealed_blocks = cost;
        let id_bytes = id.to_be_bytes();
        let [i0, i1, i2, i3] = id_bytes;
        let (head, head_bytes, aad_from) = match peer_id {
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
                let nonce = self.seal.nonce(id_bytes);
                let key = &self.seal.key;
                key.seal_out_of_place_scatter(nonce, Aad::from(aad), payload, ciphertext, &[], tag).is_ok()
            },
        );
        if !sealed {
            out.truncate(start);
            return Err(SealError::Cipher);
        }
        Ok(())
    }

    /// True if either direction nears the end of its packet ids or of what the cipher may protect.
    pub(super) fn nears_end(&self, limits: &Limits) -> bool {
        let last = u64::from(limits.rekey_packet_id);
        self.next_id > last
            || self.replay.highest() > last
            || self.sealed_blocks > limits.rekey_blocks
            || self.opened_blocks > limits.rekey_blocks
    }

    /// Lets a test come to the end of the packet ids.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, next_id: u64) {
        self.next_id = next_id;
    }
}
