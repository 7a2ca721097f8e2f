//! One connection without its socket: control channel, data channel, keepalive, renegotiation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openvpn::Instant;
use openvpn::client::{Event, Session};
use openvpn::data::{Channel, InBand, OCC, OCC_EXIT, PING, Role, classify};
use openvpn::wire::{Opcode, SessionId, opcode};

use crate::profile::{Profile, Transport};
use crate::pushed::Pushed;
use crate::setup::Setup;

/// Longest text of a server that is kept for display, in characters.
const MAX_SHOWN: usize = 200;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// `RESTART`, or the server's exit: come back. True: to the next server.
    Restart(String, bool),
    /// `HALT`: stay away.
    Halt(String),
    /// `AUTH_FAILED`: stay away, unless it says that it will pass.
    Rejected(String),
    /// Nothing was heard for the time of `ping-restart`.
    Silent,
    /// TLS, the key exchange or its time.
    Failed(String),
    /// What was pushed cannot be worked with.
    Unspoken(&'static str),
}

/// What a connection tells its driver.
#[derive(Debug)]
pub(crate) enum News {
    /// The tunnel is up.
    Up(Arc<Pushed>),
    /// The terms of the tunnel have changed, without an interruption.
    Updated(Arc<Pushed>),
    /// A new key is in use.
    Rekeyed,
    /// It is over; what is left to transmit may still go.
    Over(Over),
}

/// One connection. Driver contract: as for [`openvpn::client::Session`].
pub(crate) struct Tunnel {
    session: Session,
    channel: Channel,
    pushed: Option<Arc<Pushed>>,
    news: VecDeque<News>,
    over: bool,
    over_tcp: bool,
    exit_notify: bool,
    ping: Option<Duration>,
    ping_restart: Option<Duration>,
    renegotiate_after: Option<Duration>,
    renegotiate_at: Option<Instant>,
    keys: u32,
    sent_at: Instant,
    heard_at: Instant,
}

impl Tunnel {
    /// A connection whose first packet waits to be transmitted.
    pub(crate) fn new(setup: &Setup, transport: Transport, now: Instant) -> Result<Self, String> {
        let mut seed = [0; 32];
        let mut sid = [0; 8];
        aws_lc_rs::rand::fill(&mut seed)
            .and_then(|()| aws_lc_rs::rand::fill(&mut sid))
            .map_err(|_| "no randomness")?;
        let sid = SessionId(if sid == [0; 8] { [1; 8] } else { sid });
        let session = Session::new(setup.session(transport), setup.tls(), sid, seed, now)
            .map_err(|error| error.to_string())?;
        let Profile { ping, ping_restart, renegotiate_after, exit_notify, .. } = setup.profile;
        Ok(Self {
            session,
            channel: Channel::new(Role::Client),
            pushed: None,
            news: VecDeque::new(),
            over: false,
            over_tcp: transport == Transport::Tcp,
            exit_notify,
            ping,
            ping_restart,
            renegotiate_after,
            renegotiate_at: None,
            keys: 0,
            sent_at: now,
            heard_at: now,
        })
    }

    /// Takes a packet; what was inside of the tunnel is yielded.
    pub(crate) fn take<'p>(&mut self, packet: &'p mut [u8], now: Instant) -> Option<&'p [u8]> {
        if self.over {
            return None;
        }
        if !opcode(packet).is_some_and(|(opcode, _)| matches!(opcode, Opcode::DataV1 | Opcode::DataV2)) {
            if self.session.handle_packet(packet, now).is_ok() {
                self.heard_at = now;
            }
            return None;
        }
        let opened = self.channel.open(packet).ok()?;
        self.heard_at = now;
        if opened.first_use {
            self.session.note_new_key_used(opened.key_id, now);
        }
        match classify(opened.payload) {
            InBand::Ip4 | InBand::Ip6 => return Some(opened.payload),
            InBand::OccExit => self.end(Over::Restart("the server has left".to_owned(), false)),
            InBand::Ping | InBand::Occ | InBand::Other => {}
        }
        None
    }

    /// Appends a packet of the tunnel, sealed. False if it cannot go now.
    pub(crate) fn seal(&mut self, inner: &[u8], now: Instant, out: &mut Vec<u8>) -> bool {
        let sealed = !self.over && self.pushed.is_some() && self.channel.seal(inner, out).is_ok();
        if sealed {
            self.sent_at = now;
        }
        sealed
    }

    /// Time has come. Harmless when early.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.over {
            return;
        }
        self.session.handle_timeout(now);
        if self.pushed.is_none() {
            return;
        }
        if self.renegotiate_at.is_some_and(|at| at <= now) || self.channel.needs_rekey() {
            self.renegotiate_at = self.renegotiate_after.map(|after| now + after);
            self.session.renegotiate(now);
        }
        if self.ping_restart.is_some_and(|limit| self.heard_at + limit <= now) {
            self.end(Over::Silent);
        }
    }

    /// Begins a renegotiation now.
    pub(crate) fn renegotiate(&mut self, now: Instant) {
        self.session.renegotiate(now);
    }

    /// A keepalive, if one is due.
    pub(crate) fn ping(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let due = self.ping.is_some_and(|every| self.sent_at + every <= now);
        due && self.seal(&PING, now, out)
    }

    /// True: `out` (cleared first) holds a control packet for the server.
    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        self.session.poll_transmit(now, out)
    }

    /// What there is to tell.
    pub(crate) fn poll_news(&mut self, now: Instant) -> Option<News> {
        while let Some(event) = self.session.poll_event() {
            self.hear(event, now);
        }
        self.news.pop_front()
    }

    /// When [`Tunnel::handle_timeout`] or [`Tunnel::ping`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let up = self.pushed.is_some();
        let of_tunnel = [
            self.ping.map(|every| self.sent_at + every),
            self.ping_restart.map(|limit| self.heard_at + limit),
            self.renegotiate_at,
        ];
        of_tunnel.into_iter().filter(|_| up).chain([self.session.poll_timeout()]).flatten().min()
    }

    /// When something authenticated was last heard.
    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Says that we leave, in the way the server understands: on the control channel, or with the packet in `out`.
    pub(crate) fn leave(&mut self, now: Instant, out: &mut Vec<u8>) {
        let Some(pushed) = self.pushed.clone().filter(|_| !self.over) else { return };
        if pushed.cc_exit {
            self.session.exit();
        } else if !self.over_tcp && (pushed.exit_notify || self.exit_notify) {
            let mut notice = OCC.to_vec();
            notice.push(OCC_EXIT);
            self.seal(&notice, now, out);
        }
    }

    /// Whether something that we said has not arrived yet.
    pub(crate) fn awaits_acknowledgement(&self) -> bool {
        !self.session.all_acknowledged()
    }

    fn end(&mut self, over: Over) {
        if !std::mem::replace(&mut self.over, true) {
            self.news.push_back(News::Over(over));
        }
    }

    fn hear(&mut self, event: Event, now: Instant) {
        match event {
            Event::Pushed(options) => {
                let pushed = Arc::new(Pushed::parse(options));
                if let Some(why) = pushed.unspoken {
                    return self.end(Over::Unspoken(why));
                }
                self.ping = pushed.ping.or(self.ping);
                self.ping_restart = pushed.ping_restart.or(self.ping_restart);
                self.renegotiate_at = self.renegotiate_after.map(|after| now + after);
                (self.sent_at, self.heard_at) = (now, now);
                self.pushed = Some(pushed);
            }
            Event::Updated(options) => {
                let pushed = Arc::new(Pushed::parse(options));
                if let Some(why) = pushed.unspoken {
                    return self.end(Over::Unspoken(why));
                }
                self.pushed = Some(Arc::clone(&pushed));
                self.news.push_back(News::Updated(pushed));
            }
            Event::KeysReady { key_id, keys, cipher, v2_peer_id } => {
                if let Err(error) = self.channel.install(key_id, &keys, cipher, v2_peer_id) {
                    self.end(Over::Failed(error.to_string()));
                }
            }
            Event::SendKey { key_id } => {
                self.channel.send_with(key_id);
                self.keys += 1;
                // Now packets can pass, not before.
                match &self.pushed {
                    Some(pushed) if self.keys == 1 => self.news.push_back(News::Up(Arc::clone(pushed))),
                    Some(_) => {
                        self.renegotiate_at = self.renegotiate_after.map(|after| now + after);
                        self.news.push_back(News::Rekeyed);
                    }
                    None => {}
                }
            }
            Event::KeyRetired { key_id } => self.channel.retire(key_id),
            Event::Rejected(text) => self.end(Over::Rejected(shown(&text))),
            Event::Restart(text) => {
                let flags =
                    text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(flags, _)| flags);
                let next = flags.is_some_and(|flags| flags.contains('N'));
                self.end(Over::Restart(shown(&text), next));
            }
            Event::Halt(text) => self.end(Over::Halt(shown(&text))),
            Event::Failed(reason) => self.end(Over::Failed(shown(&reason.to_string()))),
        }
    }
}

/// A server's words, fit for a line of output.
fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect()
}
