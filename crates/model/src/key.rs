//! Where each record stands in the store: `/v1/{account}/{region}/{kind}/…`, children with their endpoint first,
//! so that reading one endpoint costs one endpoint.

use std::fmt;

use crate::{
    AssociationId, AttachmentId, ConnectionId, EndpointId, RegionName, RouteTarget, RuleGroup, Scope,
    SecurityGroupId, SecurityRuleId, SubnetId, TransitGatewayId, Transport, VpcId, ZoneName,
};
use ipnet::{IpNet, Ipv6Net};
use std::net::IpAddr;

/// The kinds of records, each a folder of the key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Client VPN endpoints.
    Endpoint,
    /// Target network associations, by endpoint.
    Association,
    /// Uniqueness: one association per subnet and per zone of an endpoint.
    AssociationClaim,
    /// Routes, by endpoint.
    Route,
    /// Authorization rules, by endpoint.
    Rule,
    /// Client connections, by endpoint.
    Connection,
    /// Connections that are to be ended, by endpoint.
    Termination,
    /// Client certificate revocation lists, by endpoint.
    RevocationList,
    /// Authorization policies, by endpoint.
    AuthorizationPolicy,
    /// VPCs.
    Vpc,
    /// Subnets.
    Subnet,
    /// Security groups.
    SecurityGroup,
    /// Tags of the rules of security groups.
    SecurityRule,
    /// Transit gateways.
    TransitGateway,
    /// Where the attachments of a transit gateway's owner are found.
    AttachmentEntry,
    /// Whose each transit gateway is (no scope).
    TransitGatewayOwner,
    /// ACM certificates.
    Certificate,
    /// IAM SAML providers (global scope).
    SamlProvider,
    /// Log groups.
    LogGroup,
    /// Log streams, by group.
    LogStream,
    /// Batches of log events, by stream.
    LogBatch,
    /// Client tokens of mutating calls.
    Token,
    /// What each gateway has in force (no scope).
    Gateway,
    /// What is wrong with an association on a gateway, by endpoint.
    GatewayFailure,
    /// Which endpoint owns an address, transport and port (no scope).
    Listener,
    /// Which endpoint owns a block of IPv6 addresses for clients (no scope).
    ClientBlock,
}

impl Kind {
    /// The folder's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Endpoint => "endpoint",
            Kind::Association => "association",
            Kind::AssociationClaim => "association-claim",
            Kind::Route => "route",
            Kind::Rule => "rule",
            Kind::Connection => "connection",
            Kind::Termination => "termination",
            Kind::RevocationList => "revocation-list",
            Kind::AuthorizationPolicy => "authorization-policy",
            Kind::Vpc => "vpc",
            Kind::Subnet => "subnet",
            Kind::SecurityGroup => "security-group",
            Kind::SecurityRule => "security-rule",
            Kind::TransitGateway => "transit-gateway",
            Kind::AttachmentEntry => "transit-gateway-attachment",
            Kind::TransitGatewayOwner => "transit-gateway-owner",
            Kind::Certificate => "certificate",
            Kind::SamlProvider => "saml-provider",
            Kind::LogGroup => "log-group",
            Kind::LogStream => "log-stream",
            Kind::LogBatch => "log-batch",
            Kind::Token => "token",
            Kind::Gateway => "gateway",
            Kind::GatewayFailure => "gateway-failure",
            Kind::Listener => "listener",
            Kind::ClientBlock => "client-block",
        }
    }

    /// The kind named by a folder.
    pub fn parse(text: &str) -> Option<Self> {
        const ALL: [Kind; 26] = [
            Kind::Endpoint,
            Kind::Association,
            Kind::AssociationClaim,
            Kind::Route,
            Kind::Rule,
            Kind::Connection,
            Kind::Termination,
            Kind::RevocationList,
            Kind::AuthorizationPolicy,
            Kind::Vpc,
            Kind::Subnet,
            Kind::SecurityGroup,
            Kind::SecurityRule,
            Kind::TransitGateway,
            Kind::AttachmentEntry,
            Kind::TransitGatewayOwner,
            Kind::Certificate,
            Kind::SamlProvider,
            Kind::LogGroup,
            Kind::LogStream,
            Kind::LogBatch,
            Kind::Token,
            Kind::Gateway,
            Kind::GatewayFailure,
            Kind::Listener,
            Kind::ClientBlock,
        ];
        ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A key of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind of record a key text names, `None` for keys that are not ours.
    pub fn kind_of(text: &str) -> Option<Kind> {
        text.strip_prefix("/v1/")?.split('/').nth(2).and_then(Kind::parse)
    }

    /// The scope and endpoint that a key text belongs to: an endpoint's own key, or that of something under one.
    pub fn owner_of(text: &str) -> Option<(Scope, EndpointId)> {
        let mut parts = text.strip_prefix("/v1/")?.split('/');
        let scope = Scope { account: parts.next()?.parse().ok()?, region: parts.next()?.parse().ok()? };
        match parts.next().and_then(Kind::parse)? {
            Kind::Endpoint
            | Kind::Association
            | Kind::AssociationClaim
            | Kind::Route
            | Kind::Rule
            | Kind::Connection
            | Kind::Termination
            | Kind::RevocationList
            | Kind::AuthorizationPolicy
            | Kind::GatewayFailure => Some((scope, parts.next()?.parse().ok()?)),
            _ => None,
        }
    }

    /// An endpoint.
    pub fn endpoint(scope: &Scope, id: &EndpointId) -> Self {
        Self(format!("{}{id}", prefix::of(scope, Kind::Endpoint)))
    }

    /// An association.
    pub fn association(scope: &Scope, endpoint: &EndpointId, id: &AssociationId) -> Self {
        Self(format!("{}{id}", prefix::under(scope, Kind::Association, endpoint)))
    }

    /// The claim that an endpoint has at most one association in a subnet.
    pub fn subnet_claim(scope: &Scope, endpoint: &EndpointId, subnet: &SubnetId) -> Self {
        Self(format!("{}subnet-{subnet}", prefix::under(scope, Kind::AssociationClaim, endpoint)))
    }

    /// The claim that an endpoint has at most one association in a zone.
    pub fn zone_claim(scope: &Scope, endpoint: &EndpointId, zone: &ZoneName) -> Self {
        Self(format!("{}zone-{zone}", prefix::under(scope, Kind::AssociationClaim, endpoint)))
    }

    /// A route.
    pub fn route(scope: &Scope, endpoint: &EndpointId, destination: &IpNet, target: &RouteTarget) -> Self {
        Self(format!(
            "{}{}/{}",
            prefix::under(scope, Kind::Route, endpoint),
            cidr(destination),
            target.as_str()
        ))
    }

    /// An authorization rule.
    pub fn rule(scope: &Scope, endpoint: &EndpointId, destination: &IpNet, group: &RuleGroup) -> Self {
        let group = match group {
            RuleGroup::All => "all".to_owned(),
            RuleGroup::Group(name) => format!("group-{}", hex(name.as_bytes())),
        };
        Self(format!("{}{}/{group}", prefix::under(scope, Kind::Rule, endpoint), cidr(destination)))
    }

    /// A connection.
    pub fn connection(scope: &Scope, endpoint: &EndpointId, id: &ConnectionId) -> Self {
        Self(format!("{}{id}", prefix::under(scope, Kind::Connection, endpoint)))
    }

    /// The order to end a connection.
    pub fn termination(scope: &Scope, endpoint: &EndpointId, id: &ConnectionId) -> Self {
        Self(format!("{}{id}", prefix::under(scope, Kind::Termination, endpoint)))
    }

    /// The client certificate revocation list of an endpoint.
    pub fn revocation_list(scope: &Scope, endpoint: &EndpointId) -> Self {
        Self(format!("{}list", prefix::under(scope, Kind::RevocationList, endpoint)))
    }

    /// The authorization policy of an endpoint.
    pub fn authorization_policy(scope: &Scope, endpoint: &EndpointId) -> Self {
        Self(format!("{}policy", prefix::under(scope, Kind::AuthorizationPolicy, endpoint)))
    }

    /// A VPC.
    pub fn vpc(scope: &Scope, id: &VpcId) -> Self {
        Self(format!("{}{id}", prefix::of(scope, Kind::Vpc)))
    }

    /// A subnet.
    pub fn subnet(scope: &Scope, id: &SubnetId) -> Self {
        Self(format!("{}{id}", prefix::of(scope, Kind::Subnet)))
    }

    /// A security group.
    pub fn security_group(scope: &Scope, id: &SecurityGroupId) -> Self {
        Self(format!("{}{id}", prefix::of(scope, Kind::SecurityGroup)))
    }

    /// The tags of a security group's rule.
    pub fn security_rule(scope: &Scope, id: &SecurityRuleId) -> Self {
        Self(format!("{}{id}", prefix::of(scope, Kind::SecurityRule)))
    }

    /// A transit gateway.
    pub fn transit_gateway(scope: &Scope, id: &TransitGatewayId) -> Self {
        Self(format!("{}{id}", prefix::of(scope, Kind::TransitGateway)))
    }

    /// Where an attachment to a transit gateway of this scope is found.
    pub fn attachment_entry(scope: &Scope, id: &AttachmentId) -> Self {
        Self(format!("{}{id}", prefix::of(scope, Kind::AttachmentEntry)))
    }

    /// Whose a transit gateway of a region is.
    pub fn transit_gateway_owner(region: &RegionName, id: &TransitGatewayId) -> Self {
        Self(format!("{}{region}/{id}", prefix::unscoped(Kind::TransitGatewayOwner)))
    }

    /// An ACM certificate, by the id that ends its ARN.
    pub fn certificate(scope: &Scope, id: &str) -> Self {
        Self(format!("{}{}", prefix::of(scope, Kind::Certificate), hex_unless_plain(id)))
    }

    /// A SAML provider, by name.
    pub fn saml_provider(scope: &Scope, name: &str) -> Self {
        Self(format!("{}{}", prefix::of(scope, Kind::SamlProvider), hex(name.as_bytes())))
    }

    /// A log group, by name.
    pub fn log_group(scope: &Scope, name: &str) -> Self {
        Self(format!("{}{}", prefix::of(scope, Kind::LogGroup), segment(name)))
    }

    /// A log stream, by its group's id and its name.
    pub fn log_stream(scope: &Scope, group: &str, name: &str) -> Self {
        Self(format!("{}{}", prefix::log_streams(scope, group), segment(name)))
    }

    /// A batch of a log stream, by the stream's id and the batch's number.
    pub fn log_batch(scope: &Scope, stream: &str, number: u64) -> Self {
        Self(format!("{}{number:020}", prefix::log_batches(scope, stream)))
    }

    /// A client token of an action.
    pub fn token(scope: &Scope, action: &str, token: &str) -> Self {
        Self(format!("{}{action}/{}", prefix::of(scope, Kind::Token), hex(token.as_bytes())))
    }

    /// What a gateway has in force.
    pub fn gateway(node: &str) -> Self {
        Self(format!("{}{node}", prefix::unscoped(Kind::Gateway)))
    }

    /// What is wrong with an association on a gateway.
    pub fn gateway_failure(
        scope: &Scope,
        endpoint: &EndpointId,
        association: &AssociationId,
        node: &str,
    ) -> Self {
        Self(format!("{}{association}/{node}", prefix::under(scope, Kind::GatewayFailure, endpoint)))
    }

    /// Who owns an address, transport and port.
    pub fn listener(address: IpAddr, transport: Transport, port: u16) -> Self {
        Self(format!("{}{address}/{}/{port}", prefix::unscoped(Kind::Listener), transport.as_str()))
    }

    /// What blocks of IPv6 addresses for clients are taken from, where the operator names nothing.
    pub fn client_prefix() -> Self {
        Self(format!("{}prefix", prefix::unscoped(Kind::ClientBlock)))
    }

    /// Who owns a block of IPv6 addresses for clients.
    pub fn client_block(block: &Ipv6Net) -> Self {
        Self(format!("{}{}-{}", prefix::unscoped(Kind::ClientBlock), block.network(), block.prefix_len()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0
    }
}

fn cidr(net: &IpNet) -> String {
    format!("{}-{}", net.addr(), net.prefix_len())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex_unless_plain(text: &str) -> String {
    let plain =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain { text.to_owned() } else { format!("x{}", hex(text.as_bytes())) }
}

/// Text as one segment of a key: what is plain stays, so that long names stay short and sorted; all else is `~xx`.
fn segment(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.#$[]@=+".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("~{b:02x}") }).collect()
}

/// Prefixes to list and watch.
pub mod prefix {
    use super::{EndpointId, Kind, Scope};

    /// Everything.
    pub const ALL: &str = "/v1/";

    /// All records of a kind in a scope.
    pub fn of(scope: &Scope, kind: Kind) -> String {
        format!("/v1/{}/{}/{}/", scope.account, scope.region, kind.as_str())
    }

    /// All records of a kind that belong to an endpoint.
    pub fn under(scope: &Scope, kind: Kind, endpoint: &EndpointId) -> String {
        format!("{}{endpoint}/", of(scope, kind))
    }

    /// The streams of a log group, by the group's id.
    pub fn log_streams(scope: &Scope, group: &str) -> String {
        format!("{}{group}/", of(scope, Kind::LogStream))
    }

    /// The batches of a log stream, by the stream's id.
    pub fn log_batches(scope: &Scope, stream: &str) -> String {
        format!("{}{stream}/", of(scope, Kind::LogBatch))
    }

    /// All records of a kind that belong to no account.
    pub fn unscoped(kind: Kind) -> String {
        format!("/v1/-/-/{}/", kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_kind() {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let endpoint = EndpointId::from_entropy(1);
        let key = Key::route(&scope, &endpoint, &"10.0.0.0/16".parse().unwrap(), &RouteTarget::Local);
        assert_eq!(
            key.as_str(),
            "/v1/000000000000/us-east-1/route/cvpn-endpoint-00000000000000001/10.0.0.0-16/local"
        );
        assert_eq!(Key::kind_of(key.as_str()), Some(Kind::Route));
        assert_eq!(Key::kind_of(Key::gateway("n").as_str()), Some(Kind::Gateway));
        assert_eq!(Key::kind_of("/other"), None);
        assert_eq!(Key::owner_of(key.as_str()), Some((scope.clone(), endpoint.clone())));
        let own = Key::endpoint(&scope, &endpoint);
        assert_eq!(Key::owner_of(own.as_str()), Some((scope.clone(), endpoint.clone())));
        let policy = Key::authorization_policy(&scope, &endpoint);
        assert_eq!(Key::kind_of(policy.as_str()), Some(Kind::AuthorizationPolicy));
        assert_eq!(Key::owner_of(policy.as_str()), Some((scope.clone(), endpoint.clone())));
        let failure = Key::gateway_failure(&scope, &endpoint, &AssociationId::from_entropy(2), "n");
        assert_eq!(Key::kind_of(failure.as_str()), Some(Kind::GatewayFailure));
        assert_eq!(Key::owner_of(failure.as_str()), Some((scope, endpoint)));
        assert_eq!(Key::owner_of(Key::gateway("n").as_str()), None);
    }

    #[test]
    fn foreign_text_cannot_leave_its_folder() {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let key = Key::token(&scope, "CreateVpc", "../../x");
        assert!(key.as_str().ends_with("/2e2e2f2e2e2f78"));
        assert!(Key::log_group(&scope, "/a/b").as_str().ends_with("/log-group/~2fa~2fb"));
        assert!(Key::certificate(&scope, "a/b").as_str().ends_with("/x612f62"));
    }
}
