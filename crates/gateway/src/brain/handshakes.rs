//! Where a session's TLS comes from: rustls in life, a double in simulations.

use std::sync::Arc;

use openvpn::server::TlsFactory;
use openvpn::tls::{RustlsServer, Tls, TlsError, server_config};
use pki::{ClientVerifier, Crl, TrustAnchors};

use crate::desired::ServerIdentity;

/// Makes one [`TlsFactory`] per session.
pub type SessionTls = Box<dyn FnMut() -> TlsFactory + Send>;

/// Makes TLS for an endpoint's handshakes.
pub trait Handshakes: Send {
    /// Called when an endpoint's server certificate, trust anchors or revocation list are new. Sessions keep what
    /// they began with.
    ///
    /// # Errors
    /// Nothing can be made of it: the endpoint admits nobody.
    fn prepare(
        &mut self,
        server: &ServerIdentity,
        anchors: Arc<TrustAnchors>,
        crl: Option<Arc<Crl>>,
    ) -> Result<SessionTls, TlsError>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rustls;

impl Handshakes for Rustls {
    fn prepare(
        &mut self,
        server: &ServerIdentity,
        anchors: Arc<TrustAnchors>,
        crl: Option<Arc<Crl>>,
    ) -> Result<SessionTls, TlsError> {
        let verifier = Arc::new(ClientVerifier::new(anchors, crl));
        let config = server_config(server.chain.to_vec(), &server.key, Some(verifier))?;
        Ok(Box::new(move || {
            let config = Arc::clone(&config);
            Box::new(move || Ok(Box::new(RustlsServer::new(Arc::clone(&config))?) as Box<dyn Tls>))
        }))
    }
}
