//! Running other programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A chore's outcome; the error is one line for a person.
pub(crate) type Outcome<T> = Result<T, String>;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command that runs in the repository's root.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end with its output shown; says whether it succeeded.
pub(crate) fn shown(command: &mut Command) -> Outcome<bool> {
    command
        .stdin(Stdio::null())
        .status()
        .map(|status| status.success())
        .map_err(|error| cannot(command, &error))
}

/// Runs a command to its end, keeping what it prints (both streams, in that order); says whether it succeeded.
pub(crate) fn kept(command: &mut Command) -> Outcome<(bool, String)> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot(command, &error))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

fn cannot(command: &Command, error: &std::io::Error) -> String {
    format!("cannot run {}: {error}", command.get_program().to_string_lossy())
}
