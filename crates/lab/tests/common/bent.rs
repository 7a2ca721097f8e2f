//! A client that has all keys and bends what it says before it is sealed: its control messages before TLS has them, the
//! fields of its control packets, what is in its data packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use foreign::{Dice, bend, mutate};
use lab::{Net, wait_until};
use openvpn::client::Line;
use openvpn::data;
use openvpn::tls::{Tls, TlsError};
use openvpn::wire::Control;

use super::peer::{Habits, Peer, inner};

/// Honest messages and packets in this many of a thousand: or few sessions came far.
const HONEST_PER_MILLE: u64 = 500;
/// Payloads of one session.
const PAYLOADS: usize = 60;
/// How long one that is honest at first may take to come up.
const UP: Duration = Duration::from_secs(10);
/// How long one is waited for that may well come to nothing.
const PERHAPS: Duration = Duration::from_millis(1_500);
/// How long it goes on after that: a renegotiation takes a fraction.
const GOES_ON: Duration = Duration::from_millis(500);

/// What is bent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Key-method-2 messages, push requests, farewells.
    Messages,
    /// Opcodes, key ids, message ids, acknowledgements, session ids.
    Packets,
}

/// A bending client's tongue. Its clones count together and begin together.
#[derive(Clone)]
pub struct Tongue {
    place: Where,
    dice: Dice,
    active: Arc<AtomicBool>,
    /// How much has been bent.
    bent: Arc<AtomicU64>,
}

impl Tongue {
    fn bends(&mut self, place: Where) -> bool {
        let bends =
            self.place == place && self.active.load(Ordering::Relaxed) && !self.dice.chance(HONEST_PER_MILLE);
        self.bent.fetch_add(u64::from(bends), Ordering::Relaxed);
        bends
    }

    /// Another one, which bends otherwise.
    pub fn another(&mut self) -> Self {
        self.dice.roll();
        self.clone()
    }

    /// What becomes of a control packet.
    pub fn packet(&mut self, packet: &[u8]) -> Vec<u8> {
        if !self.bends(Where::Packets) {
            return packet.to_vec();
        }
        let dice = &mut self.dice;
        let mut bytes = packet.to_vec();
        let Ok(mut control) = Control::parse(packet) else { return bytes };
        let mut acks: Vec<u32> = control.acks.as_slice().to_vec();
        match dice.below(7) {
            0 => control.key_id = dice.byte() & 7,
            1 => {
                let by = u32::from(dice.byte()).wrapping_sub(3);
                control.message_id = control.message_id.map(|id| id.wrapping_add(by));
            }
            2 => control.message_id = control.message_id.map(|_| u32::MAX - u32::from(dice.byte() & 1)),
            3 => {
                acks.push(u32::from(dice.byte()));
                control.peer_session.get_or_insert(control.session);
            }
            4 => control.peer_session = control.peer_session.map(|_| control.session),
            5 => {
                let from = dice.place(control.payload.len() + 1);
                control.payload = control.payload.get(from..).unwrap_or_default();
            }
            _ => {
                bend(dice, &mut bytes, &[]);
                return bytes;
            }
        }
        control.acks = acks.into_iter().take(8).collect();
        bytes.clear();
        control.encode(&mut bytes);
        bytes
    }
}

/// TLS with such a tongue.
pub struct Bent {
    pub inner: Box<dyn Tls>,
    pub tongue: Tongue,
}

/// What clients and servers say; servers expect some of it of nobody.
const TEXTS: [&[u8]; 8] = [
    b"PUSH_REQUEST\0",
    b"EXIT\0",
    b"CR_RESPONSE,AAAA\0",
    b"PUSH_REQUEST,EXIT\0\0\0",
    b"INFO,\x1b[2J\r\n%s%n\0",
    b"AUTH_FAILED\0",
    b"PUSH_REPLY,ifconfig 10.0.0.1 255.0.0.0\0",
    b"RESTART,[P]",
];

impl Tls for Bent {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.inner.feed(bytes)
    }
    fn drain(&mut self, out: &mut Vec<u8>) {
        self.inner.drain(out);
    }
    fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
        let mut message = plaintext.to_vec();
        if self.tongue.bends(Where::Messages) {
            let texts = TEXTS.map(<[u8]>::to_vec);
            let dice = &mut self.tongue.dice;
            if dice.chance(300) {
                message.extend_from_slice(dice.pick::<Vec<u8>>(&texts));
            }
            bend(dice, &mut message, &texts);
        }
        self.inner.write(&message)
    }
    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.inner.read(out)
    }
    fn handshaking(&self) -> bool {
        self.inner.handshaking()
    }
    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        self.inner.peer_certificates()
    }
    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError> {
        self.inner.export(label, out)
    }
}

/// What came of a session.
pub struct Came {
    /// It was let in.
    pub up: bool,
    /// It was told that it is over, or found so itself.
    pub over: bool,
    /// How much was bent.
    pub bent: u64,
}

/// One session: it connects, sends bent payloads, renegotiates, and says something like goodbye. Half of them are honest
/// until they are up. Their lines are all there are; packets are bent of those whose renewed keys are not wrapped, since
/// what is bent behind a wrapping is noise.
pub fn session(net: &Net, server: SocketAddr, tls: &Arc<rustls::ClientConfig>, seed: u64) -> Result<Came> {
    let mut dice = Dice(seed);
    let place = if seed.is_multiple_of(2) { Where::Messages } else { Where::Packets };
    let lines: &[Line] = if place == Where::Messages { &Line::ALL } else { &[Line::V2_4, Line::V2_5] };
    let line = *dice.pick(lines);
    let from_start = seed % 4 < 2;
    let tongue = Tongue {
        place,
        dice: dice.clone(),
        active: Arc::new(AtomicBool::new(from_start)),
        bent: Arc::default(),
    };
    let (active, bent) = (Arc::clone(&tongue.active), Arc::clone(&tongue.bent));
    let habits = Habits { config: line.config(), tongue: Some(tongue), ..Habits::default() };
    let peer = Peer::start_as(net, server, Arc::clone(tls), habits)?;
    wait_until(if from_start { PERHAPS } else { UP }, || peer.is_up() || peer.over().is_some());
    let up = peer.is_up();
    anyhow::ensure!(up || from_start, "an honest {line:?} did not come up: {:?}", peer.over());
    active.store(true, Ordering::Relaxed);
    if let Some(address) = peer.address() {
        let exit = [&data::OCC[..], &[data::OCC_EXIT]].concat();
        let seeds = [inner(address), data::PING.to_vec(), data::OCC.to_vec(), vec![0x60; 60], exit];
        // An exit by itself would end most sessions before their renegotiation.
        let seeds = if dice.chance(200) { &seeds[..] } else { &seeds[..4] };
        let payloads = (0..PAYLOADS).map(|_| mutate(&mut dice, seeds));
        peer.send(
            payloads.filter(|payload| !payload.is_empty() && payload.len() <= 1_400).collect::<Vec<_>>(),
        );
        peer.renegotiate();
        wait_until(GOES_ON, || peer.over().is_some());
        peer.exit();
        wait_until(GOES_ON / 5, || peer.over().is_some());
    }
    Ok(Came { up, over: peer.over().is_some(), bent: bent.load(Ordering::Relaxed) })
}
