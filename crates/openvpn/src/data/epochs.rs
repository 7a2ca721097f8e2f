//! One key in the epoch format: keys are derived epoch by epoch, packet ids have 48 bits, the tag stands at the end.
//!
//! A direction's sender moves to the next epoch when its key has done enough; the receiver follows on the first
//! authentic packet of it, and then sends in it too. So a key lasts, in practice, for ever.
//! spec: openvpn-protocol §8.4

use std::collections::VecDeque;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::channel::{KeyError, OpenError, SealError, TAG_BYTES, aead_key, blocks};
use super::replay::ReplayWindow;
use super::{Cipher, Limits};
use crate::wire::Opcode;

/// Epochs ahead of the current one whose packets are opened. Their keys are ready, so that a forged packet costs no
/// derivation.
const FUTURE_EPOCHS: usize = 4;
/// Opcode and peer id, epoch, packet id.
const HEADER_BYTES: usize = 4 + 2 + 6;
/// The last packet id of an epoch.
const LAST_ID: u64 = (1 << 48) - 1;

/// Key and IV of one epoch in one direction.
struct EpochKey {
    epoch: u16,
    key: LessSafeKey,
    iv: [u8; 12],
}

impl EpochKey {
    fn nonce(&self, id: [u8; 8]) -> Nonce {
        let mut nonce = self.iv;
        for (byte, id) in nonce.iter_mut().zip(id) {
            *byte ^= id;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Authenticates and decrypts `body`, whose tag stands at its end.
    fn open<'p>(&self, head: &[u8], id: [u8; 8], body: &'p mut [u8]) -> Result<&'p mut [u8], OpenError> {
        let opened = self.key.open_in_place(self.nonce(id), Aad::from(head), body);
        opened.map_err(|_| OpenError::Unauthenticated)
    }
}

/// Makes one direction's keys, an epoch after the other.
struct Chain {
    secret: Zeroizing<[u8; 32]>,
    /// The epoch of `secret`; `None` once the last one has been made.
    epoch: Option<u16>,
    cipher: Cipher,
}

impl Chain {
    /// Starts at epoch 1 with the first bytes of the direction's cipher slot.
    fn new(material: &[u8], cipher: Cipher) -> Result<Self, KeyError> {
        let secret = Zeroizing::new(*material.first_chunk().ok_or(KeyError::Cipher)?);
        Ok(Self { secret, epoch: Some(1), cipher })
    }

    /// The next epoch's key; `Ok(None)` behind the last epoch.
    fn next(&mut self) -> Result<Option<EpochKey>, KeyError> {
        let Some(epoch) = self.epoch else { return Ok(None) };
        let key = match self.cipher {
            Cipher::Aes128Gcm => aead_key(expand::<16>(&self.secret, KEY).as_slice(), self.cipher)?,
            Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => {
                aead_key(expand::<32>(&self.secret, KEY).as_slice(), self.cipher)?
            }
        };
        let key = EpochKey { epoch, key, iv: *expand::<12>(&self.secret, "data_iv") };
        self.secret = expand::<32>(&self.secret, "datakey upd");
        self.epoch = epoch.checked_add(1);
        Ok(Some(key))
    }
}

/// Label of an epoch's key.
const KEY: &str = "data_key";

/// HKDF-Expand of RFC 5869 with SHA-256 and the label structure of TLS 1.3 under the prefix `ovpn `. `N` is at most
/// 32, one block.
fn expand<const N: usize>(secret: &[u8; 32], label: &str) -> Zeroizing<[u8; N]> {
    const PREFIX: &str = "ovpn ";
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    let length = u16::try_from(N).unwrap_or(u16::MAX);
    mac.update(&length.to_be_bytes());
    mac.update(&[u8::try_from(PREFIX.len() + label.len()).unwrap_or(u8::MAX)]);
    mac.update(PREFIX.as_bytes());
    mac.update(label.as_bytes());
    mac.update(&[0, 1]); // no context; the first block
    let block = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
    let mut out = Zeroizing::new([0; N]);
    for (to, from) in out.iter_mut().zip(block.iter()) {
        *to = *from;
    }
    out
}

/// An epoch that packets have come in, or are expected in.
struct Receiving {
    key: EpochKey,
    replay: ReplayWindow,
}

impl Receiving {
    fn new(key: EpochKey) -> Self {
        Self { key, replay: ReplayWindow::new() }
    }
}

/// Both directions of one key.
pub(super) struct EpochKeys {
    /// The epoch before `current`: late packets.
    previous: Option<Receiving>,
    current: Receiving,
    /// The epochs behind `current`, without gaps; at most [`FUTURE_EPOCHS`].
    future: VecDeque<EpochKey>,
    open_chain: Chain,
    opened_blocks: u64,
    seal: EpochKey,
    seal_chain: Chain,
    /// Next packet id to send in this epoch.
    next_id: u64,
    /// In this epoch.
    sealed_blocks: u64,
}

impl EpochKeys {
    /// From the halves of the material that we open and seal with.
    pub(super) fn new(open: &[u8], seal: &[u8], cipher: Cipher) -> Result<Self, KeyError> {
        let mut open_chain = Chain::new(open, cipher)?;
        let mut seal_chain = Chain::new(seal, cipher)?;
        let current = open_chain.next()?.ok_or(KeyError::Cipher)?;
        let seal = seal_chain.next()?.ok_or(KeyError::Cipher)?;
        let mut keys = Self {
            previous: None,
            current: Receiving::new(current),
            future: VecDeque::with_capacity(FUTURE_EPOCHS),
            open_chain,
            opened_blocks: 0,
            seal,
            seal_chain,
            next_id: 1,
            sealed_blocks: 0,
        };
        keys.refill()?;
        Ok(keys)
    }

    fn refill(&mut self) -> Result<(), KeyError> {
        while self.future.len() < FUTURE_EPOCHS {
            let Some(key) = self.open_chain.next()? else { break };
            self.future.push_back(key);
        }
        Ok(())
    }

    /// Opens a packet; an authentic one of a later epoch moves both directions there.
    pub(super) fn open<'p>(&mut self, packet: &'p mut [u8]) -> Result<&'p mut [u8], OpenError> {
        let (head, body) = packet.split_first_chunk_mut::<HEADER_BYTES>().ok_or(OpenError::Malformed)?;
        let Some(payload_bytes) = body.len().checked_sub(TAG_BYTES).filter(|bytes| *bytes > 0) else {
            return Err(OpenError::Malformed);
        };
        let [_, _, _, _, e0, e1, c0, c1, c2, c3, c4, c5] = *head;
        let epoch = u16::from_be_bytes([e0, e1]);
        let id = u64::from_be_bytes([0, 0, c0, c1, c2, c3, c4, c5]);
        let id_bytes = [e0, e1, c0, c1, c2, c3, c4, c5];
        if id == 0 {
            return Err(OpenError::Replayed);
        }
        let known = [Some(&mut self.current), self.previous.as_mut()]
            .into_iter()
            .flatten()
            .find(|known| known.key.epoch == epoch);
        let payload = match known {
            Some(known) if !known.replay.check(id) => return Err(OpenError::Replayed),
            Some(known) => {
                let payload = known.key.open(head, id_bytes, body)?;
                known.replay.commit(id);
                payload
            }
            None => {
                let place = self.future.iter().position(|key| key.epoch == epoch);
                let place = place.ok_or(OpenError::UnknownKey)?;
                let key = self.future.get(place).ok_or(OpenError::UnknownKey)?;
                let payload = key.open(head, id_bytes, body)?;
                self.move_up(place);
                self.current.replay.commit(id);
                payload
            }
        };
        self.opened_blocks = self.opened_blocks.saturating_add(blocks(payload_bytes));
        Ok(payload)
    }

    /// Receives in the future epoch at `place` from now on, and sends in none before it.
    fn move_up(&mut self, place: usize) {
        let Some(key) = self.future.drain(..=place).next_back() else { return };
        let epoch = key.epoch;
        self.previous = Some(std::mem::replace(&mut self.current, Receiving::new(key)));
        self.opened_blocks = 0;
        // Derived keys have the right length, so the cipher takes them; should it not, packets of those epochs are
        // dropped.
        let _ = self.refill();
        while self.seal.epoch < epoch && self.next_epoch() {}
    }

    /// Sends in the next epoch from now on; false if there is none.
    fn next_epoch(&mut self) -> bool {
        let Ok(Some(key)) = self.seal_chain.next() else { return false };
        self.seal = key;
        self.next_id = 1;
        self.sealed_blocks = 0;
        true
    }

    pub(super) fn seal(
        &mut self,
        key_id: u8,
        peer_id: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<(), SealError> {
        if self.is_worn(limits) && self.may_move() {
            self.next_epoch();
        }
        let cost = self.sealed_blocks.saturating_add(blocks(payload.len()));
        if self.next_id > LAST_ID || cost > limits.max_blocks {
            return Err(SealError::Exhausted);
        }
        let [_, _, i0, i1, i2, i3, i4, i5] = self.next_id.to_be_bytes();
        let [e0, e1] = self.seal.epoch.to_be_bytes();
        let [_, p0, p1, p2] = peer_id.to_be_bytes();
        // Used up even if sealing fails below: an id must never meet two payloads.
        self.next_id += 1;
        self.sealed_blocks = cost;
        let head = [Opcode::DataV2.first_byte(key_id), p0, p1, p2, e0, e1, i0, i1, i2, i3, i4, i5];
        let nonce = self.seal.nonce([e0, e1, i0, i1, i2, i3, i4, i5]);
        let start = out.len();
        out.extend_from_slice(&head);
        let body = out.len();
        out.resize(body + payload.len() + TAG_BYTES, 0);
        let sealed = out
            .get_mut(body..)
            .and_then(|space| space.split_at_mut_checked(payload.len()))
            .is_some_and(|(ciphertext, tag)| {
                let key = &self.seal.key;
                key.seal_out_of_place_scatter(nonce, Aad::from(&head), payload, ciphertext, &[], tag).is_ok()
            });
        if !sealed {
            out.truncate(start);
            return Err(SealError::Cipher);
        }
        Ok(())
    }

    /// True if the epoch we send in has done enough.
    fn is_worn(&self, limits: &Limits) -> bool {
        self.next_id > limits.epoch_packet_id || self.sealed_blocks > limits.rekey_blocks
    }

    /// False if the peer has not followed for so long that it might not open what comes, nor we what it answers; or
    /// in the last epoch. Then we go on with the key there is, to its end.
    fn may_move(&self) -> bool {
        let ahead = self.seal.epoch.saturating_sub(self.current.key.epoch);
        usize::from(ahead) < FUTURE_EPOCHS && self.seal.epoch < u16::MAX
    }

    /// True if either direction nears its last epoch, or the peer does not follow where a key has done enough.
    pub(super) fn nears_end(&self, limits: &Limits) -> bool {
        self.seal.epoch >= limits.rekey_epoch
            || self.current.key.epoch >= limits.rekey_epoch
            || self.is_worn(limits) && !self.may_move()
            || self.opened_blocks > limits.max_blocks
    }

    /// Epochs we send and receive in.
    #[cfg(test)]
    pub(super) fn epochs(&self) -> (u16, u16) {
        (self.seal.epoch, self.current.key.epoch)
    }

    /// Lets a test come near the last epoch: the sender is there, the receiver expects it.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, epoch: u16) {
        while self.seal.epoch < epoch && self.next_epoch() {}
        while self.current.key.epoch < epoch && !self.future.is_empty() {
            self.move_up(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_stands_in_the_derivation() {
        let secret = [7; 32];
        let (long, short) = (expand::<32>(&secret, KEY), expand::<16>(&secret, KEY));
        assert_ne!(long.get(..16), Some(short.as_slice()));
    }

    /// Values that the stock implementation's own tests expect.
    #[test]
    fn derivations_are_those_of_stock_peers() {
        let mut secret = [0; 32];
        secret[..2].copy_from_slice(&[19, 12]);
        let key = [
            0xed, 0x85, 0x33, 0xdb, 0x1c, 0x28, 0xac, 0xe4, 0x18, 0xe9, 0x00, 0x6a, 0xb2, 0x9c, 0x17, 0x41,
            0x7d, 0x60, 0xeb, 0xe6, 0xcd, 0x90, 0xbf, 0x0a,
        ];
        let iv = [0x86, 0x89, 0x0a, 0xab, 0xf0, 0x32, 0xcb, 0x59, 0xf4, 0xcf, 0xa3, 0x4e];
        assert_eq!(*expand::<24>(&secret, KEY), key);
        assert_eq!(*expand::<12>(&secret, "data_iv"), iv);
    }

    #[test]
    fn a_chain_ends_behind_its_last_epoch() {
        let mut chain = Chain::new(&[1; 128], Cipher::Aes256Gcm).unwrap();
        chain.epoch = Some(u16::MAX - 1);
        assert_eq!(chain.next().unwrap().map(|key| key.epoch), Some(u16::MAX - 1));
        assert_eq!(chain.next().unwrap().map(|key| key.epoch), Some(u16::MAX));
        assert!(chain.next().unwrap().is_none());
        assert!(chain.next().unwrap().is_none());
    }
}
