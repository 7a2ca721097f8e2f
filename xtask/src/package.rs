//! `cargo xtask deb`: the Debian package, by cargo-deb: binary, unit, manual pages and completions.

use std::fs;
use std::path::Path;

use crate::host;
use crate::run::{Outcome, cargo, command, kept, root, shown, target_dir};

/// Shells, and the names under which distributions look for their completions.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "bascule.bash"), ("zsh", "_bascule"), ("fish", "bascule.fish")];

/// Builds the package; with `debug` of the debug build, to see that packaging works.
pub(crate) fn deb(debug: bool) -> Outcome<bool> {
    println!("building");
    let mut build = cargo();
    // The same selection as everywhere, so that nothing is built twice.
    build.args(["build", "--quiet", "--workspace", "--bins", "--examples"]);
    if !debug {
        build.arg("--release");
    }
    if !shown(&mut build)? {
        return Ok(false);
    }
    let folder = target_dir().join(if debug { "debug" } else { "release" });
    generated(&folder.join("bascule"), &root().join("target/package"))?;
    let mut package = command(host::cargo_deb()?);
    // Called by name it wants cargo's own argument first.
    package.args([
        "deb",
        "--no-build",
        "--package",
        "bascule",
        "--profile",
        if debug { "dev" } else { "release" },
    ]);
    shown(package.env("CARGO_TARGET_DIR", target_dir()))
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
