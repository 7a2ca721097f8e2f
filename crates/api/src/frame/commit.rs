//! Running an action: read and decide, commit in one transaction, and again after a conflict; then wait for the effect.

use std::time::Duration;

use store::{Outcome, Store};

use super::token::{Seen, Token};
use super::{Api, Decoded};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::ports::{Committed, settle_within};

/// How often an action is asked again when others wrote in between.
const MAX_ATTEMPTS: usize = 64;

/// The action's encoded answer, once its draft is committed.
pub(crate) async fn run(api: &Api, cx: &Cx<'_>, decoded: &Decoded) -> Result<String, ApiError> {
    let token = Token::new(cx.scope, decoded.name, decoded.action.client_token(), &decoded.parameters_hash);
    for _ in 0..MAX_ATTEMPTS {
        match attempt(api, cx, decoded, token.as_ref()).await? {
            Some(answer) => return Ok(answer),
            None => tokio::task::yield_now().await,
        }
    }
    tracing::warn!(action = decoded.name, "gave up after {MAX_ATTEMPTS} conflicts");
    Err(ApiError::unavailable())
}

/// `None`: once more. Either a conflict, and nothing was written, or a step of a larger work.
async fn attempt(
    api: &Api,
    cx: &Cx<'_>,
    decoded: &Decoded,
    token: Option<&Token<'_>>,
) -> Result<Option<String>, ApiError> {
    let store = api.store.as_ref();
    let old = match token {
        Some(token) => match token.look(store, cx.now).await? {
            Seen::Answered(answer) => return Ok(Some(answer)),
            Seen::Nothing(old) => old,
        },
        None => None,
    };
    let decision = match decoded.action.run(cx).await {
        Ok(decision) => decision,
        // The same call may have been done a moment ago: its own effect is then no mistake of this one.
        Err(error) => return first_answer(store, cx, token).await?.map(Some).ok_or(error),
    };
    let (answer, mut draft) = (decision.answer, decision.draft);
    if draft.is_empty() {
        return Ok(Some(first_answer(store, cx, token).await?.unwrap_or(answer)));
    }
    if decision.unfinished {
        store.transact(draft.into_transaction()).await?;
        return Ok(None);
    }
    let endpoint = draft.endpoint().cloned();
    let keys = draft.keys();
    if let Some(token) = token {
        token.join(&mut draft, &answer, cx.now, old.as_ref());
    }
    let Outcome::Committed(revision) = store.transact(draft.into_transaction()).await? else {
        return Ok(None);
    };
    if let Some(endpoint) = endpoint {
        let change = Committed { scope: cx.scope.clone(), endpoint, revision, keys };
        let limit = Duration::from_millis(api.config.settle_timeout_ms);
        settle_within(api.convergence.as_ref(), &change, limit).await;
    }
    Ok(Some(answer))
}

/// What the same call was answered a moment ago, while this one was deciding.
async fn first_answer(
    store: &dyn Store,
    cx: &Cx<'_>,
    token: Option<&Token<'_>>,
) -> Result<Option<String>, ApiError> {
    let Some(token) = token else { return Ok(None) };
    match token.look(store, cx.now).await? {
        Seen::Answered(answer) => Ok(Some(answer)),
        Seen::Nothing(_) => Ok(None),
    }
}
