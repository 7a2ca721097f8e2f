//! TCP: connections → frames → sessions, and control packets to the control thread.
//!
//! Each worker has a listening socket of its own in the endpoint's group and keeps what it accepts, from the first byte
//! to the last: the gateway gives the session of a connection to the connection's worker, so nothing ever moves.

use std::io::ErrorKind;
use std::rc::Rc;

use openvpn::wire::frame::{self, MAX_FRAME_BYTES};
use openvpn::wire::{self, Opcode};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;

use super::stream::Stage;
use super::streams::{Kind, Queued};
use super::{Source, Worker};
use crate::handoff::{ControlPacket, Upward};

/// Connections accepted from one listener before others have their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Reads from one connection before others have their turn.
const READS_PER_TURN: usize = 4;
/// Control packets taken from a connection before it has a session: several times what the longest login takes.
const EARLY_PACKETS_MAX: usize = 1024;

/// What became of one packet.
enum Taken {
    Yes,
    /// No room for it: again later, before anything else of this connection.
    Later,
    /// The connection is of no use.
    Broken,
}

impl Worker {
    pub(super) fn listener_ready(&mut self, endpoint: u32) {
        let Some(listener) = self.listeners.get(&endpoint).map(Rc::clone) else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            match netio::tcp::accept(&*listener) {
                Ok((socket, peer)) => {
                    let stats = &self.wiring.stats;
                    let Some(seat) = self.wiring.seats.take(peer) else {
                        stats.streams_refused.add(1);
                        continue;
                    };
                    let patience = self.wiring.seats.limits().first_packet_timeout;
                    let (epoll, now) = (&self.wiring.epoll, self.now);
                    match self.streams.add(epoll, endpoint, (socket, peer), seat, now, patience) {
                        Ok(()) => stats.streams_accepted.add(1),
                        Err(_) => stats.streams_refused.add(1),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_shortage(&error) => {
                    // The connection stays where it is; to be told of it for ever would not help.
                    tracing::warn!(worker = self.wiring.number, %error, "no connection can be accepted now");
                    self.paused.push(endpoint);
                    return self.watch_listener(endpoint, EventFlags::empty());
                }
                // Gone before it was accepted.
                Err(_) => {}
            }
        }
    }

    fn watch_listener(&self, endpoint: u32, interest: EventFlags) {
        if let Some(listener) = self.listeners.get(&endpoint) {
            let data = Source::Listener(endpoint).data();
            if let Err(error) = epoll::modify(&self.wiring.epoll, &**listener, data, interest) {
                tracing::error!(worker = self.wiring.number, %error, "a listener cannot be watched");
            }
        }
    }

    /// Listeners that had to pause go on, and what is overdue ends.
    pub(super) fn tick_streams(&mut self) {
        for endpoint in std::mem::take(&mut self.paused) {
            self.watch_listener(endpoint, EventFlags::IN);
        }
        self.streams.tick(&self.wiring.epoll, self.now, &self.wiring.stats);
    }

    pub(super) fn stream_ready(&mut self, number: u64, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.streams.flush_one(&self.wiring.epoll, number, self.now);
        }
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let Some(stream) = self.streams.all.get(&number) else { return };
        if broken && stream.blocked {
            return self.streams.remove(&self.wiring.epoll, number);
        }
        if broken || flags.contains(EventFlags::IN) {
            // Taken out for the while: packets are opened in it while the rest of the worker is in use.
            let mut scratch = std::mem::take(&mut self.streams.scratch);
            self.read_stream(number, &mut scratch);
            self.streams.scratch = scratch;
        }
    }

    fn read_stream(&mut self, number: u64, scratch: &mut [u8]) {
        for _ in 0..READS_PER_TURN {
            let Some(stream) = self.streams.all.get(&number).filter(|stream| !stream.blocked) else { return };
            let held = stream.held.len();
            // Who has no session yet is not given more than it takes to have one.
            let room = if stream.session.is_some() { scratch.len() } else { MAX_FRAME_BYTES };
            let (Some(begun), Some(free)) = (scratch.get_mut(..held), room.checked_sub(held)) else { return };
            begun.copy_from_slice(&stream.held);
            let Some(buffer) = scratch.get_mut(held..room) else { return };
            let got = match netio::tcp::read(&stream.socket, buffer) {
                Ok(got @ 1..) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The peer has closed it, or it broke: nothing can be said any more.
                Ok(_) | Err(_) => return self.streams.remove(&self.wiring.epoll, number),
            };
            if matches!(stream.stage, Stage::Closing { .. }) {
                continue;
            }
            self.obey();
            let Some(bytes) = scratch.get_mut(..held + got) else { return };
            self.take_frames(number, bytes);
            if got < free {
                return;
            }
        }
    }

    /// Takes the packets in `bytes`, which are all there is of the connection's; keeps what is left.
    fn take_frames(&mut self, number: u64, bytes: &mut [u8]) {
        let all = bytes.len();
        let mut rest = &mut *bytes;
        let mut blocked = false;
        let used = loop {
            let before = rest.len();
            match frame::cut(&mut rest) {
                Ok(Some(packet)) => match self.stream_packet(number, packet) {
                    Taken::Yes => {}
                    Taken::Later => {
                        blocked = true;
                        break all - before;
                    }
                    Taken::Broken => return self.break_stream(number),
                },
                Ok(None) => break all - before,
                Err(_) => return self.break_stream(number),
            }
        };
        let Some(stream) = self.streams.all.get_mut(&number) else { return };
        stream.hold(bytes.get(used..).unwrap_or_default());
        if blocked {
            self.streams.blocked.push(number);
        }
        if blocked != stream.blocked {
            stream.blocked = blocked;
            self.streams.update_interest(&self.wiring.epoll, number);
        }
    }

    fn break_stream(&mut self, number: u64) {
        self.wiring.stats.streams_malformed.add(1);
        self.streams.remove(&self.wiring.epoll, number);
    }

    /// Tries again those whose next packet found no room.
    pub(super) fn resume_streams(&mut self) {
        for number in std::mem::take(&mut self.streams.blocked) {
            let Some(stream) = self.streams.all.get_mut(&number).filter(|stream| stream.blocked) else {
                continue;
            };
            let mut bytes = std::mem::take(&mut stream.held);
            self.take_frames(number, &mut bytes);
        }
    }

    fn stream_packet(&mut self, number: u64, packet: &mut [u8]) -> Taken {
        let Some(stream) = self.streams.all.get(&number) else { return Taken::Yes };
        let (endpoint, from, session) = (stream.endpoint, stream.peer, stream.session);
        match (wire::opcode(packet), stream.stage) {
            (_, Stage::Closing { .. }) => Taken::Yes,
            (Some((Opcode::DataV1 | Opcode::DataV2, _)), Stage::Open) => {
                match session {
                    Some(peer_id) => self.open(endpoint, peer_id, from, packet),
                    None => self.wiring.stats.no_session.add(1),
                }
                Taken::Yes
            }
            (None, Stage::Open) => {
                self.wiring.stats.malformed.add(1);
                Taken::Yes
            }
            (None | Some((Opcode::DataV1 | Opcode::DataV2, _)), Stage::New { .. }) => Taken::Broken,
            (Some(_), Stage::New { .. } | Stage::Open) => self.stream_control(number, packet),
        }
    }

    /// A control packet for the control thread. Peers need not send it again, so it waits instead of being dropped.
    fn stream_control(&mut self, number: u64, packet: &[u8]) -> Taken {
        let id = self.streams.id(number);
        let Some(stream) = self.streams.all.get_mut(&number) else { return Taken::Yes };
        if stream.session.is_none() && stream.early_packets >= EARLY_PACKETS_MAX {
            return Taken::Broken;
        }
        let Some(buffer) = self.pool.lend(packet) else { return Taken::Later };
        let packet = ControlPacket { endpoint: stream.endpoint, from: stream.peer, stream: Some(id), buffer };
        if self.wiring.packets.try_send(Upward::Packet(packet)).is_err() {
            return Taken::Later;
        }
        self.ring = true;
        stream.early_packets = stream.early_packets.saturating_add(1);
        stream.stage = Stage::Open;
        self.wiring.stats.control_packets.add(1);
        Taken::Yes
    }

    /// A control packet of the control thread.
    pub(super) fn send_control(&mut self, number: u64, packet: &[u8]) {
        let queued = self.streams.push(&self.wiring.epoll, number, Kind::Control, self.now, |out| {
            out.extend_from_slice(packet);
            true
        });
        match queued {
            Queued::Yes => {}
            Queued::Nothing | Queued::Dropped => self.wiring.stats.stream_drops.add(1),
            Queued::Overrun => {
                self.wiring.stats.streams_stalled.add(1);
                self.streams.remove(&self.wiring.epoll, number);
            }
        }
    }

    /// Tells the control thread of connections that are gone. In the queue of their packets: it must not come first.
    pub(super) fn tell_gone(&mut self) {
        while let Some(stream) = self.streams.gone.pop_front() {
            if self.wiring.packets.try_send(Upward::Closed(stream)).is_err() {
                self.streams.gone.push_front(stream);
                return;
            }
            self.ring = true;
        }
    }
}

/// Whether the system, rather than the connection, is the reason.
fn is_shortage(error: &std::io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| shortages.iter().any(|errno| errno.raw_os_error() == code))
}
