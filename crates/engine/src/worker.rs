//! One worker thread: sockets, TUN queues and the data paths of its sessions. It waits for nobody.

mod command;
mod down;
mod guests;
mod outbox;
mod stream;
mod streams;
mod tcp;
mod up;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use gateway::{DataPath, Door, Instant, PathNotice, Tick};
use model::ClientAddresses;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;

pub(crate) use self::command::Command;
use self::guests::Guests;
use self::outbox::Outbox;
use self::streams::{Kind, Streams};
use crate::clock::Clock;
use crate::handoff::{Bell, HANDOFF_MAX, HandOff, PACKET_MAX, Pool, Upward, Waker};
use crate::residents::Residents;
use crate::seats::Seats;
use crate::stats::WorkerStats;
use crate::table::AddressTable;

/// Notices waiting for the control thread, from all workers.
pub(crate) const NOTES_MAX: usize = 4096;
/// Notices one worker keeps while that queue is full. Its paths keep theirs beyond it.
const BACKLOG_MAX: usize = 4096;
/// How often keepalives and deaths are looked for.
const TICK: Duration = Duration::from_millis(500);
/// How soon a full queue towards the control thread is tried again.
const RETRY: Duration = Duration::from_millis(1);
/// Descriptors looked at per wait.
const EVENTS_MAX: usize = 64;

/// What a worker tells the control thread about a session.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) endpoint: u32,
    pub(crate) peer_id: u32,
    pub(crate) notice: PathNotice,
}

/// What a worker is wired to.
pub(crate) struct Wiring {
    pub(crate) number: u16,
    pub(crate) clock: Clock,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) epoll: OwnedFd,
    pub(crate) waker: Arc<Waker>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) passed: Arc<AtomicU64>,
    pub(crate) bell: Bell,
    pub(crate) packets: Sender<Upward>,
    pub(crate) notes: Sender<Note>,
    /// Every worker's inbox and waker, in order; its own among them.
    pub(crate) others: Vec<(Sender<HandOff>, Arc<Waker>)>,
    pub(crate) inbox: Receiver<HandOff>,
    pub(crate) seats: Arc<Seats>,
    pub(crate) residents: Arc<Residents>,
    /// Judges control datagrams of senders without a session.
    pub(crate) door: Door,
}

/// One TUN queue.
struct Tun {
    queue: OwnedFd,
    table: Arc<AddressTable>,
}

/// One session.
struct Session {
    endpoint: u32,
    association: u16,
    addresses: ClientAddresses,
    table: Arc<AddressTable>,
    /// Where it was installed from: finds sessions whose packets carry no peer id.
    source: SocketAddr,
    /// The TCP connection that carries it, if one does.
    stream: Option<u64>,
    path: Box<DataPath>,
}

impl Session {
    /// Takes what the path has to tell, as far as there is room; it keeps the rest.
    fn drain_notices(&mut self, peer_id: u32, backlog: &mut VecDeque<Note>) {
        while backlog.len() < BACKLOG_MAX {
            let Some(notice) = self.path.poll_notice() else { return };
            backlog.push_back(Note { endpoint: self.endpoint, peer_id, notice: notice.into() });
        }
    }
}

pub(crate) struct Worker {
    wiring: Wiring,
    count: u32,
    sockets: HashMap<u32, Rc<OwnedFd>>,
    listeners: HashMap<u32, Rc<OwnedFd>>,
    /// Endpoints whose listener waits for the system to have room again.
    paused: Vec<u32>,
    streams: Streams,
    tuns: HashMap<u16, Rc<Tun>>,
    sessions: HashMap<u32, Session, BuildHasherDefault<PeerIdHasher>>,
    by_source: HashMap<(u32, SocketAddr), u32>,
    /// Endpoints that answer those who want to begin a session.
    open: HashSet<u32>,
    guests: Guests,
    /// Where an answer is written.
    answer: Vec<u8>,
    pool: Pool,
    outbox: Outbox,
    backlog: VecDeque<Note>,
    barrier: Option<u64>,
    stopping: bool,
    next_tick: Instant,
    /// Workers that were handed something in this turn, one bit each.
    to_wake: u64,
    ring: bool,
    inner: Vec<u8>,
    /// Read once per wake-up and descriptor, not per packet.
    now: Instant,
}

impl Worker {
    /// Body of the thread.
    pub(crate) fn run(wiring: Wiring) -> std::io::Result<()> {
        // However this ends, nobody shall wait for it: what it held is gone by the time this is dropped.
        let _gone = Gone { passed: Arc::clone(&wiring.passed), bell: wiring.bell.clone() };
        epoll::add(&wiring.epoll, wiring.waker.fd(), Source::Waker.data(), EventFlags::IN)?;
        let mut worker = Self {
            count: u32::try_from(wiring.others.len()).unwrap_or(1).max(1),
            next_tick: wiring.clock.now() + TICK,
            streams: Streams::new(wiring.number),
            wiring,
            sockets: HashMap::new(),
            listeners: HashMap::new(),
            paused: Vec::new(),
            tuns: HashMap::new(),
            sessions: HashMap::default(),
            by_source: HashMap::new(),
            open: HashSet::new(),
            guests: Guests::default(),
            answer: Vec::new(),
            pool: Pool::new(),
            outbox: Outbox::new(),
            backlog: VecDeque::new(),
            barrier: None,
            stopping: false,
            to_wake: 0,
            ring: false,
            inner: vec![0; PACKET_MAX],
            now: Instant::default(),
        };
        let mut receiver = up::Receiver::new();
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            worker.now = worker.wiring.clock.now();
            worker.wiring.waker.hush();
            worker.obey();
            if worker.stopping {
                return Ok(());
            }
            worker.send_notes();
            worker.pass_barrier();
            worker.resume_streams();
            worker.empty_inbox();
            worker.tick();
            worker.finish_turn();
            events.clear();
            let patience = worker.patience();
            match epoll::wait(
                &worker.wiring.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&patience),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                worker.now = worker.wiring.clock.now();
                match Source::of(event.data) {
                    Source::Waker => {}
                    Source::Socket(endpoint) => worker.socket_ready(endpoint, &mut receiver),
                    Source::Listener(endpoint) => worker.listener_ready(endpoint),
                    Source::Stream(number) => worker.stream_ready(number, event.flags),
                    Source::Tun(association) => worker.tun_ready(association),
                }
            }
            worker.finish_turn();
        }
    }

    /// Acknowledges a barrier. Every notice that came before it is on its way, so the control thread sees those first.
    fn pass_barrier(&mut self) {
        if self.backlog.is_empty()
            && let Some(generation) = self.barrier.take()
        {
            self.wiring.passed.store(generation, Ordering::Release);
            self.ring = true;
        }
    }

    fn send_notes(&mut self) {
        while let Some(note) = self.backlog.pop_front() {
            match self.wiring.notes.try_send(note) {
                Ok(()) => self.ring = true,
                Err(error) => {
                    self.backlog.push_front(error.into_inner());
                    return;
                }
            }
        }
    }

    /// Sends what is batched and wakes whom something was handed to.
    fn finish_turn(&mut self) {
        self.outbox.flush(&self.sockets, &self.wiring.stats);
        self.streams.flush(&self.wiring.epoll, self.now);
        self.tell_gone();
        self.send_notes();
        let mut to_wake = std::mem::take(&mut self.to_wake);
        while to_wake != 0 {
            let number = to_wake.trailing_zeros();
            to_wake &= to_wake - 1;
            if let Some((_, waker)) = usize::try_from(number).ok().and_then(|n| self.wiring.others.get(n)) {
                waker.wake();
            }
        }
        if std::mem::take(&mut self.ring) {
            self.wiring.bell.ring();
        }
    }

    fn empty_inbox(&mut self) {
        for _ in 0..HANDOFF_MAX {
            let Ok(packet) = self.wiring.inbox.try_recv() else { return };
            self.obey();
            self.take_handoff(packet);
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.tick_streams();
        for (peer_id, session) in &mut self.sessions {
            match session.path.handle_tick(now) {
                Tick::Nothing => {}
                Tick::Ping => {
                    let peer = session.path.peer();
                    let path = &mut session.path;
                    if let Some(number) = session.stream {
                        let write = |out: &mut Vec<u8>| path.ping(out);
                        self.streams.push(&self.wiring.epoll, number, Kind::Data, now, write);
                        continue;
                    }
                    if self.outbox.is_full() {
                        self.outbox.flush(&self.sockets, &self.wiring.stats);
                    }
                    self.outbox.push(session.endpoint, peer, |out| path.ping(out));
                }
                Tick::Dead if self.backlog.len() < BACKLOG_MAX => self.backlog.push_back(Note {
                    endpoint: session.endpoint,
                    peer_id: *peer_id,
                    notice: PathNotice::Dead,
                }),
                // Said again at the next tick.
                Tick::Dead => {}
            }
        }
    }

    fn patience(&self) -> Timespec {
        let now = self.wiring.clock.now();
        let patience = if !self.wiring.inbox.is_empty() {
            Duration::ZERO
        } else if !self.backlog.is_empty()
            || !self.streams.blocked.is_empty()
            || !self.streams.gone.is_empty()
        {
            RETRY
        } else {
            self.next_tick.since(now)
        };
        // Rounded up by a millisecond: waking just before the tick would mean waking twice.
        let patience = if patience.is_zero() { patience } else { patience + Duration::from_millis(1) };
        Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
    }
}

/// Tells the control thread that a worker is gone, whatever the reason.
struct Gone {
    passed: Arc<AtomicU64>,
    bell: Bell,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.passed.store(u64::MAX, Ordering::Release);
        self.bell.ring();
    }
}

/// What a descriptor is, as epoll remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Waker,
    /// An endpoint's UDP socket.
    Socket(u32),
    Tun(u16),
    /// An endpoint's listening TCP socket.
    Listener(u32),
    /// A TCP connection, by its number.
    Stream(u64),
}

/// The kind of source stands above its number.
const TAG_SHIFT: u32 = 56;

impl Source {
    fn data(self) -> EventData {
        let (tag, number) = match self {
            Source::Waker => (0, 0),
            Source::Socket(endpoint) => (1, u64::from(endpoint)),
            Source::Tun(association) => (2, u64::from(association)),
            Source::Listener(endpoint) => (3, u64::from(endpoint)),
            Source::Stream(number) => (4, number),
        };
        EventData::new_u64(tag << TAG_SHIFT | number)
    }

    fn of(data: EventData) -> Self {
        let data = data.u64();
        let number = data & ((1 << TAG_SHIFT) - 1);
        let endpoint = u32::try_from(number).unwrap_or(u32::MAX);
        match data >> TAG_SHIFT {
            1 => Source::Socket(endpoint),
            2 => u16::try_from(number).map_or(Source::Waker, Source::Tun),
            3 => Source::Listener(endpoint),
            4 => Source::Stream(number),
            _ => Source::Waker,
        }
    }
}

/// Spreads peer ids, which we choose ourselves and which nobody can make collide.
#[derive(Default)]
struct PeerIdHasher(u64);

impl Hasher for PeerIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_remembers_what_a_descriptor_is() {
        for source in [
            Source::Waker,
            Source::Socket(0),
            Source::Socket(u32::MAX),
            Source::Tun(7),
            Source::Listener(3),
            Source::Stream(0),
            Source::Stream((1 << TAG_SHIFT) - 1),
        ] {
            assert_eq!(Source::of(source.data()), source);
        }
    }
}
