//! A fabric of socket pairs and loopback sockets, and snapshots to apply.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each test file uses its own part

pub mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{Engine, EngineConfig};
use gateway::desired::{Association, Desired, Endpoint, Route, Rule, ServerIdentity, Target};
use model::{AssociationId, EndpointId, RuleGroup, Scope, SecurityRule, Transport};
use netio::{Departed, Fabric, FabricAssociation, FabricError, Outlet};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use socket2::{Domain, Protocol, Socket, Type};
use zeroize::Zeroizing;

/// What the test sees of the fabric, and how it makes it fail.
#[derive(Default)]
pub struct World {
    /// Calls, in order.
    pub log: Vec<String>,
    /// The network's side of every association's TUN queues, in worker order.
    pub far: BTreeMap<String, Vec<OwnedFd>>,
    /// The same of associations that are gone: what comes out here came too late.
    pub gone: Vec<OwnedFd>,
    pub indexes: BTreeMap<String, u16>,
    /// Who it was to forget, call by call.
    pub forgotten: Vec<(String, Vec<Departed>)>,
    pub fail_add: Option<FabricError>,
    pub fail_remove: Option<FabricError>,
    pub fail_bind: Option<FabricError>,
    pub fail_outlet: Option<FabricError>,
}

#[derive(Clone, Default)]
pub struct FakeFabric {
    pub world: Arc<Mutex<World>>,
    /// While somebody holds this, `add` and `forget` block.
    pub gate: Arc<Mutex<()>>,
    /// How many calls of `add` have begun.
    pub adding: Arc<AtomicUsize>,
}

impl Fabric for FakeFabric {
    fn sweep(&mut self) -> Result<(), FabricError> {
        self.world.lock().unwrap().log.push("sweep".into());
        Ok(())
    }

    fn add(&mut self, association: &FabricAssociation) -> Result<Vec<OwnedFd>, FabricError> {
        self.adding.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().unwrap());
        let mut world = self.world.lock().unwrap();
        world.log.push(format!("add {}", association.key));
        if let Some(error) = &world.fail_add {
            return Err(error.clone());
        }
        assert!(world.indexes.values().all(|index| *index != association.index), "index in use");
        let pair =
            || socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::NONBLOCK, None).unwrap();
        let (near, far) = (0..association.queues).map(|_| pair()).unzip();
        world.far.insert(association.key.clone(), far);
        world.indexes.insert(association.key.clone(), association.index);
        Ok(near)
    }

    fn remove(&mut self, key: &str) -> Result<(), FabricError> {
        let mut world = self.world.lock().unwrap();
        world.log.push(format!("remove {key}"));
        if let Some(error) = &world.fail_remove {
            return Err(error.clone());
        }
        let gone = world.far.remove(key).unwrap_or_default();
        world.gone.extend(gone);
        world.indexes.remove(key);
        Ok(())
    }

    fn set_outlet(&mut self, key: &str, outlet: &Outlet) -> Result<(), FabricError> {
        let mut world = self.world.lock().unwrap();
        world.log.push(format!("outlet {key} {} {}", outlet.egress.len(), outlet.toward.len()));
        world.fail_outlet.clone().map_or(Ok(()), Err)
    }

    fn forget(&mut self, key: &str, clients: &[Departed]) -> Result<(), FabricError> {
        self.world.lock().unwrap().forgotten.push((key.to_owned(), clients.to_vec()));
        drop(self.gate.lock().unwrap());
        Ok(())
    }

    fn bind_udp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
        self.world.lock().unwrap().log.push(format!("bind {}", address.ip()));
        self.bind(Type::DGRAM, Protocol::UDP, address, sockets)
    }

    fn bind_tcp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
        self.world.lock().unwrap().log.push(format!("bind TCP {}", address.ip()));
        let bound = self.bind(Type::STREAM, Protocol::TCP, address, sockets)?;
        bound.iter().for_each(|socket| rustix::net::listen(socket, 1024).unwrap());
        Ok(bound)
    }
}

impl FakeFabric {
    fn bind(
        &self,
        kind: Type,
        protocol: Protocol,
        address: SocketAddr,
        sockets: u16,
    ) -> Result<Vec<OwnedFd>, FabricError> {
        let world = self.world.lock().unwrap();
        if let Some(error) = &world.fail_bind {
            return Err(error.clone());
        }
        let mut address = address;
        let bound = (0..sockets).map(|_| {
            let socket = Socket::new(Domain::for_address(address), kind, Some(protocol)).unwrap();
            socket.set_reuse_address(kind == Type::STREAM).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.bind(&address.into()).unwrap();
            address = socket.local_addr().unwrap().as_socket().unwrap();
            socket.into()
        });
        Ok(bound.collect())
    }
}

pub fn start(workers: u16, fabric: &FakeFabric) -> Arc<Engine> {
    start_with(EngineConfig { workers, ..EngineConfig::new([7; 32]) }, fabric)
}

pub fn start_with(config: EngineConfig, fabric: &FakeFabric) -> Arc<Engine> {
    Engine::start(config, Box::new(fabric.clone())).unwrap()
}

pub fn endpoint_id(n: u128) -> EndpointId {
    EndpointId::from_entropy(n)
}

pub fn association_id(n: u128) -> AssociationId {
    AssociationId::from_entropy(n)
}

/// An endpoint on loopback, any port, with these associations.
pub fn endpoint(n: u128, associations: &[u128]) -> Endpoint {
    Endpoint {
        id: endpoint_id(n),
        scope: Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() },
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        listen_second: None,
        transport: Transport::Udp,
        client_cidr: "10.8.0.0/22".parse().unwrap(),
        dns_servers: Vec::new(),
        split_tunnel: false,
        session_timeout: Duration::from_hours(24),
        route_enforcement: false,
        former: Arc::default(),
        disconnect_on_session_timeout: true,
        banner: None,
        connect_handler: None,
        server: ServerIdentity {
            fingerprint: [0; 32],
            chain: Arc::new(Vec::new()),
            key: Arc::new(Zeroizing::new(Vec::new())),
        },
        client_roots: Arc::new(Vec::new()),
        crl: None,
        policy: None,
        admits: true,
        associations: associations.iter().map(|n| (association_id(*n), association(*n))).collect(),
        rules: vec![Rule { destination: "0.0.0.0/0".parse().unwrap(), group: RuleGroup::All }],
        terminate: BTreeSet::new(),
    }
}

pub fn association(n: u128) -> Association {
    Association {
        id: association_id(n),
        toward: vec!["172.31.0.0/20".parse().unwrap()],
        source_nat: true,
        uplink: None,
        routes: vec![Route { destination: "0.0.0.0/0".parse().unwrap(), target: Target::Association }],
        security: vec![SecurityRule {
            protocol: "-1".into(),
            from_port: None,
            to_port: None,
            cidr: Some("0.0.0.0/0".parse().unwrap()),
        }],
    }
}

pub fn desired(revision: u64, endpoints: impl IntoIterator<Item = Endpoint>) -> Arc<Desired> {
    let endpoints = endpoints.into_iter().map(|endpoint| (endpoint.id.clone(), Arc::new(endpoint))).collect();
    Arc::new(Desired { revision, endpoints })
}

impl World {
    /// What has come out of these queues, oldest first, without waiting.
    pub fn arrived(queues: &[OwnedFd]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for queue in queues {
            let mut buffer = [0; 2048];
            while let Ok(len) = rustix::io::read(queue, &mut buffer) {
                packets.push(buffer[..len].to_vec());
            }
        }
        packets
    }
}
