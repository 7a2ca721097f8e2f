//! The gateway: every session's life, the addresses, the gate. One thread owns it.
//!
//! | file | what |
//! |---|---|
//! | `control` | packets from clients, the stateless first ones too; notices of workers |
//! | `returning` | when clients that are sent away may come back |
//! | `asking` | logins that wait for the connect handler |
//! | `admission` | events of sessions; who is let in, and onto what |
//! | `authorization` | the endpoint's authorization policy, when somebody is let in and while they stay |
//! | `apply` | a new desired state: the gate closes, then the sweep |
//! | `streams` | the same for clients that come over TCP |
//! | `floating` | clients that move to another address |
//! | `ending` | how sessions end and are forgotten |

mod admission;
mod apply;
mod asking;
mod authorization;
mod control;
mod ending;
mod endpoint;
mod floating;
mod handshakes;
mod push;
mod returning;
mod slot;
mod streams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::{AssociationId, ConnectionId, EndpointId};
use openvpn::server::{CookieJar, SessionConfig};
use openvpn::wrap::ControlWrap;
use openvpn::{Instant, UnixTime};

use self::endpoint::EndpointState;
pub use self::handshakes::{Handshakes, Rustls, SessionTls};
use self::returning::Refusals;
use self::slot::{Slot, SlotId, Stage};
use crate::desired::Desired;
use crate::door::Door;
use crate::effect::{Effect, StreamId, Transmit};
use crate::limits::{Limits, Stats};
use crate::peer_id::PeerIds;
use crate::seed::Draws;

/// What a gateway starts from.
#[derive(Clone)]
pub struct GatewayConfig {
    /// All randomness: unguessable, another at each start.
    pub seed: [u8; 32],
    /// How many workers there are; taken as 1 if 0.
    pub workers: u16,
    /// Bounds.
    pub limits: Limits,
}

impl std::fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { workers, limits, .. } = self;
        f.debug_struct("GatewayConfig")
            .field("workers", workers)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

/// The brain of a data plane.
///
/// Driver's contract: after any `handle_*` or command ([`apply`](Self::apply), [`set_ready`](Self::set_ready),
/// [`drain`](Self::drain)) drain [`poll_effect`](Self::poll_effect), then [`poll_transmit`](Self::poll_transmit),
/// then the former once more (what has been said may let a connection go), then re-arm
/// [`poll_timeout`](Self::poll_timeout). Effects are to be carried out in order. Time never goes back.
///
/// Nothing is admitted before [`set_ready`](Self::set_ready) says that it can be served, and
/// [`apply`](Self::apply) only ever closes gates.
pub struct Gateway {
    limits: Limits,
    session_config: Arc<SessionConfig>,
    handshakes: Box<dyn Handshakes>,
    draws: Draws,
    jar: Arc<CookieJar>,
    wrap: ControlWrap,
    door: Door,
    clock: Clock,
    draining: bool,
    desired: Arc<Desired>,
    endpoints: BTreeMap<EndpointId, EndpointState>,
    /// The associations of the desired state.
    wanted: BTreeSet<AssociationId>,
    ready: BTreeSet<AssociationId>,
    slots: BTreeMap<SlotId, Slot>,
    slots_made: u64,
    by_peer_id: BTreeMap<u32, SlotId>,
    /// Sessions whose login waits for a connect handler, by the connection they would be.
    asked: BTreeMap<ConnectionId, SlotId>,
    /// Sessions by the connection that carries them.
    streams: BTreeMap<StreamId, SlotId>,
    /// Half-open sessions by source.
    half_open_sources: BTreeMap<u128, usize>,
    half_open: usize,
    /// What clients of half-open sessions have us keep, all together.
    half_open_bytes: usize,
    /// Those of them that may be cut for newer ones, the oldest first.
    unknown: BTreeSet<SlotId>,
    /// Clients sent away for others by the call under way.
    sent_away: u32,
    refusals: Refusals,
    /// Slots whose farewell is on its way, the oldest first.
    leaving: BTreeSet<SlotId>,
    peer_ids: PeerIds,
    timers: BTreeSet<(Instant, SlotId)>,
    /// Slots that may have datagrams to send, each once.
    unsent: VecDeque<SlotId>,
    answers: VecDeque<(Transmit, Vec<u8>)>,
    effects: VecDeque<Effect>,
    stats: Stats,
}

/// The wall clock, as of the last call that told it.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    at: Instant,
    wall: UnixTime,
}

impl Clock {
    fn wall(self, now: Instant) -> UnixTime {
        let since = i64::try_from(now.since(self.at).as_secs()).unwrap_or(i64::MAX);
        UnixTime(self.wall.0.saturating_add(since))
    }
}

/// A timer that is due again at once would spin the driver: never sooner than this.
const SHORTEST_TIMER: Duration = Duration::from_millis(1);

impl Gateway {
    /// A gateway that serves nothing yet.
    pub fn new(config: GatewayConfig, now: Instant) -> Self {
        Self::with_handshakes(config, Box::new(Rustls), now)
    }

    /// The same with another source of TLS.
    pub fn with_handshakes(config: GatewayConfig, handshakes: Box<dyn Handshakes>, now: Instant) -> Self {
        let mut draws = Draws::new(&config.seed);
        let jar = Arc::new(CookieJar::new(draws.bytes("cookies")));
        let door =
            Door::new(Arc::clone(&jar), ControlWrap::Plain, draws.bytes("answers"), &config.limits, now);
        Self {
            limits: config.limits,
            session_config: Arc::new(SessionConfig::default()),
            handshakes,
            jar,
            wrap: ControlWrap::Plain,
            door,
            draws,
            clock: Clock::default(),
            draining: false,
            desired: Arc::default(),
            endpoints: BTreeMap::new(),
            wanted: BTreeSet::new(),
            ready: BTreeSet::new(),
            slots: BTreeMap::new(),
            slots_made: 0,
            by_peer_id: BTreeMap::new(),
            asked: BTreeMap::new(),
            streams: BTreeMap::new(),
            half_open_sources: BTreeMap::new(),
            half_open: 0,
            half_open_bytes: 0,
            unknown: BTreeSet::new(),
            sent_away: 0,
            refusals: Refusals::default(),
            leaving: BTreeSet::new(),
            peer_ids: PeerIds::new(config.workers),
            timers: BTreeSet::new(),
            unsent: VecDeque::new(),
            answers: VecDeque::new(),
            effects: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// The same with a wrapped control channel, for all endpoints. To be called before anything else.
    #[must_use]
    pub fn with_wrap(mut self, wrap: ControlWrap, now: Instant) -> Self {
        self.wrap = wrap;
        self.door = self.door_of(1, now);
        self
    }

    /// A door for one of this many workers: it judges what comes from senders without a session, so that only those who
    /// have proved their address are brought to [`handle_control`](Self::handle_control). They share the budget of answers.
    pub fn door(&mut self, workers: u16, now: Instant) -> Door {
        self.door_of(u32::from(workers.max(1)), now)
    }

    fn door_of(&mut self, share: u32, now: Instant) -> Door {
        let secret = self.draws.bytes("answers");
        Door::new(
            Arc::clone(&self.jar),
            self.wrap.clone(),
            secret,
            &self.limits.answers_shared_by(share),
            now,
        )
    }

    /// Whether an endpoint answers those who want to begin a session.
    pub fn answers(&self, endpoint: &EndpointId) -> bool {
        self.is_open(endpoint)
    }

    /// How many sessions are admitted and not ended.
    pub fn session_count(&self) -> usize {
        self.by_peer_id.len()
    }

    /// How many handshakes are under way.
    pub fn half_open_count(&self) -> usize {
        self.half_open
    }

    /// Counts since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The revision of the desired state applied last.
    pub fn revision(&self) -> u64 {
        self.desired.revision
    }

    /// Whether farewells of this endpoint's sessions are still on their way: its socket should stay until they
    /// are not (seconds at most).
    pub fn farewells_pending(&self, endpoint: &EndpointId) -> bool {
        self.leaving.iter().any(|id| self.slots.get(id).is_some_and(|slot| slot.endpoint == *endpoint))
    }

    /// The next thing the driver has to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next packet, in `out` (cleared first), and where it goes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        out.clear();
        if let Some((transmit, datagram)) = self.answers.pop_front() {
            out.extend_from_slice(&datagram);
            return Some(transmit);
        }
        while let Some(id) = self.unsent.front().copied() {
            let Some(slot) = self.slots.get_mut(&id) else {
                self.unsent.pop_front();
                continue;
            };
            if slot.session.poll_transmit(now, out) {
                let (endpoint, peer, stream) = (slot.endpoint.clone(), slot.peer, slot.stream);
                return Some(Transmit { endpoint, peer, stream });
            }
            slot.queued = false;
            self.unsent.pop_front();
            self.sent(id, now);
        }
        out.clear();
        None
    }

    /// A slot has nothing more to transmit now: its timer moved, or it is done.
    fn sent(&mut self, id: SlotId, now: Instant) {
        let Some(slot) = self.slots.get(&id) else { return };
        let done = match slot.stage {
            Stage::HalfOpen { .. } | Stage::Admitted(_) => false,
            Stage::Leaving => slot.session.farewell_done(),
            Stage::Closing => true,
        };
        if done {
            self.forget(id, now);
        } else {
            self.arm(id, now);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant, wall: UnixTime) {
        self.clock = Clock { at: now, wall };
        let due: Vec<SlotId> =
            self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        for id in due {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if slot.session.poll_timeout().is_some_and(|at| at <= now) {
                slot.session.handle_timeout(now);
            }
            let over = slot.deadline.is_some_and(|at| at <= now);
            self.settle(id, now);
            if over {
                self.overdue(id, now);
            }
            self.evaluate_due(id, now);
            self.answer_due(id, now);
        }
        let desired = &self.desired;
        self.endpoints.retain(|id, state| desired.endpoints.contains_key(id) || !state.is_idle(now));
    }

    /// Sets a slot's timer to what its session and stage want.
    fn arm(&mut self, id: SlotId, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let answer = slot.asked.as_ref().map(|asked| asked.until);
        let evaluation = match &slot.stage {
            Stage::Admitted(held) => held.evaluate_at,
            Stage::HalfOpen { .. } | Stage::Leaving | Stage::Closing => None,
        };
        let wanted =
            [slot.session.poll_timeout(), slot.deadline, evaluation, answer].into_iter().flatten().min();
        let wanted = wanted.map(|at| at.max(now + SHORTEST_TIMER));
        if wanted == slot.armed {
            return;
        }
        if let Some(at) = slot.armed {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = wanted {
            self.timers.insert((at, id));
        }
        slot.armed = wanted;
    }

    /// Lets a slot be polled for datagrams.
    fn queue(&mut self, id: SlotId) {
        if let Some(slot) = self.slots.get_mut(&id)
            && !slot.queued
        {
            slot.queued = true;
            self.unsent.push_back(id);
        }
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("revision", &self.desired.revision)
            .field("sessions", &self.session_count())
            .finish_non_exhaustive()
    }
}
