//! The verifier inside real TLS handshakes, in memory.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pki::{ClientVerifier, Crl, TrustAnchors, certificates_from_pem, issue, key_from_pem};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{SupportedProtocolVersion, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Handshakes are at rustls's clock, so these certificates live as long as dates go.
const FROM: i64 = 1_577_836_800;
const TO: i64 = 4_102_444_800;

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    certificates_from_pem(pem).unwrap().into_iter().map(CertificateDer::from).collect()
}

fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key_from_pem(pem).unwrap().to_vec()).unwrap()
}

struct Setting {
    ca: issue::Issued,
    server: issue::Issued,
}

impl Setting {
    fn new() -> Self {
        let ca = issue::ca("CA", FROM, TO).unwrap();
        let kind = issue::KeyKind::P256;
        let server =
            issue::server(&ca.certificate_pem, &ca.key_pem, "vpn.example.com", FROM, TO, kind).unwrap();
        Self { ca, server }
    }

    fn client(&self, kind: issue::KeyKind) -> issue::Issued {
        issue::client(&self.ca.certificate_pem, &self.ca.key_pem, "a", FROM, TO, kind).unwrap()
    }

    /// The server's view of a handshake.
    fn handshake(
        &self,
        version: &'static SupportedProtocolVersion,
        client: Option<(&str, &str)>,
        crl: Option<Crl>,
    ) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let anchors = TrustAnchors { roots: certificates_from_pem(&self.ca.certificate_pem).unwrap() };
        let verifier = ClientVerifier::new(Arc::new(anchors), crl.map(Arc::new));
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(chain(&self.server.certificate_pem), key(&self.server.key_pem))
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(chain(&self.ca.certificate_pem).remove(0)).unwrap();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let client = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, private)) => {
                // Not rustls's own check: a wrong key must get as far as the server.
                let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key(private)).unwrap();
                let certified = rustls::sign::CertifiedKey::new(chain(certificate), signing);
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
            }
        };
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let mut client =
            ClientConnection::new(Arc::new(client), "vpn.example.com".try_into().unwrap()).unwrap();
        while server.is_handshaking() || client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }
}

#[test]
fn handshakes() {
    let setting = Setting::new();
    for version in [&version::TLS12, &version::TLS13] {
        for kind in [issue::KeyKind::P256, issue::KeyKind::Rsa2048] {
            let good = setting.client(kind);
            let other = setting.client(kind);
            let run = |client, crl| setting.handshake(version, client, crl);
            assert_eq!(run(Some((&good.certificate_pem, &good.key_pem)), None), Ok(()));

            let stolen = run(Some((&good.certificate_pem, &other.key_pem)), None);
            assert!(format!("{stolen:?}").contains("BadSignature"), "{version:?} {kind:?} {stolen:?}");

            assert_eq!(run(None, None), Err(rustls::Error::NoCertificatesPresented));

            let server = Some((setting.server.certificate_pem.as_str(), setting.server.key_pem.as_str()));
            assert!(format!("{:?}", run(server, None)).contains("InvalidPurpose"));

            let serial = pki::verify_client(
                &certificates_from_pem(&good.certificate_pem).unwrap(),
                &TrustAnchors { roots: certificates_from_pem(&setting.ca.certificate_pem).unwrap() },
                None,
                FROM,
            );
            let serials = [serial.unwrap().serial];
            let (ca, ca_key) = (&setting.ca.certificate_pem, &setting.ca.key_pem);
            let list = |serials: &[Vec<u8>], until| {
                Crl::from_pem(&issue::crl(ca, ca_key, serials, FROM, until, 1).unwrap()).unwrap()
            };
            let good = Some((good.certificate_pem.as_str(), good.key_pem.as_str()));
            assert_eq!(run(good, Some(list(&[], TO))), Ok(()));
            assert!(format!("{:?}", run(good, Some(list(&serials, TO)))).contains("Revoked"));
            assert!(format!("{:?}", run(good, Some(list(&[], FROM + 1)))).contains("ExpiredRevocationList"));
        }
    }
}
