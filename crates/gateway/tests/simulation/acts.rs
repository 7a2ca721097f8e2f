//! What happens to a gateway in its life, drawn by lot: changes of the desired state, and what clients and clocks do.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use gateway::Instant;
use gateway::desired::{Association, AuthorizationPolicy, Endpoint, Route, Rule, Target};
use model::{EndpointId, RuleGroup, SecurityRule, Transport};
use openvpn::client::Line;
use openvpn::data;

use crate::client::Plan;
use crate::lists::{LISTS, NAMES};
use crate::network::{Event, Inner, Net};
use crate::sim::Sim;
use crate::world::{self, association_id, endpoint_id, only, udp};

const ENDPOINTS_MAX: usize = 4;
const ASSOCIATIONS_MAX: usize = 3;

const RULES: [&str; 9] = [
    "0.0.0.0/0",
    "10.0.0.0/16",
    "10.0.0.0/24",
    "10.0.5.5/32",
    "172.16.0.0/12",
    "192.168.1.0/24",
    "10.9.0.0/22",
    "10.9.0.0/29",
    "::/0",
];

/// The client CIDR as a row through the association is not the local row.
const ROUTES: [&str; 7] = [
    "0.0.0.0/0",
    "10.0.0.0/16",
    "10.0.5.0/24",
    "172.16.0.0/12",
    "192.168.1.128/25",
    "10.9.0.0/22",
    "8.8.8.8/32",
];

const FAR: [[u8; 4]; 12] = [
    [10, 0, 0, 1],
    [10, 0, 5, 5],
    [10, 0, 5, 6],
    [10, 0, 255, 255],
    [10, 1, 0, 0],
    [172, 16, 0, 9],
    [172, 31, 255, 255],
    [172, 32, 0, 0],
    [192, 168, 1, 127],
    [192, 168, 1, 128],
    [8, 8, 8, 8],
    [9, 9, 9, 9],
];

/// Policies cost milliseconds each to read: few schedules have them.
fn policy(sim: &mut Sim) -> Option<AuthorizationPolicy> {
    match sim.rng.below(5) {
        0 => None,
        1 => only(&NAMES),
        2 => only(&NAMES[..2]),
        3 => only(&NAMES[2..]),
        _ => only(&NAMES[1..]).map(|policy| AuthorizationPolicy { shadow: true, ..policy }),
    }
}

impl Sim {
    /// Begins with endpoints, associations and clients.
    pub fn populate(&mut self) {
        let endpoints = if self.rng.chance(700) { 1 } else { 1 + self.rng.place(ENDPOINTS_MAX) };
        for _ in 0..endpoints {
            self.add_endpoint();
        }
        let clients = match self.rng.below(1000) {
            0..700 => 1 + self.rng.place(4),
            700..985 => 1 + self.rng.place(12),
            _ => 1 + self.rng.place(64),
        };
        // Some come back, some more than once.
        self.places = clients * 2;
        self.acts_left = 3 + u32::try_from(self.rng.below(20)).unwrap();
        let begins = if self.rng.chance(500) { 500_000 } else { 20_000_000 };
        for _ in 0..clients {
            let plan = self.plan();
            let at = Instant(self.now.0 + self.rng.below(begins));
            if let Some(plan) = plan {
                self.air.push(at, Event::Connect(plan));
            }
        }
        self.apply();
        self.next_act = self.now + Duration::from_millis(self.rng.below(5000));
    }

    fn plan(&mut self) -> Option<Plan> {
        let endpoints: Vec<EndpointId> = self.desired.endpoints.keys().cloned().collect();
        if endpoints.is_empty() {
            return None;
        }
        // One in thirty is a stranger, or comes with a certificate that has expired.
        let name =
            if self.rng.chance(30) { NAMES.len() + self.rng.place(2) } else { self.rng.place(NAMES.len()) };
        Some(Plan {
            endpoint: self.rng.pick(&endpoints).clone(),
            name: if self.real_tls { name % NAMES.len() } else { name },
            line: *self.rng.pick(&Line::ALL),
            v1: self.rng.chance(60),
            real_tls: self.real_tls,
        })
    }

    /// Numbers are never used again: ids are not either.
    fn number(&mut self) -> u128 {
        u128::from(self.rng.roll()) | 1 << 64
    }

    fn add_endpoint(&mut self) {
        let mut wanted = world::endpoint(1);
        let number = self.number();
        wanted.id = endpoint_id(number);
        wanted.transport = if self.rng.chance(200) { Transport::Tcp } else { Transport::Udp };
        wanted.split_tunnel = self.rng.chance(300);
        if self.rng.chance(200) {
            // So few addresses that they run out, rest, and are given again.
            wanted.client_cidr = "10.9.0.0/29".parse().unwrap();
        }
        if self.real_tls {
            wanted.server = world::real::server();
        }
        if self.rng.chance(50) {
            wanted.session_timeout = Duration::from_secs(20 + self.rng.below(60));
            wanted.disconnect_on_session_timeout = self.rng.chance(500);
        }
        wanted.rules = self.rules();
        for _ in 0..1 + self.rng.place(ASSOCIATIONS_MAX) {
            let association = self.association();
            wanted.associations.insert(association.id.clone(), association);
        }
        self.desired.endpoints.insert(wanted.id.clone(), Arc::new(wanted));
    }

    fn association(&mut self) -> Association {
        let number = self.number();
        let routes = self.routes();
        Association { id: association_id(number), routes, ..world::association(1) }
    }

    fn rules(&mut self) -> Vec<Rule> {
        let some = self.rng.below(1 << RULES.len());
        let chosen = RULES.iter().enumerate().filter(|(at, _)| some >> at & 1 == 1);
        let chosen: Vec<&str> = chosen.map(|(_, rule)| *rule).collect();
        chosen
            .into_iter()
            .map(|rule| Rule {
                group: if self.rng.chance(800) {
                    RuleGroup::All
                } else {
                    RuleGroup::Group("S-1-5".to_owned())
                },
                ..world::rule(rule)
            })
            .collect()
    }

    fn routes(&mut self) -> Vec<Route> {
        let some = self.rng.below(1 << ROUTES.len());
        let chosen = ROUTES.iter().enumerate().filter(|(at, _)| some >> at & 1 == 1);
        let mut routes: Vec<Route> = chosen.map(|(_, route)| world::route(route)).collect();
        if self.rng.chance(400) {
            routes.push(Route { target: Target::Local, ..world::route("10.9.0.0/22") });
        }
        routes
    }

    /// One thing happens.
    pub fn act(&mut self) {
        self.acts_left -= 1;
        self.next_act = self.now + Duration::from_millis(100 + self.rng.below(3000));
        match self.rng.below(100) {
            0..40 => self.change(),
            40..52 => self.of_client(|sim, client| {
                if sim.clients[client].floats() {
                    sim.float(client);
                }
            }),
            52..64 => self.of_client(|sim, client| {
                sim.clients[client].rekeyed = true;
                if sim.rng.chance(500) {
                    sim.rekey_path(client);
                } else {
                    sim.clients[client].session.renegotiate(sim.now);
                    sim.drain_client(client);
                }
            }),
            64..70 => self.of_client(Self::leave),
            70..75 => self.of_client(Self::silence),
            75..78 => self.of_client(|sim, client| {
                if !sim.real_tls {
                    sim.clients[client].changed = true;
                    *sim.clients[client].shows.lock().unwrap() = sim.rng.place(NAMES.len() + 2);
                }
            }),
            78..88 => {
                if let Some(plan) = self.plan() {
                    self.places += 1;
                    self.connect(plan);
                }
            }
            88..93 => self.flap(),
            93..96 => {
                self.net = Net { ..Net::draw(&mut self.rng) };
                self.disturb_all();
            }
            96..98 => {
                // As after a machine has slept.
                let asleep = self.rng.below(300_000_000);
                self.now = Instant(self.now.0 + asleep);
                self.disturb_all();
            }
            _ => {
                let seconds = i64::try_from(self.rng.below(200_000)).unwrap() - 100_000;
                self.shift_wall(seconds);
            }
        }
    }

    fn disturb_all(&mut self) {
        self.shift_wall(0);
    }

    fn of_client(&mut self, does: impl FnOnce(&mut Self, usize)) {
        if self.active.is_empty() {
            return;
        }
        let client = *self.rng.pick(&self.active);
        let it = &self.clients[client];
        if it.told.is_none() && it.sending.is_some() && !it.left {
            does(self, client);
        }
    }

    /// A client says goodbye in the manner of its line.
    fn leave(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.left = true;
        if matches!(it.plan.line, Line::V2_4 | Line::V2_5) || it.plan.v1 {
            let mut exit = data::OCC.to_vec();
            exit.push(data::OCC_EXIT);
            self.send(client, &exit, Inner::InBand);
        } else {
            it.session.exit();
            self.drain_client(client);
        }
        self.air.push(self.now + Duration::from_secs(6), Event::Gone(client));
    }

    /// An association's fabric or listener goes down for a moment.
    fn flap(&mut self) {
        let all: Vec<_> =
            self.desired.endpoints.values().flat_map(|e| e.associations.keys().cloned()).collect();
        if !all.is_empty() {
            let id = self.rng.pick(&all).clone();
            self.air.push(self.now, Event::Ready(id.clone(), false));
            let at = Instant(self.now.0 + 1 + self.rng.below(3_000_000));
            self.air.push(at, Event::Ready(id, true));
        }
    }

    /// Something else is wanted.
    fn change(&mut self) {
        let ids: Vec<EndpointId> = self.desired.endpoints.keys().cloned().collect();
        if ids.is_empty() {
            self.add_endpoint();
            return self.apply();
        }
        let id = self.rng.pick(&ids).clone();
        let mut wanted: Endpoint = (*self.desired.endpoints[&id]).clone();
        let associations: Vec<_> = wanted.associations.keys().cloned().collect();
        let one = if associations.is_empty() { None } else { Some(self.rng.pick(&associations).clone()) };
        match (self.rng.below(100), one) {
            (0..25, _) => wanted.rules = self.rules(),
            (25..40, Some(one)) => {
                wanted.associations.get_mut(&one).unwrap().routes = self.routes();
            }
            (40..44, Some(one)) => {
                let rule =
                    SecurityRule { protocol: "-1".to_owned(), from_port: None, to_port: None, cidr: None };
                wanted.associations.get_mut(&one).unwrap().security = vec![rule];
            }
            (44..58, Some(one)) => {
                wanted.associations.remove(&one);
            }
            (58..62, _) => wanted.associations.clear(),
            (62..74, _) => {
                if wanted.associations.len() < ASSOCIATIONS_MAX {
                    let association = self.association();
                    wanted.associations.insert(association.id.clone(), association);
                }
            }
            (74..82, _) => {
                let list = self.rng.place(LISTS.len() + 1);
                wanted.crl = LISTS.get(list).map(|list| Arc::clone(&list.bytes));
            }
            (82..87, _) => {
                let live: Vec<_> = self.live_ids().into_iter().filter(|(_, of)| *of == id).collect();
                if !live.is_empty() {
                    wanted.terminate.insert(self.rng.pick(&live).0.clone());
                }
            }
            (87..89, _) => wanted.split_tunnel = !wanted.split_tunnel,
            (89..91, _) => wanted.dns_servers = vec![[10, 0, 0, self.rng.roll().to_be_bytes()[0]].into()],
            (91..93, _) => wanted.admits = !wanted.admits,
            (93..94, _) => wanted.policy = policy(self),
            (94..97, _) => {
                self.desired.endpoints.remove(&id);
                return self.apply();
            }
            _ => {
                if ids.len() < ENDPOINTS_MAX {
                    self.add_endpoint();
                }
            }
        }
        self.desired.endpoints.insert(id, Arc::new(wanted));
        self.apply();
        // Sometimes the next one comes before this one is in force everywhere.
        if self.rng.chance(200) {
            self.next_act = Instant(self.now.0 + self.rng.below(5_000));
            self.acts_left += 1;
        }
    }

    /// A client sends something to somebody.
    pub fn speak(&mut self, client: usize) {
        let Some(ip) = self.clients[client].ip else { return };
        for _ in 0..self.rng.below(3) {
            let far = self.far();
            let honest = !self.rng.chance(100);
            let source = if honest { ip } else { self.another(ip) };
            let packet = udp(source, &far.to_string());
            self.send(client, &packet.clone(), Inner::Ip { packet, honest });
        }
    }

    fn far(&mut self) -> Ipv4Addr {
        if self.rng.chance(150) {
            return Ipv4Addr::new(10, 9, 0, 1 + u8::try_from(self.rng.below(8)).unwrap());
        }
        Ipv4Addr::from(*self.rng.pick(&FAR))
    }

    /// An address that is not this one.
    fn another(&mut self, than: Ipv4Addr) -> Ipv4Addr {
        let other = self.far();
        if other == than { Ipv4Addr::new(10, 9, 3, 250) } else { other }
    }

    /// Something comes from the far side for a path's client, or not quite for it.
    pub fn answer(&mut self, id: u32) {
        for _ in 0..self.rng.below(3) {
            let far = self.far();
            let wrong = self.rng.chance(50);
            let Some((address, _)) = self.path_of(id) else { return };
            let to = if wrong { self.another(address) } else { address };
            self.down(id, &udp(far, &to.to_string()));
        }
    }

    /// The call it all began with: every association of every endpoint goes.
    pub fn disassociate_all(&mut self) {
        self.acts_left = 0;
        for wanted in self.desired.endpoints.values_mut() {
            Arc::make_mut(wanted).associations.clear();
        }
        self.apply();
    }
}
