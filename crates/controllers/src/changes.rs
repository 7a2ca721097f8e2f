//! What a decision wants written, and what it was decided on.

use model::{
    Association, AuthorizationPolicy, AuthorizationRule, Connection, Endpoint, RevocationList, Route,
};

/// A record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An endpoint.
    Endpoint(Box<Endpoint>),
    /// An association.
    Association(Association),
    /// A route.
    Route(Route),
    /// An authorization rule.
    Rule(AuthorizationRule),
    /// A client certificate revocation list.
    RevocationList(Box<RevocationList>),
    /// An authorization policy.
    AuthorizationPolicy(Box<AuthorizationPolicy>),
    /// A connection.
    Connection(Box<Connection>),
}

/// One transaction: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys and the revisions they must still have.
    pub expect: Vec<(String, u64)>,
    /// Records to write.
    pub put: Vec<(String, Write)>,
    /// Keys to delete.
    pub delete: Vec<String>,
}

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }
}
