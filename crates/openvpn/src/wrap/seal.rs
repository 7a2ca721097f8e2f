//! The wrapping itself: HMAC-SHA256, then AES-256 in counter mode from that tag; and its replay ids.
//! spec: openvpn-protocol §4

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use constant_time_eq::constant_time_eq;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::StaticKey;
use crate::data::{ReplayWindow, Role};
use crate::wire::MAX_PACKET_BYTES;

/// First byte and session id: in clear.
const HEADER_BYTES: usize = 1 + 8;
const REPLAY_ID_BYTES: usize = 8;
/// The tag; its first half is the IV too.
pub(super) const TAG_BYTES: usize = 32;
const IV_BYTES: usize = 16;

/// Bytes that wrapping adds to a packet.
pub(crate) const WRAP_BYTES: usize = REPLAY_ID_BYTES + TAG_BYTES;

/// The two keys of one direction.
pub(super) struct Half {
    pub(super) cipher: Zeroizing<[u8; 32]>,
    pub(super) mac: Zeroizing<[u8; 32]>,
}

impl Half {
    fn of(key: &StaticKey, first: bool) -> Self {
        let (cipher, mac) = key.half(first);
        Self { cipher, mac }
    }

    /// What `role` seals with: the server with the first half.
    pub(super) fn sending(key: &StaticKey, role: Role) -> Self {
        Self::of(key, role == Role::Server)
    }

    /// What `role` opens with.
    pub(super) fn receiving(key: &StaticKey, role: Role) -> Self {
        Self::of(key, role == Role::Client)
    }

    /// Tag over these parts.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.mac.as_slice()).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Encrypts or decrypts: in counter mode they are the same. False if the cipher failed.
    #[must_use]
    pub(super) fn apply(&self, tag: &[u8; TAG_BYTES], bytes: &mut [u8]) -> bool {
        let Some(iv) = tag.first_chunk::<IV_BYTES>() else { return false };
        UnboundCipherKey::new(&AES_256, self.cipher.as_slice())
            .and_then(EncryptingKey::ctr)
            .and_then(|key| key.less_safe_encrypt(bytes, EncryptionContext::Iv128(FixedLength::from(iv))))
            .is_ok()
    }
}

/// Orders the packets of one key: by time, then by counter.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplayId {
    pub(super) counter: u32,
    pub(super) time: u32,
}

impl ReplayId {
    fn bytes(self) -> [u8; REPLAY_ID_BYTES] {
        let [a, b, c, d] = self.counter.to_be_bytes();
        let [e, f, g, h] = self.time.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }

    fn from_bytes(bytes: [u8; REPLAY_ID_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { counter: u32::from_be_bytes([a, b, c, d]), time: u32::from_be_bytes([e, f, g, h]) }
    }
}

/// Authenticates and decrypts a wrapped packet: its replay id, and the plain packet. `None` if it is not authentic.
pub(super) fn open(half: &Half, packet: &[u8]) -> Option<(ReplayId, Vec<u8>)> {
    if packet.len() > MAX_PACKET_BYTES {
        return None;
    }
    let (header, rest) = packet.split_first_chunk::<HEADER_BYTES>()?;
    let (id, rest) = rest.split_first_chunk::<REPLAY_ID_BYTES>()?;
    let (tag, ciphertext) = rest.split_first_chunk::<TAG_BYTES>()?;
    let mut plain = Vec::with_capacity(HEADER_BYTES + ciphertext.len());
    plain.extend_from_slice(header);
    plain.extend_from_slice(ciphertext);
    let body = plain.get_mut(HEADER_BYTES..)?;
    if !half.apply(tag, body) || !constant_time_eq(&half.tag(&[header, id, body]), tag) {
        return None;
    }
    Some((ReplayId::from_bytes(*id), plain))
}

/// Both directions of one key at one end.
pub(super) struct Wrapping {
    send: Half,
    receive: Half,
    /// When the key came into use: the same in all replay ids we send.
    time: u32,
    /// Next counter to send; `None` when all are used up.
    next: Option<u32>,
    /// Highest time received, and the counters seen with it.
    seen_time: u32,
    seen: ReplayWindow,
}

impl Wrapping {
    /// `first` is the first counter to send.
    pub(super) fn new(key: &StaticKey, role: Role, time: u32, first: u32) -> Self {
        Self {
            send: Half::sending(key, role),
            receive: Half::receiving(key, role),
            time,
            next: Some(first),
            seen_time: 0,
            seen: ReplayWindow::new(),
        }
    }

    /// Wraps the plain packet in `packet`. False (and nothing fit to be sent) if the key is used up.
    #[must_use]
    pub(super) fn seal(&mut self, packet: &mut Vec<u8>) -> bool {
        let Some(counter) = self.next else { return false };
        self.next = counter.checked_add(1);
        let id = ReplayId { counter, time: self.time }.bytes();
        let Some((header, body)) = packet.split_first_chunk_mut::<HEADER_BYTES>() else { return false };
        let tag = self.send.tag(&[header, &id, body]);
        if !self.send.apply(&tag, body) {
            return false;
        }
        packet.splice(HEADER_BYTES..HEADER_BYTES, id.into_iter().chain(tag));
        true
    }

    /// Opens a wrapped packet that has not been seen before; then (only then) it counts as seen.
    pub(super) fn open(&mut self, packet: &[u8]) -> Opened {
        let Some((id, plain)) = open(&self.receive, packet) else { return Opened::Forged };
        let counter = u64::from(id.counter);
        if id.time < self.seen_time || id.time == self.seen_time && !self.seen.check(counter) {
            return Opened::Replayed;
        }
        if id.time > self.seen_time {
            self.seen_time = id.time;
            self.seen = ReplayWindow::new();
        }
        self.seen.commit(counter);
        Opened::Packet(plain)
    }
}

/// What a wrapped packet was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// The plain packet.
    Packet(Vec<u8>),
    /// Authentic, but seen before, or too old to tell.
    Replayed,
    /// Not wrapped with this key.
    Forged,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Wrapping, Wrapping) {
        let key = StaticKey::from_seed([3; 32]);
        (Wrapping::new(&key, Role::Server, 100, 1), Wrapping::new(&key, Role::Client, 90, 0x0f00_0000))
    }

    fn sealed(wrapping: &mut Wrapping, body: &[u8]) -> Vec<u8> {
        let mut packet = [&[0x20][..], &[7; 8], body].concat();
        assert!(wrapping.seal(&mut packet));
        packet
    }

    #[test]
    fn what_is_wrapped_opens_once_at_the_other_end_only() {
        let (mut server, mut client) = pair();
        for body in [&[][..], b"x", &[5; 1200]] {
            let up = sealed(&mut client, body);
            assert_eq!(up.len(), 9 + WRAP_BYTES + body.len());
            assert_eq!(up.get(..9), Some(&[0x20, 7, 7, 7, 7, 7, 7, 7, 7][..]));
            assert_eq!(client.open(&up), Opened::Forged, "our own");
            assert_eq!(server.open(&up), Opened::Packet([&[0x20][..], &[7; 8], body].concat()));
            assert_eq!(server.open(&up), Opened::Replayed);
            let down = sealed(&mut server, body);
            assert!(matches!(client.open(&down), Opened::Packet(_)));
        }
    }

    #[test]
    fn every_byte_counts() {
        let (mut server, mut client) = pair();
        let packet = sealed(&mut client, b"something");
        for at in 0..packet.len() {
            let mut bad = packet.clone();
            bad[at] ^= 4;
            assert_eq!(server.open(&bad), Opened::Forged, "byte {at}");
            assert_eq!(server.open(&packet[..at]), Opened::Forged, "cut at {at}");
        }
        assert_eq!(server.open(&[packet.as_slice(), &[0]].concat()), Opened::Forged);
        assert!(matches!(server.open(&packet), Opened::Packet(_)), "none of them counted as seen");
    }

    #[test]
    fn later_times_begin_anew_and_earlier_ones_are_over() {
        let key = StaticKey::from_seed([3; 32]);
        let mut server = Wrapping::new(&key, Role::Server, 1, 1);
        let at = |time| sealed(&mut Wrapping::new(&key, Role::Client, time, 5), b"x");
        let (old, new) = (at(10), at(11));
        assert!(matches!(server.open(&old), Opened::Packet(_)));
        assert!(matches!(server.open(&new), Opened::Packet(_)));
        for again in [&old, &new] {
            assert_eq!(server.open(again), Opened::Replayed);
        }
    }

    #[test]
    fn a_key_without_counters_left_seals_nothing() {
        let key = StaticKey::from_seed([3; 32]);
        let mut client = Wrapping::new(&key, Role::Client, 1, u32::MAX);
        assert!(client.seal(&mut vec![0; 20]));
        assert!(!client.seal(&mut vec![0; 20]));
        assert!(!Wrapping::new(&key, Role::Client, 1, 1).seal(&mut vec![0; 8]), "not even a header");
    }
}
