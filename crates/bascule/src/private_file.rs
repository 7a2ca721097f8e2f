//! Files that only their owner may read, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use anyhow::{Context, Result};

/// Makes a folder that only its owner may enter, if it is not there.
pub(crate) fn folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Writes a file with mode 0600 and makes it last, replacing what was there in one step.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    with_mode(path, text, 0o600)
}

/// The same for a file of a folder that may be another user's: the superuser gives the file to the folder's owner, so that
/// a server that runs as that user can read what a command of the superuser has written.
pub(crate) fn write_for_owner(path: &Path, text: &str) -> Result<()> {
    write_with(path, text, 0o600, true)
}

/// The same for a file that everyone may read.
pub(crate) fn write_public(path: &Path, text: &str) -> Result<()> {
    with_mode(path, text, 0o644)
}

/// Fills a file with mode 0600 and gives it its name once it is whole: if `fill` fails, what was there stays.
pub(crate) fn fill<T>(path: &Path, fill: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    fill_with(path, 0o600, false, fill)
}

/// The superuser gives a file to the owner of the folder it stands in.
pub(crate) fn give_to_owner(file: &File, folder: &Path) -> std::io::Result<()> {
    if rustix::process::geteuid().is_root() {
        let folder = fs::metadata(folder)?;
        fchown(file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

fn with_mode(path: &Path, text: &str, mode: u32) -> Result<()> {
    write_with(path, text, mode, false)
}

fn write_with(path: &Path, text: &str, mode: u32, for_owner: bool) -> Result<()> {
    fill_with(path, mode, for_owner, |file| Ok(file.write_all(text.as_bytes())?))
}

fn fill_with<T>(
    path: &Path,
    mode: u32,
    for_owner: bool,
    fill: impl FnOnce(&mut File) -> Result<T>,
) -> Result<T> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let whole = || -> Result<T> {
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&new)?;
        let filled = fill(&mut file)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if for_owner {
            give_to_owner(&file, parent)?;
        }
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(parent)?.sync_all()?;
        Ok(filled)
    };
    whole()
        .inspect_err(|_| {
            // The first error says what is wrong; a draft left behind harms nobody.
            let _ = fs::remove_file(&new);
        })
        .with_context(|| format!("cannot write {}", path.display()))
}
