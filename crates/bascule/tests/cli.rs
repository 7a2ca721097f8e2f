//! The command line from outside: exit codes and one clear line.

use std::process::{Command, Output};

fn bascule(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bascule"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BASCULE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).output().expect("the binary runs")
}

fn refused(arguments: &[&str], words: &[&str]) {
    let output = bascule(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_names_key_and_value() {
    refused(&["nonsense"], &["nonsense"]);
    refused(&["serve", "--nonsense"], &["--nonsense"]);
    refused(&["serve", "--listen", "x"], &["--listen", "x"]);
    refused(&["serve", "--listen", "0.0.0.0:0"], &["listen = 0.0.0.0:0", "tls-cert"]);
    refused(&["serve", "--listen", "0.0.0.0:0", "--insecure-http", "--dev-open"], &["dev-open"]);
    refused(&["serve", "--gateway-address", "0.0.0.0"], &["gateway-address = 0.0.0.0"]);
    refused(&["serve", "--config", "there-is-no-such-file"], &["config = there-is-no-such-file"]);
    refused(&["pki", "issue-server", "plain", "--dir", "there-is-no-such-folder"], &["plain"]);
}

#[test]
fn what_fails_at_run_time_is_exit_code_1_and_one_line() {
    let output = bascule(&["pki", "crl", "--dir", "there-is-no-such-folder"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim().lines().count(), 1);
}

#[test]
fn exit_codes_are_the_same_where_nobody_reads() {
    for (arguments, code) in [
        (&["version"][..], 0),
        (&["help"], 0),
        (&["completions", "bash"], 0),
        (&["nonsense"], 2),
        (&["client", "there-is-no-such-file"], 2),
        (&["pki", "crl", "--dir", "there-is-no-such-folder"], 1),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_bascule"));
        command.args(arguments).stderr(writer.try_clone().expect("a copy")).stdout(writer);
        assert_eq!(command.status().expect("the binary runs").code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_exit_code_0() {
    for arguments in [&["help"][..], &["version"], &["serve", "--help"]] {
        let output = bascule(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn certificates_are_files_that_openssl_and_people_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let pki = dir.path().to_string_lossy().into_owned();
    for arguments in [
        &["pki", "init-ca", "--dir", &pki][..],
        &["pki", "issue-server", "vpn.example.com", "--dir", &pki],
        &["pki", "issue-client", "alice", "--dir", &pki, "--rsa"],
        &["pki", "revoke", "alice", "--dir", &pki],
        &["pki", "crl", "--dir", &pki],
    ] {
        let output = bascule(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for file in
        ["ca.crt", "ca.key", "vpn.example.com.crt", "alice.crt", "alice.key", "crl.pem", "revoked.txt"]
    {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
    assert_eq!(
        bascule(&["pki", "init-ca", "--dir", &pki]).status.code(),
        Some(1),
        "an authority is never overwritten"
    );
}

#[test]
fn a_client_checks_its_usage_before_it_sends_anything() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let pki = path("pki");
    for arguments in
        [&["pki", "init-ca", "--dir", &pki][..], &["pki", "issue-client", "alice", "--dir", &pki]]
    {
        assert!(bascule(arguments).status.success());
    }
    let profile = path("alice.ovpn");
    // A port of loopback where nothing answers: whoever sent something there would only wait.
    let text = "client\nremote 127.0.0.1 9 udp\nca pki/ca.crt\ncert pki/alice.crt\nkey pki/alice.key\n";
    std::fs::write(&profile, text).expect("a profile");
    std::fs::write(path("strange.ovpn"), format!("{text}tls-auth ta.key 1\n")).expect("a profile");
    std::fs::write(path("wrong.toml"), "[[expectation]]\nexpect = 'reach somewhere'\n").expect("a file");
    refused(&["client"], &["PROFILE"]);
    refused(&["client", "there-is-no-such-file"], &["there-is-no-such-file"]);
    refused(&["client", &path("strange.ovpn")], &["line 6", "tls-auth"]);
    refused(&["client", &profile, "--expect", "reach web:80"], &["web:80"]);
    refused(&["client", &profile, "--dialect", "2.3"], &["dialect", "2.3"]);
    refused(&["client", &profile, "--count", "0"], &["--count"]);
    refused(&["client", &profile, "--rate=-1"], &["--rate"]);
    refused(&["client", &profile, "--expect-file", &path("wrong.toml")], &["somewhere"]);
    refused(&["client", &profile, "--junit", &path("no-folder/x.xml")], &["junit", "no-folder"]);
    let report = path("report.xml");
    let arguments =
        ["client", &profile, "--expect", "deny 10.0.0.9", "--connect-within", "1", "--junit", &report];
    let output = bascule(&arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("NOT HELD") && said.contains("no tunnel"), "{said}");
    let report = std::fs::read_to_string(report).expect("a report");
    let document = roxmltree::Document::parse(&report).expect("XML");
    assert_eq!(document.root_element().attribute("failures"), Some("2"), "{report}");
}
