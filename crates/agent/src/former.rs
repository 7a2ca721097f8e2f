//! Who had which addresses when an earlier life of this gateway ended: they come back by themselves, and what runs in
//! their tunnels goes on if they have them again.

use std::collections::BTreeMap;
use std::sync::Arc;

use controllers::World;
use gateway::desired::Former;
use model::{ClientAddresses, Connection, EndpointId, Scope, Timestamp};

/// How long ago a connection may have ended, seconds: clients of a server that is away try for hours, but a server that
/// ended them in peace is back within minutes.
const ENDED_WITHIN_S: i64 = 300;

/// By whose endpoint.
pub(crate) type FormerHolders = BTreeMap<(Scope, EndpointId), Arc<Vec<Former>>>;

/// Of connections that nobody ended, and of those that ended a moment ago; the youngest first.
pub(crate) fn holders(world: &World, now: Timestamp) -> FormerHolders {
    let mut all = FormerHolders::new();
    for (owner, of) in &world.endpoints {
        let rows = of.connections.values().map(|record| &record.value);
        let mut rows: Vec<&Connection> =
            rows.filter(|row| row.ended_at.is_none_or(|at| now.0 - at.0 < ENDED_WITHIN_S)).collect();
        if rows.is_empty() {
            continue;
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.established_at.0));
        let former = rows.into_iter().map(|row| Former {
            addresses: ClientAddresses { v4: row.client_ip, v6: row.client_ipv6 },
            common_name: row.common_name.clone(),
            username: row.username.clone(),
            at: row.peer.ip(),
        });
        all.insert(owner.clone(), Arc::new(former.collect()));
    }
    all
}
