//! The whole state of an account in one call each: taken away, kept in a document, put back (`docs/testing.md`). For tests
//! that begin from a known state; none of it is AWS's.

mod clear;
mod held;
mod restored;
mod snapshot;
mod waiting;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::AccountId;
use serde_json::json;
use store::{MasterKey, Store};
use tokio::time::Instant;

use crate::error::ApiError;
use held::Held;
use snapshot::Snapshot;

/// How long one of these calls may take. What is not done by then is answered as not done.
const LIMIT: Duration = Duration::from_secs(30);

/// One of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Everything of the account is deleted.
    Reset,
    /// Everything of the account as a document.
    Snapshot,
    /// The account becomes what a document says.
    Restore,
}

impl Deed {
    /// The call of a path below [`PREFIX`].
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/_bascule/reset" => Some(Self::Reset),
            "/_bascule/snapshot" => Some(Self::Snapshot),
            "/_bascule/restore" => Some(Self::Restore),
            _ => None,
        }
    }

    /// Its name in the audit trail, and in permissions after [`SERVICE`].
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reset => "Reset",
            Self::Snapshot => "Snapshot",
            Self::Restore => "Restore",
        }
    }
}

/// Paths of Bascule's own.
pub(crate) const PREFIX: &str = "/_bascule/";
/// The service these calls belong to in permissions and in the audit trail.
pub(crate) const SERVICE: &str = "bascule";

/// The accounts one of these calls is under way for.
#[derive(Default)]
pub(crate) struct Busy(Arc<Mutex<BTreeSet<AccountId>>>);

/// A call under way; over when dropped.
pub(crate) struct Turn {
    busy: Arc<Mutex<BTreeSet<AccountId>>>,
    account: AccountId,
}

impl Busy {
    /// The account's turn: one call at a time.
    pub(crate) fn take(&self, account: &AccountId) -> Result<Turn, ApiError> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(account.clone()) {
            return Ok(Turn { busy: Arc::clone(&self.0), account: account.clone() });
        }
        let message = format!("A reset, snapshot or restore of account {account} is under way");
        Err(ApiError::new("Busy", message).status(409))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.account);
    }
}

/// What the calls work on.
pub(crate) struct Account<'a> {
    pub store: &'a dyn Store,
    pub master_key: &'a MasterKey,
    pub account: &'a AccountId,
}

impl Account<'_> {
    /// Does it, and answers once it is done.
    ///
    /// # Errors
    /// What was not done, and why.
    pub(crate) async fn run(&self, deed: Deed, body: &[u8]) -> Result<String, ApiError> {
        let until = Instant::now() + LIMIT;
        match deed {
            Deed::Reset => {
                self.turn_into(&Snapshot::default(), until).await?;
                Ok(json!({ "account": self.account }).to_string())
            }
            Deed::Snapshot => {
                let held = waiting::settled(self.store, self.account, until).await?;
                Snapshot::of(self.account, &held)?.sealed(self.master_key, self.account)
            }
            Deed::Restore => {
                let snapshot = Snapshot::open(body, self.master_key, self.account)?;
                self.refuse_impossible(&snapshot).await?;
                self.turn_into(&snapshot, until).await?;
                let held = waiting::settled(self.store, self.account, until).await?;
                snapshot.in_force(&held)?;
                Ok(json!({ "account": self.account, "records": snapshot.entries.len() }).to_string())
            }
        }
    }

    async fn held(&self) -> Result<Held, ApiError> {
        Held::read(self.store, self.account).await
    }
}
