//! Every fixture certificate: accepted, or refused for the right reason.
#![allow(clippy::unwrap_used)]

use pki::{Crl, Refusal, TrustAnchors, certificates_from_pem, verify_client};

const NOW: i64 = 1_800_000_000;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("certs/", $name, ".pem"))
    };
}

const CA_ECDSA: &str = fixture!("ca-ecdsa");
const CA_RSA: &str = fixture!("ca-rsa");
const V1_ROOT: &str = fixture!("v1-root");

fn anchors(pems: &[&str]) -> TrustAnchors {
    TrustAnchors { roots: pems.iter().flat_map(|pem| certificates_from_pem(pem).unwrap()).collect() }
}

fn verdict(chain: &str, anchors: &TrustAnchors, crl: Option<&Crl>) -> Result<String, Refusal> {
    let chain = certificates_from_pem(chain).unwrap();
    verify_client(&chain, anchors, crl, NOW).map(|identity| identity.common_name)
}

#[test]
fn each_has_its_verdict() {
    let good = Crl::from_pem(fixture!("crl")).unwrap();
    let expired = Crl::from_pem(fixture!("crl-expired")).unwrap();
    let (good, expired) = (Some(&good), Some(&expired));
    type Row<'a> = (&'a str, &'a str, &'a [&'a str], Option<&'a Crl>, Result<&'a str, Refusal>);
    let ecdsa: &[&str] = &[CA_ECDSA];
    let rsa: &[&str] = &[CA_RSA];
    let v1: &[&str] = &[V1_ROOT];
    let one = fixture!("client-ecdsa");
    let rows: &[Row<'_>] = &[
        ("ecdsa", one, ecdsa, None, Ok("client-one.vectors.test")),
        ("ecdsa, list", one, ecdsa, good, Ok("client-one.vectors.test")),
        ("ecdsa, expired list", one, ecdsa, expired, Err(Refusal::CrlExpired)),
        ("ecdsa, two anchors", one, &[CA_RSA, CA_ECDSA], None, Ok("client-one.vectors.test")),
        ("no anchors", one, &[], None, Err(Refusal::UnknownIssuer)),
        ("rsa", fixture!("client-rsa"), rsa, None, Ok("client-one.vectors.test")),
        ("rsa, other's list", fixture!("client-rsa"), rsa, good, Ok("client-one.vectors.test")),
        ("rsa, other's expired list", fixture!("client-rsa"), rsa, expired, Err(Refusal::CrlExpired)),
        ("rsa under ecdsa", fixture!("client-rsa"), ecdsa, None, Err(Refusal::UnknownIssuer)),
        ("sub", fixture!("client-via-sub-ca"), ecdsa, None, Ok("client-sub.vectors.test")),
        ("sub, list", fixture!("client-via-sub-ca"), ecdsa, good, Ok("client-sub.vectors.test")),
        ("expired", fixture!("client-expired"), ecdsa, None, Err(Refusal::Expired)),
        ("future", fixture!("client-not-yet-valid"), ecdsa, None, Err(Refusal::NotYetValid)),
        ("no usage", fixture!("client-no-eku"), ecdsa, None, Err(Refusal::NotForClients)),
        ("server", fixture!("server-ecdsa"), ecdsa, None, Err(Refusal::NotForClients)),
        ("server rsa", fixture!("server-rsa"), rsa, None, Err(Refusal::NotForClients)),
        ("forged", fixture!("client-forged-issuer"), ecdsa, None, Err(Refusal::BadSignature)),
        ("under leaf", fixture!("client-under-leaf"), ecdsa, None, Err(Refusal::NotAnAuthority)),
        ("revoked, no list", fixture!("client-revoked"), ecdsa, None, Ok("client-revoked.vectors.test")),
        ("revoked", fixture!("client-revoked"), ecdsa, good, Err(Refusal::Revoked)),
        ("authority", CA_ECDSA, ecdsa, None, Err(Refusal::Authority)),
        ("v1 root", fixture!("client-under-v1"), v1, None, Ok("client-v1.vectors.test")),
        ("v1 client", fixture!("client-itself-v1"), v1, None, Err(Refusal::NotForClients)),
    ];
    for (name, chain, roots, crl, expected) in rows {
        let expected = expected.clone().map(str::to_owned);
        assert_eq!(verdict(chain, &anchors(roots), *crl), expected, "{name}");
    }
}

#[test]
fn an_intermediate_can_be_the_anchor() {
    let chain = certificates_from_pem(fixture!("client-via-sub-ca")).unwrap();
    let anchors = TrustAnchors { roots: vec![chain[1].clone()] };
    assert!(verify_client(&chain[..1], &anchors, None, NOW).is_ok());
    assert!(verify_client(&chain, &anchors, None, NOW).is_ok(), "presenting it too does no harm");
}

#[test]
fn an_anchor_that_is_no_certificate_harms_nobody() {
    let mut anchors = anchors(&[CA_ECDSA]);
    anchors.roots.insert(0, b"nonsense".to_vec());
    assert!(verdict(fixture!("client-ecdsa"), &anchors, None).is_ok());
}

#[test]
fn the_identity_is_the_leafs() {
    let chain = certificates_from_pem(fixture!("client-revoked")).unwrap();
    let identity = verify_client(&chain, &anchors(&[CA_ECDSA]), None, NOW).unwrap();
    assert_eq!(identity.serial.first(), Some(&0x11));
    assert_eq!(identity.serial.len(), 20);
    assert_eq!(identity.not_after, 2_524_521_600);
    let certificate = pki::Certificate::from_der(chain[0].clone()).unwrap();
    assert_eq!(identity.fingerprint, certificate.fingerprint());
    let crl = Crl::from_pem(fixture!("crl")).unwrap();
    assert!(crl.revokes(&identity.serial));
    assert!(!crl.revokes(&[1, 2, 3]));
}

#[test]
fn a_list_knows_its_signer() {
    let crl = Crl::from_pem(fixture!("crl")).unwrap();
    assert!(crl.is_signed_by_any(&anchors(&[CA_RSA, CA_ECDSA])));
    assert!(!crl.is_signed_by_any(&anchors(&[CA_RSA])));
    assert_eq!(
        (crl.entries(), crl.this_update(), crl.next_update()),
        (1, 1_704_067_200, Some(2_524_521_600))
    );
}
