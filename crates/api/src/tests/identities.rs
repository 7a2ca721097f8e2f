//! The users file.

use std::fs;

use aws_auth::Secret;

use crate::{FileIdentities, Identities};

const GOOD: &str = r#"
[[user]]
name = "auditor"
access_key_id = "AKIAAUDITOR0000000000"
secret_access_key = "0123456789012345678901234567890123456789"
policies = ["read-only"]

[[policy]]
name = "read-only"
document = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}]}'''
"#;

const ROLE: &str = r#"
[[role]]
name = "deployer"
policies = ["read-only"]
max_session_seconds = 7200
tags = { team = "net" }
trust = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}]}'
"#;

fn open(path: &std::path::Path) -> Result<FileIdentities, crate::UsersError> {
    let root = ("AKIAROOT".to_owned(), Secret::new("root secret of some length"));
    FileIdentities::open("000000000000".parse().unwrap(), [root], path)
}

#[test]
fn users_have_their_policies_and_the_root_needs_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let identities = open(&path).unwrap();
    assert!(identities.find("AKIAROOT").unwrap().caller.is_root());
    assert!(identities.find("AKIAAUDITOR0000000000").is_none());
    fs::write(&path, GOOD).unwrap();
    identities.reload().unwrap();
    let auditor = identities.find("AKIAAUDITOR0000000000").unwrap();
    assert_eq!(auditor.caller.arn(), "arn:aws:iam::000000000000:user/auditor");
    assert!(!auditor.caller.is_root());
    assert!(!format!("{auditor:?}").contains("0123456789"), "{auditor:?}");
    fs::remove_file(&path).unwrap();
    identities.reload().unwrap();
    assert!(identities.find("AKIAAUDITOR0000000000").is_none());
}

#[test]
fn a_file_that_is_not_good_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    fs::write(&path, GOOD).unwrap();
    let identities = open(&path).unwrap();
    let second = GOOD.replace("auditor", "second");
    let rows = [
        ("not TOML", format!("{GOOD}\n???")),
        ("unknown key", GOOD.replace("policies =", "polices =")),
        ("unknown policy", GOOD.replace("[\"read-only\"]", "[\"admin\"]")),
        ("policy nobody understands", GOOD.replace("\"Effect\":\"Allow\"", "\"Effect\":\"Perhaps\"")),
        ("short secret", GOOD.replace("0123456789012345678901234567890123456789", "short")),
        ("root's key", GOOD.replace("AKIAAUDITOR0000000000", "AKIAROOT")),
        ("same key twice", format!("{GOOD}\n{}", second.split("[[policy]]").next().unwrap())),
        ("account that is none", GOOD.replace("policies =", "account = \"12\"\npolicies =")),
        ("reserved tag", GOOD.replace("policies =", "tags = { \"aws:x\" = \"y\" }\npolicies =")),
        (
            "tags that differ in case only",
            GOOD.replace("policies =", "tags = { a = \"1\", A = \"2\" }\npolicies ="),
        ),
        ("tag that is no text", GOOD.replace("policies =", "tags = { a = 1 }\npolicies =")),
        (
            "variable nobody has",
            GOOD.replace("\"Resource\":\"*\"", "\"Resource\":\"arn:aws:ec2:*:*:vpc/${saml:sub}\""),
        ),
        ("temporary key", GOOD.replace("AKIAAUDITOR0000000000", "ASIAAUDITOR000000000")),
        ("role that trusts nobody known", format!("{GOOD}\n{}", ROLE.replace("\"AWS\"", "\"Service\""))),
        ("role without trust", format!("{GOOD}\n{}", ROLE.split("trust").next().unwrap())),
        ("role twice", format!("{GOOD}\n{ROLE}\n{ROLE}")),
        ("role with a policy that is not there", format!("{GOOD}\n{}", ROLE.replace("read-only", "none"))),
        ("role with a path", format!("{GOOD}\n{}", ROLE.replace("\"deployer\"", "\"a/b\""))),
        ("role for too long", format!("{GOOD}\n{}", ROLE.replace("7200", "43201"))),
        ("role for too short", format!("{GOOD}\n{}", ROLE.replace("7200", "3599"))),
        ("odd name", GOOD.replace("\"auditor\"", "\"a/b\"")),
        ("no secret", GOOD.replace("secret_access_key", "# secret_access_key")),
    ];
    for (what, text) in rows {
        fs::write(&path, &text).unwrap();
        let error = identities.reload().expect_err(what).to_string();
        assert!(!error.contains("0123456789"), "{what}: {error}");
        assert!(identities.find("AKIAAUDITOR0000000000").is_some(), "{what}: the last good users are gone");
        assert!(open(&path).is_err(), "{what}");
    }
}

#[test]
fn users_have_accounts_and_tags_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let text =
        GOOD.replace("policies =", "account = \"111111111111\"\ntags = { team = \"net\" }\npolicies =");
    fs::write(&path, text).unwrap();
    let identities = open(&path).unwrap();
    let auditor = identities.find("AKIAAUDITOR0000000000").unwrap();
    assert_eq!(auditor.caller.arn(), "arn:aws:iam::111111111111:user/auditor");
    assert_eq!(auditor.caller.tags["team"], "net");
    fs::write(&path, GOOD).unwrap();
    identities.reload().unwrap();
    let same_name = identities.find("AKIAAUDITOR0000000000").unwrap();
    assert_ne!(same_name.caller.user_id(), auditor.caller.user_id(), "another account, another user");
}

#[test]
fn the_roots_keys_change_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    fs::write(&path, GOOD).unwrap();
    let identities = open(&path).unwrap();
    let key = |id: &str| (id.to_owned(), Secret::new("a secret of some length"));
    identities.set_roots([key("AKIANEW"), key("AKIAROOT")]);
    assert!(identities.find("AKIANEW").unwrap().caller.is_root());
    identities.set_roots([key("AKIANEW")]);
    assert!(identities.find("AKIAROOT").is_none());
    assert!(!identities.find("AKIAAUDITOR0000000000").unwrap().caller.is_root());
    identities.reload().unwrap();
}

#[test]
fn roles_stand_beside_users() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let elsewhere = ROLE.replace("policies", "account = \"111111111111\"\npolicies").replace("7200", "3600");
    fs::write(&path, format!("{GOOD}\n{ROLE}\n{elsewhere}")).unwrap();
    let identities = open(&path).unwrap();
    let role = identities.role(&"000000000000".parse().unwrap(), "deployer").unwrap();
    assert_eq!(
        (role.arn().as_str(), role.max_session_seconds),
        ("arn:aws:iam::000000000000:role/deployer", 7_200)
    );
    assert_eq!((role.policies.name(0), role.tags["team"].as_str()), ("read-only", "net"));
    let other = identities.role(&"111111111111".parse().unwrap(), "deployer").unwrap();
    assert_eq!(other.max_session_seconds, 3_600);
    assert!(identities.role(&"222222222222".parse().unwrap(), "deployer").is_none());
    assert!(identities.policy("read-only").is_some() && identities.policy("deployer").is_none());
}
