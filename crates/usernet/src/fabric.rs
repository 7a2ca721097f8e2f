//! [`UserFabric`]: the [`Fabric`] of this crate. It starts the threads and gives each its queue of an association.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use netio::{
    Departed, Fabric, FabricAssociation, FabricError, MAX_EGRESS_RULES, MAX_KEY_BYTES, MAX_QUEUES,
    MAX_TUN_MTU, MIN_TUN_MTU, Outlet,
};
use rustix::event::{EventfdFlags, epoll, eventfd};

use crate::Options;
use crate::queue;
use crate::reach::Reach;
use crate::shard::{Command, Shard, Wiring};
use crate::share::Share;
use crate::stats::Stats;

/// How long a thread may take to do what it is asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// The user-space fabric. Dropping it ends its threads and every flow.
pub struct UserFabric {
    share: Arc<Share>,
    moved_ports: Vec<(u16, u16)>,
    shards: Vec<Thread>,
    /// Associations by key, as the threads know them.
    live: BTreeMap<String, u32>,
    next_id: u32,
}

/// One of the threads.
struct Thread {
    commands: Sender<Command>,
    waker: Arc<OwnedFd>,
    handle: Option<JoinHandle<()>>,
}

impl UserFabric {
    /// A fabric without associations.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let Options { own, own_ports, moved_ports, limits } = options;
        Self {
            share: Arc::new(Share::new(limits, Reach::new(own, own_ports))),
            moved_ports,
            shards: Vec::new(),
            live: BTreeMap::new(),
            next_id: 1,
        }
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.share.stats)
    }

    /// Where an address is bound in its place.
    fn bound(&self, address: SocketAddr) -> SocketAddr {
        let moved = self.moved_ports.iter().find(|(port, _)| *port == address.port());
        SocketAddr::new(address.ip(), moved.map_or(address.port(), |(_, port)| *port))
    }

    /// Starts threads until there are that many.
    fn start(&mut self, count: usize) -> std::io::Result<()> {
        while self.shards.len() < count {
            let waker = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
            let (commands, receiver) = mpsc::channel();
            let wiring = Wiring {
                epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
                waker: Arc::clone(&waker),
                commands: receiver,
                share: Arc::clone(&self.share),
            };
            let name = format!("usernet-{}", self.shards.len());
            let handle = std::thread::Builder::new().name(name).spawn(move || {
                if let Err(error) = Shard::run(wiring) {
                    tracing::error!(%error, "a thread of the user-space fabric ended");
                }
            })?;
            self.shards.push(Thread { commands, waker, handle: Some(handle) });
        }
        Ok(())
    }

    /// Asks threads for something, and waits until all have done it.
    fn ask<'s>(
        shards: impl IntoIterator<Item = &'s Thread>,
        mut command: impl FnMut(usize, SyncSender<()>) -> Command,
    ) -> Result<(), FabricError> {
        let waiting: Vec<Option<Receiver<()>>> = shards
            .into_iter()
            .enumerate()
            .map(|(number, shard)| {
                let (done, receiver) = mpsc::sync_channel(1);
                shard.send(command(number, done)).then_some(receiver)
            })
            .collect();
        let done = |receiver: Option<Receiver<()>>| {
            receiver.is_some_and(|receiver| receiver.recv_timeout(PATIENCE).is_ok())
        };
        if waiting.into_iter().all(done) {
            return Ok(());
        }
        Err(FabricError::Transient("a thread of the user-space fabric does not answer".to_owned()))
    }
}

impl Thread {
    fn send(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        // Full means that it is about to look anyway.
        let _ = rustix::io::write(&*self.waker, &1_u64.to_ne_bytes());
        sent
    }
}

impl Fabric for UserFabric {
    /// Nothing outlives the process.
    fn sweep(&mut self) -> Result<(), FabricError> {
        Ok(())
    }

    fn add(&mut self, association: &FabricAssociation) -> Result<Vec<OwnedFd>, FabricError> {
        check(association)?;
        self.remove(&association.key)?;
        let lacks = |error: std::io::Error| FabricError::Transient(format!("the user-space fabric: {error}"));
        let count = usize::from(association.queues);
        self.start(count).map_err(lacks)?;
        let pairs = (0..count)
            .map(|_| queue::pair(usize::from(association.mtu)))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(lacks)?;
        let (theirs, ours): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.live.insert(association.key.clone(), id);
        let outlet = Arc::new(association.outlet.clone());
        let flows = Arc::new(AtomicUsize::new(0));
        let wanted = self.shards.iter().zip(ours);
        let mut receivers = Vec::with_capacity(count);
        for (shard, queue) in wanted {
            let (done, receiver) = mpsc::sync_channel(1);
            let (outlet, count) = (Arc::clone(&outlet), Arc::clone(&flows));
            if shard.send(Command::Add { id, queue, outlet, count, done }) {
                receivers.push(receiver);
            }
        }
        let served = receivers.iter().filter(|receiver| receiver.recv_timeout(PATIENCE).is_ok()).count();
        if served == count {
            return Ok(theirs);
        }
        Err(FabricError::Transient("a thread of the user-space fabric does not answer".to_owned()))
    }

    fn remove(&mut self, key: &str) -> Result<(), FabricError> {
        let Some(id) = self.live.get(key).copied() else { return Ok(()) };
        Self::ask(&self.shards, |_, done| Command::Remove { id, done })?;
        self.live.remove(key);
        Ok(())
    }

    fn set_outlet(&mut self, key: &str, outlet: &Outlet) -> Result<(), FabricError> {
        check_outlet(outlet)?;
        let Some(id) = self.live.get(key).copied() else {
            return Err(FabricError::Permanent(format!("there is no association {key}")));
        };
        let outlet = Arc::new(outlet.clone());
        Self::ask(&self.shards, |_, done| Command::SetOutlet { id, outlet: Arc::clone(&outlet), done })
    }

    fn forget(&mut self, key: &str, clients: &[Departed]) -> Result<(), FabricError> {
        let Some(id) = self.live.get(key).copied() else { return Ok(()) };
        let mut lists: Vec<Vec<IpAddr>> = self.shards.iter().map(|_| Vec::new()).collect();
        for Departed { queue, addresses } in clients {
            if let Some(list) = lists.get_mut(usize::from(*queue)) {
                list.extend(addresses.iter());
            }
        }
        let concerned = self.shards.iter().zip(&lists).filter(|(_, list)| !list.is_empty());
        let concerned: Vec<&Thread> = concerned.map(|(shard, _)| shard).collect();
        lists.retain(|list| !list.is_empty());
        Self::ask(concerned, |number, done| {
            let clients = lists.get_mut(number).map(std::mem::take).unwrap_or_default();
            Command::Forget { id, clients, done }
        })
    }

    fn bind_udp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
        let address = self.bound(address);
        self.share.reach.refuse_port(address.port());
        netio::bind_udp(address, sockets)
    }

    fn bind_tcp(&mut self, address: SocketAddr, sockets: u16) -> Result<Vec<OwnedFd>, FabricError> {
        let address = self.bound(address);
        self.share.reach.refuse_port(address.port());
        netio::bind_tcp(address, sockets)
    }
}

fn check(association: &FabricAssociation) -> Result<(), FabricError> {
    let refuse = |why: &str| Err(FabricError::Permanent(why.to_owned()));
    if association.key.is_empty() || association.key.len() > MAX_KEY_BYTES {
        return refuse("an association's key is 1 to 128 bytes long");
    }
    if !(1..=MAX_QUEUES).contains(&association.queues) {
        return refuse("an association has 1 to 64 queues");
    }
    if !(MIN_TUN_MTU..=MAX_TUN_MTU).contains(&association.mtu) {
        return refuse("the MTU is 576 to 9000 bytes");
    }
    if !association.source_nat {
        return refuse(
            "the user-space fabric sends with this host's address only, and a transit gateway keeps the clients': \
             run bascule serve as root, with --fabric kernel",
        );
    }
    if let Some(uplink) = &association.uplink {
        return Err(FabricError::Permanent(format!(
            "the user-space fabric leaves by this host's own routing, and [[fabric.subnet]] says interface {}: \
             run bascule serve as root, with --fabric kernel, or take the subnet out of the configuration",
            uplink.interface
        )));
    }
    check_outlet(&association.outlet)
}

fn check_outlet(outlet: &Outlet) -> Result<(), FabricError> {
    if outlet.egress.len() > MAX_EGRESS_RULES {
        return Err(FabricError::Permanent(format!("more than {MAX_EGRESS_RULES} egress rules")));
    }
    Ok(())
}

impl Drop for UserFabric {
    fn drop(&mut self) {
        for shard in &self.shards {
            shard.send(Command::Stop);
        }
        for shard in &mut self.shards {
            if let Some(handle) = shard.handle.take() {
                // One that panicked has said so.
                let _ = handle.join();
            }
        }
    }
}
