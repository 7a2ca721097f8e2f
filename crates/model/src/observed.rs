//! What gateways report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::AssociationId;

/// Why something of an association is not in force, or not yet removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For the user: what is wrong and, where there is something to type, what.
    pub reason: String,
    /// Whether trying again as things stand is pointless: the association is then `association-failed`.
    pub permanent: bool,
}

/// What a gateway has in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// The newest revision whose consequences are fully in force (but for `failures`).
    pub applied_revision: u64,
    /// Associations, wanted or leaving, with which something is wrong.
    pub failures: BTreeMap<AssociationId, Failure>,
}
