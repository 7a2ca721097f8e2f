//! The one writer: a thread that commits queued transactions in groups.
//!
//! Each transaction of a group is evaluated by itself, against what those before it did, and gets its own revision;
//! only the two syncs of the disk are shared. Nobody is answered before the group is durable, unless all of it is soft.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use redb::{Database, Durability};
use tokio::sync::{mpsc, oneshot};

use super::tables::{Counters, ENTRIES, EntryRows, LOG, META, changes, failed};
use crate::failpoint::Failpoint;
use crate::rows::{Applied, apply};
use crate::watch::{Commit, Hub};
use crate::{MAX_TRANSACTION_BYTES, Outcome, StoreError, Transaction};

/// Most transactions in one group.
const MAX_GROUP: usize = 256;

/// Longest wait for those who were just answered to come again.
const REGATHER_MAX: Duration = Duration::from_millis(4);
/// Between two looks at the queue during that wait.
const REGATHER_STEP: Duration = Duration::from_micros(50);

/// Most soft commits in a row that are not synced: what they freed is not used again before.
const MAX_SOFT: u32 = 256;

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
    /// Soft commits since the last durable one.
    pub(super) softs: u32,
    pub(super) failpoint: Option<Failpoint>,
    /// Why the writer stopped early.
    pub(super) failure: Arc<OnceLock<StoreError>>,
}

impl Writer {
    /// Works until every sender is gone, or the storage fails: then the file must be opened anew, because only that
    /// tells whether the failed commit has happened.
    pub(super) fn run(mut self, jobs: mpsc::Receiver<Job>) {
        let mut queue = Queue(jobs);
        let jobs = &mut queue.0;
        let mut last = Last::default();
        loop {
            let queued = jobs.try_recv().ok();
            let busy = queued.is_some();
            let Some(first) = queued.or_else(|| jobs.blocking_recv()) else { break };
            let mut group = Group::of(first);
            group.gather(jobs);
            if busy {
                group.regather(jobs, last);
            }
            let Group { transactions, answers, durable, .. } = group;
            let (count, started) = (transactions.len(), Instant::now());
            let committed = self.commit(transactions);
            if durable {
                last = Last { count, took: started.elapsed() };
            }
            match committed {
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

    /// One commit of the whole group, durable unless all of it is soft; none when nothing changes.
    fn commit(&mut self, group: Vec<Transaction>) -> Result<(Vec<Outcome>, Vec<Arc<Commit>>), StoreError> {
        let mut write = self.db.begin_write().map_err(failed)?;
        let soft = self.softs < MAX_SOFT && group.iter().all(|transaction| transaction.soft);
        write.set_durability(if soft { Durability::None } else { Durability::Immediate }).map_err(failed)?;
        write.set_two_phase_commit(!soft);
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
            self.softs = if soft { self.softs.saturating_add(1) } else { 0 };
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

/// The writer's end of the queue.
struct Queue(mpsc::Receiver<Job>);

impl Drop for Queue {
    /// A receiver that is merely dropped leaves behind what is sent in that moment, and its caller waits for ever. Closed
    /// first, it has nothing more to give only when nobody is sending any more.
    fn drop(&mut self) {
        self.0.close();
        while self.0.blocking_recv().is_some() {}
    }
}

/// The durable group before.
#[derive(Clone, Copy, Default)]
struct Last {
    count: usize,
    took: Duration,
}

/// Transactions that are committed together.
struct Group {
    transactions: Vec<Transaction>,
    answers: Vec<oneshot::Sender<Result<Outcome, StoreError>>>,
    bytes: usize,
    /// Whether the disk is waited for.
    durable: bool,
}

impl Group {
    fn of(first: Job) -> Self {
        let mut group = Self { transactions: Vec::new(), answers: Vec::new(), bytes: 0, durable: false };
        group.add(first);
        group
    }

    fn add(&mut self, job: Job) {
        self.bytes = self.bytes.saturating_add(job.transaction.bytes());
        self.durable |= !job.transaction.soft;
        self.transactions.push(job.transaction);
        self.answers.push(job.answer);
    }

    /// What else is queued by now.
    fn gather(&mut self, jobs: &mut mpsc::Receiver<Job>) {
        while self.transactions.len() < MAX_GROUP
            && self.bytes < MAX_TRANSACTION_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            self.add(job);
        }
    }

    /// Callers that write one thing after the other would fall into two halves, each waiting for the other's syncs: while
    /// there was no rest, those just answered get a moment, a part of what a commit costs, to be in this group too.
    fn regather(&mut self, jobs: &mut mpsc::Receiver<Job>, last: Last) {
        let expected = self.transactions.len().saturating_add(last.count).min(MAX_GROUP);
        let until = Instant::now() + (last.took / 2).min(REGATHER_MAX);
        while self.durable
            && self.transactions.len() < expected
            && self.bytes < MAX_TRANSACTION_BYTES
            && Instant::now() < until
        {
            std::thread::sleep(REGATHER_STEP);
            self.gather(jobs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_while_the_writer_ends_does_not_wait_for_it() {
        let (jobs, queue) = mpsc::channel(1);
        let room = jobs.try_reserve().unwrap();
        let ending = std::thread::spawn(move || drop(Queue(queue)));
        while !jobs.is_closed() {
            std::thread::yield_now();
        }
        let (answer, mut outcome) = oneshot::channel();
        room.send(Job { transaction: Transaction::default(), answer });
        ending.join().unwrap();
        assert_eq!(outcome.try_recv().err(), Some(oneshot::error::TryRecvError::Closed));
    }
}
