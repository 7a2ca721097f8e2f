//! Whatever bytes come in, nothing panics, and nothing changed is believed.
#![allow(clippy::unwrap_used)]

use pki::{
    Crl, TrustAnchors, certificates_from_pem, facts, has_domain, importable, key_matches, verify_client,
};
use proptest::prelude::*;

const NOW: i64 = 1_800_000_000;

fn fixtures() -> Vec<Vec<u8>> {
    let pems = [
        include_str!("certs/client-ecdsa.pem"),
        include_str!("certs/client-rsa.pem"),
        include_str!("certs/client-via-sub-ca.pem"),
        include_str!("certs/pss.pem"),
        include_str!("certs/v1-root.pem"),
        include_str!("certs/ca-ecdsa.pem"),
    ];
    pems.iter().flat_map(|pem| certificates_from_pem(pem).unwrap()).collect()
}

fn anchors() -> TrustAnchors {
    let pems = [include_str!("certs/ca-ecdsa.pem"), include_str!("certs/ca-rsa.pem")];
    TrustAnchors { roots: pems.iter().flat_map(|pem| certificates_from_pem(pem).unwrap()).collect() }
}

#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (index(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        1 => index().prop_map(Change::Cut),
        1 => index().prop_map(Change::Remove),
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
    ]
}

fn apply(bytes: &mut Vec<u8>, changes: &[Change]) {
    for change in changes {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match change {
            Change::Set(at, byte) => bytes[at.index(length)] = *byte,
            Change::Flip(at, mask) => bytes[at.index(length)] ^= mask,
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Remove(at) => {
                bytes.remove(at.index(length));
            }
            Change::Insert(at, byte) => bytes.insert(at.index(length), *byte),
        }
    }
}

fn exercise(der: &[u8]) {
    let _ = facts(der);
    let _ = importable(der);
    let _ = has_domain(der);
    let _ = key_matches(der, der);
    let _ = Crl::from_der(der);
    let own = TrustAnchors { roots: vec![der.to_vec()] };
    let _ = verify_client(&[der.to_vec()], &own, None, NOW);
    let leaf = certificates_from_pem(include_str!("certs/client-ecdsa.pem")).unwrap();
    let _ = verify_client(&[leaf[0].clone(), der.to_vec()], &own, None, NOW);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_certificates(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let fixtures = fixtures();
        let original = which.get(&fixtures);
        let mut der = original.clone();
        apply(&mut der, &changes);
        exercise(&der);
        if der != *original {
            prop_assert!(verify_client(&[der], &anchors(), None, NOW).is_err());
        }
    }

    #[test]
    fn changed_lists(changes in prop::collection::vec(change(), 1..4)) {
        let root = anchors();
        let original = Crl::from_pem(include_str!("certs/crl.pem")).unwrap();
        let mut der = original.der().to_vec();
        apply(&mut der, &changes);
        if let Ok(changed) = Crl::from_der(&der) {
            prop_assert!(der == original.der() || !changed.is_signed_by_any(&root));
        }
    }

    #[test]
    fn any_bytes(der in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(&der);
    }

    #[test]
    fn any_text(text in "(-----(BEGIN|END) (CERTIFICATE|PRIVATE KEY|X509 CRL)-----\r?\n|[A-Za-z0-9+/=\n -]{0,40}){0,6}") {
        let _ = certificates_from_pem(&text);
        let _ = pki::key_from_pem(&text);
        let _ = Crl::from_pem(&text);
    }
}
