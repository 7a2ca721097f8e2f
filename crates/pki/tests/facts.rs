//! Reading certificates and keys: facts in ACM's words, import rules, PEM in its variants.
#![allow(clippy::unwrap_used)]

use pki::{
    Facts, PkiError, certificates_from_pem, facts, has_domain, importable, issue, key_from_pem, key_matches,
};

use crate::forge::{Forged, NOW, authority, blank, client, with};

fn facts_of(pem: &str) -> Facts {
    facts(&certificates_from_pem(pem).unwrap()[0]).unwrap()
}

#[test]
fn facts_in_full() {
    let facts = facts_of(include_str!("certs/pss.pem"));
    let name = "C=US, ST=Washington, L=Seattle, O=Example\\, Inc., OU=Sales, CN=pss.vectors.test, \
                emailAddress=a@example.com";
    let expected = Facts {
        subject: name.to_owned(),
        issuer: name.to_owned(),
        common_name: Some("pss.vectors.test".to_owned()),
        dns_names: vec!["pss.vectors.test".to_owned(), "*.vectors.test".to_owned()],
        serial: "7c:04:47:b3:00:ec:00:65:ee:0b:49:03:e0:bf:81:32:16:cc:ff:99".to_owned(),
        not_before: 1_795_639_362,
        not_after: 2_478_199_362,
        key_algorithm: "RSA_2048".to_owned(),
        signature_algorithm: "RSASSA-PSS".to_owned(),
        is_ca: true,
        key_usages: vec!["DIGITAL_SIGNATURE", "KEY_ENCIPHERMENT"],
        extended_key_usages: vec![
            ("TLS_WEB_SERVER_AUTHENTICATION", "1.3.6.1.5.5.7.3.1".to_owned()),
            ("TLS_WEB_CLIENT_AUTHENTICATION", "1.3.6.1.5.5.7.3.2".to_owned()),
            ("CUSTOM", "1.3.6.1.5.5.7.3.17".to_owned()),
        ],
        self_signed: true,
    };
    assert_eq!(facts, expected);
}

#[test]
fn facts_row_by_row() {
    let rows = [
        (include_str!("certs/server-rsa.pem"), "RSA_2048", "SHA256WITHRSA", false),
        (include_str!("certs/ca-rsa.pem"), "RSA_2048", "SHA256WITHRSA", true),
        (include_str!("certs/server-ecdsa.pem"), "EC_prime256v1", "SHA256WITHECDSA", false),
        (include_str!("certs/ca-ecdsa.pem"), "EC_prime256v1", "SHA256WITHECDSA", true),
        (include_str!("certs/rsa-1024.pem"), "RSA_1024", "SHA256WITHRSA", false),
        (include_str!("certs/v1-root.pem"), "EC_prime256v1", "SHA256WITHECDSA", true),
    ];
    for (pem, key, signature, self_signed) in rows {
        let facts = facts_of(pem);
        assert_eq!((facts.key_algorithm.as_str(), facts.signature_algorithm.as_str()), (key, signature));
        // RSA-1024 is too small for its signature to be believed.
        assert_eq!(facts.self_signed, self_signed, "{}", facts.subject);
    }
    // A serial number with its top bit set has a zero byte in front of it in DER.
    let serial = facts_of(include_str!("certs/server-rsa.pem")).serial;
    assert_eq!(serial, "91:b9:ad:59:55:eb:67:5e:05:d6:73:e8:74:6c:b9:11:ac:47:79");
}

#[test]
fn import_rules() {
    let made = |algorithm| {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        blank("a.example.com").self_signed(&key).unwrap().pem()
    };
    let rows = [
        ("rsa 2048", include_str!("certs/server-rsa.pem").to_owned(), None),
        ("pss", include_str!("certs/pss.pem").to_owned(), None),
        ("p256", made(&rcgen::PKCS_ECDSA_P256_SHA256), None),
        ("p384", made(&rcgen::PKCS_ECDSA_P384_SHA384), None),
        ("ed25519", made(&rcgen::PKCS_ED25519), None),
        ("p521", made(&rcgen::PKCS_ECDSA_P521_SHA512), Some("EC_secp521r1")),
        ("rsa 1024", include_str!("certs/rsa-1024.pem").to_owned(), Some("1024 bits")),
        ("sha1", include_str!("certs/sha1.pem").to_owned(), Some("SHA1WITHRSA")),
    ];
    for (name, pem, reason) in rows {
        let answer = importable(&certificates_from_pem(&pem).unwrap()[0]);
        match reason {
            None => assert_eq!(answer, Ok(()), "{name}"),
            Some(reason) => assert!(answer.unwrap_err().contains(reason), "{name}"),
        }
    }
    assert!(importable(b"nonsense").is_err());
}

#[test]
fn domains() {
    let dns = rcgen::SanType::DnsName("localhost".try_into().unwrap());
    let address = rcgen::SanType::IpAddress("10.0.0.1".parse().unwrap());
    let rows = [
        (blank("server.example.com"), true),
        (blank("*.example.com"), true),
        (blank("server"), false),
        (with(blank("server"), |params| params.subject_alt_names = vec![dns]), true),
        (with(blank("server"), |params| params.subject_alt_names = vec![address]), false),
        (with(blank("x"), |params| params.distinguished_name = rcgen::DistinguishedName::new()), false),
    ];
    for (params, expected) in rows {
        assert_eq!(has_domain(&Forged::root(params.clone()).der), expected, "{params:?}");
    }
}

#[test]
fn names_in_every_string_type() {
    let rows: [(rcgen::DnValue, &str); 5] = [
        (rcgen::DnValue::Utf8String("zoë".to_owned()), "zoë"),
        (rcgen::DnValue::PrintableString("zoe".try_into().unwrap()), "zoe"),
        (rcgen::DnValue::Ia5String("zoe@x".try_into().unwrap()), "zoe@x"),
        (rcgen::DnValue::BmpString("zoë".try_into().unwrap()), "zoë"),
        (rcgen::DnValue::UniversalString("zoë".try_into().unwrap()), "zoë"),
    ];
    for (value, expected) in rows {
        let facts = facts(&Forged::root(blank(value)).der).unwrap();
        assert_eq!(facts.common_name.as_deref(), Some(expected));
        assert_eq!(facts.subject, format!("CN={expected}"));
    }
}

#[test]
fn keys_match_their_certificates_only() {
    let authority = issue::ca("CA", NOW - 10, NOW + 10).unwrap();
    for kind in [issue::KeyKind::P256, issue::KeyKind::Rsa2048] {
        let make = || {
            let (certificate, key) = (&authority.certificate_pem, &authority.key_pem);
            issue::server(certificate, key, "a.example.com", NOW - 10, NOW + 10, kind).unwrap()
        };
        let (one, other) = (make(), make());
        let certificate = &certificates_from_pem(&one.certificate_pem).unwrap()[0];
        assert!(key_matches(certificate, &key_from_pem(&one.key_pem).unwrap()));
        assert!(!key_matches(certificate, &key_from_pem(&other.key_pem).unwrap()));
        assert!(!key_matches(certificate, &key_from_pem(&authority.key_pem).unwrap()));
        assert!(!key_matches(certificate, b"nonsense"));
        assert!(!key_matches(b"nonsense", &key_from_pem(&one.key_pem).unwrap()));
    }
}

#[test]
fn pem_variants() {
    let one = include_str!("certs/client-ecdsa.pem");
    let two = include_str!("certs/client-via-sub-ca.pem");
    let windows = two.replace('\n', "\r\n");
    let commented = format!("Certificate:\n    Data:\n{one}\n\ntrailing words");
    let rows: [(&str, &str, Result<usize, PkiError>); 7] = [
        ("one", one, Ok(1)),
        ("two", two, Ok(2)),
        ("carriage returns", &windows, Ok(2)),
        ("text around", &commented, Ok(1)),
        ("nothing", "", Err(PkiError::Missing("certificate"))),
        ("a list", include_str!("certs/crl.pem"), Err(PkiError::Missing("certificate"))),
        ("cut off", &one[..one.len() - 30], Err(PkiError::Pem("a section has no END line".to_owned()))),
    ];
    for (name, text, expected) in rows {
        assert_eq!(certificates_from_pem(text).map(|found| found.len()), expected, "{name}");
    }
    let many = one.repeat(101);
    assert!(matches!(certificates_from_pem(&many), Err(PkiError::TooMany { limit: 100, .. })));
}

#[test]
fn private_keys_in_pem() {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    assert!(key_from_pem(&key).is_ok());
    let rows: [(&str, String, PkiError); 5] = [
        ("two", key.repeat(2), PkiError::TooMany { what: "private key", limit: 1 }),
        ("none", include_str!("certs/crl.pem").to_owned(), PkiError::Missing("private key")),
        (
            "encrypted",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned(),
            PkiError::EncryptedKey,
        ),
        (
            "encrypted, old form",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"
                .to_owned(),
            PkiError::EncryptedKey,
        ),
        (
            "no key inside",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
            PkiError::UnknownKey,
        ),
    ];
    for (name, text, expected) in rows {
        assert_eq!(key_from_pem(&text).unwrap_err(), expected, "{name}");
    }
}

#[test]
fn nothing_tells_a_key() {
    let broken = "-----BEGIN PRIVATE KEY-----\nSECRETSECRET!\n-----END PRIVATE KEY-----\n";
    let error = key_from_pem(broken).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("SECRET"));
    let unended = "-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n";
    assert!(!format!("{:?}", key_from_pem(unended).unwrap_err()).contains("SECRET"));
    let issued = issue::ca("CA", NOW, NOW + 1).unwrap();
    assert!(!format!("{issued:?}").contains("PRIVATE"));
}

#[test]
fn what_is_issued_says_what_it_must() {
    let authority = issue::ca_with("Example CA", NOW, NOW + 1000, issue::KeyKind::Rsa2048).unwrap();
    let (certificate, key) = (authority.certificate_pem.as_str(), authority.key_pem.as_str());
    let kind = issue::KeyKind::Rsa2048;
    let facts = facts_of(certificate);
    assert!(facts.is_ca && facts.self_signed);
    assert_eq!(facts.key_usages, ["CERTIFICATE_SIGNING", "CRL_SIGNING"]);
    assert_eq!((facts.not_before, facts.not_after), (NOW, NOW + 1000));

    let server = issue::server(certificate, key, "vpn.example.com", NOW, NOW + 100, kind).unwrap();
    let facts = facts_of(&server.certificate_pem);
    assert_eq!((facts.subject.as_str(), facts.issuer.as_str()), ("CN=vpn.example.com", "CN=Example CA"));
    assert_eq!(facts.dns_names, ["vpn.example.com"]);
    assert_eq!(facts.key_usages, ["DIGITAL_SIGNATURE", "KEY_ENCIPHERMENT"]);
    assert_eq!(facts.extended_key_usages[0].0, "TLS_WEB_SERVER_AUTHENTICATION");
    assert_eq!((facts.key_algorithm.as_str(), facts.is_ca), ("RSA_2048", false));

    let refused = [
        issue::server(certificate, key, "vpn", NOW, NOW + 100, kind),
        issue::client(certificate, key, "", NOW, NOW + 100, kind),
        issue::client(certificate, key, "line\nbreak", NOW, NOW + 100, kind),
        issue::client(certificate, key, &"x".repeat(65), NOW, NOW + 100, kind),
        issue::client(certificate, key, "x", NOW, NOW, kind),
        issue::client(certificate, &server.key_pem, "x", NOW, NOW + 100, kind),
        issue::client(&server.certificate_pem, &server.key_pem, "x", NOW, NOW + 100, kind),
        issue::client("", key, "x", NOW, NOW + 100, kind),
        issue::ca("x", i64::MIN, i64::MAX),
    ];
    for (index, answer) in refused.into_iter().enumerate() {
        assert!(answer.is_err(), "row {index}");
    }
}

#[test]
fn a_certificate_followed_by_bytes_is_none() {
    let mut der = Forged::root(authority("CA")).issue(client("a")).der;
    assert!(facts(&der).is_ok());
    der.push(0);
    assert!(facts(&der).is_err());
}

#[test]
fn what_is_signed_as_nobody_checks_is_not_imported() {
    let pem = include_str!("certs/ca-ecdsa.pem");
    let der = pki::certificates_from_pem(pem).unwrap().remove(0);
    assert_eq!(pki::importable(&der), Ok(()));
    // ECDSA with SHA-256, and with SHA-224: named twice.
    let (known, unknown) = ([0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1]);
    let mut bent = der;
    for _ in 0..2 {
        let at = bent.windows(known.len()).position(|bytes| bytes == known).unwrap();
        bent[at..at + known.len()].copy_from_slice(&unknown);
    }
    let why = pki::importable(&bent).unwrap_err();
    assert!(why.ends_with("which is not supported"), "{why}");
}
