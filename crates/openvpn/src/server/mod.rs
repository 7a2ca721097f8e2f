//! The server's side: proof of address without state ([`CookieJar`]), then one [`Session`] per client.

mod cookie;
mod key;
mod session;

use std::time::Duration;

use zeroize::Zeroizing;

pub use cookie::{CookieJar, FirstPacket};
pub use session::{Session, TlsFactory, tcp_reset, tcp_reset_wrapped};

pub use crate::PeerInfo;
use crate::data::{Cipher, KeyMaterial};

/// How sessions are run. spec: openvpn-protocol §14
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// A key's whole negotiation must end within this time.
    pub handshake_timeout: Duration,
    /// Ours, in order of preference; the first that the client has is taken.
    pub ciphers: Vec<Cipher>,
    /// Derive data keys by the TLS exporter where the client can.
    pub tls_ekm: bool,
    /// Let clients say EXIT on the control channel where they can.
    pub cc_exit: bool,
    /// Wrap the control packets of renegotiations with a key from the TLS exporter where the client can.
    pub dyn_tls_crypt: bool,
    /// Data packets in epochs where the client can; only together with `tls_ekm` and a peer id.
    pub aead_epoch: bool,
    /// Key-method-2 messages without peer info at their end (very old clients) are taken as complete after this time.
    pub km2_grace: Duration,
    /// Repeated push requests are ignored this long after a reply.
    pub push_repeat: Duration,
    /// An old key still opens packets this long after its successor is in use.
    pub lame_duck: Duration,
    /// A farewell is given up after this time.
    pub farewell_timeout: Duration,
    /// Soft resets by the client are ignored this soon after the last key came into use.
    pub renegotiation_pause: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(60),
            ciphers: Cipher::ALL.to_vec(),
            tls_ekm: true,
            cc_exit: true,
            dyn_tls_crypt: true,
            aead_epoch: true,
            km2_grace: Duration::from_secs(2),
            push_repeat: Duration::from_secs(30),
            lame_duck: Duration::from_secs(3600),
            farewell_timeout: Duration::from_secs(5),
            renegotiation_pause: Duration::from_secs(1),
        }
    }
}

/// The answer to [`Event::AuthenticationNeeded`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Let the client in.
    Accept {
        /// 24-bit number for DATA_V2; pushed if the client can.
        peer_id: u32,
        /// Options without commas inside, at most 255 characters each; looked at on key 0 only.
        push: Vec<String>,
    },
    /// Send it away with AUTH_FAILED.
    Reject {
        /// For the client's eyes.
        reason: String,
    },
}

/// How a session is ended gracefully. spec: openvpn-protocol §9.5
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// `RESTART`: the client comes back in a second and asks for its password again.
    Restart,
    /// `RESTART,[P]`: it comes back and keeps its credentials.
    RestartKeep,
    /// `HALT`: the client stops for good.
    Halt(Option<String>),
    /// `AUTH_FAILED,TEMP`: the client comes back after this time. Those that do not know it are told `RESTART`.
    ComeBack {
        /// In seconds.
        after_s: u32,
        /// For the client's log.
        text: String,
    },
    /// `AUTH_FAILED`: the client stops, or asks for credentials.
    AuthFailed(Option<String>),
}

/// What a session wants from its driver, or tells it.
#[derive(Debug)]
pub enum Event {
    /// Decide, then call [`Session::authenticated`]. Once per key: on renegotiation too, where the same identity
    /// must be presented.
    AuthenticationNeeded(Box<Login>),
    /// Install: the peer may send under this key from now on.
    KeysReady {
        /// 0 to 7.
        key_id: u8,
        /// For [`crate::data::Channel::install`].
        keys: Box<KeyMaterial>,
        /// The session's cipher; never changes within it.
        cipher: Cipher,
        /// `None`: DATA_V1.
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
    /// PUSH_REPLY is sent on key 0: the tunnel is up.
    Established,
    /// The client said EXIT: no farewell needed.
    PeerExit,
    /// The session is over; drop it once nothing is left to transmit.
    Failed(FailReason),
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FailReason {
    /// A key's negotiation did not end in time.
    #[error("handshake not finished in time")]
    HandshakeTimeout,
    /// TLS broke; an alert has been sent if there was one.
    #[error(transparent)]
    Tls(crate::tls::TlsError),
    /// The key-method-2 message cannot be read.
    #[error("key exchange: {0}")]
    KeyExchange(crate::km2::Km2Error),
    /// The peer sends more than any honest one does.
    #[error("peer exceeds the bound on {0}")]
    Excess(&'static str),
    /// No data cipher is common; the client has been told.
    #[error("no shared data channel cipher")]
    NoSharedCipher,
    /// The client's configuration compresses; it has been told that we do not.
    #[error("client asks for compression")]
    Compression,
    /// The push options cannot be sent.
    #[error("push options: {0}")]
    Push(crate::push::PushError),
}

/// Why a packet was dropped; the session is unharmed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Discard {
    /// Not a well-formed control packet.
    #[error("malformed: {0}")]
    Malformed(#[from] crate::wire::Malformed),
    /// Another opcode than a client may send here.
    #[error("unexpected opcode")]
    Opcode,
    /// Not this session's ids.
    #[error("foreign session id")]
    Session,
    /// No such key, or not its turn.
    #[error("unknown key id")]
    Key,
    /// Beyond the receive window.
    #[error("outside the receive window")]
    Window,
    /// Not wrapped as this session's packets are.
    #[error("not wrapped with the session's key")]
    Wrap,
    /// Wrapped, and seen before.
    #[error("replayed")]
    Replay,
    /// The session is over.
    #[error("session is over")]
    Over,
}

/// What a client presents for one key.
#[derive(Clone)]
pub struct Login {
    /// Key it is about; 0 is the first login, others are renegotiations.
    pub key_id: u8,
    /// DER, leaf first; empty if none was shown.
    pub certificates: Vec<Vec<u8>>,
    /// As the client sent it.
    pub username: Option<String>,
    /// As the client sent it.
    pub password: Option<Zeroizing<String>>,
    /// The client's description of itself: untrusted.
    pub peer_info: PeerInfo,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("key_id", &self.key_id)
            .field("certificates", &self.certificates.len())
            .field("username", &self.username.as_ref().map(|_| ".."))
            .field("password", &self.password.as_ref().map(|_| ".."))
            .finish_non_exhaustive()
    }
}
