//! The document of an account's state: its records, sealed with the master key, so that it can be kept anywhere, opens
//! nowhere else, and cannot be made up.

use std::collections::BTreeSet;

use model::{AccountId, Association, AssociationCode, AssociationId, AttachmentEntry, Endpoint, Key, Kind};
use serde::{Deserialize, Serialize};
use store::{Entry, MasterKey, MasterKeyError};

use super::held::Held;
use crate::config::MAX_BODY_BYTES;
use crate::error::{ApiError, short};

/// The form of documents that this version writes, and the only one it reads.
const FORMAT: u32 = 1;
/// What the key of documents is derived for.
const PURPOSE: &str = "snapshots of an account";

/// The records of an account, by key.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub entries: Vec<(String, Vec<u8>)>,
}

/// What is written. The account stands open too, so that a refusal can name it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "bascule-snapshot")]
    format: u32,
    account: String,
    sealed: String,
}

/// The same of any version.
#[derive(Deserialize)]
struct FormatOnly {
    #[serde(rename = "bascule-snapshot")]
    format: u32,
}

impl Snapshot {
    /// The records that a restore can bring back: not connections, which only clients can make.
    ///
    /// # Errors
    /// A transit gateway that is shared with another account: half of an attachment is not this account's.
    pub(super) fn of(account: &AccountId, held: &Held) -> Result<Self, ApiError> {
        let other = |scope: &model::Scope| scope.account != *account;
        let theirs = held.of::<Endpoint>(Kind::Endpoint).find_map(|(_, endpoint)| {
            endpoint.attachment.filter(|attachment| other(&attachment.gateway_scope)).map(|of| of.gateway)
        });
        let shared = theirs.or_else(|| {
            let mut entries = held.of::<AttachmentEntry>(Kind::AttachmentEntry);
            entries.find_map(|(_, entry)| other(&entry.endpoint_scope).then_some(entry.gateway))
        });
        if let Some(gateway) = shared {
            let message = format!(
                "Transit gateway {gateway} is shared with another account: its attachment cannot be kept"
            );
            return Err(ApiError::new("Shared", message).status(409));
        }
        let kept = held.entries.iter().filter(|entry| {
            !matches!(
                Key::kind_of(&entry.key),
                Some(Kind::Connection | Kind::Termination | Kind::GatewayFailure)
            )
        });
        Ok(Self { entries: kept.map(|entry| (entry.key.clone(), entry.value.clone())).collect() })
    }

    /// The document.
    ///
    /// # Errors
    /// It would be larger than a request may be.
    pub(super) fn sealed(&self, key: &MasterKey, account: &AccountId) -> Result<String, ApiError> {
        let mut records: Vec<(&str, &str)> = Vec::with_capacity(self.entries.len());
        for (key, value) in &self.entries {
            let value = std::str::from_utf8(value).map_err(|_| ApiError::internal())?;
            records.push((key, value));
        }
        let records = serde_json::to_vec(&records).map_err(|_| ApiError::internal())?;
        let sealed = key.derived(PURPOSE).and_then(|key| key.seal(&context(account), &records));
        let sealed = sealed.map_err(|error| {
            tracing::error!(%error, "a snapshot could not be sealed");
            ApiError::internal()
        })?;
        let document = Document { format: FORMAT, account: account.to_string(), sealed };
        let document = serde_json::to_string(&document).map_err(|_| ApiError::internal())?;
        if document.len() > MAX_BODY_BYTES {
            let message = format!(
                "The snapshot would have {} bytes, at most {MAX_BODY_BYTES} can be restored; log events and \
                 revocation lists count too",
                document.len()
            );
            return Err(ApiError::new("TooLarge", message).status(413));
        }
        Ok(document)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// It is none, of another version, of another account, sealed with another key, or altered.
    pub(super) fn open(document: &[u8], key: &MasterKey, account: &AccountId) -> Result<Self, ApiError> {
        let refused = |message: String| ApiError::new("InvalidSnapshot", message);
        match serde_json::from_slice::<FormatOnly>(document) {
            Ok(FormatOnly { format: FORMAT }) => {}
            Ok(FormatOnly { format }) => {
                let message = format!("The snapshot has format {format}, this version reads {FORMAT}");
                return Err(ApiError::new("UnknownFormat", message));
            }
            Err(_) => return Err(refused("The body is no snapshot".to_owned())),
        }
        let document: Document =
            serde_json::from_slice(document).map_err(|_| refused("The body is no snapshot".to_owned()))?;
        if document.account != account.as_str() {
            let of = short(&document.account);
            return Err(refused(format!("The snapshot is of account {of}, the caller's is {account}")));
        }
        let opened = key.derived(PURPOSE).and_then(|key| key.open(&context(account), &document.sealed));
        let records = opened.map_err(|error| match error {
            MasterKeyError::DoesNotOpen => {
                refused("The snapshot was sealed with another master key, or is not whole".to_owned())
            }
            _ => ApiError::internal(),
        })?;
        // Sealed by a server with this key: what does not read now is that server's mistake.
        let records: Vec<(String, String)> =
            serde_json::from_slice(&records).map_err(|_| ApiError::internal())?;
        Ok(Self { entries: records.into_iter().map(|(key, value)| (key, value.into_bytes())).collect() })
    }

    /// Whether a gateway will know of any of it.
    pub(super) fn concerns_gateways(&self) -> bool {
        self.entries.iter().any(|(key, _)| Key::kind_of(key) == Some(Kind::Endpoint))
    }

    /// Demands that the associations which carried clients then do so now.
    ///
    /// # Errors
    /// `NotInForce`, with what is wrong with the first that does not.
    pub(super) fn in_force(&self, now: &Held) -> Result<(), ApiError> {
        let carried = |(key, value): &(String, Vec<u8>)| -> Option<AssociationId> {
            let is_one = Key::kind_of(key) == Some(Kind::Association);
            let association: Association = is_one.then(|| store::typed::decode(value).ok())??;
            (association.status.code == AssociationCode::Associated).then_some(association.id)
        };
        let carried: BTreeSet<AssociationId> = self.entries.iter().filter_map(carried).collect();
        let failing = now.of::<Association>(Kind::Association).find(|(_, association)| {
            carried.contains(&association.id)
                && (association.status.code != AssociationCode::Associated
                    || association.status.message.is_some())
        });
        let Some((_, association)) = failing else { return Ok(()) };
        let why = association.status.message.as_deref().unwrap_or(association.status.code.as_str());
        let message = format!(
            "The state is restored, but association {} is not in force: {}",
            association.id,
            short(why)
        );
        Err(ApiError::new("NotInForce", message).status(503))
    }
}

/// What a document is sealed for: it opens for the same account only.
fn context(account: &AccountId) -> String {
    format!("snapshot/{FORMAT}/{account}")
}

/// A record as a message may name it: its kind and its own part of the key.
pub(super) fn named(entry: &Entry) -> String {
    let parts: Vec<&str> = entry.key.trim_start_matches("/v1/").splitn(4, '/').skip(2).collect();
    short(&parts.join(" ")).into_owned()
}
