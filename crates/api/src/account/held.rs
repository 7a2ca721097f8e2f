//! Everything that is stored of an account, of one moment.

use model::{
    AccountId, ClientBlockClaim, Endpoint, Key, Kind, ListenerClaim, TransitGateway, TransitGatewayOwner,
};
use serde::de::DeserializeOwned;
use store::{Entry, Store, typed};

use crate::error::ApiError;

/// The records, in key order.
pub(super) struct Held {
    pub entries: Vec<Entry>,
}

/// A record outside an account's own folder that says it owns something nobody else may have.
pub(super) struct Claim {
    pub key: String,
    pub value: Vec<u8>,
}

/// Where an account's records stand.
pub(super) fn folder(account: &AccountId) -> String {
    format!("/v1/{account}/")
}

impl Held {
    pub(super) async fn read(store: &dyn Store, account: &AccountId) -> Result<Self, ApiError> {
        let listing = store.list(&folder(account)).await?;
        Ok(Self { entries: listing.entries })
    }

    /// Whether a gateway knows of any of it.
    pub(super) fn concerns_gateways(&self) -> bool {
        self.entries.iter().any(|entry| Key::kind_of(&entry.key) == Some(Kind::Endpoint))
    }

    /// The records of a kind. One that cannot be read is passed over: nothing but its removal can be asked of it.
    pub(super) fn of<T: DeserializeOwned>(&self, kind: Kind) -> impl Iterator<Item = (&Entry, T)> {
        let entries = self.entries.iter().filter(move |entry| Key::kind_of(&entry.key) == Some(kind));
        entries.filter_map(|entry| Some((entry, typed::decode(&entry.value).ok()?)))
    }
}

/// What another account has of an endpoint: where to find its attachment to a transit gateway of theirs.
pub(super) fn entry_elsewhere(entry: &Entry) -> Option<String> {
    let is_endpoint = Key::kind_of(&entry.key) == Some(Kind::Endpoint);
    let endpoint: Endpoint = is_endpoint.then(|| typed::decode(&entry.value).ok())??;
    let attachment = endpoint.attachment.filter(|of| of.gateway_scope.account != endpoint.scope.account)?;
    Some(Key::attachment_entry(&attachment.gateway_scope, &attachment.id).into())
}

/// What a record claims outside its account's folder: an endpoint its address and its block for clients, a transit
/// gateway its id.
pub(super) fn claims(key: &str, value: &[u8]) -> Vec<Claim> {
    let claim = |key: Key, value: Vec<u8>| Claim { key: key.into(), value };
    match Key::kind_of(key) {
        Some(Kind::Endpoint) => {
            let Ok(endpoint) = typed::decode::<Endpoint>(value) else { return Vec::new() };
            let (spec, id, scope) = (&endpoint.spec, &endpoint.id, &endpoint.scope);
            let listeners = spec.listen.places().map(|at| {
                let of = ListenerClaim { endpoint: id.clone(), scope: scope.clone() };
                claim(Key::listener(at.ip(), spec.transport, at.port()), typed::encode(&of))
            });
            let block = spec.client_ipv6_cidr.as_ref().map(|block| {
                let of = ClientBlockClaim { endpoint: id.clone(), scope: scope.clone() };
                claim(Key::client_block(block), typed::encode(&of))
            });
            listeners.chain(block).collect()
        }
        Some(Kind::TransitGateway) => {
            let Ok(gateway) = typed::decode::<TransitGateway>(value) else { return Vec::new() };
            let of = TransitGatewayOwner { scope: gateway.scope.clone() };
            vec![claim(Key::transit_gateway_owner(&gateway.scope.region, &gateway.id), typed::encode(&of))]
        }
        _ => Vec::new(),
    }
}
