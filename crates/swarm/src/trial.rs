//! An expectation at work in a tunnel, and the verdict about it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use openvpn::Instant;
use smoltcp::iface::SocketHandle;
use tokio::sync::oneshot;

use crate::expect::{Expectation, Protocol, Talk, Verb};
use crate::probe::{Answer, Parts, Shot, Verdict};
use crate::pushed::Pushed;

/// Where `deny` without a port tries to connect, beside its echo request: an answer of either kind breaks it.
const DENY_TCP_PORT: u16 = 443;
/// How much longer than the server's keepalive period a sign of life is waited for.
const LIFE_SLACK: Duration = Duration::from_secs(2);

/// An expectation at work.
pub(crate) struct Trial {
    expectation: Arc<Expectation>,
    shots: Vec<Shot>,
    started: Instant,
    sent: u32,
    reply: Option<oneshot::Sender<Verdict>>,
}

impl Trial {
    pub(crate) fn new(expectation: Arc<Expectation>, reply: oneshot::Sender<Verdict>, now: Instant) -> Self {
        Self { expectation, shots: Vec::new(), started: now, sent: 0, reply: Some(reply) }
    }

    pub(crate) fn target(&self) -> IpAddr {
        self.expectation.target.address
    }

    pub(crate) fn note_sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// Begins; false if it is over already.
    pub(crate) fn open(&mut self, parts: &mut Parts<'_>, now: Instant) -> bool {
        let target = &self.expectation.target;
        let (address, talk) = (target.address, target.talk);
        let Some(from) = parts.pushed.source_for(address) else {
            self.finish(false, "the server gave no address of that family; nothing was sent".to_owned(), now);
            return false;
        };
        if self.expectation.verb != Verb::Deny && !parts.pushed.leads_to(address) {
            let detail =
                format!("no pushed route leads to {address}: clients would not send it into the tunnel");
            self.finish(false, detail, now);
            return false;
        }
        if from == address {
            self.finish(false, "that is the client's own address".to_owned(), now);
            return false;
        }
        let shots = match (self.expectation.verb, target.port) {
            (_, Some((Protocol::Tcp, port))) => vec![Shot::tcp(address, port, talk, parts, now)],
            (_, Some((Protocol::Udp, port))) => vec![Shot::udp(address, port, talk, parts, now)],
            (Verb::Deny, None) => vec![
                Shot::echo(address, parts, now),
                Shot::tcp(address, DENY_TCP_PORT, Talk::Nothing, parts, now),
            ],
            (_, None) => vec![Shot::echo(address, parts, now)],
        };
        let wanted = shots.len();
        self.shots = shots.into_iter().flatten().collect();
        if self.shots.len() < wanted {
            self.finish(false, "the probe cannot be sent".to_owned(), now);
            return false;
        }
        true
    }

    /// Moves on; true once it is over.
    pub(crate) fn step(&mut self, parts: &mut Parts<'_>, heard_at: Instant, now: Instant) -> bool {
        let deny = self.expectation.verb == Verb::Deny;
        for place in 0..self.shots.len() {
            let Some(answer) = self.shots.get_mut(place).and_then(|shot| shot.step(parts, now)) else {
                continue;
            };
            let (held, detail) = match answer {
                Answer::Good(said) if !deny => (true, said),
                Answer::Good(said) => (false, format!("answered: {said}")),
                Answer::Other(said) => (false, said),
            };
            self.finish(held, detail, now);
            return true;
        }
        if now < self.limit() {
            return false;
        }
        if !deny {
            let state = self.shots.iter().find_map(Shot::state);
            let detail = state.unwrap_or_else(|| format!("no answer to {} packets", self.sent));
            self.finish(false, detail, now);
            return true;
        }
        // That nobody answers means something only if the tunnel still lives.
        let alive = heard_at > self.started;
        if !alive && now < self.last_call(parts.pushed) {
            return false;
        }
        let (held, detail) = match (self.sent, alive || parts.pushed.ping.is_none()) {
            (0, _) => (false, "nothing could be sent through the tunnel".to_owned()),
            (_, false) => (false, "no answer, but no sign of life from the server either".to_owned()),
            (sent, true) => (true, format!("no answer to {sent} packets through the established tunnel")),
        };
        self.finish(held, detail, now);
        true
    }

    /// When the answer must have come.
    fn limit(&self) -> Instant {
        self.started + self.expectation.within
    }

    /// When a sign of life must have come, where one is to be expected.
    fn last_call(&self, pushed: &Pushed) -> Instant {
        let life = pushed.ping.filter(|_| self.expectation.verb == Verb::Deny);
        life.map_or(self.limit(), |every| self.limit().max(self.started + every + LIFE_SLACK))
    }

    /// When [`Trial::step`] is due.
    pub(crate) fn deadline(&self, pushed: &Pushed, now: Instant) -> Instant {
        let ends = [self.limit(), self.last_call(pushed)].into_iter().filter(|at| *at > now);
        self.shots.iter().map(|shot| shot.again_at).chain(ends).min().unwrap_or(now)
    }

    /// It cannot go on.
    pub(crate) fn give_up(mut self, why: &str, now: Instant) {
        self.finish(false, why.to_owned(), now);
    }

    fn finish(&mut self, held: bool, detail: String, now: Instant) {
        if let Some(reply) = self.reply.take() {
            // Whoever asked may have gone.
            let _ = reply.send(Verdict { held, detail, took: now.since(self.started) });
        }
    }

    /// Its sockets, and whether they are connections.
    pub(crate) fn into_sockets(self) -> impl Iterator<Item = (SocketHandle, bool)> {
        self.shots.into_iter().map(|shot| (shot.socket, shot.is_tcp()))
    }
}
