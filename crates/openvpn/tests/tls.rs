//! The real TLS under the same bad network: 1.2 and 1.3, with and without client certificate; no resumption.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use crate::world::{MakeTls, Net, Rng, World};
use openvpn::server::FailReason;
use openvpn::tls::{RustlsClient, RustlsServer, Tls, client_config, server_config};
use openvpn::{client, server};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
use rustls::crypto::{
    CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, NamedGroup, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

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
        let mut world = World::new(rng.roll(), net, config, server::SessionConfig::default(), tls);
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
            crate::world::Action::ClientRenegotiates
        } else {
            crate::world::Action::ServerRenegotiates
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

/// Moves TLS bytes until both ends are through; what the last flight of each was is not looked at.
fn shake(client: &mut dyn Tls, server: &mut dyn Tls) {
    let mut bytes = Vec::new();
    for _ in 0..10 {
        bytes.clear();
        client.drain(&mut bytes);
        server.feed(&bytes).unwrap();
        bytes.clear();
        server.drain(&mut bytes);
        client.feed(&bytes).unwrap();
    }
    assert!(!client.handshaking() && !server.handshaking());
}

/// What is negotiated is the client's choice, and the hybrid one where it has it.
#[test]
fn the_key_exchange_is_post_quantum_where_the_client_offers_it() {
    let party = party();
    let config = server_config(vec![party.der.clone()], &party.key, None).unwrap();
    let name = || ServerName::try_from("vpn.example").unwrap();
    let of = |groups: Vec<&'static dyn SupportedKxGroup>, versions: &[&'static SupportedProtocolVersion]| {
        let provider = CryptoProvider { kx_groups: groups, ..aws_lc_rs::default_provider() };
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Only(party.der.clone())))
            .with_no_client_auth();
        Arc::new(config)
    };
    let both = [&TLS13, &TLS12];
    let rows = [
        ("ours", client_config(Arc::new(Only(party.der.clone())), None).unwrap(), NamedGroup::X25519MLKEM768),
        ("the library's", of(vec![X25519MLKEM768, X25519], &both), NamedGroup::X25519MLKEM768),
        ("hybrid only", of(vec![X25519MLKEM768], &[&TLS13]), NamedGroup::X25519MLKEM768),
        ("an older one", of(vec![X25519, SECP256R1], &both), NamedGroup::X25519),
        ("TLS 1.2", of(vec![X25519MLKEM768, SECP256R1], &[&TLS12]), NamedGroup::secp256r1),
    ];
    for (what, client, expected) in rows {
        let mut client = RustlsClient::new(client, name()).unwrap();
        let mut server = RustlsServer::new(Arc::clone(&config)).unwrap();
        assert_eq!(server.key_exchange(), None);
        shake(&mut client, &mut server);
        assert_eq!(server.key_exchange(), Some(expected), "{what}");
    }
}

#[test]
fn versions_before_1_2_are_not_there_and_nothing_is_kept_for_resumption() {
    let party = party();
    let config = server_config(vec![party.der.clone()], &party.key, None).unwrap();
    assert!(!config.ticketer.enabled());
    assert_eq!((config.send_tls13_tickets, config.max_early_data_size), (0, 0));
    assert!(!config.session_storage.can_cache());
    // A ClientHello that offers TLS 1.1 at most.
    let mut hello = vec![3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 4, 0xc0, 0x14, 0xc0, 0x13, 1, 0]);
    let body = [&[1, 0, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    let record = [&[0x16, 3, 1, 0, u8::try_from(body.len()).unwrap()][..], &body].concat();
    let mut server = RustlsServer::new(config).unwrap();
    assert!(server.feed(&record).is_err());
    let mut alert = Vec::new();
    server.drain(&mut alert);
    assert_eq!(alert.first(), Some(&0x15), "it is told");
}

#[test]
fn unusable_identities_are_refused() {
    let (one, two) = (party(), party());
    assert!(server_config(vec![one.der.clone()], &two.key, None).is_err(), "key of another certificate");
    assert!(server_config(vec![], &one.key, None).is_err(), "no certificate");
    assert!(server_config(vec![one.der.clone()], b"junk", None).is_err(), "no key");
    assert!(server_config(vec![one.der], &one.key, None).is_ok());
}
