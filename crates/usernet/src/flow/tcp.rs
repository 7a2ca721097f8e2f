//! A TCP connection in two halves: a stack of its own towards the client, the host's towards the far side. What one half
//! says (data, end, reset) is said to the other; neither is read faster than the other takes.

use std::io;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, RecvError, Socket as Stack, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use socket2::Socket;

use super::{Key, Next, Work, reset_on_close};
use crate::Timeouts;
use crate::queue::Wire;
use crate::stats::Refusal;

pub(crate) struct Tcp {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    far: Socket,
    /// The far side may have something, as far as we know.
    readable: bool,
    /// The far side may take something.
    writable: bool,
    /// The far side sends no more, and the client is told behind the data.
    far_done: bool,
    /// The client sends no more, and the far side is told.
    client_done: bool,
    is_established: bool,
    /// The client broke it off, or was silent too long: what it had sent before concerns nobody.
    is_reset: bool,
    /// When the rest is given up, once the client has done with the connection.
    linger_until: Option<Instant>,
    /// Of each of its two buffers; to be given back.
    buffer_bytes: usize,
}

impl Tcp {
    /// A connection whose far side has accepted: the client's SYN is answered.
    pub(crate) fn accept(
        key: &Key,
        far: Socket,
        syn: &[u8],
        seed: u64,
        work: &mut Work<'_>,
    ) -> Result<(Self, Next), Refusal> {
        let buffer_bytes = work.clients.take_buffers(key.client.ip(), work.share)?;
        let now = stack_time(work);
        let mut wire = Wire { incoming: None, queue: &mut *work.queue, scratch: &mut work.buffers.part };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, now);
        // To the client it is the far side itself; everything goes into the tunnel.
        let own: IpAddress = key.far.ip().into();
        let whole = if key.far.is_ipv4() { 32 } else { 128 };
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(own, whole));
        });
        match own {
            IpAddress::Ipv4(own) => drop(interface.routes_mut().add_default_ipv4_route(own)),
            IpAddress::Ipv6(own) => drop(interface.routes_mut().add_default_ipv6_route(own)),
        }
        // Pages of a buffer that is never filled are never touched.
        let buffer = || SocketBuffer::new(vec![0; buffer_bytes]);
        let mut stack = Stack::new(buffer(), buffer());
        stack.set_nagle_enabled(false);
        // The tunnel loses what the client's queue has no room for: a whole window sent again and again never gets through.
        stack.set_congestion_control(CongestionControl::Reno);
        stack.set_timeout(Some(work.share.timeouts.handshake.into()));
        // It is closed, and the port is not 0: the client's packet has been looked at.
        let _ = stack.listen(key.far);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(stack);
        let mut connection = Self {
            interface,
            sockets,
            handle,
            far,
            readable: true,
            writable: true,
            far_done: false,
            client_done: false,
            is_established: false,
            is_reset: false,
            linger_until: None,
            buffer_bytes,
        };
        let next = connection.step(Some(syn), work);
        Ok((connection, next))
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.far
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// The far side's socket is ready for something.
    pub(crate) fn ready(&mut self, ready: super::Ready) {
        self.readable |= ready.readable;
        self.writable |= ready.writable;
    }

    /// Takes a packet of the client, if there is one, and moves what can be moved.
    pub(crate) fn step(&mut self, packet: Option<&[u8]>, work: &mut Work<'_>) -> Next {
        self.poll(packet, work);
        if self.pump(&work.share.timeouts).is_err() {
            self.abort(work);
            return Next::Over;
        }
        self.poll(None, work);
        self.settle(work)
    }

    fn poll(&mut self, incoming: Option<&[u8]>, work: &mut Work<'_>) {
        let now = stack_time(work);
        let mut wire = Wire { incoming, queue: &mut *work.queue, scratch: &mut work.buffers.part };
        let before = self.sockets.get::<Stack>(self.handle).state();
        self.interface.poll(now, &mut wire, &mut self.sockets);
        let after = self.sockets.get::<Stack>(self.handle).state();
        let by_itself = matches!(before, State::Closed | State::LastAck | State::Closing | State::TimeWait);
        self.is_reset |= after == State::Closed && !by_itself;
    }

    /// Moves bytes between the halves until one side has none or takes none.
    fn pump(&mut self, timeouts: &Timeouts) -> io::Result<()> {
        let stack = self.sockets.get_mut::<Stack>(self.handle);
        if !self.is_established && stack.may_send() {
            self.is_established = true;
            stack.set_timeout(Some(timeouts.unacknowledged.into()));
            stack.set_keep_alive(Some(timeouts.keep_alive.into()));
        }
        while self.writable && stack.can_recv() {
            let far = &self.far;
            let written = stack.recv(|data| match netio::tcp::write(far, data) {
                Ok(count) => (count, Ok(())),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
        }
        if !self.client_done && !stack.can_recv() && stack.recv(|_| (0, ())) == Err(RecvError::Finished) {
            self.client_done = true;
            netio::tcp::finish(&self.far)?;
        }
        while self.readable && !self.far_done && stack.can_send() {
            let far = &self.far;
            let read = stack.send(|room| match netio::tcp::read(far, room) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => {
                    self.far_done = true;
                    stack.close();
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn settle(&mut self, work: &mut Work<'_>) -> Next {
        let stack = self.sockets.get_mut::<Stack>(self.handle);
        match stack.state() {
            // Both have ended; the last acknowledgement is on its way, or waits for room.
            State::TimeWait if self.client_done && !work.queue.is_blocked() => return Next::Over,
            State::Closed if self.client_done && self.far_done => return Next::Over,
            // The client has done with it, and the far side has not read all.
            State::Closed | State::TimeWait if stack.can_recv() && !self.is_reset => {
                let until = *self.linger_until.get_or_insert(work.now + work.share.timeouts.linger);
                if work.now < until {
                    return Next::Wait(Some(until));
                }
                reset_on_close(&self.far);
                return Next::Over;
            }
            // Reset by the client, or silent too long. (A handshake that is reset listens again.)
            State::Closed | State::Listen => {
                reset_on_close(&self.far);
                return Next::Over;
            }
            _ => {}
        }
        let now = stack_time(work);
        let due = self.interface.poll_at(now, &self.sockets);
        match due {
            Some(due) if due <= now && work.queue.is_blocked() => Next::Starved,
            Some(due) if due <= now => Next::Again,
            Some(due) => {
                let micros = u64::try_from(due.total_micros()).unwrap_or(0);
                Next::Wait(Some(work.started + Duration::from_micros(micros)))
            }
            None => Next::Wait(None),
        }
    }

    /// Resets both sides.
    pub(crate) fn abort(&mut self, work: &mut Work<'_>) {
        self.sockets.get_mut::<Stack>(self.handle).abort();
        self.poll(None, work);
        reset_on_close(&self.far);
    }
}

fn stack_time(work: &Work<'_>) -> smoltcp::time::Instant {
    let micros = work.now.saturating_duration_since(work.started).as_micros();
    smoltcp::time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
