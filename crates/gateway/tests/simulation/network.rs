//! The network between clients and gateway: what is in the air, and what becomes of it on the way.

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use foreign::Dice as Rng;
use gateway::{Instant, StreamId};
use model::AssociationId;

use crate::client::Plan;
use crate::traffic::Letter;

/// How bad it is.
#[derive(Clone, Debug)]
pub struct Net {
    pub drop_per_mille: u64,
    pub repeat_per_mille: u64,
    pub delay_us: u64,
    /// Packets that take up to five seconds.
    pub late_per_mille: u64,
}

impl Net {
    pub fn draw(rng: &mut Rng) -> Self {
        if rng.chance(125) {
            return Self { drop_per_mille: 0, late_per_mille: 0, ..Self::any(rng) };
        }
        Self::any(rng)
    }

    fn any(rng: &mut Rng) -> Self {
        Self {
            drop_per_mille: rng.below(301),
            repeat_per_mille: rng.below(200),
            delay_us: 500 + rng.below(300_000),
            late_per_mille: if rng.chance(500) { rng.below(60) } else { 0 },
        }
    }

    pub fn is_lossless(&self) -> bool {
        self.drop_per_mille == 0 && self.late_per_mille == 0
    }
}

/// What a data packet carries, and under what.
#[derive(Clone, Debug)]
pub struct Sent {
    /// No other packet has it; its repetitions do.
    pub serial: usize,
    pub key_id: u8,
    pub at: Instant,
    pub inner: Inner,
}

#[derive(Clone, Debug)]
pub enum Inner {
    /// For the other end itself.
    InBand,
    /// `honest`: its source is one of the client's own addresses.
    Ip { packet: Letter, honest: bool },
}

#[derive(Clone)]
pub struct Packet {
    pub client: usize,
    pub up: bool,
    /// The client's address when it was sent, or the one it is sent to.
    pub address: SocketAddr,
    pub bytes: Vec<u8>,
    /// `None`: a control packet.
    pub data: Option<Sent>,
}

/// What is to come.
pub enum Event {
    Packet(Packet),
    /// The fabric of an association is up, or down.
    Ready(AssociationId, bool),
    /// A connection's other end has closed it.
    Closed(StreamId),
    /// Somebody connects.
    Connect(Plan),
    /// Somebody who was told to go is gone.
    Gone(usize),
}

/// Everything that is under way, by time.
#[derive(Default)]
pub struct Air {
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    /// When the last packet of a stream comes, in each direction: they stay in order.
    last: BTreeMap<(usize, bool), Instant>,
}

impl Air {
    pub fn push(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    /// Sends a packet on its way. One in a stream arrives, once and in order.
    pub fn throw(&mut self, packet: Packet, in_stream: bool, net: &Net, rng: &mut Rng, now: Instant) {
        let delay = |rng: &mut Rng| {
            let late = rng.chance(net.late_per_mille);
            Instant(now.0 + 300 + rng.below(if late { 5_000_000 } else { net.delay_us }))
        };
        if in_stream {
            let last = self.last.entry((packet.client, packet.up)).or_default();
            let at = delay(rng).max(*last);
            *last = at;
            self.push(at, Event::Packet(packet));
            return;
        }
        let copies = 1 + u64::from(rng.chance(net.repeat_per_mille));
        for _ in 0..copies {
            if !rng.chance(net.drop_per_mille) {
                let at = delay(rng);
                self.push(at, Event::Packet(packet.clone()));
            }
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.events.keys().next().map(|(at, _)| *at)
    }

    pub fn pop(&mut self) -> Option<Event> {
        self.events.pop_first().map(|(_, event)| event)
    }
}
