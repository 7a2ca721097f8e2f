//! Transit gateways, and the attachments of endpoints to them (spec: aws-client-vpn §1.10, §2.2.20).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{AttachmentId, EndpointId, Scope, Timestamp, TransitGatewayId, ZoneName};

/// Where an attachment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachmentCode {
    /// The gateway's owner has not said yes yet.
    PendingAcceptance,
    /// It is being made.
    Pending,
    /// The gateway's owner said no.
    Rejected,
    /// In force.
    Available,
    /// It is being removed.
    Deleting,
    /// Gone.
    Deleted,
}

impl AttachmentCode {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            AttachmentCode::PendingAcceptance => "pending-acceptance",
            AttachmentCode::Pending => "pending",
            AttachmentCode::Rejected => "rejected",
            AttachmentCode::Available => "available",
            AttachmentCode::Deleting => "deleting",
            AttachmentCode::Deleted => "deleted",
        }
    }

    /// Whether endpoint and gateway are joined, or about to be: associations may be made.
    pub fn is_joined(self) -> bool {
        matches!(self, AttachmentCode::Pending | AttachmentCode::Available)
    }
}

/// An endpoint's attachment to a transit gateway: part of the endpoint, so that both change in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// The gateway.
    pub gateway: TransitGatewayId,
    /// Whose the gateway is.
    pub gateway_scope: Scope,
    /// Where it stands.
    pub status: AttachmentCode,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The zones that are associated once it is accepted.
    pub zones: Vec<ZoneName>,
}

/// What the owner of a transit gateway has of an attachment: where to find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentEntry {
    /// Its id.
    pub id: AttachmentId,
    /// The gateway.
    pub gateway: TransitGatewayId,
    /// The endpoint it is part of.
    pub endpoint: EndpointId,
    /// Whose the endpoint is.
    pub endpoint_scope: Scope,
}

/// A transit gateway: as much of it as an endpoint refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitGateway {
    /// Its id.
    pub id: TransitGatewayId,
    /// Whose it is.
    pub scope: Scope,
    /// Free text.
    pub description: Option<String>,
    /// What was asked for beside that.
    pub options: TransitGatewayOptions,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// Options of a transit gateway. Only `auto_accept` has an effect here; the others are kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitGatewayOptions {
    /// The autonomous system number of its side.
    pub amazon_side_asn: u64,
    /// Its own blocks of addresses.
    pub cidrs: Vec<IpNet>,
    /// Whether attachments of other accounts need no acceptance.
    pub auto_accept: bool,
    /// Whether attachments are associated with the default route table.
    pub default_association: bool,
    /// Whether attachments propagate routes to the default route table.
    pub default_propagation: bool,
    /// Equal-cost multipath for VPNs.
    pub vpn_ecmp: bool,
    /// DNS across VPCs.
    pub dns: bool,
    /// References to security groups across VPCs.
    pub security_group_referencing: bool,
    /// Multicast.
    pub multicast: bool,
}

/// Whose a transit gateway is: other accounts name it by its id alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitGatewayOwner {
    /// The owner.
    pub scope: Scope,
}
