//! Routes and authorization rules (spec: aws-client-vpn §1.5, §1.6, §4.4).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{AttachmentId, EndpointId, Scope, Status, SubnetId, Timestamp};

/// Where a route stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteCode {
    /// It is being made.
    Creating,
    /// It is in force.
    Active,
    /// It could not be made.
    Failed,
    /// It is being removed.
    Deleting,
}

impl RouteCode {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteCode::Creating => "creating",
            RouteCode::Active => "active",
            RouteCode::Failed => "failed",
            RouteCode::Deleting => "deleting",
        }
    }
}

/// How a route came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteOrigin {
    /// Made by an association.
    Associate,
    /// Added by hand.
    AddRoute,
}

impl RouteOrigin {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteOrigin::Associate => "associate",
            RouteOrigin::AddRoute => "add-route",
        }
    }
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteTarget {
    /// Through the association with this subnet.
    Subnet(SubnetId),
    /// Through any of the associations with the endpoint's transit gateway.
    TransitGateway(AttachmentId),
    /// To the other clients of the endpoint.
    Local,
}

impl RouteTarget {
    /// As it stands in the API: the subnet's id, the attachment's, or `local`.
    pub fn as_str(&self) -> &str {
        match self {
            RouteTarget::Subnet(id) => id.as_str(),
            RouteTarget::TransitGateway(id) => id.as_str(),
            RouteTarget::Local => "local",
        }
    }
}

/// A row of an endpoint's route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whose it is.
    pub scope: Scope,
    /// What it covers.
    pub destination: IpNet,
    /// Where it leads.
    pub target: RouteTarget,
    /// How it came to be.
    pub origin: RouteOrigin,
    /// Free text.
    pub description: Option<String>,
    /// Where it stands.
    pub status: Status<RouteCode>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Where an authorization rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleCode {
    /// It is being made.
    Authorizing,
    /// It is in force.
    Active,
    /// It could not be made.
    Failed,
    /// It is being revoked.
    Revoking,
}

impl RuleCode {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleCode::Authorizing => "authorizing",
            RuleCode::Active => "active",
            RuleCode::Failed => "failed",
            RuleCode::Revoking => "revoking",
        }
    }
}

/// Whom a rule lets through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleGroup {
    /// Everyone.
    All,
    /// Members of this group, compared exactly.
    Group(String),
}

/// An authorization rule: it can only allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRule {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whose it is.
    pub scope: Scope,
    /// What it covers.
    pub destination: IpNet,
    /// Whom it lets through.
    pub group: RuleGroup,
    /// Free text.
    pub description: Option<String>,
    /// Where it stands.
    pub status: Status<RuleCode>,
    /// When it was made.
    pub created_at: Timestamp,
}
