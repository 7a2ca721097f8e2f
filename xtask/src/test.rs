//! `cargo xtask test`: every test, in one count.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::host;
use crate::run::{Outcome, cargo, command, kept, root, target_dir};
use crate::tidy;

/// Files at a time of tests that compute, and of those that wait for minutes.
const COMPUTING: u8 = 2;
const WAITING: u8 = 4;
/// How much nicer than others those are that compute for minutes.
const NICER: u8 = 5;
/// So many of the slowest tests of each Python group are named: they are what to look at when the whole takes too long.
const SLOWEST: u8 = 3;
/// What a test prints, alone on a line and followed by the reason, when it cannot run where it is.
const SKIP: &str = "SKIP: ";

/// The program that tells the Python tests which members the API has.
const MEMBERS: &str = "members";
/// What makes the programs that tests run, with the features that tests have: others would build the libraries anew.
pub(crate) const PROGRAMS: &[&str] = &["build", "--quiet", "--workspace", "--bins", "--example", MEMBERS];

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

pub(crate) fn run() -> Outcome<bool> {
    let started = Instant::now();
    let mut count = Count::default();
    for missing in host::install(&[host::LAB, host::TESTS]) {
        println!("{missing}");
    }
    if !host::is_root() {
        println!("not root: tests of the kernel fabric and of real clients will be skipped");
    }
    tidy_step(&mut count)?;
    one("cargo fmt --check", &mut count, cargo().args(["fmt", "--all", "--check"]))?;
    one("cargo build", &mut count, cargo().args(PROGRAMS))?;
    let slow = Aside::start("Python, slow", "slow", WAITING, 0);
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    one("cargo clippy", &mut count, cargo().args(clippy))?;
    // One selection for everything: another one would build the libraries anew with other features.
    let everything = ["--workspace", "--lib", "--bins", "--tests", "--example", MEMBERS];
    let build = ["test", "--quiet", "--no-run"];
    one("cargo test --no-run", &mut count, cargo().args(build).args(everything))?;
    let packing = Packing::start();
    let long = Aside::start("Python, long", "long", COMPUTING, NICER);
    let mut tests = cargo();
    tests.arg("test").args(everything).args(["--no-fail-fast", "--", "--show-output"]);
    rust_tests("Rust", &mut count, tests.env("BASCULE_BIN", built("bascule")))?;
    let package = packing.and_then(|packing| packing.finish(&mut count))?;
    match slow.and_then(|slow| Ok([slow, long?])) {
        Ok(aside) => {
            let mut tests = pytest(&host::python()?, "not slow and not long", COMPUTING, 0);
            if let Some(package) = package {
                tests.env("BASCULE_DEB", package);
            }
            python_report("Python", &mut count, &mut tests)?;
            for tests in aside {
                tests.finish(&mut count)?;
            }
        }
        Err(why) => {
            println!("SKIPPED: the Python tests: {why}");
            if std::env::var_os("CI").is_some() {
                count.failed += 1;
            } else {
                count.skipped += 1;
            }
        }
    }
    println!("\nafter {} s", started.elapsed().as_secs());
    let skipped = if count.skipped == 0 { String::new() } else { format!(", {} skipped", count.skipped) };
    println!("{} passed, {} failed{skipped}", count.passed, count.failed);
    Ok(count.failed == 0 && count.passed > 0)
}

/// Something that cargo has built.
pub(crate) fn built(name: &str) -> PathBuf {
    target_dir().join("debug").join(name)
}

fn tidy_step(count: &mut Count) -> Outcome<()> {
    let report = tidy::run()?;
    report.print();
    count.passed += report.held;
    count.failed += report.failures.len();
    Ok(())
}

/// A command that is one test.
fn one(name: &str, count: &mut Count, command: &mut Command) -> Outcome<()> {
    let started = Instant::now();
    let (held, text) = kept(command)?;
    println!("{name}: {} ({} s)", if held { "ok" } else { "FAILED" }, started.elapsed().as_secs());
    if held {
        count.passed += 1;
    } else {
        println!("{text}");
        count.failed += 1;
    }
    Ok(())
}

/// Rust's own test runner; its counts are summed up.
fn rust_tests(name: &str, count: &mut Count, command: &mut Command) -> Outcome<()> {
    let started = Instant::now();
    let (held, text) = kept(command)?;
    let (mut passed, mut failed) = (0, 0);
    for line in text.lines() {
        let Some(result) = line.strip_prefix("test result: ") else { continue };
        passed += number_before(result, " passed");
        failed += number_before(result, " failed");
    }
    let reasons: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix(SKIP)).collect();
    let skipped = reasons.len().min(passed);
    for reason in reasons.iter().collect::<BTreeSet<_>>() {
        println!("SKIPPED: {reason}");
    }
    if !held {
        // A binary that did not build or did not end well has no count of its own.
        failed = failed.max(1);
        println!("{text}");
    }
    println!(
        "{name}: {} passed, {failed} failed, {skipped} skipped ({} s)",
        passed - skipped,
        started.elapsed().as_secs()
    );
    count.passed += passed - skipped;
    count.failed += failed;
    count.skipped += skipped;
    Ok(())
}

/// botocore, boto3, the AWS CLI and Terraform against the built binary: the tests with these markers.
fn pytest(interpreter: &Path, markers: &str, at_a_time: u8, nicer: u8) -> Command {
    let mut pytest = command("nice");
    pytest
        .args(["-n", &nicer.to_string()])
        .arg(interpreter)
        .args([
            "-m",
            "pytest",
            "-q",
            "-rs",
            "--durations",
            &SLOWEST.to_string(),
            "-p",
            "no:cacheprovider",
            "-n",
            &at_a_time.to_string(),
            // What the tests of a file share is made once.
            "--dist",
            "loadfile",
            "-m",
            markers,
        ])
        .arg(root().join("tests"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BASCULE_BIN", built("bascule"))
        .env("BASCULE_MEMBERS", built("examples/members"));
    pytest
}

/// Python tests that run beside all others: those that wait for minutes (Terraform's provider sleeps four minutes around
/// each association), and those that compute for minutes and may be slower.
struct Aside {
    name: &'static str,
    child: Child,
    started: Instant,
}

impl Aside {
    fn start(name: &'static str, marker: &str, at_a_time: u8, nicer: u8) -> Outcome<Self> {
        let child = pytest(&host::python()?, marker, at_a_time, nicer)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{name}: the tests do not start: {error}"))?;
        Ok(Self { name, child, started: Instant::now() })
    }

    fn finish(self, count: &mut Count) -> Outcome<()> {
        let output = self.child.wait_with_output().map_err(|error| format!("{}: {error}", self.name))?;
        let text = String::from_utf8_lossy(&output.stdout);
        count_python(self.name, count, output.status.success(), &text, self.started);
        Ok(())
    }
}

/// The Debian package of what is built, made beside the tests.
struct Packing(Child, Instant);

impl Packing {
    fn start() -> Outcome<Self> {
        let mut packing = command("nice");
        // This program may have been replaced by what was built meanwhile.
        packing.args(["-n", &NICER.to_string()]).arg(built("xtask")).args(["deb", "--built"]);
        let child = packing.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        child.map(|child| Self(child, Instant::now())).map_err(|error| format!("nothing packs: {error}"))
    }

    /// The package, if one was made.
    fn finish(self, count: &mut Count) -> Outcome<Option<PathBuf>> {
        let output = self.0.wait_with_output().map_err(|error| format!("the package: {error}"))?;
        let held = output.status.success();
        println!("package: {} (after {} s)", if held { "ok" } else { "FAILED" }, self.1.elapsed().as_secs());
        let text = String::from_utf8_lossy(&output.stdout);
        if !held {
            println!("{text}{}", String::from_utf8_lossy(&output.stderr));
            count.failed += 1;
            return Ok(None);
        }
        count.passed += 1;
        Ok(text.lines().last().map(PathBuf::from))
    }
}

fn python_report(name: &str, count: &mut Count, pytest: &mut Command) -> Outcome<()> {
    let started = Instant::now();
    let (held, text) = kept(pytest)?;
    count_python(name, count, held, &text, started);
    Ok(())
}

fn count_python(name: &str, count: &mut Count, held: bool, text: &str, started: Instant) {
    let summary = text.lines().rev().find(|line| line.contains(" in ") && line.contains("passed"));
    let summary = summary.unwrap_or_default();
    let passed = number_before(summary, " passed");
    let mut failed = number_before(summary, " failed") + number_before(summary, " error");
    let skipped = number_before(summary, " skipped");
    if !held {
        failed = failed.max(1);
        println!("{text}");
    }
    for line in text.lines().filter(|line| line.starts_with("SKIPPED")) {
        println!("{line}");
    }
    for line in text.lines().filter(|line| line.contains("s call ")) {
        println!("slow: {}", line.trim());
    }
    println!(
        "{name}: {passed} passed, {failed} failed, {skipped} skipped ({} s)",
        started.elapsed().as_secs()
    );
    count.passed += passed;
    count.failed += failed;
    count.skipped += skipped;
}

/// The number that stands before a word: `… 12 passed …` → 12.
fn number_before(text: &str, word: &str) -> usize {
    text.split(word)
        .next()
        .filter(|before| before.len() < text.len())
        .and_then(|before| before.rsplit(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn counts_are_read_from_a_runners_line() {
        let rust = "FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!((number_before(rust, " passed"), number_before(rust, " failed")), (12, 3));
        let python = "1 failed, 5 passed, 2 skipped in 0.12s";
        assert_eq!(number_before(python, " failed"), 1);
        assert_eq!(number_before(python, " passed"), 5);
        assert_eq!(number_before(python, " skipped"), 2);
        assert_eq!(number_before(python, " error"), 0);
    }
}
