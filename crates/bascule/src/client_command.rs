//! `bascule client`: clients of our own that need neither root nor a device, with expectations about what they reach.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use swarm::{Expectation, FileEntry, Plan, Profile, Setup};

use crate::Usage;
use crate::cli::Client;

/// How often `--ping` pings.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Longest file of expectations, in bytes.
const EXPECT_FILE_MAX_BYTES: u64 = 1024 * 1024;

pub(crate) fn run(arguments: &Client) -> Result<()> {
    let mut plan = Plan {
        groups: Vec::new(),
        expectations: Vec::new(),
        per_second: arguments.rate,
        probing: arguments.probe_clients,
        up_within: Duration::from_secs(arguments.connect_within),
        duration: arguments.duration.map(Duration::from_secs),
    };
    let mut labels = BTreeMap::new();
    if let Some(profile) = &arguments.profile {
        let setup = setup(arguments, profile)?;
        labels.insert(profile.clone(), plan.add_group(profile, setup, arguments.count));
    }
    let common = arguments.profile.clone();
    for text in &arguments.expect {
        let expectation: Expectation = text.parse().map_err(|error| Usage(format!("expect = {error}")))?;
        let entry = FileEntry { name: expectation.text.clone(), expectation, profile: None };
        add(&mut plan, &mut labels, arguments, entry, common.as_deref())?;
    }
    if let Some(path) = &arguments.expect_file {
        for entry in entries(path)? {
            add(&mut plan, &mut labels, arguments, entry, common.as_deref())?;
        }
    }
    // Opened before the run: a report that cannot be written is wrong usage, not a lost run.
    let mut junit = arguments.junit.as_deref().map(|path| create("junit", path)).transpose()?;
    let mut json = arguments.json.as_deref().map(|path| create("json", path)).transpose()?;
    let report = swarm::run(&plan, |line| out!("{line}"))?;
    if let Some(file) = &mut junit {
        file.write_all(swarm::junit(&report).as_bytes()).context("cannot write the JUnit report")?;
    }
    if let Some(file) = &mut json {
        file.write_all(swarm::json(&report).as_bytes()).context("cannot write the JSON report")?;
    }
    anyhow::ensure!(
        report.broken() == 0,
        "{} of {} expectations did not hold",
        report.broken(),
        report.expectations.len()
    );
    anyhow::ensure!(
        report.never_connected == 0,
        "{} of {} clients had no tunnel",
        report.never_connected,
        report.clients
    );
    Ok(())
}

/// A profile made ready; what was passed over in it is said on stderr.
fn setup(arguments: &Client, path: &Path) -> Result<Setup> {
    let wrong = |error: &dyn std::fmt::Display| Usage(format!("profile = {}: {error}", path.display()));
    let mut profile = Profile::load(path).map_err(|error| wrong(&error))?;
    if let Some(login) = &arguments.auth_user_pass {
        profile
            .login_from(login)
            .map_err(|error| Usage(format!("auth-user-pass = {}: {error}", login.display())))?;
    }
    for note in &profile.notes {
        err!("{}: {note}", path.display());
    }
    let dialect = swarm::dialect(&arguments.dialect)
        .map_err(|error| Usage(format!("dialect = {}: {error}", arguments.dialect)))?;
    let setup = Setup::new(profile, dialect).map_err(|error| wrong(&error))?;
    let setup = setup.bound_to(arguments.local.clone());
    Ok(match arguments.ping {
        Some(address) => setup.pinging(address, PING_EVERY),
        None => setup,
    })
}

/// Adds an expectation, and the clients that try it if there are none yet: one for a profile that only a file names.
fn add(
    plan: &mut Plan,
    labels: &mut BTreeMap<PathBuf, String>,
    arguments: &Client,
    entry: FileEntry,
    common: Option<&Path>,
) -> Result<()> {
    let path = entry.profile.as_deref().or(common);
    let path = path.ok_or_else(|| {
        Usage(format!("expectation {:?}: it names no profile, nor does the command", entry.name))
    })?;
    let label = match labels.get(path) {
        Some(label) => label.clone(),
        None => {
            let label = plan.add_group(path, setup(arguments, path)?, 1);
            labels.insert(path.to_owned(), label.clone());
            label
        }
    };
    plan.expectations.push((entry.name, Arc::new(entry.expectation), label));
    Ok(())
}

fn entries(path: &Path) -> Result<Vec<FileEntry>> {
    let wrong = |error: &dyn std::fmt::Display| Usage(format!("expect-file = {}: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if length > EXPECT_FILE_MAX_BYTES {
        return Err(wrong(&"it is too long").into());
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    Ok(swarm::parse_file(&text, folder).map_err(|error| wrong(&error))?)
}

fn create(flag: &str, path: &Path) -> Result<File> {
    Ok(File::create(path).map_err(|error| Usage(format!("{flag} = {}: {error}", path.display())))?)
}
