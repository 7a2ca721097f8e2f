//! TLS behind byte buffers: the trait, the real one on rustls, and (feature `tls-double`) a scripted double.
//!
//! spec: openvpn-protocol §6.

#[cfg(feature = "tls-double")]
pub mod double;
mod real;

pub use real::{RustlsClient, RustlsServer, client_config, server_config};

/// Why a TLS step failed. The text is for our own log, never for the peer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The TLS library refused the handshake, a record, or a call.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    /// A certificate or key cannot be used.
    #[error("TLS configuration: {0}")]
    Config(String),
    /// The connection was forgotten.
    #[error("TLS: the connection is over")]
    Over,
    /// The scripted double says no.
    #[error("scripted failure: {0}")]
    Scripted(&'static str),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

/// A connection that is over and forgotten: what still comes is passed over.
pub(crate) struct Forgotten;

impl Tls for Forgotten {
    fn feed(&mut self, _bytes: &[u8]) -> Result<(), TlsError> {
        Ok(())
    }

    fn drain(&mut self, _out: &mut Vec<u8>) {}

    fn write(&mut self, _plaintext: &[u8]) -> Result<(), TlsError> {
        Err(TlsError::Over)
    }

    fn read(&mut self, _out: &mut Vec<u8>) -> Result<(), TlsError> {
        Ok(())
    }

    fn handshaking(&self) -> bool {
        false
    }

    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn export(&self, _label: &str, _out: &mut [u8]) -> Result<(), TlsError> {
        Err(TlsError::Over)
    }
}

/// TLS behind byte buffers. Object safe; the real one is rustls, tests use a scripted double.
///
/// After an error only [`Tls::drain`] is useful: it yields the alert for the peer.
pub trait Tls: Send {
    /// Takes TLS bytes from the peer, in order, cut anywhere.
    ///
    /// # Errors
    /// The handshake or the connection is broken; drain the alert, then drop.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError>;
    /// Appends TLS bytes for the peer (alerts too, also after an error).
    fn drain(&mut self, out: &mut Vec<u8>);
    /// Encrypts one message for the peer; one call makes records of its own.
    ///
    /// # Errors
    /// The connection is broken or not yet up.
    fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError>;
    /// Appends the decrypted bytes that have come so far.
    ///
    /// # Errors
    /// The connection is broken.
    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError>;
    /// True until both Finished messages are through.
    fn handshaking(&self) -> bool;
    /// DER, leaf first; empty if the peer has shown none.
    fn peer_certificates(&self) -> Vec<Vec<u8>>;
    /// RFC 5705 exporter, without context.
    ///
    /// # Errors
    /// The handshake is not complete.
    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError>;
}
