//! Client VPN endpoints (spec: aws-client-vpn §1.2, §2.2.1).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{Attachment, ClientNets, EndpointId, Scope, SecurityGroupId, Status, Timestamp, VpcId};

/// Where an endpoint stands (spec: aws-client-vpn §1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointCode {
    /// It exists and no target network is associated: no client gets in.
    PendingAssociate,
    /// At least one target network is associated.
    Available,
    /// Deletion is under way.
    Deleting,
    /// Gone.
    Deleted,
    /// It waits for a transit gateway attachment.
    Pending,
}

impl EndpointCode {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            EndpointCode::PendingAssociate => "pending-associate",
            EndpointCode::Available => "available",
            EndpointCode::Deleting => "deleting",
            EndpointCode::Deleted => "deleted",
            EndpointCode::Pending => "pending",
        }
    }
}

/// The outer transport of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// OpenVPN over UDP.
    Udp,
    /// OpenVPN over TCP.
    Tcp,
}

impl Transport {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// Which IP versions an endpoint speaks, outside or inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpType {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both.
    DualStack,
}

impl IpType {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            IpType::Ipv4 => "ipv4",
            IpType::Ipv6 => "ipv6",
            IpType::DualStack => "dual-stack",
        }
    }

    /// Whether traffic of this type goes to such a network.
    pub fn carries(self, net: &IpNet) -> bool {
        match net {
            IpNet::V4(_) => self != IpType::Ipv6,
            IpNet::V6(_) => self != IpType::Ipv4,
        }
    }

    /// What it is called where it carries no other.
    pub fn only(self) -> &'static str {
        match self {
            IpType::Ipv4 => "IPv4",
            IpType::Ipv6 => "IPv6",
            IpType::DualStack => "IPv4 and IPv6",
        }
    }
}

/// One way in which clients prove who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Authentication {
    /// By client certificate.
    Certificate {
        /// ARN of the ACM certificate whose chain is the trust anchor.
        client_root_arn: String,
    },
    /// By directory user and password.
    Directory {
        /// The directory's id.
        directory_id: String,
    },
    /// By SAML.
    Federated {
        /// ARN of the SAML provider.
        provider_arn: String,
        /// ARN of the provider of the self-service portal, if another.
        self_service_provider_arn: Option<String>,
    },
}

/// Where connection logs go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionLog {
    /// Whether connections are logged.
    pub enabled: bool,
    /// The log group.
    pub group: Option<String>,
    /// The log stream.
    pub stream: Option<String>,
    /// Whether entries hold what the authorization policy was evaluated with.
    #[serde(default)]
    pub include_policy_context: bool,
}

/// The connect handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientConnect {
    /// Whether it is asked.
    pub enabled: bool,
    /// Its ARN.
    pub function_arn: Option<String>,
}

/// The login banner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Banner {
    /// Whether it is shown.
    pub enabled: bool,
    /// Its text, at most 1,400 characters.
    pub text: Option<String>,
}

/// Vendors that vouch for devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustProviderKind {
    /// CrowdStrike.
    Crowdstrike,
    /// Jamf.
    Jamf,
    /// JumpCloud.
    Jumpcloud,
}

impl TrustProviderKind {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            TrustProviderKind::Crowdstrike => "crowdstrike",
            TrustProviderKind::Jamf => "jamf",
            TrustProviderKind::Jumpcloud => "jumpcloud",
        }
    }
}

/// Who vouches for the devices of clients (spec: aws-client-vpn, Appendix B).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustProvider {
    /// The vendor.
    pub kind: TrustProviderKind,
    /// The account at the vendor.
    pub tenant_id: String,
    /// Where the key is that the vendor signs with.
    pub public_signing_key_url: Option<String>,
}

/// The address an endpoint was given, kept until its deletion so that an exported profile stays good. Only another port,
/// which breaks profiles anyway, may bring another address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// The address to bind; `None`: none was free.
    pub address: Option<IpAddr>,
    /// The port to bind.
    pub port: u16,
    /// Where a dual-stack endpoint listens besides: an IPv6 address and its port; `None`: none was free, or none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SocketAddr>,
}

impl Listen {
    /// All places.
    pub fn places(&self) -> impl Iterator<Item = SocketAddr> {
        self.address.map(|address| SocketAddr::new(address, self.port)).into_iter().chain(self.second)
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// Free text.
    pub description: Option<String>,
    /// The pool of client addresses, /12 to /22.
    pub client_cidr: Option<Ipv4Net>,
    /// The block of client addresses that it was given, where it carries IPv6.
    #[serde(default)]
    pub client_ipv6_cidr: Option<Ipv6Net>,
    /// ARN of the server certificate.
    pub server_certificate_arn: String,
    /// One or two ways to authenticate.
    pub authentication: Vec<Authentication>,
    /// Connection logging.
    pub connection_log: ConnectionLog,
    /// At most two DNS servers to push.
    pub dns_servers: Vec<IpAddr>,
    /// The outer transport.
    pub transport: Transport,
    /// 443 or 1194.
    pub vpn_port: u16,
    /// Whether only the routes are pushed, rather than all traffic.
    pub split_tunnel: bool,
    /// The VPC, once known.
    pub vpc_id: Option<VpcId>,
    /// The security groups of its associations.
    pub security_group_ids: Vec<SecurityGroupId>,
    /// Whether the self-service portal is on.
    pub self_service_portal: bool,
    /// The connect handler.
    pub client_connect: ClientConnect,
    /// 8, 10, 12 or 24 hours.
    pub session_timeout_hours: u8,
    /// The login banner.
    pub banner: Banner,
    /// Whether clients are told to enforce routes.
    pub route_enforcement: bool,
    /// Whether a client at its session timeout must log in again by hand.
    pub disconnect_on_session_timeout: bool,
    /// IP versions outside.
    pub endpoint_ip_type: IpType,
    /// IP versions inside.
    pub traffic_ip_type: IpType,
    /// Who vouches for devices; empty: device posture is off.
    #[serde(default)]
    pub device_posture: Vec<TrustProvider>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Where it listens.
    pub listen: Listen,
}

impl EndpointSpec {
    /// All client addresses.
    pub fn client_nets(&self) -> ClientNets {
        ClientNets { v4: self.client_cidr, v6: self.client_ipv6_cidr }
    }
}

/// What was changed of an endpoint and is not in force on every gateway yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applying {
    /// Nothing: all that was asked for is in force.
    #[default]
    Nothing,
    /// Something, the connect handler not among it.
    Change,
    /// The connect handler, and maybe more (spec: aws-client-vpn §1.9).
    ClientConnect,
}

/// A Client VPN endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub scope: Scope,
    /// What was asked for.
    pub spec: EndpointSpec,
    /// Where it stands.
    pub status: Status<EndpointCode>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts the changes of its set of associations: whoever changes one rewrites the endpoint, so that "the last"
    /// is decided inside one transaction.
    pub association_epoch: u64,
    /// What is not in force yet.
    #[serde(default)]
    pub applying: Applying,
    /// Its attachment to a transit gateway; `None`: its target networks are subnets.
    #[serde(default)]
    pub attachment: Option<Attachment>,
}

/// The record that gives an endpoint an address, transport and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerClaim {
    /// The owner.
    pub endpoint: EndpointId,
    /// The owner's scope.
    pub scope: Scope,
}

/// The record that gives an endpoint a block of IPv6 addresses for its clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientBlockClaim {
    /// The owner.
    pub endpoint: EndpointId,
    /// The owner's scope.
    pub scope: Scope,
}
