//! The real TLS under the same bad network: 1.2 and 1.3, with and without client certificate; no resumption.
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::sync::Arc;
use std::time::Duration;

use openvpn::server::FailReason;
use openvpn::tls::{RustlsClient, RustlsServer, Tls, client_config, server_config};
use openvpn::{client, server};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use world::{MakeTls, Net, Rng, World};

fn algorithms() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

/// Knows one certificate and no other.
#[derive(Debug)]
struct Only(Vec<u8>);

impl Only {
    fn check(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let known = leaf.as_ref() == self.0;
        known.then_some(()).ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }
}

macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &algorithms())
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &algorithms())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            algorithms().supported_schemes()
        }
    };
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(leaf).map(|()| ServerCertVerified::assertion())
    }
    signatures!();
}

impl ClientCertVerifier for Only {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(leaf).map(|()| ClientCertVerified::assertion())
    }
    signatures!();
}

struct Party {
    der: Vec<u8>,
    key: Vec<u8>,
}

fn party() -> Party {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["vpn.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Party { der: certificate.der().to_vec(), key: key.serialize_der() }
}

/// `accepted`: the client certificate the server knows; `None`: it asks for none.
fn pair(server: &Party, client: Option<&Party>, accepted: Option<&Party>, tls12: bool) -> (MakeTls, MakeTls) {
    let verifier = accepted.map(|party| Arc::new(Only(party.der.clone())) as Arc<dyn ClientCertVerifier>);
    let server_config = server_config(vec![server.der.clone()], &server.key, verifier).unwrap();
    let identity = client.map(|party| (vec![party.der.clone()], party.key.as_slice()));
    let mut config = client_config(Arc::new(Only(server.der.clone())), identity).unwrap();
    if tls12 {
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Only(server.der.clone())));
        config = Arc::new(match client {
            Some(party) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from(party.der.clone())],
                    rustls_pki_types::PrivateKeyDer::try_from(party.key.clone()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        });
    }
    let name = ServerName::try_from("vpn.example").unwrap();
    (
        Box::new(move || Ok(Box::new(RustlsClient::new(Arc::clone(&config), name.clone())?) as Box<dyn Tls>)),
        Box::new(move || Ok(Box::new(RustlsServer::new(Arc::clone(&server_config))?) as Box<dyn Tls>)),
    )
}

#[test]
fn connects_and_renegotiates_over_a_bad_network() {
    let (server, client) = (party(), party());
    let mut rng = Rng(1);
    let mut up = 0;
    for seed in 0..40 {
        let tls12 = seed % 2 == 0;
        let certificate = (seed % 4 < 2).then_some(&client);
        let net = Net { drop_per_mille: 20 * (seed % 8), repeat_per_mille: 100, delay_us: (500, 200_000) };
        let lossless = net.drop_per_mille == 0;
        let mut config = client::SessionConfig::default();
        if seed % 3 == 0 {
            config.peer_info = "IV_PROTO=2\nIV_NCP=2\n".to_owned(); // PRF
        }
        let tls = pair(&server, certificate, certificate, tls12);
        let mut world = World::new(rng.next(), net, config, server::SessionConfig::default(), tls);
        let done = world.run(Duration::from_secs(121), |w| {
            w.up_at.is_some()
                || w.seen.client_failed.is_some() && w.seen.server_failed.is_some()
                || w.seen.client_failed.is_some() && (w.server.is_none() || w.seen.server_up.is_some())
        });
        assert!(done, "seed {seed}: {:?}", world.seen);
        assert!(world.up_at.is_some() || !lossless, "seed {seed}: {:?}", world.seen);
        if world.up_at.is_none() {
            continue;
        }
        up += 1;
        world.run(Duration::from_secs(5), |_| false);
        world.act(if seed % 5 < 2 {
            world::Action::ClientRenegotiates
        } else {
            world::Action::ServerRenegotiates
        });
        let renewed = world.run(Duration::from_secs(61), |w| {
            w.seen.server_failed.is_some() || w.seen.client_sends.len() > 1 && w.seen.server_sends.len() > 1
        });
        assert!(renewed, "seed {seed}: {:?}", world.seen);
        let (u, d) = (world.seen.data_up, world.seen.data_down);
        world.run(Duration::from_secs(5), |_| false);
        assert!(world.seen.data_up > u && world.seen.data_down > d, "seed {seed}: {:?}", world.seen);
    }
    assert!(up > 30, "{up}");
}

#[test]
fn a_wrong_or_missing_client_certificate_is_refused_with_an_alert() {
    let (server, client, other) = (party(), party(), party());
    for tls12 in [true, false] {
        for shown in [None, Some(&other)] {
            let tls = pair(&server, shown, Some(&client), tls12);
            let mut world = World::new(
                3,
                Net::PERFECT,
                client::SessionConfig::default(),
                server::SessionConfig::default(),
                tls,
            );
            world.run(Duration::from_secs(5), |w| {
                w.seen.server_failed.is_some() && w.seen.client_failed.is_some()
            });
            assert!(matches!(world.seen.server_failed, Some(FailReason::Tls(_))), "{:?}", world.seen);
            assert!(
                matches!(world.seen.client_failed, Some(FailReason::Tls(_))),
                "the alert: {:?}",
                world.seen
            );
            assert!(world.seen.logins.is_empty() && world.seen.server_keys.is_empty());
        }
    }
}

#[test]
fn nothing_is_ever_resumed() {
    let (server, client) = (party(), party());
    for tls12 in [true, false] {
        let (mut make_client, mut make_server) = pair(&server, Some(&client), Some(&client), tls12);
        for _ in 0..3 {
            let (mut c, mut s) = (make_client().unwrap(), make_server().unwrap());
            let mut bytes = Vec::new();
            for _ in 0..10 {
                bytes.clear();
                c.drain(&mut bytes);
                s.feed(&bytes).unwrap();
                bytes.clear();
                s.drain(&mut bytes);
                c.feed(&bytes).unwrap();
            }
            assert!(!c.handshaking() && !s.handshaking());
            // A resumed TLS 1.3 session would not show the certificate again; nor does a ticket wait to be sent.
            assert_eq!(s.peer_certificates(), vec![client.der.clone()]);
            bytes.clear();
            s.drain(&mut bytes);
            assert!(bytes.is_empty());
            let (mut a, mut b) = ([0; 256], [0; 256]);
            c.export("EXPORTER-OpenVPN-datakeys", &mut a).unwrap();
            s.export("EXPORTER-OpenVPN-datakeys", &mut b).unwrap();
            assert_eq!(a, b);
        }
    }
}

#[test]
fn unusable_identities_are_refused() {
    let (one, two) = (party(), party());
    assert!(server_config(vec![one.der.clone()], &two.key, None).is_err(), "key of another certificate");
    assert!(server_config(vec![], &one.key, None).is_err(), "no certificate");
    assert!(server_config(vec![one.der.clone()], b"junk", None).is_err(), "no key");
    assert!(server_config(vec![one.der], &one.key, None).is_ok());
}
