//! The thread that talks to the fabric: its calls block on the privileged helper, which nobody else may wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crossbeam_channel::{Receiver, Sender};
use model::{AssociationId, EndpointId, Transport};
use netio::{Departed, Fabric, FabricAssociation, FabricError, Outlet};

use crate::handoff::Bell;

/// Orders waiting: one apply, and beside it one word of who has left. The control thread gives no second one of either.
pub(crate) const ORDERS_MAX: usize = 2;

/// What the control thread wants.
#[derive(Debug)]
pub(crate) enum Order {
    Apply(Batch),
    /// To be told of clients that have left.
    Forget(BTreeMap<AssociationId, BTreeSet<Departed>>),
}

/// What was not forgotten, and why.
pub(crate) type Unforgotten = Vec<(AssociationId, FabricError)>;

/// What one apply wants of the fabric, done in this order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) removes: Vec<AssociationId>,
    pub(crate) outlets: Vec<(AssociationId, Outlet)>,
    pub(crate) adds: Vec<(AssociationId, FabricAssociation)>,
    /// All addresses of an endpoint, or none.
    pub(crate) binds: Vec<(EndpointId, Vec<SocketAddr>, Transport)>,
    /// Those that stand and may have come to lack something.
    pub(crate) looks: Vec<AssociationId>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.removes.is_empty()
            && self.outlets.is_empty()
            && self.adds.is_empty()
            && self.binds.is_empty()
            && self.looks.is_empty()
    }
}

/// How it went, each for itself.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) removed: Vec<(AssociationId, Result<(), FabricError>)>,
    pub(crate) set: Vec<(AssociationId, Outlet, Result<(), FabricError>)>,
    pub(crate) added: Vec<(AssociationId, FabricAssociation, Added)>,
    /// For each address of an endpoint a socket for each worker.
    pub(crate) bound: Vec<(EndpointId, Result<Vec<Vec<OwnedFd>>, FabricError>)>,
    /// What is lacking, and where.
    pub(crate) wanting: Vec<(AssociationId, FabricError)>,
}

/// How adding one association went.
#[derive(Debug)]
pub(crate) enum Added {
    /// One TUN queue per worker.
    Up(Vec<OwnedFd>),
    /// It failed; `clean` says whether nothing of it is left.
    Failed { error: FabricError, clean: bool },
}

/// Body of the thread: ends when the control thread hangs up.
pub(crate) fn run(
    mut fabric: Box<dyn Fabric>,
    workers: u16,
    orders: &Receiver<Order>,
    results: &Sender<Results>,
    forgotten: &Sender<Unforgotten>,
    bell: &Bell,
) {
    for order in orders {
        let heard = match order {
            Order::Apply(batch) => results.send(work(&mut *fabric, workers, batch)).is_ok(),
            Order::Forget(departed) => forgotten.send(forget(&mut *fabric, departed)).is_ok(),
        };
        if !heard {
            return;
        }
        bell.ring();
    }
}

fn forget(fabric: &mut dyn Fabric, departed: BTreeMap<AssociationId, BTreeSet<Departed>>) -> Unforgotten {
    let mut left = Unforgotten::new();
    for (id, clients) in departed {
        let clients: Vec<Departed> = clients.into_iter().collect();
        if let Err(error) = fabric.forget(id.as_str(), &clients) {
            left.push((id, error));
        }
    }
    left
}

fn work(fabric: &mut dyn Fabric, workers: u16, batch: Batch) -> Results {
    let mut done = Results::default();
    for id in batch.removes {
        let outcome = fabric.remove(id.as_str());
        done.removed.push((id, outcome));
    }
    for (id, outlet) in batch.outlets {
        let outcome = fabric.set_outlet(id.as_str(), &outlet);
        done.set.push((id, outlet, outcome));
    }
    if batch.adds.len() > 1 {
        let coming: Vec<FabricAssociation> =
            batch.adds.iter().map(|(_, association)| association.clone()).collect();
        fabric.prepare(&coming);
    }
    for (id, association) in batch.adds {
        let stuck = done.removed.iter().find_map(|(removed, outcome)| match outcome {
            Err(error) if *removed == id => Some(error.clone()),
            _ => None,
        });
        let added = match stuck {
            // Its former self is still there: building over it would mix the two.
            Some(error) => Added::Failed { error, clean: false },
            None => add(fabric, workers, &association),
        };
        done.added.push((id, association, added));
    }
    for (id, addresses, transport) in batch.binds {
        let bind = |address: SocketAddr| {
            let bound = match transport {
                Transport::Udp => fabric.bind_udp(address, workers),
                Transport::Tcp => fabric.bind_tcp(address, workers),
            };
            bound.and_then(|sockets| counted(sockets, workers))
        };
        done.bound.push((id, addresses.into_iter().map(bind).collect()));
    }
    for id in batch.looks {
        if let Err(error) = fabric.look(id.as_str()) {
            done.wanting.push((id, error));
        }
    }
    done
}

fn add(fabric: &mut dyn Fabric, workers: u16, association: &FabricAssociation) -> Added {
    match fabric.add(association).and_then(|queues| counted(queues, workers)) {
        Ok(queues) => Added::Up(queues),
        Err(error) => Added::Failed { error, clean: fabric.remove(&association.key).is_ok() },
    }
}

fn counted(descriptors: Vec<OwnedFd>, workers: u16) -> Result<Vec<OwnedFd>, FabricError> {
    if descriptors.len() == usize::from(workers) {
        return Ok(descriptors);
    }
    Err(FabricError::Transient(format!(
        "the fabric gave {} descriptors for {workers} workers",
        descriptors.len()
    )))
}
