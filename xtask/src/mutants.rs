//! `cargo xtask campaign mutants`: changes the code that keeps others out, one place at a time, and sees whether a test
//! notices. A change that nobody notices must be one that `docs/mutants.md` names, with the reason.

use std::fs;
use std::path::Path;

use crate::run::{Outcome, command, kept, root, shown, target_dir};

/// What is changed, and the tests that shall notice.
struct Set {
    name: &'static str,
    files: &'static [&'static str],
    tests: &'static [&'static str],
}

const SETS: &[Set] = &[
    Set {
        name: "cookie and replay window",
        files: &["crates/openvpn/src/server/cookie.rs", "crates/openvpn/src/data/replay.rs"],
        tests: &["--lib", "--test", "openvpn-tests"],
    },
    Set {
        name: "admission gate",
        files: &["crates/gateway/src/brain/admission.rs", "crates/gateway/src/brain/apply.rs"],
        tests: &["--test", "gateway-tests", "--test", "gateway-simulation"],
    },
    Set {
        name: "certificates and revocation lists",
        files: &[
            "crates/pki/src/chain.rs",
            "crates/pki/src/certificate.rs",
            "crates/pki/src/constraints.rs",
            "crates/pki/src/crl.rs",
            "crates/pki/src/signature.rs",
        ],
        tests: &["--lib", "--tests"],
    },
];

/// Schedules of a simulation for one change: it is run hundreds of times.
const SCHEDULES: &str = "300";
const PAGE: &str = "docs/mutants.md";

/// Runs all sets, or those whose name holds a word.
pub(crate) fn run(word: Option<&str>) -> Outcome<bool> {
    if !kept(command("cargo").args(["mutants", "--version"])).is_ok_and(|(there, _)| there) {
        return Err("cargo-mutants is not there: cargo install cargo-mutants".to_owned());
    }
    let page = fs::read_to_string(root().join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    // As it stands in a table.
    let page = page.replace("\\|", "|");
    let mut held = true;
    for set in SETS.iter().filter(|set| word.is_none_or(|word| set.name.contains(word))) {
        println!("{}", set.name);
        let out = target_dir().join("mutants").join(set.name.replace(' ', "-"));
        fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
        let mut mutants = command("cargo");
        mutants.args(["mutants", "--no-shuffle", "--cap-lints=true", "--output"]).arg(&out);
        mutants.args(set.files.iter().flat_map(|file| ["--file", file]));
        mutants.arg("--").args(set.tests).env("BASCULE_SCHEDULES", SCHEDULES);
        shown(&mut mutants)?;
        held &= justified(&out.join("mutants.out"), &page)?;
    }
    Ok(held)
}

/// Whether every change that nobody noticed is one of the page's. Its line and column may have moved.
fn justified(out: &Path, page: &str) -> Outcome<bool> {
    let file = out.join("missed.txt");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let unknown: Vec<String> = text.lines().map(without_place).filter(|one| !page.contains(one)).collect();
    for survivor in &unknown {
        println!("nobody notices, and {PAGE} does not say why: {survivor}");
    }
    Ok(unknown.is_empty())
}

/// `crates/x.rs:12:5: replace a with b` → `crates/x.rs: replace a with b`.
fn without_place(line: &str) -> String {
    let mut parts = line.splitn(4, ':');
    let file = parts.next().unwrap_or_default();
    let change = parts.nth(2).unwrap_or_default();
    format!("{file}:{change}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survivor_is_known_wherever_it_has_moved() {
        let line = "crates/x.rs:12:5: replace a::b -> bool with true in a::b";
        assert_eq!(without_place(line), "crates/x.rs: replace a::b -> bool with true in a::b");
    }

    #[test]
    fn sets_name_what_is_there() {
        for set in SETS {
            assert!(set.files.iter().all(|file| root().join(file).is_file()), "{}", set.name);
        }
    }
}
