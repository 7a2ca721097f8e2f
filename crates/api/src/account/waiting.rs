//! Waiting for what the controllers and the gateways do with what was written.

use std::future::Future;

use model::{AccountId, GatewayStatus, Kind, prefix};
use store::{Revision, Store, StoreError, typed};
use tokio::time::Instant;

use super::held::Held;
use crate::error::ApiError;
use crate::ports::is_transitional;

/// What a look at the store came to.
pub(super) enum Look<T> {
    /// What was waited for.
    Done(T),
    /// Not yet; what is missing, for the caller's eyes.
    Not(String),
    /// Somebody wrote in between: at once again.
    Again,
}

/// Looks at the store, and again after every change, until it is done.
///
/// # Errors
/// `NotDone` with what was missing, when the time is up.
pub(super) async fn until<T, F>(
    store: &dyn Store,
    limit: Instant,
    mut look: impl FnMut() -> F,
) -> Result<T, ApiError>
where
    F: Future<Output = Result<Look<T>, ApiError>>,
{
    // From before the first look on, so that no change falls between.
    let mut watch = store.watch(prefix::ALL, store.revision().await?).await?;
    loop {
        let missing = match look().await? {
            Look::Done(value) => return Ok(value),
            Look::Not(missing) => Some(missing),
            Look::Again => None,
        };
        if Instant::now() >= limit {
            let missing = missing.unwrap_or_else(|| "other calls of this account keep writing".to_owned());
            let message = format!("Not everything is done yet ({missing}); the same call may be made again");
            return Err(ApiError::new("NotDone", message).status(503));
        }
        if missing.is_none() {
            tokio::task::yield_now().await;
            continue;
        }
        match tokio::time::timeout_at(limit, watch.next()).await {
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(StoreError::Lagged)) => {
                watch = store.watch(prefix::ALL, store.revision().await?).await?;
            }
            Ok(Err(error)) => return Err(error.into()),
        }
    }
}

/// Everything of the account, once nothing of it is on its way to somewhere else.
pub(super) async fn settled(
    store: &dyn Store,
    account: &AccountId,
    limit: Instant,
) -> Result<Held, ApiError> {
    until(store, limit, || async {
        let held = Held::read(store, account).await?;
        let moving = held.entries.iter().find(|entry| is_transitional(&entry.key, &entry.value));
        Ok(match moving {
            Some(entry) => Look::Not(format!("{} is on its way", super::snapshot::named(entry))),
            None => Look::Done(held),
        })
    })
    .await
}

/// Returns once every gateway has what was written at that revision in force. Where there is no gateway there is nobody
/// to wait for.
pub(super) async fn in_force(store: &dyn Store, revision: Revision, limit: Instant) -> Result<(), ApiError> {
    until(store, limit, || async {
        let (gateways, _) = typed::list::<GatewayStatus>(store, &prefix::unscoped(Kind::Gateway)).await?;
        let behind = gateways.iter().any(|gateway| gateway.value.applied_revision < revision);
        Ok(match behind {
            true => Look::Not("a gateway does not have it in force".to_owned()),
            false => Look::Done(()),
        })
    })
    .await
}
