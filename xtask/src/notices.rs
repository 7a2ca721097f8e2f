//! The licence notices of everything that is linked: each crate with its licence, then every text, once, with whose it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::linked::Crate;
use crate::run::{Outcome, command, kept};

/// How the names of files with licences and notices begin, in capitals.
const NAMES: [&str; 7] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE", "PATENTS"];
/// Endings of such files that hold text for people.
const ENDINGS: [&str; 6] = ["", "txt", "md", "mit", "apache", "bsd"];
/// How deep such files are looked for: what a crate brings of others lies a few folders down.
const DEPTH: usize = 4;

/// The notices, as text.
///
/// # Errors
/// A crate comes without a text, and names no licence whose text this repository has.
pub(crate) fn text(crates: &[Crate], at: &Path) -> Outcome<String> {
    let own = read(&at.join("LICENSE"))?;
    let mut list = String::new();
    let mut whose: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for of in crates.iter().filter(|of| of.in_binary && !of.ours) {
        let (name, version) = &of.id;
        let home = of.repository.as_deref().unwrap_or_default();
        list.push_str(&format!("  {name} {version}: {}  {home}\n", of.licence));
        let mut texts = texts(&of.folder)?;
        if texts.is_empty() {
            if !apache(&of.licence) {
                return Err(format!("{name} {version} ({}) comes without a text of its licence", of.licence));
            }
            texts.push((PathBuf::from("Apache-2.0"), own.clone()));
        }
        for (file, text) in texts {
            whose.entry(text).or_default().insert(format!("{name} {version} ({})", file.display()));
        }
    }
    let mut all = format!(
        "Bascule is licensed under the Apache License, Version 2.0. The binary contains code of others, under the licences \
         listed here.\n\n{list}\nThe Rust standard library: MIT OR Apache-2.0, and what it contains of others (see the page \
         beside this file).\n"
    );
    // In the order of those who bring them.
    let mut parts: Vec<(Vec<String>, String)> =
        whose.into_iter().map(|(text, whose)| (whose.into_iter().collect(), text)).collect();
    parts.sort();
    for (whose, text) in parts {
        let line = "-".repeat(80);
        all.push_str(&format!("\n{line}\n{}\n{line}\n\n{}\n", whose.join("\n"), text.trim_end()));
    }
    Ok(all)
}

/// Whether the text of the Apache License, Version 2.0, fulfils a licence.
fn apache(licence: &str) -> bool {
    spdx::Expression::parse(licence)
        .is_ok_and(|licence| licence.evaluate(|one| one.to_string() == "Apache-2.0"))
}

fn read(path: &Path) -> Outcome<String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
}

/// The files of a package that hold its licences and notices, in order.
fn texts(folder: &Path) -> Outcome<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    look(folder, folder, DEPTH, &mut found)?;
    found.sort();
    Ok(found)
}

fn look(top: &Path, folder: &Path, depth: usize, found: &mut Vec<(PathBuf, String)>) -> Outcome<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if kind.is_dir() && depth > 1 {
            look(top, &path, depth - 1, found)?;
        } else if kind.is_file() && is_notice(&path) {
            let name = path.strip_prefix(top).unwrap_or(&path).to_owned();
            found.push((name, read(&path)?));
        }
    }
    Ok(())
}

fn is_notice(path: &Path) -> bool {
    let upper = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().to_uppercase();
    let (name, ending) = (upper(path.file_name()), upper(path.extension()).to_lowercase());
    // `LICENSE-2.0` has no ending that says anything.
    let known = ENDINGS.contains(&ending.as_str()) || ending.chars().all(|c| c.is_ascii_digit());
    known && NAMES.iter().any(|begin| name.starts_with(begin))
}

/// The compiler's own page about its standard library.
pub(crate) fn standard_library() -> Outcome<Vec<u8>> {
    let (_, sysroot) = kept(command("rustc").args(["--print", "sysroot"]))?;
    let page = Path::new(sysroot.trim()).join("share/doc/rust/COPYRIGHT-library.html");
    fs::read(&page).map_err(|error| format!("{}: {error}", page.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linked;
    use crate::run::root;

    #[test]
    fn every_linked_crate_is_named_with_a_text() {
        let crates = linked::own();
        let text = text(crates, &root()).unwrap();
        for of in crates.iter().filter(|of| of.in_binary && !of.ours) {
            let (name, version) = &of.id;
            assert!(text.contains(&format!("\n  {name} {version}: {}", of.licence)), "{name}");
            assert!(text.contains(&format!("\n{name} {version} (")), "{name} has no text");
        }
        // What the C library brings of others.
        assert!(text.matches("aws-lc").count() > 2);
        assert!(!text.contains("\n  proptest "));
    }

    #[test]
    fn a_licence_without_a_text_is_an_error() {
        let mut crates = linked::own().to_vec();
        let empty = root().join("xtask/src");
        crates.retain(|of| of.id.0 == "redb");
        crates[0].folder = empty;
        crates[0].licence = "MIT".to_owned();
        assert!(text(&crates, &root()).unwrap_err().contains("without a text"));
        crates[0].licence = "MIT OR Apache-2.0".to_owned();
        assert!(text(&crates, &root()).is_ok());
    }

    #[test]
    fn notices_are_told_from_source() {
        for (name, is) in [
            ("LICENSE", true),
            ("license-mit.txt", true),
            ("COPYING.md", true),
            ("LICENSE-2.0", true),
            ("license.rs", false),
            ("README", false),
            ("LICENSE-APACHE", true),
            ("notice.html", false),
        ] {
            assert_eq!(is_notice(Path::new(name)), is, "{name}");
        }
    }
}
