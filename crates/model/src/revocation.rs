//! Client certificate revocation lists (spec: aws-client-vpn §1.8, §2.2.17).

use serde::{Deserialize, Serialize};

use crate::{EndpointId, Scope, Status, Timestamp};

/// Where a list stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationCode {
    /// It is on its way to the gateways.
    Pending,
    /// Every gateway has it in force.
    Active,
}

impl RevocationCode {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            RevocationCode::Pending => "pending",
            RevocationCode::Active => "active",
        }
    }
}

/// The one list of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationList {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whose it is.
    pub scope: Scope,
    /// As imported, PEM.
    pub pem: String,
    /// Where it stands.
    pub status: Status<RevocationCode>,
    /// When it was imported.
    pub imported_at: Timestamp,
}
