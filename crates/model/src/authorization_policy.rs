//! Authorization policies: who may connect, in Cedar (spec: aws-client-vpn, Appendix B).

use serde::{Deserialize, Serialize};

use crate::{EndpointId, Scope, Status, Timestamp};

/// Where a policy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyCode {
    /// It is on its way to the gateways, where none was.
    Creating,
    /// It is on its way to the gateways, in the place of another.
    Updating,
    /// Every gateway has it in force.
    Active,
    /// It could not be put in force.
    Failed,
    /// It is on its way out of the gateways.
    Deleting,
}

impl PolicyCode {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyCode::Creating => "creating",
            PolicyCode::Updating => "updating",
            PolicyCode::Active => "active",
            PolicyCode::Failed => "failed",
            PolicyCode::Deleting => "deleting",
        }
    }
}

/// The one authorization policy of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationPolicy {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whose it is.
    pub scope: Scope,
    /// As given: Cedar.
    pub document: String,
    /// Free text.
    pub description: Option<String>,
    /// Whether it is evaluated without blocking anybody.
    pub shadow: bool,
    /// Where it stands.
    pub status: Status<PolicyCode>,
    /// When it was made.
    pub created_at: Timestamp,
}
