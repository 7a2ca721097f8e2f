//! Parsers of foreign bytes above the protocol, under bytes that nobody should send: no panic, bounded, and true to what
//! they say. Those of the protocol stand in `crates/openvpn/tests/foreign.rs`, private ones beside their code.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_auth::cedar::{PolicySet, Record};
use aws_auth::policy::{Policy, TrustPolicy};
use aws_auth::{Secret, SignedRequest, parse, verify};
use aws_query::{Form, Limits, encode};
use foreign::{Dice, storm};
use gateway::packet::{Header, clamp_mss, inner_room_bytes};
use pki::{Crl, TrustAnchors, certificates_from_pem, facts, key_from_pem, verify_client};
use swarm::Profile;

const ROUNDS: u64 = 20_000;

fn target(name: &str, seeds: Vec<Vec<u8>>, rounds: u64, run: impl FnMut(&[u8], &mut Dice)) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/corpus/{name}.txt"));
    storm(&file, seeds, rounds, run);
}

#[test]
fn inner_packets() {
    let peer: SocketAddr = "203.0.113.9:5000".parse().unwrap();
    let (mut good, mut clamped) = (0, 0);
    target("inner-packet", vec![], 5 * ROUNDS, |bytes, _| {
        let Ok(header) = Header::parse(bytes) else { return };
        good += 1;
        assert!(header.packet_bytes <= bytes.len());
        assert!(header.transport.is_none_or(|transport| transport.offset_bytes <= header.packet_bytes));
        let mut packet = bytes.to_vec();
        clamped += u32::from(clamp_mss(&mut packet, &header, inner_room_bytes(&peer)));
        assert_eq!(packet.len(), bytes.len());
        assert_eq!(Header::parse(&packet), Ok(header), "the clamp leaves addresses and lengths alone");
    });
    assert!(good > 100 && clamped > 10, "{good} {clamped}");
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pki/tests/certs");
    std::fs::read(folder.join(name)).unwrap()
}

fn pem(name: &str) -> Vec<Vec<u8>> {
    certificates_from_pem(std::str::from_utf8(&fixture(name)).unwrap()).unwrap()
}

/// When the fixtures are valid, in Unix seconds.
const NOW: i64 = 1_800_000_000;

#[test]
fn certificates() {
    let names = ["client-ecdsa.pem", "client-rsa.pem", "client-via-sub-ca.pem", "pss.pem", "v1-root.pem"];
    let seeds: Vec<Vec<u8>> = names.iter().flat_map(|name| pem(name)).collect();
    let anchors = TrustAnchors { roots: [pem("ca-ecdsa.pem"), pem("ca-rsa.pem")].concat() };
    let known = seeds.clone();
    let mut readable = 0;
    target("certificate", seeds, ROUNDS / 2, |bytes, dice| {
        readable += u32::from(facts(bytes).is_ok());
        let mut chain = vec![bytes.to_vec()];
        if dice.chance(300) {
            chain.push(known[dice.place(known.len())].clone());
        }
        let trusted = verify_client(&chain, &anchors, None, NOW).is_ok();
        assert!(!trusted || known.contains(&chain[0]), "what is changed is trusted");
        // As an anchor it must do no harm either.
        let _ = verify_client(&known[..1], &TrustAnchors { roots: vec![bytes.to_vec()] }, None, NOW);
    });
    assert!(readable > 100, "{readable}");
}

#[test]
fn revocation_lists() {
    let anchors = TrustAnchors { roots: pem("ca-ecdsa.pem") };
    let text = String::from_utf8(fixture("crl.pem")).unwrap();
    let genuine = Crl::from_pem(&text).unwrap();
    let der = genuine.der().to_vec();
    let mut readable = 0;
    target("crl", vec![der.clone()], ROUNDS / 2, |bytes, _| {
        let Ok(list) = Crl::from_der(bytes) else { return };
        readable += 1;
        assert!(list.entries() <= bytes.len());
        assert!(
            !list.is_signed_by_any(&anchors) || list.der() == der,
            "a changed list is taken for the authority's"
        );
    });
    assert!(readable > 10, "{readable}");
}

#[test]
fn pem_files() {
    let seeds = ["client-via-sub-ca.pem", "crl.pem"].map(fixture).to_vec();
    let mut good = 0;
    target("pem", seeds, ROUNDS, |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(certificates) = certificates_from_pem(&text) {
            good += 1;
            assert!(certificates.iter().map(Vec::len).sum::<usize>() <= text.len());
        }
        let _ = (key_from_pem(&text), Crl::from_pem(&text));
    });
    assert!(good > 100, "{good}");
}

/// Rows: method, path, query, then a line for each header.
#[test]
fn signatures() {
    let (mut read, mut refused) = (0, 0);
    target("signature", vec![], ROUNDS, |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let mut line = || lines.next().unwrap_or_default();
        let (method, path, query) = (line(), line(), line());
        let headers: Vec<(String, String)> = text
            .lines()
            .skip(3)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let request = SignedRequest { method, path, query, headers: &headers, body: b"" };
        match parse(&request) {
            Ok(presented) => {
                read += 1;
                let verdict = verify(&request, &presented, &Secret::decoy(), presented.time);
                assert!(verdict.is_err(), "nobody has this key");
            }
            Err(_) => refused += 1,
        }
    });
    assert!(read > 100 && refused > 100, "{read} {refused}");
}

#[test]
fn forms() {
    let limits = Limits::default();
    let mut good = 0;
    target("form", vec![], ROUNDS, |bytes, _| {
        let Ok(form) = Form::parse(bytes, &limits) else { return };
        good += 1;
        let text = encode(form.iter());
        let again = Form::parse(text.as_bytes(), &limits).unwrap();
        assert!(again.iter().eq(form.iter()), "what is read is written alike");
    });
    assert!(good > 1000, "{good}");
}

#[test]
fn policy_documents() {
    let mut good = 0;
    target("policy", vec![], ROUNDS, |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(policy) = Policy::parse(&text) {
            good += 1;
            let _ = (policy.statement_count(), policy.condition_keys(), policy.variables());
        }
        if let Ok(trust) = TrustPolicy::parse(&text) {
            let _ = (trust.condition_keys(), trust.variables());
        }
    });
    assert!(good > 50, "{good}");
}

/// The library is built without optimization in tests, hence fewer.
#[test]
fn authorization_policies() {
    let mut good = 0;
    target("cedar", vec![], ROUNDS / 20, |bytes, _| {
        if let Ok(policy) = PolicySet::parse(&String::from_utf8_lossy(bytes)) {
            good += 1;
            let _ = policy.evaluate(&Record::default());
        }
    });
    assert!(good > 5, "{good}");
}

#[test]
fn client_profiles() {
    // Files that a profile names are looked for where there are none.
    let nowhere = Path::new("/nonexistent");
    let mut good = 0;
    target("profile", vec![], ROUNDS, |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(profile) = Profile::parse(&text, nowhere) {
            good += 1;
            assert!(!profile.remotes.is_empty());
        }
    });
    assert!(good > 50, "{good}");
}
