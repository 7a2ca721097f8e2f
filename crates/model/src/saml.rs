//! IAM SAML providers: where a Client VPN with federated authentication finds its identity provider.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Scope, Timestamp};

/// A SAML provider. It stands in [`Scope::global`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamlProvider {
    /// Its name, unique in the account.
    pub name: String,
    /// Whose it is.
    pub scope: Scope,
    /// A fixed id beside the name, so that one made anew is another.
    pub uuid: String,
    /// The identity provider's metadata, XML.
    pub metadata: String,
    /// Until when the metadata is good.
    pub valid_until: Timestamp,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
}
