//! The embedded DNS server: authoritative for the names of endpoints under the configured domain, so that the profiles'
//! `remote-random-hostname` works. It answers from what is stored, over UDP and TCP, and knows nothing else.

mod answer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use model::{Endpoint, EndpointCode, EndpointId, Key, Kind, ListenerClaim, Scope, prefix};
use store::{Store, StoreError, typed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

pub(crate) use self::answer::Zone;
use self::answer::{Asked, Known};

/// Longest question that is read, in bytes.
const MAX_QUESTION_BYTES: usize = 1_232;
/// Questions by datagram that are answered at once; more are dropped, and asked again.
const MOST_AT_ONCE: usize = 256;
/// Connections at once, and how long one may be silent.
const MOST_CONNECTIONS: usize = 64;
const SILENCE: Duration = Duration::from_secs(5);
/// After a failure of the store or a socket.
const PAUSE: Duration = Duration::from_secs(1);

/// What listens for questions, bound while ports below 1024 still can be.
#[derive(Debug)]
pub(crate) struct Sockets {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

impl Sockets {
    /// Both on one address.
    pub(crate) fn bind(address: SocketAddr) -> Result<Self> {
        let cannot = || format!("dns-listen = {address}");
        let tcp = std::net::TcpListener::bind(address).with_context(cannot)?;
        let udp = std::net::UdpSocket::bind(tcp.local_addr().with_context(cannot)?).with_context(cannot)?;
        udp.set_nonblocking(true).with_context(cannot)?;
        tcp.set_nonblocking(true).with_context(cannot)?;
        Ok(Self { udp, tcp })
    }
}

/// Who has which address, as of the newest change.
#[derive(Debug, Default)]
struct Directory {
    claims: BTreeMap<String, (EndpointId, IpAddr, Scope)>,
    /// Two of a dual-stack endpoint; of one that moves, for a moment, those of both places.
    by_endpoint: BTreeMap<EndpointId, BTreeSet<String>>,
}

impl Directory {
    fn put(&mut self, key: &str, value: &[u8]) {
        let address =
            key.strip_prefix(&prefix::unscoped(Kind::Listener)).and_then(|tail| tail.split('/').next());
        let Some(address) = address.and_then(|text| text.parse().ok()) else { return };
        let Ok(ListenerClaim { endpoint, scope }) = typed::decode(value) else { return };
        self.by_endpoint.entry(endpoint.clone()).or_default().insert(key.to_owned());
        self.claims.insert(key.to_owned(), (endpoint, address, scope));
    }

    fn remove(&mut self, key: &str) {
        let Some((endpoint, ..)) = self.claims.remove(key) else { return };
        if let Some(held) = self.by_endpoint.get_mut(&endpoint) {
            held.remove(key);
            if held.is_empty() {
                self.by_endpoint.remove(&endpoint);
            }
        }
    }

    /// Its addresses, each once, and its scope.
    fn find(&self, id: &EndpointId) -> Option<(BTreeSet<IpAddr>, Scope)> {
        let claims: Vec<_> =
            self.by_endpoint.get(id)?.iter().filter_map(|key| self.claims.get(key)).collect();
        let (_, _, scope) = claims.first()?;
        Some((claims.iter().map(|(_, address, _)| *address).collect(), scope.clone()))
    }
}

struct Server {
    zone: Zone,
    /// What clients are told instead of the address that is bound: they come through a NAT.
    advertised: Option<IpAddr>,
    store: Arc<dyn Store>,
    directory: RwLock<Directory>,
}

/// Starts to answer on these sockets.
pub(crate) fn start(
    zone: Zone,
    advertised: Option<IpAddr>,
    store: Arc<dyn Store>,
    sockets: Vec<Sockets>,
) -> Result<()> {
    let server = Arc::new(Server { zone, advertised, store, directory: RwLock::default() });
    tokio::spawn(follow(Arc::clone(&server)));
    for Sockets { udp, tcp } in sockets {
        tokio::spawn(datagrams(Arc::clone(&server), Arc::new(UdpSocket::from_std(udp)?)));
        tokio::spawn(connections(Arc::clone(&server), TcpListener::from_std(tcp)?));
    }
    Ok(())
}

/// Keeps the claims up to date, for ever.
async fn follow(server: Arc<Server>) {
    loop {
        if let Err(error) = server.follow_claims().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "DNS: reading the addresses anew");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Server {
    async fn follow_claims(&self) -> Result<(), StoreError> {
        let prefix = prefix::unscoped(Kind::Listener);
        let listing = self.store.list(&prefix).await?;
        let mut directory = Directory::default();
        for entry in &listing.entries {
            directory.put(&entry.key, &entry.value);
        }
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = directory;
        let mut watch = self.store.watch(&prefix, listing.revision).await?;
        loop {
            let changes = watch.next().await?;
            let mut directory = self.directory.write().unwrap_or_else(PoisonError::into_inner);
            for change in changes {
                match &change.value {
                    Some(value) => directory.put(&change.key, value),
                    None => directory.remove(&change.key),
                }
            }
        }
    }

    async fn known(&self, asked: &Asked) -> Known {
        let Asked::Endpoint { id, region } = asked else { return Known::Nothing };
        let claim = self.directory.read().unwrap_or_else(PoisonError::into_inner).find(id);
        let Some((addresses, scope)) = claim.filter(|(_, scope)| scope.region.as_str() == region) else {
            return Known::Nothing;
        };
        match typed::get::<Endpoint>(&*self.store, Key::endpoint(&scope, id).as_str()).await {
            Ok(Some(record)) if record.value.status.code == EndpointCode::Available => {
                Known::At(self.advertised.map_or_else(|| addresses.into_iter().collect(), |only| vec![only]))
            }
            Ok(Some(_)) => Known::At(Vec::new()),
            Ok(None) | Err(_) => Known::Nothing,
        }
    }

    /// The answer to a packet, if it deserves one.
    async fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        match self.zone.read(packet) {
            Ok(question) => {
                let known = self.known(&question.asked).await;
                Some(self.zone.answer(&question, &known))
            }
            Err(answer) => answer,
        }
    }
}

async fn datagrams(server: Arc<Server>, socket: Arc<UdpSocket>) {
    let room = Arc::new(Semaphore::new(MOST_AT_ONCE));
    let mut packet = [0; MAX_QUESTION_BYTES];
    loop {
        let (length, peer) = match socket.recv_from(&mut packet).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "DNS: a socket");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (server, socket) = (Arc::clone(&server), Arc::clone(&socket));
        let question = packet.get(..length).unwrap_or_default().to_vec();
        tokio::spawn(async move {
            let _place = place;
            if let Some(answer) = server.answer(&question).await {
                // Who does not hear it asks again.
                let _ = socket.send_to(&answer, peer).await;
            }
        });
    }
}

async fn connections(server: Arc<Server>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    let _place = place;
                    // It may have hung up, or never asked.
                    let _ = converse(&server, stream).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "DNS: a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Questions and answers, each after its length, until there are no more.
async fn converse(server: &Server, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        tokio::time::timeout(SILENCE, stream.read_exact(&mut length)).await??;
        let length = usize::from(u16::from_be_bytes(length));
        if length > MAX_QUESTION_BYTES {
            return Ok(());
        }
        let mut question = vec![0; length];
        tokio::time::timeout(SILENCE, stream.read_exact(&mut question)).await??;
        let Some(answer) = server.answer(&question).await else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        tokio::time::timeout(SILENCE, stream.write_all(&framed)).await??;
    }
}
