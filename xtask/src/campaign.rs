//! `cargo xtask campaign NAME [N]`: the whole of what continuous integration takes a share of.

use std::process::Stdio;
use std::time::Instant;

use crate::host;
use crate::run::{Outcome, cargo, command, root, shown};
use crate::test::{PROGRAMS, built};

/// A test that takes its length from a variable.
pub(crate) struct Campaign {
    name: &'static str,
    test: Test,
    variable: &'static str,
    /// The whole.
    whole: u64,
    what: &'static str,
}

/// Where a test stands.
enum Test {
    /// In Python: file and function.
    Python(&'static str),
    /// In Rust: what cargo is to run, in one go or several, and files that read the variable.
    Rust(&'static [&'static [&'static str]], &'static [&'static str]),
}

impl Test {
    /// Where somebody finds it.
    fn place(&self) -> String {
        match self {
            Test::Python(place) => (*place).to_owned(),
            Test::Rust(_, files) => files.join(", "),
        }
    }
}

pub(crate) const CAMPAIGNS: &[Campaign] = &[
    Campaign {
        name: "malformed",
        test: Test::Python("tests/test_malformed.py"),
        variable: "BASCULE_MALFORMED",
        whole: 100_000,
        what: "malformed API requests: the right code, no 5xx, no hang, no memory kept",
    },
    Campaign {
        name: "altered",
        test: Test::Python("tests/test_signatures.py::test_nothing_that_is_altered_is_accepted"),
        variable: "BASCULE_ALTERED",
        whole: 100_000,
        what: "signed requests with one thing altered: none is accepted",
    },
    Campaign {
        name: "signed",
        test: Test::Python("tests/test_signatures.py::test_what_botocore_signs_is_accepted"),
        variable: "BASCULE_SIGNED",
        whole: 10_000,
        what: "requests that botocore signed, with odd parameters: all are accepted",
    },
    Campaign {
        name: "schedules",
        test: Test::Rust(
            &[&["--test", "gateway-simulation", "--test", "openvpn-simulation", "--"]],
            &["crates/gateway/tests/simulation/main.rs", "crates/openvpn/tests/simulation.rs"],
        ),
        variable: "BASCULE_SCHEDULES",
        whole: 1_000_000,
        what: "schedules of a bad network, of the protocol and of the whole gateway: nothing wedged, no invariant broken",
    },
    Campaign {
        name: "fuzz",
        test: Test::Rust(
            &[
                &["--test", "foreign", "--"],
                &["--test", "openvpn-tests", "--test", "gateway-tests", "--", "foreign::", "keyed::"],
                &["--lib", "--", "foreign_"],
            ],
            &["crates/foreign/src/lib.rs", "crates/gateway/tests/keyed.rs"],
        ),
        variable: "BASCULE_FUZZ",
        whole: 10_000_000,
        what: "bent inputs for each parser of foreign bytes: no panic, nothing forged taken for genuine",
    },
    Campaign {
        name: "disassociations",
        test: Test::Rust(
            &[&["--test", "lab-load", "--", "disassociations::"]],
            &["crates/lab/tests/disassociations.rs"],
        ),
        variable: "BASCULE_DISASSOCIATIONS",
        whole: 20,
        what: "last disassociations under 1,000 clients with kills: nobody left, nobody admitted, no packet afterwards",
    },
    Campaign {
        name: "flood",
        test: Test::Rust(
            &[&["--test", "lab-load", "--", "--exact", "flood::real_clients_get_in_and_stay_in"]],
            &["crates/lab/tests/flood.rs"],
        ),
        variable: "BASCULE_FLOOD",
        whole: 50_000,
        what: "datagrams a second for ten seconds from made-up sources: clients connect, a flow goes on, no memory",
    },
    Campaign {
        name: "half-open",
        test: Test::Rust(
            &[&["--test", "lab-load", "--", "--exact", "flood::half_open_sessions_are_small_and_short"]],
            &["crates/lab/tests/flood.rs"],
        ),
        variable: "BASCULE_HALF_OPEN",
        whole: 10_000,
        what: "half-open sessions: at most 32 KiB each, gone in 35 s",
    },
];

/// One line for each campaign.
pub(crate) fn usage() -> String {
    let mut lines: String = CAMPAIGNS
        .iter()
        .map(|of| format!("\n             {} [{}]: {}", of.name, of.whole, of.what))
        .collect();
    lines.push_str("\n             mutants [WORD]: changes in what keeps others out, each noticed by a test");
    lines
}

/// Runs one; the seed of its dice is `BASCULE_SEED`, 1 if that is not set.
pub(crate) fn run(name: &str, length: Option<&str>) -> Outcome<bool> {
    let Some(campaign) = CAMPAIGNS.iter().find(|campaign| campaign.name == name) else {
        return Err(format!("there is no campaign {name}:{}", usage()));
    };
    let length = match length {
        None => campaign.whole,
        Some(text) => text.parse().map_err(|_| format!("{text} is no number"))?,
    };
    println!("{name}: {length} {} ({})", campaign.what, campaign.test.place());
    if !shown(cargo().args(PROGRAMS))? {
        return Ok(false);
    }
    let started = Instant::now();
    let tests = match campaign.test {
        Test::Python(test) => {
            let mut pytest = command(host::python()?);
            pytest
                .args(["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"])
                .arg(root().join(test))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("BASCULE_MEMBERS", built("examples/members"));
            vec![pytest]
        }
        Test::Rust(runs, _) => runs
            .iter()
            .map(|arguments| {
                let mut cargo = cargo();
                cargo.args(["test", "--quiet", "--workspace"]).args(*arguments).arg("--nocapture");
                cargo
            })
            .collect(),
    };
    let mut held = true;
    for mut test in tests {
        let test = test.env("BASCULE_BIN", built("bascule")).env(campaign.variable, length.to_string());
        held &= shown(test.stdin(Stdio::null()))?;
    }
    println!("{name}: {} after {} s", if held { "held" } else { "NOT HELD" }, started.elapsed().as_secs());
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_campaign_is_a_test_that_reads_its_variable() {
        let page = std::fs::read_to_string(root().join("docs/campaigns.md")).unwrap();
        for campaign in CAMPAIGNS {
            assert!(
                page.contains(&format!("| `cargo xtask campaign {}` |", campaign.name)),
                "{}",
                campaign.name
            );
            match campaign.test {
                Test::Python(place) => {
                    let (file, test) = place.split_once("::").unwrap_or((place, ""));
                    let text = std::fs::read_to_string(root().join(file)).unwrap();
                    let reads = format!("os.environ.get(\"{}\"", campaign.variable);
                    assert!(text.contains(&reads), "{}", campaign.name);
                    assert!(test.is_empty() || text.contains(&format!("def {test}(")), "{}", campaign.name);
                }
                Test::Rust(_, files) => {
                    for file in files {
                        let text = std::fs::read_to_string(root().join(file)).unwrap();
                        assert!(text.contains(&format!("\"{}\"", campaign.variable)), "{file}");
                    }
                }
            }
        }
    }
}
