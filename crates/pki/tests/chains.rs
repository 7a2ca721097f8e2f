//! Chains made to be refused, and their neighbours that are good.
#![allow(clippy::unwrap_used)]

use pki::{Crl, Refusal, TrustAnchors, issue, verify_client};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};

use crate::forge::{Forged, NOW, authority, blank, client, with};

fn verdict(chain: &[&Forged], anchors: &[&Forged]) -> Result<String, Refusal> {
    let chain: Vec<Vec<u8>> = chain.iter().map(|forged| forged.der.clone()).collect();
    let roots = anchors.iter().map(|forged| forged.der.clone()).collect();
    verify_client(&chain, &TrustAnchors { roots }, None, NOW).map(|identity| identity.common_name)
}

#[test]
fn leaves() {
    let root = Forged::root(authority("root"));
    let unknown = |critical| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(critical);
        vec![extension]
    };
    let holding = |oid: &[u64], critical, content: &[u8]| {
        let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
        extension.set_criticality(critical);
        with(client("a"), |params| params.custom_extensions = vec![extension])
    };
    let (policies, names) = ([2, 5, 29, 32], [2, 5, 29, 17]);
    let usage = |usages: &[ExtendedKeyUsagePurpose]| {
        let usages = usages.to_vec();
        with(client("a"), |params| params.extended_key_usages = usages)
    };
    let key_usage = |usages: &[KeyUsagePurpose]| {
        let usages = usages.to_vec();
        with(client("a"), |params| params.key_usages = usages)
    };
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    let rows: Vec<(&str, CertificateParams, Result<(), Refusal>)> = vec![
        ("good", client("a"), Ok(())),
        ("both usages", usage(&[ServerAuth, ClientAuth]), Ok(())),
        ("server only", usage(&[ServerAuth]), Err(Refusal::NotForClients)),
        ("no usage", usage(&[]), Err(Refusal::NotForClients)),
        ("any usage", usage(&[Any]), Err(Refusal::NotForClients)),
        ("no key usage", key_usage(&[]), Ok(())),
        ("agreement", key_usage(&[KeyUsagePurpose::KeyAgreement]), Ok(())),
        ("encipherment", key_usage(&[KeyUsagePurpose::KeyEncipherment]), Err(Refusal::NotForClients)),
        (
            "authority",
            with(client("a"), |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            Err(Refusal::Authority),
        ),
        ("no constraints", with(client("a"), |p| p.is_ca = IsCa::NoCa), Ok(())),
        ("unknown extension", with(client("a"), |p| p.custom_extensions = unknown(false)), Ok(())),
        (
            "unknown critical extension",
            with(client("a"), |p| p.custom_extensions = unknown(true)),
            Err(Refusal::UnknownCriticalExtension("1.2.3.4".to_owned())),
        ),
        ("any policy, critical", holding(&policies, true, &[0x30, 6, 0x30, 4, 6, 2, 0x2a, 3]), Ok(())),
        // Of what decides nothing it does not matter whether it can be read; of what does, it does.
        ("policies that cannot be read", holding(&policies, false, &[5, 0]), Ok(())),
        ("names that cannot be read", holding(&names, false, &[5, 0]), Err(Refusal::Malformed)),
        (
            "extension twice",
            with(client("a"), |p| p.custom_extensions = [unknown(false), unknown(false)].concat()),
            Err(Refusal::Malformed),
        ),
        (
            "last second over",
            with(client("a"), |p| p.not_after = date_time_ymd(2027, 1, 1)),
            Err(Refusal::Expired),
        ),
        (
            "no name",
            with(client("a"), |p| p.distinguished_name = DistinguishedName::new()),
            Err(Refusal::NoCommonName),
        ),
        (
            "organisation only",
            with(client("a"), |p| {
                p.distinguished_name = DistinguishedName::new();
                p.distinguished_name.push(DnType::OrganizationName, "x");
            }),
            Err(Refusal::NoCommonName),
        ),
        ("empty name", client(""), Err(Refusal::NoCommonName)),
        ("blank name", client("  "), Err(Refusal::BadCommonName)),
        ("nul in name", client("admin\0.evil"), Err(Refusal::BadCommonName)),
        ("line break in name", client("admin\nevil"), Err(Refusal::BadCommonName)),
        ("64 characters", client("ä".repeat(64)), Ok(())),
        ("65 characters", client("a".repeat(65)), Err(Refusal::BadCommonName)),
    ];
    for (name, params, expected) in rows {
        let leaf = root.issue(params);
        assert_eq!(verdict(&[&leaf], &[&root]).map(|_| ()), expected, "{name}");
    }
}

#[test]
fn certificates_may_be_as_long_as_they_may() {
    const MOST: usize = 64 * 1024;
    let root = Forged::root(authority("root"));
    // How long a signature is depends on chance.
    let of_length = |bytes: usize| {
        (0..).find_map(|more| {
            let padding = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5; bytes - 600 + more % 500]);
            let leaf = root.issue(with(client("a"), |p| p.custom_extensions = vec![padding]));
            (leaf.der.len() == bytes).then_some(leaf)
        })
    };
    let (longest, longer) = (of_length(MOST).unwrap(), of_length(MOST + 1).unwrap());
    assert_eq!(verdict(&[&longest], &[&root]).as_deref(), Ok("a"));
    assert_eq!(verdict(&[&longer], &[&root]), Err(Refusal::TooLarge));
}

#[test]
fn validity_counts_its_first_and_last_second() {
    let root = Forged::root(authority("root"));
    let leaf = root.issue(client("a"));
    let roots = TrustAnchors { roots: vec![root.der.clone()] };
    let (first, last) = (1_577_836_800, 2_524_521_600);
    let rows = [
        (first - 1, Err(Refusal::NotYetValid)),
        (first, Ok(())),
        (last, Ok(())),
        (last + 1, Err(Refusal::Expired)),
        (i64::MIN, Err(Refusal::NotYetValid)),
        (i64::MAX, Err(Refusal::Expired)),
    ];
    for (now, expected) in rows {
        let chain = [leaf.der.clone()];
        assert_eq!(verify_client(&chain, &roots, None, now).map(|_| ()), expected, "{now}");
    }
}

#[test]
fn issuers() {
    let limited =
        |length| with(authority("sub"), |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(length)));
    let unknown_critical = with(authority("sub"), |p| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        p.custom_extensions = vec![extension];
    });
    let rows: Vec<(&str, CertificateParams, Result<(), Refusal>)> = vec![
        ("good", authority("sub"), Ok(())),
        ("no constraints", with(authority("sub"), |p| p.is_ca = IsCa::NoCa), Err(Refusal::NotAnAuthority)),
        (
            "no authority",
            with(authority("sub"), |p| p.is_ca = IsCa::ExplicitNoCa),
            Err(Refusal::NotAnAuthority),
        ),
        (
            "may not sign certificates",
            with(authority("sub"), |p| p.key_usages = vec![KeyUsagePurpose::CrlSign]),
            Err(Refusal::NotAnAuthority),
        ),
        ("any key usage", with(authority("sub"), |p| p.key_usages = vec![]), Ok(())),
        (
            "for servers",
            with(authority("sub"), |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Err(Refusal::NotAnAuthority),
        ),
        (
            "for clients",
            with(authority("sub"), |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            Ok(()),
        ),
        (
            "expired",
            with(authority("sub"), |p| p.not_after = date_time_ymd(2024, 1, 1)),
            Err(Refusal::Expired),
        ),
        (
            "future",
            with(authority("sub"), |p| p.not_before = date_time_ymd(2040, 1, 1)),
            Err(Refusal::NotYetValid),
        ),
        ("length 0", limited(0), Ok(())),
        ("critical", unknown_critical, Err(Refusal::UnknownCriticalExtension("1.2.3.4".to_owned()))),
    ];
    let root = Forged::root(authority("root"));
    for (name, params, expected) in rows {
        let sub = root.issue(params.clone());
        let leaf = sub.issue(client("a"));
        assert_eq!(verdict(&[&leaf, &sub], &[&root]).map(|_| ()), expected, "{name} as intermediate");
        // The same certificate as the anchor must satisfy the same rules.
        assert_eq!(verdict(&[&leaf], &[&sub]).map(|_| ()), expected, "{name} as anchor");
    }
    // Of version 3 a root has to say that it is one, too.
    let silent = Forged::root(with(authority("root"), |p| p.is_ca = IsCa::NoCa));
    let leaf = silent.issue(client("a"));
    assert_eq!(verdict(&[&leaf], &[&silent]), Err(Refusal::NotAnAuthority));
}

/// `length` authorities below a root, leaf first, and the root.
fn ladder(length: usize, root: CertificateParams, of: impl Fn(usize) -> CertificateParams) -> Vec<Forged> {
    let mut ladder = vec![Forged::root(root)];
    for index in 0..length {
        let next = ladder.last().unwrap().issue(of(index));
        ladder.push(next);
    }
    let leaf = ladder.last().unwrap().issue(client("a"));
    ladder.push(leaf);
    ladder.reverse();
    ladder
}

#[test]
fn lengths() {
    let limited =
        |length| with(authority("root"), |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(length)));
    let rows = [
        (0, authority("root"), Ok(())),
        (6, authority("root"), Ok(())),
        (7, authority("root"), Err(Refusal::PathTooLong)),
        (0, limited(0), Ok(())),
        (1, limited(0), Err(Refusal::PathTooLong)),
        (2, limited(2), Ok(())),
        (3, limited(2), Err(Refusal::PathTooLong)),
    ];
    for (length, root, expected) in rows {
        let ladder = ladder(length, root, |index| authority(&format!("sub {index}")));
        let (root, chain) = ladder.split_last().unwrap();
        let chain: Vec<&Forged> = chain.iter().collect();
        assert_eq!(verdict(&chain, &[root]).map(|_| ()), expected, "{length}");
        if expected.is_ok() {
            // Order of the intermediates does not matter; a missing one does.
            let shuffled: Vec<&Forged> =
                chain.iter().take(1).chain(chain.iter().skip(1).rev()).copied().collect();
            assert!(verdict(&shuffled, &[root]).is_ok());
            if length > 0 {
                assert_eq!(verdict(&chain[..length], &[root]), Err(Refusal::UnknownIssuer));
            }
        }
    }
    let crowd = Forged::root(client("a"));
    assert_eq!(verdict(&[&crowd; 9], &[]), Err(Refusal::TooLarge));
    assert_eq!(verify_client(&[], &TrustAnchors::default(), None, NOW), Err(Refusal::NoCertificate));
    let huge = vec![vec![0x30; 100_000]];
    assert_eq!(verify_client(&huge, &TrustAnchors::default(), None, NOW), Err(Refusal::TooLarge));
}

#[test]
fn a_maze_of_authorities_costs_a_bounded_number_of_checks() {
    // Every authority issued every other: the same name and key over and over, so that there are
    // thousands of paths, none of which ends at the anchor.
    let seed = Forged::root(authority("same"));
    let copies: Vec<Forged> = (0..7_u64)
        .map(|serial| {
            let params = with(authority("same"), |p| p.serial_number = Some(serial.into()));
            let key = rcgen::KeyPair::from_pem(&seed.key.serialize_pem()).unwrap();
            seed.issue_for(params, key)
        })
        .collect();
    let leaf = seed.issue(client("a"));
    let chain: Vec<&Forged> = std::iter::once(&leaf).chain(&copies).collect();
    let other = Forged::root(authority("other"));
    assert_eq!(verdict(&chain, &[&other]), Err(Refusal::TooMuchWork));
    assert_eq!(verdict(&chain, &[&seed]), Ok("a".to_owned()), "the anchor is tried first");
}

#[test]
fn the_right_one_of_several_issuers_of_one_name_is_found() {
    let (old, new) = (Forged::root(authority("same")), Forged::root(authority("same")));
    let leaf = new.issue(client("a"));
    assert_eq!(verdict(&[&leaf], &[&old, &new]), Ok("a".to_owned()));
    assert_eq!(verdict(&[&leaf], &[&old]), Err(Refusal::BadSignature));
    let other = Forged::root(authority("top"));
    let (wrong, right) = (other.issue(authority("sub")), other.issue(authority("sub")));
    let leaf = right.issue(client("a"));
    assert_eq!(verdict(&[&leaf, &wrong, &right], &[&other]), Ok("a".to_owned()));
}

#[test]
fn a_self_issued_authority_does_not_count() {
    let root =
        Forged::root(with(authority("root"), |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))));
    let renewed = root.issue(authority("root"));
    let leaf = renewed.issue(client("a"));
    assert_eq!(verdict(&[&leaf, &renewed], &[&root]), Ok("a".to_owned()));
}

#[test]
fn name_constraints() {
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let mail = |name: &str| GeneralSubtree::Rfc822Name(name.to_owned());
    let organisation = |name: &str| {
        let mut directory = DistinguishedName::new();
        directory.push(DnType::OrganizationName, name);
        directory
    };
    let within = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        let constraints = NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded };
        with(authority("sub"), |p| p.name_constraints = Some(constraints))
    };
    let san = |params: CertificateParams, names: Vec<SanType>| with(params, |p| p.subject_alt_names = names);
    let dns_name = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let member = |organisation: DistinguishedName| {
        with(client("a"), |p| {
            p.distinguished_name = organisation;
            p.distinguished_name.push(DnType::CommonName, "a");
        })
    };
    let no = || Err(Refusal::NameConstraint);
    let rows: Vec<(&str, CertificateParams, CertificateParams, Result<(), Refusal>)> = vec![
        ("no names", within(vec![dns("example.com")], vec![]), client("a"), Ok(())),
        (
            "inside",
            within(vec![dns("example.com")], vec![]),
            san(client("a"), vec![dns_name("b.example.com")]),
            Ok(()),
        ),
        (
            "outside",
            within(vec![dns("example.com")], vec![]),
            san(client("a"), vec![dns_name("b.example.com"), dns_name("example.org")]),
            no(),
        ),
        ("common name inside", within(vec![dns("example.com")], vec![]), client("a.example.com"), Ok(())),
        ("common name outside", within(vec![dns("example.com")], vec![]), client("a.example.org"), no()),
        ("common name excluded", within(vec![], vec![dns("example.com")]), client("a.example.com"), no()),
        ("not excluded", within(vec![], vec![dns("example.com")]), client("a.example.org"), Ok(())),
        (
            "organisation",
            within(vec![GeneralSubtree::DirectoryName(organisation("x"))], vec![]),
            member(organisation("x")),
            Ok(()),
        ),
        (
            "other organisation",
            within(vec![GeneralSubtree::DirectoryName(organisation("x"))], vec![]),
            member(organisation("y")),
            no(),
        ),
        (
            "no organisation",
            within(vec![GeneralSubtree::DirectoryName(organisation("x"))], vec![]),
            client("a"),
            no(),
        ),
        (
            "excluded directory names are not understood",
            within(vec![], vec![GeneralSubtree::DirectoryName(organisation("x"))]),
            client("a"),
            no(),
        ),
        ("mail, but no address", within(vec![mail("example.com")], vec![]), client("a"), Ok(())),
        (
            "mail and an address",
            within(vec![mail("example.com")], vec![]),
            san(client("a"), vec![SanType::Rfc822Name("a@example.com".try_into().unwrap())]),
            no(),
        ),
    ];
    let root = Forged::root(authority("root"));
    for (name, sub, leaf, expected) in rows {
        let sub = root.issue(sub);
        let leaf = sub.issue(leaf);
        assert_eq!(verdict(&[&leaf, &sub], &[&root]).map(|_| ()), expected, "{name}");
    }
}

#[test]
fn revocation() {
    let day = 86_400;
    let list = |authority: &Forged, serials: &[Vec<u8>], from, to| {
        let text = issue::crl(&authority.pem, &authority.key.serialize_pem(), serials, from, to, 7).unwrap();
        Crl::from_pem(&text).unwrap()
    };
    let root = Forged::root(authority("root"));
    let stranger = Forged::root(authority("root"));
    let silent = Forged::root(with(authority("root"), |p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]));
    let serial = vec![0x91, 2, 3];
    let leaf = |authority: &Forged| {
        authority.issue(with(client("a"), |p| p.serial_number = Some(serial.clone().into())))
    };
    let ours = leaf(&root);
    let check = |leaf: &Forged, root: &Forged, crl: &Crl| {
        let anchors = TrustAnchors { roots: vec![root.der.clone()] };
        verify_client(std::slice::from_ref(&leaf.der), &anchors, Some(crl), NOW).map(|_| ())
    };
    let none: &[Vec<u8>] = &[];
    let this = std::slice::from_ref(&serial);
    let rows = [
        ("empty list", list(&root, none, NOW - day, NOW + day), Ok(())),
        ("revoked", list(&root, this, NOW - day, NOW + day), Err(Refusal::Revoked)),
        (
            "leading zeros",
            list(&root, &[vec![0, 0, 0x91, 2, 3]], NOW - day, NOW + day),
            Err(Refusal::Revoked),
        ),
        ("another", list(&root, &[vec![0x91, 2], vec![4]], NOW - day, NOW + day), Ok(())),
        ("first second", list(&root, none, NOW, NOW + day), Ok(())),
        ("last second", list(&root, none, NOW - day, NOW), Ok(())),
        ("expired", list(&root, none, NOW - day, NOW - 1), Err(Refusal::CrlExpired)),
        ("future", list(&root, none, NOW + 1, NOW + day), Err(Refusal::CrlNotYetValid)),
        ("by another key", list(&stranger, none, NOW - day, NOW + day), Err(Refusal::CrlUntrusted)),
    ];
    for (name, crl, expected) in rows {
        assert_eq!(check(&ours, &root, &crl), expected, "{name}");
    }
    // An authority that may not sign lists: rcgen will not make it sign one, so one with its name does.
    let with_its_key = Forged {
        key: rcgen::KeyPair::from_pem(&silent.key.serialize_pem()).unwrap(),
        ..Forged::root(authority("root"))
    };
    let made = {
        let issuer = rcgen::Issuer::from_params(&with_its_key.params, &with_its_key.key);
        let params = rcgen::CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2028, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        Crl::from_der(params.signed_by(&issuer).unwrap().der()).unwrap()
    };
    assert_eq!(check(&leaf(&silent), &silent, &made), Err(Refusal::CrlUntrusted));
}

/// They hold for every certificate below, but for those that an authority issued to itself (RFC 5280, 6.1.3).
#[test]
fn name_constraints_hold_for_authorities_below() {
    let permitted_subtrees = vec![GeneralSubtree::DnsName("example.com".to_owned())];
    let constraints = NameConstraints { permitted_subtrees, excluded_subtrees: vec![] };
    let top = Forged::root(with(authority("top"), |p| p.name_constraints = Some(constraints)));
    for (name, dns, expected) in [
        ("sub", "b.example.com", Ok(())),
        ("sub", "b.example.org", Err(Refusal::NameConstraint)),
        ("top", "b.example.org", Ok(())),
    ] {
        let names = vec![SanType::DnsName(dns.try_into().unwrap())];
        let sub = top.issue(with(authority(name), |p| p.subject_alt_names = names));
        let leaf = sub.issue(client("a"));
        assert_eq!(verdict(&[&leaf, &sub], &[&top]).map(|_| ()), expected, "{name} {dns}");
    }
}

#[test]
fn a_revoked_intermediate_takes_its_clients_along() {
    let root = Forged::root(authority("root"));
    let sub = root.issue(with(authority("sub"), |p| p.serial_number = Some(99_u64.into())));
    let leaf = sub.issue(with(client("a"), |p| p.serial_number = Some(5_u64.into())));
    let list = |authority: &Forged, serial: u8| {
        let key = authority.key.serialize_pem();
        Crl::from_pem(&issue::crl(&authority.pem, &key, &[vec![serial]], NOW - 1, NOW + 1, 1).unwrap())
            .unwrap()
    };
    let anchors = TrustAnchors { roots: vec![root.der.clone()] };
    let chain = [leaf.der.clone(), sub.der.clone()];
    let rows = [
        ("the intermediate, by the root", list(&root, 99), Err(Refusal::Revoked)),
        ("the leaf, by the intermediate", list(&sub, 5), Err(Refusal::Revoked)),
        ("the leaf's number, by the root", list(&root, 5), Ok(())),
    ];
    for (name, crl, expected) in rows {
        assert_eq!(verify_client(&chain, &anchors, Some(&crl), NOW).map(|_| ()), expected, "{name}");
    }
}

#[test]
fn partial_lists_are_not_taken() {
    let root = Forged::root(authority("root"));
    let params = rcgen::CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2028, 1, 1),
        crl_number: 1_u64.into(),
        issuing_distribution_point: Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://example.com/crl".to_owned()],
            },
            scope: Some(rcgen::CrlScope::UserCertsOnly),
        }),
        revoked_certs: vec![],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = params.signed_by(&rcgen::Issuer::from_params(&root.params, &root.key)).unwrap();
    assert!(Crl::from_der(list.der()).is_err());
    // That extension's name and whether it is critical: a part of the truth whatever it says of itself, another one if it
    // has to be understood.
    let (id, der) = ([6, 3, 0x55, 0x1d, 28, 1, 1, 0xff], list.der().to_vec());
    let at = der.windows(id.len()).position(|bytes| bytes == id).unwrap();
    for (last, critical, taken) in [
        (28, 0xff, false),
        (28, 0, false),
        (27, 0xff, false),
        (27, 0, false),
        (99, 0xff, false),
        (99, 0, true),
    ] {
        let mut bent = der.clone();
        (bent[at + 4], bent[at + 7]) = (last, critical);
        assert_eq!(Crl::from_der(&bent).is_ok(), taken, "{last} {critical}");
    }
    assert!(Crl::from_pem(&format!("{0}{0}", include_str!("certs/crl.pem"))).is_err());
    assert!(Crl::from_pem(include_str!("certs/ca-rsa.pem")).is_err());
}

#[test]
fn tens_of_thousands_of_entries() {
    let root = Forged::root(authority("root"));
    // As long as serial numbers may be (RFC 5280, 4.1.2.2), and more of them than the API takes.
    let serial = |n: u32| [&[1; 16][..], &n.to_be_bytes()].concat();
    let serials: Vec<Vec<u8>> = (0..30_000_u32).map(|n| serial(n * 2)).collect();
    let text = issue::crl(&root.pem, &root.key.serialize_pem(), &serials, NOW - 1, NOW + 1, 1).unwrap();
    assert!(text.len() > 1_500_000);
    let crl = Crl::from_pem(&text).unwrap();
    assert_eq!(crl.entries(), 30_000);
    assert!(Crl::from_der(crl.der()).unwrap() == crl);
    assert!(crl.revokes(&serial(30_000)));
    assert!(!crl.revokes(&serial(30_001)));
    assert_eq!(format!("{crl:?}"), format!("Crl {{ next_update: Some({}), entries: 30000, .. }}", NOW + 1));
}

#[test]
fn blank_parameters_make_no_client() {
    let root = Forged::root(authority("root"));
    assert_eq!(verdict(&[&root.issue(blank("a"))], &[&root]), Err(Refusal::NotForClients));
}
