//! What a gateway has in force and what is wrong, as records: only what has changed since is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use controllers::World;
use model::{AssociationId, Failure, GatewayFailure, GatewayStatus, Key};
use store::{Op, Store, Transaction, typed};

use crate::AgentError;

/// Most failures of one transaction.
const BATCH_MAX_ROWS: usize = 512;

/// What the store has of a gateway's report.
pub(crate) struct Report {
    store: Arc<dyn Store>,
    node: String,
    revision: Option<u64>,
    failures: BTreeMap<AssociationId, Written>,
}

struct Written {
    key: String,
    failure: Failure,
}

impl Report {
    pub(crate) fn new(store: Arc<dyn Store>, node: &str) -> Self {
        Self { store, node: node.to_owned(), revision: None, failures: BTreeMap::new() }
    }

    /// Takes what the store has now, an earlier life's too, for what was reported: a store that failed may have taken
    /// the last report or not.
    pub(crate) fn begin(&mut self, world: &World) {
        self.revision = None;
        let rows = world.endpoints.values().flat_map(|of| &of.failures);
        self.failures = rows
            .filter(|(_, record)| record.value.node == self.node)
            .map(|(key, record)| {
                let written = Written { key: key.clone(), failure: record.value.failure.clone() };
                (record.value.association.clone(), written)
            })
            .collect();
    }

    /// Reports that a revision is in force but for these failures. They are in the store before the revision is: who
    /// sees a revision sees what is wrong with it.
    pub(crate) async fn write(
        &mut self,
        world: &World,
        revision: u64,
        failures: BTreeMap<AssociationId, Failure>,
    ) -> Result<(), AgentError> {
        let mut ops = self.healed(&failures);
        ops.extend(self.failed(world, failures));
        while ops.len() > BATCH_MAX_ROWS {
            let rest = ops.split_off(BATCH_MAX_ROWS);
            self.commit(std::mem::replace(&mut ops, rest)).await?;
        }
        if self.revision != Some(revision) {
            let status = GatewayStatus { applied_revision: revision };
            ops.push(Op::Put(Key::gateway(&self.node).into(), typed::encode(&status)));
        }
        if !ops.is_empty() {
            self.commit(ops).await?;
        }
        self.revision = Some(revision);
        Ok(())
    }

    /// Forgets what is no longer wrong.
    fn healed(&mut self, failures: &BTreeMap<AssociationId, Failure>) -> Vec<Op> {
        let healed = self.failures.extract_if(.., |id, _| !failures.contains_key(id));
        healed.map(|(_, written)| Op::Delete(written.key)).collect()
    }

    /// Notes what is wrong now and was not, or otherwise.
    fn failed(&mut self, world: &World, failures: BTreeMap<AssociationId, Failure>) -> Vec<Op> {
        let mut new: BTreeMap<AssociationId, Failure> = failures;
        new.retain(|id, failure| self.failures.get(id).is_none_or(|written| written.failure != *failure));
        if new.is_empty() {
            return Vec::new();
        }
        // Whose they are: the data plane knows associations only.
        let associations = world.endpoints.values().flat_map(|of| of.associations.values());
        let mut ops = Vec::new();
        for association in associations.map(|record| &record.value) {
            let Some(failure) = new.remove(&association.id) else { continue };
            let key: String =
                Key::gateway_failure(&association.scope, &association.endpoint, &association.id, &self.node)
                    .into();
            let row = GatewayFailure {
                node: self.node.clone(),
                association: association.id.clone(),
                failure: failure.clone(),
            };
            ops.push(Op::Put(key.clone(), typed::encode(&row)));
            self.failures.insert(association.id.clone(), Written { key, failure });
        }
        // Of one whose record is gone there is nobody to tell.
        ops
    }

    /// Soft: the next life finds out for itself what is in force, and believes nobody before.
    async fn commit(&self, ops: Vec<Op>) -> Result<(), AgentError> {
        self.store.transact(Transaction { ops, ..Transaction::new() }.soft()).await?;
        Ok(())
    }
}
