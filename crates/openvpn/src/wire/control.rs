//! Control packets: a checked view of one, and its encoding.
//!
//! Layout: `op/key(1) | own sid(8) | ack count(1) | ack ids(4 n) | [peer sid(8) if n > 0] | message id(4, not in
//! ACK_V1) | payload`. spec: openvpn-protocol §2.2.

use super::{Opcode, SessionId};

/// Acknowledgements one packet can carry; a packet with more is malformed.
pub const MAX_ACKS: usize = 8;

/// Longest header: first byte, session id, ack count, eight acks, peer session id, message id.
pub const CONTROL_HEADER_MAX_BYTES: usize = 1 + 8 + 1 + 4 * MAX_ACKS + 8 + 4;

/// Why bytes are not a control packet.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The opcode is unknown or one of a data packet.
    #[error("not a control packet")]
    NotControl,
    /// The packet ends inside a field.
    #[error("packet too short")]
    Truncated,
    /// More than eight acknowledgements.
    #[error("too many acknowledgements")]
    TooManyAcks,
    /// A session id of zero.
    #[error("session id is zero")]
    ZeroSession,
    /// An ACK_V1 with bytes behind its acknowledgements, or with none at all.
    #[error("malformed acknowledgement packet")]
    BadAck,
}

/// Up to eight message ids, in the order of the wire.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub struct AckIds {
    ids: [u32; MAX_ACKS],
    len: usize,
}

impl AckIds {
    /// Appends an id; false (and unchanged) if there are eight already.
    pub fn push(&mut self, id: u32) -> bool {
        let Some(slot) = self.ids.get_mut(self.len) else { return false };
        *slot = id;
        self.len += 1;
        true
    }

    /// The ids.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        self.ids.get(..self.len).unwrap_or(&[])
    }

    /// True if there is no id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl FromIterator<u32> for AckIds {
    /// Takes the first eight.
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut list = Self::default();
        for id in ids.into_iter().take(MAX_ACKS) {
            list.push(id);
        }
        list
    }
}

/// A control packet: parsed from the wire, or to be put on it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Control<'p> {
    /// Any opcode but the data ones.
    pub opcode: Opcode,
    /// 0 to 7.
    pub key_id: u8,
    /// Session id of the sender.
    pub session: SessionId,
    /// Message ids the sender has received.
    pub acks: AckIds,
    /// Session id of the receiver; there if and only if `acks` is not empty.
    pub peer_session: Option<SessionId>,
    /// `None` if and only if the opcode is ACK_V1.
    pub message_id: Option<u32>,
    /// TLS bytes, for CONTROL_V1.
    pub payload: &'p [u8],
}

impl<'p> Control<'p> {
    /// Reads one packet.
    ///
    /// # Errors
    /// [`Malformed`] if any field is missing or out of bounds.
    pub fn parse(packet: &'p [u8]) -> Result<Self, Malformed> {
        let (opcode, key_id) = super::opcode(packet).ok_or(Malformed::NotControl)?;
        if opcode.is_data() {
            return Err(Malformed::NotControl);
        }
        let mut rest = packet.get(1..).ok_or(Malformed::Truncated)?;
        let session = SessionId(take(&mut rest)?);
        let [count] = take(&mut rest)?;
        if usize::from(count) > MAX_ACKS {
            return Err(Malformed::TooManyAcks);
        }
        let mut acks = AckIds::default();
        for _ in 0..count {
            acks.push(u32::from_be_bytes(take(&mut rest)?));
        }
        let peer_session = if count > 0 { Some(SessionId(take(&mut rest)?)) } else { None };
        let message_id = match opcode {
            Opcode::AckV1 => None,
            _ => Some(u32::from_be_bytes(take(&mut rest)?)),
        };
        if !session.is_valid() || peer_session.is_some_and(|sid| !sid.is_valid()) {
            return Err(Malformed::ZeroSession);
        }
        if opcode == Opcode::AckV1 && (acks.is_empty() || !rest.is_empty()) {
            return Err(Malformed::BadAck);
        }
        Ok(Self { opcode, key_id, session, acks, peer_session, message_id, payload: rest })
    }

    /// Appends the packet to `out`. `peer_session` is written only if there are acks (zeroes if it is missing).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.opcode.first_byte(self.key_id));
        out.extend_from_slice(&self.session.0);
        let acks = self.acks.as_slice();
        out.push(u8::try_from(acks.len()).unwrap_or(0));
        for id in acks {
            out.extend_from_slice(&id.to_be_bytes());
        }
        if !acks.is_empty() {
            out.extend_from_slice(&self.peer_session.map_or([0; 8], |sid| sid.0));
        }
        if self.opcode != Opcode::AckV1 {
            out.extend_from_slice(&self.message_id.unwrap_or(0).to_be_bytes());
        }
        out.extend_from_slice(self.payload);
    }
}

/// Cuts `N` bytes from the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
    *rest = tail;
    Ok(*head)
}
