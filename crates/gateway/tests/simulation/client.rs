//! One client: the sans-IO session and data channel of a client line, and what the schedule remembers of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use gateway::{Instant, StreamId};
use model::{ClientAddresses, EndpointId};
use openvpn::client::{Event, Line, Session, SessionConfig};
use openvpn::data::{Channel, Role};
use openvpn::server::TlsFactory;
use openvpn::tls::Tls;
use openvpn::tls::double::{Double, Script};
use openvpn::wire::SessionId;

use crate::network::Rng;
use crate::world::{Told, pki, real};

/// Somebody who is to connect.
#[derive(Clone, Debug)]
pub struct Plan {
    pub endpoint: EndpointId,
    /// Which certificate: a place in `lists::NAMES`; past them: a stranger's.
    pub name: usize,
    pub line: Line,
    /// Data packets without a peer id.
    pub v1: bool,
    pub real_tls: bool,
}

pub struct Client {
    pub plan: Plan,
    pub address: SocketAddr,
    pub stream: Option<StreamId>,
    pub session: Session,
    pub channel: Channel,
    pub born: Instant,
    /// Its addresses in the tunnel.
    pub ip: Option<ClientAddresses>,
    pub told: Option<Told>,
    /// Which certificate it shows on new keys.
    pub shows: Arc<Mutex<usize>>,
    /// Which one it has shown on each key; nothing is known of the real TLS.
    pub shown: Arc<Mutex<Vec<usize>>>,
    pub peer_id: Option<u32>,
    pub sending: Option<u8>,
    /// Since when it has a key.
    pub keys: BTreeMap<u8, Instant>,
    pub heard: Instant,
    /// When it moved, unless it has opened a packet where it is now, and unless something else has happened that could
    /// keep one from it.
    pub moved: Option<Instant>,
    /// It has said that it leaves.
    pub left: bool,
    /// It shows another certificate than it came with.
    pub changed: bool,
    /// One side has asked for new keys.
    pub rekeyed: bool,
    /// Nothing has happened that could keep it out.
    pub must_come_up: bool,
    pub is_active: bool,
}

impl Client {
    pub fn new(
        plan: Plan,
        address: SocketAddr,
        stream: Option<StreamId>,
        rng: &mut Rng,
        now: Instant,
    ) -> Self {
        let shows = Arc::new(Mutex::new(plan.name));
        let shown = Arc::default();
        let tls = if plan.real_tls { real::client_tls(plan.name) } else { double(&shows, &shown, rng) };
        let mut seed = [0; 32];
        for part in seed.chunks_mut(8) {
            part.copy_from_slice(&rng.roll().to_be_bytes());
        }
        let sid = SessionId((rng.roll() | 1).to_be_bytes());
        let session = Session::new(Arc::new(config(&plan, stream.is_some())), tls, sid, seed, now).unwrap();
        Self {
            plan,
            address,
            stream,
            session,
            channel: Channel::new(Role::Client),
            born: now,
            ip: None,
            told: None,
            shows,
            shown,
            peer_id: None,
            sending: None,
            keys: BTreeMap::new(),
            heard: now,
            moved: None,
            left: false,
            changed: false,
            rekeyed: false,
            must_come_up: false,
            is_active: true,
        }
    }

    /// Can move to another address.
    pub fn floats(&self) -> bool {
        self.stream.is_none() && self.peer_id.is_some()
    }

    pub fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Pushed(options) | Event::Updated(options) => {
                    let own = addresses(&options);
                    assert!(own.iter().next().is_some(), "an address is pushed");
                    self.ip = Some(own);
                }
                Event::KeysReady { key_id, keys, cipher, v2_peer_id } => {
                    self.peer_id = v2_peer_id;
                    self.channel.install(key_id, &keys, cipher, v2_peer_id).unwrap();
                    self.keys.insert(key_id, now);
                }
                Event::SendKey { key_id } => {
                    self.channel.send_with(key_id);
                    self.sending = Some(key_id);
                }
                Event::KeyRetired { key_id } => {
                    self.channel.retire(key_id);
                    self.keys.remove(&key_id);
                }
                Event::Rejected(text) => self.told = Some(Told::Rejected(text)),
                Event::Restart(text) => self.told = Some(Told::Restart(text)),
                Event::Halt(text) => self.told = Some(Told::Halt(text)),
                Event::Failed(_) => {
                    self.told.get_or_insert(Told::Failed);
                }
            }
        }
    }
}

/// The addresses that options give.
fn addresses(options: &[String]) -> ClientAddresses {
    let after = |name: &str| options.iter().find_map(|option| option.strip_prefix(name));
    let v4 = after("ifconfig ").and_then(|rest| rest.split(' ').next());
    let v6 = after("ifconfig-ipv6 ").and_then(|rest| rest.split('/').next());
    ClientAddresses {
        v4: v4.map(|address| address.parse().unwrap()),
        v6: v6.map(|address| address.parse().unwrap()),
    }
}

fn config(plan: &Plan, over_tcp: bool) -> SessionConfig {
    let mut config = if over_tcp { plan.line.config_over_tcp() } else { plan.line.config() };
    if plan.v1 {
        config.peer_info = "IV_VER=2.3\nIV_NCP=2\n".to_owned();
    }
    config
}

fn double(shows: &Arc<Mutex<usize>>, shown: &Arc<Mutex<Vec<usize>>>, rng: &mut Rng) -> TlsFactory {
    let (shows, shown, mut seed, padding) =
        (Arc::clone(shows), Arc::clone(shown), rng.roll(), rng.place(3000));
    Box::new(move || {
        seed = seed.wrapping_add(1);
        let name = *shows.lock().unwrap();
        shown.lock().unwrap().push(name);
        let certificates = vec![certificate(name)];
        // Certificates are a byte or two longer or shorter in each run; flights are not, so that schedules repeat.
        let flight_bytes = padding + 2000 - certificates[0].len();
        Ok(Box::new(Double::client(Script { seed, flight_bytes, certificates, ..Script::default() }))
            as Box<dyn Tls>)
    })
}

/// The certificate behind a number.
fn certificate(name: usize) -> Vec<u8> {
    let all = pki::pki();
    match name {
        0..4 => pki::client(name),
        4 => all.stranger.clone(),
        _ => all.expired.clone(),
    }
}
