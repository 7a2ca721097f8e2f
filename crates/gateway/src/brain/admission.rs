//! What sessions say, and who is let in. The gate is looked at in the same call that lets somebody in, so a
//! handshake is either refused here or swept by `apply`: there is no moment between.

use std::sync::Arc;

use model::{AssociationId, ConnectionId, EndpointId, Transport};
use openvpn::Instant;
use openvpn::data::{Cipher, KeyMaterial};
use openvpn::server::{Event, Farewell, Login, Outcome};
use pki::Identity;

use super::authorization::{Judgement, Subject, Told};
use super::endpoint::Plan;
use super::returning::{NO_ADDRESS, TOO_MANY};
use super::slot::{Admitted, SlotId, Stage};
use super::{Gateway, push};
use crate::counters::Counters;
use crate::effect::{Attempt, ConnectionStart, Effect, EndReason, EvaluationType, PolicyEvaluation};
use crate::path::{DataPath, PathStart, PathUpdate};
use crate::pool::Holder;

/// `IV_PROTO` bit of clients that send DATA_V2 (spec: openvpn-protocol §7.4).
const DATA_V2: u32 = 1 << 1;

/// What a client is told whose certificate is refused; why stands in our log only.
const CERTIFICATE_REFUSED: &str = "Client certificate refused";
/// What a client is told that the authorization policy refuses. UNVERIFIED: what AWS tells it.
const POLICY_REFUSED: &str = "Denied by the authorization policy";

/// Why a login is refused, in the words of connection logs (spec: aws-client-vpn §5.1).
pub(super) const POLICY_DENY: &str = "authorization-policy-deny";

/// Somebody who is known and is not in yet.
pub(super) struct Applicant {
    connection: ConnectionId,
    common_name: String,
    username: Option<String>,
    platform: Option<String>,
    posture: Vec<String>,
    evaluation: Option<Arc<PolicyEvaluation>>,
}

impl Applicant {
    /// One that has shown who it is.
    pub(super) fn new(
        connection: ConnectionId,
        identity: &Identity,
        login: Login,
        posture: Vec<String>,
    ) -> Self {
        Self {
            connection,
            common_name: identity.common_name.clone(),
            username: login.username.filter(|name| !name.is_empty()),
            platform: login.peer_info.platform,
            posture,
            evaluation: None,
        }
    }

    /// One that was admitted and whose tunnel is not up yet.
    pub(super) fn of(held: &Admitted) -> Self {
        Self {
            connection: held.connection.clone(),
            common_name: held.identity.common_name.clone(),
            username: held.username.clone(),
            platform: held.platform.clone(),
            posture: held.posture.clone(),
            evaluation: held.evaluation.clone(),
        }
    }
}

/// Why a login is refused.
pub(super) enum Refused {
    /// Nothing of the endpoint is open (any more).
    Gate,
    /// The certificate.
    Identity,
    /// The authorization policy.
    Policy,
    /// Too many sessions, or no peer id is left.
    Full,
    /// No address is left.
    NoAddress,
}

impl Gateway {
    /// Whether an endpoint admits anybody now.
    pub(super) fn is_open(&self, endpoint: &EndpointId) -> bool {
        self.choose(endpoint).is_some()
    }

    /// The association for a new session: of the ready ones that with the fewest sessions. `None`: the gate is shut.
    fn choose(&self, endpoint: &EndpointId) -> Option<(&AssociationId, &Plan)> {
        let wanted = self.desired.endpoints.get(endpoint)?;
        let state = self.endpoints.get(endpoint)?;
        if self.draining || !wanted.admits || !state.trust.usable() {
            return None;
        }
        let ready = state.plans.iter().filter(|(id, _)| self.ready.contains(*id));
        ready.min_by_key(|(_, plan)| plan.sessions)
    }

    /// Takes what a session has to say after anything happened to it.
    pub(super) fn settle(&mut self, id: SlotId, now: Instant) {
        while let Some(event) = self.slots.get_mut(&id).and_then(|slot| slot.session.poll_event()) {
            self.event(id, event, now);
        }
        self.arm(id, now);
        self.queue(id);
    }

    fn event(&mut self, id: SlotId, event: Event, now: Instant) {
        match event {
            Event::AuthenticationNeeded(login) => match self.slots.get(&id).map(|slot| &slot.stage) {
                Some(Stage::HalfOpen { .. }) => self.login(id, *login, now),
                Some(Stage::Admitted(_)) => self.login_again(id, &login, now),
                Some(Stage::Leaving | Stage::Closing) | None => {}
            },
            Event::KeysReady { key_id, keys, cipher, v2_peer_id } => {
                self.install(id, key_id, keys, cipher, v2_peer_id, now);
            }
            Event::SendKey { key_id } => self.update(id, PathUpdate::SendKey(key_id)),
            Event::KeyRetired { key_id } => self.update(id, PathUpdate::RetireKey(key_id)),
            Event::Established => self.established(id, now),
            Event::PeerExit => self.end(id, None, EndReason::ClientExit, now),
            Event::Failed(_) => {
                if matches!(self.slots.get(&id).map(|slot| &slot.stage), Some(Stage::HalfOpen { .. })) {
                    self.stats.handshakes_failed += 1;
                }
                // One that failed while it said farewell is gone with its next transmission: it says no more.
                self.end(id, None, EndReason::ProtocolError, now);
            }
        }
    }

    /// The first login of a session: the endpoint's connect handler is asked about it, if there is one.
    pub(super) fn login(&mut self, id: SlotId, login: Login, now: Instant) {
        if let Some(login) = self.ask(id, login, now) {
            let connection = ConnectionId::from_entropy(self.draws.bits("connection"));
            self.conclude(id, login, connection, Vec::new(), now);
        }
    }

    /// A login that nobody is to be asked about any more: it is let in whole, or sent away.
    pub(super) fn conclude(
        &mut self,
        id: SlotId,
        login: Login,
        connection: ConnectionId,
        posture: Vec<String>,
        now: Instant,
    ) {
        match self.admit(id, login, connection, posture, now) {
            Ok(outcome) => {
                self.stats.admitted += 1;
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.session.authenticated(outcome, now);
                }
            }
            Err(refused) => {
                let farewell = match refused {
                    Refused::Identity => {
                        self.stats.identity_refused += 1;
                        self.reject(id, CERTIFICATE_REFUSED, EndReason::NotAdmitted, now);
                        return;
                    }
                    Refused::Policy => {
                        self.stats.policy_refused += 1;
                        self.reject(id, POLICY_REFUSED, EndReason::PolicyDenied, now);
                        return;
                    }
                    Refused::Gate => {
                        self.stats.gate_refused += 1;
                        Farewell::Restart
                    }
                    Refused::Full => {
                        self.stats.sessions_refused += 1;
                        self.no_place(TOO_MANY, now)
                    }
                    Refused::NoAddress => {
                        self.stats.addresses_refused += 1;
                        self.no_place(NO_ADDRESS, now)
                    }
                };
                self.end(id, Some(farewell), EndReason::NotAdmitted, now);
            }
        }
    }

    pub(super) fn reject(&mut self, id: SlotId, told: &str, reason: EndReason, now: Instant) {
        if !self.release(id, reason, now) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.session.authenticated(Outcome::Reject { reason: told.to_owned() }, now);
        }
        self.linger(id, now);
    }

    /// Who this is, if it may in now.
    pub(super) fn identify(
        &self,
        endpoint: &EndpointId,
        login: &Login,
        now: Instant,
    ) -> Result<Identity, Refused> {
        let trust = &self.endpoints.get(endpoint).ok_or(Refused::Gate)?.trust;
        let crl = trust.crl().map(Arc::as_ref);
        // rustls verified the chain already; who it names is taken from our own reading alone.
        pki::verify_client(&login.certificates, &trust.anchors, crl, self.clock.wall(now).0)
            .map_err(|_| Refused::Identity)
    }

    /// Admits: identity, authorization policy, gate, association, address, peer id. What is taken is taken only when
    /// nothing can fail any more.
    fn admit(
        &mut self,
        id: SlotId,
        login: Login,
        connection: ConnectionId,
        posture: Vec<String>,
        now: Instant,
    ) -> Result<Outcome, Refused> {
        let slot = self.slots.get(&id).ok_or(Refused::Gate)?;
        let (endpoint, peer) = (slot.endpoint.clone(), slot.peer);
        // A connection stays with its worker. Datagrams without a peer id are not steered: worker 0 has those clients.
        let worker = match slot.stream {
            Some(stream) => Some(stream.worker),
            None => (!login.peer_info.has(DATA_V2)).then_some(0),
        };
        let (association, plan) = self.choose(&endpoint).ok_or(Refused::Gate)?;
        let (association, plan) = (association.clone(), plan.clone());
        let wanted = self.desired.endpoints.get(&endpoint).ok_or(Refused::Gate)?;
        let session_timeout = wanted.session_timeout;
        let identity = self.identify(&endpoint, &login, now)?;
        let (told, counters) = (Told::of(&login.peer_info), Arc::new(Counters::default()));
        let subject = Subject::new(&endpoint, &connection, peer, &identity, &told);
        let asked_for = EvaluationType::ConnectionAttempt;
        let Judgement { passes, evaluation } = self.judge(subject, asked_for, &counters, now);
        let applicant = Applicant {
            connection,
            common_name: identity.common_name.clone(),
            username: login.username.filter(|name| !name.is_empty()),
            platform: login.peer_info.platform,
            posture,
            evaluation,
        };
        if !passes {
            self.refuse(id, applicant, POLICY_DENY, now);
            return Err(Refused::Policy);
        }
        let there = self.sessions_of(&endpoint, peer, &identity, applicant.username.as_deref());
        if self.session_count() >= self.limits.max_sessions + there.len() {
            self.refuse(id, applicant, Attempt::QUOTA_EXCEEDED, now);
            return Err(Refused::Full);
        }
        let former = there.iter().copied().find(|it| self.held(*it).is_some_and(|held| held.used));
        let inherited = former.and_then(|former| self.held(former));
        // Where its former session is: the user-space fabric keeps a client's flows by worker.
        let worker = worker.or(inherited.map(|held| held.worker));
        let inherited = inherited.map(|held| held.addresses);
        let holder = Holder {
            common_name: &applicant.common_name,
            username: applicant.username.as_deref(),
            at: peer.ip(),
        };
        let state = self.endpoints.get_mut(&endpoint).ok_or(Refused::Gate)?;
        let Some(addresses) = inherited.or_else(|| state.pool.allocate(holder, now)) else {
            self.refuse(id, applicant, Attempt::POOL_EXHAUSTED, now);
            return Err(Refused::NoAddress);
        };
        let Some((worker, peer_id)) = self.peer_ids.allocate(worker, now) else {
            if inherited.is_none() {
                state.pool.release(addresses, now);
            }
            self.refuse(id, applicant, Attempt::QUOTA_EXCEEDED, now);
            return Err(Refused::Full);
        };
        let enforced = told.enforces_routes.then_some(state.route_enforcement);
        let options = push::whole(&plan.push, &state.banner, addresses, state.pool.nets(), enforced);
        let banner = Arc::clone(&state.banner);
        if let Some(plan) = state.plans.get_mut(&association) {
            plan.sessions += 1;
        }
        // Sessions that its client never used are in nobody's way but its own; and there is one heir.
        let heir = former.and_then(|former| self.held(former)).and_then(|held| held.heir);
        for unused in there.into_iter().filter(|it| Some(*it) != former).chain(heir) {
            self.end(unused, None, EndReason::Replaced, now);
            self.settle(unused, now);
        }
        if let Some(Stage::Admitted(held)) =
            former.and_then(|it| self.slots.get_mut(&it)).map(|it| &mut it.stage)
        {
            held.heir = Some(id);
        }
        self.release(id, EndReason::NotAdmitted, now);
        let held = Admitted {
            connection: applicant.connection,
            admitted_at: now,
            association,
            worker,
            peer_id,
            addresses,
            former,
            heir: None,
            identity,
            chain: login.certificates,
            username: applicant.username,
            platform: applicant.platform,
            posture: applicant.posture,
            told,
            evaluate_at: self.next_evaluation(&endpoint, now),
            evaluation: applicant.evaluation,
            pushed: plan.push,
            enforced,
            banner,
            policy: plan.policy,
            counters,
            installed: false,
            connected: false,
            used: false,
        };
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.stage = Stage::Admitted(Box::new(held));
            slot.deadline = Some(now + session_timeout);
        }
        self.by_peer_id.insert(peer_id, id);
        Ok(Outcome::Accept { peer_id, push: options })
    }

    /// Tells of somebody who is known and is not let in.
    pub(super) fn refuse(&mut self, id: SlotId, applicant: Applicant, reason: &'static str, now: Instant) {
        let Some(slot) = self.slots.get(&id) else { return };
        let Some(state) = self.endpoints.get(&slot.endpoint) else { return };
        self.effects.push_back(Effect::Refused(Attempt {
            id: applicant.connection,
            endpoint: slot.endpoint.clone(),
            scope: state.scope.clone(),
            common_name: applicant.common_name,
            username: applicant.username,
            platform: applicant.platform,
            peer: slot.peer,
            at: self.clock.wall(now),
            reason,
            posture: applicant.posture,
            evaluation: applicant.evaluation,
        }));
    }

    /// Sessions of this person at this address. Somebody else's that was here last has lost the address, not its
    /// right to be: it floats to where its client is, or is missed in time.
    fn sessions_of(
        &self,
        endpoint: &EndpointId,
        peer: std::net::SocketAddr,
        identity: &Identity,
        username: Option<&str>,
    ) -> Vec<SlotId> {
        let mut here = self.admitted_at(endpoint, peer);
        here.retain(|id| self.held(*id).is_some_and(|held| held.is_of(identity, username)));
        here
    }

    /// The client uses a session: the one it had at the same address before is over. Not earlier: a client that began anew
    /// because somebody had us answer a reset in its name goes on with the former one until the new one is there, and
    /// with the addresses that its interface has.
    pub(super) fn used(&mut self, id: SlotId, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Stage::Admitted(held) = &mut slot.stage else { return };
        if std::mem::replace(&mut held.used, true) {
            return;
        }
        if let Some(former) = held.former {
            self.end(former, None, EndReason::Replaced, now);
            self.settle(former, now);
        }
    }

    /// Admitted sessions that use this address.
    pub(super) fn admitted_at(&self, endpoint: &EndpointId, peer: std::net::SocketAddr) -> Vec<SlotId> {
        let here = self.endpoints.get(endpoint).and_then(|state| state.peers.get(&peer));
        let admitted =
            |id: &SlotId| self.slots.get(id).is_some_and(|s| matches!(s.stage, Stage::Admitted(_)));
        here.into_iter().flatten().copied().filter(admitted).collect()
    }

    /// A renegotiation: the same certificate and user must be shown, and must still be good (spec: openvpn-protocol §10.3).
    fn login_again(&mut self, id: SlotId, login: &Login, now: Instant) {
        let Some(slot) = self.slots.get(&id) else { return };
        let Stage::Admitted(held) = &slot.stage else { return };
        let (peer_id, expected) = (held.peer_id, held.identity.fingerprint);
        let same_user = login.username.as_deref().filter(|name| !name.is_empty()) == held.username.as_deref();
        let endpoint = slot.endpoint.clone();
        match self.identify(&endpoint, login, now) {
            Ok(identity) if identity.fingerprint == expected && same_user => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.session.authenticated(Outcome::Accept { peer_id, push: Vec::new() }, now);
                }
            }
            Ok(_) | Err(_) => {
                self.stats.identity_refused += 1;
                self.reject(id, CERTIFICATE_REFUSED, EndReason::IdentityChanged, now);
            }
        }
    }

    /// Gives a key to the session's path; the first one makes the path.
    fn install(
        &mut self,
        id: SlotId,
        key_id: u8,
        keys: Box<KeyMaterial>,
        cipher: Cipher,
        v2_peer_id: Option<u32>,
        now: Instant,
    ) {
        let update = PathUpdate::InstallKey { key_id, keys, cipher, v2_peer_id };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Stage::Admitted(held) = &mut slot.stage else { return };
        if held.installed {
            self.update(id, update);
            return;
        }
        let Some(wanted) = self.desired.endpoints.get(&slot.endpoint) else { return };
        let start = PathStart {
            peer: slot.peer,
            floats: v2_peer_id.is_some() && wanted.transport == Transport::Udp,
            addresses: held.addresses,
            client_cidr: wanted.client_cidr,
            policy: Arc::clone(&held.policy),
            counters: Arc::clone(&held.counters),
            rekey_packets: self.limits.rekey_packets,
        };
        let mut path = Box::new(DataPath::new(start, now));
        path.apply(update, now);
        held.installed = true;
        self.effects.push_back(Effect::Install {
            worker: held.worker,
            endpoint: slot.endpoint.clone(),
            association: held.association.clone(),
            peer_id: held.peer_id,
            addresses: held.addresses,
            shared: held.former.is_some(),
            stream: slot.stream,
            path,
        });
    }

    /// Changes the session's path, if it has one.
    pub(super) fn update(&mut self, id: SlotId, update: PathUpdate) {
        let Some(slot) = self.slots.get(&id) else { return };
        if let Stage::Admitted(held) = &slot.stage
            && held.installed
        {
            let (worker, peer_id) = (held.worker, held.peer_id);
            self.effects.push_back(Effect::Update {
                worker,
                endpoint: slot.endpoint.clone(),
                peer_id,
                update,
            });
        }
    }

    fn established(&mut self, id: SlotId, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(state) = self.endpoints.get(&slot.endpoint) else { return };
        let Stage::Admitted(held) = &mut slot.stage else { return };
        held.connected = true;
        self.effects.push_back(Effect::Connected(ConnectionStart {
            id: held.connection.clone(),
            endpoint: slot.endpoint.clone(),
            scope: state.scope.clone(),
            association: held.association.clone(),
            common_name: held.identity.common_name.clone(),
            username: held.username.clone(),
            platform: held.platform.clone(),
            client: held.addresses,
            peer: slot.peer,
            counters: Arc::clone(&held.counters),
            established_at: self.clock.wall(now),
            posture: held.posture.clone(),
            evaluation: held.evaluation.clone(),
        }));
    }
}
