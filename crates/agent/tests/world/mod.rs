//! Agent and controllers over a memory store and a data plane without packets, and records to begin with.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses its own part

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent::{Agent, ConnectionLogs, Controller};
use engine::InMemory;
use gateway::{ConnectionStart, Counters};
use model::*;
use store::{MasterKey, MemoryStore, Op, Store, Transaction, typed};
use tokio::sync::watch;

pub const ARN: &str = "arn:aws:acm:us-east-1:000000000000:certificate/c1";
pub const LIMIT: Duration = Duration::from_secs(10);

pub fn scope() -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() }
}

pub fn endpoint_id() -> EndpointId {
    EndpointId::from_entropy(1)
}

pub struct World {
    pub store: Arc<dyn Store>,
    pub plane: Arc<InMemory>,
    pub tasks: Vec<tokio::task::JoinHandle<()>>,
    pub stop: Option<watch::Sender<bool>>,
    /// Of the agent that is run next, and who is given its entries.
    pub logs: Option<ConnectionLogs>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl World {
    pub async fn start(plane: InMemory) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let world = Self::over(store, plane);
        world.records().await;
        world.run().await
    }

    pub fn over(store: Arc<dyn Store>, plane: InMemory) -> Self {
        Self { store, plane: Arc::new(plane), tasks: Vec::new(), stop: None, logs: None }
    }

    pub async fn run(mut self) -> Self {
        let (ready, mut is_ready) = watch::channel(false);
        let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let agent = Agent::new(self.store.clone(), self.plane.clone(), key, "node", ready);
        let agent = match self.logs.take() {
            Some(logs) => agent.with_connection_logs(logs, agent::UPDATE_INTERVAL),
            None => agent,
        };
        let (stop, stopping) = watch::channel(false);
        self.stop = Some(stop);
        self.tasks.push(tokio::spawn(async move {
            let _ = agent.run(stopping).await;
        }));
        self.tasks.push(tokio::spawn(Controller::new(self.store.clone()).run()));
        tokio::time::timeout(LIMIT, is_ready.wait_for(|ready| *ready)).await.unwrap().unwrap();
        self
    }

    pub async fn put<T: serde::Serialize>(&self, key: Key, record: &T) {
        let ops = vec![Op::Put(key.into(), typed::encode(record))];
        self.store.transact(Transaction { checks: vec![], ops, soft: false }).await.unwrap();
    }

    pub async fn records(&self) {
        let ca = pki::issue::ca("CA", 0, 4_000_000_000).unwrap();
        let kind = pki::issue::KeyKind::P256;
        let server =
            pki::issue::server(&ca.certificate_pem, &ca.key_pem, "vpn.example.com", 0, 4_000_000_000, kind)
                .unwrap();
        let key = MasterKey::from_bytes(&[7; 32]).unwrap();
        let certificate = Certificate {
            id: "c1".into(),
            arn: ARN.into(),
            scope: scope(),
            certificate_pem: server.certificate_pem,
            chain_pem: Some(ca.certificate_pem),
            private_key: Sealed(key.seal(ARN, server.key_pem.as_bytes()).unwrap()),
            tags: Default::default(),
            created_at: Timestamp(0),
            imported_at: Timestamp(0),
            mirrored: false,
        };
        self.put(Key::certificate(&scope(), "c1"), &certificate).await;
        let subnet = Subnet {
            id: SubnetId::from_entropy(1),
            scope: scope(),
            vpc_id: VpcId::from_entropy(1),
            cidr: "10.0.1.0/24".parse().unwrap(),
            ipv6_cidr: None,
            zone: "us-east-1a".parse().unwrap(),
            tags: Default::default(),
            created_at: Timestamp(0),
            attributes: Default::default(),
            mirrored: false,
        };
        self.put(Key::subnet(&scope(), &subnet.id), &subnet).await;
        self.put(Key::endpoint(&scope(), &endpoint_id()), &endpoint()).await;
    }

    pub async fn associate(&self) {
        self.put(Key::association(&scope(), &endpoint_id(), &association().id), &association()).await;
    }

    pub async fn until<T: serde::de::DeserializeOwned>(&self, key: Key, holds: impl Fn(Option<T>) -> bool) {
        let key: String = key.into();
        let wait = async {
            loop {
                // One that lags behind is begun anew.
                let now = self.store.list("/nothing").await.unwrap().revision;
                let mut changes = self.store.watch(prefix::ALL, now).await.unwrap();
                loop {
                    if holds(typed::get::<T>(&*self.store, &key).await.unwrap().map(|record| record.value)) {
                        return;
                    }
                    if changes.next().await.is_err() {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("it did not come to be");
    }
}

pub fn endpoint() -> Endpoint {
    Endpoint {
        id: endpoint_id(),
        scope: scope(),
        spec: EndpointSpec {
            description: None,
            client_cidr: Some("10.8.0.0/22".parse().unwrap()),
            client_ipv6_cidr: None,
            server_certificate_arn: ARN.into(),
            authentication: vec![Authentication::Certificate { client_root_arn: ARN.into() }],
            connection_log: ConnectionLog::default(),
            dns_servers: vec![],
            transport: Transport::Udp,
            vpn_port: 443,
            split_tunnel: false,
            vpc_id: None,
            security_group_ids: vec![],
            self_service_portal: true,
            client_connect: ClientConnect::default(),
            session_timeout_hours: 24,
            banner: Banner::default(),
            route_enforcement: false,
            disconnect_on_session_timeout: true,
            endpoint_ip_type: IpType::Ipv4,
            traffic_ip_type: IpType::Ipv4,
            device_posture: vec![],
            tags: Default::default(),
            listen: Listen { address: Some(IpAddr::from([192, 0, 2, 1])), port: 443, second: None },
        },
        status: Status::of(EndpointCode::PendingAssociate),
        created_at: Timestamp(0),
        association_epoch: 0,
        applying: Applying::Nothing,
        attachment: None,
    }
}

pub fn association() -> Association {
    Association {
        id: AssociationId::from_entropy(1),
        endpoint: endpoint_id(),
        scope: scope(),
        spec: AssociationSpec {
            network: TargetNetwork::Subnet {
                subnet_id: SubnetId::from_entropy(1),
                vpc_id: VpcId::from_entropy(1),
            },
            zone: "us-east-1a".parse().unwrap(),
        },
        status: Status::of(AssociationCode::Associating),
        created_at: Timestamp(0),
    }
}

pub fn connection(n: u128) -> ConnectionStart {
    ConnectionStart {
        id: ConnectionId::from_entropy(n),
        endpoint: endpoint_id(),
        scope: scope(),
        association: association().id,
        common_name: "client1".into(),
        username: None,
        platform: None,
        client: Ipv4Addr::new(10, 8, 0, 2).into(),
        peer: SocketAddr::from(([192, 0, 2, 9], 1194)),
        counters: Arc::new(Counters::default()),
        established_at: gateway::UnixTime(100),
        posture: vec![],
        evaluation: None,
    }
}

pub fn is(code: EndpointCode) -> impl Fn(Option<Endpoint>) -> bool {
    move |record| record.is_some_and(|endpoint| endpoint.status.code == code)
}
