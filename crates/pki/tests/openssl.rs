//! Our verdicts beside those of `openssl verify -purpose sslclient` on chains of many shapes.
//!
//! Where the two part on purpose, the row says so; everywhere else they must agree.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr)]

use std::process::Command;

use pki::{Crl, TrustAnchors, issue, verify_client};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};

use crate::forge::{Forged, NOW, authority, client, with};

fn openssl_accepts(chain: &[&Forged], anchor: &Forged, crl: Option<&str>) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut command = Command::new("openssl");
    command.args(["verify", "-purpose", "sslclient", "-no-CApath", "-no-CAstore", "-partial_chain"]);
    command.args(["-attime", &NOW.to_string()]);
    command.arg("-CAfile").arg(file("anchor.pem", anchor.pem.clone()));
    if chain.len() > 1 {
        let text = chain.iter().skip(1).map(|forged| forged.pem.as_str()).collect();
        command.arg("-untrusted").arg(file("untrusted.pem", text));
    }
    if let Some(crl) = crl {
        command.arg("-crl_check").arg("-CRLfile").arg(file("crl.pem", crl.to_owned()));
    }
    let output = command.arg(file("leaf.pem", chain[0].pem.clone())).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Every leaf that differs in one thing.
fn leaves() -> Vec<(String, CertificateParams)> {
    let mut rows = vec![("good".to_owned(), client("a"))];
    let mut add = |name: &str, change: &dyn Fn(&mut CertificateParams)| {
        rows.push((name.to_owned(), with(client("a"), |params| change(params))));
    };
    add("expired", &|p| p.not_after = date_time_ymd(2026, 12, 31));
    add("future", &|p| p.not_before = date_time_ymd(2027, 12, 31));
    add("server", &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    add("any usage", &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]);
    add("no usage", &|p| p.extended_key_usages = vec![]);
    add("no key usage", &|p| p.key_usages = vec![]);
    add("encipherment", &|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    add("agreement", &|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement]);
    add("authority", &|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    for critical in [false, true] {
        add(if critical { "critical" } else { "unknown" }, &|p| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(critical);
            p.custom_extensions = vec![extension];
        });
    }
    for name in ["in.example.com", "out.example.org"] {
        add(name, &|p| p.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())]);
    }
    rows
}

/// Every issuer that differs in one thing.
fn issuers() -> Vec<(String, CertificateParams)> {
    let mut rows = vec![("good".to_owned(), authority("sub"))];
    let mut add = |name: &str, change: &dyn Fn(&mut CertificateParams)| {
        rows.push((name.to_owned(), with(authority("sub"), |params| change(params))));
    };
    add("no constraints", &|p| p.is_ca = IsCa::NoCa);
    add("no authority", &|p| p.is_ca = IsCa::ExplicitNoCa);
    add("length 0", &|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    add("lists only", &|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]);
    add("no key usage", &|p| p.key_usages = vec![]);
    add("for servers", &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    add("for clients", &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    add("expired", &|p| p.not_after = date_time_ymd(2026, 12, 31));
    add("named", &|p| {
        p.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
            excluded_subtrees: vec![],
        });
    });
    rows
}

/// Where we refuse what OpenSSL takes.
fn differs_on_purpose(leaf: &str) -> bool {
    matches!(leaf, "no usage" | "authority")
}

fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: no openssl program here, so our verdicts were not compared with another's");
    }
    found
}

#[test]
fn chains_through_an_intermediate() {
    if !has_openssl() {
        return;
    }
    let root = Forged::root(authority("root"));
    let mut accepted = 0;
    for (issuer_name, issuer) in issuers() {
        let sub = root.issue(issuer);
        for (leaf_name, leaf) in leaves() {
            let leaf = sub.issue(leaf);
            let anchors = TrustAnchors { roots: vec![root.der.clone()] };
            let ours = verify_client(&[leaf.der.clone(), sub.der.clone()], &anchors, None, NOW);
            let (theirs, said) = openssl_accepts(&[&leaf, &sub], &root, None);
            accepted += u32::from(theirs);
            let expected = theirs && !differs_on_purpose(&leaf_name);
            assert_eq!(ours.is_ok(), expected, "{leaf_name} under {issuer_name}: {ours:?}; openssl: {said}");
        }
    }
    assert!(accepted > 20, "the rows have good chains too");
}

#[test]
fn anchors_that_are_intermediates() {
    if !has_openssl() {
        return;
    }
    let root = Forged::root(authority("root"));
    for (name, issuer) in issuers() {
        let sub = root.issue(issuer);
        let leaf = sub.issue(client("a"));
        let anchors = TrustAnchors { roots: vec![sub.der.clone()] };
        let ours = verify_client(std::slice::from_ref(&leaf.der), &anchors, None, NOW);
        let (theirs, said) = openssl_accepts(&[&leaf], &sub, None);
        // Without basic constraints but with the key usage of an authority OpenSSL takes an anchor for one.
        let expected = theirs && name != "no constraints";
        assert_eq!(ours.is_ok(), expected, "{name}: {ours:?}; openssl: {said}");
    }
}

#[test]
fn revocation_lists() {
    if !has_openssl() {
        return;
    }
    let (root, stranger) = (Forged::root(authority("root")), Forged::root(authority("root")));
    let leaf = root.issue(with(client("a"), |p| p.serial_number = Some(7_u64.into())));
    let day = 86_400;
    let rows = [
        ("empty", &root, vec![], NOW - day, NOW + day),
        ("revoked", &root, vec![vec![7]], NOW - day, NOW + day),
        ("another", &root, vec![vec![8]], NOW - day, NOW + day),
        ("expired", &root, vec![], NOW - day, NOW - 1),
        ("future", &root, vec![], NOW + day, NOW + 2 * day),
        ("forged", &stranger, vec![], NOW - day, NOW + day),
    ];
    for (name, authority, serials, from, to) in rows {
        let key = authority.key.serialize_pem();
        let text = issue::crl(&authority.pem, &key, &serials, from, to, 1).unwrap();
        let anchors = TrustAnchors { roots: vec![root.der.clone()] };
        let crl = Crl::from_pem(&text).unwrap();
        let ours = verify_client(std::slice::from_ref(&leaf.der), &anchors, Some(&crl), NOW);
        let (theirs, said) = openssl_accepts(&[&leaf], &root, Some(&text));
        assert_eq!(ours.is_ok(), theirs, "{name}: {ours:?}; openssl: {said}");
    }
}
