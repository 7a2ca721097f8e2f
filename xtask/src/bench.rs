//! `cargo xtask bench api`: builds for release, brings moto's server, measures both, writes the page.

use std::path::{Path, PathBuf};

use crate::host;
use crate::run::{Outcome, cargo, command, kept, root, shown, target_dir};

/// Measures the API. With `debug` the figures mean nothing: it shows that the measuring works.
pub(crate) fn api(debug: bool) -> Outcome<bool> {
    let missing = host::install(&[host::LAB]);
    if !missing.is_empty() {
        return Err(missing.join("\n"));
    }
    if !host::is_root() {
        return Err("the lab makes network namespaces and a TUN device: run it as root".to_owned());
    }
    println!("building");
    let mut build = cargo();
    build.args(["build", "--quiet", "--workspace", "--bins", "--examples"]);
    let folder = if debug {
        target_dir().join("debug")
    } else {
        build.arg("--release");
        target_dir().join("release")
    };
    if !shown(&mut build)? {
        return Ok(false);
    }
    let moto = host::moto()?;
    let out = page(debug)?;
    let mut bench = command(folder.join("examples/api_bench"));
    bench.arg("--bascule").arg(folder.join("bascule")).arg("--moto").arg(moto).arg("--out").arg(&out);
    if debug {
        bench.args(["--rounds", "1", "--seconds", "1", "--effects", "20"]);
    }
    shown(bench.env("BASCULE_BIN", folder.join("bascule")))
}

/// Where the figures go: `docs/bench/api-YYYY-MM-DD.md`; those of a debug build to where cargo builds.
fn page(debug: bool) -> Outcome<PathBuf> {
    let (ok, date) = kept(command("date").arg("+%F"))?;
    if !ok {
        return Err(format!("date: {date}"));
    }
    let name = format!("api-{}.md", date.trim());
    let folder = if debug { target_dir().join("bench") } else { root().join("docs/bench") };
    Ok(Path::new(&folder).join(name))
}
