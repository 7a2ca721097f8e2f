//! `bascule backup` and `bascule restore`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use store::{RedbStore, StoreError};

use super::{beside, socket};
use crate::cli::Backup;
use crate::serve::STORE_FILE;
use crate::{Usage, config, private_file};

const STREAM: &str = "-";

pub(crate) fn back_up(arguments: Backup) -> Result<()> {
    let (data_dir, _) = config::place(arguments.config.as_deref(), arguments.data_dir, None)?;
    if !data_dir.join(STORE_FILE).exists() {
        return Err(Usage(format!("data-dir = {}: there is no store", data_dir.display())).into());
    }
    if arguments.file.as_os_str() == STREAM {
        // Who reads it checks it: a backup that is cut off cannot be restored.
        return taken(&data_dir, io::stdout());
    }
    let file = &arguments.file;
    let mut name = OsString::from(file.file_name().context("the file has no name")?);
    name.push(".new");
    let draft = file.with_file_name(name);
    let whole = || -> Result<store::Backup> {
        let _ = std::fs::remove_file(&draft);
        let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        taken(&data_dir, out.try_clone()?)?;
        let backup = store::verify_backup(File::open(&draft)?)?;
        out.sync_all()?;
        std::fs::rename(&draft, file)?;
        Ok(backup)
    };
    match whole() {
        Ok(backup) => {
            println!("{}: {} records of revision {}", file.display(), backup.records, backup.revision);
            Ok(())
        }
        Err(error) => {
            // The first error says what is wrong; a draft left behind harms nobody.
            let _ = std::fs::remove_file(&draft);
            Err(error).with_context(|| format!("{} is not written", file.display()))
        }
    }
}

/// Writes the backup of a data directory, the server's if one runs there.
fn taken(data_dir: &Path, mut to: impl Write + Send + 'static) -> Result<()> {
    if let Some(mut from) = socket::ask(data_dir)? {
        io::copy(&mut from, &mut to)?;
        return Ok(to.flush()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let store = RedbStore::open(data_dir.join(STORE_FILE)).await?;
        store.backup(beside::taken(data_dir)?, to).await?;
        Ok(())
    })
}

pub(crate) fn restore(arguments: Backup) -> Result<()> {
    let (data_dir, master_key) = config::place(arguments.config.as_deref(), arguments.data_dir, None)?;
    let from: Box<dyn Read + Send> = if arguments.file.as_os_str() == STREAM {
        Box::new(io::stdin())
    } else {
        let opened = File::open(&arguments.file);
        Box::new(opened.map_err(|error| Usage(format!("{}: {error}", arguments.file.display())))?)
    };
    private_file::folder(&data_dir)?;
    if let Some(name) = beside::there(&data_dir) {
        bail!("{} is there already: nothing is restored over it", data_dir.join(name).display());
    }
    let store = data_dir.join(STORE_FILE);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (backup, attachment) =
        runtime.block_on(RedbStore::restore(&store, from)).map_err(|error| match error {
            StoreError::NotABackup(_) => {
                anyhow::Error::from(error).context(arguments.file.display().to_string())
            }
            error => error.into(),
        })?;
    beside::put(&data_dir, &attachment)?;
    owned(&data_dir, &store)?;
    println!("{}: {} records of revision {}", data_dir.display(), backup.records, backup.revision);
    if !master_key.exists() {
        println!(
            "put the master key that sealed its secrets to {}, or name it by master-key-file",
            master_key.display()
        );
    }
    Ok(())
}

/// The superuser restores for the folder's owner.
fn owned(data_dir: &Path, store: &PathBuf) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        let folder = std::fs::metadata(data_dir)?;
        chown(store, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}
