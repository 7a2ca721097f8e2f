//! The root's access keys of a data directory. `root-keys.toml` holds them, each secret sealed with the master key; `serve`
//! follows that file, `bascule keys` writes it. `credentials` beside it holds the newest key that is active, in the AWS
//! shared-credentials format.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use api::FileIdentities;
use aws_auth::Secret;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::MasterKey;
use zeroize::Zeroizing;

use crate::credentials::{self, AccessKey, CREDENTIALS_FILE};
use crate::{Usage, private_file};

/// The keys' file in the data directory.
pub(crate) const ROOT_KEYS_FILE: &str = "root-keys.toml";
/// Most keys there are at once: one in use and one that comes or goes, as AWS has it.
const MAX_KEYS: usize = 2;
/// Largest file read, bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// How often `serve` looks at the file: what changed is in force within a second.
const LOOK: Duration = Duration::from_millis(500);
const HEADER: &str =
    "# The root's access keys, each secret sealed with the master key. Written by `bascule keys`.\n\n";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    #[serde(default)]
    key: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    access_key_id: String,
    created_at: String,
    active: bool,
    sealed_secret: String,
}

/// A key of the root.
pub(crate) struct RootKey {
    /// The key.
    pub key: AccessKey,
    /// When it was made, UTC.
    pub created_at: String,
    /// Whether it is accepted.
    pub active: bool,
}

/// The keys of a data directory, oldest first; nobody else changes them as long as this lives.
pub(crate) struct RootKeys<'m> {
    data_dir: PathBuf,
    master_key: &'m MasterKey,
    keys: Vec<RootKey>,
    _lock: File,
}

impl<'m> RootKeys<'m> {
    /// Of a data directory that has been started once.
    pub(crate) fn open(data_dir: &Path, master_key: &'m MasterKey) -> Result<Self> {
        let lock = lock(data_dir)?;
        let Some(keys) = read(data_dir, master_key)? else {
            bail!("{} holds no root key yet: the first `bascule serve` makes it", data_dir.display())
        };
        Ok(Self { data_dir: data_dir.to_owned(), master_key, keys, _lock: lock })
    }

    /// The same, and at the first start a key is made; then it is the environment's if that names one.
    pub(crate) fn open_or_make(data_dir: &Path, master_key: &'m MasterKey) -> Result<Self> {
        let lock = lock(data_dir)?;
        let found = read(data_dir, master_key)?;
        let made = found.is_none();
        let keys = match found {
            Some(keys) => keys,
            None => vec![RootKey { key: credentials::first(data_dir)?, created_at: now(), active: true }],
        };
        let opened = Self { data_dir: data_dir.to_owned(), master_key, keys, _lock: lock };
        let told = credentials::read(&data_dir.join(CREDENTIALS_FILE)).ok().map(|key| key.id);
        if made {
            opened.write()?;
        } else if !opened.active().any(|key| Some(&key.key.id) == told.as_ref()) {
            // The file is gone, or names a key that is not accepted.
            opened.tell()?;
        }
        Ok(opened)
    }

    /// Oldest first.
    pub(crate) fn keys(&self) -> &[RootKey] {
        &self.keys
    }

    fn active(&self) -> impl DoubleEndedIterator<Item = &RootKey> {
        self.keys.iter().filter(|key| key.active)
    }

    /// The key that stands in `credentials`.
    pub(crate) fn told(&self) -> Option<String> {
        credentials::read(&self.data_dir.join(CREDENTIALS_FILE)).ok().map(|key| key.id)
    }

    /// What `serve` accepts.
    pub(crate) fn accepted(&self) -> Vec<(String, Secret)> {
        accepted(&self.keys)
    }

    /// Makes a new key and says its id; a key that was switched off makes room for it.
    pub(crate) fn rotate(&mut self) -> Result<String> {
        if self.keys.len() >= MAX_KEYS {
            let Some(at) = self.keys.iter().position(|key| !key.active) else {
                let ids: Vec<&str> = self.keys.iter().map(|key| key.key.id.as_str()).collect();
                bail!("both {} are active: disable one of them first", ids.join(" and "))
            };
            self.keys.remove(at);
        }
        let key = credentials::fresh()?;
        let id = key.id.clone();
        self.keys.push(RootKey { key, created_at: now(), active: true });
        self.write()?;
        Ok(id)
    }

    /// Switches a key on or off. The last one that is on stays on.
    pub(crate) fn switch(&mut self, id: &str, active: bool) -> Result<()> {
        let others = self.active().filter(|key| key.key.id != id).count();
        let Some(key) = self.keys.iter_mut().find(|key| key.key.id == id) else {
            bail!("{id} is no root key of {}", self.data_dir.display())
        };
        if !active && key.active && others == 0 {
            bail!("{id} is the only key that is active: `bascule keys rotate` makes another first")
        }
        key.active = active;
        self.write()
    }

    /// The file first: a key must be accepted before anybody is told it.
    fn write(&self) -> Result<()> {
        let mut rows = Rows { key: Vec::new() };
        for RootKey { key, created_at, active } in &self.keys {
            rows.key.push(Row {
                access_key_id: key.id.clone(),
                created_at: created_at.clone(),
                active: *active,
                sealed_secret: self.master_key.seal(&context(&key.id), key.secret.as_bytes())?,
            });
        }
        let text = toml::to_string(&rows).context("cannot write the root keys")?;
        private_file::write_for_owner(&self.data_dir.join(ROOT_KEYS_FILE), &format!("{HEADER}{text}"))?;
        self.tell()
    }

    /// Writes `credentials`: the newest key that is active.
    fn tell(&self) -> Result<()> {
        match self.active().next_back() {
            Some(newest) => credentials::write(&self.data_dir.join(CREDENTIALS_FILE), &newest.key),
            None => bail!("no root key of {} is active", self.data_dir.display()),
        }
    }
}

/// Puts every change of the file into force, until nobody holds the identities any more.
pub(crate) async fn follow(data_dir: PathBuf, master_key: Arc<MasterKey>, identities: Weak<FileIdentities>) {
    let path = data_dir.join(ROOT_KEYS_FILE);
    // What changed since the start read them is not missed: the first look reads them again.
    let (mut seen, mut first) = (None, true);
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let Some(identities) = identities.upgrade() else { return };
        let now = stamp(&path);
        if now == seen {
            continue;
        }
        seen = now;
        match read(&data_dir, &master_key) {
            Ok(Some(keys)) => {
                identities.set_roots(accepted(&keys));
                if std::mem::take(&mut first) {
                    continue;
                }
                let active: Vec<&str> =
                    keys.iter().filter(|key| key.active).map(|key| key.key.id.as_str()).collect();
                tracing::info!(active = active.join(" "), "root keys read again");
            }
            Ok(None) => tracing::error!("the last root keys stay in force: {} is gone", path.display()),
            Err(error) => tracing::error!("the last root keys stay in force: {error:#}"),
        }
    }
}

fn accepted(keys: &[RootKey]) -> Vec<(String, Secret)> {
    let pair = |key: &RootKey| (key.key.id.clone(), Secret::new(key.key.secret.as_str()));
    keys.iter().filter(|key| key.active).map(pair).collect()
}

/// The keys of the file; `None` without a file.
fn read(data_dir: &Path, master_key: &MasterKey) -> Result<Option<Vec<RootKey>>> {
    let path = data_dir.join(ROOT_KEYS_FILE);
    let shown = path.display();
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            bail!("{shown}: larger than {MAX_FILE_BYTES} bytes")
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
    // The library's own text would quote the line.
    let rows: Rows =
        toml::from_str(&text).map_err(|_| anyhow::anyhow!("{shown}: not a file of root keys"))?;
    let mut keys = Vec::new();
    for row in rows.key {
        let id = row.access_key_id;
        let secret = master_key.open(&context(&id), &row.sealed_secret).map_err(|_| {
            Usage(format!("{shown}: the secret of {id} does not open: another master key, or altered"))
        })?;
        let secret = std::str::from_utf8(&secret).map_err(|_| anyhow::anyhow!("{shown}: {id} is no key"))?;
        let key = AccessKey { id, secret: Zeroizing::new(secret.to_owned()), token: None };
        keys.push(RootKey { key, created_at: row.created_at, active: row.active });
    }
    if keys.is_empty() || keys.len() > MAX_KEYS {
        bail!("{shown}: expecting 1 to {MAX_KEYS} keys")
    }
    Ok(Some(keys))
}

/// What a secret is sealed for: it opens under its own id only.
fn context(id: &str) -> String {
    format!("root-key/{id}")
}

/// Of two processes that change the keys, one waits for the other.
fn lock(data_dir: &Path) -> Result<File> {
    let locked = File::open(data_dir).and_then(|folder| folder.lock().map(|()| folder));
    locked.with_context(|| format!("cannot lock {}", data_dir.display()))
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.ino()))
}

#[cfg(test)]
mod tests;
