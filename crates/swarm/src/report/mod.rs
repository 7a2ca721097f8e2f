//! What a run came to, for people, for pipelines (JUnit) and for programs (JSON).

mod junit;

use std::collections::BTreeMap;

use serde::Serialize;

pub use junit::junit;

use crate::probe::Verdict;
use crate::tally::{Counts, Spread};

/// One expectation at one client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// The expectation as it was written.
    pub expect: String,
    /// The profile's name.
    pub profile: String,
    /// The client's number, from 1.
    pub client: usize,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Everything about a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Clients that were asked for.
    pub clients: usize,
    /// Clients that never had a tunnel.
    pub never_connected: usize,
    /// Sums over the clients.
    pub counts: Counts,
    /// How long tunnels took to come up.
    pub connect: Spread,
    /// Replies to the endless pings, if there were any.
    pub ping: Option<Spread>,
    /// What went wrong on the way, and how often.
    pub failures: BTreeMap<String, u64>,
    /// What the server said to those it sent away, and how often.
    pub farewells: BTreeMap<String, u64>,
    /// The expectations.
    pub expectations: Vec<Case>,
    /// From start to end.
    pub seconds: f64,
}

/// The report as JSON.
///
/// # Panics
/// Never: a report always has a form in JSON.
#[must_use]
pub fn json(report: &Report) -> String {
    let mut text =
        serde_json::to_string_pretty(report).expect("invariant: a report has no maps with odd keys");
    text.push('\n');
    text
}

impl Report {
    /// Expectations that did not hold.
    #[must_use]
    pub fn broken(&self) -> usize {
        self.expectations.iter().filter(|case| !case.verdict.held).count()
    }

    /// Every client had a tunnel, and every expectation held.
    #[must_use]
    pub fn all_held(&self) -> bool {
        self.broken() == 0 && self.never_connected == 0
    }

    /// The last lines for people; the very last is the summary.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (what, reasons) in [("sent away", &self.farewells), ("failed", &self.failures)] {
            lines.extend(reasons.iter().map(|(why, count)| format!("{what:<9} {count:>5} x {why}")));
        }
        if let Some(ping) = &self.ping {
            lines.push(format!(
                "pings     {} sent, {} answered; p50 {} ms, p99 {} ms, longest {} ms",
                self.counts.pings_sent, self.counts.pings_answered, ping.p50_ms, ping.p99_ms, ping.max_ms
            ));
        }
        let held = self.expectations.len() - self.broken();
        lines.push(format!(
            "summary   {} clients, {} connected (p50 {} ms, p99 {} ms); {} restarts, {} failures; {held} of {} expectations held",
            self.clients,
            self.clients - self.never_connected.min(self.clients),
            self.connect.p50_ms,
            self.connect.p99_ms,
            self.counts.restarts,
            self.counts.failures,
            self.expectations.len(),
        ));
        lines
    }
}

impl Case {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let verdict = if self.verdict.held { "held" } else { "NOT HELD" };
        let named = if self.name == self.expect { String::new() } else { format!("{}: ", self.name) };
        format!(
            "{verdict:<9} client {:<4} {named}{}  ({} ms) {}",
            self.client,
            self.expect,
            self.verdict.took.as_millis(),
            self.verdict.detail
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    pub(crate) fn sample() -> Report {
        let case = |name: &str, client, held, detail: &str| Case {
            name: name.to_owned(),
            expect: "reach 10.0.1.5:80".to_owned(),
            profile: "alice.ovpn".to_owned(),
            client,
            verdict: Verdict { held, detail: detail.to_owned(), took: Duration::from_micros(12_345) },
        };
        Report {
            clients: 2,
            connect: Spread::of(&[Duration::from_millis(40), Duration::from_millis(60)]),
            failures: BTreeMap::from([("no TCP connection".to_owned(), 3)]),
            expectations: vec![
                case("web <1> & \"2\"", 1, true, "connected"),
                case("reach 10.0.1.5:80", 2, false, "no answer\u{1b}[31m to 3 packets <x>"),
            ],
            seconds: 1.5,
            ..Report::default()
        }
    }

    #[test]
    fn lines_say_what_held() {
        let report = sample();
        assert_eq!(report.broken(), 1);
        assert!(!report.all_held());
        let lines = report.lines();
        assert_eq!(lines[0], "failed        3 x no TCP connection");
        assert!(
            lines[1].starts_with("summary   2 clients, 2 connected (p50 40 ms, p99 60 ms)"),
            "{}",
            lines[1]
        );
        assert!(lines[1].ends_with("1 of 2 expectations held"));
        let line = report.expectations[0].line();
        assert_eq!(line, "held      client 1    web <1> & \"2\": reach 10.0.1.5:80  (12 ms) connected");
        assert!(Report { never_connected: 1, ..Report::default() }.lines().pop().is_some());
        assert!(!Report { never_connected: 1, ..Report::default() }.all_held());
    }

    #[test]
    fn json_has_all_of_it() {
        let value: serde_json::Value = serde_json::from_str(&json(&sample())).unwrap();
        assert_eq!(value["expectations"][0]["held"], true);
        assert_eq!(value["expectations"][0]["ms"], 12.345);
        assert_eq!(value["expectations"][1]["client"], 2);
        assert_eq!(value["failures"]["no TCP connection"], 3);
        assert_eq!(value["connect"]["p99_ms"], 60.0);
        assert_eq!(value["ping"], serde_json::Value::Null);
    }
}
