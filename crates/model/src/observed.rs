//! What gateways report.

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

/// What is wrong with an association, wanted or leaving, on a gateway. A record of its own: what is wrong with one is not
/// written anew with everything that changes elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayFailure {
    /// The gateway.
    pub node: String,
    /// The association.
    pub association: AssociationId,
    /// What is wrong.
    pub failure: Failure,
}

/// What a gateway has in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// The newest revision whose consequences are fully in force, but for what [`GatewayFailure`]s say; those of this
    /// revision are in the store before it is.
    pub applied_revision: u64,
}
