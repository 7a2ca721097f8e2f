//! One of the fabric's threads: it serves the same queue number of every association, as a worker of the engine does at
//! the other end. It waits for nobody.

mod slots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use netio::Outlet;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;

pub(crate) use self::slots::Place;
use self::slots::{Flow, Slots};
use crate::association::Association;
use crate::flow::dial::{self, Dial, Dialled};
use crate::flow::echo::Echo;
use crate::flow::tcp::Tcp;
use crate::flow::udp::{self, Udp};
use crate::flow::{Buffers, Key, Kind, Next, Ready, Work};
use crate::fragment::Fragment;
use crate::packet::{self, ICMP, ICMP_V6, Inside, Packet, TCP, UDP, Unreachable};
use crate::queue::Queue;
use crate::reassembly::Reassembly;
use crate::share::Share;
use crate::stats::Refusal;

/// Packets taken from one queue before others have their turn.
const PACKETS_PER_TURN: usize = 256;
/// Descriptors looked at per wait.
const EVENTS_MAX: usize = 128;

/// What the fabric asks of a thread. Each is acknowledged when it is done.
pub(crate) enum Command {
    Add { id: u32, queue: Queue, outlet: Arc<Outlet>, count: Arc<AtomicUsize>, done: SyncSender<()> },
    SetOutlet { id: u32, outlet: Arc<Outlet>, done: SyncSender<()> },
    Forget { id: u32, clients: Vec<IpAddr>, done: SyncSender<()> },
    Remove { id: u32, done: SyncSender<()> },
    Stop,
}

/// What a thread is wired to.
pub(crate) struct Wiring {
    pub(crate) epoll: OwnedFd,
    /// Rung after a command is sent.
    pub(crate) waker: Arc<OwnedFd>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) share: Arc<Share>,
}

/// Why a flow has its turn.
#[derive(Clone, Copy)]
enum Turn<'p> {
    /// Its descriptor is ready.
    Ready(Ready),
    /// A packet of its client.
    Packet(&'p Packet<'p>),
    /// Its time has come, or there is room again.
    Again,
}

/// Who waits for a turn.
#[derive(Clone, Copy)]
enum Waiting {
    Queue(u32),
    Flow(Place),
}

pub(crate) struct Shard {
    wiring: Wiring,
    associations: BTreeMap<u32, Association>,
    slots: Slots,
    /// When flows have their next turn, soonest first; each flow at most once.
    timers: BTreeSet<(Instant, u32)>,
    /// Bounded by flows and associations: each is in it at most once.
    waiting: VecDeque<Waiting>,
    buffers: Buffers,
    inbound: Vec<u8>,
    reassembly: Reassembly,
    /// The packet that fragments have made.
    joined: Vec<u8>,
    random: RandomState,
    connections: u64,
    started: Instant,
    now: Instant,
}

impl Shard {
    /// Body of the thread.
    pub(crate) fn run(wiring: Wiring) -> io::Result<()> {
        epoll::add(&wiring.epoll, &wiring.waker, Source::Waker.data(), EventFlags::IN)?;
        let now = Instant::now();
        let mut shard = Self {
            wiring,
            associations: BTreeMap::new(),
            slots: Slots::default(),
            timers: BTreeSet::new(),
            waiting: VecDeque::new(),
            buffers: Buffers::new(),
            inbound: vec![0; usize::from(u16::MAX)],
            reassembly: Reassembly::default(),
            joined: Vec::new(),
            random: RandomState::new(),
            connections: 0,
            started: now,
            now,
        };
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            shard.now = Instant::now();
            if !shard.obey() {
                return Ok(());
            }
            shard.fire();
            for _ in 0..shard.waiting.len() {
                match shard.waiting.pop_front() {
                    Some(Waiting::Queue(id)) => shard.queue_ready(id),
                    Some(Waiting::Flow(place)) => {
                        if shard.slots.taken_up(place) {
                            shard.turn(place.slot, Turn::Again);
                        }
                    }
                    None => break,
                }
            }
            events.clear();
            let patience = shard.patience();
            match epoll::wait(
                &shard.wiring.epoll,
                rustix::buffer::spare_capacity(&mut events),
                patience.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            shard.now = Instant::now();
            for event in &events {
                shard.happened(Source::of(event.data), event.flags);
            }
        }
    }

    fn patience(&self) -> Option<Timespec> {
        if !self.waiting.is_empty() {
            return Some(Timespec { tv_sec: 0, tv_nsec: 0 });
        }
        let turn = self.timers.first().map(|(when, _)| *when);
        let when = turn.into_iter().chain(self.reassembly.next_end()).min()?;
        // Rounded up: waking just before it would mean waking twice.
        let wait = when.saturating_duration_since(self.now) + Duration::from_millis(1);
        Timespec::try_from(wait).ok()
    }

    fn happened(&mut self, source: Source, flags: EventFlags) {
        match source {
            Source::Waker => {
                let mut count = [0; 8];
                // It is non-blocking, and only says that there are commands.
                let _ = rustix::io::read(&*self.wiring.waker, &mut count);
            }
            Source::Queue(id) => {
                if flags.contains(EventFlags::OUT) {
                    self.room_again(id);
                }
                self.queue_ready(id);
            }
            Source::Flow(place) => {
                let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
                let ready = Ready {
                    readable: broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
                    writable: broken || flags.contains(EventFlags::OUT),
                };
                if self.slots.is_current(place) {
                    self.turn(place.slot, Turn::Ready(ready));
                }
            }
        }
    }

    /// Does what was asked; false: end.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.wiring.commands.try_recv() {
            let done = match command {
                Command::Add { id, queue, outlet, count, done } => {
                    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                    if let Err(error) =
                        epoll::add(&self.wiring.epoll, &queue, Source::Queue(id).data(), flags)
                    {
                        tracing::error!(%error, "a queue of the user-space fabric is not served");
                    }
                    self.associations.insert(id, Association::new(queue, outlet, count));
                    done
                }
                Command::SetOutlet { id, outlet, done } => {
                    self.set_outlet(id, &outlet);
                    done
                }
                Command::Forget { id, clients, done } => {
                    self.forget_clients(id, &clients);
                    done
                }
                Command::Remove { id, done } => {
                    self.end_flows(id, |_| true, Kind::end);
                    self.reassembly.forget_association(id);
                    self.associations.remove(&id);
                    done
                }
                Command::Stop => return false,
            };
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
        true
    }

    fn set_outlet(&mut self, id: u32, outlet: &Arc<Outlet>) {
        if let Some(association) = self.associations.get_mut(&id) {
            association.outlet = Arc::clone(outlet);
        }
        self.end_flows(id, |key| !crate::outlet::allows(outlet, key), Kind::end);
    }

    /// Ends what there is of clients that have left, and what they sent last.
    fn forget_clients(&mut self, id: u32, clients: &[IpAddr]) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        association.departed.extend(clients);
        let departed = association.departed.clone();
        self.end_flows(id, |key| departed.contains(&key.client.ip()), |kind, _| kind.abandon());
        for address in clients {
            self.reassembly.forget_client(id, *address);
        }
        self.queue_ready(id);
    }

    /// Whether a packet's client has left after it sent it.
    fn has_left(&self, id: u32, address: IpAddr) -> bool {
        self.associations.get(&id).is_some_and(|association| association.departed.contains(&address))
    }

    /// Ends flows at once; `last` has the last word about each.
    fn end_flows(&mut self, id: u32, ends: impl Fn(&Key) -> bool, last: impl Fn(&mut Kind, &mut Work<'_>)) {
        let Some(association) = self.associations.get(&id) else { return };
        let ending: Vec<u32> =
            association.flows.iter().filter(|(key, _)| ends(key)).map(|(_, slot)| *slot).collect();
        for slot in ending {
            let Some(mut flow) = self.slots.take(slot) else { continue };
            if let Some(association) = self.associations.get_mut(&id) {
                let mut work =
                    at_work(association, &self.wiring.share, &mut self.buffers, self.now, self.started);
                last(&mut flow.kind, &mut work);
            }
            self.forget(slot, flow.key, flow.association, flow.timer, Some(flow.kind));
        }
    }

    fn fire(&mut self) {
        self.reassembly.expire(self.now, &self.wiring.share.stats);
        while let Some(&(when, slot)) = self.timers.first() {
            if when > self.now {
                return;
            }
            self.timers.remove(&(when, slot));
            self.slots.timer_fired(slot);
            self.turn(slot, Turn::Again);
        }
    }

    fn room_again(&mut self, id: u32) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        if !association.queue.resume() {
            return;
        }
        self.waiting.extend(association.starved.drain(..).map(Waiting::Flow));
    }

    /// Takes packets of clients, while there is room for answers.
    fn queue_ready(&mut self, id: u32) {
        let mut inbound = std::mem::take(&mut self.inbound);
        let mut left = PACKETS_PER_TURN;
        while let Some(association) = self.associations.get_mut(&id) {
            if association.queue.is_blocked() {
                // Looked at again when there is room.
                break;
            }
            if left == 0 {
                self.waiting.push_back(Waiting::Queue(id));
                break;
            }
            left -= 1;
            // Nothing, or the other end is closed: the association is about to be removed.
            let Ok(length @ 1..) = association.queue.receive(&mut inbound) else {
                // Whatever those that left had sent has been read.
                association.departed.clear();
                break;
            };
            if let Some(bytes) = inbound.get(..length) {
                self.packet(id, bytes);
            }
        }
        self.inbound = inbound;
    }

    /// A packet of a client, or the last fragment of one.
    fn packet(&mut self, id: u32, bytes: &[u8]) {
        let stats = &self.wiring.share.stats;
        match Fragment::of(bytes) {
            Ok(None) => self.whole_packet(id, bytes),
            Ok(Some(part)) if self.has_left(id, part.source) => stats.refused(Refusal::Stray),
            Ok(Some(part)) => {
                let mut joined = std::mem::take(&mut self.joined);
                if self.reassembly.add(id, &part, self.now, stats, &mut joined) {
                    self.whole_packet(id, &joined);
                }
                self.joined = joined;
            }
            Err(why) => stats.refused(why),
        }
    }

    fn whole_packet(&mut self, id: u32, bytes: &[u8]) {
        let packet = match packet::parse(bytes) {
            Ok(packet) => packet,
            Err(why) => return self.wiring.share.stats.refused(why),
        };
        if self.has_left(id, packet.source) {
            return self.wiring.share.stats.refused(Refusal::Stray);
        }
        let (from, to) = (packet.source, packet.destination);
        let key = match packet.inside {
            Inside::Tcp(segment) => Key::new(TCP, (from, segment.source), (to, segment.destination)),
            Inside::Udp { source, destination, .. } => Key::new(UDP, (from, source), (to, destination)),
            Inside::Echo { ident, .. } => {
                Key::new(if from.is_ipv4() { ICMP } else { ICMP_V6 }, (from, ident), (to, 0))
            }
        };
        let known = self.associations.get(&id).and_then(|association| association.flows.get(&key)).copied();
        match known {
            Some(slot) => self.turn(slot, Turn::Packet(&packet)),
            None => self.begin(id, key, &packet),
        }
    }

    /// A packet of no flow there is: one begins, or does not.
    fn begin(&mut self, id: u32, key: Key, packet: &Packet<'_>) {
        let share = Arc::clone(&self.wiring.share);
        let Some(association) = self.associations.get_mut(&id) else { return };
        let permitted = association.permits(&key, &share);
        let stray = matches!(packet.inside, Inside::Tcp(segment) if !segment.syn || segment.ack);
        let taken = match permitted {
            Ok(()) if stray => {
                share.stats.refused(Refusal::Stray);
                let mut work = at_work(association, &share, &mut self.buffers, self.now, self.started);
                return dial::reset(packet.whole, &mut work);
            }
            Ok(()) => association.take(&key, &share),
            Err(why) => Err(why),
        };
        let mut work = at_work(association, &share, &mut self.buffers, self.now, self.started);
        if let Err(why) = taken {
            share.stats.refused(why);
            return answer(why, packet, &mut work);
        }
        let opened = match packet.inside {
            Inside::Tcp(_) => Dial::begin(key.far, packet.whole, self.now).map(Kind::Dial),
            Inside::Udp { .. } => Udp::open(key.far, self.now).map(Kind::Udp),
            Inside::Echo { .. } => Echo::open(key.far.ip(), self.now).map(Kind::Echo),
        };
        let opened = opened.and_then(|kind| {
            let place = self.slots.reserve();
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.wiring.epoll, kind.socket(), Source::Flow(place).data(), flags)
                .inspect_err(|_| self.slots.free(place.slot))?;
            Ok((place.slot, kind))
        });
        match opened {
            Ok((slot, kind)) => {
                association.flows.insert(key, slot);
                self.slots.put(slot, Flow { key, association: id, kind, timer: None, is_waiting: false });
                self.turn(slot, Turn::Packet(packet));
            }
            Err(error) => {
                not_opened(&error, packet, &mut work);
                association.give(&key, &share);
            }
        }
    }

    fn turn(&mut self, slot: u32, turn: Turn<'_>) {
        let Some(flow) = self.slots.take(slot) else { return };
        let Flow { key, association: id, kind, timer, is_waiting } = flow;
        let Some(association) = self.associations.get_mut(&id) else { return };
        let mut work = at_work(association, &self.wiring.share, &mut self.buffers, self.now, self.started);
        self.connections = self.connections.wrapping_add(1);
        let seed = self.random.hash_one(self.connections);
        let (kind, next) = match advance(&key, kind, turn, seed, &mut work) {
            (Some(kind), next) if next != Next::Over => (kind, next),
            (kind, _) => return self.forget(slot, key, id, timer, kind),
        };
        let mut flow = Flow { key, association: id, kind, timer, is_waiting };
        let place = self.slots.place(slot);
        match next {
            Next::Over | Next::Wait(None) => {}
            Next::Wait(Some(until)) => {
                if flow.timer.is_none_or(|when| until < when) {
                    if let Some(when) = flow.timer.replace(until) {
                        self.timers.remove(&(when, slot));
                    }
                    self.timers.insert((until, slot));
                }
            }
            Next::Again if !flow.is_waiting => {
                flow.is_waiting = true;
                self.waiting.push_back(Waiting::Flow(place));
            }
            Next::Starved if !flow.is_waiting => {
                flow.is_waiting = true;
                association.starved.push_back(place);
            }
            Next::Again | Next::Starved => {}
        }
        self.slots.put(slot, flow);
    }

    /// Gives back all that a flow had.
    fn forget(&mut self, slot: u32, key: Key, id: u32, timer: Option<Instant>, kind: Option<Kind>) {
        if let Some(Kind::Tcp(tcp)) = &kind {
            self.wiring.share.give_buffers(tcp.buffer_bytes());
        }
        drop(kind);
        if let Some(when) = timer {
            self.timers.remove(&(when, slot));
        }
        if let Some(association) = self.associations.get_mut(&id) {
            association.give(&key, &self.wiring.share);
        }
        self.slots.free(slot);
    }
}

fn at_work<'w>(
    association: &'w mut Association,
    share: &'w Share,
    buffers: &'w mut Buffers,
    now: Instant,
    started: Instant,
) -> Work<'w> {
    Work { queue: &mut association.queue, share, buffers, now, started }
}

/// Gives a flow its turn; what is left of it comes back.
fn advance(key: &Key, kind: Kind, turn: Turn<'_>, seed: u64, work: &mut Work<'_>) -> (Option<Kind>, Next) {
    let (ready, packet) = match turn {
        Turn::Ready(ready) => (ready, None),
        Turn::Packet(packet) => (Ready::default(), Some(packet)),
        Turn::Again => (Ready::default(), None),
    };
    match kind {
        Kind::Dial(mut dial) => {
            if packet.is_some_and(|packet| matches!(packet.inside, Inside::Tcp(segment) if segment.rst)) {
                // The client has given up.
                return (None, Next::Over);
            }
            match dial.step(ready, work) {
                Dialled::Waits(next) => (Some(Kind::Dial(dial)), next),
                Dialled::Refused => (None, Next::Over),
                Dialled::Up => {
                    let (far, syn) = dial.into_parts();
                    match Tcp::accept(key, far, &syn, seed, work) {
                        Ok((tcp, next)) => (Some(Kind::Tcp(Box::new(tcp))), next),
                        Err(why) => {
                            work.share.stats.refused(why);
                            dial::reset(&syn, work);
                            (None, Next::Over)
                        }
                    }
                }
            }
        }
        Kind::Tcp(mut tcp) => {
            tcp.ready(ready);
            let next = tcp.step(packet.map(|packet| packet.whole), work);
            (Some(Kind::Tcp(tcp)), next)
        }
        Kind::Udp(mut udp) => {
            udp.ready(ready);
            if let Some(Packet { inside: Inside::Udp { data, .. }, whole, .. }) = packet {
                udp.send(data, whole, work);
            }
            let next = udp.step(key, work);
            (Some(Kind::Udp(udp)), next)
        }
        Kind::Echo(mut echo) => {
            echo.ready(ready);
            if let Some(Packet { inside: Inside::Echo { number, data, .. }, .. }) = packet {
                echo.send(key, *number, data, work);
            }
            let next = echo.step(key, work);
            (Some(Kind::Echo(echo)), next)
        }
    }
}

/// Tells a client that its flow may not begin, where it is to hear of it.
fn answer(why: Refusal, packet: &Packet<'_>, work: &mut Work<'_>) {
    match (why, packet.inside) {
        (why, _) if !why.is_answered() => {}
        (Refusal::NoRoute, _) => work.tell(packet.whole, Unreachable::Network),
        (_, Inside::Tcp(_)) => dial::reset(packet.whole, work),
        _ => work.tell(packet.whole, Unreachable::Prohibited),
    }
}

/// The same for one whose socket could not be made.
fn not_opened(error: &io::Error, packet: &Packet<'_>, work: &mut Work<'_>) {
    let of_the_system = dial::of_the_system(error);
    match (packet.inside, of_the_system) {
        (Inside::Tcp(_), _) => dial::refuse(packet.whole, error, work),
        (_, Some(why)) => {
            work.share.stats.refused(why);
            work.tell(packet.whole, Unreachable::Prohibited);
        }
        (Inside::Echo { .. }, None) if error.kind() == io::ErrorKind::PermissionDenied => {
            work.share.stats.refused(Refusal::NoPing);
        }
        _ => {
            work.share.stats.refused(Refusal::FarSide);
            if let Some(why) = udp::reason(error) {
                work.tell(packet.whole, why);
            }
        }
    }
}

/// What a descriptor is, as epoll remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Waker,
    Queue(u32),
    Flow(Place),
}

/// The kind of source stands in the highest byte, a flow's generation below it, its place at the end.
const TAG_SHIFT: u32 = 56;

impl Source {
    fn data(self) -> EventData {
        let (tag, number) = match self {
            Self::Waker => (0, 0),
            Self::Queue(id) => (1, u64::from(id)),
            Self::Flow(place) => (2, u64::from(place.generation) << 32 | u64::from(place.slot)),
        };
        EventData::new_u64(tag << TAG_SHIFT | number)
    }

    fn of(data: EventData) -> Self {
        let data = data.u64();
        let [tag, g2, g1, g0, s3, s2, s1, s0] = data.to_be_bytes();
        let slot = u32::from_be_bytes([s3, s2, s1, s0]);
        match tag {
            1 => Self::Queue(slot),
            2 => Self::Flow(Place { slot, generation: u32::from_be_bytes([0, g2, g1, g0]) }),
            _ => Self::Waker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_remembers_what_a_descriptor_is() {
        for source in [
            Source::Waker,
            Source::Queue(0),
            Source::Queue(u32::MAX),
            Source::Flow(Place { slot: 0, generation: 0 }),
            Source::Flow(Place { slot: u32::MAX, generation: 0xff_ffff }),
            Source::Flow(Place { slot: 7, generation: 0x12_3456 }),
        ] {
            assert_eq!(Source::of(source.data()), source);
        }
    }
}
