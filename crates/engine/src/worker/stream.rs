//! One TCP connection: the frame that is on its way in, and those that wait to go out.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use gateway::Instant;
use openvpn::wire::frame;
use rustix::event::epoll::EventFlags;

use crate::seats::Seat;

/// Frames waiting beyond which data packets are dropped, as a full wire would (spec: openvpn-protocol §2.4).
pub(super) const DATA_FRAMES_MAX: usize = 64;
/// Frames waiting beyond which control packets, which are never dropped, end the connection.
pub(super) const FRAMES_MAX: usize = 128;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its first packet has not come.
    New { until: Instant },
    /// It has a session, or the control thread is about to decide.
    Open,
    /// What is queued is sent, what comes is thrown away; then it is closed.
    Closing { until: Instant, finished: bool },
}

/// One connection of this worker.
pub(super) struct Stream {
    pub(super) endpoint: u32,
    pub(super) peer: SocketAddr,
    pub(super) socket: OwnedFd,
    pub(super) seat: Seat,
    pub(super) stage: Stage,
    /// The session it carries, once that is installed.
    pub(super) session: Option<u32>,
    /// Control packets that came before there was one.
    pub(super) early_packets: usize,
    /// The beginning of the next frame; while [`Stream::blocked`], all that was read and not taken.
    pub(super) held: Vec<u8>,
    /// The control thread has no room for its next packet: nothing is read until it has.
    pub(super) blocked: bool,
    pub(super) out: Outgoing,
    /// There is no room in the kernel: written on when there is.
    pub(super) waits_for_room: bool,
    /// Stands in the list of those to be flushed.
    pub(super) dirty: bool,
    /// When the last byte was written, or the first one since queued.
    pub(super) progress_at: Instant,
    /// What epoll watches for.
    pub(super) interest: EventFlags,
}

impl Stream {
    /// What epoll should watch for.
    pub(super) fn wanted_interest(&self) -> EventFlags {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, !self.blocked);
        wanted.set(EventFlags::OUT, self.waits_for_room);
        wanted
    }

    /// Keeps what has not been taken.
    pub(super) fn hold(&mut self, rest: &[u8]) {
        self.held.clear();
        self.held.extend_from_slice(rest);
    }
}

/// Frames waiting to be written, back to back. A frame that is begun is always finished before anything else.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// Where the first unfinished frame begins.
    start: usize,
    /// How much of it is written.
    sent: usize,
    frames: usize,
}

impl Outgoing {
    /// Frames not wholly written.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// True while it has no memory of its own.
    pub(super) fn needs_buffer(&self) -> bool {
        self.bytes.capacity() == 0
    }

    /// Lends it a buffer.
    pub(super) fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.bytes = buffer;
    }

    /// Takes the buffer back, once it is empty.
    pub(super) fn take_buffer(&mut self) -> Option<Vec<u8>> {
        (self.is_empty() && !self.needs_buffer()).then(|| std::mem::take(&mut self.bytes))
    }

    /// Queues the packet that `write` appends, if it says it did.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let pushed = frame::append(&mut self.bytes, write);
        self.frames += usize::from(pushed);
        pushed
    }

    /// Writes as much as `write` takes; how many bytes that was.
    pub(super) fn write(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut total = 0;
        while let Some(rest) = self.bytes.get(self.start + self.sent..).filter(|rest| !rest.is_empty()) {
            match write(rest) {
                Ok(0) => break,
                Ok(written) => {
                    total += written;
                    self.sent += written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.settle();
        Ok(total)
    }

    /// Lets go of the frames that are written.
    fn settle(&mut self) {
        while let Some(length) = self.bytes.get(self.start..).and_then(frame::length)
            && self.sent >= length
            && self.frames > 0
        {
            self.start += length;
            self.sent -= length;
            self.frames -= 1;
        }
        if self.frames == 0 {
            self.bytes.clear();
            self.start = 0;
            self.sent = 0;
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_in_order_whatever_room_there_is() {
        for room in [1, 2, 3, 7, 64, 100_000] {
            let (mut out, mut wire, mut expected) = (Outgoing::default(), Vec::new(), Vec::new());
            for n in 1..=50_u8 {
                let packet = vec![n; usize::from(n) * 3];
                assert!(out.push(|bytes| {
                    bytes.extend_from_slice(&packet);
                    true
                }));
                frame::append(&mut expected, |bytes| {
                    bytes.extend_from_slice(&packet);
                    true
                });
                // Once in a while there is room for a few bytes.
                let mut left = room;
                let written = out.write(|bytes| {
                    let some = bytes.len().min(left);
                    if some == 0 {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    left -= some;
                    wire.extend_from_slice(&bytes[..some]);
                    Ok(some)
                });
                assert_eq!(written.unwrap(), room - left);
            }
            out.write(|bytes| {
                wire.extend_from_slice(bytes);
                Ok(bytes.len())
            })
            .unwrap();
            assert_eq!((out.frames(), wire == expected), (0, true), "room for {room}");
            assert!(out.take_buffer().is_some() && out.needs_buffer());
        }
    }

    #[test]
    fn frames_are_counted_until_their_last_byte() {
        let mut out = Outgoing::default();
        for _ in 0..3 {
            assert!(out.push(|bytes| {
                bytes.extend_from_slice(b"12345");
                true
            }));
        }
        assert!(!out.push(|_| true) && !out.push(|_| false));
        for (room, frames) in [(6, 3), (1, 2), (8, 1), (5, 1), (1, 0)] {
            let mut left = room;
            out.write(|bytes| {
                let some = bytes.len().min(left);
                left -= some;
                if some == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(some) }
            })
            .unwrap();
            assert_eq!(out.frames(), frames);
        }
        let broken = out.push(|bytes| {
            bytes.push(1);
            true
        }) && out.write(|_| Err(io::ErrorKind::BrokenPipe.into())).is_err();
        assert!(broken);
    }
}
