//! What has to be done for a snapshot: the difference between what stands and what is wanted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use gateway::desired::{Desired, Endpoint};
use model::{AssociationId, EndpointId, Failure, Transport};
use netio::{FabricAssociation, Outlet};

use super::Control;
use crate::egress::{egress, uplink};

/// How long sockets stay open for clients to acknowledge their farewell.
const LINGER: Duration = Duration::from_millis(250);
/// MTU of TUN devices, in bytes. Clients are told the same.
const TUN_MTU: u16 = 1500;

/// Where an endpoint listens, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    own: SocketAddr,
    /// Of the other IP version.
    pub(crate) second: Option<SocketAddr>,
    pub(super) transport: Transport,
}

impl Place {
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.own).chain(self.second)
    }
}

/// The difference between what stands and what is wanted.
#[derive(Default)]
pub(super) struct Plan {
    /// What shall listen where, and its associations.
    pub(super) endpoints: BTreeMap<EndpointId, (Place, Vec<AssociationId>)>,
    /// The kernel side of every association that shall be served; their index is given at the time.
    pub(super) associations: BTreeMap<AssociationId, FabricAssociation>,
    pub(super) closing: Vec<EndpointId>,
    pub(super) leaving: Vec<AssociationId>,
    pub(super) linger: Duration,
}

impl Control {
    /// The difference to what stands, and what cannot be had.
    pub(super) fn plan(&self, desired: &Desired) -> (Plan, BTreeMap<AssociationId, Failure>) {
        let mut plan = Plan { linger: LINGER, ..Plan::default() };
        let mut failures = BTreeMap::new();
        for (id, endpoint) in
            desired.endpoints.iter().filter(|(_, endpoint)| !endpoint.associations.is_empty())
        {
            match listen_address(endpoint) {
                Ok(place) => {
                    plan.endpoints
                        .insert(id.clone(), (place, endpoint.associations.keys().cloned().collect()));
                    plan.associations.extend(self.specs(endpoint));
                }
                Err(reason) => {
                    let failure = Failure { reason: reason.to_owned(), permanent: true };
                    failures.extend(endpoint.associations.keys().map(|id| (id.clone(), failure.clone())));
                }
            }
        }
        plan.closing = self
            .endpoints
            .iter()
            .filter(|(id, served)| {
                let wanted = plan.endpoints.get(*id).map(|(place, _)| *place);
                served.listener.as_ref().is_some_and(|listener| Some(listener.wanted) != wanted)
                    || !desired.endpoints.contains_key(*id)
            })
            .map(|(id, _)| id.clone())
            .collect();
        plan.leaving = self
            .built
            .iter()
            .filter(|(id, built)| {
                let wanted = plan.associations.get(*id);
                !built
                    .spec
                    .as_ref()
                    .zip(wanted)
                    .is_some_and(|(stands, wanted)| same_but_outlet(stands, wanted))
            })
            .map(|(id, _)| id.clone())
            .collect();
        (plan, failures)
    }

    fn specs<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> impl Iterator<Item = (AssociationId, FabricAssociation)> + use<'a> {
        let queues = u16::try_from(self.wiring.workers.len()).unwrap_or(u16::MAX);
        endpoint.associations.iter().map(move |(id, association)| {
            let (egress, left_out) = egress(&association.security);
            if left_out > 0 {
                tracing::warn!(association = %id, left_out, "security group rules that cannot be expressed let nothing out");
            }
            let spec = FabricAssociation {
                key: id.as_str().to_owned(),
                index: self.built.get(id).map_or(0, |built| built.index),
                client_cidr: endpoint.client_cidr,
                source_nat: association.source_nat,
                uplink: association.uplink.as_ref().map(uplink),
                queues,
                mtu: TUN_MTU,
                outlet: Outlet { egress, toward: association.toward.clone() },
            };
            (id.clone(), spec)
        })
    }
}

/// Where the endpoint shall listen, or why it cannot.
pub(super) fn listen_address(endpoint: &Endpoint) -> Result<Place, &'static str> {
    let place = |own| Place { own, second: endpoint.listen_second, transport: endpoint.transport };
    endpoint.listen.map(place).ok_or(
        "no free gateway address for this endpoint: other endpoints have taken them all; give the gateway another \
         address (gateway-address) or more ports of those it has (gateway-ports), or delete an endpoint that is not \
         needed, then make this one anew",
    )
}

/// Whether what stands need not be built anew.
pub(super) fn same_but_outlet(a: &FabricAssociation, b: &FabricAssociation) -> bool {
    // The index of one not built yet is not known; one that stands keeps its own.
    a.key == b.key
        && a.client_cidr == b.client_cidr
        && a.source_nat == b.source_nat
        && a.uplink == b.uplink
        && a.queues == b.queues
        && a.mtu == b.mtu
}
