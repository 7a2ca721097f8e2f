//! What Bascule stores: typed ids, records with `spec` and `status`, the keys they stand under, and quotas.
//!
//! Layer 1, pure. These are the only serde types that ever reach the store (ARCHITECTURE I-10): wire types are
//! never stored and these are never sent.

mod association;
mod authorization_policy;
mod certificate;
mod clients;
mod connection;
mod endpoint;
mod ids;
mod key;
mod logs;
mod network;
mod observed;
mod quota;
mod revocation;
mod rule;
mod saml;
mod token;
mod transit_gateway;
mod uplink;

pub use association::{Association, AssociationCode, AssociationSpec, TargetNetwork};
pub use authorization_policy::{AuthorizationPolicy, PolicyCode};
pub use certificate::{Certificate, Sealed};
pub use clients::{ClientAddresses, ClientNets};
pub use connection::{Connection, ConnectionCode, Termination};
pub use endpoint::{
    Applying, Authentication, Banner, ClientBlockClaim, ClientConnect, ConnectionLog, Endpoint, EndpointCode,
    EndpointSpec, IpType, Listen, ListenerClaim, Transport, TrustProvider, TrustProviderKind,
};
pub use ids::{
    AccountId, AssociationId, AttachmentId, ConnectionId, EndpointId, IdError, PrefixListId, RegionName,
    Scope, SecurityGroupId, SecurityRuleId, SubnetId, TransitGatewayId, VpcId, ZoneName,
};
pub use key::{Key, Kind, prefix};
pub use logs::{LogBatch, LogEvent, LogGroup, LogStream};
pub use network::{
    GroupRule, PrefixList, RuleTags, SecurityGroup, SecurityRule, Subnet, SubnetAttributes, Vpc,
    VpcAttributes,
};
pub use observed::{Failure, GatewayFailure, GatewayStatus};
pub use quota::Quotas;
pub use revocation::{RevocationCode, RevocationList};
pub use rule::{AuthorizationRule, Route, RouteCode, RouteOrigin, RouteTarget, RuleCode, RuleGroup};
pub use saml::SamlProvider;
pub use token::TokenRecord;
pub use transit_gateway::{
    Attachment, AttachmentCode, AttachmentEntry, TransitGateway, TransitGatewayOptions, TransitGatewayOwner,
};
pub use uplink::{SubnetMatch, Uplink, UplinkMatch, UplinkSource, Uplinks};

/// Seconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, Default,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A status: a code of the record's own state machine and, when there is something to say, a message.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Status<C> {
    /// Where the record stands.
    pub code: C,
    /// Free text for the user; absent when there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl<C> Status<C> {
    /// A status without a message.
    pub fn of(code: C) -> Self {
        Self { code, message: None }
    }

    /// A status with a message.
    pub fn with(code: C, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }
}
