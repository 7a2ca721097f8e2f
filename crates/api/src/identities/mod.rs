//! Who may call: the root key, and the users and roles of `users.toml`, hot reloaded. A file that does not parse is
//! refused whole and the last good one stays in force.

mod file;
mod users;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_auth::Secret;
use aws_auth::policy::{Policy, TrustPolicy};
use model::{AccountId, Timestamp};
use sha2::{Digest, Sha256};

pub use file::{FileIdentities, UsersError};

/// Finds the owner of an access key.
pub trait Identities: Send + Sync + 'static {
    /// The owner, if anybody has this access key id.
    fn find(&self, access_key_id: &str) -> Option<Arc<Identity>>;

    /// A role, if there is one of that name in the account.
    fn role(&self, account: &AccountId, name: &str) -> Option<Arc<Role>>;

    /// A policy by its name.
    fn policy(&self, name: &str) -> Option<Policy>;
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
    /// `aws:username`; of the root key `root`; of a role its name.
    pub name: String,
    /// The account.
    pub account: AccountId,
    /// What it may do.
    pub rights: Rights,
    /// `aws:PrincipalTag/…`.
    pub tags: BTreeMap<String, String>,
    /// Of temporary credentials: what they are.
    pub session: Option<Session>,
}

/// What temporary credentials are of.
#[derive(Clone, Debug)]
pub struct Session {
    /// When they were given.
    pub issued_at: Timestamp,
    /// Of a role; `None`: of the user or root itself.
    pub role: Option<RoleSession>,
}

/// An assumed role.
#[derive(Clone, Debug)]
pub struct RoleSession {
    /// The session's name.
    pub name: String,
    /// What it may do at most, beside the role's own policies.
    pub limits: Option<Arc<Policies>>,
    /// Tags that sessions begun from this one have too.
    pub transitive: BTreeMap<String, String>,
}

/// A role that may be assumed.
#[derive(Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// The account.
    pub account: AccountId,
    /// What it may do.
    pub policies: Arc<Policies>,
    /// Who may assume it.
    pub trust: TrustPolicy,
    /// Longest session, seconds.
    pub max_session_seconds: u32,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Role {
    /// `arn:aws:iam::…:role/name`.
    pub fn arn(&self) -> String {
        role_arn(&self.account, &self.name)
    }
}

fn role_arn(account: &AccountId, name: &str) -> String {
    format!("arn:aws:iam::{account}:role/{name}")
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
        Self { name: "root".to_owned(), account, rights: Rights::Root, tags: BTreeMap::new(), session: None }
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        matches!(self.rights, Rights::Root)
    }

    /// The role's session, of one.
    pub fn role(&self) -> Option<&RoleSession> {
        self.session.as_ref().and_then(|session| session.role.as_ref())
    }

    /// `arn:aws:iam::…:root`, `arn:aws:iam::…:user/name` or `arn:aws:sts::…:assumed-role/role/session`.
    pub fn arn(&self) -> String {
        let Self { account, name, .. } = self;
        match (&self.rights, self.role()) {
            (Rights::Root, _) => format!("arn:aws:iam::{account}:root"),
            (_, Some(session)) => format!("arn:aws:sts::{account}:assumed-role/{name}/{}", session.name),
            (_, None) => format!("arn:aws:iam::{account}:user/{name}"),
        }
    }

    /// `aws:PrincipalArn`: that of the role where it is a role's session.
    pub fn principal_arn(&self) -> String {
        match self.role() {
            Some(_) => role_arn(&self.account, &self.name),
            None => self.arn(),
        }
    }

    /// `aws:PrincipalType`.
    pub fn kind(&self) -> &'static str {
        match (&self.rights, self.role()) {
            (Rights::Root, _) => "Account",
            (_, Some(_)) => "AssumedRole",
            (_, None) => "User",
        }
    }

    /// The unique id: the account's of the root, else made from the name, so that it outlives a change of keys; of a
    /// role's session with its name.
    pub fn user_id(&self) -> String {
        match (&self.rights, self.role()) {
            (Rights::Root, _) => self.account.to_string(),
            (_, Some(session)) => format!("{}:{}", self.role_id(), session.name),
            (_, None) => unique_id("AIDA", &format!("{}/{}", self.account, self.name)),
        }
    }

    /// The unique id of the role.
    pub fn role_id(&self) -> String {
        unique_id("AROA", &format!("{}/role/{}", self.account, self.name))
    }
}

fn unique_id(prefix: &str, of: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const DIGITS: usize = 17;
    let hash = Sha256::digest(of);
    let letters = hash.iter().take(DIGITS).filter_map(|byte| LETTERS.get(usize::from(byte & 31)));
    prefix.chars().chain(letters.map(|&letter| char::from(letter))).collect()
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("arn", &self.arn()).finish_non_exhaustive()
    }
}
