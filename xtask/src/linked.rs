//! What is linked into `bascule`, and what only takes part in its build: from `cargo tree`, with what the lock file and each
//! package say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::run::{Outcome, cargo, kept};

/// A crate's name and version.
pub(crate) type Id = (String, String);

/// One crate.
#[derive(Clone)]
pub(crate) struct Crate {
    /// Its name and version.
    pub id: Id,
    /// Its licence as it names it, in SPDX's words.
    pub licence: String,
    /// Where its source is.
    pub folder: PathBuf,
    /// Where its home is, if it says.
    pub repository: Option<String>,
    /// Whether it is one of this workspace.
    pub ours: bool,
    /// SHA-256 of its archive in the registry.
    pub checksum: Option<String>,
    /// Whether its code is in the binary; otherwise it runs while that is built.
    pub in_binary: bool,
    /// What it uses.
    pub uses: BTreeSet<Id>,
}

/// The triple of this machine, and the compiler's version.
pub(crate) fn compiler() -> Outcome<(String, String)> {
    let (_, text) = kept(crate::run::command("rustc").arg("-vV"))?;
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let found = of("host: ").zip(of("release: "));
    found.ok_or_else(|| format!("rustc -vV: {text}"))
}

/// Everything of the program built from the workspace in `at`, for this machine.
pub(crate) fn crates(at: &Path) -> Outcome<Vec<Crate>> {
    let (host, _) = compiler()?;
    let all = tree(at, &host, "no-dev")?;
    let linked = tree(at, &host, "normal,no-proc-macro")?;
    let checksums = checksums(at)?;
    let packages = packages(at, &host)?;
    let mut crates = Vec::new();
    for (id, uses) in all {
        let package = packages.get(&id).ok_or_else(|| format!("cargo metadata has no {} {}", id.0, id.1))?;
        let text = |name: &str| package[name].as_str().map(str::to_owned);
        let manifest = PathBuf::from(text("manifest_path").unwrap_or_default());
        crates.push(Crate {
            licence: spdx(&text("license").unwrap_or_default())?,
            folder: manifest.parent().map(Path::to_owned).unwrap_or_default(),
            repository: text("repository").filter(|address| !address.is_empty()),
            ours: package["source"].is_null(),
            checksum: checksums.get(&id).cloned(),
            in_binary: linked.contains_key(&id),
            uses,
            id,
        });
    }
    Ok(crates)
}

/// A licence in today's words: older packages write `/` for `OR`.
fn spdx(licence: &str) -> Outcome<String> {
    let told = spdx::Expression::canonicalize(licence).map_err(|error| format!("{licence:?}: {error}"))?;
    Ok(told.unwrap_or_else(|| licence.to_owned()))
}

/// Each crate that these kinds of edges lead to, with what it uses.
fn tree(at: &Path, host: &str, edges: &str) -> Outcome<BTreeMap<Id, BTreeSet<Id>>> {
    let mut tree = cargo();
    tree.current_dir(at).args(["tree", "--quiet", "--locked", "--package", "bascule", "--target", host]);
    let (ok, text) = kept(tree.args(["--edges", edges, "--prefix", "depth", "--format", " {p}"]))?;
    if !ok {
        return Err(format!("cargo tree: {text}"));
    }
    let mut found: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    let mut above: Vec<Id> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(depth), Some(name), Some(version)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let depth: usize = depth.parse().map_err(|_| format!("cargo tree: {line}"))?;
        let id = (name.to_owned(), version.trim_start_matches('v').to_owned());
        above.truncate(depth);
        if let Some(user) = above.last() {
            found.entry(user.clone()).or_default().insert(id.clone());
        }
        found.entry(id.clone()).or_default();
        above.push(id);
    }
    Ok(found)
}

fn packages(at: &Path, host: &str) -> Outcome<BTreeMap<Id, Value>> {
    let mut metadata = cargo();
    metadata.current_dir(at).args(["metadata", "--quiet", "--format-version", "1", "--locked"]);
    let (_, text) = kept(metadata.args(["--filter-platform", host]))?;
    let metadata: Value = serde_json::from_str(text.lines().next().unwrap_or_default())
        .map_err(|error| format!("cargo metadata: {error}: {text:.200}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let id = |package: &Value| {
        let text = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
        (text("name"), text("version"))
    };
    Ok(packages.iter().map(|package| (id(package), package.clone())).collect())
}

/// What the lock file holds registry archives to.
fn checksums(at: &Path) -> Outcome<BTreeMap<Id, String>> {
    let text = fs::read_to_string(at.join("Cargo.lock")).map_err(|error| format!("Cargo.lock: {error}"))?;
    let lock: toml::Table = text.parse().map_err(|error| format!("Cargo.lock: {error}"))?;
    let rows = lock.get("package").and_then(toml::Value::as_array).ok_or("Cargo.lock names no packages")?;
    let of = |row: &toml::Value, name: &str| row.get(name).and_then(toml::Value::as_str).map(str::to_owned);
    let row = |row| Some(((of(row, "name")?, of(row, "version")?), of(row, "checksum")?));
    Ok(rows.iter().filter_map(row).collect())
}

/// The crates whose licence `deny.toml` does not allow, a line each.
pub(crate) fn not_allowed(at: &Path, crates: &[Crate]) -> Outcome<Vec<String>> {
    let text = fs::read_to_string(at.join("deny.toml")).map_err(|error| format!("deny.toml: {error}"))?;
    let deny: toml::Table = text.parse().map_err(|error| format!("deny.toml: {error}"))?;
    let allowed = deny.get("licenses").and_then(|licences| licences.get("allow"));
    let allowed = allowed.and_then(toml::Value::as_array).ok_or("deny.toml allows no licence")?;
    let allowed: BTreeSet<&str> = allowed.iter().filter_map(toml::Value::as_str).collect();
    let good = |of: &&Crate| {
        spdx::Expression::parse(&of.licence)
            .is_ok_and(|licence| licence.evaluate(|one| allowed.contains(one.to_string().as_str())))
    };
    let bad = crates.iter().filter(|of| !good(of));
    Ok(bad.map(|of| format!("{} {}: deny.toml does not allow {:?}", of.id.0, of.id.1, of.licence)).collect())
}

/// Those of this workspace, asked for once in all tests.
#[cfg(test)]
pub(crate) fn own() -> &'static [Crate] {
    static OWN: std::sync::OnceLock<Vec<Crate>> = std::sync::OnceLock::new();
    OWN.get_or_init(|| crates(&crate::run::root()).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::root;

    #[test]
    fn what_is_linked_is_what_the_lock_file_holds() {
        let crates = own();
        let named = |name: &str| crates.iter().find(|of| of.id.0 == name);
        assert!(crates.len() > 200, "{}", crates.len());
        for of in crates {
            assert_eq!(of.checksum.is_some(), !of.ours, "{:?}", of.id);
            assert!(of.folder.join("Cargo.toml").is_file(), "{:?}", of.id);
            for used in &of.uses {
                assert!(crates.iter().any(|other| other.id == *used), "{:?} uses {used:?}", of.id);
            }
        }
        for (name, in_binary) in
            [("bascule", true), ("redb", true), ("aws-lc-sys", true), ("cc", false), ("syn", false)]
        {
            assert_eq!(named(name).map(|of| of.in_binary), Some(in_binary), "{name}");
        }
        // What only tests and tools use is no part of it.
        for name in ["lab", "proptest", "tempfile"] {
            assert!(named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn every_licence_is_allowed_and_another_is_not() {
        let mut crates = own().to_vec();
        assert_eq!(not_allowed(&root(), &crates).unwrap(), Vec::<String>::new());
        for (licence, good) in
            [("GPL-3.0-only", false), ("GPL-3.0-only OR MIT", true), ("MIT AND GPL-3.0-only", false)]
        {
            crates.truncate(1);
            crates[0].licence = licence.to_owned();
            assert_eq!(not_allowed(&root(), &crates).unwrap().is_empty(), good, "{licence}");
        }
        assert_eq!(spdx("MIT/Apache-2.0").unwrap(), "MIT OR Apache-2.0");
    }
}
