//! Client tokens: a repeated call answers as its first did (spec: aws-client-vpn §2.0.3).

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What a client token stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Hash of all parameters but the token, hexadecimal.
    pub parameters_hash: String,
    /// The answer's body without its request id: ids and first status.
    pub response: String,
    /// When the first call was answered; kept 24 hours.
    pub created_at: Timestamp,
}
