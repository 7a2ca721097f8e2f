//! The one writer: a thread that commits queued transactions in groups.
//!
//! Each transaction of a group is evaluated by itself, against what those before it did, and gets its own revision;
//! only the two syncs of the disk are shared. Nobody is answered before the group is durable.

use std::sync::{Arc, OnceLock};

use redb::{Database, Durability};
use tokio::sync::{mpsc, oneshot};

use super::tables::{Counters, ENTRIES, EntryRows, LOG, META, changes, failed};
use crate::failpoint::Failpoint;
use crate::rows::{Applied, apply};
use crate::watch::{Commit, Hub};
use crate::{MAX_TRANSACTION_BYTES, Outcome, StoreError, Transaction};

/// Most transactions in one group.
const MAX_GROUP: usize = 256;

/// Transactions that wait for the writer; further callers wait until there is room.
pub(super) const QUEUE: usize = 1024;

/// A transaction on its way to the writer.
pub(super) struct Job {
    pub(super) transaction: Transaction,
    pub(super) answer: oneshot::Sender<Result<Outcome, StoreError>>,
}

pub(super) struct Writer {
    pub(super) db: Arc<Database>,
    pub(super) hub: Arc<Hub>,
    pub(super) counters: Counters,
    pub(super) failpoint: Option<Failpoint>,
    /// Why the writer stopped early.
    pub(super) failure: Arc<OnceLock<StoreError>>,
}

impl Writer {
    /// Works until every sender is gone, or the storage fails: then the file must be opened anew, because only that
    /// tells whether the failed commit has happened.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let (transactions, answers) = gather(first, &mut jobs);
            match self.commit(transactions) {
                Ok((outcomes, commits)) => {
                    for commit in &commits {
                        self.hub.publish(commit);
                    }
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        // A caller that has gone away does not want to know.
                        let _ = answer.send(Ok(outcome));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the store's file failed: no more writes until it is opened anew");
                    self.stop(error.clone());
                    for answer in answers {
                        let _ = answer.send(Err(error.clone()));
                    }
                    return;
                }
            }
        }
        self.stop(StoreError::Closed);
    }

    fn stop(&self, error: StoreError) {
        self.failure.get_or_init(|| error.clone());
        self.hub.close(error);
    }

    /// One durable commit of the whole group, or none when nothing changes.
    fn commit(&mut self, group: Vec<Transaction>) -> Result<(Vec<Outcome>, Vec<Arc<Commit>>), StoreError> {
        let mut write = self.db.begin_write().map_err(failed)?;
        write.set_durability(Durability::Immediate).map_err(failed)?;
        write.set_two_phase_commit(true);
        let mut counters = self.counters;
        let mut outcomes = Vec::with_capacity(group.len());
        let mut commits = Vec::new();
        {
            let mut rows = EntryRows(write.open_table(ENTRIES).map_err(failed)?);
            let mut log = write.open_table(LOG).map_err(failed)?;
            for transaction in group {
                let revision = counters.revision.saturating_add(1);
                outcomes.push(match apply(transaction, revision, &mut rows)? {
                    Applied::Conflict => Outcome::Conflict,
                    Applied::Unchanged => Outcome::Committed(counters.revision),
                    Applied::Changed(changes) => {
                        counters.revision = revision;
                        counters.extent.grow(&changes);
                        log.insert(revision, crate::log::encode(&changes).as_slice()).map_err(failed)?;
                        commits.push(Arc::new(Commit { revision, changes }));
                        Outcome::Committed(revision)
                    }
                });
            }
            while counters.extent.exceeds(self.hub.bounds())
                && let Some((revision, row)) = log.pop_first().map_err(failed)?
            {
                let revision = revision.value();
                counters.extent.shrink(revision, &changes(revision, row.value())?);
            }
            if !commits.is_empty() {
                counters.save(&mut write.open_table(META).map_err(failed)?)?;
            }
        }
        if commits.is_empty() {
            write.abort().map_err(failed)?;
        } else {
            let number = self.failpoint.map(Failpoint::before);
            write.commit().map_err(failed)?;
            if let (Some(failpoint), Some(number)) = (self.failpoint, number) {
                failpoint.after(number);
            }
            self.counters = counters;
        }
        Ok((outcomes, commits))
    }
}

impl Drop for Writer {
    /// After a panic, too, nobody waits for a writer that is not there.
    fn drop(&mut self) {
        self.stop(StoreError::Failed("the writer stopped".to_owned()));
    }
}

/// `first` and what else is queued by now.
fn gather(
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
) -> (Vec<Transaction>, Vec<oneshot::Sender<Result<Outcome, StoreError>>>) {
    let mut bytes = first.transaction.bytes();
    let mut transactions = vec![first.transaction];
    let mut answers = vec![first.answer];
    while transactions.len() < MAX_GROUP
        && bytes < MAX_TRANSACTION_BYTES
        && let Ok(job) = jobs.try_recv()
    {
        bytes = bytes.saturating_add(job.transaction.bytes());
        transactions.push(job.transaction);
        answers.push(job.answer);
    }
    (transactions, answers)
}
