//! Records that time removes, and what a killed gateway left behind.

use model::{Connection, ConnectionCode, Key, Status, Timestamp};

use crate::{Changes, World, Write};

/// How long a terminated connection stays listed (spec: aws-client-vpn §1.7).
const TERMINATED_KEPT_S: i64 = 60 * 60;
/// How long a client token is remembered (spec: aws-client-vpn §2.0.3).
const TOKEN_KEPT_S: i64 = 24 * 60 * 60;
/// Most keys removed by one sweep.
const SWEEP_MAX_KEYS: usize = 512;

/// Terminated connections past their hour and tokens past their day. Each of the changes is a transaction of its own.
pub fn expired(world: &World, now: Timestamp) -> Vec<Changes> {
    let connections = world.endpoints.values().flat_map(|of| &of.connections).filter_map(|(key, record)| {
        let ended = record.value.ended_at?;
        (ended.0 + TERMINATED_KEPT_S < now.0).then_some((key, record.modified))
    });
    let tokens = world
        .tokens
        .iter()
        .filter(|(_, record)| record.value.created_at.0 + TOKEN_KEPT_S < now.0)
        .map(|(key, record)| (key, record.modified));
    let all: Vec<(&String, u64)> = connections.chain(tokens).collect();
    let of = |chunk: &[(&String, u64)]| Changes {
        expect: chunk.iter().map(|(key, modified)| ((*key).clone(), *modified)).collect(),
        delete: chunk.iter().map(|(key, _)| (*key).clone()).collect(),
        ..Changes::default()
    };
    all.chunks(SWEEP_MAX_KEYS).map(of).collect()
}

/// Rows that say `active` of connections that nobody carries (a killed gateway's, or of an end that could not be
/// written) become `terminated`, and the orders to end them go with them. Each of the changes is a transaction of its
/// own.
pub fn interrupted(world: &World, now: Timestamp, carried: impl Fn(&Connection) -> bool) -> Vec<Changes> {
    let rows = world.endpoints.values().flat_map(|of| &of.connections);
    let live: Vec<_> = rows
        .filter(|(_, record)| {
            matches!(record.value.status.code, ConnectionCode::Active | ConnectionCode::Terminating)
                && !carried(&record.value)
        })
        .collect();
    let ended = live.chunks(SWEEP_MAX_KEYS).map(|chunk| {
        let mut changes = Changes::default();
        for (key, record) in chunk {
            let connection = Connection {
                status: Status::of(ConnectionCode::Terminated),
                ended_at: Some(now),
                ..record.value.clone()
            };
            changes.expect.push(((*key).clone(), record.modified));
            let Connection { scope, endpoint, id, .. } = &connection;
            changes.delete.push(Key::termination(scope, endpoint, id).into());
            changes.put.push(((*key).clone(), Write::Connection(Box::new(connection))));
        }
        changes
    });
    ended.collect()
}
