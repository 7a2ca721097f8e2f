//! The reference: what the specification says about who may be connected and which packets pass, on plain data and
//! with none of the product's own code for it.

use std::net::IpAddr;

use gateway::desired::{Desired, Endpoint, Target};
use model::{AssociationId, ClientAddresses, ConnectionId, EndpointId, RuleGroup};

use crate::lists;
use crate::traffic::Letter;
use crate::world::keeps_out;

/// Whether a client that landed on this association may speak with `far` (spec: aws-client-vpn §3.4, §4.4).
pub fn passes(wanted: &Desired, endpoint: &EndpointId, on: &AssociationId, far: IpAddr) -> bool {
    let Some(endpoint) = wanted.endpoints.get(endpoint) else { return false };
    let Some(association) = endpoint.associations.get(on) else { return false };
    let rows = association.routes.iter().filter(|row| row.destination.contains(&far));
    let longest = rows.max_by_key(|row| (row.destination.prefix_len(), row.target == Target::Local));
    let Some(row) = longest else { return false };
    // Other clients are reached by the local row, and it reaches nobody else.
    if endpoint.client_cidr.contains(far) != (row.target == Target::Local) {
        return false;
    }
    let rules = || endpoint.rules.iter().filter(|rule| rule.destination.contains(&far));
    let Some(longest) = rules().map(|rule| rule.destination.prefix_len()).max() else { return false };
    // Certificates carry no groups.
    rules().any(|rule| rule.destination.prefix_len() == longest && rule.group == RuleGroup::All)
}

/// Whether a packet may come down to a client with these addresses: one of somebody it may speak with, or a router's word
/// about a packet that the client itself sent to such a one. No other client is a router.
pub fn comes_down(
    wanted: &Desired,
    endpoint: &EndpointId,
    on: &AssociationId,
    own: ClientAddresses,
    packet: &Letter,
) -> bool {
    passes(wanted, endpoint, on, packet.source)
        || packet.quotes.is_some_and(|(from, to)| {
            own.iter().any(|address| address == from)
                && !is_clients(wanted, endpoint, packet.source)
                && passes(wanted, endpoint, on, to)
        })
}

/// Whether an address is one of the endpoint's clients'.
pub fn is_clients(wanted: &Desired, endpoint: &EndpointId, far: IpAddr) -> bool {
    wanted.endpoints.get(endpoint).is_some_and(|endpoint| endpoint.client_cidr.contains(far))
}

/// Whether somebody who is connected may stay so (spec: aws-client-vpn §1.3, §1.12, §3.3).
pub fn may_stay(wanted: &Desired, who: &Who<'_>) -> bool {
    let Some(endpoint) = wanted.endpoints.get(who.endpoint) else { return false };
    endpoint.admits
        && endpoint.associations.contains_key(who.association)
        && !who.connection.is_some_and(|id| endpoint.terminate.contains(id))
        && who.name.is_none_or(|name| {
            permits(endpoint, name) && !lists::of(endpoint).is_some_and(|list| list.names(name))
        })
}

/// Whether the authorization policy lets somebody be (Appendix B).
pub fn permits(endpoint: &Endpoint, name: &str) -> bool {
    endpoint.policy.as_ref().is_none_or(|policy| !keeps_out(policy, name))
}

/// Whether somebody with a good certificate could be let in (§3.3: an expired list blocks every client).
pub fn may_enter(endpoint: &Endpoint, name: &str, unix: i64) -> bool {
    endpoint.admits
        && permits(endpoint, name)
        && lists::of(endpoint).is_none_or(|list| list.is_in_force(unix) && !list.names(name))
}

/// A connection.
pub struct Who<'a> {
    pub endpoint: &'a EndpointId,
    pub association: &'a AssociationId,
    /// Nobody knows whose a path is before its first packet.
    pub name: Option<&'a str>,
    /// Before its tunnel is up it has no name for the API.
    pub connection: Option<&'a ConnectionId>,
}
