//! The host behind the tunnels: echo on port 7 (TCP and UDP), HTTP on port 80, nothing elsewhere.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Instant;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{HardwareAddress, IpCidr};

/// Its address.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
/// Listening sockets per port.
const BACKLOG: usize = 32;

#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

struct In(Vec<u8>);
struct Out<'w>(&'w mut VecDeque<Vec<u8>>);

impl RxToken for In {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = In;
    type TxToken<'a> = Out<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(In, Out<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((In(packet), Out(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Out<'_>> {
        Some(Out(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1400;
        capabilities
    }
}

pub struct Host {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    streams: Vec<(SocketHandle, u16)>,
    datagrams: SocketHandle,
    origin: Instant,
}

impl Host {
    pub fn new() -> Self {
        let mut wire = Wire::default();
        let zero = smoltcp::time::Instant::ZERO;
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, zero);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(HOST.into(), 24)).unwrap());
        interface.routes_mut().add_default_ipv4_route(HOST).unwrap();
        let mut sockets = SocketSet::new(Vec::new());
        let streams = [7, 80].into_iter().flat_map(|port| [port; BACKLOG]);
        let streams = streams
            .map(|port| {
                let buffer = || tcp::SocketBuffer::new(vec![0; 8192]);
                let mut socket = tcp::Socket::new(buffer(), buffer());
                socket.listen(port).unwrap();
                (sockets.add(socket), port)
            })
            .collect();
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 16_384]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(7).unwrap();
        let datagrams = sockets.add(socket);
        Self { wire, interface, sockets, streams, datagrams, origin: Instant::now() }
    }

    pub fn deliver(&mut self, packet: &[u8]) {
        self.wire.incoming.push_back(packet.to_vec());
    }

    /// Works, and yields what goes back.
    pub fn poll(&mut self) -> Vec<Vec<u8>> {
        let now =
            smoltcp::time::Instant::from_micros(i64::try_from(self.origin.elapsed().as_micros()).unwrap());
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        let socket = self.sockets.get_mut::<udp::Socket>(self.datagrams);
        while let Ok((bytes, from)) = socket.recv().map(|(bytes, from)| (bytes.to_vec(), from)) {
            let _ = socket.send_slice(&bytes, from.endpoint);
        }
        for (handle, port) in &self.streams {
            let socket = self.sockets.get_mut::<tcp::Socket>(*handle);
            if !socket.is_open() {
                socket.listen(*port).unwrap();
            } else if *port == 7 {
                while socket.can_recv() && socket.can_send() {
                    let room = socket.send_capacity() - socket.send_queue();
                    let bytes = socket.recv(|bytes| {
                        let taken = bytes.len().min(room);
                        (taken, bytes[..taken].to_vec())
                    });
                    let bytes = bytes.unwrap();
                    assert_eq!(socket.send_slice(&bytes), Ok(bytes.len()));
                    if bytes.is_empty() {
                        break;
                    }
                }
            } else if socket.can_recv() {
                let all = socket.recv(|bytes| (bytes.len(), bytes.ends_with(b"\r\n\r\n"))).unwrap();
                if all {
                    socket.send_slice(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
                    socket.close();
                }
            }
            if socket.may_send() && !socket.may_recv() && socket.is_active() {
                socket.close();
            }
        }
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.wire.outgoing.drain(..).collect()
    }
}
