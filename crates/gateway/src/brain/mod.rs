//! The gateway: every session's life, the pools, the gate. One thread owns it.

use std::net::SocketAddr;
use std::sync::Arc;

use model::{AssociationId, EndpointId};
use openvpn::server::TlsFactory;
use openvpn::tls::TlsError;
use openvpn::{Instant, UnixTime};

use crate::desired::{Desired, Endpoint};
use crate::effect::{Effect, PathNotice, Transmit};
use crate::limits::{Limits, Stats};

/// What a gateway starts from.
#[derive(Clone)]
pub struct GatewayConfig {
    /// All randomness: unguessable, another at each start.
    pub seed: [u8; 32],
    /// How many workers there are, at least 1.
    pub workers: u16,
    /// Bounds.
    pub limits: Limits,
}

/// Makes TLS for an endpoint's handshakes: rustls in life, a double in simulations.
pub trait Handshakes: Send {
    /// What makes the TLS side of each key of one session; called when its endpoint's server certificate, trust
    /// anchors or revocation list are new.
    fn prepare(&mut self, endpoint: &Endpoint) -> Result<Box<dyn FnMut() -> TlsFactory + Send>, TlsError>;
}

/// The real one.
#[derive(Debug, Default)]
pub struct Rustls;

impl Handshakes for Rustls {
    fn prepare(&mut self, _endpoint: &Endpoint) -> Result<Box<dyn FnMut() -> TlsFactory + Send>, TlsError> {
        Err(TlsError::Config("not yet".to_owned()))
    }
}

/// The brain.
pub struct Gateway {
    stats: Stats,
}

#[allow(unused_variables, missing_docs)]
impl Gateway {
    pub fn new(config: GatewayConfig, now: Instant) -> Self {
        Self { stats: Stats::default() }
    }
    pub fn with_handshakes(config: GatewayConfig, handshakes: Box<dyn Handshakes>, now: Instant) -> Self {
        Self { stats: Stats::default() }
    }
    pub fn apply(&mut self, desired: Arc<Desired>, now: Instant, wall: UnixTime) {}
    pub fn set_ready(&mut self, association: &AssociationId, ready: bool) {}
    pub fn handle_control(&mut self, endpoint: &EndpointId, peer: SocketAddr, packet: &[u8], now: Instant, wall: UnixTime) {}
    pub fn handle_notice(&mut self, endpoint: &EndpointId, peer_id: u32, notice: PathNotice, now: Instant) {}
    pub fn handle_timeout(&mut self, now: Instant, wall: UnixTime) {}
    pub fn poll_timeout(&self) -> Option<Instant> { None }
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> { None }
    pub fn poll_effect(&mut self) -> Option<Effect> { None }
    pub fn farewells_pending(&self, endpoint: &EndpointId) -> bool { false }
    pub fn drain(&mut self, now: Instant) {}
    pub fn session_count(&self) -> usize { 0 }
    pub fn stats(&self) -> &Stats { &self.stats }
}
