//! Cedar policies: rows of documents and decisions, and properties over documents made up.

#![allow(clippy::unwrap_used)]

use aws_auth::cedar::{Decision, MAX_DOCUMENT_BYTES, Malformed, PolicySet, Record, Value};
use proptest::prelude::*;

fn record(pairs: &[(&str, Value)]) -> Record {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// What is known of a connection: of a certificate, a client, and of a group of another login.
fn context() -> Record {
    let text = Value::text;
    let connection = [
        ("endpointId", text("cvpn-endpoint-1")),
        ("platform", text("linux")),
        ("publicIp", text("198.51.100.7")),
        ("new", Value::Bool(true)),
        ("tries", Value::Long(3)),
    ];
    let groups = Value::Set(vec![text("Engineering"), text("Everyone")]);
    record(&[
        ("connection", Value::Record(record(&connection))),
        ("mutual-authentication", Value::Record(record(&[("commonName", text("alice"))]))),
        ("saml", Value::Record(record(&[("memberOf", groups)]))),
    ])
}

fn permit(condition: &str) -> String {
    format!("permit(principal, action, resource) when {{ {condition} }};")
}

fn forbid(condition: &str) -> String {
    format!("forbid(principal, action, resource) when {{ {condition} }};")
}

const ALL: &str = "permit(principal, action, resource);";

#[test]
fn decisions() {
    let alice = r#"context["mutual-authentication"].commonName == "alice""#;
    let bob = r#"context["mutual-authentication"].commonName == "bob""#;
    let absent = "context.crowdstrike.assessment.overall > 50";
    let rows: Vec<(String, Decision, &[&str], &[&str])> = vec![
        (ALL.to_owned(), Decision::Permit, &["policy0"], &[]),
        ("forbid(principal, action, resource);".to_owned(), Decision::Deny, &["policy0"], &[]),
        (permit(alice), Decision::Permit, &["policy0"], &[]),
        (permit(bob), Decision::Deny, &[], &[]),
        (permit(bob) + &permit(alice), Decision::Permit, &["policy1"], &[]),
        // Forbid wins, in whatever order.
        (permit(alice) + &forbid(alice), Decision::Deny, &["policy1"], &[]),
        (forbid(alice) + &permit(alice), Decision::Deny, &["policy0"], &[]),
        (forbid(bob) + ALL, Decision::Permit, &["policy1"], &[]),
        // What is not there: the statement is passed over.
        (permit(absent), Decision::Error, &[], &["policy0"]),
        (permit(absent) + &permit(alice), Decision::Permit, &["policy1"], &["policy0"]),
        (permit(absent) + &permit(bob), Decision::Error, &[], &["policy0"]),
        (permit(absent) + &forbid(alice), Decision::Deny, &["policy1"], &["policy0"]),
        (ALL.to_owned() + &forbid(absent), Decision::Permit, &["policy0"], &["policy1"]),
        (permit(&format!("context has crowdstrike && {absent}")), Decision::Deny, &[], &[]),
        // Of the wrong kind: passed over too.
        (permit("context.connection.platform > 3"), Decision::Error, &[], &["policy0"]),
        // Each kind of value.
        (
            permit("context.connection.new && context.connection.tries == 3"),
            Decision::Permit,
            &["policy0"],
            &[],
        ),
        (permit(r#"context.saml.memberOf.contains("Engineering")"#), Decision::Permit, &["policy0"], &[]),
        (permit(r#"context.saml.memberOf.containsAny(["Sales"])"#), Decision::Deny, &[], &[]),
        (permit(r#"context.connection.platform like "lin*""#), Decision::Permit, &["policy0"], &[]),
        (
            permit(r#"["win", "linux"].contains(context.connection.platform)"#),
            Decision::Permit,
            &["policy0"],
            &[],
        ),
        (
            permit(r#"ip(context.connection.publicIp).isInRange(ip("198.51.100.0/24"))"#),
            Decision::Permit,
            &["policy0"],
            &[],
        ),
        (
            "permit(principal, action, resource) unless { context.connection.new };".into(),
            Decision::Deny,
            &[],
            &[],
        ),
        // Nobody is this principal.
        (r#"permit(principal == User::"alice", action, resource);"#.into(), Decision::Deny, &[], &[]),
        // Names of their own, in the document's order.
        (
            format!("@id(\"second\") {ALL} @id(\"first\") {ALL} @note(\"x\") {ALL}"),
            Decision::Permit,
            &["second", "first", "policy2"],
            &[],
        ),
        (format!("// nothing here\n{}\n\n{ALL} // \"", permit(bob)), Decision::Permit, &["policy1"], &[]),
    ];
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    for (document, decision, matched, failed) in rows {
        let verdict = PolicySet::parse(&document).unwrap().evaluate(&context());
        let expected = (decision, owned(matched), owned(failed));
        assert_eq!((verdict.decision, verdict.matched, verdict.failed), expected, "{document}");
    }
}

#[test]
fn without_any_context_nothing_is_known() {
    let set = PolicySet::parse(&(permit("context.connection.new") + &forbid("context.x == 1"))).unwrap();
    assert_eq!(set.statement_count(), 2);
    let verdict = set.evaluate(&Record::new());
    assert_eq!((verdict.decision, verdict.failed.len()), (Decision::Error, 2));
    assert_eq!(PolicySet::parse(ALL).unwrap().evaluate(&Record::new()).decision, Decision::Permit);
}

#[test]
fn what_is_no_policy_is_refused() {
    let long = format!("{ALL}// {}", "x".repeat(MAX_DOCUMENT_BYTES));
    let fits = format!("{ALL}// {}", "x".repeat(MAX_DOCUMENT_BYTES - ALL.len() - 3));
    assert_eq!(fits.len(), MAX_DOCUMENT_BYTES);
    assert!(PolicySet::parse(&fits).is_ok());
    let rows = [
        (String::new(), Malformed::Empty),
        (" \n // nothing\n".to_owned(), Malformed::Empty),
        (long, Malformed::TooLong),
        ("permit(principal == ?principal, action, resource);".to_owned(), Malformed::Template),
        (permit(&"(".repeat(1_000)), Malformed::TooDeep),
        (permit(&format!("{}true", "if true then true else ".repeat(100))), Malformed::TooDeep),
    ];
    for (document, reason) in rows {
        assert_eq!(PolicySet::parse(&document).unwrap_err(), reason, "{document:.60}");
    }
    for document in [
        "permit",
        "permit(principal, action, resource)",
        "allow(principal, action, resource);",
        r#"{"Version":"2012-10-17","Statement":[]}"#,
        &permit("context.mutual-authentication.commonName == 1"),
        &permit("nonsense()"),
        &permit("x"),
        &permit("\"open"),
        "permit(principal, action, resource) when { true } ; garbage",
        "\u{0}",
        "é",
    ] {
        let refused = PolicySet::parse(document).unwrap_err();
        assert!(matches!(refused, Malformed::Syntax(_)), "{document}: {refused:?}");
        assert!(!refused.to_string().is_empty());
    }
}

/// The longest chains that fit into a document, read, evaluated and dropped on the stack of an ordinary thread: the
/// parser recurses, and a server must not end for it.
#[test]
fn long_chains_are_no_danger() {
    let chain = |first: &str, link: &str| {
        let room = MAX_DOCUMENT_BYTES - permit(first).len();
        permit(&format!("{first}{}", link.repeat(room / link.len())))
    };
    let nested =
        |open: &str, close: &str, n: usize| permit(&format!("{}true{}", open.repeat(n), close.repeat(n)));
    let documents = vec![
        chain("1", "+1"),
        chain("1", "-1"),
        chain("1", "*1"),
        chain("true", "&&true"),
        chain("false", "||false"),
        chain("context", ".a"),
        chain("context", "[\"a\"]"),
        chain("context has a", ".a"),
        chain("true", "==true"),
        chain("", "!"),
        chain("", "-"),
        permit(&format!("[{}1]", "1,".repeat(4_900))),
        permit(&format!("{{{}b:1}} == 1", "a:1,".repeat(2_400))),
        chain("context.a", ".b(1)"),
        nested("(", ")", 40),
        nested("[", "]", 40),
        nested("{a:", "}", 40),
        nested("if true then (", ") else false", 20),
        nested("!(", ")", 40),
        ALL.repeat(MAX_DOCUMENT_BYTES / ALL.len()),
    ];
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let run = thread.spawn(move || {
        for document in documents {
            assert!(document.len() <= MAX_DOCUMENT_BYTES);
            if let Ok(set) = PolicySet::parse(&document) {
                set.evaluate(&context());
                drop(set.clone());
            }
        }
    });
    run.unwrap().join().unwrap();
}

/// A condition, and what comes of it: matches, does not, cannot be said.
fn condition() -> impl Strategy<Value = (&'static str, Option<bool>)> {
    prop::sample::select(vec![
        ("true", Some(true)),
        ("false", Some(false)),
        (r#"context["mutual-authentication"].commonName == "alice""#, Some(true)),
        (r#"context["mutual-authentication"].commonName == "bob""#, Some(false)),
        ("context.connection.tries < 4", Some(true)),
        ("context.jamf.diskEncryptionEnabled", None),
        ("context.connection.platform.nothing == 1", None),
        ("context has jamf", Some(false)),
        ("false && context.jamf.x == 1", Some(false)),
        ("true || context.jamf.x == 1", Some(true)),
    ])
}

proptest! {
    /// Forbid wins, else a permit, else it is an error if anything was passed over.
    #[test]
    fn a_document_decides_as_its_statements_do(
        statements in prop::collection::vec((any::<bool>(), condition()), 1..12)
    ) {
        let text = |(permits, (condition, _)): &(bool, (&str, _))| {
            if *permits { permit(condition) } else { forbid(condition) }
        };
        let document: String = statements.iter().map(text).collect();
        let places = |permits: bool, fate: Option<bool>| -> Vec<String> {
            let of = statements.iter().enumerate().filter(|(_, (own, (_, result)))| *own == permits && *result == fate);
            of.map(|(n, _)| format!("policy{n}")).collect()
        };
        let (permits, forbids) = (places(true, Some(true)), places(false, Some(true)));
        let failed = statements.iter().filter(|(_, (_, result))| result.is_none()).count();
        let (decision, matched) = match (forbids.is_empty(), permits.is_empty()) {
            (false, _) => (Decision::Deny, forbids),
            (true, false) => (Decision::Permit, permits),
            (true, true) if failed > 0 => (Decision::Error, Vec::new()),
            (true, true) => (Decision::Deny, Vec::new()),
        };
        let set = PolicySet::parse(&document).unwrap();
        let verdict = set.evaluate(&context());
        prop_assert_eq!(verdict.decision, decision, "{}", document);
        prop_assert_eq!(&verdict.matched, &matched);
        prop_assert_eq!(verdict.failed.len(), failed);
        // The same again.
        prop_assert_eq!(set.evaluate(&context()), verdict);
    }

    #[test]
    fn garbage_is_read_or_refused(text in r#"(permit|forbid|when|unless|if |then|else|principal|action|resource|context|in |has |like|==|&&|\|\||[(){}\[\];,.!"'?@:*<>+-]|[a-z]{1,3}|[0-9]{1,20}| |\n|\PC){0,60}"#) {
        if let Ok(set) = PolicySet::parse(&text) {
            prop_assert!(set.statement_count() > 0);
            set.evaluate(&context());
        }
    }

    /// Any text may stand in a context: it is compared, never read.
    #[test]
    fn text_of_a_context_is_only_text(name in "\\PC{0,40}") {
        let facts = record(&[("name", Value::text(name.clone()))]);
        let verdict = PolicySet::parse(&permit(r#"context.name == "alice""#)).unwrap().evaluate(&facts);
        prop_assert_eq!(verdict.decision == Decision::Permit, name == "alice");
    }
}
