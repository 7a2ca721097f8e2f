//! The rules of the house as tests: the layer table, file sizes, module docs, purity, and what may not be said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::run::{Outcome, cargo, command, kept, root};

/// Most lines of a source file, tests apart.
const FILE_MAX_LINES: usize = 1_000;
/// Most files over `LARGE_LINES`.
const LARGE_LINES: usize = 600;
const LARGE_MAX_FILES: usize = 8;
/// Highest layer whose crates are pure.
const PURE_MAX_LAYER: u32 = 2;
/// What a pure crate may not name (ARCHITECTURE §10, 1).
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "tokio::",
    "async fn",
];

/// What held and what did not.
#[derive(Default)]
pub(crate) struct Report {
    pub held: usize,
    pub failures: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn print(&self) {
        for failure in &self.failures {
            println!("tidy: {failure}");
        }
        for note in &self.notes {
            println!("tidy: {note}");
        }
        println!("tidy: {} rules held, {} broken", self.held, self.failures.len());
    }

    fn rule(&mut self, broken: Vec<String>) {
        if broken.is_empty() {
            self.held += 1;
        }
        self.failures.extend(broken);
    }
}

/// Checks every rule.
pub(crate) fn run() -> Outcome<Report> {
    let mut report = Report::default();
    let layers = Layers::read()?;
    let crates = workspace()?;
    let sources = sources()?;
    report.rule(layers.check(&crates));
    report.rule(module_docs(&sources));
    report.rule(file_sizes(&sources));
    report.rule(purity(&sources, &layers, &crates));
    report.rule(machine_paths()?);
    report.rule(named_places()?);
    let unverified: usize = sources.iter().map(|(_, text)| text.matches("UNVERIFIED:").count()).sum();
    report.notes.push(format!("{unverified} places are marked UNVERIFIED"));
    Ok(report)
}

/// A crate and the workspace crates it uses.
struct Crate {
    name: String,
    folder: PathBuf,
    uses: Vec<String>,
}

fn workspace() -> Outcome<Vec<Crate>> {
    let (ok, text) = kept(cargo().args(["metadata", "--format-version", "1", "--no-deps", "--quiet"]))?;
    let metadata: Value = serde_json::from_str(text.lines().next().unwrap_or_default())
        .map_err(|error| format!("cargo metadata ({ok}): {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let text_of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeSet<String> = packages.iter().map(|package| text_of(&package["name"])).collect();
    Ok(packages
        .iter()
        .map(|package| Crate {
            name: text_of(&package["name"]),
            folder: Path::new(package["manifest_path"].as_str().unwrap_or_default())
                .parent()
                .map(Path::to_owned)
                .unwrap_or_default(),
            uses: package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                // Tests may look further down or up.
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .map(|dependency| text_of(&dependency["name"]))
                .filter(|name| names.contains(name))
                .collect(),
        })
        .collect())
}

/// ARCHITECTURE.md's table: crate → layer, and the crates of its own layer that it may use.
struct Layers {
    layer: BTreeMap<String, u32>,
    beside: BTreeMap<String, BTreeSet<String>>,
}

/// The layer of crates for development: they may use everything.
const DEV: u32 = 99;

impl Layers {
    fn read() -> Outcome<Self> {
        let text = fs::read_to_string(root().join("ARCHITECTURE.md"))
            .map_err(|e| format!("ARCHITECTURE.md: {e}"))?;
        let mut layers = Self { layer: BTreeMap::new(), beside: BTreeMap::new() };
        for line in text.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let (Some(layer), Some(names), Some(beside)) = (cells.first(), cells.get(1), cells.get(2)) else {
                continue;
            };
            let layer = match (*layer, layer.parse::<u32>()) {
                ("dev", _) => DEV,
                (_, Ok(layer)) => layer,
                _ => continue,
            };
            let code = |cell: &str| -> BTreeSet<String> {
                cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
            };
            for name in code(names) {
                layers.layer.insert(name.clone(), layer);
                layers.beside.insert(name, code(beside));
            }
        }
        Ok(layers)
    }

    fn check(&self, crates: &[Crate]) -> Vec<String> {
        let mut broken = Vec::new();
        for of in crates {
            let Some(&layer) = self.layer.get(&of.name) else {
                broken.push(format!("{}: not in ARCHITECTURE.md's layer table", of.name));
                continue;
            };
            for used in &of.uses {
                let lower = self.layer.get(used).is_some_and(|&below| below < layer);
                let named = self.beside.get(&of.name).is_some_and(|beside| beside.contains(used));
                if !lower && !named {
                    broken.push(format!("{} (layer {layer}) uses {used}, which is not below it", of.name));
                }
            }
        }
        let present: BTreeSet<&str> = crates.iter().map(|of| of.name.as_str()).collect();
        let absent = self.layer.keys().filter(|name| !present.contains(name.as_str()));
        broken.extend(absent.map(|name| format!("{name}: in the layer table, but there is no such crate")));
        broken
    }
}

type Sources = Vec<(PathBuf, String)>;

fn sources() -> Outcome<Sources> {
    let mut found = Vec::new();
    for folder in ["crates", "xtask"] {
        walk(&root().join(folder), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, found: &mut Sources) -> Outcome<()> {
    let error = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(error)?;
            found.push((path, text));
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default();
    name == "tests" || path.components().any(|part| part.as_os_str() == "tests")
}

fn module_docs(sources: &Sources) -> Vec<String> {
    let silent = sources.iter().filter(|(_, text)| !text.starts_with("//!"));
    silent.map(|(path, _)| format!("{}: does not open with `//!`", shown(path))).collect()
}

fn file_sizes(sources: &Sources) -> Vec<String> {
    let sizes: Vec<(&PathBuf, usize)> = sources
        .iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (path, code_of(text).lines().count()))
        .collect();
    let mut broken: Vec<String> = sizes
        .iter()
        .filter(|(_, lines)| *lines > FILE_MAX_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines, {FILE_MAX_LINES} at most", shown(path)))
        .collect();
    let large: Vec<_> =
        sizes.iter().filter(|(_, lines)| *lines > LARGE_LINES).map(|(path, _)| shown(path)).collect();
    if large.len() > LARGE_MAX_FILES {
        broken.push(format!("{} files have over {LARGE_LINES} lines: {}", large.len(), large.join(", ")));
    }
    broken
}

/// A file without the tests at its end.
fn code_of(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn purity(sources: &Sources, layers: &Layers, crates: &[Crate]) -> Vec<String> {
    let mut broken = Vec::new();
    for of in
        crates.iter().filter(|of| layers.layer.get(&of.name).is_some_and(|&layer| layer <= PURE_MAX_LAYER))
    {
        let own = of.folder.join("src");
        for (path, text) in sources.iter().filter(|(path, _)| path.starts_with(&own) && !is_test(path)) {
            for (number, line) in code_of(text).lines().enumerate() {
                let line = line.split("//").next().unwrap_or_default();
                for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                    broken.push(format!("{}:{}: a pure crate names `{word}`", shown(path), number + 1));
                }
            }
        }
    }
    broken
}

/// What a page names as a place of this repository must be there.
fn named_places() -> Outcome<Vec<String>> {
    let (_, pages) = kept(command("git").args(["ls-files", "*.md"]))?;
    let mut broken = Vec::new();
    for page in pages.lines() {
        let text = fs::read_to_string(root().join(page)).map_err(|error| format!("{page}: {error}"))?;
        let gone = places(&text).filter(|place| !root().join(place).exists());
        broken.extend(gone.map(|place| format!("{page}: there is no {place}")));
    }
    Ok(broken)
}

/// The paths among a page's code spans. `NAME` and `YYYY` stand for what a reader puts in.
fn places(text: &str) -> impl Iterator<Item = &str> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter(|span| {
        let top = ["crates/", "docs/", "tests/", "xtask/"].iter().any(|folder| span.starts_with(folder));
        top && !span.contains(char::is_whitespace) && !span.contains("NAME") && !span.contains("YYYY")
    })
}

/// Nothing committed may rely on one machine's folders.
fn machine_paths() -> Outcome<Vec<String>> {
    let places = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let (_, text) = kept(
        command("git")
            .args(["grep", "-n", "-I", "-F"])
            .args(places.iter().flat_map(|place| ["-e", place.as_str()])),
    )?;
    let lines = text.lines().filter(|line| {
        // Inside a URL or a longer path it names no folder of a machine.
        let opens = |before: &str| {
            before.ends_with(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '=' | '('))
        };
        places
            .iter()
            .any(|place| line.match_indices(place.as_str()).any(|(at, _)| line.get(..at).is_some_and(opens)))
    });
    Ok(lines
        .map(|line| format!("a machine's own path: {}", line.chars().take(160).collect::<String>()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn places_are_told_from_other_code() {
        let page =
            "`crates/api/src/x.rs` and `docs/NAME.md`, `tests/` `cargo xtask test` `crates/a b` `/tests/x`";
        assert_eq!(places(page).collect::<Vec<_>>(), ["crates/api/src/x.rs", "tests/"]);
    }
}
