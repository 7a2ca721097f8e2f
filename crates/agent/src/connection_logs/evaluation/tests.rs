//! A context in an entry is whole where there is room, and valid JSON within its bound where there is not.

use super::*;

fn of(pairs: Vec<(&str, Value)>) -> Record {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn written(context: &Record) -> (String, Json) {
    let text = serde_json::to_string(&bounded(context)).unwrap();
    let read = serde_json::from_str(&text).unwrap();
    (text, read)
}

#[test]
fn a_context_of_usual_size_is_whole() {
    let context = of(vec![
        ("connection", Value::Record(of(vec![("platform", Value::text("li\"n\u{1}ux\n\u{7f}é"))]))),
        ("device", Value::Record(of(vec![("score", Value::Long(-7)), ("encrypted", Value::Bool(true))]))),
        ("groups", Value::Set(vec![Value::text("a"), Value::text("b")])),
    ]);
    let (_, read) = written(&context);
    let expected = serde_json::json!({
        "connection": {"platform": "li\"n\u{1}ux\n\u{7f}é"},
        "device": {"score": -7, "encrypted": true},
        "groups": ["a", "b"],
    });
    assert_eq!(read, expected);
}

#[test]
fn a_long_text_is_cut_and_pushes_nothing_out() {
    for filler in ["x", "é", "\"", "\u{1}", "\n", "🦀"] {
        let long = filler.repeat(TEXT_MAX_BYTES);
        let context = of(vec![("a", Value::text(long.clone())), ("b", Value::text("short"))]);
        let (_, read) = written(&context);
        let kept = read["a"].as_str().unwrap().strip_suffix(CUT).unwrap();
        assert!(long.starts_with(kept) && read["b"] == "short", "{filler:?}");
        let bytes = serde_json::to_string(&read["a"]).unwrap().len();
        assert!((TEXT_MAX_BYTES - 6..=TEXT_MAX_BYTES).contains(&bytes), "{filler:?}: {bytes}");
    }
}

#[test]
fn whatever_is_too_much_stays_within_the_bound() {
    let text = |n: usize| Value::text("y\"".repeat(n));
    let wide: Vec<(String, Value)> = (0..2_000).map(|n| (format!("name{n:04}"), text(n % 40))).collect();
    let set = Value::Set((0..5_000).map(Value::Long).collect());
    let sets = Value::Set((0..40).map(|_| Value::Set(vec![text(400)])).collect());
    let rows = [
        ("wide", Value::Record(wide.into_iter().collect())),
        ("set", set),
        ("sets", sets),
        ("texts", Value::Set((0..400).map(|n| text(n % 500)).collect())),
    ];
    for (name, value) in rows {
        let (text, read) = written(&of(vec![(name, value), ("z", Value::text("last"))]));
        assert!(text.len() <= CONTEXT_MAX_BYTES, "{name}: {}", text.len());
        assert!(text.len() > CONTEXT_MAX_BYTES - TEXT_MAX_BYTES, "{name}: {}", text.len());
        assert!(read[name].is_array() || read[name].is_object(), "{name}");
    }
    // A name that has no room takes what follows with it.
    let long = "n".repeat(CONTEXT_MAX_BYTES);
    let (text, _) = written(&of(vec![("a", Value::Bool(false)), (long.as_str(), Value::Bool(true))]));
    assert_eq!(text, r#"{"a":false}"#);
}
