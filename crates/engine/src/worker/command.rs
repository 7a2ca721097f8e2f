//! What the control thread tells a worker, and how the worker obeys: in order, before it touches the next packet.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::TryRecvError;
use gateway::{DataPath, PathNotice, PathUpdate};
use model::{ClientAddresses, Transport};
use rustix::event::epoll::{self, EventFlags};

use super::guests::Guest;
use super::{Note, Session, Source, Tun, Worker};
use crate::table::AddressTable;

/// A command to one worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this socket of an endpoint.
    OpenEndpoint { endpoint: u32, socket: OwnedFd, transport: Transport },
    /// Close it, and the connections that came by it.
    CloseEndpoint { endpoint: u32 },
    /// Serve this queue of an association's TUN device, in place of the one it had.
    OpenTun { association: u16, queue: OwnedFd, table: Arc<AddressTable> },
    /// Close it.
    CloseTun { association: u16 },
    /// Carry a session.
    Install {
        endpoint: u32,
        table: Arc<AddressTable>,
        association: u16,
        peer_id: u32,
        addresses: ClientAddresses,
        /// Another session has them in the table until [`Command::Inherit`].
        shared: bool,
        /// The connection of this worker that carries it, if one does.
        stream: Option<u64>,
        path: Box<DataPath>,
    },
    /// Packets to a session's addresses are its own from now on.
    Inherit { peer_id: u32 },
    /// Change a session's path.
    Update { peer_id: u32, update: PathUpdate },
    /// Drop a session with its keys.
    Remove { peer_id: u32 },
    /// Answer those who want to begin a session at this endpoint, or no longer.
    Gate { endpoint: u32, open: bool },
    /// Control datagrams with this session id are a session's.
    Know { client: Guest },
    /// One session less has it.
    Forget { client: Guest },
    /// Send a control packet over a connection.
    SendControl { number: u64, packet: Vec<u8> },
    /// Close a connection, once everything is sent.
    CloseStream { number: u64 },
    /// Acknowledge that everything before this is done.
    Barrier { generation: u64 },
    /// End.
    Stop,
}

impl Worker {
    /// Takes every command there is.
    ///
    /// Not only at the top of the loop but also between receiving packets and looking at them: the control thread
    /// gives the command before it tells the client, so that whatever a client sends on the strength of what it was
    /// told finds its session and its key. Barriers are acknowledged at the top of the loop only.
    pub(super) fn obey(&mut self) {
        loop {
            match self.wiring.commands.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                    self.stopping = true;
                    return;
                }
                Ok(command) => self.execute(command),
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::OpenEndpoint { endpoint, socket, transport: Transport::Tcp } => {
                self.watch(Source::Listener(endpoint), &socket);
                self.listeners.insert(endpoint, Rc::new(socket));
            }
            Command::OpenEndpoint { endpoint, socket, transport: Transport::Udp } => {
                self.watch(Source::Socket(endpoint), &socket);
                self.sockets.insert(endpoint, Rc::new(socket));
            }
            Command::CloseEndpoint { endpoint } => {
                for socket in
                    [self.sockets.remove(&endpoint), self.listeners.remove(&endpoint)].iter().flatten()
                {
                    self.unwatch(socket);
                }
                self.open.remove(&endpoint);
                self.streams.remove_all_of(&self.wiring.epoll, endpoint, self.now);
            }
            Command::OpenTun { association, queue, table } => {
                self.close_tun(association);
                self.watch(Source::Tun(association), &queue);
                self.tuns.insert(association, Rc::new(Tun { queue, table }));
            }
            Command::CloseTun { association } => self.close_tun(association),
            Command::Install { endpoint, table, association, peer_id, addresses, shared, stream, path } => {
                let source = path.peer();
                if !shared {
                    table.set(addresses, peer_id);
                }
                if let Some(stream) = stream.and_then(|number| self.streams.all.get_mut(&number)) {
                    stream.session = Some(peer_id);
                    stream.seat.admitted();
                }
                if stream.is_none() && self.wiring.number == 0 {
                    self.by_source.insert((endpoint, source), peer_id);
                }
                self.sessions.insert(
                    peer_id,
                    Session { endpoint, association, addresses, table, source, stream, path },
                );
            }
            Command::Inherit { peer_id } => {
                if let Some(session) = self.sessions.get(&peer_id) {
                    session.table.set(session.addresses, peer_id);
                }
            }
            Command::Update { peer_id, update } => {
                let now = self.now;
                if let Some(session) = self.sessions.get_mut(&peer_id) {
                    session.path.apply(update, now);
                }
            }
            Command::Remove { peer_id } => self.remove(peer_id),
            Command::Gate { endpoint, open: true } => {
                self.open.insert(endpoint);
            }
            Command::Gate { endpoint, open: false } => {
                self.open.remove(&endpoint);
            }
            Command::Know { client } => self.guests.know(client),
            Command::Forget { client } => self.guests.forget(client),
            Command::SendControl { number, packet } => self.send_control(number, &packet),
            Command::CloseStream { number } => {
                self.streams.close(&self.wiring.epoll, number, self.now);
            }
            Command::Barrier { generation } => self.barrier = Some(generation),
            Command::Stop => {}
        }
    }

    fn remove(&mut self, peer_id: u32) {
        let Some(session) = self.sessions.remove(&peer_id) else { return };
        session.table.clear(session.addresses, peer_id);
        if let Some(stream) = session.stream.and_then(|number| self.streams.all.get_mut(&number)) {
            stream.session = None;
        }
        let key = (session.endpoint, session.source);
        if self.by_source.get(&key) == Some(&peer_id) {
            self.by_source.remove(&key);
        }
        // Not subject to the backlog's bound: there are no more of these than commands.
        self.backlog.push_back(Note { endpoint: session.endpoint, peer_id, notice: PathNotice::Removed });
    }

    pub(super) fn close_tun(&mut self, association: u16) {
        if let Some(tun) = self.tuns.remove(&association) {
            self.unwatch(&tun.queue);
        }
    }

    fn watch(&self, source: Source, descriptor: &OwnedFd) {
        if let Err(error) = epoll::add(&self.wiring.epoll, descriptor, source.data(), EventFlags::IN) {
            tracing::error!(worker = self.wiring.number, %error, "a descriptor cannot be watched");
        }
    }

    /// Before closing: the control thread may hold a duplicate, which would keep the registration alive.
    fn unwatch(&self, descriptor: &OwnedFd) {
        // Fails only for what was not watched.
        let _ = epoll::delete(&self.wiring.epoll, descriptor);
    }
}
