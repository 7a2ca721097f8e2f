//! Target network associations (spec: aws-client-vpn §1.4).

use serde::{Deserialize, Serialize};

use crate::{AssociationId, EndpointId, Scope, Status, SubnetId, Timestamp, VpcId, ZoneName};

/// Where an association stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssociationCode {
    /// It is being made.
    Associating,
    /// Clients may use it.
    Associated,
    /// It could not be made; the message says why.
    AssociationFailed,
    /// It is being ended.
    Disassociating,
    /// Gone.
    Disassociated,
}

impl AssociationCode {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            AssociationCode::Associating => "associating",
            AssociationCode::Associated => "associated",
            AssociationCode::AssociationFailed => "association-failed",
            AssociationCode::Disassociating => "disassociating",
            AssociationCode::Disassociated => "disassociated",
        }
    }

    /// Whether it counts when "the last" association of an endpoint is sought (spec: aws-client-vpn §1.3).
    pub fn holds_endpoint(self) -> bool {
        matches!(self, AssociationCode::Associating | AssociationCode::Associated)
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationSpec {
    /// The subnet joined to the endpoint.
    pub subnet_id: SubnetId,
    /// The subnet's VPC.
    pub vpc_id: VpcId,
    /// The subnet's zone.
    pub zone: ZoneName,
}

/// A subnet joined to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// Its id.
    pub id: AssociationId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whose it is.
    pub scope: Scope,
    /// What was asked for.
    pub spec: AssociationSpec,
    /// Where it stands.
    pub status: Status<AssociationCode>,
    /// When it was made.
    pub created_at: Timestamp,
}
