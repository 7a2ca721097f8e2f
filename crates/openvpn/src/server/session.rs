//! One client's session: keys coming and going, the two gates, push, farewell.
//!
//! spec: openvpn-protocol §1, §9, §11

mod ending;
mod opening;
mod updating;

use std::collections::VecDeque;
use std::sync::Arc;

use constant_time_eq::constant_time_eq;

use super::key::{Decision, Key, Progress};
use super::{Discard, Event, FailReason, Farewell, Outcome, SessionConfig};
use crate::data::{Cipher, Role};
use crate::exchange::Exchange;
use crate::keys::{Derivation, Draw};
use crate::km2::Dialect;
use crate::peer_info::proto;
use crate::reliable::Reliable;
use crate::tls::{Tls, TlsError};
use crate::wire::{Control, MAX_PACKET_BYTES, Opcode, SessionId};
use crate::wrap::{ControlWrap, Envelope, SessionWrap};
use crate::{Instant, PeerInfo};

/// Makes the TLS side of each key.
pub type TlsFactory = Box<dyn FnMut() -> Result<Box<dyn Tls>, TlsError> + Send>;

/// Longest text message that stock clients take, without its NUL. spec: openvpn-protocol §9.1
const MAX_TEXT_BYTES: usize = 2046;
/// The same for clients of the AWS dialect.
const MAX_TEXT_AWS_BYTES: usize = (1 << 18) - 1;

/// The session id of a client whose first packet over TCP this may be: a hard reset as clients send it.
#[must_use]
pub fn tcp_reset(packet: &[u8]) -> Option<SessionId> {
    tcp_reset_wrapped(&ControlWrap::Plain, packet)
}

/// The same where the control channel may be wrapped.
#[must_use]
pub fn tcp_reset_wrapped(wrap: &ControlWrap, packet: &[u8]) -> Option<SessionId> {
    let first = wrap.first(packet)?;
    let control = Control::parse(&first.packet).ok()?;
    let wanted = match wrap {
        ControlWrap::Plain | ControlWrap::TlsCrypt(_) => Opcode::HardResetClientV2,
        ControlWrap::TlsCryptV2(_) => Opcode::HardResetClientV3,
    };
    let reset = control.opcode == wanted
        && control.key_id == 0
        && control.message_id == Some(0)
        && control.peer_session.is_none();
    reset.then_some(control.session)
}

/// One client's control channel.
///
/// Driver contract: after any `handle_*` or command, drain [`Session::poll_transmit`], then
/// [`Session::poll_event`], then re-arm [`Session::poll_timeout`]. Time never goes back.
///
/// Data keys and push options leave only through two gates, both for the very key they belong to: TLS and
/// key-method 2 are complete, and the driver has accepted the login.
pub struct Session {
    config: Arc<SessionConfig>,
    factory: TlsFactory,
    client_sid: SessionId,
    server_sid: SessionId,
    /// Runs over TCP.
    over_tcp: bool,
    envelope: Envelope,
    draw: Draw,
    current: Key,
    /// Being negotiated, to replace `current`.
    next: Option<Key>,
    /// Replaced by `current`, still good for late packets until the given time.
    old: Option<(Key, Instant)>,
    /// When `current` came into use.
    settled_at: Instant,
    terms: Terms,
    push_requested: bool,
    pushed: Option<Pushed>,
    goodbye: Option<Goodbye>,
    over: bool,
    /// Two or three per call of the driver, which drains them after each.
    events: VecDeque<Event>,
}

/// What was agreed on key 0, for the whole session.
#[derive(Default)]
struct Terms {
    peer_info: PeerInfo,
    dialect: Option<Dialect>,
    cipher: Option<Cipher>,
    derivation: Derivation,
    /// Renegotiations are wrapped with a key of key 0's TLS.
    dyn_tls_crypt: bool,
    v2_peer_id: Option<u32>,
    /// Pushed options of an accepted login; the session's own come behind them.
    options: Vec<String>,
}

/// A push reply has been sent.
struct Pushed {
    /// What the client has been told, updates included.
    told: Vec<String>,
    at: Instant,
}

struct Goodbye {
    text: String,
    /// In place of it, for clients that know temporary refusals.
    temporary: Option<String>,
    until: Instant,
    done: bool,
    /// Why, if the driver does not know.
    reason: Option<FailReason>,
}

impl Session {
    /// A session for a client that [`super::CookieJar::judge`] said has proved its address; then give it that same
    /// packet. (Both hard resets consumed message id 0.) `seed` must be random; `tls` makes one server side per key.
    ///
    /// # Errors
    /// `tls` failed.
    pub fn new(
        config: Arc<SessionConfig>,
        mut tls: TlsFactory,
        client_sid: SessionId,
        server_sid: SessionId,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, TlsError> {
        let exchange = Exchange::new(0, Reliable::new(1), tls()?);
        Ok(Self::with(config, tls, (client_sid, server_sid), exchange, false, seed, now))
    }

    /// A session over TCP, for a client whose first packet [`tcp_reset`] found to be a hard reset: TCP itself has
    /// proved the address, so there is no cookie, and the answer to the reset is the session's first packet.
    /// `server_sid` must be random. Nothing is sent twice: the driver must not lose what it polls.
    ///
    /// # Errors
    /// `tls` failed.
    pub fn over_tcp(
        config: Arc<SessionConfig>,
        mut tls: TlsFactory,
        client_sid: SessionId,
        server_sid: SessionId,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, TlsError> {
        let mut exchange = Exchange::new(0, Reliable::answering_reset().over_tcp(), tls()?);
        exchange.send_reset(Opcode::HardResetServerV2);
        Ok(Self::with(config, tls, (client_sid, server_sid), exchange, true, seed, now))
    }

    fn with(
        config: Arc<SessionConfig>,
        factory: TlsFactory,
        (client_sid, server_sid): (SessionId, SessionId),
        exchange: Exchange,
        over_tcp: bool,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let current = Key::new(exchange, &config, now);
        Self {
            config,
            factory,
            client_sid,
            server_sid,
            over_tcp,
            envelope: Envelope::plain(Role::Server),
            draw: Draw::new(seed),
            current,
            next: None,
            old: None,
            settled_at: now,
            terms: Terms::default(),
            push_requested: false,
            pushed: None,
            goodbye: None,
            over: false,
            events: VecDeque::new(),
        }
    }

    /// The same session with a wrapped control channel. To be called before anything else.
    #[must_use]
    pub fn with_wrap(self, wrap: SessionWrap) -> Self {
        let mut session = self;
        session.envelope = wrap.into_envelope();
        session.current.exchange.wrap(session.envelope.overhead_bytes(0));
        session
    }

    /// Takes a control packet of this session.
    ///
    /// # Errors
    /// The packet was dropped; the session is unharmed.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) -> Result<(), Discard> {
        if self.over {
            return Err(Discard::Over);
        }
        if packet.len() > MAX_PACKET_BYTES {
            return Err(Discard::Window);
        }
        let packet = self.envelope.open(packet)?;
        let control = Control::parse(&packet)?;
        let ours = control.peer_session.is_none_or(|sid| constant_time_eq(&sid.0, &self.server_sid.0));
        if control.session != self.client_sid || !ours {
            return Err(Discard::Session);
        }
        match control.opcode {
            Opcode::ControlV1 | Opcode::AckV1 | Opcode::ControlWkcV1 => {}
            Opcode::SoftResetV1 => self.admit_soft_reset(&control, now)?,
            Opcode::HardResetClientV2 | Opcode::HardResetClientV3 => return self.repeat_reset_ack(&control),
            _ => return Err(Discard::Opcode),
        }
        let key = self.key_mut(control.key_id).ok_or(Discard::Key)?;
        let received = key.exchange.receive(&control);
        // Also when the message was dropped: its acknowledgements may move things on.
        self.advance(control.key_id, now);
        received
    }

    /// Time has come: give up, retire, retransmit. Harmless when early.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.over {
            return;
        }
        if self.old.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.retire_old();
        }
        if let Some((old, _)) = &mut self.old
            && old.deadline.is_some_and(|deadline| deadline <= now)
        {
            old.deadline = None;
            old.exchange.forget_tls();
        }
        if self.goodbye.as_ref().is_some_and(|goodbye| !goodbye.done && goodbye.until <= now) {
            self.finish_goodbye();
        }
        let expired = |key: &Key| key.deadline.is_some_and(|deadline| deadline <= now);
        if self.goodbye.is_none() && (expired(&self.current) || self.next.as_ref().is_some_and(expired)) {
            self.fail(FailReason::HandshakeTimeout);
            return;
        }
        let waited = [Some(&self.current), self.next.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.grace().is_some_and(|grace| grace <= now))
            .map(Key::id);
        if let Some(key_id) = waited {
            let draw = &mut self.draw;
            let key = [Some(&mut self.current), self.next.as_mut()]
                .into_iter()
                .flatten()
                .find(|key| key.id() == key_id);
            if let Some(key) = key {
                let progress = key.finish_waiting(|| draw.server_source());
                self.progressed(key_id, progress, now);
            }
        }
    }

    /// When to call [`Session::handle_timeout`], if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.over || self.farewell_is_over() {
            return None;
        }
        let keys = [Some(&self.current), self.next.as_ref(), self.old.as_ref().map(|(key, _)| key)];
        let of_keys = keys.into_iter().flatten().flat_map(|key| {
            let deadline = if self.goodbye.is_none() { key.deadline } else { None };
            [key.exchange.deadline(), deadline, key.grace()]
        });
        let of_session = [self.old.as_ref().map(|(_, until)| *until), self.goodbye.as_ref().map(|g| g.until)];
        of_keys.chain(of_session).flatten().min()
    }

    /// True: `out` (cleared first) holds one datagram for the client.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        out.clear();
        let keys = [self.next.as_mut(), Some(&mut self.current), self.old.as_mut().map(|(key, _)| key)];
        keys.into_iter()
            .flatten()
            .any(|key| key.exchange.poll_transmit(self.server_sid, Some(self.client_sid), now, out))
            && self.envelope.seal(out)
    }

    /// The next event, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Answers the oldest [`Event::AuthenticationNeeded`] without an answer. An acceptance that comes after the
    /// session has ended or said farewell does nothing.
    pub fn authenticated(&mut self, outcome: Outcome, now: Instant) {
        if self.over || self.goodbye.is_some() {
            return;
        }
        let key = [Some(&mut self.current), self.next.as_mut()]
            .into_iter()
            .flatten()
            .find(|key| key.decision == Decision::Pending);
        let Some(key) = key else { return };
        match outcome {
            Outcome::Reject { reason } => {
                key.decision = Decision::Refused;
                let reason = (!reason.is_empty()).then_some(reason);
                self.farewell(Farewell::AuthFailed(reason), now);
            }
            Outcome::Accept { peer_id, push } => {
                key.decision = Decision::Accepted;
                if key.id() == 0 && self.pushed.is_none() {
                    self.terms.v2_peer_id = self.terms.peer_info.has(proto::DATA_V2).then_some(peer_id);
                    self.terms.derivation.epochs &= self.terms.v2_peer_id.is_some();
                    self.terms.options = push;
                    self.push_when_asked(now);
                } else {
                    self.arm_next();
                    self.settle_next(now);
                }
            }
        }
    }

    /// Ends the session gracefully: data keys are retired at once, the message is retransmitted until it is
    /// acknowledged or five seconds have passed. Only the first call counts; nothing extends the time.
    pub fn farewell(&mut self, farewell: Farewell, now: Instant) {
        let temporary = match &farewell {
            Farewell::ComeBack { after_s, text } => {
                Some(format!("AUTH_FAILED,TEMP[backoff {after_s},advance no]:{text}"))
            }
            _ => None,
        };
        let text = match farewell {
            Farewell::Restart => "RESTART".to_owned(),
            Farewell::ComeBack { text, .. } => format!("RESTART,{text}"),
            Farewell::RestartKeep => "RESTART,[P]".to_owned(),
            Farewell::Halt(None) => "HALT".to_owned(),
            Farewell::Halt(Some(text)) => format!("HALT,{text}"),
            Farewell::AuthFailed(None) => "AUTH_FAILED".to_owned(),
            Farewell::AuthFailed(Some(text)) => format!("AUTH_FAILED,{text}"),
        };
        self.say_goodbye(&text, temporary, None, now);
    }

    /// True once the farewell is acknowledged or given up (or could not be said at all).
    #[must_use]
    pub fn farewell_done(&self) -> bool {
        self.over || self.farewell_is_over()
    }

    /// Starts a renegotiation by a soft reset of ours. Ignored unless established, or while one is under way.
    pub fn renegotiate(&mut self, now: Instant) {
        if !self.over && self.goodbye.is_none() && self.is_established() && self.next.is_none() {
            self.start_next(now);
        }
    }

    /// A worker saw authenticated data under this key: the client has it, so we may send with it too.
    pub fn note_new_key_used(&mut self, key_id: u8, now: Instant) {
        if let Some(next) = &mut self.next
            && next.id() == key_id
            && next.installed
        {
            self.promote(now);
        }
    }

    /// True once PUSH_REPLY has been sent (and no end has come).
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.pushed.is_some() && !self.over
    }

    /// Bytes that the client has us keep before it is authenticated: of its handshake, and ahead of what is missing.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.current.exchange.held_bytes()
    }

    /// What the client says about itself; empty before its login.
    #[must_use]
    pub fn peer_info(&self) -> &PeerInfo {
        &self.terms.peer_info
    }

    fn key_mut(&mut self, key_id: u8) -> Option<&mut Key> {
        [Some(&mut self.current), self.next.as_mut(), self.old.as_mut().map(|(key, _)| key)]
            .into_iter()
            .flatten()
            .find(|key| key.id() == key_id)
    }

    /// The client's hard reset again: its copy of our answer, or ours of its acknowledgement, is late.
    fn repeat_reset_ack(&mut self, control: &Control<'_>) -> Result<(), Discard> {
        if control.key_id != 0 || control.message_id != Some(0) {
            return Err(Discard::Key);
        }
        let key = self.key_mut(0).ok_or(Discard::Key)?;
        key.exchange.acknowledge_reset();
        Ok(())
    }

    /// A soft reset of a key at hand is a retransmission; of the next key, a renegotiation if one may start now.
    fn admit_soft_reset(&mut self, control: &Control<'_>, now: Instant) -> Result<(), Discard> {
        if control.key_id == 0 || control.message_id != Some(0) {
            return Err(Discard::Key);
        }
        let at_hand = [Some(&self.current), self.next.as_ref()]
            .into_iter()
            .flatten()
            .any(|key| key.id() == control.key_id);
        if at_hand {
            return Ok(());
        }
        let may_start = self.is_established()
            && self.goodbye.is_none()
            && self.next.is_none()
            && control.key_id == self.next_key_id()
            && now.since(self.settled_at) >= self.config.renegotiation_pause;
        if !may_start {
            return Err(Discard::Key);
        }
        self.start_next(now);
        if self.over { Err(Discard::Over) } else { Ok(()) }
    }

    /// 0 only ever is the first; then 1 to 7, round and round.
    fn next_key_id(&self) -> u8 {
        if self.current.id() >= 7 { 1 } else { self.current.id() + 1 }
    }

    fn start_next(&mut self, now: Instant) {
        self.retire_old();
        match (self.factory)() {
            Ok(tls) => {
                let reliable = Reliable::new(0);
                let reliable = if self.over_tcp { reliable.over_tcp() } else { reliable };
                let key_id = self.next_key_id();
                let mut exchange = Exchange::new(key_id, reliable, tls);
                exchange.wrap(self.envelope.overhead_bytes(key_id));
                exchange.send_reset(Opcode::SoftResetV1);
                self.next = Some(Key::new(exchange, &self.config, now));
            }
            Err(error) => self.fail(FailReason::Tls(error)),
        }
    }

    fn advance(&mut self, key_id: u8, now: Instant) {
        let draw = &mut self.draw;
        let keys = [Some(&mut self.current), self.next.as_mut(), self.old.as_mut().map(|(key, _)| key)];
        let Some(key) = keys.into_iter().flatten().find(|key| key.id() == key_id) else { return };
        let progress = key.advance(&self.config, now, || draw.server_source());
        self.progressed(key_id, progress, now);
        self.settle_next(now);
        let heard = |key: &Key| key.said_goodbye && key.exchange.all_acknowledged();
        if self.goodbye.is_some() && (heard(&self.current) || self.next.as_ref().is_some_and(heard)) {
            self.finish_goodbye();
        }
    }

    fn progressed(&mut self, key_id: u8, progress: Result<Progress, FailReason>, now: Instant) {
        match progress {
            Err(reason) => self.fail(reason),
            Ok(Progress { login, texts }) => {
                if let Some(message) = login {
                    self.log_in(key_id, message, now);
                }
                for text in texts {
                    self.hear(&text, now);
                }
            }
        }
    }

    /// Data keys of a renegotiated key, once both its gates are open.
    fn arm_next(&mut self) {
        let Some(cipher) = self.terms.cipher else { return };
        let Some(next) = &mut self.next else { return };
        let key_id = next.id();
        match next.derive(self.terms.derivation, self.client_sid, self.server_sid) {
            Ok(Some(keys)) => {
                let v2_peer_id = self.terms.v2_peer_id;
                self.events.push_back(Event::KeysReady { key_id, keys, cipher, v2_peer_id });
            }
            Ok(None) => {}
            Err(reason) => self.fail(reason),
        }
    }

    /// Puts the new key to use once the client has acknowledged our part of the exchange.
    fn settle_next(&mut self, now: Instant) {
        if self.next.as_ref().is_some_and(|next| next.installed && next.exchange.all_acknowledged()) {
            self.promote(now);
        }
    }

    fn promote(&mut self, now: Instant) {
        let Some(mut next) = self.next.take() else { return };
        next.deadline = None;
        self.retire_old();
        self.events.push_back(Event::SendKey { key_id: next.id() });
        let mut old = std::mem::replace(&mut self.current, next);
        // Its data key stays; of its TLS, only what is under way now is waited for.
        old.deadline = Some(now + self.config.handshake_timeout);
        self.old = Some((old, now + self.config.lame_duck));
        self.settled_at = now;
        self.tell_update();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("key_id", &self.current.id())
            .field("established", &self.is_established())
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}
