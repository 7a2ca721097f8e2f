//! The text of `users.toml`: users, roles and policies, read strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_auth::Secret;
use aws_auth::policy::{Policy, TrustPolicy};
use model::AccountId;
use serde::Deserialize;

use super::{Caller, Identity, Policies, Rights, Role};
use crate::condition_keys;
use crate::sessions::TEMPORARY;

/// Most tags of a user (AWS's own limit).
const MAX_TAGS: usize = 50;
/// Most characters of a tag's key and of its value (AWS's own limits).
const MAX_TAG_KEY_CHARS: usize = 128;
const MAX_TAG_VALUE_CHARS: usize = 256;
/// Shortest secret access key, characters: anything shorter can be guessed from one signature.
const MIN_SECRET_CHARS: usize = 16;
/// Most characters of a role's name (AWS's own limit).
const MAX_ROLE_NAME_CHARS: usize = 64;
/// How long a role's sessions may last, seconds (AWS's own limits and default).
const MAX_SESSION_S: RangeInclusive<u32> = 3_600..=43_200;
const DEFAULT_MAX_SESSION_S: u32 = 3_600;

/// What a file holds.
#[derive(Default)]
pub(super) struct Content {
    /// By access key id.
    pub users: BTreeMap<String, Arc<Identity>>,
    /// By account and name.
    pub roles: BTreeMap<(AccountId, String), Arc<Role>>,
    /// By name.
    pub policies: BTreeMap<String, Policy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    user: Vec<User>,
    #[serde(default)]
    role: Vec<RoleRow>,
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
struct RoleRow {
    name: String,
    account: Option<String>,
    #[serde(default)]
    policies: Vec<String>,
    trust: String,
    max_session_seconds: Option<u32>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedPolicy {
    name: String,
    document: String,
}

/// What a file's text holds, and what its operator may want to know; the error never repeats a value that may be a
/// secret. Users and roles without an account are of this one.
pub(super) fn parse(text: &str, account: &AccountId) -> Result<(Content, Vec<String>), String> {
    let file: File = toml::from_str(text).map_err(|error| {
        // The library's own text would quote the line.
        let line =
            error.span().map_or(1, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
        format!("line {line}: {}", without_values(error.message()))
    })?;
    let mut content = Content::default();
    let mut notes = Vec::new();
    for named in file.policy {
        let name = &named.name;
        let policy = Policy::parse(&named.document).map_err(|error| format!("policy {name}: {error}"))?;
        let place = format!("policy {name}");
        keys_are_known(&place, policy.variables(), policy.condition_keys(), &mut notes)?;
        if content.policies.insert(named.name.clone(), policy).is_some() {
            return Err(format!("two policies are named {}", named.name));
        }
    }
    for user in file.user {
        let (key, identity) = identity(user, &content.policies, account)?;
        if content.users.insert(key.clone(), Arc::new(identity)).is_some() {
            return Err(format!("two users have the access key id {key}"));
        }
    }
    for row in file.role {
        let role = role(row, &content.policies, account, &mut notes)?;
        let key = (role.account.clone(), role.name.clone());
        if let Some(twice) = content.roles.insert(key, Arc::new(role)) {
            return Err(format!("two roles of the account {} are named {}", twice.account, twice.name));
        }
    }
    Ok((content, notes))
}

/// A variable that no call has makes a statement that can never hold; a condition key is noted.
fn keys_are_known(
    place: &str,
    variables: BTreeSet<&str>,
    keys: BTreeSet<&str>,
    notes: &mut Vec<String>,
) -> Result<(), String> {
    if let Some(unknown) = variables.into_iter().find(|key| !condition_keys::known(key)) {
        return Err(format!("{place}: ${{{unknown}}} is not a variable that calls here have"));
    }
    for key in keys.into_iter().filter(|key| !condition_keys::known(key)) {
        notes.push(format!("{place}: no call here has a value for the condition key {key}"));
    }
    Ok(())
}

fn plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
}

fn is_name(text: &str) -> bool {
    plain(text) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b))
}

/// The policies of that name, in the order they are named.
fn named(
    place: &str,
    names: &[String],
    policies: &BTreeMap<String, Policy>,
) -> Result<Arc<Policies>, String> {
    let find = |policy: &String| {
        policies.get(policy).cloned().ok_or_else(|| format!("{place}: there is no policy named {policy}"))
    };
    let documents = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Policies::new(names.iter().cloned().zip(documents))))
}

fn account_of(place: &str, given: Option<&str>, default: &AccountId) -> Result<AccountId, String> {
    match given {
        None => Ok(default.clone()),
        Some(text) => text.parse().map_err(|_| format!("{place}: the account is not an id of twelve digits")),
    }
}

fn identity(
    user: User,
    policies: &BTreeMap<String, Policy>,
    account: &AccountId,
) -> Result<(String, Identity), String> {
    let secret = Secret::new(user.secret_access_key);
    let name = user.name;
    if !is_name(&name) {
        return Err("a user's name has letters, digits and +=,.@_- only".to_owned());
    }
    let place = format!("user {name}");
    if !plain(&user.access_key_id) {
        return Err(format!("{place}: the access key id is empty or has other than plain characters"));
    }
    if user.access_key_id.starts_with(TEMPORARY) {
        return Err(format!("{place}: access key ids that begin with {TEMPORARY} are temporary ones"));
    }
    if secret.expose().chars().count() < MIN_SECRET_CHARS {
        return Err(format!("{place}: the secret access key is shorter than {MIN_SECRET_CHARS} characters"));
    }
    let rights = Rights::Policies(named(&place, &user.policies, policies)?);
    let account = account_of(&place, user.account.as_deref(), account)?;
    check_tags(&user.tags).map_err(|reason| format!("{place}: {reason}"))?;
    let caller = Caller { name, account, rights, tags: user.tags, session: None };
    Ok((user.access_key_id, Identity { secret, caller }))
}

fn role(
    row: RoleRow,
    policies: &BTreeMap<String, Policy>,
    account: &AccountId,
    notes: &mut Vec<String>,
) -> Result<Role, String> {
    let name = row.name;
    if !is_name(&name) || name.len() > MAX_ROLE_NAME_CHARS {
        return Err(format!(
            "a role's name has letters, digits and +=,.@_- only, at most {MAX_ROLE_NAME_CHARS}"
        ));
    }
    let place = format!("role {name}");
    let trust = TrustPolicy::parse(&row.trust).map_err(|error| format!("{place}: trust: {error}"))?;
    keys_are_known(&format!("{place}: trust"), trust.variables(), trust.condition_keys(), notes)?;
    let max_session_seconds = row.max_session_seconds.unwrap_or(DEFAULT_MAX_SESSION_S);
    if !MAX_SESSION_S.contains(&max_session_seconds) {
        let (least, most) = (MAX_SESSION_S.start(), MAX_SESSION_S.end());
        return Err(format!("{place}: max_session_seconds is between {least} and {most}"));
    }
    check_tags(&row.tags).map_err(|reason| format!("{place}: {reason}"))?;
    let policies = named(&place, &row.policies, policies)?;
    let account = account_of(&place, row.account.as_deref(), account)?;
    Ok(Role { name, account, policies, trust, max_session_seconds, tags: row.tags })
}

/// What AWS takes as tags of a user or a role.
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
