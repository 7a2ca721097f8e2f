//! Admission against sweep: clients connect, leave, float and renegotiate over a network that loses, repeats and
//! reorders, while the operator disassociates, terminates, revokes and takes back. After every single call the world
//! checks that nothing forbidden is held or admitted (`World::check`, `World::deliver`); here the schedules are made.
//!
//! `SEEDS=from..to` in the environment runs others than the usual ones.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::world::pki::{client, pki};
use crate::world::{World, association, association_id, endpoint, endpoint_id, only, route, rule, udp};
use gateway::Limits;
use gateway::desired::AuthorizationPolicy;
use model::AssociationId;
use openvpn::client::{HandshakeOrder, SessionConfig};

/// A list that revokes one client; made once, for signing is slow.
fn revoking(n: usize) -> Arc<Vec<u8>> {
    static LISTS: OnceLock<Vec<Arc<Vec<u8>>>> = OnceLock::new();
    let list = |n| Arc::new(crate::world::pki::crl(&[n], crate::world::EPOCH + 86_400));
    Arc::clone(&LISTS.get_or_init(|| (0..4).map(list).collect())[n])
}

/// xorshift64*: schedules only.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }
}

struct Schedule {
    world: World,
    dice: Dice,
    associations: u128,
    clients: usize,
    lossy: usize,
}

/// What a run covered, so that a test that no longer tests anything is found out.
#[derive(Debug, Default)]
struct Covered {
    connected: u64,
    swept_half_done: u64,
    ended: BTreeSet<&'static str>,
    refused_at_login: u64,
    refused_by_policy: u64,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let limits =
            Limits { max_sessions: 4 + dice.roll(8), max_farewells: 1 + dice.roll(6), ..Limits::default() };
        let mut world = World::new(limits);
        let mut wanted = endpoint(1);
        // Small, so that addresses are soon short.
        wanted.client_cidr = "10.9.0.0/28".parse().unwrap();
        wanted.split_tunnel = dice.chance(30);
        world.desired.endpoints.insert(wanted.id.clone(), Arc::new(wanted));
        world.apply();
        let lossy = [0, 0, 5, 25][dice.roll(4)];
        let mut schedule = Self { world, dice, associations: 0, clients: 0, lossy };
        schedule.associate();
        schedule.world.set_ready(1, true);
        for _ in 0..schedule.dice.roll(4) {
            schedule.connect();
        }
        schedule
    }

    fn wanted(&self) -> Vec<AssociationId> {
        let endpoint = self.world.desired.endpoints.get(&endpoint_id(1));
        endpoint.into_iter().flat_map(|e| e.associations.keys().cloned()).collect()
    }

    fn associate(&mut self) {
        self.associations += 1;
        let n = self.associations;
        if let Some(endpoint) = self.world.wanted(1) {
            endpoint.associations.insert(association_id(n), association(n));
            self.world.apply();
        }
    }

    /// The fabric's word about any association there ever was: late words too.
    fn ready(&mut self) {
        let n = 1 + self.dice.roll(usize::try_from(self.associations).unwrap());
        let up = self.dice.chance(85);
        self.world.set_ready(u128::try_from(n).unwrap(), up);
    }

    fn step(&mut self) {
        match self.dice.roll(100) {
            0..70 if !self.world.wire.is_empty() => self.network(),
            0..84 => self.time(),
            84..92 => self.client(),
            _ => self.operator(),
        }
    }

    fn network(&mut self) {
        let at = if self.lossy == 0 { 0 } else { self.dice.roll(self.world.wire.len().min(4)) };
        let flying = self.world.wire.remove(at);
        if self.dice.chance(self.lossy) {
            return;
        }
        if self.dice.chance(self.lossy) {
            self.world.wire.push(flying.clone());
        }
        self.world.deliver(flying);
    }

    fn time(&mut self) {
        let soon = self.world.now + Duration::from_millis(200);
        let due = self.world.next_timeout().unwrap_or(soon).min(self.world.now + Duration::from_secs(2));
        self.world.advance_to(if self.dice.chance(50) { due } else { soon.min(due) });
        if self.dice.chance(30) {
            self.world.tick();
        }
    }

    fn client(&mut self) {
        let any = self.dice.roll(self.clients.max(1));
        match self.dice.roll(10) {
            0..5 => self.connect(),
            _ if self.clients == 0 => {}
            5 => {
                self.world.clients[any].session.exit();
                self.world.drain_client(any);
            }
            6 => {
                self.world.clients[any].session.renegotiate(self.world.now);
                self.world.drain_client(any);
            }
            7 => {
                let port = 1000 + u16::try_from(self.dice.roll(60_000)).unwrap();
                self.world.clients[any].address = SocketAddr::from(([203, 0, 113, 9], port));
            }
            _ => {
                if let Some(ip) = self.world.clients[any].ip() {
                    let _ = self.world.send(any, &udp(ip, "10.0.3.3"));
                }
            }
        }
    }

    fn connect(&mut self) {
        let certificate =
            if self.dice.chance(10) { pki().stranger.clone() } else { client(self.dice.roll(4)) };
        let mut config = SessionConfig::default();
        if self.dice.chance(30) {
            config.order = HandshakeOrder::AckAlone;
            config.peer_info = "IV_PROTO=2\nIV_NCP=2\n".to_owned();
        }
        // Few addresses: clients that start anew from their former one are common.
        let port = 1 + u16::try_from(self.dice.roll(12)).unwrap();
        let address = SocketAddr::from(([198, 51, 100, 7], port));
        self.world.client_at(address, &certificate, config);
        self.clients += 1;
    }

    fn operator(&mut self) {
        let wanted = self.wanted();
        let Some(id) = wanted.get(self.dice.roll(wanted.len().max(1))).cloned() else {
            if !self.world.desired.endpoints.contains_key(&endpoint_id(1)) {
                let mut anew = endpoint(1);
                anew.client_cidr = "10.9.0.0/28".parse().unwrap();
                self.world.desired.endpoints.insert(anew.id.clone(), Arc::new(anew));
            }
            self.associate();
            return;
        };
        let live: Vec<_> = self.world.live().iter().map(|start| start.id.clone()).collect();
        let endpoint = self.world.wanted(1).unwrap();
        match self.dice.roll(16) {
            0..3 => drop(endpoint.associations.remove(&id)),
            3 => endpoint.associations.clear(),
            4 | 5 if wanted.len() < 3 => return self.associate(),
            4..8 => return self.ready(),
            8 => endpoint.terminate.extend(live.first().cloned()),
            9 => endpoint.rules = vec![rule(["10.0.0.0/8", "0.0.0.0/0"][self.dice.roll(2)])],
            10 => {
                let revoked = self.dice.roll(4);
                endpoint.crl = self.dice.chance(50).then(|| revoking(revoked));
            }
            11 => {
                let routes = vec![route(["10.0.0.0/16", "10.0.0.0/17"][self.dice.roll(2)])];
                endpoint.associations.get_mut(&id).unwrap().routes = routes;
            }
            12 => endpoint.admits = self.dice.chance(60),
            13 | 14 => {
                let names = ["alice.example", "bob.example", "carol.example", "dave.example"];
                let from = self.dice.roll(4);
                let policy = only(names.get(from..from + 1 + self.dice.roll(4 - from)).unwrap());
                let shadow = self.dice.chance(25);
                endpoint.policy = policy.map(|policy| AuthorizationPolicy { shadow, ..policy });
                if self.dice.chance(40) {
                    endpoint.policy = None;
                }
            }
            _ => {
                if self.dice.chance(30) {
                    self.world.desired.endpoints.clear();
                }
            }
        }
        self.world.apply();
    }

    /// The last disassociation, under whatever is going on; then silence must come.
    fn finish(&mut self, covered: &mut Covered) {
        if let Some(endpoint) = self.world.wanted(1) {
            endpoint.associations.clear();
        }
        self.world.apply();
        assert!(self.world.paths.is_empty() && self.world.live().is_empty());
        assert_eq!((self.world.gateway.session_count(), self.world.gateway.half_open_count()), (0, 0));
        let admitted = self.world.gateway.stats().admitted;
        for _ in 0..30 {
            self.network_if_any();
            self.ready();
            self.time();
        }
        self.world.run(Duration::from_secs(70));
        assert_eq!(self.world.gateway.stats().admitted, admitted);
        assert_eq!(self.world.starts.len(), self.world.ends.len(), "every beginning has its end");
        assert_eq!(self.world.gateway.poll_timeout(), None, "nothing is left behind");
        let stats = self.world.gateway.stats();
        covered.connected += u64::try_from(self.world.starts.len()).unwrap();
        covered.swept_half_done += stats.handshakes_swept;
        covered.refused_at_login += stats.gate_refused + stats.identity_refused;
        covered.refused_by_policy += stats.policy_refused;
        covered.ended.extend(self.world.ends.iter().map(|end| end.reason.as_str()));
    }

    fn network_if_any(&mut self) {
        if !self.world.wire.is_empty() {
            self.network();
        }
    }
}

fn run(seeds: Range<u64>) -> Covered {
    let mut covered = Covered::default();
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut covered = Covered::default();
            let mut schedule = Schedule::new(seed);
            for _ in 0..120 + schedule.dice.roll(200) {
                schedule.step();
            }
            schedule.finish(&mut covered);
            covered
        });
        match outcome {
            Ok(one) => {
                covered.connected += one.connected;
                covered.swept_half_done += one.swept_half_done;
                covered.refused_at_login += one.refused_at_login;
                covered.refused_by_policy += one.refused_by_policy;
                covered.ended.extend(one.ended);
            }
            Err(panic) => {
                eprintln!("seed {seed}: run it alone with SEEDS={seed}..{}", seed + 1);
                std::panic::resume_unwind(panic);
            }
        }
    }
    covered
}

fn seeds() -> Option<Range<u64>> {
    let text = std::env::var("SEEDS").ok()?;
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

#[test]
fn refused_or_swept() {
    if let Some(seeds) = seeds() {
        eprintln!("{:?}", run(seeds));
        return;
    }
    let halves = [0..1500, 1500..3000].map(|seeds| std::thread::spawn(move || run(seeds)));
    let covered = halves.map(|half| half.join().expect("the seed is told above"));
    let sum = |of: fn(&Covered) -> u64| covered.iter().map(of).sum::<u64>();
    let ended: BTreeSet<_> = covered.iter().flat_map(|one| one.ended.iter().copied()).collect();
    eprintln!("{covered:?}");
    assert!(sum(|c| c.connected) > 2000, "enough connected");
    assert!(sum(|c| c.swept_half_done) > 300, "enough were swept half-done");
    assert!(sum(|c| c.refused_at_login) > 100, "enough were refused at their login");
    assert!(sum(|c| c.refused_by_policy) > 100, "enough were refused by a policy");
    let expected =
        ["client-exit", "disassociated", "endpoint-deleted", "not-admitted", "reconfigured", "replaced"];
    assert!(expected.iter().all(|reason| ended.contains(reason)), "{ended:?}");
    assert!(
        ["policy-denied", "revoked", "terminated"].iter().all(|reason| ended.contains(reason)),
        "{ended:?}"
    );
}

#[test]
fn same_seed_same_run() {
    let trace = || {
        let mut schedule = Schedule::new(77);
        let mut trace = vec![];
        for _ in 0..300 {
            schedule.step();
            let wire: Vec<_> = schedule.world.wire.iter().map(|f| (f.client, f.bytes.clone())).collect();
            trace.push((wire, schedule.world.now, schedule.world.gateway.poll_timeout()));
        }
        let ids: Vec<_> = schedule.world.starts.keys().cloned().collect();
        (trace, ids, *schedule.world.gateway.stats())
    };
    assert!(trace() == trace());
}
