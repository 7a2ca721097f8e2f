//! The store's records as a [`World`], kept up to date by a gap-free watch.

use std::collections::BTreeSet;
use std::sync::Arc;

use controllers::{Row, World};
use model::{EndpointId, Key, Kind, Scope, prefix};
use store::{Change, Listing, Store, StoreError, Watch};

use crate::AgentError;

/// Follows the store.
pub(crate) struct Reader {
    watch: Watch,
}

/// What a batch of changes touched.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Whether the data plane's desired state may have changed.
    pub concerns_gateway: bool,
    /// Whether something changed that endpoints refer to.
    pub(crate) shared: bool,
    /// Whether what gateways report has changed.
    pub gateways: bool,
    /// Endpoints of which something changed.
    pub endpoints: BTreeSet<(Scope, EndpointId)>,
}

impl Reader {
    /// Lists everything and watches from there.
    pub(crate) async fn start(store: Arc<dyn Store>) -> Result<(World, Self), AgentError> {
        let listing = store.list(prefix::ALL).await?;
        let revision = listing.revision;
        // Long work where much is stored: calls must not wait for it.
        let world = tokio::task::spawn_blocking(move || world_of(listing)).await;
        let world = world.map_err(|_| StoreError::Failed("reading everything was cut off".to_owned()))?;
        let watch = store.watch(prefix::ALL, revision).await?;
        Ok((world, Self { watch }))
    }

    /// Takes in changes until the world is as new as `revision`, which the store has given to somebody already.
    pub(crate) async fn catch_up(&mut self, world: &mut World, revision: u64) -> Result<(), AgentError> {
        while world.revision < revision {
            self.next(world).await?;
        }
        Ok(())
    }

    /// Waits for changes and takes them in. Cancel safe: nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self, world: &mut World) -> Result<Touched, AgentError> {
        let changes = self.watch.next().await?;
        Ok(take_in(world, &changes))
    }
}

fn world_of(listing: Listing) -> World {
    let mut world = World::default();
    for entry in listing.entries {
        put(&mut world, &entry.key, &entry.value, entry.modified);
    }
    world.revision = listing.revision;
    world
}

fn take_in(world: &mut World, changes: &[Change]) -> Touched {
    let mut touched = Touched::default();
    for change in changes {
        let owner = match &change.value {
            Some(value) => put(world, &change.key, value, change.revision),
            None => world.delete(&change.key, change.revision),
        };
        match Key::kind_of(&change.key) {
            Some(
                Kind::Endpoint
                | Kind::Association
                | Kind::Route
                | Kind::Rule
                | Kind::Termination
                | Kind::RevocationList
                | Kind::AuthorizationPolicy,
            ) => touched.concerns_gateway = true,
            Some(Kind::Subnet | Kind::SecurityGroup | Kind::Certificate) => {
                touched.concerns_gateway = true;
                touched.shared = true;
            }
            Some(Kind::Gateway) => touched.gateways = true,
            Some(
                Kind::Connection
                | Kind::AssociationClaim
                | Kind::GatewayFailure
                | Kind::Vpc
                | Kind::Token
                | Kind::Listener
                | Kind::ClientBlock
                | Kind::SecurityRule
                | Kind::TransitGateway
                | Kind::AttachmentEntry
                | Kind::TransitGatewayOwner
                | Kind::SamlProvider
                | Kind::LogGroup
                | Kind::LogStream
                | Kind::LogBatch,
            )
            | None => {}
        }
        touched.endpoints.extend(owner);
    }
    touched
}

fn put(world: &mut World, key: &str, value: &[u8], modified: u64) -> Option<(Scope, EndpointId)> {
    match decode(key, value) {
        Ok(Some(row)) => world.put(key, row, modified),
        Ok(None) => {
            world.revision = world.revision.max(modified);
            None
        }
        Err(error) => {
            tracing::error!(key, error = &error as &dyn std::error::Error, "a stored record cannot be read");
            world.put_unreadable(key, modified)
        }
    }
}

fn decode(key: &str, value: &[u8]) -> Result<Option<Row>, store::StoreError> {
    use store::typed::decode as json;
    Ok(match Key::kind_of(key) {
        Some(Kind::Endpoint) => Some(Row::Endpoint(Box::new(json(value)?))),
        Some(Kind::Association) => Some(Row::Association(json(value)?)),
        Some(Kind::Route) => Some(Row::Route(json(value)?)),
        Some(Kind::Rule) => Some(Row::Rule(json(value)?)),
        Some(Kind::Connection) => Some(Row::Connection(Box::new(json(value)?))),
        Some(Kind::Termination) => Some(Row::Termination(json(value)?)),
        Some(Kind::RevocationList) => Some(Row::RevocationList(Box::new(json(value)?))),
        Some(Kind::AuthorizationPolicy) => Some(Row::AuthorizationPolicy(Box::new(json(value)?))),
        Some(Kind::Subnet) => Some(Row::Subnet(json(value)?)),
        Some(Kind::SecurityGroup) => Some(Row::SecurityGroup(Box::new(json(value)?))),
        Some(Kind::Certificate) => Some(Row::Certificate(Box::new(json(value)?))),
        Some(Kind::Token) => Some(Row::Token(json(value)?)),
        Some(Kind::Gateway) => Some(Row::Gateway(json(value)?)),
        Some(Kind::GatewayFailure) => Some(Row::GatewayFailure(json(value)?)),
        Some(
            Kind::AssociationClaim
            | Kind::Vpc
            | Kind::Listener
            | Kind::ClientBlock
            | Kind::SecurityRule
            | Kind::TransitGateway
            | Kind::AttachmentEntry
            | Kind::TransitGatewayOwner
            | Kind::SamlProvider
            | Kind::LogGroup
            | Kind::LogStream
            | Kind::LogBatch,
        )
        | None => None,
    })
}
