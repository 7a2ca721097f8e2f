//! TLS over the reliable layer: the part of a key state that server and client share.

use zeroize::Zeroizing;

use crate::Instant;
use crate::reliable::{ACKS_RIDING, Received, Reliable};
use crate::server::{Discard, FailReason};
use crate::text::append_secret;
use crate::tls::{Forgotten, Tls};
use crate::wire::{Control, MAX_ACKS, Opcode, SessionId};

/// Longest datagram we send on the control channel, in bytes. spec: openvpn-protocol §3
pub(crate) const MAX_DATAGRAM_BYTES: usize = 1250;
/// TLS bytes in one packet: what is left with the acknowledgements that ride on it.
const MAX_PAYLOAD_BYTES: usize = MAX_DATAGRAM_BYTES - (1 + 8 + 1 + 4 * ACKS_RIDING + 8 + 4);
/// TLS bytes a peer may send before the handshake is complete: long certificate chains, and nothing besides. A stranger has
/// us keep as much.
const MAX_HANDSHAKE_BYTES: usize = 32 * 1024;
/// TLS bytes queued for a peer that does not acknowledge.
const MAX_OUTGOING_BYTES: usize = 1024 * 1024;
/// A control message without its NUL may be this long.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// One key's control channel below key-method 2.
pub(crate) struct Exchange {
    pub(crate) key_id: u8,
    reliable: Reliable,
    tls: Box<dyn Tls>,
    outgoing: Vec<u8>,
    /// Bytes of `outgoing` that are packets already.
    packed: usize,
    handshake_bytes: usize,
    /// Send owed acknowledgements in a packet of their own before anything else (2.4 and 2.5, once).
    pub(crate) ack_alone: bool,
    /// Bytes that wrapping adds to each packet.
    overhead_bytes: usize,
    /// Bytes of the wrapped key that the next message is to carry.
    pub(crate) escort_bytes: Option<usize>,
}

impl Exchange {
    pub(crate) fn new(key_id: u8, reliable: Reliable, tls: Box<dyn Tls>) -> Self {
        Self {
            key_id,
            reliable,
            tls,
            outgoing: Vec::new(),
            packed: 0,
            handshake_bytes: 0,
            ack_alone: false,
            overhead_bytes: 0,
            escort_bytes: None,
        }
    }

    /// From now on packets are wrapped, which makes them so much longer.
    pub(crate) fn wrap(&mut self, overhead_bytes: usize) {
        self.overhead_bytes = overhead_bytes;
    }

    pub(crate) fn tls(&self) -> &dyn Tls {
        self.tls.as_ref()
    }

    /// Lets go of the TLS connection and of what it was to send; acknowledgements go on.
    pub(crate) fn forget_tls(&mut self) {
        self.tls = Box::new(Forgotten);
        self.outgoing = Vec::new();
        self.packed = 0;
    }

    /// Bytes that the peer has us keep: of a handshake under way, and ahead of what is missing.
    pub(crate) fn held_bytes(&self) -> usize {
        let of_handshake = if self.tls.handshaking() { self.handshake_bytes } else { 0 };
        of_handshake + self.reliable.held_bytes()
    }

    /// Queues a reset as the first message of this key.
    pub(crate) fn send_reset(&mut self, opcode: Opcode) {
        self.reliable.send(opcode, Vec::new());
    }

    /// Takes acknowledgements and message of a packet whose session ids have been checked.
    pub(crate) fn receive(&mut self, control: &Control<'_>) -> Result<(), Discard> {
        self.reliable.acknowledged(control.acks.as_slice());
        let Some(id) = control.message_id else { return Ok(()) };
        match self.reliable.receive(id, control.opcode, control.payload) {
            Received::New | Received::Seen => Ok(()),
            Received::Beyond => Err(Discard::Window),
        }
    }

    /// A hard reset that was answered without state has come again.
    pub(crate) fn acknowledge_reset(&mut self) {
        self.reliable.owe_ack(0);
    }

    /// Moves what has come in order through TLS; decrypted bytes are appended to `plaintext`.
    pub(crate) fn advance(&mut self, plaintext: &mut Zeroizing<Vec<u8>>) -> Result<(), FailReason> {
        let outcome = self.advance_tls(plaintext);
        // Also after an error: the alert.
        self.drain();
        outcome?;
        if self.outgoing.len() - self.packed > MAX_OUTGOING_BYTES {
            return Err(FailReason::Excess("queued control bytes"));
        }
        Ok(())
    }

    fn advance_tls(&mut self, plaintext: &mut Zeroizing<Vec<u8>>) -> Result<(), FailReason> {
        while let Some((opcode, payload)) = self.reliable.deliver() {
            if !matches!(opcode, Opcode::ControlV1 | Opcode::ControlWkcV1) {
                continue;
            }
            if self.tls.handshaking() {
                self.handshake_bytes = self.handshake_bytes.saturating_add(payload.len());
                if self.handshake_bytes > MAX_HANDSHAKE_BYTES {
                    return Err(FailReason::Excess("handshake bytes"));
                }
            }
            self.tls.feed(&payload).map_err(FailReason::Tls)?;
            let mut fresh = Zeroizing::new(Vec::new());
            self.tls.read(&mut fresh).map_err(FailReason::Tls)?;
            append_secret(plaintext, &fresh);
        }
        Ok(())
    }

    /// Fetches TLS bytes for the peer.
    pub(crate) fn drain(&mut self) {
        self.tls.drain(&mut self.outgoing);
    }

    /// Sends one control message (with its NUL, where it has one).
    pub(crate) fn write(&mut self, message: &[u8]) -> Result<(), FailReason> {
        self.tls.write(message).map_err(FailReason::Tls)?;
        self.drain();
        Ok(())
    }

    /// Sends a text message.
    pub(crate) fn write_text(&mut self, text: &str) -> Result<(), FailReason> {
        let mut message = Vec::with_capacity(text.len() + 1);
        message.extend_from_slice(text.as_bytes());
        message.push(0);
        self.write(&message)
    }

    /// Appends the next packet to `out`, if there is one.
    pub(crate) fn poll_transmit(
        &mut self,
        own: SessionId,
        peer: Option<SessionId>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> bool {
        let lonely = |exchange: &mut Self, out: &mut Vec<u8>| {
            let acks = exchange.reliable.acks(MAX_ACKS);
            exchange.ack_alone = false;
            Control {
                opcode: Opcode::AckV1,
                key_id: exchange.key_id,
                session: own,
                acks,
                peer_session: peer,
                message_id: None,
                payload: &[],
            }
            .encode(out);
        };
        if peer.is_some() && self.ack_alone && self.reliable.owes_acks() {
            lonely(self, out);
            return true;
        }
        self.pack();
        let acks = if peer.is_some() && self.reliable.is_due(now) {
            self.reliable.acks(ACKS_RIDING)
        } else {
            Default::default()
        };
        if let Some(message) = self.reliable.poll(now) {
            Control {
                opcode: message.opcode,
                key_id: self.key_id,
                session: own,
                acks,
                peer_session: peer,
                message_id: Some(message.id),
                payload: message.payload,
            }
            .encode(out);
            return true;
        }
        if peer.is_some() && self.reliable.owes_acks() {
            lonely(self, out);
            return true;
        }
        false
    }

    /// Cuts outgoing bytes into messages, as far as the window lets.
    fn pack(&mut self) {
        while self.reliable.has_room() {
            let rest = self.outgoing.get(self.packed..).unwrap_or(&[]);
            if rest.is_empty() {
                break;
            }
            let (opcode, escort_bytes) = match self.escort_bytes.take() {
                Some(bytes) => (Opcode::ControlWkcV1, bytes),
                None => (Opcode::ControlV1, 0),
            };
            // Positive whatever is taken off: the longest wrapped key has 1,024 bytes.
            let limit = MAX_PAYLOAD_BYTES.saturating_sub(self.overhead_bytes + escort_bytes).max(1);
            let chunk = rest.get(..limit).unwrap_or(rest).to_vec();
            self.packed += chunk.len();
            self.reliable.send(opcode, chunk);
        }
        if self.packed == self.outgoing.len() {
            self.outgoing.clear();
            self.packed = 0;
        }
    }

    /// When there is something to transmit again, if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.reliable.deadline()
    }

    /// True if the peer has acknowledged all that was ever queued.
    pub(crate) fn all_acknowledged(&self) -> bool {
        self.reliable.is_idle() && self.packed == self.outgoing.len()
    }
}

/// Splits decrypted bytes into NUL-terminated messages: they may share a record or span several.
#[derive(Default)]
pub(crate) struct Texts {
    buffer: Zeroizing<Vec<u8>>,
}

impl Texts {
    /// Takes bytes, yields the messages that are whole now.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Zeroizing<String>>, FailReason> {
        let mut messages = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == 0) {
            if self.buffer.len() + piece.len() > MAX_TEXT_BYTES {
                return Err(FailReason::Excess("control message bytes"));
            }
            append_secret(&mut self.buffer, piece);
            if self.buffer.last() == Some(&0) {
                self.buffer.pop();
                let whole = std::mem::take(&mut self.buffer);
                messages.push(Zeroizing::new(String::from_utf8_lossy(&whole).into_owned()));
            }
        }
        Ok(messages)
    }
}
