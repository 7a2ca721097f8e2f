//! `cargo xtask bench api`, `bench scale` and `bench sessions`: builds for release, brings what is measured beside it, writes the page.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host;
use crate::run::{Outcome, cargo, command, kept, root, shown, target_dir};

/// Measures the API beside moto's server. With `debug` the figures mean nothing: it shows that the measuring works.
pub(crate) fn api(debug: bool) -> Outcome<bool> {
    let missing = host::install(&[host::LAB]);
    if !missing.is_empty() {
        return Err(missing.join("\n"));
    }
    if !host::is_root() {
        return Err("the lab makes network namespaces and a TUN device: run it as root".to_owned());
    }
    let Some(folder) = built(debug)? else { return Ok(false) };
    let mut bench = program(&folder, "api", debug)?;
    bench.arg("--moto").arg(host::moto()?);
    if debug {
        bench.args(["--rounds", "1", "--seconds", "1", "--effects", "20"]);
    }
    shown(bench.env("BASCULE_BIN", folder.join("bascule")))
}

/// Measures a large state beside a small one. With `debug`: a smaller one, to see that the measuring works.
pub(crate) fn scale(debug: bool) -> Outcome<bool> {
    let Some(folder) = built(debug)? else { return Ok(false) };
    let mut bench = program(&folder, "scale", debug)?;
    if debug {
        bench.args(["--large", "100", "--calls", "50", "--changes", "50", "--debug", "true"]);
    }
    shown(&mut bench)
}

/// Clients that are connected while rules change.
const CLIENTS: &str = "500";

/// Measures the change of one rule while many clients are connected.
pub(crate) fn sessions(debug: bool) -> Outcome<bool> {
    let missing = host::install(&[host::LAB]);
    if !missing.is_empty() {
        return Err(missing.join("\n"));
    }
    if !host::is_root() {
        return Err("the lab makes network namespaces and a TUN device: run it as root".to_owned());
    }
    let Some(folder) = built(debug)? else { return Ok(false) };
    let mut bench = command(folder.join("examples/scale_bench"));
    bench.arg("--bascule").arg(folder.join("bascule")).arg("--out").arg(page("sessions", debug)?);
    bench.args(["--clients", CLIENTS]);
    if debug {
        bench.args(["--changes", "50", "--debug", "true"]);
    }
    shown(&mut bench)
}

/// Builds everything; where it lies, or `None` if it does not build.
fn built(debug: bool) -> Outcome<Option<PathBuf>> {
    println!("building");
    let mut build = cargo();
    build.args(["build", "--quiet", "--workspace", "--bins", "--examples"]);
    let folder = if debug {
        target_dir().join("debug")
    } else {
        build.arg("--release");
        target_dir().join("release")
    };
    Ok(shown(&mut build)?.then_some(folder))
}

/// The measuring program, told what to measure and which page to write.
fn program(folder: &Path, what: &str, debug: bool) -> Outcome<Command> {
    let mut bench = command(folder.join(format!("examples/{what}_bench")));
    bench.arg("--bascule").arg(folder.join("bascule")).arg("--out").arg(page(what, debug)?);
    Ok(bench)
}

/// Where the figures go: `docs/bench/WHAT-YYYY-MM-DD.md`; those of a debug build to where cargo builds.
fn page(what: &str, debug: bool) -> Outcome<PathBuf> {
    let (ok, date) = kept(command("date").arg("+%F"))?;
    if !ok {
        return Err(format!("date: {date}"));
    }
    let name = format!("{what}-{}.md", date.trim());
    let folder = if debug { target_dir().join("bench") } else { root().join("docs/bench") };
    Ok(folder.join(name))
}
