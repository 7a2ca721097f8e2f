//! Connection logs (spec: aws-client-vpn §5.1): an entry for each beginning, end and refusal of an endpoint that logs,
//! from time to time one with fresh counters, and one where an authorization policy in shadow mode comes to deny. Each
//! tells the newest evaluation of the endpoint's policy. Written beside the road of sessions, by a bounded queue.

mod entry;
mod evaluation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use controllers::World;
use engine::{DataPlane, SessionEvent};
use gateway::cedar::Decision;
use gateway::{ConnectionStart, PolicyEvaluation, Traffic};
use model::{ConnectionId, ConnectionLog, EndpointId, Key, LogBatch, LogEvent, LogGroup, LogStream, Scope};
use sha2::{Digest, Sha256};
use store::{Check, Op, Outcome, Store, StoreError, Transaction, typed};
use tokio::sync::mpsc;

use crate::connection_logs::entry::Entry;
use crate::connection_logs::evaluation::Evaluation;

/// How often connections that go on are told of, unless a setting says otherwise. UNVERIFIED: AWS's own interval.
pub const UPDATE_INTERVAL: Duration = Duration::from_secs(300);
/// Entries that wait to be written; beyond it new ones are lost and counted.
const QUEUE_MAX: usize = 65_536;
/// Entries written in one go.
const BATCH_MAX: usize = 1_024;
/// Tries of one write before its entries are lost and counted.
const ATTEMPTS_MAX: usize = 16;
/// Pause before a store that failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// Old batches that one write looks at.
const FORGOTTEN_AT_ONCE: usize = 16;

/// Takes each entry as a line of JSON, beside the log group.
pub trait Lines: Send + Sync + 'static {
    /// One line, without its end.
    fn line(&mut self, line: &str);
}

/// Makes entries of what happens to sessions.
pub struct ConnectionLogs {
    sender: mpsc::Sender<Line>,
    open: BTreeMap<ConnectionId, Open>,
}

/// A connection that is there.
struct Open {
    start: ConnectionStart,
    /// What the authorization policy said of it last, where there is one.
    decision: Option<Decision>,
}

/// Writes the entries.
pub struct ConnectionLogWriter {
    receiver: mpsc::Receiver<Line>,
    store: Arc<dyn Store>,
    lines: Option<Box<dyn Lines>>,
}

/// Where an entry goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    scope: Scope,
    group: String,
    stream: String,
}

struct Line {
    place: Place,
    text: String,
}

/// Both halves; `lines` takes the entries too.
pub fn connection_logs(
    store: Arc<dyn Store>,
    lines: Option<Box<dyn Lines>>,
) -> (ConnectionLogs, ConnectionLogWriter) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let logs = ConnectionLogs { sender, open: BTreeMap::new() };
    (logs, ConnectionLogWriter { receiver, store, lines })
}

impl ConnectionLogs {
    /// Makes the entry of an event, if its endpoint logs.
    pub(crate) fn event(&mut self, event: &SessionEvent, world: &World) {
        match event {
            SessionEvent::Connected(start) => {
                let at = start.established_at.0;
                let entry = || Entry::live(start, at, Traffic::default());
                self.say(world, &start.scope, &start.endpoint, start.evaluation.as_deref(), entry);
                let decision = start.evaluation.as_ref().map(|evaluation| evaluation.verdict.decision);
                // Newer ones come with what they are told by.
                let start = ConnectionStart { evaluation: None, ..start.clone() };
                self.open.insert(start.id.clone(), Open { start, decision });
            }
            SessionEvent::Evaluated(evaluation) => self.evaluated(evaluation, world),
            SessionEvent::Ended(end) => {
                let Some(Open { mut start, .. }) = self.open.remove(&end.id) else { return };
                start.peer = end.peer;
                let (at, traffic) = (end.ended_at.0, end.counters.read());
                let entry = || Entry::ended(&start, at, traffic);
                self.say(world, &start.scope, &start.endpoint, end.evaluation.as_deref(), entry);
            }
            SessionEvent::Refused(attempt) => {
                let entry = || Entry::refused(attempt);
                self.say(world, &attempt.scope, &attempt.endpoint, attempt.evaluation.as_deref(), entry);
            }
        }
    }

    /// Tells at once where a policy in shadow mode comes to deny a connection: in earnest it would end here. What does
    /// not differ from the evaluation before, or is permitted, is told by the next entry that has other reasons; one
    /// that ends the connection by the end's own.
    ///
    /// UNVERIFIED: what AWS writes, and when, for evaluations of a session that goes on.
    fn evaluated(&mut self, evaluation: &PolicyEvaluation, world: &World) {
        let Some(open) = self.open.get_mut(&evaluation.connection) else { return };
        let decision = evaluation.verdict.decision;
        let before = open.decision.replace(decision);
        if evaluation.shadow && decision != Decision::Permit && before != Some(decision) {
            let start = open.start.clone();
            let entry = || Entry::live(&start, evaluation.at.0, start.counters.read());
            self.say(world, &start.scope, &start.endpoint, Some(evaluation), entry);
        }
    }

    /// Tells of everyone who is connected, with the counters of now.
    pub(crate) fn update(&mut self, plane: &dyn DataPlane, world: &World) {
        let now = unix_ms() / 1_000;
        let live = plane.live();
        for one in &live {
            let start = &one.start;
            let entry = || Entry::live(start, now, one.traffic);
            self.say(world, &start.scope, &start.endpoint, start.evaluation.as_deref(), entry);
        }
        // What ended while its event was lost is not waited for.
        let live: BTreeSet<ConnectionId> = live.into_iter().map(|one| one.start.id).collect();
        self.open.retain(|id, _| live.contains(id));
    }

    fn say(
        &self,
        world: &World,
        scope: &Scope,
        endpoint: &EndpointId,
        evaluation: Option<&PolicyEvaluation>,
        entry: impl FnOnce() -> Entry,
    ) {
        let Some(of) = world.endpoints.get(&(scope.clone(), endpoint.clone())) else { return };
        let Some((_, record)) = &of.endpoint else { return };
        let ConnectionLog {
            enabled: true,
            group: Some(group),
            stream: Some(stream),
            include_policy_context: with_context,
        } = &record.value.spec.connection_log
        else {
            return;
        };
        let mut entry = entry();
        entry.authorization_policy_evaluation = evaluation.map(|of| Evaluation::new(of, *with_context));
        entry.transport_protocol = record.value.spec.transport.as_str();
        let place = Place { scope: scope.clone(), group: group.clone(), stream: stream.clone() };
        let text = serde_json::to_string(&entry).unwrap_or_default();
        if self.sender.try_send(Line { place, text }).is_err() {
            lost(1);
        }
    }
}

/// Entries that are not written: the queue was full, the log group is gone, or the store did not take them.
fn lost(entries: usize) {
    metrics::counter!("bascule_connection_log_lost_total")
        .increment(u64::try_from(entries).unwrap_or(u64::MAX));
}

impl ConnectionLogWriter {
    /// Writes until the other half is gone and everything is written.
    pub async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.receiver.recv_many(&mut waiting, BATCH_MAX).await > 0 {
            let mut places: BTreeMap<Place, Vec<String>> = BTreeMap::new();
            for line in waiting.drain(..) {
                if let Some(lines) = &mut self.lines {
                    lines.line(&line.text);
                }
                places.entry(line.place).or_default().push(line.text);
            }
            for (place, texts) in places {
                let count = texts.len();
                if let Err(why) = self.put(&place, &texts).await {
                    lost(count);
                    tracing::warn!(
                        group = place.group,
                        stream = place.stream,
                        count,
                        "connection log: {why}"
                    );
                }
            }
        }
    }

    async fn put(&self, place: &Place, texts: &[String]) -> Result<(), String> {
        let mut last = String::from("its stream kept changing");
        for _ in 0..ATTEMPTS_MAX {
            match self.append(place, texts).await {
                Ok(Some(Outcome::Committed(_))) => return Ok(()),
                Ok(Some(Outcome::Conflict)) => {}
                Ok(None) => return Err("its log group is not there".to_owned()),
                Err(error) => {
                    last = error.to_string();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Err(last)
    }

    /// One try; `None`: there is no such group. A stream that is not there is made, as AWS makes it.
    async fn append(&self, place: &Place, texts: &[String]) -> Result<Option<Outcome>, StoreError> {
        let store = &*self.store;
        let now_ms = unix_ms();
        let group_key: String = Key::log_group(&place.scope, &place.group).into();
        let Some(group) = typed::get::<LogGroup>(store, &group_key).await? else { return Ok(None) };
        let mut transaction = Transaction { checks: Vec::new(), ops: Vec::new(), soft: false };
        transaction.checks.push(Check::Modified(group_key.clone(), group.modified));
        let group = group.value;
        let stream_key: String = Key::log_stream(&place.scope, &group.id, &place.stream).into();
        let mut stream = match typed::get::<LogStream>(store, &stream_key).await? {
            Some(record) => {
                transaction.checks.push(Check::Modified(stream_key.clone(), record.modified));
                record.value
            }
            None => {
                transaction.checks.push(Check::Absent(stream_key.clone()));
                // So that the end of the group meets a conflict.
                transaction.ops.push(Op::Put(group_key, typed::encode(&group)));
                LogStream::new(stream_id(&stream_key, now_ms), place.stream.clone(), &group, now_ms)
            }
        };
        let stream_id = stream.id.clone();
        let batch_key = |number: u64| -> String { Key::log_batch(&place.scope, &stream_id, number).into() };
        let events = texts.iter().map(|text| LogEvent {
            at_ms: now_ms,
            ingested_at_ms: now_ms,
            message: text.clone(),
        });
        let first_open = stream.open_batch();
        let open = typed::get::<LogBatch>(store, &batch_key(first_open)).await?;
        for (number, batch) in stream.append(open.map(|record| record.value), events.collect(), now_ms) {
            transaction.ops.push(Op::Put(batch_key(number), typed::encode(&batch)));
        }
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some(number) = stream.oldest_batch(first_open) else { break };
            let oldest = typed::get::<LogBatch>(store, &batch_key(number)).await?;
            if !stream.forget(oldest.as_ref().map(|record| &record.value), group.cutoff_ms(now_ms)) {
                break;
            }
            transaction.ops.push(Op::Delete(batch_key(number)));
        }
        transaction.ops.push(Op::Put(stream_key, typed::encode(&stream)));
        store.transact(transaction).await.map(Some)
    }
}

/// A stream's fixed id: of its place and the moment.
fn stream_id(key: &str, now_ms: i64) -> String {
    let hash = Sha256::digest(format!("{key}@{now_ms}"));
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
