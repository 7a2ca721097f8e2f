//! Client connections (spec: aws-client-vpn §1.7, §2.2.15).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{AssociationId, ConnectionId, EndpointId, Scope, Status, Timestamp};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionCode {
    /// The client is connected.
    Active,
    /// It could not be ended.
    FailedToTerminate,
    /// It is being ended.
    Terminating,
    /// It has ended.
    Terminated,
}

impl ConnectionCode {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectionCode::Active => "active",
            ConnectionCode::FailedToTerminate => "failed-to-terminate",
            ConnectionCode::Terminating => "terminating",
            ConnectionCode::Terminated => "terminated",
        }
    }
}

/// The API's record of one client's stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whose it is.
    pub scope: Scope,
    /// The association that carries it.
    pub association: AssociationId,
    /// The common name of the client's certificate.
    pub common_name: String,
    /// The user name, with user-based authentication.
    pub username: Option<String>,
    /// The IPv4 address inside the tunnel; `None`: the tunnel carries IPv6 only.
    pub client_ip: Option<Ipv4Addr>,
    /// The IPv6 address inside the tunnel, if it carries IPv6.
    #[serde(default)]
    pub client_ipv6: Option<Ipv6Addr>,
    /// Where the client comes from.
    pub peer: SocketAddr,
    /// Bytes sent by the client, inner packets.
    pub ingress_bytes: u64,
    /// Bytes received by the client, inner packets.
    pub egress_bytes: u64,
    /// Packets sent by the client.
    pub ingress_packets: u64,
    /// Packets received by the client.
    pub egress_packets: u64,
    /// Where it stands.
    pub status: Status<ConnectionCode>,
    /// When it was established.
    pub established_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What the endpoint's connect handler said of the client's posture.
    #[serde(default)]
    pub posture: Vec<String>,
    /// When the endpoint's authorization policy was last evaluated for it; `None`: never, there was none.
    #[serde(default)]
    pub policy_evaluated_at: Option<Timestamp>,
}

/// The order to end a connection; removed when it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// The connection.
    pub connection: ConnectionId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whose it is.
    pub scope: Scope,
}
