//! The real TLS: rustls with aws-lc-rs, TLS 1.2 and 1.3, never resumed.
//!
//! Session tickets and session storage are off on both sides: a resumed session would skip the check of the
//! client's certificate and of the revocation list. spec: openvpn-protocol §6.

use std::io::Write;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, Connection, NamedGroup, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use zeroize::Zeroizing;

use super::{Tls, TlsError};

/// The server's side of one TLS connection.
pub struct RustlsServer(Buffered);

impl RustlsServer {
    /// A connection that waits for its ClientHello.
    ///
    /// # Errors
    /// The configuration is unusable.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self(Buffered::new(Connection::Server(ServerConnection::new(config)?))))
    }

    /// The key exchange of a handshake that is far enough.
    #[must_use]
    pub fn key_exchange(&self) -> Option<NamedGroup> {
        self.0.connection.negotiated_key_exchange_group().map(|group| group.name())
    }
}

/// The client's side of one TLS connection.
pub struct RustlsClient(Buffered);

impl RustlsClient {
    /// A connection with its ClientHello ready to be drained. `name` is only for the verifier and SNI.
    ///
    /// # Errors
    /// The configuration is unusable.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        Ok(Self(Buffered::new(Connection::Client(ClientConnection::new(config, name)?))))
    }
}

/// A rustls connection with the decrypted bytes not yet read.
struct Buffered {
    connection: Connection,
    plaintext: Zeroizing<Vec<u8>>,
}

impl Buffered {
    fn new(mut connection: Connection) -> Self {
        // Writes are bounded by their callers; a limit here would cut messages in two.
        connection.set_buffer_limit(None);
        Self { connection, plaintext: Zeroizing::new(Vec::new()) }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        while !bytes.is_empty() {
            let taken = self.connection.read_tls(&mut bytes).map_err(io_error)?;
            let state = self.connection.process_new_packets()?;
            let ready = state.plaintext_bytes_to_read();
            if ready > 0 {
                let mut fresh = Zeroizing::new(vec![0; ready]);
                std::io::Read::read_exact(&mut self.connection.reader(), &mut fresh).map_err(io_error)?;
                crate::text::append_secret(&mut self.plaintext, &fresh);
            }
            if taken == 0 {
                break; // after close_notify the rest is not looked at
            }
        }
        Ok(())
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing into a Vec cannot fail; a write of nothing ends the loop all the same.
            if !matches!(self.connection.write_tls(out), Ok(1..)) {
                break;
            }
        }
    }

    fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
        self.connection.writer().write_all(plaintext).map_err(io_error)
    }

    fn read(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.plaintext);
        self.plaintext = Zeroizing::new(Vec::new());
    }

    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        self.connection.peer_certificates().unwrap_or_default().iter().map(|der| der.to_vec()).collect()
    }

    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError> {
        self.connection.export_keying_material(out, label.as_bytes(), None)?;
        Ok(())
    }
}

fn io_error(error: std::io::Error) -> TlsError {
    TlsError::Tls(rustls::Error::General(error.to_string()))
}

macro_rules! delegate {
    ($kind:ty) => {
        impl Tls for $kind {
            fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
                self.0.feed(bytes)
            }
            fn drain(&mut self, out: &mut Vec<u8>) {
                self.0.drain(out);
            }
            fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
                self.0.write(plaintext)
            }
            fn read(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
                self.0.read(out);
                Ok(())
            }
            fn handshaking(&self) -> bool {
                self.0.connection.is_handshaking()
            }
            fn peer_certificates(&self) -> Vec<Vec<u8>> {
                self.0.peer_certificates()
            }
            fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError> {
                self.0.export(label, out)
            }
        }
    };
}
delegate!(RustlsServer);
delegate!(RustlsClient);

/// The library's own choice, but with the hybrid key exchange first, whatever its features say: a recorded handshake
/// is then of no use to a quantum computer. Servers follow the client's order, so clients that do not know it, or do
/// not prefer it, lose no round trip.
fn provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
}

/// Certificate chain and key, ready to sign.
fn certified(chain: Vec<Vec<u8>>, key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    if chain.is_empty() {
        return Err(TlsError::Config("no certificate".to_owned()));
    }
    let key = PrivateKeyDer::try_from(key).map_err(|text| TlsError::Config(text.to_owned()))?;
    let key = aws_lc_rs::sign::any_supported_type(&key)?;
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let certified = CertifiedKey::new(chain, key);
    // Only a proven mismatch is an error: the check cannot read X.509 version 1 certificates.
    if let Err(error @ rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) =
        certified.keys_match()
    {
        return Err(error.into());
    }
    Ok(Arc::new(certified))
}

/// Server side of TLS 1.2 and 1.3, tickets and session storage off, from the certificate chain (DER, leaf first),
/// its key (DER: PKCS#8, SEC1 or PKCS#1) and the verifier (`None`: no client certificate is asked for).
///
/// # Errors
/// The key is of no supported kind or does not belong to the certificate.
pub fn server_config(
    chain: Vec<Vec<u8>>,
    key_pkcs8_or_sec1_or_pkcs1: &[u8],
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let certified = certified(chain, key_pkcs8_or_sec1_or_pkcs1)?;
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Client side of the same, with the verifier of the server's certificate, and chain and key if the client has some.
///
/// # Errors
/// As [`server_config`].
pub fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<(Vec<Vec<u8>>, &[u8])>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some((chain, key)) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified(chain, key)?)))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}
