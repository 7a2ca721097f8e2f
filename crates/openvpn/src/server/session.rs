//! One client's session.

use std::sync::Arc;

use super::{Discard, Event, Farewell, Outcome, SessionConfig};
use crate::tls::{Tls, TlsError};
use crate::wire::SessionId;
use crate::{Instant, PeerInfo};

/// Makes the TLS side of each key.
pub type TlsFactory = Box<dyn FnMut() -> Result<Box<dyn Tls>, TlsError> + Send>;

/// One client's control channel.
///
/// Driver contract: after any `handle_*` or command, drain `poll_transmit`, then `poll_event`, then re-arm
/// `poll_timeout`. Time never goes back.
pub struct Session {}

#[allow(unused_variables)]
impl Session {
    /// Created after [`super::CookieJar::judge`] said proven; then give it that same packet.
    pub fn new(config: Arc<SessionConfig>, tls: TlsFactory, client_sid: SessionId, server_sid: SessionId, seed: [u8; 32], now: Instant) -> Result<Self, TlsError> { Ok(Self {}) }
    /// Takes a control packet of this session.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) -> Result<(), Discard> { Ok(()) }
    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) {}
    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> { None }
    /// True: `out` (cleared first) holds one datagram.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool { false }
    /// Next event.
    pub fn poll_event(&mut self) -> Option<Event> { None }
    /// Answers AuthenticationNeeded of the current key.
    pub fn authenticated(&mut self, outcome: Outcome, now: Instant) {}
    /// Says goodbye.
    pub fn farewell(&mut self, farewell: Farewell, now: Instant) {}
    /// Acked or given up.
    pub fn farewell_done(&self) -> bool { true }
    /// Soft reset by us.
    pub fn renegotiate(&mut self, now: Instant) {}
    /// A worker saw authenticated data under it.
    pub fn note_new_key_used(&mut self, key_id: u8, now: Instant) {}
    /// PUSH_REPLY was sent.
    pub fn is_established(&self) -> bool { false }
    /// What the client says about itself.
    pub fn peer_info(&self) -> &PeerInfo { const { &PeerInfo { version: None, platform: None, gui_version: None, sso: None, proto: 0, ncp: None, ciphers: None, mtu: None, raw: String::new() } } }
}
