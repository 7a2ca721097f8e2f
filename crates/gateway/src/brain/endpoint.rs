//! What the gateway keeps for one endpoint beside what is desired of it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{AssociationId, Scope};
use openvpn::Instant;
use openvpn::wire::SessionId;
use pki::{Crl, TrustAnchors};

use super::authorization::Authorization;
use super::handshakes::{Handshakes, SessionTls};
use super::push;
use super::slot::SlotId;
use crate::desired::{Endpoint, Route, Rule};
use crate::policy::Policy;
use crate::pool::Pool;

/// How long a closed session's id is remembered, so that its late packets, which still carry a good cookie, make
/// no new session (spec: openvpn-protocol §5).
const TOMBSTONE: Duration = Duration::from_secs(5);

/// Runtime state of an endpoint; outlives the endpoint until its addresses have rested.
pub(crate) struct EndpointState {
    pub(crate) scope: Scope,
    pub(crate) pool: Pool,
    /// Sessions by where their control packets come from.
    pub(crate) peers: BTreeMap<SocketAddr, Vec<SlotId>>,
    pub(crate) trust: Trust,
    /// Who may connect and stay; `None`: whoever authenticates.
    pub(crate) authorization: Option<Arc<Authorization>>,
    /// Per wanted association.
    pub(crate) plans: BTreeMap<AssociationId, Plan>,
    /// The login banner, as options.
    pub(crate) banner: Arc<Vec<String>>,
    pub(crate) route_enforcement: bool,
    /// What the plans' policies were compiled from.
    rules: Vec<Rule>,
    listen: [Option<SocketAddr>; 2],
    tombstones: Tombstones,
}

/// What sessions of an association get.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) policy: Arc<Policy>,
    pub(crate) push: Arc<Vec<String>>,
    /// Admitted sessions on it.
    pub(crate) sessions: usize,
    /// What the policy was compiled from.
    routes: Vec<Route>,
}

/// Who is let in, and the TLS that asks them.
pub(crate) struct Trust {
    pub(crate) anchors: Arc<TrustAnchors>,
    pub(crate) crl: Revocations,
    /// `None`: nobody can be asked, so nobody is admitted.
    pub(crate) tls: Option<SessionTls>,
    server: Option<[u8; 32]>,
    roots: Arc<Vec<Vec<u8>>>,
    crl_bytes: Option<Arc<Vec<u8>>>,
}

/// The revocation list as it could be read.
pub(crate) enum Revocations {
    /// There is none.
    None,
    /// In force.
    List(Arc<Crl>),
    /// There is one that cannot be read: nobody is admitted (fail closed).
    Unreadable,
}

/// What of an endpoint is new that its sessions may not survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// It listens elsewhere.
    pub(crate) listener: bool,
    pub(crate) anchors: bool,
    pub(crate) crl: bool,
    pub(crate) policy: bool,
}

impl Trust {
    fn new() -> Self {
        Self {
            anchors: Arc::new(TrustAnchors { roots: Vec::new() }),
            crl: Revocations::None,
            tls: None,
            server: None,
            roots: Arc::default(),
            crl_bytes: None,
        }
    }

    /// Takes what is wanted now. TLS is made anew only where something changed.
    fn refresh(&mut self, wanted: &Endpoint, handshakes: &mut dyn Handshakes) -> Change {
        let anchors = self.roots != wanted.client_roots;
        let change = Change { anchors, crl: self.crl_bytes != wanted.crl, ..Change::default() };
        if change.anchors {
            self.roots = Arc::clone(&wanted.client_roots);
            self.anchors = Arc::new(TrustAnchors { roots: wanted.client_roots.to_vec() });
        }
        if change.crl {
            self.crl_bytes = wanted.crl.clone();
            self.crl = match &wanted.crl {
                None => Revocations::None,
                Some(bytes) => {
                    read_crl(bytes).map_or(Revocations::Unreadable, |crl| Revocations::List(Arc::new(crl)))
                }
            };
        }
        if change.anchors || change.crl || self.server != Some(wanted.server.fingerprint) {
            self.server = Some(wanted.server.fingerprint);
            let crl = self.crl().map(Arc::clone);
            self.tls = handshakes.prepare(&wanted.server, Arc::clone(&self.anchors), crl).ok();
        }
        change
    }

    /// The revocation list in force.
    pub(crate) fn crl(&self) -> Option<&Arc<Crl>> {
        match &self.crl {
            Revocations::List(crl) => Some(crl),
            Revocations::None | Revocations::Unreadable => None,
        }
    }

    /// Whether the revocation list, if there is one, could be read.
    pub(crate) fn readable(&self) -> bool {
        !matches!(self.crl, Revocations::Unreadable)
    }

    /// Whether anybody could be told from anybody else.
    pub(crate) fn usable(&self) -> bool {
        self.tls.is_some() && !self.roots.is_empty() && self.readable()
    }
}

fn read_crl(bytes: &[u8]) -> Option<Crl> {
    if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        Crl::from_pem(std::str::from_utf8(bytes).ok()?).ok()
    } else {
        Crl::from_der(bytes).ok()
    }
}

impl EndpointState {
    /// Of an endpoint seen for the first time.
    pub(crate) fn new(wanted: &Endpoint, now: Instant) -> Self {
        Self {
            scope: wanted.scope.clone(),
            pool: Pool::new(wanted.client_cidr, &wanted.former, now),
            peers: BTreeMap::new(),
            trust: Trust::new(),
            authorization: None,
            plans: BTreeMap::new(),
            banner: Arc::default(),
            route_enforcement: false,
            rules: Vec::new(),
            listen: [wanted.listen, wanted.listen_second],
            tombstones: Tombstones::default(),
        }
    }

    /// Takes what is wanted now: trust, and a plan per association. A policy that means the same stays the same.
    pub(crate) fn refresh(&mut self, wanted: &Endpoint, handshakes: &mut dyn Handshakes) -> Change {
        let mut former = std::mem::take(&mut self.plans);
        let same_rules = self.rules == wanted.rules;
        for (id, association) in &wanted.associations {
            let plan = former.remove(id);
            let compiled = plan.as_ref().filter(|plan| same_rules && plan.routes == association.routes);
            let policy = compiled.map_or_else(
                || Arc::new(Policy::compile(&association.routes, &wanted.rules, &[])),
                |plan| Arc::clone(&plan.policy),
            );
            let push = Arc::new(push::shared(wanted, association));
            let sessions = plan.as_ref().map_or(0, |plan| plan.sessions);
            let (former_policy, former_push) = plan.map(|plan| (plan.policy, plan.push)).unzip();
            let plan = Plan {
                policy: former_policy.filter(|former| **former == *policy).unwrap_or(policy),
                push: former_push.filter(|former| **former == *push).unwrap_or(push),
                sessions,
                routes: association.routes.clone(),
            };
            self.plans.insert(id.clone(), plan);
        }
        self.rules.clone_from(&wanted.rules);
        let banner = wanted.banner.as_deref().map(push::banner).unwrap_or_default();
        if *self.banner != banner {
            self.banner = Arc::new(banner);
        }
        self.route_enforcement = wanted.route_enforcement;
        let listen = [wanted.listen, wanted.listen_second];
        let listener = std::mem::replace(&mut self.listen, listen) != listen;
        let (authorization, policy) =
            Authorization::refreshed(self.authorization.take(), wanted.policy.as_ref());
        self.authorization = authorization;
        Change { listener, policy, ..self.trust.refresh(wanted, handshakes) }
    }

    /// The endpoint is gone: its secrets go at once, its addresses rest first.
    pub(crate) fn retire(&mut self) {
        self.trust = Trust::new();
        self.authorization = None;
        self.plans.clear();
    }

    /// Adds a session to those of an address.
    pub(crate) fn index(&mut self, peer: SocketAddr, id: SlotId) {
        self.peers.entry(peer).or_default().push(id);
    }

    /// Takes it out again.
    pub(crate) fn unindex(&mut self, peer: SocketAddr, id: SlotId) {
        if let Some(ids) = self.peers.get_mut(&peer) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.peers.remove(&peer);
            }
        }
    }

    /// Remembers a closed session.
    pub(crate) fn bury(&mut self, peer: SocketAddr, sid: SessionId, most: usize, now: Instant) {
        self.tombstones.add((peer, sid), most, now);
    }

    /// Whether this session was closed a moment ago.
    pub(crate) fn is_buried(&mut self, peer: SocketAddr, sid: SessionId, now: Instant) -> bool {
        self.tombstones.sweep(now);
        self.tombstones.held.contains(&(peer, sid))
    }

    /// Whether forgetting this state forgets nothing that matters.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.peers.is_empty() && self.pool.idle(now)
    }
}

#[derive(Default)]
struct Tombstones {
    held: std::collections::BTreeSet<(SocketAddr, SessionId)>,
    order: VecDeque<(Instant, (SocketAddr, SessionId))>,
}

impl Tombstones {
    fn add(&mut self, key: (SocketAddr, SessionId), most: usize, now: Instant) {
        self.sweep(now);
        if self.held.insert(key) {
            self.order.push_back((now, key));
        }
        while self.order.len() > most {
            self.pop();
        }
    }

    fn sweep(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= TOMBSTONE) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.held.remove(&key);
        }
    }
}
