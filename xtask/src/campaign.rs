//! `cargo xtask campaign NAME [N]`: the whole of what continuous integration takes a share of.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::host;
use crate::run::{Outcome, cargo, command, root, shown};
use crate::test::built;

/// What a campaign runs.
#[derive(Clone, Copy)]
enum Test {
    /// A file of Python tests, or one of them.
    Python(&'static str),
    /// A test of Rust.
    Rust { file: &'static str, name: &'static str },
}

/// A test that takes its length from a variable.
pub(crate) struct Campaign {
    name: &'static str,
    test: Test,
    variable: &'static str,
    /// The whole.
    whole: u64,
    what: &'static str,
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
        name: "flood",
        test: Test::Rust { file: "crates/lab/tests/flood.rs", name: "real_clients_get_in_and_stay_in" },
        variable: "BASCULE_FLOOD",
        whole: 50_000,
        what: "datagrams a second for ten seconds from made-up sources: clients connect, a flow goes on, no memory",
    },
    Campaign {
        name: "half-open",
        test: Test::Rust {
            file: "crates/lab/tests/flood.rs",
            name: "half_open_sessions_are_small_and_short",
        },
        variable: "BASCULE_HALF_OPEN",
        whole: 10_000,
        what: "half-open sessions: at most 32 KiB each, gone in 35 s",
    },
];

/// One line for each campaign.
pub(crate) fn usage() -> String {
    CAMPAIGNS.iter().map(|of| format!("\n             {} [{}]: {}", of.name, of.whole, of.what)).collect()
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
    println!("{name}: {length} {}", campaign.what);
    if !shown(cargo().args(["build", "--quiet", "--workspace", "--bins", "--examples"]))? {
        return Ok(false);
    }
    let started = Instant::now();
    let mut test = match campaign.test {
        Test::Python(test) => pytest(test)?,
        Test::Rust { file, name } => rust(file, name),
    };
    test.env("BASCULE_BIN", built("bascule")).env(campaign.variable, length.to_string()).stdin(Stdio::null());
    let held = shown(&mut test)?;
    println!("{name}: {} after {} s", if held { "held" } else { "NOT HELD" }, started.elapsed().as_secs());
    Ok(held)
}

fn pytest(test: &str) -> Outcome<Command> {
    let mut pytest = command(host::python()?);
    pytest
        .args(["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"])
        .arg(root().join(test))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BASCULE_MEMBERS", built("examples/members"));
    Ok(pytest)
}

/// The same selection of crates as for all tests: another would build the libraries anew.
fn rust(file: &str, name: &str) -> Command {
    let binary = Path::new(file).file_stem().unwrap_or_default();
    let mut cargo = cargo();
    cargo.args(["test", "--quiet", "--workspace", "--test"]).arg(binary);
    cargo.args(["--", "--exact", name, "--nocapture"]);
    cargo
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
            let (file, reads, has) = match campaign.test {
                Test::Python(test) => {
                    let (file, test) = test.split_once("::").unwrap_or((test, ""));
                    let has = if test.is_empty() { String::new() } else { format!("def {test}(") };
                    (file.to_owned(), format!("os.environ.get(\"{}\"", campaign.variable), has)
                }
                Test::Rust { file, name } => {
                    let reads = format!("variable(\"{}\")", campaign.variable);
                    (file.to_owned(), reads, format!("fn {name}("))
                }
            };
            let text = std::fs::read_to_string(root().join(file)).unwrap();
            assert!(text.contains(&reads) && text.contains(&has), "{}", campaign.name);
        }
    }
}
