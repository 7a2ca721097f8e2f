//! Temporary credentials: given, and known again. Nothing of them is stored. The session token holds all there is to
//! know, with the secret key, sealed under a key derived from the master key and bound to its access key id; whoever has
//! it can neither read nor change it. That a session ends with its user, key or role is asked of the users' file at every
//! call.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_auth::Secret;
use aws_auth::policy::Policy;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{AccountId, Timestamp};
use serde::{Deserialize, Serialize};
use store::MasterKey;
use zeroize::Zeroizing;

use crate::error::ApiError;
use crate::identities::{Caller, Identities, Policies, Rights, RoleSession, Session};

/// What the ids of temporary access keys begin with.
pub(crate) const TEMPORARY: &str = "ASIA";
/// What tokens are sealed for: another number when their form changes.
const PURPOSE: &str = "sts session tokens 1";
/// Characters of a secret key, which stands before the grant in a token.
const SECRET_CHARS: usize = 40;
/// Longest token that is opened, bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// What the audit trail calls a policy that came with the session.
const SESSION_POLICY: &str = "session policy";

/// Seals and opens tokens.
pub(crate) struct Sessions {
    key: MasterKey,
}

/// What a token says.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// The lasting access key it goes back to, over however many roles.
    pub origin: String,
    /// Whose that key was.
    pub account: AccountId,
    /// Whose that key was.
    pub user: String,
    /// When it was given, seconds since the Unix epoch.
    pub issued_s: i64,
    /// When it ends, seconds since the Unix epoch.
    pub expires_s: i64,
    /// The role that was assumed; `None`: the user's own rights.
    pub role: Option<RoleGrant>,
}

/// What a token says of a role.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleGrant {
    /// The role's account.
    pub account: AccountId,
    /// The role's name.
    pub name: String,
    /// The session's name.
    pub session: String,
    /// A policy document that bounds it.
    pub policy: Option<String>,
    /// Names of policies that bound it.
    pub policies: Vec<String>,
    /// Tags of the session.
    pub tags: BTreeMap<String, String>,
    /// Those of them that sessions begun from this one have too.
    pub transitive: Vec<String>,
}

/// Fresh credentials.
pub(crate) struct Issued {
    pub access_key_id: String,
    pub secret: Secret,
    pub token: Secret,
}

impl Sessions {
    pub(crate) fn new(master_key: &MasterKey) -> Self {
        Self { key: master_key.derived(PURPOSE).expect("HKDF-SHA256 gives 32 bytes for any purpose") }
    }

    /// Fresh credentials of that grant, from fresh randomness.
    pub(crate) fn issue(&self, grant: &Grant, entropy: [u128; 3]) -> Result<Issued, ApiError> {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        const NAME_BYTES: usize = 16;
        let [name, first, second] = entropy.map(u128::to_le_bytes);
        let letters = name.iter().take(NAME_BYTES).filter_map(|byte| LETTERS.get(usize::from(byte & 31)));
        let access_key_id: String = TEMPORARY.chars().chain(letters.map(|&b| char::from(b))).collect();
        // 30 bytes are 40 characters.
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(first.into_iter().chain(second).take(30).collect());
        let secret = Secret::new(STANDARD.encode(bytes.as_slice()));
        let mut plain = Zeroizing::new(Vec::with_capacity(MAX_TOKEN_BYTES));
        plain.extend_from_slice(secret.expose().as_bytes());
        serde_json::to_writer(&mut *plain, grant).map_err(|_| ApiError::internal())?;
        let token = self.key.seal(&access_key_id, &plain).map_err(|_| ApiError::internal())?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(ApiError::internal());
        }
        Ok(Issued { access_key_id, secret, token: Secret::new(token) })
    }

    /// What the token of that access key id holds; `None` for any other than the one that was given with it.
    pub(crate) fn open(&self, access_key_id: &str, token: &Secret) -> Option<(Secret, Grant)> {
        if !access_key_id.starts_with(TEMPORARY) || token.expose().len() > MAX_TOKEN_BYTES {
            return None;
        }
        let plain = self.key.open(access_key_id, token.expose()).ok()?;
        let (secret, grant) = plain.split_at_checked(SECRET_CHARS)?;
        let secret = Secret::new(std::str::from_utf8(secret).ok()?);
        Some((secret, serde_json::from_slice(grant).ok()?))
    }
}

impl Grant {
    /// Who calls by it, with the rights of now; `None` once the key, its user, the role, or a policy that bounds the
    /// session is gone.
    pub(crate) fn caller(&self, identities: &dyn Identities) -> Option<Caller> {
        let origin = &identities.find(&self.origin)?.caller;
        if origin.name != self.user || origin.account != self.account {
            return None;
        }
        let issued_at = Timestamp(self.issued_s);
        let Some(grant) = &self.role else {
            return Some(Caller { session: Some(Session { issued_at, role: None }), ..origin.clone() });
        };
        let role = identities.role(&grant.account, &grant.name)?;
        let mut tags = role.tags.clone();
        tags.retain(|key, _| !grant.tags.keys().any(|given| given.eq_ignore_ascii_case(key)));
        tags.extend(grant.tags.clone());
        let transitive = grant.tags.iter().filter(|(key, _)| grant.transitive.contains(key));
        let session = RoleSession {
            name: grant.session.clone(),
            limits: grant.limits(identities)?.map(Arc::new),
            transitive: transitive.map(|(key, value)| (key.clone(), value.clone())).collect(),
        };
        Some(Caller {
            name: role.name.clone(),
            account: role.account.clone(),
            rights: Rights::Policies(Arc::clone(&role.policies)),
            tags,
            session: Some(Session { issued_at, role: Some(session) }),
        })
    }
}

impl RoleGrant {
    /// The policies that bound the session, if any do; the outer `None` if one is not there any more.
    fn limits(&self, identities: &dyn Identities) -> Option<Option<Policies>> {
        let mut named = Vec::new();
        if let Some(document) = &self.policy {
            named.push((SESSION_POLICY.to_owned(), Policy::parse(document).ok()?));
        }
        for name in &self.policies {
            named.push((name.clone(), identities.policy(name)?));
        }
        Some((!named.is_empty()).then(|| Policies::new(named)))
    }
}
