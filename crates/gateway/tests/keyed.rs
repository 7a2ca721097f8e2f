//! A client that has all keys and bends what it says: it passes authentication and then sends control messages, TLS
//! records, control packets and payloads that no client sends. The gateway does not panic, every check of the world holds,
//! nothing spoofed or denied is delivered, and an honest client beside it notices nothing.
#![allow(clippy::disallowed_methods)] // a test is told its length and seed by variables
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::pki::client;
use crate::world::{World, endpoint_id, rule, udp, udp_back};
use foreign::{Dice, bend, bent_message, bent_packet};
use openvpn::client::Line;
use openvpn::data;
use openvpn::tls::double::{Double, Script};
use openvpn::tls::{Tls, TlsError};
use openvpn::wire;

/// Sessions of continuous integration; each bends hundreds of things.
const SESSIONS: u64 = 400;
/// What the bending client may reach.
const ALLOWED: &str = "10.0.0.0/24";

/// What is bent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// Key-method-2 and control messages, before they are encrypted.
    Messages,
    /// TLS records: what a broken or hostile TLS stack says.
    Records,
    /// Control packets: opcodes, ids, acknowledgements, session ids.
    Packets,
    /// What is in data packets, under the genuine key.
    Payloads,
}

const ALL: [Where; 4] = [Where::Messages, Where::Records, Where::Packets, Where::Payloads];

/// The double, with a tongue of its own.
struct Bent {
    inner: Double,
    dice: Dice,
    place: Where,
    /// Bends from now on. Half of the sessions are honest until they are up.
    active: Arc<Mutex<bool>>,
}

impl Bent {
    fn bends(&mut self, place: Where) -> bool {
        self.place == place && *self.active.lock().unwrap() && self.dice.chance(500)
    }
}

impl Tls for Bent {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.inner.feed(bytes)
    }
    fn drain(&mut self, out: &mut Vec<u8>) {
        let mut records = Vec::new();
        self.inner.drain(&mut records);
        if !records.is_empty() && self.bends(Where::Records) {
            bend(&mut self.dice, &mut records, &[]);
        }
        out.append(&mut records);
    }
    fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
        if self.bends(Where::Messages) {
            return self.inner.write(&bent_message(&mut self.dice, plaintext));
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

/// Honest control packets in this many of a thousand.
const HONEST_PER_MILLE: u64 = 600;

/// Delivers everything; what the client sends is bent, if its kind is.
fn run(world: &mut World, it: usize, place: Where, active: &Mutex<bool>, dice: &mut Dice, time: Duration) {
    let end = world.now + time;
    while world.now < end {
        while !world.wire.is_empty() {
            let mut flying = world.wire.remove(0);
            let bends = place == Where::Packets && *active.lock().unwrap() && !dice.chance(HONEST_PER_MILLE);
            if flying.client == it && flying.to_gateway && bends {
                if dice.chance(300) {
                    world.deliver(flying.clone());
                }
                flying.bytes = bent_packet(dice, &flying.bytes);
                if wire::opcode(&flying.bytes).is_some_and(|(opcode, _)| opcode.is_data()) {
                    continue;
                }
            }
            world.deliver(flying);
        }
        world.advance_to(world.now + Duration::from_millis(500));
        world.tick();
    }
}

fn session(world: &mut World, honest: usize, seed: u64) -> (bool, u64) {
    let mut dice = Dice(seed);
    let place = ALL[usize::try_from(seed % 4).unwrap()];
    let active = Arc::new(Mutex::new(seed % 8 < 4));
    let (on, tls_dice) = (Arc::clone(&active), Dice(seed ^ 0x5555));
    let (mut keys, mut made) = (0, tls_dice);
    let tls = Box::new(move || {
        keys += 1;
        let certificates = vec![client(1)];
        let inner = Double::client(Script { seed: seed << 8 | keys, certificates, ..Script::default() });
        made.roll();
        Ok(Box::new(Bent { inner, dice: made.clone(), place, active: Arc::clone(&on) }) as Box<dyn Tls>)
    });
    let port = 1000 + u16::try_from(seed).unwrap();
    let config = Line::ALL[dice.place(Line::ALL.len())].config();
    let shown = Arc::new(Mutex::new(vec![]));
    let it = world.client_with(endpoint_id(1), ([192, 0, 2, 66], port).into(), shown, config, tls);
    run(world, it, place, &active, &mut dice, Duration::from_secs(4));
    *active.lock().unwrap() = true;
    let mut delivered = 0;
    if world.clients[it].told.is_none() && world.clients[it].sends {
        if dice.chance(400) {
            world.clients[it].session.renegotiate(world.now);
            world.drain_client(it);
        }
        delivered = payloads(world, it, &mut dice);
        if dice.chance(300) {
            world.clients[it].session.exit();
            world.drain_client(it);
        }
    }
    run(world, it, place, &active, &mut dice, Duration::from_secs(3));
    // It falls silent; the honest one has noticed nothing.
    let came_in = world.clients[it].pushed.is_some();
    world.clients[it].sends = false;
    world.wire.retain(|flying| flying.client != it);
    let ip = world.clients[honest].ip().unwrap();
    assert_eq!(world.clients[honest].told, None, "{place:?}");
    assert_eq!(world.send(honest, &udp(ip, "10.0.0.5")), Ok(Some(udp(ip, "10.0.0.5"))), "{place:?}");
    assert_eq!(world.send_down(honest, &udp_back("10.0.0.5", ip)), Ok(()), "{place:?}");
    (came_in, delivered)
}

/// Bent payloads under genuine keys. What passes has the client's own source and an allowed destination.
fn payloads(world: &mut World, it: usize, dice: &mut Dice) -> u64 {
    let Some(ip) = world.clients[it].ip() else { return 0 };
    let mut exit = data::OCC.to_vec();
    exit.push(data::OCC_EXIT);
    let seeds = [udp(ip, "10.0.0.5"), udp(ip, "10.0.9.9"), data::PING.to_vec(), exit, vec![0x60; 60]];
    let mut delivered = 0;
    for _ in 0..60 {
        let payload = foreign::mutate(dice, &seeds);
        if payload.len() > 1400 || payload.is_empty() {
            continue;
        }
        if let Ok(Some(out)) = world.send(it, &payload) {
            delivered += 1;
            let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&out[at..at + 4]).unwrap());
            assert_eq!(address(12), ip, "spoofed");
            assert_eq!(address(16).octets()[..3], [10, 0, 0], "denied");
            assert_eq!(usize::from(u16::from_be_bytes([out[2], out[3]])), out.len());
        }
    }
    delivered
}

#[test]
fn whoever_has_the_keys_may_say_anything() {
    let count = std::env::var("BASCULE_FUZZ")
        .map_or(SESSIONS, |text| text.parse::<u64>().expect("a number").min(60_000));
    let mut world = World::serving(&[1]);
    world.endpoint().rules = vec![rule(ALLOWED)];
    world.apply();
    let honest = world.connected(&client(0));
    let (mut in_all, mut delivered) = (0, 0);
    for seed in 0..count {
        let (came_in, passed) = session(&mut world, honest, seed);
        in_all += u64::from(came_in);
        delivered += passed;
        // Those that are over are not looked at any more.
        world.clients.truncate(honest + 1);
    }
    assert!(in_all * 3 > count && delivered > count, "{in_all} came in, {delivered} packets passed");
    world.run(Duration::from_secs(120));
    assert_eq!(
        (world.live().len(), world.gateway.half_open_count(), world.gateway.session_count()),
        (1, 0, 1)
    );
}
