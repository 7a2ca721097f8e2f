//! `cargo xtask deb`: the Debian package, by cargo-deb: binary, unit, manual pages, completions and notices.

use std::fs;
use std::path::{Path, PathBuf};

use crate::host;
use crate::run::{Outcome, cargo, command, kept, root, shown, target_dir};
use crate::test::PROGRAMS;
use crate::{linked, notices};

/// The notices' file, and the one about the standard library, in the package and beside a release.
pub(crate) const NOTICES: &str = "NOTICES";
pub(crate) const STANDARD_LIBRARY: &str = "NOTICES-rust-std.html";

/// The profile of the debug build.
const DEBUG: &str = "dev";

/// Shells, and the names under which distributions look for their completions.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "bascule.bash"), ("zsh", "_bascule"), ("fish", "bascule.fish")];

/// Makes the package of the debug build as it stands, for tests; its file.
pub(crate) fn built() -> Outcome<PathBuf> {
    let to = target_dir().join("debian/debug");
    if to.exists() {
        fs::remove_dir_all(&to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    if !package(&root(), &target_dir(), DEBUG, &to, None)? {
        return Err("cargo-deb made no package".to_owned());
    }
    let mut made = fs::read_dir(&to).into_iter().flatten().flatten().map(|entry| entry.path());
    made.find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .ok_or_else(|| format!("there is no package in {}", to.display()))
}

/// Builds the package; with `debug` of the debug build, to see that packaging works.
pub(crate) fn deb(debug: bool) -> Outcome<bool> {
    println!("building");
    let mut build = cargo();
    // The same selection as for tests, so that nothing is built twice.
    build.args(PROGRAMS);
    if !debug {
        build.arg("--release");
    }
    if !shown(&mut build)? {
        return Ok(false);
    }
    let profile = if debug { DEBUG } else { "release" };
    package(&root(), &target_dir(), profile, &target_dir().join("debian"), None)
}

/// Makes the package of the workspace in `at` from what was built into `target` with a profile, in the folder `to`. Its
/// files are of the time `seconds` since 1970, if that is given.
pub(crate) fn package(
    at: &Path,
    target: &Path,
    profile: &str,
    to: &Path,
    seconds: Option<&str>,
) -> Outcome<bool> {
    let for_tests = profile == DEBUG;
    let built = target.join(if for_tests { "debug" } else { profile });
    let folder = at.join("target/package");
    generated(&built.join("bascule"), &folder)?;
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::write(folder.join(NOTICES), notices::text(&linked::crates(at)?, at)?).map_err(failed)?;
    fs::write(folder.join(STANDARD_LIBRARY), notices::standard_library()?).map_err(failed)?;
    let mut package = command(host::cargo_deb(for_tests)?);
    // Called by name it wants cargo's own argument first.
    package.current_dir(at).args(["deb", "--no-build", "--package", "bascule", "--profile", profile]);
    // The release's symbols are gone already; those of the debug build are most of it.
    package.args(if for_tests { &["--strip", "--fast"][..] } else { &["--no-strip"] });
    fs::create_dir_all(to).map_err(failed)?;
    if let Some(seconds) = seconds {
        package.env("SOURCE_DATE_EPOCH", seconds);
    }
    shown(package.arg("--output").arg(to).env("CARGO_TARGET_DIR", target))
}

/// What the binary says of itself, as files.
fn generated(bascule: &Path, to: &Path) -> Outcome<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", to.display());
    if to.exists() {
        fs::remove_dir_all(to).map_err(failed)?;
    }
    fs::create_dir_all(to).map_err(failed)?;
    if !shown(command(bascule).arg("man").arg(to.join("man")))? {
        return Err("no manual pages were made".to_owned());
    }
    for (shell, name) in COMPLETIONS {
        let (ok, text) = kept(command(bascule).args(["completions", shell]))?;
        if !ok {
            return Err(format!("no completions for {shell}: {text}"));
        }
        fs::write(to.join(name), text).map_err(failed)?;
    }
    Ok(())
}
