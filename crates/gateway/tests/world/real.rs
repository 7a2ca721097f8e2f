//! The real TLS, both ends, with the certificates of [`super::pki`].

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use gateway::desired::ServerIdentity;
use openvpn::server::TlsFactory;
use openvpn::tls::{RustlsClient, Tls, client_config};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::pki::{client, der, pki};

/// Takes one certificate and no other; signatures are not what is tested here.
#[derive(Debug)]
struct Pinned(Vec<u8>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        assert_eq!(end_entity.as_ref(), self.0);
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The server's certificate with its key.
pub fn server() -> ServerIdentity {
    let key = ::pki::key_from_pem(&pki().server.key_pem).unwrap();
    ServerIdentity { fingerprint: [2; 32], chain: Arc::new(vec![der(&pki().server)]), key: Arc::new(key) }
}

/// Client `n`'s end; one past the clients has no certificate.
pub fn client_tls(n: usize) -> TlsFactory {
    static CONFIGS: LazyLock<Mutex<BTreeMap<usize, Arc<ClientConfig>>>> = LazyLock::new(Mutex::default);
    let make = || {
        let key = pki().clients.get(n).map(|issued| ::pki::key_from_pem(&issued.key_pem).unwrap());
        let identity = key.as_ref().map(|key| (vec![client(n)], key.as_slice()));
        client_config(Arc::new(Pinned(der(&pki().server))), identity).unwrap()
    };
    let config = Arc::clone(CONFIGS.lock().unwrap().entry(n).or_insert_with(make));
    Box::new(move || {
        let name = ServerName::try_from("vpn.example.com").unwrap();
        Ok(Box::new(RustlsClient::new(Arc::clone(&config), name)?) as Box<dyn Tls>)
    })
}
