//! What happens to a gateway in its life, drawn by lot: changes of the desired state, and what clients and clocks do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::Instant;
use gateway::desired::{Association, AuthorizationPolicy, Endpoint, Route, Rule, Target};
use model::{ClientAddresses, ClientNets, EndpointId, RuleGroup, SecurityRule, Transport};
use openvpn::client::Line;
use openvpn::data;

use crate::client::Plan;
use crate::lists::{LISTS, NAMES};
use crate::network::{Event, Inner, Net};
use crate::sim::Sim;
use crate::traffic::{Body, Cut, Letter};
use crate::world::{self, association_id, endpoint_id, only};

const ENDPOINTS_MAX: usize = 4;
const ASSOCIATIONS_MAX: usize = 3;

/// Blocks of clients: of IPv4, of both, of IPv6.
const ROOMY: [&str; 3] = ["10.9.0.0/22", "10.9.0.0/22,fd00:9::/64", "fd00:9::/64"];
/// So few addresses that they run out, rest, and are given again.
const NARROW: [&str; 3] = ["10.9.0.0/29", "10.9.0.0/29,fd00:9::/64", "fd00:9::/125"];

const RULES: [&str; 15] = [
    "0.0.0.0/0",
    "10.0.0.0/16",
    "10.0.0.0/24",
    "10.0.5.5/32",
    "172.16.0.0/12",
    "192.168.1.0/24",
    "10.9.0.0/22",
    "10.9.0.0/29",
    "::/0",
    "2001:db8::/32",
    "2001:db8:0:5::/64",
    "2001:db8:0:5::5/128",
    "fd00:1::/32",
    "fd00:9::/64",
    "fd00:9::/125",
];

/// The client CIDR as a row through the association is not the local row.
const ROUTES: [&str; 13] = [
    "0.0.0.0/0",
    "10.0.0.0/16",
    "10.0.5.0/24",
    "172.16.0.0/12",
    "192.168.1.128/25",
    "10.9.0.0/22",
    "8.8.8.8/32",
    "::/0",
    "2001:db8::/32",
    "2001:db8:0:5::/64",
    "fd00:1:0:8000::/49",
    "fd00:9::/64",
    "2600::8/128",
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

const FAR_V6: [[u16; 8]; 12] = [
    [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1],
    [0x2001, 0xdb8, 0, 5, 0, 0, 0, 5],
    [0x2001, 0xdb8, 0, 5, 0, 0, 0, 6],
    [0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff],
    [0x2001, 0xdb9, 0, 0, 0, 0, 0, 0],
    [0xfd00, 1, 0, 9, 0, 0, 0, 9],
    [0xfd00, 1, 0, 0x7fff, 0xffff, 0xffff, 0xffff, 0xffff],
    [0xfd00, 1, 0, 0x8000, 0, 0, 0, 0],
    [0xfd00, 2, 0, 0, 0, 0, 0, 0],
    [0xfd00, 9, 0, 1, 0, 0, 0, 2],
    [0x2600, 0, 0, 0, 0, 0, 0, 8],
    [0x2600, 0, 0, 0, 0, 0, 0, 9],
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
        let blocks = if self.rng.chance(200) { NARROW } else { ROOMY };
        let versions = [0, 0, 0, 0, 1, 1, 1, 2, 2][self.rng.place(9)];
        wanted.client_cidr = blocks[versions].parse().unwrap();
        if self.real_tls {
            wanted.server = world::real::server();
        }
        if self.rng.chance(50) {
            wanted.session_timeout = Duration::from_secs(20 + self.rng.below(60));
            wanted.disconnect_on_session_timeout = self.rng.chance(500);
        }
        wanted.rules = self.rules();
        for _ in 0..1 + self.rng.place(ASSOCIATIONS_MAX) {
            let association = self.association(wanted.client_cidr);
            wanted.associations.insert(association.id.clone(), association);
        }
        self.desired.endpoints.insert(wanted.id.clone(), Arc::new(wanted));
    }

    fn association(&mut self, clients: ClientNets) -> Association {
        let number = self.number();
        let routes = self.routes(clients);
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

    fn routes(&mut self, clients: ClientNets) -> Vec<Route> {
        let some = self.rng.below(1 << ROUTES.len());
        let chosen = ROUTES.iter().enumerate().filter(|(at, _)| some >> at & 1 == 1);
        let mut routes: Vec<Route> = chosen.map(|(_, route)| world::route(route)).collect();
        if self.rng.chance(400) {
            routes.extend(clients.iter().map(|destination| Route { destination, target: Target::Local }));
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
                sim.clients[client].moved = None;
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
                    sim.clients[client].moved = None;
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
                let routes = self.routes(wanted.client_cidr);
                wanted.associations.get_mut(&one).unwrap().routes = routes;
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
                    let association = self.association(wanted.client_cidr);
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
        let Some(own) = self.clients[client].ip else { return };
        for _ in 0..self.rng.below(3) {
            let (v4, mine) = self.version(own);
            let far = self.far(v4);
            let mine = mine.filter(|_| !self.rng.chance(100));
            let source = mine.unwrap_or_else(|| self.another(v4, own));
            let packet = self.letter(source, far);
            self.send(client, &packet.bytes.clone(), Inner::Ip { packet, honest: mine.is_some() });
        }
    }

    /// An IP version, mostly one that is carried, and the address in it.
    fn version(&mut self, own: ClientAddresses) -> (bool, Option<IpAddr>) {
        let usual = own.v4.is_some() && !(own.v6.is_some() && self.rng.chance(500));
        let v4 = usual != self.rng.chance(100);
        (v4, own.iter().find(|address| address.is_ipv4() == v4))
    }

    fn far(&mut self, v4: bool) -> IpAddr {
        let host = 1 + u8::try_from(self.rng.below(8)).unwrap();
        match (v4, self.rng.chance(150)) {
            (true, true) => [10, 9, 0, host].into(),
            (true, false) => (*self.rng.pick(&FAR)).into(),
            (false, true) => [0xfd00, 9, 0, 0, 0, 0, 0, u16::from(host)].into(),
            (false, false) => (*self.rng.pick(&FAR_V6)).into(),
        }
    }

    /// An address that is none of these.
    fn another(&mut self, v4: bool, than: ClientAddresses) -> IpAddr {
        let other = self.far(v4);
        match v4 {
            _ if !than.has(other) => other,
            true => [10, 9, 3, 250].into(),
            false => [0xfd00, 9, 0, 0, 0, 0, 0, 0x3fa].into(),
        }
    }

    /// A packet, often an error about one that its receiver has sent, or not quite.
    fn letter(&mut self, source: IpAddr, destination: IpAddr) -> Letter {
        let cut = match self.rng.below(10) {
            0 => Cut::First,
            1 => Cut::Later,
            _ => Cut::Whole,
        };
        if !self.rng.chance(250) {
            return Letter::new(source, destination, Body::Datagram, cut);
        }
        let v4 = source.is_ipv4();
        let from = if self.rng.chance(200) { self.far(v4) } else { destination };
        let to = self.far(v4);
        let body = if self.rng.chance(100) { Body::Echo(from, to) } else { Body::Error(from, to) };
        Letter::new(source, destination, body, cut)
    }

    /// Something comes from the far side for a path's client, or not quite for it.
    pub fn answer(&mut self, id: u32) {
        for _ in 0..self.rng.below(3) {
            let Some(own) = self.addresses_of(id) else { return };
            let (v4, mine) = self.version(own);
            let far = self.far(v4);
            let mine = mine.filter(|_| !self.rng.chance(50));
            let to = mine.unwrap_or_else(|| self.another(v4, own));
            let packet = self.letter(far, to);
            self.down(id, &packet);
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
