//! What a backup holds beside the records: files of the data directory that belong to the state and hold no open secret.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::private_file;
use crate::root_keys::ROOT_KEYS_FILE;

/// Kept by name. `users.toml` is not: the operator writes it, and its secrets are open.
const FILES: [&str; 1] = [ROOT_KEYS_FILE];

/// The files of a data directory, as a backup's attachment.
pub(super) fn taken(data_dir: &Path) -> Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in FILES {
        let path = data_dir.join(name);
        if path.exists() {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.insert(name, text);
        }
    }
    Ok(serde_json::to_vec(&files)?)
}

/// Writes them into a data directory that has none of them.
pub(super) fn put(data_dir: &Path, attachment: &[u8]) -> Result<()> {
    let files: BTreeMap<String, String> =
        serde_json::from_slice(attachment).context("what stands beside the records cannot be read")?;
    for (name, text) in &files {
        if !FILES.contains(&name.as_str()) {
            bail!("the backup holds a file {name:?}, which this version does not know");
        }
        private_file::write_for_owner(&data_dir.join(name), text)?;
    }
    Ok(())
}

/// The first of them that a data directory has.
pub(super) fn there(data_dir: &Path) -> Option<&'static str> {
    FILES.into_iter().find(|name| data_dir.join(name).exists())
}
