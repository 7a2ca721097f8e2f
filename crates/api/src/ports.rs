//! What the API needs from outside itself, behind traits: connections as they live, and convergence after a write.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{
    Applying, Association, AssociationCode, AttachmentCode, AuthorizationPolicy, AuthorizationRule,
    Connection, ConnectionCode, Endpoint, EndpointCode, EndpointId, Key, Kind, PolicyCode, RevocationCode,
    RevocationList, Route, RouteCode, RuleCode, Scope,
};
use store::{Revision, Store, StoreError, typed};

/// Connections as they live right now; read only, it can command nothing.
pub trait LiveConnections: Send + Sync + 'static {
    /// The live connections of an endpoint, with fresh counters.
    fn live(&self, endpoint: &EndpointId) -> Vec<Connection>;
}

/// No live connections: a node without a gateway.
pub struct NoLiveConnections;

impl LiveConnections for NoLiveConnections {
    fn live(&self, _endpoint: &EndpointId) -> Vec<Connection> {
        Vec::new()
    }
}

/// A committed change of an endpoint.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Whose it is.
    pub scope: Scope,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The revision it was committed at.
    pub revision: Revision,
    /// The store keys it wrote.
    pub keys: Vec<String>,
}

/// Waits until a change has its effect. The frame gives it a bounded time and then answers anyway.
#[async_trait]
pub trait Convergence: Send + Sync + 'static {
    /// Returns when what the change wrote has left its transitional state.
    async fn settled(&self, change: &Committed);
}

/// Watches the store until the written records have left their transitional state.
pub struct StoreConvergence {
    store: Arc<dyn Store>,
}

impl StoreConvergence {
    /// On this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    async fn wait(&self, change: &Committed) -> Result<(), StoreError> {
        // The endpoint may be another account's: a transit gateway's owner changes those attached to it.
        let owner = change.keys.iter().find_map(|key| Key::owner_of(key)).map(|(scope, _)| scope);
        let scope = owner.as_ref().unwrap_or(&change.scope);
        let prefix = format!("/v1/{}/{}/", scope.account, scope.region);
        let mut watch = self.store.watch(&prefix, change.revision).await?;
        let mut waiting = Vec::new();
        for key in &change.keys {
            if let Some(entry) = self.store.get(key).await?
                && is_transitional(key, &entry.value)
            {
                waiting.push(key.clone());
            }
        }
        while !waiting.is_empty() {
            for changed in watch.next().await? {
                // What others wrote is not even read: of that there may be much.
                let Some(at) = waiting.iter().position(|key| *key == changed.key) else { continue };
                if changed.value.as_ref().is_none_or(|value| !is_transitional(&changed.key, value)) {
                    waiting.swap_remove(at);
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Convergence for StoreConvergence {
    async fn settled(&self, change: &Committed) {
        if let Err(error) = self.wait(change).await {
            // The call is committed: the wait is a courtesy only.
            tracing::debug!(error = %error, "convergence could not be watched");
        }
    }
}

/// Waits for nothing: tests, and nodes whose controllers are elsewhere.
pub struct NoConvergence;

#[async_trait]
impl Convergence for NoConvergence {
    async fn settled(&self, _change: &Committed) {}
}

pub(crate) async fn settle_within(port: &dyn Convergence, change: &Committed, limit: Duration) {
    let started = std::time::Instant::now();
    if tokio::time::timeout(limit, port.settled(change)).await.is_ok() {
        metrics::histogram!("bascule_call_to_effect_seconds").record(started.elapsed());
    } else {
        tracing::debug!(endpoint = %change.endpoint, "answered before the change had its effect");
    }
}

/// Whether the record under a key is on its way to somewhere else. What cannot be read is not waited for.
pub(crate) fn is_transitional(key: &str, value: &[u8]) -> bool {
    fn code<T: serde::de::DeserializeOwned>(value: &[u8], transitional: impl Fn(&T) -> bool) -> bool {
        typed::decode::<T>(value).is_ok_and(|record| transitional(&record))
    }
    match Key::kind_of(key) {
        Some(Kind::Endpoint) => code(value, |e: &Endpoint| {
            let joining = e.attachment.as_ref().is_some_and(|attachment| {
                matches!(attachment.status, AttachmentCode::Pending | AttachmentCode::Deleting)
            });
            e.status.code == EndpointCode::Deleting || e.applying != Applying::Nothing || joining
        }),
        Some(Kind::Association) => code(value, |a: &Association| {
            matches!(a.status.code, AssociationCode::Associating | AssociationCode::Disassociating)
        }),
        Some(Kind::Route) => {
            code(value, |r: &Route| matches!(r.status.code, RouteCode::Creating | RouteCode::Deleting))
        }
        Some(Kind::Rule) => code(value, |r: &AuthorizationRule| {
            matches!(r.status.code, RuleCode::Authorizing | RuleCode::Revoking)
        }),
        Some(Kind::RevocationList) => {
            code(value, |r: &RevocationList| r.status.code == RevocationCode::Pending)
        }
        Some(Kind::AuthorizationPolicy) => code(value, |p: &AuthorizationPolicy| {
            matches!(p.status.code, PolicyCode::Creating | PolicyCode::Updating | PolicyCode::Deleting)
        }),
        Some(Kind::Connection) => code(value, |c: &Connection| c.status.code == ConnectionCode::Terminating),
        _ => false,
    }
}
