//! JUnit's XML, as pipelines read it: one suite per profile, one case per expectation and client.

use std::fmt::Write as _;

use super::{Case, Report};

/// The report as JUnit XML. Clients that never had a tunnel are a case of their own, so that a run without
/// expectations can fail too.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failures = report.broken() + usize::from(report.never_connected > 0);
    let tests = report.expectations.len() + 1;
    line(
        &mut out,
        format_args!(
            "<testsuites name=\"bascule client\" tests=\"{tests}\" failures=\"{failures}\" time=\"{:.3}\">",
            report.seconds
        ),
    );
    let connected = report.clients - report.never_connected.min(report.clients);
    let lost = usize::from(report.never_connected > 0);
    line(
        &mut out,
        format_args!(
            "  <testsuite name=\"tunnels\" tests=\"1\" failures=\"{lost}\" errors=\"0\" time=\"{:.3}\">",
            report.seconds
        ),
    );
    let name = format!("{} clients connect", report.clients);
    let why = (lost > 0).then(|| format!("{connected} of {} had a tunnel", report.clients));
    case(&mut out, "tunnels", &name, report.connect.max_ms / 1000.0, why.as_deref());
    out.push_str("  </testsuite>\n");
    let mut profiles: Vec<&str> = Vec::new();
    for one in &report.expectations {
        if !profiles.contains(&one.profile.as_str()) {
            profiles.push(&one.profile);
        }
    }
    for profile in profiles {
        let cases: Vec<&Case> = report.expectations.iter().filter(|one| one.profile == profile).collect();
        let broken = cases.iter().filter(|one| !one.verdict.held).count();
        let time: f64 = cases.iter().map(|one| one.verdict.took.as_secs_f64()).sum();
        line(
            &mut out,
            format_args!(
                "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{broken}\" errors=\"0\" time=\"{time:.3}\">",
                escaped(profile),
                cases.len()
            ),
        );
        for one in cases {
            let name = if report.clients > 1 {
                format!("{} (client {})", one.name, one.client)
            } else {
                one.name.clone()
            };
            let why = (!one.verdict.held).then(|| format!("{}: {}", one.expect, one.verdict.detail));
            case(&mut out, profile, &name, one.verdict.took.as_secs_f64(), why.as_deref());
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn case(out: &mut String, class: &str, name: &str, seconds: f64, failure: Option<&str>) {
    let open = format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\"",
        escaped(class),
        escaped(name)
    );
    match failure {
        None => line(out, format_args!("{open}/>")),
        Some(why) => line(out, format_args!("{open}><failure message=\"{}\"/></testcase>", escaped(why))),
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("invariant: writing to a string cannot fail");
}

/// Text as it may stand in an attribute; what XML cannot hold becomes `?`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn it_is_xml_with_the_right_counts() {
        let mut report = sample();
        report.expectations[1].profile = "bob's <p>".to_owned();
        let text = junit(&report);
        let document = roxmltree::Document::parse(&text).unwrap();
        let root = document.root_element();
        assert_eq!((root.attribute("tests"), root.attribute("failures")), (Some("3"), Some("1")));
        let named = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
        assert_eq!((named("testsuite"), named("testcase"), named("failure")), (3, 3, 1));
        let names: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("testcase"))
            .filter_map(|node| node.attribute("name"))
            .collect();
        assert_eq!(
            names,
            ["2 clients connect", "web <1> & \"2\" (client 1)", "reach 10.0.1.5:80 (client 2)"]
        );
        let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
        assert_eq!(failure.attribute("message"), Some("reach 10.0.1.5:80: no answer?[31m to 3 packets <x>"));
        assert_eq!(failure.parent().unwrap().parent().unwrap().attribute("name"), Some("bob's <p>"));
    }

    #[test]
    fn no_tunnel_is_a_failure_without_any_expectation() {
        let report = Report { clients: 3, never_connected: 2, ..Report::default() };
        let text = junit(&report);
        let document = roxmltree::Document::parse(&text).unwrap();
        assert_eq!(document.root_element().attribute("failures"), Some("1"));
        assert!(text.contains("1 of 3 had a tunnel"));
    }
}
