//! A worker's TCP connections: queueing, flushing, and their ends.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use gateway::{Instant, StreamId};
use openvpn::wire::frame::MAX_FRAME_BYTES;
use rustix::event::epoll::{self, EventFlags};

use super::Source;
use super::stream::{DATA_FRAMES_MAX, FRAMES_MAX, Outgoing, Stage, Stream};
use crate::seats::Seat;
use crate::stats::WorkerStats;

/// Bytes read from one connection at once.
const READ_BYTES: usize = 4 * MAX_FRAME_BYTES;
/// Emptied send buffers kept for the next connection that needs one.
const SPARE_BUFFERS_MAX: usize = 64;
/// Larger ones are given back to the system.
const SPARE_BUFFER_BYTES: usize = 256 << 10;
/// A connection that takes no byte of what is queued for this long is over.
const STALL: Duration = Duration::from_secs(40);
/// How long the peer has to take the last bytes and to close its side.
const CLOSE_LINGER: Duration = Duration::from_secs(2);

/// What a packet is, to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// May be dropped.
    Data,
    /// Must not be.
    Control,
}

/// What became of a packet that was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    Yes,
    /// There was no packet after all.
    Nothing,
    /// Dropped: the queue is full, or the connection is gone.
    Dropped,
    /// A control packet finds no room: the connection is to be closed.
    Overrun,
}

/// All of them.
pub(super) struct Streams {
    worker: u16,
    pub(super) all: HashMap<u64, Stream>,
    made: u64,
    /// Those with something new to send.
    dirty: Vec<u64>,
    /// Those whose next packet found no room at the control thread.
    pub(super) blocked: Vec<u64>,
    /// Ends that the control thread has not been told of; no more than there were connections.
    pub(super) gone: VecDeque<StreamId>,
    spare: Vec<Vec<u8>>,
    /// What is being read.
    pub(super) scratch: Vec<u8>,
}

impl Streams {
    pub(super) fn new(worker: u16) -> Self {
        Self {
            worker,
            all: HashMap::new(),
            made: 0,
            dirty: Vec::new(),
            blocked: Vec::new(),
            gone: VecDeque::new(),
            spare: Vec::new(),
            scratch: vec![0; READ_BYTES],
        }
    }

    pub(super) fn id(&self, number: u64) -> StreamId {
        StreamId { worker: self.worker, number }
    }

    /// Takes a new connection in.
    pub(super) fn add(
        &mut self,
        epoll: &OwnedFd,
        endpoint: u32,
        (socket, peer): (OwnedFd, SocketAddr),
        seat: Seat,
        now: Instant,
        first_packet_timeout: Duration,
    ) -> std::io::Result<()> {
        let number = self.made;
        self.made += 1;
        epoll::add(epoll, &socket, Source::Stream(number).data(), EventFlags::IN)?;
        let stream = Stream {
            endpoint,
            peer,
            socket,
            seat,
            stage: Stage::New { until: now + first_packet_timeout },
            session: None,
            early_packets: 0,
            held: Vec::new(),
            blocked: false,
            out: Outgoing::default(),
            waits_for_room: false,
            dirty: false,
            progress_at: now,
            interest: EventFlags::IN,
        };
        self.all.insert(number, stream);
        Ok(())
    }

    /// Queues the packet that `write` appends. It goes out at the end of the turn.
    pub(super) fn push(
        &mut self,
        epoll: &OwnedFd,
        number: u64,
        kind: Kind,
        now: Instant,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Queued {
        let most = if kind == Kind::Data { DATA_FRAMES_MAX } else { FRAMES_MAX };
        let full = |stream: &Stream| stream.out.frames() >= most;
        // Full only because this turn brought much: what can go, goes now.
        if self.all.get(&number).is_some_and(|stream| full(stream) && !stream.waits_for_room) {
            self.flush_one(epoll, number, now);
        }
        let Some(stream) = self.all.get_mut(&number) else { return Queued::Dropped };
        if matches!(stream.stage, Stage::Closing { .. }) {
            return Queued::Dropped;
        }
        if full(stream) {
            return if kind == Kind::Data { Queued::Dropped } else { Queued::Overrun };
        }
        if stream.out.needs_buffer()
            && let Some(buffer) = self.spare.pop()
        {
            stream.out.give_buffer(buffer);
        }
        if stream.out.is_empty() {
            stream.progress_at = now;
        }
        if !stream.out.push(write) {
            return Queued::Nothing;
        }
        if !stream.dirty && !stream.waits_for_room {
            stream.dirty = true;
            self.dirty.push(number);
        }
        Queued::Yes
    }

    /// Sends what this turn has queued.
    pub(super) fn flush(&mut self, epoll: &OwnedFd, now: Instant) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            if let Some(stream) = self.all.get_mut(&number) {
                stream.dirty = false;
                self.flush_one(epoll, number, now);
            }
        }
        self.dirty = dirty;
    }

    /// Sends what one connection has queued, as far as there is room.
    pub(super) fn flush_one(&mut self, epoll: &OwnedFd, number: u64, now: Instant) {
        let Some(stream) = self.all.get_mut(&number) else { return };
        let socket = &stream.socket;
        match stream.out.write(|bytes| netio::tcp::write(socket, bytes)) {
            Ok(0) => {}
            Ok(_) => stream.progress_at = now,
            Err(_) => return self.remove(epoll, number),
        }
        stream.waits_for_room = !stream.out.is_empty();
        if let Some(buffer) = stream.out.take_buffer()
            && self.spare.len() < SPARE_BUFFERS_MAX
            && buffer.capacity() <= SPARE_BUFFER_BYTES
        {
            self.spare.push(buffer);
        }
        if let Stage::Closing { finished: finished @ false, .. } = &mut stream.stage
            && stream.out.is_empty()
        {
            *finished = true;
            // Broken already: seen when it is read.
            let _ = netio::tcp::finish(&stream.socket);
        }
        self.update_interest(epoll, number);
    }

    /// Has epoll watch for what the connection waits for.
    pub(super) fn update_interest(&mut self, epoll: &OwnedFd, number: u64) {
        let Some(stream) = self.all.get_mut(&number) else { return };
        let wanted = stream.wanted_interest();
        if wanted == stream.interest {
            return;
        }
        stream.interest = wanted;
        if epoll::modify(epoll, &stream.socket, Source::Stream(number).data(), wanted).is_err() {
            self.remove(epoll, number);
        }
    }

    /// Begins the end: what is queued is sent, then the peer has a moment to close.
    pub(super) fn close(&mut self, epoll: &OwnedFd, number: u64, now: Instant) {
        let Some(stream) = self.all.get_mut(&number) else { return };
        if matches!(stream.stage, Stage::Closing { .. }) {
            return;
        }
        stream.stage = Stage::Closing { until: now + CLOSE_LINGER, finished: false };
        stream.session = None;
        stream.blocked = false;
        stream.held = Vec::new();
        self.flush_one(epoll, number, now);
    }

    /// Closes a connection here and now.
    pub(super) fn remove(&mut self, epoll: &OwnedFd, number: u64) {
        let Some(stream) = self.all.remove(&number) else { return };
        // Fails only for what was not watched.
        let _ = epoll::delete(epoll, &stream.socket);
        if !matches!(stream.stage, Stage::New { .. }) {
            self.gone.push_back(self.id(number));
        }
    }

    /// Closes every connection of an endpoint, after what is queued as far as it goes at once.
    pub(super) fn remove_all_of(&mut self, epoll: &OwnedFd, endpoint: u32, now: Instant) {
        let numbers: Vec<u64> =
            self.all.iter().filter(|(_, it)| it.endpoint == endpoint).map(|(number, _)| *number).collect();
        for number in numbers {
            self.close(epoll, number, now);
            self.remove(epoll, number);
        }
    }

    /// Closes what is overdue.
    pub(super) fn tick(&mut self, epoll: &OwnedFd, now: Instant, stats: &WorkerStats) {
        let over = |stream: &Stream| match stream.stage {
            Stage::New { until } if until <= now => Some(Some(&stats.streams_silent)),
            Stage::Closing { until, .. } if until <= now => Some(None),
            _ if !stream.out.is_empty() && now.since(stream.progress_at) >= STALL => {
                Some(Some(&stats.streams_stalled))
            }
            _ => None,
        };
        let overdue: Vec<_> =
            self.all.iter().filter_map(|(number, stream)| Some((*number, over(stream)?))).collect();
        for (number, count) in overdue {
            if let Some(count) = count {
                count.add(1);
            }
            self.remove(epoll, number);
        }
    }
}
