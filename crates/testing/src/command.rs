//! Commands of the program, run to their end.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The program: what was named, else `BASCULE_BIN`, else `bascule` on the path.
pub(crate) fn binary(given: Option<&Path>) -> Result<PathBuf, Error> {
    let named = given.map(Path::to_owned).or_else(|| std::env::var_os("BASCULE_BIN").map(PathBuf::from));
    if let Some(named) = named {
        return Ok(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("bascule")).find(|file| file.is_file());
    found.ok_or(Error::NoBinary)
}

/// The program, with nothing of the caller's own settings for it or for AWS.
pub(crate) fn program(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    let own = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("BASCULE_") || name.starts_with("AWS_")
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| own(name)) {
        command.env_remove(name);
    }
    command
}

/// Runs a command; what it wrote to its standard output.
pub(crate) fn run(mut command: Command) -> Result<Vec<u8>, Error> {
    let output =
        command.output().map_err(|error| Error::NotStarted(PathBuf::from(command.get_program()), error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words: Vec<OsString> = command.get_args().map(OsStr::to_owned).collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(Error::Failed {
        command: words.join(OsStr::new(" ")).to_string_lossy().into_owned(),
        said: format!("{}{}", text(&output.stdout), text(&output.stderr)).trim_end().to_owned(),
    })
}
