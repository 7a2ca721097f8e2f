//! Profiles of ours, of AWS's form, and stock ones.

use pki::issue;

use super::*;

/// Of all certificates here.
const FROM: i64 = 1_000_000_000;
const UNTIL: i64 = 4_000_000_000;

struct Pem {
    ca: String,
    cert: String,
    key: String,
}

fn pem() -> Pem {
    let ca = issue::ca("Test CA", FROM, UNTIL).unwrap();
    let client =
        issue::client(&ca.certificate_pem, &ca.key_pem, "alice", FROM, UNTIL, issue::KeyKind::P256).unwrap();
    Pem { ca: ca.certificate_pem, cert: client.certificate_pem, key: client.key_pem.to_string() }
}

fn parse(text: &str) -> Result<Profile, ProfileError> {
    Profile::parse(text, Path::new("."))
}

fn refused(text: &str) -> String {
    parse(text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn an_exported_profile_with_certificate_and_key() {
    let Pem { ca, cert, key } = pem();
    let text = format!(
        "client\ndev tun\nproto udp\nremote cvpn-endpoint-1.example.com 443\nremote-random-hostname\n\
         resolv-retry infinite\nnobind\nremote-cert-tls server\ncipher AES-256-GCM\n\
         verify-x509-name vpn.example.com name\nverb 3\n<ca>\n{ca}</ca>\n\n\nreneg-sec 0\n\
         <cert>\n{cert}</cert>\n<key>\n{key}</key>\n"
    );
    let profile = parse(&text).unwrap();
    let remote = &profile.remotes[0];
    assert_eq!((remote.host.as_str(), remote.port), ("cvpn-endpoint-1.example.com", 443));
    assert_eq!((remote.transport, remote.only_ipv4), (Transport::Udp, None));
    assert!(profile.random_hostname && profile.server_purpose);
    assert_eq!(profile.server_name, Some(NameRule::Name("vpn.example.com".to_owned())));
    assert_eq!(profile.cipher, Some(Cipher::Aes256Gcm));
    assert_eq!(profile.renegotiate_after, None);
    assert_eq!(profile.authorities.len(), 1);
    assert_eq!(profile.identity.as_ref().unwrap().chain.len(), 1);
    assert_eq!(profile.notes, [] as [&str; 0]);
    let shown = format!("{profile:?} {:?}", profile.identity);
    assert!(!shown.contains(&format!("{:?}", profile.identity.as_ref().unwrap().key[..8].to_vec())));
}

#[test]
fn a_stock_profile_with_files_several_servers_and_a_login() {
    let Pem { ca, cert, key } = pem();
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in
        [("my ca.crt", ca.as_str()), ("a.crt", &cert), ("a.key", &key), ("login", "alice\nsecret word\n")]
    {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let text = "client # a remark\n; another\nproto tcp-client\nport 1195\nremote a.example\nremote 2001:db8::1 443 udp6\n\
                <connection>\nremote c.example 1 tcp4\n</connection>\nremote-random\nca 'my ca.crt'\ncert a.crt\n\
                key a.key\nauth-user-pass login\ndata-ciphers AES-128-GCM:?CHACHA20-POLY1305:BF-CBC\nkeepalive 10 60\n\
                explicit-exit-notify 2\nverify-x509-name \"C=US, CN=x\"\nsome-new-thing 7\n";
    let profile_path = dir.path().join("stock.ovpn");
    std::fs::write(&profile_path, text).unwrap();
    let profile = Profile::load(&profile_path).unwrap();
    let seen: Vec<_> =
        profile.remotes.iter().map(|r| (r.host.as_str(), r.port, r.transport, r.only_ipv4)).collect();
    assert_eq!(
        seen,
        [
            ("a.example", 1195, Transport::Tcp, None),
            ("2001:db8::1", 443, Transport::Udp, Some(false)),
            ("c.example", 1, Transport::Tcp, Some(true)),
        ]
    );
    assert!(profile.remote_random && profile.exit_notify && !profile.server_purpose);
    assert_eq!(profile.server_name, Some(NameRule::Subject("C=US, CN=x".to_owned())));
    assert_eq!(profile.data_ciphers, Some(vec![Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305]));
    assert_eq!(profile.ping, Some(Duration::from_secs(10)));
    assert_eq!(profile.ping_restart, Some(Duration::from_secs(60)));
    assert_eq!(profile.renegotiate_after, Some(Duration::from_secs(3600)));
    let login = profile.login.as_ref().unwrap();
    assert_eq!((login.username.as_str(), login.password.as_str()), ("alice", "secret word"));
    assert!(!format!("{login:?}").contains("secret"));
    assert_eq!(profile.notes, ["line 19: some-new-thing is passed over"]);
}

#[test]
fn what_is_not_spoken_is_refused_by_line_and_name() {
    let ca = pem().ca;
    let base = format!("remote a 1\n<ca>\n{ca}</ca>\n");
    for (more, words) in [
        ("tls-auth ta.key 1", "tls-auth"),
        ("<tls-crypt>\nx\n</tls-crypt>", "tls-crypt: not a key"),
        ("<tls-crypt-v2>\nx\n</tls-crypt-v2>", "tls-crypt-v2: not a key"),
        ("comp-lzo", "compression"),
        ("auth-federate", "browser"),
        ("dev tap0", "only tun"),
        ("proto sctp", "no such protocol"),
        ("data-ciphers BF-CBC", "none of these"),
        ("verify-x509-name x strange", "name-prefix"),
        ("port 70000", "number"),
        ("remote b 99999", "no such port"),
        ("hand-window", "word is missing"),
        ("ca there-is-no-such-file", "there-is-no-such-file"),
        ("cert x.crt", "x.crt"),
        ("<key>\nnothing\n</key>\n<cert>\nnothing\n</cert>", "cert"),
        ("<connection>\nproto udp\n</connection>", "names no server"),
    ] {
        let said = refused(&format!("{more}\n{base}"));
        assert!(said.contains(words), "{more}: {said}");
    }
    assert!(refused("client\n").contains("remote"));
    assert!(refused("remote a 1\n").contains("ca"));
    let Pem { cert, key: _, .. } = pem();
    let other = pem().key;
    let mixed = format!("{base}<cert>\n{cert}</cert>\n<key>\n{other}</key>\n");
    assert!(refused(&mixed).contains("does not belong"));
    assert!(refused(&format!("{base}<cert>\n{cert}</cert>\n")).contains("no key"));
}
