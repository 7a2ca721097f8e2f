//! The records as last seen, by endpoint.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Applying, Association, AssociationCode, AssociationId, AuthorizationPolicy, AuthorizationRule,
    Certificate, Connection, Endpoint, EndpointCode, EndpointId, Failure, GatewayFailure, GatewayStatus, Key,
    PolicyCode, RevocationCode, RevocationList, Route, RouteCode, RuleCode, Scope, SecurityGroup,
    SecurityGroupId, Subnet, Termination, TokenRecord,
};

/// A record and the revision that last wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub value: T,
    /// The revision that last wrote it.
    pub modified: u64,
}

/// A record as read from the store.
#[derive(Clone, Debug)]
pub enum Row {
    /// An endpoint.
    Endpoint(Box<Endpoint>),
    /// An association.
    Association(Association),
    /// A route.
    Route(Route),
    /// An authorization rule.
    Rule(AuthorizationRule),
    /// A connection.
    Connection(Box<Connection>),
    /// The order to end a connection.
    Termination(Termination),
    /// A client certificate revocation list.
    RevocationList(Box<RevocationList>),
    /// An authorization policy.
    AuthorizationPolicy(Box<AuthorizationPolicy>),
    /// A subnet.
    Subnet(Subnet),
    /// A security group.
    SecurityGroup(Box<SecurityGroup>),
    /// A certificate.
    Certificate(Box<Certificate>),
    /// A client token.
    Token(TokenRecord),
    /// What a gateway has in force.
    Gateway(GatewayStatus),
    /// What is wrong with an association on a gateway.
    GatewayFailure(GatewayFailure),
}

/// Everything of one endpoint, each map by store key.
#[derive(Clone, Debug, Default)]
pub struct EndpointWorld {
    /// The endpoint itself; `None` while only children are known.
    pub endpoint: Option<(String, Versioned<Endpoint>)>,
    /// Its associations.
    pub associations: BTreeMap<String, Versioned<Association>>,
    /// Its routes.
    pub routes: BTreeMap<String, Versioned<Route>>,
    /// Its authorization rules.
    pub rules: BTreeMap<String, Versioned<AuthorizationRule>>,
    /// Its connections.
    pub connections: BTreeMap<String, Versioned<Connection>>,
    /// Orders to end connections.
    pub terminations: BTreeMap<String, Versioned<Termination>>,
    /// Keys of its records that are there and cannot be read: nothing is decided on half a picture.
    pub unreadable: BTreeSet<String>,
    /// Its client certificate revocation list, if it has one.
    pub revocations: BTreeMap<String, Versioned<RevocationList>>,
    /// Its authorization policy, if it has one.
    pub policies: BTreeMap<String, Versioned<AuthorizationPolicy>>,
    /// What is wrong with its associations on gateways.
    pub failures: BTreeMap<String, Versioned<GatewayFailure>>,
}

/// The scope and endpoint that own a child record.
type Owner = (Scope, EndpointId);

/// All records that decisions and the data plane need.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The newest revision seen.
    pub revision: u64,
    /// By owner.
    pub endpoints: BTreeMap<Owner, EndpointWorld>,
    /// Subnets by key.
    pub subnets: BTreeMap<String, Versioned<Subnet>>,
    /// Security groups by scope and id.
    pub security_groups: BTreeMap<(Scope, SecurityGroupId), Versioned<SecurityGroup>>,
    /// Certificates by ARN.
    pub certificates: BTreeMap<String, Versioned<Certificate>>,
    /// Client tokens by key.
    pub tokens: BTreeMap<String, Versioned<TokenRecord>>,
    /// Gateways by key.
    pub gateways: BTreeMap<String, Versioned<GatewayStatus>>,
    arns: BTreeMap<String, String>,
    groups: BTreeMap<String, (Scope, SecurityGroupId)>,
}

impl World {
    /// Takes in a record that was written. Returns the endpoint it belongs to, if it belongs to one.
    pub fn put(&mut self, key: &str, row: Row, modified: u64) -> Option<Owner> {
        self.revision = self.revision.max(modified);
        let key = key.to_owned();
        match row {
            Row::Subnet(value) => drop(self.subnets.insert(key, Versioned { value, modified })),
            Row::SecurityGroup(value) => {
                let id = (value.scope.clone(), value.id.clone());
                self.groups.insert(key, id.clone());
                self.security_groups.insert(id, Versioned { value: *value, modified });
            }
            Row::Certificate(value) => {
                self.arns.insert(key, value.arn.clone());
                self.certificates.insert(value.arn.clone(), Versioned { value: *value, modified });
            }
            Row::Token(value) => drop(self.tokens.insert(key, Versioned { value, modified })),
            Row::Gateway(value) => drop(self.gateways.insert(key, Versioned { value, modified })),
            row => {
                // The key says whose it is, as it does when it is deleted.
                let owner = Key::owner_of(&key)?;
                self.endpoints.entry(owner.clone()).or_default().put(key, row, modified);
                return Some(owner);
            }
        }
        None
    }

    /// Takes in that a record is there and cannot be read (another version's, or broken).
    pub fn put_unreadable(&mut self, key: &str, modified: u64) -> Option<Owner> {
        self.revision = self.revision.max(modified);
        let owner = Key::owner_of(key)?;
        self.endpoints.entry(owner.clone()).or_default().unreadable.insert(key.to_owned());
        Some(owner)
    }

    /// Takes in that a key was deleted. Returns the endpoint it belonged to, if it belonged to one.
    pub fn delete(&mut self, key: &str, revision: u64) -> Option<Owner> {
        self.revision = self.revision.max(revision);
        self.subnets.remove(key);
        self.tokens.remove(key);
        self.gateways.remove(key);
        if let Some(id) = self.groups.remove(key) {
            self.security_groups.remove(&id);
        }
        if let Some(arn) = self.arns.remove(key) {
            self.certificates.remove(&arn);
        }
        let owner = Key::owner_of(key)?;
        if let Some(of) = self.endpoints.get_mut(&owner) {
            if of.endpoint.as_ref().is_some_and(|(own, _)| own == key) {
                of.endpoint = None;
            }
            of.associations.remove(key);
            of.routes.remove(key);
            of.rules.remove(key);
            of.connections.remove(key);
            of.terminations.remove(key);
            of.unreadable.remove(key);
            of.revocations.remove(key);
            of.policies.remove(key);
            of.failures.remove(key);
            if of.is_empty() {
                self.endpoints.remove(&owner);
            }
        }
        Some(owner)
    }
}

impl EndpointWorld {
    /// Takes in a record of this endpoint.
    fn put(&mut self, key: String, row: Row, modified: u64) {
        self.unreadable.remove(&key);
        match row {
            Row::Endpoint(value) => self.endpoint = Some((key, Versioned { value: *value, modified })),
            Row::Association(value) => drop(self.associations.insert(key, Versioned { value, modified })),
            Row::Route(value) => drop(self.routes.insert(key, Versioned { value, modified })),
            Row::Rule(value) => drop(self.rules.insert(key, Versioned { value, modified })),
            Row::Connection(value) => {
                drop(self.connections.insert(key, Versioned { value: *value, modified }))
            }
            Row::Termination(value) => drop(self.terminations.insert(key, Versioned { value, modified })),
            Row::RevocationList(value) => {
                drop(self.revocations.insert(key, Versioned { value: *value, modified }))
            }
            Row::AuthorizationPolicy(value) => {
                drop(self.policies.insert(key, Versioned { value: *value, modified }))
            }
            Row::GatewayFailure(value) => drop(self.failures.insert(key, Versioned { value, modified })),
            Row::Subnet(_)
            | Row::SecurityGroup(_)
            | Row::Certificate(_)
            | Row::Token(_)
            | Row::Gateway(_) => {}
        }
    }

    /// What is wrong with one of its associations, on whichever gateway.
    pub fn failure(&self, association: &AssociationId) -> Option<&Failure> {
        let mut failures = self.failures.values().map(|record| &record.value);
        failures.find(|failure| failure.association == *association).map(|found| &found.failure)
    }

    /// Whether an association does not say yet what is wrong with it, or still says what no longer is.
    fn untold(&self, association: &Association) -> bool {
        let told = association.status.message.as_ref();
        association.status.code != AssociationCode::AssociationFailed
            && told != self.failure(&association.id).map(|failure| &failure.reason)
    }

    /// Whether something of it waits for gateways: only then can what they report move it.
    pub fn waits(&self) -> bool {
        let endpoint = self.endpoint.as_ref().map(|(_, record)| &record.value);
        endpoint.is_some_and(|endpoint| {
            endpoint.status.code == EndpointCode::Deleting || endpoint.applying != Applying::Nothing
        }) || self.associations.values().any(|record| {
            matches!(record.value.status.code, AssociationCode::Associating | AssociationCode::Disassociating)
                || self.untold(&record.value)
        }) || self
            .routes
            .values()
            .any(|record| matches!(record.value.status.code, RouteCode::Creating | RouteCode::Deleting))
            || self
                .rules
                .values()
                .any(|record| matches!(record.value.status.code, RuleCode::Authorizing | RuleCode::Revoking))
            || self.revocations.values().any(|record| record.value.status.code == RevocationCode::Pending)
            || self.policies.values().any(|record| {
                matches!(
                    record.value.status.code,
                    PolicyCode::Creating | PolicyCode::Updating | PolicyCode::Deleting
                )
            })
            || !self.terminations.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.endpoint.is_none()
            && self.associations.is_empty()
            && self.routes.is_empty()
            && self.rules.is_empty()
            && self.connections.is_empty()
            && self.terminations.is_empty()
            && self.unreadable.is_empty()
            && self.revocations.is_empty()
            && self.policies.is_empty()
            && self.failures.is_empty()
    }
}
