//! What shells and `man` know of the command line, made from the command line itself.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

const PROGRAM: &str = "bascule";

/// Prints a shell's completions.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut text);
    output::text(&text);
    Ok(())
}

/// Writes `bascule.1` and a page for each command under it.
pub(crate) fn pages(folder: &Path) -> Result<()> {
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command().version(env!("CARGO_PKG_VERSION")), folder));
    written.with_context(|| format!("cannot write to {}", folder.display()))
}
