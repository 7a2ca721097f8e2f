//! Files and directories for the owner alone, created whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permission bits of group and others.
pub(crate) const OTHERS: u32 = 0o077;

/// The directory a file stands in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates the directory, mode 0700, and those above it as needed. One that is there already is left as it is.
pub(crate) fn ensure_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    sync_directory(directory_of(directory))
}

/// Makes the directory's entries durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A new file beside `path`, mode 0600, under a random name: processes that share the directory may share a process id.
pub(crate) fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let mut random = [0_u8; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(format!(".{:016x}.new", u64::from_le_bytes(random)));
    let draft = directory_of(path).join(draft);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&draft)?;
    // The mode above is cut by the umask, never widened; this makes it exact.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok((draft, file))
}

/// Gives a finished draft its name, durably, unless that name is taken: then whoever was first wins and the draft goes.
pub(crate) fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(draft, path) {
        Ok(()) => std::fs::remove_file(draft)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => std::fs::remove_file(draft)?,
        // A file system without hard links.
        Err(_) => std::fs::rename(draft, path)?,
    }
    sync_directory(directory_of(path))
}

/// Creates a file with this content, whole and durable, unless it exists.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    ensure_directory(directory_of(path))?;
    let (draft, mut file) = create_beside(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| publish(&draft, path));
    if written.is_err() {
        // The first error says what is wrong; a draft left behind harms nobody.
        let _ = std::fs::remove_file(&draft);
    }
    written
}
