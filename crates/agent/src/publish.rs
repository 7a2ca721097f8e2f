//! What the engine tells of connections, as records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use controllers::{World, interrupted};
use engine::{DataPlane, SessionEvent};
use gateway::{ConnectionEnd, ConnectionStart, Counters};
use model::{Connection, ConnectionCode, ConnectionId, EndpointId, Key, Status, Timestamp};
use store::{Check, Op, Outcome, Store, Transaction, typed};

use crate::AgentError;
use crate::connection_logs::ConnectionLogs;
use crate::controller::{commit, now};
use crate::report::Report;
use crate::shortage::Shortages;

/// Most tries of a row that others write at the same time.
const ATTEMPTS_MAX: usize = 16;

/// Most rows of one transaction.
const BATCH_MAX_ROWS: usize = 512;

/// How old a live row must be before it is missed among those the data plane carries, seconds: its event may be on
/// its way.
const MISSED_AFTER_S: i64 = 5;

/// Writes a gateway's rows.
pub(crate) struct Publisher {
    store: Arc<dyn Store>,
    /// What is in force, and what is wrong.
    pub(crate) report: Report,
    /// Rows of this life that have not ended, so that an end needs no read.
    open: BTreeMap<ConnectionId, Connection>,
    /// Told of everything that happens, if there are any.
    pub(crate) logs: Option<ConnectionLogs>,
    shortages: Shortages,
    /// Rows that the store has not taken yet: they outlive a store that fails.
    unwritten: BTreeMap<ConnectionId, Connection>,
}

impl Publisher {
    pub(crate) fn new(store: Arc<dyn Store>, node: &str) -> Self {
        let report = Report::new(store.clone(), node);
        Self {
            store,
            report,
            open: BTreeMap::new(),
            logs: None,
            shortages: Shortages::default(),
            unwritten: BTreeMap::new(),
        }
    }

    /// Closes rows that say `active` of connections nobody carries: an earlier life's, or of an event that was lost.
    /// Says whether there were any.
    pub(crate) async fn close_interrupted(
        &mut self,
        world: &World,
        plane: &dyn DataPlane,
    ) -> Result<bool, AgentError> {
        self.events(plane.take_events(), world).await?;
        let live: BTreeSet<ConnectionId> = plane.live().into_iter().map(|live| live.start.id).collect();
        let now = now();
        let carried = |row: &Connection| {
            live.contains(&row.id)
                || (self.open.contains_key(&row.id) && now.0 - row.established_at.0 < MISSED_AFTER_S)
        };
        let all = interrupted(world, now, carried);
        for changes in &all {
            commit(&*self.store, changes.clone()).await?;
        }
        self.open.retain(|id, row| live.contains(id) || now.0 - row.established_at.0 < MISSED_AFTER_S);
        Ok(!all.is_empty())
    }

    /// Writes connects and disconnects, all that came together in one transaction, and what is left of earlier ones.
    pub(crate) async fn events(
        &mut self,
        events: Vec<SessionEvent>,
        world: &World,
    ) -> Result<(), AgentError> {
        for event in events {
            if let Some(logs) = &mut self.logs {
                logs.event(&event, world);
            }
            match event {
                SessionEvent::Refused(attempt) => self.shortages.tell(&attempt),
                SessionEvent::Evaluated(_) => {}
                SessionEvent::Connected(start) => {
                    let row = started(&start);
                    self.open.insert(row.id.clone(), row.clone());
                    self.unwritten.insert(row.id.clone(), row);
                }
                SessionEvent::Ended(end) => {
                    if let Some(mut row) = self.open.remove(&end.id) {
                        ended(&mut row, &end);
                        self.unwritten.insert(row.id.clone(), row);
                    }
                }
            }
        }
        self.shortages.retain(world);
        self.unwritten
            .retain(|_, row| world.endpoints.contains_key(&(row.scope.clone(), row.endpoint.clone())));
        while !self.unwritten.is_empty() {
            let rows: Vec<Connection> = self.unwritten.values().take(BATCH_MAX_ROWS).cloned().collect();
            self.write(&rows).await?;
            for row in rows {
                self.unwritten.remove(&row.id);
            }
        }
        Ok(())
    }

    /// Tells connection logs of everyone who is connected.
    pub(crate) fn update_logs(&mut self, plane: &dyn DataPlane, world: &World) {
        if let Some(logs) = &mut self.logs {
            logs.update(plane, world);
        }
    }

    async fn write(&self, rows: &[Connection]) -> Result<(), AgentError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Outcome::Committed(_) = self.store.transact(self.transaction(rows).await?).await? {
                return Ok(());
            }
        }
        Err(AgentError::Contended)
    }

    /// A row that the API has marked `terminating` keeps that mark until its end.
    async fn transaction(&self, rows: &[Connection]) -> Result<Transaction, AgentError> {
        let mut transaction = Transaction { checks: Vec::new(), ops: Vec::new(), soft: false };
        for row in rows {
            let key: String = Key::connection(&row.scope, &row.endpoint, &row.id).into();
            match typed::get::<Connection>(&*self.store, &key).await? {
                None => transaction.checks.push(Check::Absent(key.clone())),
                Some(stored) => {
                    transaction.checks.push(Check::Modified(key.clone(), stored.modified));
                    if row.ended_at.is_none() {
                        continue;
                    }
                }
            }
            if row.ended_at.is_some() {
                transaction.ops.push(Op::Delete(Key::termination(&row.scope, &row.endpoint, &row.id).into()));
            }
            transaction.ops.push(Op::Put(key, typed::encode(row)));
        }
        Ok(transaction)
    }
}

fn started(start: &ConnectionStart) -> Connection {
    let mut row = Connection {
        id: start.id.clone(),
        endpoint: start.endpoint.clone(),
        scope: start.scope.clone(),
        association: start.association.clone(),
        common_name: start.common_name.clone(),
        username: start.username.clone(),
        client_ip: start.client.v4,
        client_ipv6: start.client.v6,
        peer: start.peer,
        ingress_bytes: 0,
        egress_bytes: 0,
        ingress_packets: 0,
        egress_packets: 0,
        status: Status::of(ConnectionCode::Active),
        established_at: Timestamp(start.established_at.0),
        ended_at: None,
        posture: start.posture.clone(),
        policy_evaluated_at: None,
    };
    count(&mut row, &start.counters);
    row
}

fn ended(row: &mut Connection, end: &ConnectionEnd) {
    count(row, &end.counters);
    row.peer = end.peer;
    row.status = Status::of(ConnectionCode::Terminated);
    row.ended_at = Some(Timestamp(end.ended_at.0));
}

fn count(row: &mut Connection, counters: &Counters) {
    let traffic = counters.read();
    row.ingress_bytes = traffic.ingress_bytes;
    row.ingress_packets = traffic.ingress_packets;
    row.egress_bytes = traffic.egress_bytes;
    row.egress_packets = traffic.egress_packets;
    row.policy_evaluated_at = counters.policy_evaluated_at().map(|at| Timestamp(at.0));
}

/// The read-only port for live counters: the rows of an endpoint's connections as they are right now.
pub fn live_connections(plane: &dyn DataPlane, endpoint: &EndpointId) -> Vec<Connection> {
    let live = plane.live();
    live.iter().filter(|live| live.start.endpoint == *endpoint).map(|live| started(&live.start)).collect()
}
