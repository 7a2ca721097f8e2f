//! What the gateway shall be: one plain value, built whole by the agent and compared whole by the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{
    AssociationId, ClientAddresses, ClientNets, ConnectionId, EndpointId, RuleGroup, Scope, SecurityRule,
    Transport, Uplink,
};
use zeroize::Zeroizing;

/// Everything this gateway serves, as of one revision of the store.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The store's revision this was built from.
    pub revision: u64,
    /// The endpoints. One that is absent shall not be served at all; one that is the same value as before costs nothing.
    pub endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its id, the same as its key in [`Desired::endpoints`].
    pub id: EndpointId,
    /// Whose it is.
    pub scope: Scope,
    /// Where its clients come in; `None`: nothing was allocated, so nothing can listen.
    pub listen: Option<SocketAddr>,
    /// Where they come in besides, by the other IP version.
    pub listen_second: Option<SocketAddr>,
    /// UDP or TCP.
    pub transport: Transport,
    /// The clients' addresses. Never changes during an endpoint's life.
    pub client_cidr: ClientNets,
    /// DNS servers told to clients, in order.
    pub dns_servers: Vec<IpAddr>,
    /// Whether only the routes of the route table go into the tunnel, at the client.
    pub split_tunnel: bool,
    /// How long a connection may last, from its beginning.
    pub session_timeout: Duration,
    /// Whether a client whose time is over has to log in anew; else it comes back by itself.
    pub disconnect_on_session_timeout: bool,
    /// What clients are shown when they have logged in.
    pub banner: Option<String>,
    /// Whether clients are told to keep others' routes from leading packets past the tunnel.
    pub route_enforcement: bool,
    /// The server's certificate and key.
    pub server: ServerIdentity,
    /// DER of the trust anchors of client certificates. Empty: nobody can authenticate, so nobody is admitted.
    pub client_roots: Arc<Vec<Vec<u8>>>,
    /// The client certificate revocation list, DER or PEM.
    pub crl: Option<Arc<Vec<u8>>>,
    /// The policy that decides who may connect, and stay; `None`: whoever authenticates.
    pub policy: Option<AuthorizationPolicy>,
    /// ARN of the function that is asked about every login; `None`: none is.
    pub connect_handler: Option<Arc<str>>,
    /// Whether anybody may be admitted. False where the endpoint's login type cannot be passed yet: fail closed.
    pub admits: bool,
    /// The target networks that shall be served.
    pub associations: BTreeMap<AssociationId, Association>,
    /// The authorization rules in force.
    pub rules: Vec<Rule>,
    /// Connections to be ended for good.
    pub terminate: BTreeSet<ConnectionId>,
    /// Who had which addresses before this gateway was started. Never changes.
    pub former: Arc<Vec<Former>>,
}

/// Addresses that somebody had when an earlier life of this gateway ended: its client comes back by itself, and what
/// runs in its tunnel goes on if it has them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Inside the tunnel.
    pub addresses: ClientAddresses,
    /// The common name of its certificate.
    pub common_name: String,
    /// Its user name, with user-based authentication.
    pub username: Option<String>,
    /// Where it was, outside.
    pub at: IpAddr,
}

/// Who may connect, in Cedar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// The document as stored. One that cannot be read lets nobody in.
    pub document: Arc<str>,
    /// Whether it is evaluated without blocking anybody.
    pub shadow: bool,
}

/// A server certificate with its key.
#[derive(Clone)]
pub struct ServerIdentity {
    /// Of chain and key together: another value means another TLS configuration for new handshakes.
    pub fingerprint: [u8; 32],
    /// DER, leaf first.
    pub chain: Arc<Vec<Vec<u8>>>,
    /// DER: PKCS 8, PKCS 1 or SEC 1.
    pub key: Arc<Zeroizing<Vec<u8>>>,
}

impl PartialEq for ServerIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// One target network of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Association {
    /// Its id, the same as its key in [`Endpoint::associations`].
    pub id: AssociationId,
    /// Where packets go that leave through it: the blocks of its subnet, and what routes add.
    pub toward: Vec<IpNet>,
    /// Whether IPv4 packets leave with an address of the host rather than the client's own. IPv6 ones never do
    /// (spec: aws-client-vpn §3.4).
    pub source_nat: bool,
    /// By which of the host's networks packets leave; `None`: by the host's own routing.
    pub uplink: Option<Uplink>,
    /// The endpoint's routes through this association, and the endpoint's local ones.
    pub routes: Vec<Route>,
    /// What may leave: the egress rules of the security groups, or anything where there are none.
    pub security: Vec<SecurityRule>,
}

/// A row of the route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// What it covers.
    pub destination: IpNet,
    /// Where it leads.
    pub target: Target,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Through the association it stands in.
    Association,
    /// To other clients of the endpoint.
    Local,
}

/// An authorization rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What it covers.
    pub destination: IpNet,
    /// Whom it lets through.
    pub group: RuleGroup,
}
