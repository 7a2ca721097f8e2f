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
    pub stranger: Vec<u8>,
    pub expired: Vec<u8>,
}

/// Wide: the real TLS looks at the real clock.
const YEARS: i64 = 20 * 365 * 86_400;

pub fn der(issued: &Issued) -> Vec<u8> {
    pki::certificates_from_pem(&issued.certificate_pem).unwrap().remove(0)
}

/// The certificate of client `n`.
pub fn client(n: usize) -> Vec<u8> {
    der(&pki().clients[n])
}

/// A revocation list of the serial numbers of these clients.
pub fn crl(revoked: &[usize], next_update: i64) -> Vec<u8> {
    let ca = &pki().ca;
    let anchors = TrustAnchors { roots: vec![pki().ca_der.clone()] };
    let serial = |n: &usize| pki::verify_client(&[client(*n)], &anchors, None, EPOCH).unwrap().serial;
    let serials: Vec<_> = revoked.iter().map(serial).collect();
    issue::crl(&ca.certificate_pem, &ca.key_pem, &serials, EPOCH - 60, next_update, 1).unwrap().into_bytes()
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
            stranger: der(&client(&other, "eve.example", EPOCH + YEARS)),
            expired: der(&client(&ca, "old.example", EPOCH - 10)),
            ca,
        }
    })
}
