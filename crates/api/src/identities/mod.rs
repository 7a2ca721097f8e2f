//! Who may call: the root key and the users of `users.toml`, hot reloaded. A file that does not parse is refused whole
//! and the last good one stays in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_auth::Secret;
use aws_auth::policy::Policy;
use model::AccountId;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::condition_keys;

/// How often the file is looked at: what changed is in force within a second.
const LOOK: Duration = Duration::from_millis(500);
/// Largest users file, bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Most tags of a user (AWS's own limit).
const MAX_TAGS: usize = 50;
/// Most characters of a tag's key and of its value (AWS's own limits).
const MAX_TAG_KEY_CHARS: usize = 128;
const MAX_TAG_VALUE_CHARS: usize = 256;
/// Shortest secret access key, characters: anything shorter can be guessed from one signature.
const MIN_SECRET_CHARS: usize = 16;

/// Finds the owner of an access key.
pub trait Identities: Send + Sync + 'static {
    /// The owner, if anybody has this access key id.
    fn find(&self, access_key_id: &str) -> Option<Arc<Identity>>;
}

/// The owner of an access key.
#[derive(Debug)]
pub struct Identity {
    /// The secret access key.
    pub secret: Secret,
    /// Who it is.
    pub caller: Caller,
}

/// Who calls.
#[derive(Clone)]
pub struct Caller {
    /// `aws:username`; of the root key `root`.
    pub name: String,
    /// The account.
    pub account: AccountId,
    /// What it may do.
    pub rights: Rights,
    /// `aws:PrincipalTag/…`.
    pub tags: BTreeMap<String, String>,
}

/// What a caller may do.
#[derive(Clone)]
pub enum Rights {
    /// Everything.
    Root,
    /// What these policies allow.
    Policies(Arc<Policies>),
}

/// Policies with their names, in the order a user names them.
#[derive(Debug, Default)]
pub struct Policies {
    names: Vec<String>,
    documents: Vec<Policy>,
}

impl Policies {
    /// From names and documents.
    pub fn new(named: impl IntoIterator<Item = (String, Policy)>) -> Self {
        let (names, documents) = named.into_iter().unzip();
        Self { names, documents }
    }

    /// The documents, for an evaluation.
    pub fn documents(&self) -> &[Policy] {
        &self.documents
    }

    /// The name of the document at that index; empty if there is none.
    pub fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", String::as_str)
    }
}

impl Caller {
    /// The root of an account.
    pub fn root(account: AccountId) -> Self {
        Self { name: "root".to_owned(), account, rights: Rights::Root, tags: BTreeMap::new() }
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        matches!(self.rights, Rights::Root)
    }

    /// `arn:aws:iam::…:root` or `arn:aws:iam::…:user/name`.
    pub fn arn(&self) -> String {
        match self.rights {
            Rights::Root => format!("arn:aws:iam::{}:root", self.account),
            Rights::Policies(_) => format!("arn:aws:iam::{}:user/{}", self.account, self.name),
        }
    }

    /// The unique id: the account's of the root, else made from the name, so that it outlives a change of keys.
    pub fn user_id(&self) -> String {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        const DIGITS: usize = 17;
        if self.is_root() {
            return self.account.to_string();
        }
        let hash = Sha256::digest(format!("{}/{}", self.account, self.name));
        let letters = hash.iter().take(DIGITS).filter_map(|byte| LETTERS.get(usize::from(byte & 31)));
        "AIDA".chars().chain(letters.map(|&letter| char::from(letter))).collect()
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("arn", &self.arn()).finish_non_exhaustive()
    }
}

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
    roots: ArcSwap<Users>,
    path: PathBuf,
    users: ArcSwap<Users>,
}

type Users = BTreeMap<String, Arc<Identity>>;

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
            roots: ArcSwap::from_pointee(Users::new()),
            path: path.into(),
            users: ArcSwap::from_pointee(Users::new()),
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
            Some(text) => parse(&text, &self.account).map_err(content)?,
            None => (Users::new(), Vec::new()),
        };
        if self.roots.load().keys().any(|id| users.contains_key(id)) {
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
        root.or_else(|| self.users.load().get(access_key_id).cloned())
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    user: Vec<User>,
    #[serde(default)]
    policy: Vec<NamedPolicy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    name: String,
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    policies: Vec<String>,
    account: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedPolicy {
    name: String,
    document: String,
}

/// The users of a file's text, and what their operator may want to know; the error never repeats a value that may be a
/// secret. Users without an account are of this one.
fn parse(text: &str, account: &AccountId) -> Result<(Users, Vec<String>), String> {
    let file: File = toml::from_str(text).map_err(|error| {
        // The library's own text would quote the line.
        let line =
            error.span().map_or(1, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
        format!("line {line}: {}", without_values(error.message()))
    })?;
    let mut policies = BTreeMap::new();
    let mut notes = Vec::new();
    for named in file.policy {
        let name = &named.name;
        let policy = Policy::parse(&named.document).map_err(|error| format!("policy {name}: {error}"))?;
        if let Some(unknown) = policy.variables().into_iter().find(|key| !condition_keys::known(key)) {
            return Err(format!("policy {name}: ${{{unknown}}} is not a variable that calls here have"));
        }
        for key in policy.condition_keys().into_iter().filter(|key| !condition_keys::known(key)) {
            notes.push(format!("policy {name}: no call here has a value for the condition key {key}"));
        }
        if policies.insert(named.name.clone(), policy).is_some() {
            return Err(format!("two policies are named {}", named.name));
        }
    }
    let mut users = Users::new();
    for user in file.user {
        let (key, identity) = identity(user, &policies, account)?;
        if users.insert(key.clone(), Arc::new(identity)).is_some() {
            return Err(format!("two users have the access key id {key}"));
        }
    }
    Ok((users, notes))
}

fn identity(
    user: User,
    policies: &BTreeMap<String, Policy>,
    account: &AccountId,
) -> Result<(String, Identity), String> {
    let secret = Secret::new(user.secret_access_key);
    let name = user.name;
    let plain = |text: &str| {
        !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
    };
    let named = |text: &str| {
        plain(text) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b))
    };
    if !named(&name) {
        return Err("a user's name has letters, digits and +=,.@_- only".to_owned());
    }
    if !plain(&user.access_key_id) {
        return Err(format!("user {name}: the access key id is empty or has other than plain characters"));
    }
    if secret.expose().chars().count() < MIN_SECRET_CHARS {
        return Err(format!(
            "user {name}: the secret access key is shorter than {MIN_SECRET_CHARS} characters"
        ));
    }
    let find = |policy: &String| {
        policies.get(policy).cloned().ok_or_else(|| format!("user {name}: there is no policy named {policy}"))
    };
    let documents = user.policies.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let rights = Policies::new(user.policies.iter().cloned().zip(documents));
    let account = match user.account {
        None => account.clone(),
        Some(text) => {
            let wrong = || format!("user {name}: the account is not an id of twelve digits");
            text.parse().map_err(|_| wrong())?
        }
    };
    check_tags(&user.tags).map_err(|reason| format!("user {name}: {reason}"))?;
    let rights = Rights::Policies(Arc::new(rights));
    let caller = Caller { name, account, rights, tags: user.tags };
    Ok((user.access_key_id, Identity { secret, caller }))
}

/// What AWS takes as tags of a user.
fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), String> {
    if tags.len() > MAX_TAGS {
        return Err(format!("more than {MAX_TAGS} tags"));
    }
    let mut seen = BTreeSet::new();
    for (key, value) in tags {
        let fits = (1..=MAX_TAG_KEY_CHARS).contains(&key.chars().count())
            && value.chars().count() <= MAX_TAG_VALUE_CHARS;
        let lower = key.to_lowercase();
        if !fits || lower.starts_with("aws:") {
            return Err(format!(
                "a tag has a key of 1 to {MAX_TAG_KEY_CHARS} characters that does not start with aws:, and a value of at \
                 most {MAX_TAG_VALUE_CHARS}"
            ));
        }
        // Condition keys are not case-sensitive: two that differ in case only would be one.
        if !seen.insert(lower) {
            return Err("two tags differ in case only".to_owned());
        }
    }
    Ok(())
}

/// A parser's message up to its first quoted value.
fn without_values(message: &str) -> &str {
    message.split(['`', '"', '\'', '\n']).next().unwrap_or_default().trim_end()
}
