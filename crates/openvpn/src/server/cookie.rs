//! The stateless three-way handshake: nothing is allocated for a peer before it has proved its address.
//!
//! The server's session id is a MAC over time slot, address, port and the client's session id, so a packet that
//! acknowledges it proves that its sender receives at that address. spec: openvpn-protocol §5

use std::net::{IpAddr, SocketAddr};

use constant_time_eq::constant_time_eq;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::wire::{AckIds, Control, Opcode, SessionId};
use crate::wrap::{ControlWrap, First};
use crate::{Instant, UnixTime};

/// Length of a time slot, in microseconds: half a handshake window.
const SLOT_US: u64 = 30_000_000;
/// A cookie is good in its own slot and in this many following ones.
const OLD_SLOTS: u64 = 2;

/// Issues and checks cookies. Constant-time in all that is secret.
pub struct CookieJar {
    secret: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieJar(..)")
    }
}

/// What to do with a datagram of a peer that has no session.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum FirstPacket {
    /// Send what is in `out` (26 bytes, or 66 to 72 wrapped), within the caller's budget; keep nothing.
    Answer,
    /// The peer receives at this address: create a session, then give it this same packet.
    Proven {
        /// The client's session id.
        client_sid: SessionId,
        /// Ours, the cookie.
        server_sid: SessionId,
    },
    /// Nothing.
    Drop,
}

impl CookieJar {
    /// A jar under `secret`, which must be random and known to nobody else.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret: Zeroizing::new(secret) }
    }

    /// Judges a datagram from a peer without a session (or with another client session id than its session's).
    /// Clears `out`; with [`FirstPacket::Answer`] it holds the reply.
    pub fn judge(&self, peer: SocketAddr, packet: &[u8], now: Instant, out: &mut Vec<u8>) -> FirstPacket {
        self.judge_wrapped(&ControlWrap::Plain, peer, packet, now, UnixTime(0), out)
    }

    /// The same where the control channel may be wrapped. A packet that is not wrapped with our key is dropped before
    /// anything else is looked at, and a session that begins is to be given [`ControlWrap::session`] of this packet.
    ///
    /// Clients of tls-crypt-v2 that can bring their wrapped key in one packet only (before 2.6) are dropped: to go on
    /// with them, their key would have to be kept before they have proved their address. spec: openvpn-protocol §4
    pub fn judge_wrapped(
        &self,
        wrap: &ControlWrap,
        peer: SocketAddr,
        packet: &[u8],
        now: Instant,
        wall: UnixTime,
        out: &mut Vec<u8>,
    ) -> FirstPacket {
        out.clear();
        let Some(first) = wrap.first(packet) else { return FirstPacket::Drop };
        let Ok(control) = Control::parse(&first.packet) else { return FirstPacket::Drop };
        if control.key_id != 0 {
            return FirstPacket::Drop;
        }
        let v2 = matches!(wrap, ControlWrap::TlsCryptV2(_));
        match (control.opcode, control.message_id, control.peer_session) {
            (Opcode::HardResetClientV2, Some(0), None) if !v2 => {
                self.answer(peer, control.session, &first, (now, wall), out)
            }
            (Opcode::HardResetClientV3, Some(0), None) if v2 && first.resends_key => {
                self.answer(peer, control.session, &first, (now, wall), out)
            }
            // Clients of the 2.4 and 2.5 lines send their ClientHello without acknowledgements, behind an ACK_V1 of
            // its own. Here that ACK_V1 was lost: answering the reset again makes the client repeat it.
            (Opcode::ControlV1, Some(1), None) if !v2 => {
                self.answer(peer, control.session, &first, (now, wall), out)
            }
            (Opcode::ControlV1, Some(0 | 1), Some(cookie)) | (Opcode::AckV1, None, Some(cookie)) if !v2 => {
                self.prove(peer, &control, cookie, now)
            }
            (Opcode::ControlWkcV1, Some(0 | 1), Some(cookie)) if v2 => {
                self.prove(peer, &control, cookie, now)
            }
            _ => FirstPacket::Drop,
        }
    }

    fn prove(&self, peer: SocketAddr, control: &Control<'_>, cookie: SessionId, now: Instant) -> FirstPacket {
        let plausible = control.acks.as_slice().iter().all(|id| *id <= 1);
        if plausible && self.is_genuine(peer, control.session, cookie, now) {
            FirstPacket::Proven { client_sid: control.session, server_sid: cookie }
        } else {
            FirstPacket::Drop
        }
    }

    fn answer(
        &self,
        peer: SocketAddr,
        client: SessionId,
        first: &First<'_>,
        (now, wall): (Instant, UnixTime),
        out: &mut Vec<u8>,
    ) -> FirstPacket {
        Control {
            opcode: Opcode::HardResetServerV2,
            key_id: 0,
            session: self.cookie(peer, client, now.0 / SLOT_US),
            acks: AckIds::from_iter([0]),
            peer_session: Some(client),
            message_id: Some(0),
            payload: first.answer_payload(),
        }
        .encode(out);
        if first.wrap_answer(wall, out) {
            FirstPacket::Answer
        } else {
            out.clear();
            FirstPacket::Drop
        }
    }

    /// Compares with all slots, whichever fits, so that time tells nothing.
    fn is_genuine(&self, peer: SocketAddr, client: SessionId, cookie: SessionId, now: Instant) -> bool {
        let slot = now.0 / SLOT_US;
        let mut genuine = false;
        for age in 0..=OLD_SLOTS {
            let Some(slot) = slot.checked_sub(age) else { continue };
            genuine |= constant_time_eq(&self.cookie(peer, client, slot).0, &cookie.0);
        }
        genuine
    }

    fn cookie(&self, peer: SocketAddr, client: SessionId, slot: u64) -> SessionId {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.secret.as_slice()).expect("HMAC takes keys of any length");
        mac.update(&slot.to_be_bytes());
        match peer.ip().to_canonical() {
            IpAddr::V4(ip) => mac.update(&ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&peer.port().to_be_bytes());
        mac.update(&client.0);
        let digest = mac.finalize().into_bytes();
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(digest) {
            *to = from;
        }
        if id == [0; 8] {
            id = [1; 8]; // zero is no session id
        }
        SessionId(id)
    }
}
