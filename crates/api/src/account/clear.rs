//! The account becomes something else: first no client is carried any more, then the records change in one transaction.
//! A reset is the same with nothing to become.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Association, AttachmentCode, AttachmentEntry, Endpoint, EndpointId, Key, Kind, Scope,
    TransitGatewayOwner, prefix,
};
use store::typed::{self, Record};
use store::{Check, Entry, MAX_TRANSACTION_STEPS, Op, Outcome, Transaction};
use tokio::time::Instant;

use super::held::{self, Held};
use super::snapshot::Snapshot;
use super::waiting::{self, Look};
use super::{Account, restored};
use crate::draft::Draft;
use crate::ec2::disassociation;
use crate::error::ApiError;

/// Most steps of a transaction here: room for one record's claims below the store's bound.
const STEPS_MAX: usize = MAX_TRANSACTION_STEPS - 8;

/// An endpoint with its associations.
type Carrying = (Record<Endpoint>, Vec<Record<Association>>);

impl Account<'_> {
    /// Refuses a snapshot that could not be written, before anything is touched: an address that is another account's
    /// now, or more than one transaction's worth.
    ///
    /// # Errors
    /// As said.
    pub(super) async fn refuse_impossible(&self, target: &Snapshot) -> Result<(), ApiError> {
        let held = self.held().await?;
        let transaction = self.transaction(&held, target).await?;
        let steps = transaction.checks.len().saturating_add(transaction.ops.len());
        if steps > STEPS_MAX {
            let message = format!(
                "Restoring takes {steps} steps in one transaction, at most {STEPS_MAX} are possible; a reset before it takes some away"
            );
            return Err(ApiError::new("TooLarge", message).status(413));
        }
        Ok(())
    }

    /// Ends every session and association, then makes the records those of the target, and returns once the gateways
    /// have it in force.
    ///
    /// # Errors
    /// The time was up, or an address of the target was taken meanwhile.
    pub(super) async fn turn_into(&self, target: &Snapshot, limit: Instant) -> Result<(), ApiError> {
        let change = waiting::until(self.store, limit, || async {
            let held = self.held().await?;
            if let Some(carrying) = self.leave(&held).await? {
                return Ok(Look::Not(carrying));
            }
            let outcome = match target.entries.is_empty() {
                true => self.remove_all(&held).await?,
                false => self.store.transact(self.transaction(&held, target).await?).await?,
            };
            Ok(match outcome {
                Outcome::Committed(revision) => Look::Done((revision, held.concerns_gateways())),
                Outcome::Conflict => Look::Again,
            })
        });
        let (revision, concerns_gateways) = change.await?;
        if concerns_gateways || target.concerns_gateways() {
            waiting::in_force(self.store, revision, limit).await?;
        }
        Ok(())
    }

    /// Marks what still carries clients, as disassociating it does, and says what there is of it.
    async fn leave(&self, held: &Held) -> Result<Option<String>, ApiError> {
        let mut carrying = None;
        for (endpoint, associations) in carriers(held) {
            let mut draft = Draft::default();
            if let Some(last) = associations.last() {
                carrying = Some(format!("association {}", told(&last.value)));
            }
            disassociation::all_leave(&mut draft, &associations);
            if !draft.is_empty() {
                let mut counted = endpoint.value.clone();
                counted.association_epoch = counted.association_epoch.saturating_add(1);
                draft.replace(&endpoint, &counted);
                // A conflict is looked at again with the change that made it.
                self.store.transact(draft.into_transaction()).await?;
            }
        }
        for (_, entry) in held.of::<AttachmentEntry>(Kind::AttachmentEntry) {
            if entry.endpoint_scope.account != *self.account && self.detach(&entry).await? {
                carrying = Some(format!("transit gateway attachment {}", entry.id));
            }
        }
        Ok(carrying)
    }

    /// Takes another account's endpoint off a transit gateway of this one, as its owner may; says whether it is on it.
    async fn detach(&self, entry: &AttachmentEntry) -> Result<bool, ApiError> {
        let key = Key::endpoint(&entry.endpoint_scope, &entry.endpoint);
        let Some(endpoint) = typed::get::<Endpoint>(self.store, key.as_str()).await? else {
            return Ok(false);
        };
        let mut leaving = endpoint.value.clone();
        match &mut leaving.attachment {
            Some(attachment) if attachment.id == entry.id => match attachment.status {
                AttachmentCode::Deleting => return Ok(true),
                AttachmentCode::Deleted => return Ok(false),
                AttachmentCode::PendingAcceptance
                | AttachmentCode::Pending
                | AttachmentCode::Rejected
                | AttachmentCode::Available => attachment.status = AttachmentCode::Deleting,
            },
            _ => return Ok(false),
        }
        leaving.association_epoch = leaving.association_epoch.saturating_add(1);
        let mut draft = Draft::default();
        draft.replace(&endpoint, &leaving);
        let under = prefix::under(&entry.endpoint_scope, Kind::Association, &entry.endpoint);
        disassociation::all_leave(&mut draft, &typed::list::<Association>(self.store, &under).await?.0);
        self.store.transact(draft.into_transaction()).await?;
        Ok(true)
    }

    /// Removes every record, in as few transactions as it takes. What comes to be meanwhile and refers to any of it meets
    /// a conflict, here or there.
    async fn remove_all(&self, held: &Held) -> Result<Outcome, ApiError> {
        let is_endpoint = |entry: &&Entry| Key::kind_of(&entry.key) == Some(Kind::Endpoint);
        let (endpoints, others): (Vec<&Entry>, Vec<&Entry>) = held.entries.iter().partition(is_endpoint);
        let mut transaction = Transaction::new();
        // Endpoints last: the revision that is waited for is one that gateways act on.
        for entry in others.into_iter().chain(endpoints) {
            if transaction.checks.len().saturating_add(transaction.ops.len()) >= STEPS_MAX
                && self.store.transact(std::mem::take(&mut transaction)).await? == Outcome::Conflict
            {
                return Ok(Outcome::Conflict);
            }
            remove(&mut transaction, entry, &BTreeSet::new());
        }
        Ok(self.store.transact(transaction).await?)
    }

    /// The one transaction that makes the records those of the target.
    ///
    /// # Errors
    /// What the target claims is another account's.
    async fn transaction(&self, held: &Held, target: &Snapshot) -> Result<Transaction, ApiError> {
        let mut keys: BTreeSet<String> = target.entries.iter().map(|(key, _)| key.clone()).collect();
        let mut transaction = Transaction::new();
        for (key, value) in &target.entries {
            for claim in held::claims(key, value) {
                // All three kinds of claims name the owner's scope.
                match typed::get::<TransitGatewayOwner>(self.store, &claim.key).await {
                    Ok(Some(of)) if of.value.scope.account != *self.account => {
                        let message =
                            format!("What the snapshot had is another account's now: {}", claim.key);
                        return Err(ApiError::new("Taken", message).status(409));
                    }
                    Ok(Some(of)) => {
                        transaction.checks.push(Check::Modified(claim.key.clone(), of.modified));
                    }
                    Ok(None) => transaction.checks.push(Check::Absent(claim.key.clone())),
                    Err(error) => return Err(error.into()),
                }
                transaction.ops.push(Op::Put(claim.key.clone(), claim.value));
                keys.insert(claim.key);
            }
            transaction.ops.push(Op::Put(key.clone(), restored::on_its_way(key, value)?));
        }
        for entry in &held.entries {
            remove(&mut transaction, entry, &keys);
        }
        Ok(transaction)
    }
}

/// Removes a record as it was read, and what it claims; but what is written anew.
fn remove(transaction: &mut Transaction, entry: &Entry, written: &BTreeSet<String>) {
    // What gateways, log writers and sweeps write of their own says nothing that this would overlook.
    let is_by_product = matches!(
        Key::kind_of(&entry.key),
        Some(Kind::Connection | Kind::Termination | Kind::GatewayFailure | Kind::LogBatch | Kind::Token)
    );
    if !is_by_product {
        transaction.checks.push(Check::Modified(entry.key.clone(), entry.modified));
    }
    let claims = held::claims(&entry.key, &entry.value).into_iter().map(|claim| claim.key);
    let gone = std::iter::once(entry.key.clone()).chain(claims).chain(held::entry_elsewhere(entry));
    let gone = gone.filter(|key| !written.contains(key));
    transaction.ops.extend(gone.map(Op::Delete));
}

/// The endpoints that have associations.
fn carriers(held: &Held) -> Vec<Carrying> {
    let record = |entry: &Entry| (entry.key.clone(), entry.modified);
    let mut of: BTreeMap<(Scope, EndpointId), Vec<Record<Association>>> = BTreeMap::new();
    for (entry, value) in held.of::<Association>(Kind::Association) {
        let (key, modified) = record(entry);
        let owner = (value.scope.clone(), value.endpoint.clone());
        of.entry(owner).or_default().push(Record { key, value, modified });
    }
    let endpoints = held.of::<Endpoint>(Kind::Endpoint);
    endpoints
        .filter_map(|(entry, value)| {
            let associations = of.remove(&(value.scope.clone(), value.id.clone()))?;
            let (key, modified) = record(entry);
            Some((Record { key, value, modified }, associations))
        })
        .collect()
}

/// An association as a message may name it, with what is wrong with it.
fn told(association: &Association) -> String {
    match &association.status.message {
        Some(why) => format!("{}: {}", association.id, crate::error::short(why)),
        None => association.id.to_string(),
    }
}
