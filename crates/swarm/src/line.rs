//! What packets come and go by: a UDP socket or a TCP stream, without blocking.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use openvpn::wire::{MAX_PACKET_BYTES, frame};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::profile::Transport;

/// Bytes queued for a stream; data beyond it is dropped, as by stock clients.
const MAX_QUEUED_DATA_BYTES: usize = 128 * 1024;
/// Bytes queued for a stream; control packets beyond it end the connection.
const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Bytes read from a stream at once.
const READ_BYTES: usize = 16 * 1024;

/// The connection is gone, and why.
#[derive(Debug)]
pub(crate) struct Gone(pub(crate) String);

/// An open way to a server.
pub(crate) enum Line {
    Udp(UdpSocket),
    Tcp(Box<Stream>),
}

/// A stream with what has come and not been cut, and what has not gone.
pub(crate) struct Stream {
    stream: TcpStream,
    incoming: Vec<u8>,
    /// Bytes of `incoming` that have been taken.
    taken: usize,
    outgoing: Vec<u8>,
    buffer: Box<[u8]>,
}

impl Line {
    /// Opens one, from a local address if one is given.
    pub(crate) async fn open(
        transport: Transport,
        server: SocketAddr,
        local: Option<IpAddr>,
    ) -> Result<Self, Gone> {
        let any = if server.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let from = SocketAddr::new(local.unwrap_or(any), 0);
        let gone = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| Gone(format!("{what}: {}", error.kind()))
        };
        match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(from).await.map_err(gone("cannot open a socket"))?;
                socket.connect(server).await.map_err(gone("no way to the server"))?;
                // Before the runtime has seen once that it is writable, nothing would be sent.
                socket.writable().await.map_err(gone("cannot set up a socket"))?;
                Ok(Self::Udp(socket))
            }
            Transport::Tcp => {
                let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
                let socket = socket.map_err(gone("cannot open a socket"))?;
                if local.is_some() {
                    socket.bind(from).map_err(gone("cannot open a socket"))?;
                }
                let stream = socket.connect(server).await.map_err(gone("no TCP connection"))?;
                stream.set_nodelay(true).map_err(gone("cannot set up a socket"))?;
                Ok(Self::Tcp(Box::new(Stream {
                    stream,
                    incoming: Vec::new(),
                    taken: 0,
                    outgoing: Vec::new(),
                    buffer: vec![0; READ_BYTES].into(),
                })))
            }
        }
    }

    /// Waits until something has come, or what is queued can go. Errors show when it is used.
    pub(crate) async fn ready(&self) {
        match self {
            Self::Udp(socket) => {
                let _ = socket.readable().await;
            }
            Self::Tcp(tcp) => {
                let wanted = if tcp.outgoing.is_empty() {
                    Interest::READABLE
                } else {
                    Interest::READABLE | Interest::WRITABLE
                };
                let _ = tcp.stream.ready(wanted).await;
            }
        }
    }

    /// The next packet, in `buffer` (for datagrams) or in the stream's own. `Ok(None)`: nothing is there now.
    pub(crate) fn receive<'b>(&'b mut self, buffer: &'b mut [u8]) -> Result<Option<&'b mut [u8]>, Gone> {
        match self {
            Self::Udp(socket) => match socket.try_recv(buffer) {
                Ok(length) => Ok(buffer.get_mut(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                // Refused where nobody listens (now): as good as lost, as stock clients take it.
                Err(_) => Ok(Some(&mut [])),
            },
            Self::Tcp(tcp) => tcp.receive(),
        }
    }

    /// Sends a packet. Data may be dropped where a stream is full; control is queued.
    pub(crate) fn send(&mut self, packet: &[u8], is_data: bool) -> Result<(), Gone> {
        match self {
            Self::Udp(socket) => {
                // Full or refused: as good as lost.
                let _ = socket.try_send(packet);
                Ok(())
            }
            Self::Tcp(tcp) => tcp.send(packet, is_data),
        }
    }

    /// Sends what is queued, as far as it goes.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        match self {
            Self::Udp(_) => Ok(()),
            Self::Tcp(tcp) => tcp.flush(),
        }
    }
}

impl Stream {
    fn receive(&mut self) -> Result<Option<&mut [u8]>, Gone> {
        loop {
            let rest = self.incoming.get(self.taken..).unwrap_or_default();
            match frame::length(rest) {
                Some(length) if !(frame::HEADER_BYTES + 1..=frame::MAX_FRAME_BYTES).contains(&length) => {
                    return Err(Gone("a frame of impossible length".to_owned()));
                }
                Some(length) if rest.len() >= length => {
                    let from = self.taken + frame::HEADER_BYTES;
                    self.taken += length;
                    return Ok(self.incoming.get_mut(from..self.taken));
                }
                _ => {}
            }
            self.incoming.drain(..self.taken);
            self.taken = 0;
            match self.stream.try_read(&mut self.buffer) {
                Ok(0) => return Err(Gone("the server closed the connection".to_owned())),
                Ok(length) => self.incoming.extend_from_slice(self.buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Gone(format!("the connection broke: {}", error.kind()))),
            }
        }
    }

    fn send(&mut self, packet: &[u8], is_data: bool) -> Result<(), Gone> {
        let needed = self.outgoing.len() + packet.len();
        if is_data && needed > MAX_QUEUED_DATA_BYTES {
            return Ok(());
        }
        if needed > MAX_QUEUED_BYTES {
            return Err(Gone("the server does not read".to_owned()));
        }
        debug_assert!(packet.len() <= MAX_PACKET_BYTES);
        frame::append(&mut self.outgoing, |out| {
            out.extend_from_slice(packet);
            true
        });
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        while !self.outgoing.is_empty() {
            match self.stream.try_write(&self.outgoing) {
                Ok(length) => {
                    self.outgoing.drain(..length);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Gone(format!("the connection broke: {}", error.kind()))),
            }
        }
        Ok(())
    }
}
