//! Syntax and bounds of forms, and the frame's own parameters.

#![allow(clippy::type_complexity)]

use aws_query::{Form, Limits, encode};
use proptest::prelude::*;

fn tight() -> Limits {
    Limits { body_bytes: 40, parameters: 3, name_bytes: 5, value_bytes: 6 }
}

#[test]
fn rows() {
    let rows: &[(&[u8], Result<&[(&str, &str)], &str>)] = &[
        (b"", Ok(&[])),
        (b"a=1&b=2", Ok(&[("a", "1"), ("b", "2")])),
        (b"&&a=1&", Ok(&[("a", "1")])),
        (b"a", Ok(&[("a", "")])),
        (b"a=", Ok(&[("a", "")])),
        (b"a=b=c", Ok(&[("a", "b=c")])),
        (b"a=x+%20%2b%2B", Ok(&[("a", "x  ++")])),
        (b"%61=%C3%A9", Ok(&[("a", "é")])),
        ("a=é".as_bytes(), Ok(&[("a", "é")])),
        (b"a=%0d%0A%09", Ok(&[("a", "\r\n\t")])),
        (b"=1", Err("MalformedQueryString")),
        (b"a=%", Err("MalformedQueryString")),
        (b"a=%2", Err("MalformedQueryString")),
        (b"a=%zz", Err("MalformedQueryString")),
        (b"a=%ff", Err("MalformedQueryString")),
        (b"a=1&a=1", Err("InvalidQueryParameter")),
        (b"a=1&%61=2", Err("InvalidQueryParameter")),
        (b"a=%00", Err("InvalidCharacter")),
        (b"a=%1b", Err("InvalidCharacter")),
        (b"a=%EF%BF%BF", Err("InvalidCharacter")),
        (b"a%08=1", Err("InvalidCharacter")),
        // Bounds: at it, above it.
        (b"a=1&b=2&c=3", Ok(&[("a", "1"), ("b", "2"), ("c", "3")])),
        (b"a=1&b=2&c=3&d=4", Err("MalformedQueryString")),
        (b"abcde=1", Ok(&[("abcde", "1")])),
        (b"abcdef=1", Err("InvalidQueryParameter")),
        (b"a=123456", Ok(&[("a", "123456")])),
        (b"a=1234567", Err("InvalidParameterValue")),
        (b"a=%31%31%31%31%31%31&b=%31%31%31%31%31%31", Err("RequestEntityTooLarge")),
    ];
    for (raw, expected) in rows {
        let form = Form::parse(raw, &tight());
        let found = form.as_ref().map(|form| form.iter().collect::<Vec<_>>()).map_err(|fault| fault.code);
        assert_eq!(found, expected.map(<[_]>::to_vec), "{}", String::from_utf8_lossy(raw));
    }
}

#[test]
fn query_and_body_are_one_form() {
    let form = Form::parse_all(&[b"a=1", b"b=2"], &tight()).unwrap();
    assert_eq!((form.value("a"), form.value("b"), form.len()), (Some("1"), Some("2"), 2));
    assert_eq!(Form::parse_all(&[b"a=1", b"a=2"], &tight()).unwrap_err().code, "InvalidQueryParameter");
}

#[test]
fn the_frames_parameters_are_taken_out() {
    let query = b"Action=A&Version=2016-11-15&DryRun=TRUE&AWSAccessKeyId=k&X-Amz-Signature=s&x-amz-date=d\
        &X-Amz-Security-Token=t&Signature=s&SignatureVersion=2&SignatureMethod=m&Timestamp=t&Expires=1\
        &Keep=1&X-Am=2&DryRunner=3";
    let mut form = Form::parse(query, &Limits::default()).unwrap();
    let common = form.strip_common();
    assert_eq!((common.action.as_deref(), common.version.as_deref()), (Some("A"), Some("2016-11-15")));
    assert_eq!(common.dry_run(), Ok(true));
    assert_eq!(form.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["DryRunner", "Keep", "X-Am"]);
    assert_eq!(form.remove("Keep").as_deref(), Some("1"));
    assert!(form.value("Keep").is_none() && !form.is_empty());
}

#[test]
fn dry_run_is_a_boolean() {
    for (text, expected) in [("", None), ("true", Some(true)), ("False", Some(false)), ("1", None)] {
        let common = Form::from_iter([("DryRun", text)]).strip_common();
        let found = common.dry_run();
        assert_eq!(found.clone().ok(), expected);
        if let Err(fault) = found {
            assert_eq!(fault.code, "InvalidParameterValue");
        }
    }
    assert_eq!(Form::default().strip_common().dry_run(), Ok(false));
}

proptest! {
    #[test]
    fn what_is_encoded_is_parsed(pairs in proptest::collection::btree_map("[ -~é€]{1,9}", "[ -~\t\r\né€]{0,30}", 0..20)) {
        let raw = encode(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let form = Form::parse(raw.as_bytes(), &Limits::default()).unwrap();
        prop_assert_eq!(form, Form::from_iter(pairs));
    }
}
