//! `cargo xtask release`: what others install, built from the last commit alone: binary, Debian package, bill of materials,
//! licence notices, checksums. The same commit, compiler and C library give the same bytes in whichever folder; with
//! `--check` it is built in two and compared.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::package::{self, NOTICES, STANDARD_LIBRARY};
use crate::run::{Outcome, cargo, command, kept, root, shown, target_dir};
use crate::sbom::{self, Subject};
use crate::{linked, notices};

/// The checksums' file.
const SUMS: &str = "SHA256SUMS";

/// What is built: the last commit.
struct Commit {
    id: String,
    /// Seconds since 1970.
    seconds: String,
    /// The same for people and documents.
    at: String,
}

/// Builds into `target/dist`.
pub(crate) fn run() -> Outcome<bool> {
    let (commit, dist) = (Commit::last()?, target_dir().join("dist"));
    build(&commit, &target_dir().join("release-build"), &dist)?;
    println!("{}:", dist.display());
    print!("{}", read(&dist.join(SUMS))?);
    Ok(true)
}

/// Builds twice, in folders of different names and depths, and compares the checksums of everything.
pub(crate) fn check() -> Outcome<bool> {
    let (commit, dist) = (Commit::last()?, target_dir().join("dist"));
    build(&commit, &target_dir().join("release-build"), &dist)?;
    let elsewhere = target_dir().join("once-more/in/another/folder");
    build(&commit, &elsewhere.join("build"), &elsewhere.join("dist"))?;
    let (one, other) = (read(&dist.join(SUMS))?, read(&elsewhere.join("dist").join(SUMS))?);
    if one == other {
        fs::remove_dir_all(target_dir().join("once-more")).map_err(|error| error.to_string())?;
        print!("commit {} built twice, the same:\n{one}", commit.id);
        return Ok(true);
    }
    println!("commit {} built twice, and not the same:\n{one}\n{other}", commit.id);
    Ok(false)
}

impl Commit {
    fn last() -> Outcome<Self> {
        let log = |format: &str| -> Outcome<String> {
            let mut git = command("git");
            git.env("TZ", "UTC0").args(["log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", format]);
            match kept(&mut git)? {
                (true, text) => Ok(text.trim().to_owned()),
                (false, text) => Err(format!("git log: {text}")),
            }
        };
        let (_, changed) = kept(command("git").args(["status", "--porcelain"]))?;
        if !changed.trim().is_empty() {
            println!("what is not committed is not in the release:\n{}", changed.trim_end());
        }
        Ok(Self { id: log("--format=%H")?, seconds: log("--format=%ct")?, at: log("--format=%cd")? })
    }
}

/// Builds in the folder `at`, which is removed afterwards; the results go to `dist`.
fn build(commit: &Commit, at: &Path, dist: &Path) -> Outcome<()> {
    for folder in [at, dist] {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    println!("building commit {} in {}", commit.id, at.display());
    let source = at.join("src");
    export(commit, at, &source)?;
    let target = source.join("target");
    let remapped = remapped(&source)?;
    let mut build = clean(cargo(), commit);
    build.current_dir(&source).args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "bascule",
        "--bin",
        "bascule",
    ]);
    build.env("CARGO_TARGET_DIR", &target);
    // Paths of this machine stand neither in messages of panics nor in what C puts into its own.
    let flags: Vec<String> =
        remapped.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")).collect();
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let flags: Vec<String> =
        remapped.iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}")).collect();
    build.env("CFLAGS", flags.join(" "));
    if !shown(&mut build)? {
        return Err("the release does not build".to_owned());
    }
    results(commit, &source, &target, dist)?;
    fs::remove_dir_all(at).map_err(|error| format!("{}: {error}", at.display()))
}

/// The commit's files, and nothing else.
fn export(commit: &Commit, at: &Path, source: &Path) -> Outcome<()> {
    let archive = at.join("src.tar");
    fs::create_dir_all(source).map_err(|error| format!("{}: {error}", source.display()))?;
    let mut git = command("git");
    git.args(["archive", "--format=tar", "--output"]).arg(&archive).arg(&commit.id);
    let mut tar = command("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(source);
    let mut fetch = clean(cargo(), commit);
    fetch.current_dir(source).args(["fetch", "--quiet", "--locked"]);
    for step in [&mut git, &mut tar, &mut fetch] {
        if !shown(step)? {
            return Err(format!("the commit could not be laid out in {}", source.display()));
        }
    }
    Ok(())
}

/// A command that does not see what this machine or person sets for builds.
fn clean(mut command: Command, commit: &Commit) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let told = ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_PKG_"];
        let flags = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS"];
        if flags.contains(&&*text) || told.iter().any(|begin| text.starts_with(begin)) {
            command.env_remove(name);
        }
    }
    command.env("SOURCE_DATE_EPOCH", &commit.seconds).env("TZ", "UTC0").env("LC_ALL", "C.UTF-8");
    command
}

/// Folders of this machine, and what stands for them in the binary.
fn remapped(source: &Path) -> Outcome<Vec<(String, &'static str)>> {
    let mut found = vec![(source.display().to_string(), "bascule")];
    let registries = cargo_home()?.join("registry/src");
    let entries = fs::read_dir(&registries).map_err(|error| format!("{}: {error}", registries.display()))?;
    for entry in entries.flatten() {
        found.push((entry.path().display().to_string(), "registry"));
    }
    found.sort();
    Ok(found)
}

fn cargo_home() -> Outcome<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    set("CARGO_HOME")
        .or_else(|| Some(set("HOME")?.join(".cargo")))
        .ok_or_else(|| "neither CARGO_HOME nor HOME is set".to_owned())
}

fn results(commit: &Commit, source: &Path, target: &Path, dist: &Path) -> Outcome<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", dist.display());
    let (host, compiler) = linked::compiler()?;
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("bascule-{version}-{host}");
    let binary = target.join("release/bascule");
    let foreign = named_in(&binary, source)?;
    if !foreign.is_empty() {
        return Err(format!("the binary names folders of this machine: {}", foreign.join(", ")));
    }
    let crates = linked::crates(source)?;
    let refused = linked::not_allowed(source, &crates)?;
    if !refused.is_empty() {
        return Err(refused.join("\n"));
    }
    fs::copy(&binary, dist.join(&name)).map_err(failed)?;
    let subject = Subject { at: &commit.at, commit: &commit.id, compiler: &compiler };
    let bill = sbom::document(&crates, &subject)?;
    fs::write(dist.join(format!("{name}.cdx.json")), bill).map_err(failed)?;
    fs::write(dist.join(NOTICES), notices::text(&crates, source)?).map_err(failed)?;
    fs::write(dist.join(STANDARD_LIBRARY), notices::standard_library()?).map_err(failed)?;
    if !package::package(source, target, "release", dist, Some(&commit.seconds))? {
        return Err("the package was not made".to_owned());
    }
    sums(dist)
}

/// Which folders of this machine a file names.
fn named_in(file: &Path, source: &Path) -> Outcome<Vec<String>> {
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.components().count() > 1);
    let places = [Some(source.to_owned()), Some(root()), Some(cargo_home()?), home];
    let mut named = Vec::new();
    for place in places.into_iter().flatten() {
        // With what follows: a folder's name alone may be a word.
        let place = format!("{}/", place.display());
        if bytes.windows(place.len()).any(|window| window == place.as_bytes()) {
            named.push(place);
        }
    }
    Ok(named)
}

/// `SHA256SUMS` of a folder's files, as `sha256sum --check` reads it.
fn sums(folder: &Path) -> Outcome<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(failed)?.collect();
    let mut names: Vec<_> = entries.map_err(failed)?.into_iter().map(|entry| entry.file_name()).collect();
    names.sort();
    let (ok, text) = kept(command("sha256sum").current_dir(folder).arg(OsStr::new("--")).args(&names))?;
    if !ok {
        return Err(format!("sha256sum: {text}"));
    }
    fs::write(folder.join(SUMS), text).map_err(failed)
}

fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_names_its_commit_and_no_folder_of_the_machine() {
        let commit = Commit::last().unwrap();
        assert_eq!(commit.id.len(), 40);
        assert!(commit.seconds.parse::<u64>().unwrap() > 1_700_000_000);
        assert!(commit.at.ends_with('Z') && commit.at.len() == 20, "{}", commit.at);
        let file = target_dir().join(format!("named-{}", std::process::id()));
        fs::write(&file, format!("x{}/crates/y", root().display())).unwrap();
        let named = named_in(&file, Path::new("/somewhere/else")).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(named.contains(&format!("{}/", root().display())), "{named:?}");
        assert!(!named.iter().any(|place| place.contains("somewhere")), "{named:?}");
    }

    #[test]
    fn what_a_person_sets_does_not_reach_the_build() {
        let commit = Commit { id: String::new(), seconds: "7".to_owned(), at: String::new() };
        let command = clean(Command::new("true"), &commit);
        let told: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        for name in ["SOURCE_DATE_EPOCH", "TZ", "LC_ALL"] {
            assert!(told.iter().any(|own| own == name), "{name}");
        }
    }
}
