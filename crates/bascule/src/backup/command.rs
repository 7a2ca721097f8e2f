//! `bascule backup` and `bascule restore`.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

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
    let path = &arguments.file;
    let backup = private_file::fill(path, |file| {
        taken(&data_dir, file.try_clone()?)?;
        file.rewind()?;
        Ok(store::verify_backup(file)?)
    })
    .with_context(|| format!("{} is not written", path.display()))?;
    out!("{}: {} records of revision {}", path.display(), backup.records, backup.revision);
    Ok(())
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
    private_file::give_to_owner(&File::open(&store)?, &data_dir)?;
    out!("{}: {} records of revision {}", data_dir.display(), backup.records, backup.revision);
    if !master_key.exists() {
        out!(
            "put the master key that sealed its secrets to {}, or name it by master-key-file",
            master_key.display()
        );
    }
    Ok(())
}
