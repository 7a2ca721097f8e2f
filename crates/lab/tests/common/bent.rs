//! A client that has all keys and bends what it says before it is sealed: its control messages before TLS has them, the
//! fields of its control packets, what is in its data packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use foreign::{Dice, bent_message, bent_packet, mutate};
use lab::{Net, wait_until};
use openvpn::client::Line;
use openvpn::data;
use openvpn::tls::{Tls, TlsError};

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
        if self.bends(Where::Packets) { bent_packet(&mut self.dice, packet) } else { packet.to_vec() }
    }
}

/// TLS with such a tongue.
pub struct Bent {
    pub inner: Box<dyn Tls>,
    pub tongue: Tongue,
}

impl Tls for Bent {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.inner.feed(bytes)
    }
    fn drain(&mut self, out: &mut Vec<u8>) {
        self.inner.drain(out);
    }
    fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
        if self.tongue.bends(Where::Messages) {
            return self.inner.write(&bent_message(&mut self.tongue.dice, plaintext));
        }
        self.inner.write(plaintext)
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
