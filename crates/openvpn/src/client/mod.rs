//! The client's side: for simulation, load and tests, in the manner of real clients.
//!
//! Switches imitate what differs between client lines ([`Line`]): the order of the first packets, the key-method-2
//! dialect, peer info, options string, repeated acknowledgements, windows. spec: openvpn-protocol §18

mod key;
mod line;
mod session;

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

pub use line::Line;
pub use session::Session;

use crate::UnixTime;

use crate::data::{Cipher, KeyMaterial};
use crate::km2::Dialect;
pub use crate::server::{Discard, FailReason, TlsFactory};
use crate::wrap::{ClientKey, StaticKey};

/// How a client answers the server's hard reset.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeOrder {
    /// Acknowledgement rides on the ClientHello (2.6, 2.7, OpenVPN 3); recent ones are repeated.
    AckRides,
    /// A bare ACK_V1 first, then the ClientHello without acknowledgements; each is sent once (2.4, 2.5).
    AckAlone,
}

/// How a client's control channel is wrapped, and when its session began (for the replay ids). The key's Debug
/// shows nothing.
#[derive(Clone, Debug)]
pub struct Wrap {
    /// The key.
    pub key: WrapKey,
    /// Any time that is not earlier than that of the client's sessions before.
    pub began_at: UnixTime,
}

/// What a client's control channel is wrapped with.
#[derive(Clone, Debug)]
pub enum WrapKey {
    /// tls-crypt: the key that all clients and the server share.
    TlsCrypt(Arc<StaticKey>),
    /// tls-crypt-v2: the client's own.
    TlsCryptV2(Arc<ClientKey>),
}

/// How a session behaves.
#[derive(Clone)]
pub struct SessionConfig {
    /// A key's whole negotiation, and the wait for the push reply, must end within this time.
    pub handshake_timeout: Duration,
    /// Order of the first packets.
    pub order: HandshakeOrder,
    /// Dialect of our key-method-2 message.
    pub dialect: Dialect,
    /// Messages in flight.
    pub send_window: u32,
    /// Messages accepted ahead.
    pub receive_window: u32,
    /// False: nothing is sent twice, because the transport loses nothing.
    pub retransmits: bool,
    /// `None`: the control channel is not wrapped.
    pub wrap: Option<Wrap>,
    /// Options string.
    pub options: String,
    /// `IV_*` lines, each with its line feed.
    pub peer_info: String,
    /// The same in renegotiations, if it differs there.
    pub peer_info_again: Option<String>,
    /// `None`: absent.
    pub username: Option<String>,
    /// The same in renegotiations, if it differs there: no honest client's does.
    pub username_again: Option<String>,
    /// `None`: absent.
    pub password: Option<Zeroizing<String>>,
    /// Cipher if the server pushes none.
    pub cipher: Cipher,
    /// First PUSH_REQUEST after the server's key-method-2 message.
    pub push_request_after: Duration,
    /// Period of the following ones.
    pub push_request_every: Duration,
    /// After a renegotiation keep sending with the old key this long.
    pub switch_after: Duration,
    /// But not longer than until the server uses the new one.
    pub switch_on_data: bool,
    /// The old key still opens packets this long after that.
    pub lame_duck: Duration,
}

impl Default for SessionConfig {
    /// Like 2.6.14 with default options.
    fn default() -> Self {
        Line::V2_6.config()
    }
}

impl std::fmt::Debug for SessionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionConfig")
            .field("order", &self.order)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

/// What a session wants from its driver, or tells it.
#[derive(Debug)]
pub enum Event {
    /// The options of a complete push reply, without `push-continuation`.
    Pushed(Vec<String>),
    /// All options as a PUSH_UPDATE has left them.
    Updated(Vec<String>),
    /// Install.
    KeysReady {
        /// 0 to 7.
        key_id: u8,
        /// For [`crate::data::Channel::install`], role client.
        keys: Box<KeyMaterial>,
        /// As pushed.
        cipher: Cipher,
        /// As pushed; `None`: DATA_V1.
        v2_peer_id: Option<u32>,
    },
    /// From now on seal with this key.
    SendKey {
        /// An installed key.
        key_id: u8,
    },
    /// Forget this key.
    KeyRetired {
        /// An installed key.
        key_id: u8,
    },
    /// `AUTH_FAILED`, with what stands behind its comma.
    Rejected(String),
    /// `RESTART`, with what stands behind its comma.
    Restart(String),
    /// `HALT`, with what stands behind its comma.
    Halt(String),
    /// The session is over; drop it once nothing is left to transmit.
    Failed(FailReason),
}
