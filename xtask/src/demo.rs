//! `cargo xtask demo`: installs, builds, and hands over to the demonstration.

use crate::host;
use crate::run::{Outcome, cargo, command, shown, target_dir};

pub(crate) fn run() -> Outcome<bool> {
    // As an ordinary user nothing is installed, and nothing needs to be.
    if host::is_root() {
        let missing = host::install(&[host::LAB]);
        if !missing.is_empty() {
            return Err(missing.join("\n"));
        }
    }
    println!("building");
    if !shown(cargo().args(["build", "--quiet", "--package", "bascule", "--package", "demo"]))? {
        return Ok(false);
    }
    let binaries = target_dir().join("debug");
    shown(command(binaries.join("demo")).env("BASCULE_BIN", binaries.join("bascule")))
}
