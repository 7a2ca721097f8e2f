//! The door: what becomes of a control datagram whose sender has no session. Nothing is kept for it, so each worker has a
//! door of its own and a flood costs the threads behind it nothing (spec: openvpn-protocol §5).

mod budget;
mod repeats;

use std::net::SocketAddr;
use std::sync::Arc;

use openvpn::server::{CookieJar, FirstPacket};
use openvpn::wire::SessionId;
use openvpn::wrap::ControlWrap;
use openvpn::{Instant, UnixTime};

use self::budget::AnswerBudget;
pub use self::budget::source;
use crate::limits::Limits;

/// Judges control datagrams of senders without a session.
pub struct Door {
    jar: Arc<CookieJar>,
    wrap: ControlWrap,
    budget: AnswerBudget,
}

/// What is to be done with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Its sender receives where it says it is: let it in to the gateway.
    Proven {
        /// The client's session id.
        client_sid: SessionId,
        /// Ours.
        server_sid: SessionId,
    },
    /// Send what is in `out`.
    Answer,
    /// An answer is due, and the budget is used up.
    Refused,
    /// It proves nothing and deserves no answer.
    Nothing,
}

impl Door {
    /// One with a whole budget. `secret` keeps a flooder from choosing whose bucket it fills.
    pub(crate) fn new(
        jar: Arc<CookieJar>,
        wrap: ControlWrap,
        secret: [u8; 32],
        limits: &Limits,
        now: Instant,
    ) -> Self {
        Self { jar, wrap, budget: AnswerBudget::new(secret, limits, now) }
    }

    /// Judges one datagram; `out` is cleared, and holds the answer if there is one.
    pub fn look(
        &mut self,
        peer: SocketAddr,
        packet: &[u8],
        now: Instant,
        wall: UnixTime,
        out: &mut Vec<u8>,
    ) -> Look {
        match self.jar.judge_wrapped(&self.wrap, peer, packet, now, wall, out) {
            FirstPacket::Proven { client_sid, server_sid } => Look::Proven { client_sid, server_sid },
            FirstPacket::Drop => Look::Nothing,
            FirstPacket::Answer => {
                let sender = sender(packet).unwrap_or(SessionId([0; 8]));
                if self.budget.take(peer, sender, now) { Look::Answer } else { Look::Refused }
            }
        }
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("wrap", &self.wrap).finish_non_exhaustive()
    }
}

/// The sender's session id: in clear in each control packet, wrapped or not.
pub fn sender(packet: &[u8]) -> Option<SessionId> {
    packet.get(1..)?.first_chunk().copied().map(SessionId)
}
