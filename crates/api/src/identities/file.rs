//! The root's keys and the users and roles of `users.toml`, hot reloaded.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_auth::Secret;
use aws_auth::policy::Policy;
use model::AccountId;
use zeroize::Zeroizing;

use super::users::{self, Content};
use super::{Caller, Identities, Identity, Role};

/// How often the file is looked at: what changed is in force within a second.
const LOOK: Duration = Duration::from_millis(500);
/// Largest users file, bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why a users file is not taken. The text never holds a value of the file.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The root's keys and the users of a file.
pub struct FileIdentities {
    account: AccountId,
    roots: ArcSwap<Roots>,
    path: PathBuf,
    users: ArcSwap<Content>,
}

type Roots = BTreeMap<String, Arc<Identity>>;

impl fmt::Debug for FileIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileIdentities").field("path", &self.path).finish_non_exhaustive()
    }
}

impl FileIdentities {
    /// The root's keys (id and secret), and the users of the file at `path` if there is one.
    ///
    /// # Errors
    /// A file that is there and is not good: at a start there is no last good one.
    pub fn open(
        account: AccountId,
        roots: impl IntoIterator<Item = (String, Secret)>,
        path: impl Into<PathBuf>,
    ) -> Result<Self, UsersError> {
        let opened = Self {
            account,
            roots: ArcSwap::from_pointee(Roots::new()),
            path: path.into(),
            users: ArcSwap::from_pointee(Content::default()),
        };
        opened.set_roots(roots);
        opened.reload()?;
        Ok(opened)
    }

    /// From now on these are the root's keys, and no others.
    pub fn set_roots(&self, roots: impl IntoIterator<Item = (String, Secret)>) {
        let root =
            |(id, secret)| (id, Arc::new(Identity { secret, caller: Caller::root(self.account.clone()) }));
        self.roots.store(Arc::new(roots.into_iter().map(root).collect()));
    }

    /// Reads the file again; without a file there are no users.
    ///
    /// # Errors
    /// A file that is not good; the users stay as they were.
    pub fn reload(&self) -> Result<(), UsersError> {
        let content = |reason: String| UsersError::Content { path: self.path.clone(), reason };
        let (users, notes) = match read(&self.path)? {
            Some(text) => users::parse(&text, &self.account).map_err(content)?,
            None => (Content::default(), Vec::new()),
        };
        if self.roots.load().keys().any(|id| users.users.contains_key(id)) {
            return Err(content("a user has the access key id of the root".to_owned()));
        }
        for note in notes {
            tracing::warn!(file = %self.path.display(), "{note}");
        }
        self.users.store(Arc::new(users));
        Ok(())
    }

    /// Looks at the file twice a second and reads it when it changed; ends when nobody else holds these identities.
    pub async fn follow(self: Arc<Self>) {
        let mut seen = stamp(&self.path);
        let mut ticks = tokio::time::interval(LOOK);
        while Arc::strong_count(&self) > 1 {
            ticks.tick().await;
            let now = stamp(&self.path);
            if now == seen {
                continue;
            }
            seen = now;
            match self.reload() {
                Ok(()) => tracing::info!(file = %self.path.display(), "users read again"),
                Err(error) => tracing::error!("the last good users stay in force: {error}"),
            }
        }
    }
}

impl Identities for FileIdentities {
    fn find(&self, access_key_id: &str) -> Option<Arc<Identity>> {
        let root = self.roots.load().get(access_key_id).cloned();
        root.or_else(|| self.users.load().users.get(access_key_id).cloned())
    }

    fn role(&self, account: &AccountId, name: &str) -> Option<Arc<Role>> {
        self.users.load().roles.get(&(account.clone(), name.to_owned())).cloned()
    }

    fn policy(&self, name: &str) -> Option<Policy> {
        self.users.load().policies.get(name).cloned()
    }
}

/// Tells one content of a file from the next: a file put in its place has another number.
fn stamp(path: &Path) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, UsersError> {
    use std::os::unix::fs::PermissionsExt;
    let io = |source| UsersError::Io { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            let reason = format!("larger than {MAX_FILE_BYTES} bytes");
            return Err(UsersError::Content { path: path.to_owned(), reason });
        }
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            tracing::warn!(file = %path.display(), "others can read the users' secret keys: chmod 600");
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    }
    std::fs::read_to_string(path).map(|text| Some(Zeroizing::new(text))).map_err(io)
}
