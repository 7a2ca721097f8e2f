//! Certificates for all tests of a run, issued once.

use std::sync::OnceLock;

use pki::TrustAnchors;
use pki::issue::{self, Issued, KeyKind};

use super::EPOCH;

pub struct Pki {
    pub ca: Issued,
    pub ca_der: Vec<u8>,
    pub server: Issued,
    /// Clients alice, bob, carol, dave.
    pub clients: Vec<Issued>,
    /// An intermediate authority's number and certificate, and a client's of it.
    pub sub_serial: Vec<u8>,
    pub sub: Vec<u8>,
    pub below: Vec<u8>,
    pub stranger: Vec<u8>,
    pub expired: Vec<u8>,
}

/// Wide: the real TLS looks at the real clock.
const YEARS: i64 = 20 * 365 * 86_400;

pub fn der(issued: &Issued) -> Vec<u8> {
    pki::certificates_from_pem(&issued.certificate_pem).unwrap().remove(0)
}

fn intermediate(ca: &Issued, serial: &[u8]) -> Issued {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Intermediate CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial.to_vec().into());
    let ca_key = rcgen::KeyPair::from_pem(&ca.key_pem).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca.certificate_pem, ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate_pem = params.signed_by(&key, &issuer).unwrap().pem();
    Issued { certificate_pem, key_pem: key.serialize_pem().into() }
}

/// The certificate of client `n`.
pub fn client(n: usize) -> Vec<u8> {
    der(&pki().clients[n])
}

/// A revocation list of the serial numbers of these clients.
pub fn crl(revoked: &[usize], next_update: i64) -> Vec<u8> {
    let anchors = TrustAnchors { roots: vec![pki().ca_der.clone()] };
    let serial = |n: &usize| pki::verify_client(&[client(*n)], &anchors, None, EPOCH).unwrap().serial;
    crl_of(&revoked.iter().map(serial).collect::<Vec<_>>(), next_update)
}

/// One of these serial numbers.
pub fn crl_of(serials: &[Vec<u8>], next_update: i64) -> Vec<u8> {
    let ca = &pki().ca;
    issue::crl(&ca.certificate_pem, &ca.key_pem, serials, EPOCH - 60, next_update, 1).unwrap().into_bytes()
}

pub fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let ca = issue::ca("Test CA", EPOCH - YEARS, EPOCH + YEARS).unwrap();
        let other = issue::ca("Other CA", EPOCH - YEARS, EPOCH + YEARS).unwrap();
        let client = |ca: &Issued, name: &str, until| {
            issue::client(&ca.certificate_pem, &ca.key_pem, name, EPOCH - YEARS, until, KeyKind::P256)
                .unwrap()
        };
        let sub_serial = vec![99];
        let sub = intermediate(&ca, &sub_serial);
        let names = ["alice.example", "bob.example", "carol.example", "dave.example"];
        Pki {
            ca_der: der(&ca),
            server: issue::server(
                &ca.certificate_pem,
                &ca.key_pem,
                "vpn.example.com",
                EPOCH - YEARS,
                EPOCH + YEARS,
                KeyKind::P256,
            )
            .unwrap(),
            clients: names.map(|name| client(&ca, name, EPOCH + YEARS)).into(),
            below: der(&client(&sub, "below.example", EPOCH + YEARS)),
            sub: der(&sub),
            sub_serial,
            stranger: der(&client(&other, "eve.example", EPOCH + YEARS)),
            expired: der(&client(&ca, "old.example", EPOCH - 10)),
            ca,
        }
    })
}
