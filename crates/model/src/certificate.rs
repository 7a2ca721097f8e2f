//! ACM certificates, and secrets as they stand in the store.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Scope, Timestamp};

/// A secret as it stands in the store: sealed, base64. Only the store's sealer opens it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

impl Sealed {
    /// In the place of a secret that is not here.
    pub fn nothing() -> Self {
        Self(String::new())
    }

    /// Whether there is a secret in it.
    pub fn is_some(&self) -> bool {
        !self.0.is_empty()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// An imported certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The id that ends its ARN.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// Whose it is.
    pub scope: Scope,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The chain, PEM, if one was given.
    pub chain_pem: Option<String>,
    /// The private key, PEM, sealed.
    pub private_key: Sealed,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was first imported.
    pub created_at: Timestamp,
    /// When it was last imported.
    pub imported_at: Timestamp,
    /// Whether it is a copy of the upstream's, under its own id (`networks = "upstream"`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirrored: bool,
}
