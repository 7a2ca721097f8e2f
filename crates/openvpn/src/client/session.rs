//! One connection to a server, from hard reset to farewell.

use std::collections::VecDeque;
use std::sync::Arc;

use super::key::Key;
use super::{Discard, Event, FailReason, HandshakeOrder, SessionConfig, TlsFactory, WrapKey};
use crate::Instant;
use crate::data::{Cipher, Role};
use crate::exchange::Exchange;
use crate::keys::{Derivation, Draw};
use crate::km2::ClientMessage;
use crate::peer_info::{PeerInfo, proto};
use crate::push::{self, Assembler, Kind};
use crate::reliable::Reliable;
use crate::tls::TlsError;
use crate::wire::{Control, MAX_PACKET_BYTES, Opcode, SessionId};
use crate::wrap::{Envelope, StaticKey, asks_for_key, seconds};

/// One client's control channel.
///
/// Driver contract: as for [`crate::server::Session`].
pub struct Session {
    config: Arc<SessionConfig>,
    factory: TlsFactory,
    client_sid: SessionId,
    /// `None` until the server's hard reset has come.
    server_sid: Option<SessionId>,
    envelope: Envelope,
    draw: Draw,
    current: Key,
    next: Option<Key>,
    old: Option<(Key, Instant)>,
    /// Send with `next` from then on.
    switch_at: Option<Instant>,
    assembler: Assembler,
    /// `None`: this client takes no updates.
    updates: Option<Assembler>,
    /// What was pushed, updates included; kept only where there may be some.
    options: Vec<String>,
    /// The next PUSH_REQUEST.
    ask_at: Option<Instant>,
    terms: Option<Terms>,
    over: bool,
    events: VecDeque<Event>,
}

/// What the server pushed about keys.
#[derive(Copy, Clone)]
struct Terms {
    cipher: Cipher,
    derivation: Derivation,
    v2_peer_id: Option<u32>,
}

impl Session {
    /// A session whose hard reset is ready to be transmitted. `sid` and `seed` must be random; `tls` makes one client
    /// side per key.
    ///
    /// # Errors
    /// `tls` failed.
    pub fn new(
        config: Arc<SessionConfig>,
        mut tls: TlsFactory,
        sid: SessionId,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, TlsError> {
        let mut draw = Draw::new(seed);
        let envelope = envelope(&config);
        let mut exchange = Exchange::new(0, reliable(&config), tls()?);
        exchange.wrap(envelope.overhead_bytes(0));
        let v2 = envelope.wrapped_key_bytes() > 0;
        exchange.send_reset(if v2 { Opcode::HardResetClientV3 } else { Opcode::HardResetClientV2 });
        let current = Key::new(exchange, draw.client_source(), now + config.handshake_timeout);
        let updates =
            PeerInfo::parse(&config.peer_info).has(proto::PUSH_UPDATE).then(|| Assembler::new(Kind::Update));
        Ok(Self {
            config,
            factory: tls,
            client_sid: sid,
            server_sid: None,
            envelope,
            draw,
            current,
            next: None,
            old: None,
            switch_at: None,
            assembler: Assembler::new(Kind::Reply),
            updates,
            options: Vec::new(),
            ask_at: None,
            terms: None,
            over: false,
            events: VecDeque::new(),
        })
    }

    /// Takes a control packet from the server.
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
        if control.peer_session.is_some_and(|sid| sid != self.client_sid) {
            return Err(Discard::Session);
        }
        match (self.server_sid, control.opcode) {
            (None, Opcode::HardResetServerV2) if control.key_id == 0 && control.peer_session.is_some() => {
                self.server_sid = Some(control.session);
                self.current.exchange.ack_alone = self.config.order == HandshakeOrder::AckAlone;
                let key_bytes = self.envelope.wrapped_key_bytes();
                if key_bytes > 0 && asks_for_key(control.payload) {
                    self.current.exchange.escort_bytes = Some(key_bytes);
                }
            }
            (None, _) => return Err(Discard::Opcode),
            (Some(sid), _) if sid != control.session => return Err(Discard::Session),
            (Some(_), Opcode::HardResetServerV2) if control.key_id == 0 => {}
            (Some(_), Opcode::ControlV1 | Opcode::AckV1) => {}
            (Some(_), Opcode::SoftResetV1) => self.admit_soft_reset(&control, now)?,
            (Some(_), _) => return Err(Discard::Opcode),
        }
        let key = self.keys_mut().find(|key| key.id() == control.key_id).ok_or(Discard::Key)?;
        key.exchange.receive(&control)?;
        self.advance(control.key_id, now);
        Ok(())
    }

    /// Time has come: give up, ask, switch, retransmit. Harmless when early.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.over {
            return;
        }
        if self.old.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.retire_old();
        }
        if self.switch_at.is_some_and(|at| at <= now) {
            self.promote(now);
        }
        if self.keys_mut().any(|key| key.deadline.is_some_and(|deadline| deadline <= now)) {
            return self.fail(FailReason::HandshakeTimeout);
        }
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = Some(now + self.config.push_request_every);
            if let Err(reason) = self.current.exchange.write_text("PUSH_REQUEST") {
                self.fail(reason);
            }
        }
    }

    /// When to call [`Session::handle_timeout`], if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let keys = [Some(&self.current), self.next.as_ref(), self.old.as_ref().map(|(key, _)| key)];
        let of_keys = keys.into_iter().flatten().flat_map(|key| [key.exchange.deadline(), key.deadline]);
        let of_session = [self.old.as_ref().map(|(_, until)| *until), self.switch_at, self.ask_at];
        of_keys.chain(of_session).flatten().min()
    }

    /// True: `out` (cleared first) holds one datagram for the server.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        out.clear();
        let (own, peer) = (self.client_sid, self.server_sid);
        self.keys_mut().any(|key| key.exchange.poll_transmit(own, peer, now, out)) && self.envelope.seal(out)
    }

    /// The next event, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// True once the push reply has come (and no end).
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.terms.is_some() && !self.over
    }

    /// Starts a renegotiation by a soft reset of ours. Ignored unless established, or while one is under way.
    pub fn renegotiate(&mut self, now: Instant) {
        if self.is_established() && self.next.is_none() {
            self.start_next(now);
        }
    }

    /// Tells the server that we leave (for servers that pushed `cc-exit`). The driver transmits, then drops us.
    pub fn exit(&mut self) {
        if !self.over && self.current.is_exchanged() {
            // A broken connection needs no goodbye.
            let _ = self.current.exchange.write_text("EXIT");
        }
    }

    /// True if the server has acknowledged all that was sent on the key in use: a goodbye has arrived.
    #[must_use]
    pub fn all_acknowledged(&self) -> bool {
        self.current.exchange.all_acknowledged()
    }

    /// The server's data came under this key: it has it, so we may send with it too.
    pub fn note_new_key_used(&mut self, key_id: u8, now: Instant) {
        let early = self.config.switch_on_data;
        if early && self.next.as_ref().is_some_and(|next| next.id() == key_id && next.installed) {
            self.promote(now);
        }
    }

    fn keys_mut(&mut self) -> impl Iterator<Item = &mut Key> {
        [self.next.as_mut(), Some(&mut self.current), self.old.as_mut().map(|(key, _)| key)]
            .into_iter()
            .flatten()
    }

    fn admit_soft_reset(&mut self, control: &Control<'_>, now: Instant) -> Result<(), Discard> {
        if control.key_id == 0 || control.message_id != Some(0) {
            return Err(Discard::Key);
        }
        if [Some(&self.current), self.next.as_ref()]
            .into_iter()
            .flatten()
            .any(|key| key.id() == control.key_id)
        {
            return Ok(());
        }
        // A server that started the next round has the key before it, whatever we have seen of it.
        if self.next.as_ref().is_some_and(|next| next.installed) {
            self.promote(now);
        }
        if !self.is_established() || self.next.is_some() || control.key_id != self.next_key_id() {
            return Err(Discard::Key);
        }
        self.start_next(now);
        Ok(())
    }

    fn next_key_id(&self) -> u8 {
        if self.current.id() >= 7 { 1 } else { self.current.id() + 1 }
    }

    fn start_next(&mut self, now: Instant) {
        self.retire_old();
        match (self.factory)() {
            Ok(tls) => {
                let mut exchange = Exchange::new(self.next_key_id(), reliable(&self.config), tls);
                exchange.wrap(self.envelope.overhead_bytes(exchange.key_id));
                exchange.send_reset(Opcode::SoftResetV1);
                let source = self.draw.client_source();
                self.next = Some(Key::new(exchange, source, now + self.config.handshake_timeout));
            }
            Err(error) => self.fail(FailReason::Tls(error)),
        }
    }

    fn advance(&mut self, key_id: u8, now: Instant) {
        let config = Arc::clone(&self.config);
        let Some(key) = self.keys_mut().find(|key| key.id() == key_id) else { return };
        let was_exchanged = key.is_exchanged();
        let texts = key.advance(|source| ClientMessage {
            dialect: config.dialect,
            source,
            options: config.options.clone(),
            username: match &config.username_again {
                Some(again) if key_id > 0 => Some(again.clone()),
                _ => config.username.clone(),
            },
            password: config.password.clone(),
            peer_info: Some(match &config.peer_info_again {
                Some(again) if key_id > 0 => again.clone(),
                _ => config.peer_info.clone(),
            }),
        });
        let now_exchanged = key.is_exchanged() && !was_exchanged;
        match texts {
            Err(reason) => return self.fail(reason),
            Ok(texts) => {
                if now_exchanged && key_id == 0 {
                    self.ask_at = Some(now + self.config.push_request_after);
                }
                for text in texts {
                    self.hear(&text);
                }
            }
        }
        if let (Some(terms), true) = (self.terms, now_exchanged && key_id != 0) {
            if let Some(next) = &mut self.next {
                next.deadline = None;
            }
            self.arm(key_id, terms);
            self.switch_at = Some(now + self.config.switch_after);
        }
    }

    fn hear(&mut self, text: &str) {
        if self.over {
            return;
        }
        let (word, rest) = text.split_once(',').unwrap_or((text, ""));
        let ending = match word {
            "AUTH_FAILED" => Event::Rejected(rest.to_owned()),
            "RESTART" => Event::Restart(rest.to_owned()),
            "HALT" => Event::Halt(rest.to_owned()),
            "PUSH_UPDATE" => return self.take_update(text),
            _ => return self.take_push(text),
        };
        self.ask_at = None;
        self.retire_all();
        self.over = true;
        self.events.push_back(ending);
    }

    fn take_push(&mut self, text: &str) {
        let options = match self.assembler.take(text) {
            Ok(Some(options)) => options,
            Ok(None) => return,
            Err(error) => return self.fail(FailReason::Push(error)),
        };
        if self.terms.is_some() {
            return; // a repetition
        }
        let value = |name: &str| {
            options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix(' ')).map(str::trim)
        };
        let has_flag =
            |wanted| value("protocol-flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == wanted));
        let v2_peer_id = value("peer-id").and_then(|id| id.parse().ok());
        let terms = Terms {
            cipher: value("cipher").and_then(Cipher::from_name).unwrap_or(self.config.cipher),
            derivation: Derivation {
                ekm: has_flag("tls-ekm") || value("key-derivation") == Some("tls-ekm"),
                epochs: has_flag("aead-epoch") && v2_peer_id.is_some(),
            },
            v2_peer_id,
        };
        if has_flag("dyn-tls-crypt")
            && let Err(error) = self.envelope.renew(self.current.exchange.tls())
        {
            return self.fail(FailReason::Tls(error));
        }
        self.terms = Some(terms);
        self.ask_at = None;
        self.current.deadline = None;
        if self.updates.is_some() {
            self.options.clone_from(&options);
        }
        self.events.push_back(Event::Pushed(options));
        self.arm(0, terms);
        self.events.push_back(Event::SendKey { key_id: 0 });
    }

    /// What cannot be updated makes clients connect anew.
    fn take_update(&mut self, text: &str) {
        if self.terms.is_none() {
            return;
        }
        let Some(updates) = &mut self.updates else { return };
        let applied = match updates.take(text) {
            Ok(Some(update)) => push::apply(&mut self.options, update),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match applied {
            Ok(()) => self.events.push_back(Event::Updated(self.options.clone())),
            Err(error) => self.fail(FailReason::Push(error)),
        }
    }

    fn arm(&mut self, key_id: u8, terms: Terms) {
        let (client_sid, server_sid) = (self.client_sid, self.server_sid);
        let Some(server_sid) = server_sid else { return };
        let Some(key) = self.keys_mut().find(|key| key.id() == key_id) else { return };
        match key.derive(terms.derivation, client_sid, server_sid) {
            Ok(Some(keys)) => {
                let Terms { cipher, v2_peer_id, .. } = terms;
                self.events.push_back(Event::KeysReady { key_id, keys, cipher, v2_peer_id });
            }
            Ok(None) => {}
            Err(reason) => self.fail(reason),
        }
    }

    fn promote(&mut self, now: Instant) {
        self.switch_at = None;
        let Some(mut next) = self.next.take() else { return };
        next.deadline = None;
        self.retire_old();
        self.events.push_back(Event::SendKey { key_id: next.id() });
        let old = std::mem::replace(&mut self.current, next);
        self.old = Some((old, now + self.config.lame_duck));
    }

    fn retire_old(&mut self) {
        if let Some((key, _)) = self.old.take()
            && key.installed
        {
            self.events.push_back(Event::KeyRetired { key_id: key.id() });
        }
    }

    fn retire_all(&mut self) {
        self.retire_old();
        let installed =
            self.keys_mut().filter_map(|key| std::mem::take(&mut key.installed).then(|| key.id()));
        let retired: Vec<u8> = installed.collect();
        self.events.extend(retired.into_iter().map(|key_id| Event::KeyRetired { key_id }));
    }

    fn fail(&mut self, reason: FailReason) {
        if !self.over {
            self.retire_all();
            self.over = true;
            self.events.push_back(Event::Failed(reason));
        }
    }
}

fn reliable(config: &SessionConfig) -> Reliable {
    let reliable = match config.order {
        HandshakeOrder::AckRides => Reliable::new(0),
        HandshakeOrder::AckAlone => Reliable::without_repeated_acks(0),
    };
    let reliable = if config.retransmits { reliable } else { reliable.over_tcp() };
    reliable.with_windows(config.send_window, config.receive_window)
}

fn envelope(config: &SessionConfig) -> Envelope {
    let Some(wrap) = &config.wrap else { return Envelope::plain(Role::Client) };
    let time = seconds(wrap.began_at);
    match &wrap.key {
        WrapKey::TlsCrypt(key) => Envelope::client(StaticKey::clone(key), time),
        // A wrapped key is sent again on the ClientHello, which answers the server's reset at once in newer lines only.
        WrapKey::TlsCryptV2(key) => Envelope::client_v2(key, time, config.order == HandshakeOrder::AckRides),
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
