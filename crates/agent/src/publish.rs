//! What the engine tells, as records: connection rows and the applied revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use controllers::{World, interrupted};
use engine::{DataPlane, SessionEvent};
use gateway::{ConnectionEnd, ConnectionStart, Counters};
use model::{Connection, ConnectionCode, ConnectionId, EndpointId, GatewayStatus, Key, Status, Timestamp};
use store::{Check, Op, Outcome, Store, Transaction, typed};

use crate::AgentError;
use crate::controller::{commit, now};

/// Most tries of a row that others write at the same time.
const ATTEMPTS_MAX: usize = 16;

/// Most rows of one transaction.
const BATCH_MAX_ROWS: usize = 512;

/// Writes a gateway's rows.
pub(crate) struct Publisher {
    store: Arc<dyn Store>,
    key: String,
    /// Rows of this life that have not ended, so that an end needs no read.
    open: BTreeMap<ConnectionId, Connection>,
}

impl Publisher {
    pub(crate) fn new(store: Arc<dyn Store>, key: String) -> Self {
        Self { store, key, open: BTreeMap::new() }
    }

    /// At start: live rows of an earlier life have ended.
    pub(crate) async fn close_interrupted(&self, world: &World) -> Result<(), AgentError> {
        for changes in interrupted(world, now()) {
            commit(&*self.store, changes).await?;
        }
        Ok(())
    }

    /// Reports what is in force.
    pub(crate) async fn status(&self, status: &GatewayStatus) -> Result<(), AgentError> {
        let transaction =
            Transaction { checks: Vec::new(), ops: vec![Op::Put(self.key.clone(), typed::encode(status))] };
        self.store.transact(transaction).await?;
        Ok(())
    }

    /// Writes connects and disconnects, all that came together in one transaction.
    pub(crate) async fn events(
        &mut self,
        events: Vec<SessionEvent>,
        world: &World,
    ) -> Result<(), AgentError> {
        let mut rows: BTreeMap<ConnectionId, Connection> = BTreeMap::new();
        for event in events {
            match event {
                SessionEvent::Connected(start) => {
                    let row = started(&start);
                    self.open.insert(row.id.clone(), row.clone());
                    rows.insert(row.id.clone(), row);
                }
                SessionEvent::Ended(end) => {
                    if let Some(mut row) = self.open.remove(&end.id) {
                        ended(&mut row, &end);
                        rows.insert(row.id.clone(), row);
                    }
                }
            }
        }
        rows.retain(|_, row| world.endpoints.contains_key(&(row.scope.clone(), row.endpoint.clone())));
        let rows: Vec<Connection> = rows.into_values().collect();
        for rows in rows.chunks(BATCH_MAX_ROWS) {
            self.write(rows).await?;
        }
        Ok(())
    }

    async fn write(&self, rows: &[Connection]) -> Result<(), AgentError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Outcome::Committed(_) = self.store.transact(self.transaction(rows).await?).await? {
                return Ok(());
            }
        }
        tracing::error!(
            rows = rows.len(),
            "connection rows could not be written: the store refused every try"
        );
        Ok(())
    }

    /// A row that the API has marked `terminating` keeps that mark until its end.
    async fn transaction(&self, rows: &[Connection]) -> Result<Transaction, AgentError> {
        let mut transaction = Transaction { checks: Vec::new(), ops: Vec::new() };
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
        client_ip: start.client_ip,
        peer: start.peer,
        ingress_bytes: 0,
        egress_bytes: 0,
        ingress_packets: 0,
        egress_packets: 0,
        status: Status::of(ConnectionCode::Active),
        established_at: Timestamp(start.established_at.0),
        ended_at: None,
    };
    count(&mut row, &start.counters);
    row
}

fn ended(row: &mut Connection, end: &ConnectionEnd) {
    count(row, &end.counters);
    row.status = Status::of(ConnectionCode::Terminated);
    row.ended_at = Some(Timestamp(end.ended_at.0));
}

fn count(row: &mut Connection, counters: &Counters) {
    let traffic = counters.read();
    row.ingress_bytes = traffic.ingress_bytes;
    row.ingress_packets = traffic.ingress_packets;
    row.egress_bytes = traffic.egress_bytes;
    row.egress_packets = traffic.egress_packets;
}

/// The read-only port for live counters: the rows of an endpoint's connections as they are right now.
pub fn live_connections(plane: &dyn DataPlane, endpoint: &EndpointId) -> Vec<Connection> {
    let live = plane.live();
    live.iter().filter(|live| live.start.endpoint == *endpoint).map(|live| started(&live.start)).collect()
}
