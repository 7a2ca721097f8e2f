//! The records as last seen, by endpoint.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Applying, Association, AssociationCode, AuthorizationPolicy, AuthorizationRule, Certificate, Connection,
    Endpoint, EndpointCode, EndpointId, GatewayStatus, Key, PolicyCode, RevocationCode, RevocationList,
    Route, RouteCode, RuleCode, Scope, SecurityGroup, SecurityGroupId, Subnet, Termination, TokenRecord,
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
    owners: BTreeMap<String, Owner>,
    arns: BTreeMap<String, String>,
    groups: BTreeMap<String, (Scope, SecurityGroupId)>,
}

impl World {
    /// Takes in a record that was written. Returns the endpoint it belongs to, if it belongs to one.
    pub fn put(&mut self, key: &str, row: Row, modified: u64) -> Option<Owner> {
        self.revision = self.revision.max(modified);
        let owner = match &row {
            Row::Endpoint(r) => Some((r.scope.clone(), r.id.clone())),
            Row::Association(r) => Some((r.scope.clone(), r.endpoint.clone())),
            Row::Route(r) => Some((r.scope.clone(), r.endpoint.clone())),
            Row::Rule(r) => Some((r.scope.clone(), r.endpoint.clone())),
            Row::Connection(r) => Some((r.scope.clone(), r.endpoint.clone())),
            Row::Termination(r) => Some((r.scope.clone(), r.endpoint.clone())),
            Row::RevocationList(r) => Some((r.scope.clone(), r.endpoint.clone())),
            Row::AuthorizationPolicy(r) => Some((r.scope.clone(), r.endpoint.clone())),
            Row::Subnet(_)
            | Row::SecurityGroup(_)
            | Row::Certificate(_)
            | Row::Token(_)
            | Row::Gateway(_) => None,
        };
        let key = key.to_owned();
        let Some(owner) = owner else {
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
                Row::Endpoint(_)
                | Row::Association(_)
                | Row::Route(_)
                | Row::Rule(_)
                | Row::Connection(_)
                | Row::Termination(_)
                | Row::RevocationList(_)
                | Row::AuthorizationPolicy(_) => {}
            }
            return None;
        };
        self.owners.insert(key.clone(), owner.clone());
        let of = self.endpoints.entry(owner.clone()).or_default();
        of.unreadable.remove(&key);
        match row {
            Row::Endpoint(value) => of.endpoint = Some((key, Versioned { value: *value, modified })),
            Row::Association(value) => drop(of.associations.insert(key, Versioned { value, modified })),
            Row::Route(value) => drop(of.routes.insert(key, Versioned { value, modified })),
            Row::Rule(value) => drop(of.rules.insert(key, Versioned { value, modified })),
            Row::Connection(value) => drop(of.connections.insert(key, Versioned { value: *value, modified })),
            Row::Termination(value) => drop(of.terminations.insert(key, Versioned { value, modified })),
            Row::RevocationList(value) => {
                drop(of.revocations.insert(key, Versioned { value: *value, modified }))
            }
            Row::AuthorizationPolicy(value) => {
                drop(of.policies.insert(key, Versioned { value: *value, modified }))
            }
            Row::Subnet(_)
            | Row::SecurityGroup(_)
            | Row::Certificate(_)
            | Row::Token(_)
            | Row::Gateway(_) => {}
        }
        Some(owner)
    }

    /// Takes in that a record is there and cannot be read (another version's, or broken).
    pub fn put_unreadable(&mut self, key: &str, modified: u64) -> Option<Owner> {
        self.revision = self.revision.max(modified);
        let owner = Key::owner_of(key)?;
        self.owners.insert(key.to_owned(), owner.clone());
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
        let owner = self.owners.remove(key)?;
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
            if of.is_empty() {
                self.endpoints.remove(&owner);
            }
        }
        Some(owner)
    }
}

impl EndpointWorld {
    /// Whether something of it waits for gateways: only then can what they report move it.
    pub fn waits(&self) -> bool {
        let endpoint = self.endpoint.as_ref().map(|(_, record)| &record.value);
        endpoint.is_some_and(|endpoint| {
            endpoint.status.code == EndpointCode::Deleting || endpoint.applying != Applying::Nothing
        }) || self.associations.values().any(|record| {
            matches!(record.value.status.code, AssociationCode::Associating | AssociationCode::Disassociating)
                || record.value.status.message.is_some()
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
    }
}
