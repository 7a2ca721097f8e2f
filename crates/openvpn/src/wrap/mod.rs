//! Wrapped control channels: tls-crypt, tls-crypt-v2, and the dynamic tls-crypt of renegotiations.
//!
//! A wrapped packet is `op/key(1) | own sid(8) | replay id(8) | tag(32) | ciphertext`; the ciphertext is what stands
//! behind the session id in a plain one. The tag is computed over header and plaintext, and is also the IV.
//! Servers send with the first half of a static key, clients with the second: the other way round than data keys.
//!
//! | module | what |
//! |---|---|
//! | [`keys`] | static, server and client keys, and their files |
//! | `seal` | the algorithm and its replay ids |
//! | `envelope` | which packets of a session are wrapped with what |
//!
//! AWS-style profiles have none of the first two; the third is negotiated. spec: openvpn-protocol §4

mod envelope;
pub mod keys;
mod seal;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

pub(crate) use envelope::Envelope;
pub use keys::{ClientKey, KeyFileError, ServerKey, StaticKey, WrapKeyError};
use seal::{Half, Wrapping, open};

use crate::UnixTime;
use crate::data::Role;
use crate::wire::Opcode;

/// First byte of the first replay ids of clients that can send their wrapped key a second time, in the packet that
/// proves their address.
const EARLY_NEGOTIATION: u8 = 0x0f;
/// What such a server puts behind its hard reset: type 1 (flags), two bytes, "send the wrapped key again".
const RESEND_WKC: [u8; 6] = [0, 1, 0, 2, 0, 1];

/// How a server's control channel is wrapped. The same for all clients of one address.
#[derive(Clone, Debug, Default)]
pub enum ControlWrap {
    /// Not at all, as AWS-style profiles expect.
    #[default]
    Plain,
    /// All clients share one key.
    TlsCrypt(Arc<StaticKey>),
    /// Each client brings a key of its own, wrapped for us.
    TlsCryptV2(Arc<ServerKey>),
}

/// The wrapping of one session: its key, and when it began.
pub struct SessionWrap {
    envelope: Envelope,
}

impl SessionWrap {
    pub(crate) fn into_envelope(self) -> Envelope {
        self.envelope
    }
}

impl std::fmt::Debug for SessionWrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionWrap(..)")
    }
}

/// An authentic packet of a peer without a session.
pub(crate) struct First<'p> {
    /// As if it had not been wrapped.
    pub(crate) packet: Cow<'p, [u8]>,
    /// What its answer is to be wrapped with.
    key: Option<Cow<'p, StaticKey>>,
    /// The client can send its wrapped key once more.
    pub(crate) resends_key: bool,
}

impl ControlWrap {
    /// The wrapping for a session that begins with this packet, which [`crate::server::CookieJar::judge_wrapped`] or
    /// [`crate::server::tcp_reset_wrapped`] took. `None` if it is not wrapped with our key after all.
    #[must_use]
    pub fn session(&self, packet: &[u8], wall: UnixTime) -> Option<SessionWrap> {
        let envelope = match self.first(packet)?.key {
            None => Envelope::plain(Role::Server),
            Some(key) => {
                let v2 = matches!(self, Self::TlsCryptV2(_));
                Envelope::server(key.into_owned(), seconds(wall), v2)
            }
        };
        Some(SessionWrap { envelope })
    }

    /// Opens a packet of a peer that nothing is known about. Keeps nothing.
    pub(crate) fn first<'p>(&'p self, packet: &'p [u8]) -> Option<First<'p>> {
        let (opcode, _) = crate::wire::opcode(packet)?;
        let carries_key = matches!(opcode, Opcode::HardResetClientV3 | Opcode::ControlWkcV1);
        match self {
            Self::Plain => Some(First { packet: Cow::Borrowed(packet), key: None, resends_key: false }),
            Self::TlsCrypt(_) if carries_key => None,
            Self::TlsCrypt(key) => {
                let (_, plain) = open(&Half::receiving(key, Role::Server), packet)?;
                Some(First { packet: Cow::Owned(plain), key: Some(Cow::Borrowed(key)), resends_key: false })
            }
            Self::TlsCryptV2(server) => {
                let (packet, wrapped) = keys::split_wrapped_key(packet).filter(|_| carries_key)?;
                let key = server.unwrap(wrapped).ok()?;
                let (id, plain) = open(&Half::receiving(&key, Role::Server), packet)?;
                let resends_key = id.counter.to_be_bytes().first() == Some(&EARLY_NEGOTIATION);
                Some(First { packet: Cow::Owned(plain), key: Some(Cow::Owned(key)), resends_key })
            }
        }
    }
}

impl First<'_> {
    /// Wraps the stateless answer in `out`; false if it must not be sent.
    #[must_use]
    pub(crate) fn wrap_answer(&self, wall: UnixTime, out: &mut Vec<u8>) -> bool {
        // The session that may follow begins behind this id.
        self.key.as_ref().is_none_or(|key| Wrapping::new(key, Role::Server, seconds(wall), 1).seal(out))
    }

    /// What stands behind the answer to a hard reset that brought a wrapped key: without state we can go on only if
    /// the client brings it once more.
    pub(crate) fn answer_payload(&self) -> &'static [u8] {
        if self.resends_key { &RESEND_WKC } else { &[] }
    }
}

/// True if the payload of the server's hard reset asks for the wrapped key once more.
pub(crate) fn asks_for_key(mut payload: &[u8]) -> bool {
    const FLAGS: [u8; 2] = [0, 1];
    while let Some(([t0, t1, l0, l1], rest)) = payload.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let Some((value, rest)) = rest.split_at_checked(length) else { return false };
        if [*t0, *t1] == FLAGS
            && let [_, low] = value
        {
            return low & 1 == 1;
        }
        payload = rest;
    }
    false
}

/// Seconds for replay ids: never zero, which some peers take for "none".
pub(crate) fn seconds(wall: UnixTime) -> u32 {
    u32::try_from(wall.0.clamp(1, i64::from(u32::MAX))).unwrap_or(1)
}
