//! The OpenVPN protocol, server and client side, without any input or output of its own.
//!
//! Sockets, clock and randomness stay outside: packets, `now` and seeds come in as arguments, packets and
//! events are polled out. TLS stands behind a small trait ([`tls::Tls`]), so that whole sessions can be
//! simulated with a scripted double under a virtual clock.
//!
//! | module | what |
//! |---|---|
//! | [`wire`] | packet layouts: checked views and builders |
//! | [`reliable`] | the reliable-datagram layer under TLS |
//! | [`tls`] | TLS behind byte buffers, and the real one |
//! | [`km2`] | key-method-2 messages, stock and AWS dialect |
//! | [`keys`] | data channel keys: PRF and TLS exporter |
//! | [`wrap`] | tls-crypt, tls-crypt-v2, and the wrapping of renegotiations |
//! | [`data`] | sealing and opening data packets, replay window |
//! | [`push`] | PUSH_REPLY: options, splitting, reassembly |
//! | [`server`] | cookie handshake and the server's session |
//! | [`client`] | the client's session (simulation, load, tests) |
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod exchange;
pub mod peer_info;
mod text;
mod time;

pub mod client;
pub mod data;
pub mod keys;
pub mod km2;
pub mod push;
pub mod reliable;
pub mod server;
pub mod tls;
pub mod wire;
pub mod wrap;

pub use peer_info::PeerInfo;
pub use time::{Instant, UnixTime};
