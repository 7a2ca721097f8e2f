//! Connection logs (spec: aws-client-vpn §5.1): an entry for each beginning, end and refusal of an endpoint that logs,
//! and from time to time one with fresh counters. Written beside the road of sessions, by a bounded queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use controllers::World;
use engine::{DataPlane, SessionEvent};
use gateway::{Attempt, ConnectionStart, Traffic};
use model::{ConnectionId, ConnectionLog, EndpointId, Key, LogBatch, LogEvent, LogGroup, LogStream, Scope};
use serde::Serialize;
use sha2::{Digest, Sha256};
use store::{Check, Op, Outcome, Store, StoreError, Transaction, typed};
use tokio::sync::mpsc;

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
/// What an entry says where there is nothing to say.
const NOTHING: &str = "NA";

/// Takes each entry as a line of JSON, beside the log group.
pub trait Lines: Send + Sync + 'static {
    /// One line, without its end.
    fn line(&mut self, line: &str);
}

/// Makes entries of what happens to sessions.
pub struct ConnectionLogs {
    sender: mpsc::Sender<Line>,
    open: BTreeMap<ConnectionId, ConnectionStart>,
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
                self.open.insert(start.id.clone(), start.clone());
                let at = start.established_at.0;
                self.say(world, &start.scope, &start.endpoint, || Entry::live(start, at, Traffic::default()));
            }
            SessionEvent::Ended(end) => {
                let Some(start) = self.open.remove(&end.id) else { return };
                let (at, traffic) = (end.ended_at.0, end.counters.read());
                self.say(world, &start.scope, &start.endpoint, || Entry::ended(&start, at, traffic));
            }
            SessionEvent::Refused(attempt) => {
                self.say(world, &attempt.scope, &attempt.endpoint, || Entry::refused(attempt));
            }
        }
    }

    /// Tells of everyone who is connected, with the counters of now.
    pub(crate) fn update(&mut self, plane: &dyn DataPlane, world: &World) {
        let now = unix_ms() / 1_000;
        let live = plane.live();
        for one in &live {
            let start = &one.start;
            self.say(world, &start.scope, &start.endpoint, || Entry::live(start, now, one.traffic));
        }
        // What ended while its event was lost is not waited for.
        self.open.retain(|id, _| live.iter().any(|one| one.start.id == *id));
    }

    fn say(&self, world: &World, scope: &Scope, endpoint: &EndpointId, entry: impl FnOnce() -> Entry) {
        let Some(of) = world.endpoints.get(&(scope.clone(), endpoint.clone())) else { return };
        let Some((_, record)) = &of.endpoint else { return };
        let ConnectionLog { enabled: true, group: Some(group), stream: Some(stream), .. } =
            &record.value.spec.connection_log
        else {
            return;
        };
        let mut entry = entry();
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

/// An entry; its members in AWS's order, all of them text.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    connection_log_type: &'static str,
    connection_attempt_status: &'static str,
    connection_reset_status: &'static str,
    connection_attempt_failure_reason: &'static str,
    connection_id: String,
    client_vpn_endpoint_id: String,
    transport_protocol: &'static str,
    connection_start_time: String,
    connection_last_update_time: String,
    client_ip: String,
    client_ip_v6: &'static str,
    common_name: String,
    device_type: String,
    device_ip: String,
    port: String,
    ingress_bytes: String,
    egress_bytes: String,
    ingress_packets: String,
    egress_packets: String,
    connection_end_time: String,
    connection_duration_seconds: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
}

impl Entry {
    /// A connection that is there.
    fn live(start: &ConnectionStart, at_unix: i64, traffic: Traffic) -> Self {
        let duration = at_unix.saturating_sub(start.established_at.0).max(0);
        Self {
            connection_log_type: "connection-attempt",
            connection_attempt_status: "successful",
            connection_reset_status: NOTHING,
            connection_attempt_failure_reason: NOTHING,
            connection_id: start.id.to_string(),
            client_vpn_endpoint_id: start.endpoint.to_string(),
            transport_protocol: "",
            connection_start_time: time(start.established_at.0),
            connection_last_update_time: time(at_unix),
            client_ip: start.client_ip.to_string(),
            client_ip_v6: NOTHING,
            common_name: start.common_name.clone(),
            device_type: start.platform.clone().unwrap_or_else(|| NOTHING.to_owned()),
            device_ip: start.peer.ip().to_canonical().to_string(),
            port: start.peer.port().to_string(),
            ingress_bytes: traffic.ingress_bytes.to_string(),
            egress_bytes: traffic.egress_bytes.to_string(),
            ingress_packets: traffic.ingress_packets.to_string(),
            egress_packets: traffic.egress_packets.to_string(),
            connection_end_time: NOTHING.to_owned(),
            connection_duration_seconds: duration.to_string(),
            username: start.username.clone(),
        }
    }

    /// A connection that was there.
    fn ended(start: &ConnectionStart, at_unix: i64, traffic: Traffic) -> Self {
        Self {
            connection_log_type: "connection-reset",
            connection_attempt_status: NOTHING,
            connection_end_time: time(at_unix),
            ..Self::live(start, at_unix, traffic)
        }
    }

    /// A connection that did not come to be.
    fn refused(attempt: &Attempt) -> Self {
        let zero = || "0".to_owned();
        Self {
            connection_log_type: "connection-attempt",
            connection_attempt_status: "failed",
            connection_reset_status: NOTHING,
            connection_attempt_failure_reason: attempt.reason,
            connection_id: attempt.id.to_string(),
            client_vpn_endpoint_id: attempt.endpoint.to_string(),
            transport_protocol: "",
            connection_start_time: NOTHING.to_owned(),
            connection_last_update_time: time(attempt.at.0),
            client_ip: NOTHING.to_owned(),
            client_ip_v6: NOTHING,
            common_name: attempt.common_name.clone(),
            device_type: attempt.platform.clone().unwrap_or_else(|| NOTHING.to_owned()),
            device_ip: attempt.peer.ip().to_canonical().to_string(),
            port: attempt.peer.port().to_string(),
            ingress_bytes: zero(),
            egress_bytes: zero(),
            ingress_packets: zero(),
            egress_packets: zero(),
            connection_end_time: NOTHING.to_owned(),
            connection_duration_seconds: NOTHING.to_owned(),
            username: attempt.username.clone(),
        }
    }
}

/// A stream's fixed id: of its place and the moment.
fn stream_id(key: &str, now_ms: i64) -> String {
    let hash = Sha256::digest(format!("{key}@{now_ms}"));
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// `2020-03-26 20:37:15`, UTC.
fn time(unix_s: i64) -> String {
    let instant = jiff::Timestamp::from_second(unix_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
