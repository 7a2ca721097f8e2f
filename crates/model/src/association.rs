//! Target network associations (spec: aws-client-vpn §1.4).

use serde::{Deserialize, Serialize};

use crate::{AssociationId, EndpointId, RouteTarget, Scope, Status, SubnetId, Timestamp, VpcId, ZoneName};

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

/// What an association joins an endpoint to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum TargetNetwork {
    /// A subnet.
    Subnet {
        /// Its id.
        subnet_id: SubnetId,
        /// Its VPC.
        vpc_id: VpcId,
    },
    /// The endpoint's transit gateway, in one zone (spec: aws-client-vpn §2.2.20).
    TransitGateway,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationSpec {
    /// What is joined to the endpoint.
    #[serde(flatten)]
    pub network: TargetNetwork,
    /// Its zone.
    pub zone: ZoneName,
}

impl AssociationSpec {
    /// The subnet, if it is one that is joined.
    pub fn subnet_id(&self) -> Option<&SubnetId> {
        match &self.network {
            TargetNetwork::Subnet { subnet_id, .. } => Some(subnet_id),
            TargetNetwork::TransitGateway => None,
        }
    }

    /// The subnet's VPC.
    pub fn vpc_id(&self) -> Option<&VpcId> {
        match &self.network {
            TargetNetwork::Subnet { vpc_id, .. } => Some(vpc_id),
            TargetNetwork::TransitGateway => None,
        }
    }

    /// Whether packets to what a route covers leave through it: to its subnet, or to the endpoint's transit gateway.
    pub fn carries(&self, target: &RouteTarget) -> bool {
        match (&self.network, target) {
            (TargetNetwork::Subnet { subnet_id, .. }, RouteTarget::Subnet(to)) => subnet_id == to,
            (TargetNetwork::TransitGateway, RouteTarget::TransitGateway(_)) => true,
            (TargetNetwork::Subnet { .. }, RouteTarget::TransitGateway(_))
            | (TargetNetwork::TransitGateway, RouteTarget::Subnet(_))
            | (_, RouteTarget::Local) => false,
        }
    }
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
