//! A client: a TCP/IP stack at the engine's end of a queue.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{HardwareAddress, Icmpv4Message, Icmpv4Packet, IpCidr, IpProtocol, Ipv4Packet};

use super::deadline;

const BUFFER_BYTES: usize = 64 << 10;

struct Wire {
    queue: OwnedFd,
    /// ICMP messages that came: type, code, and what follows the header.
    icmp: Vec<(Icmpv4Message, u8, Vec<u8>)>,
    /// Fragments that came.
    fragments: Vec<Vec<u8>>,
}

struct Arrived(Vec<u8>);
struct Leaving<'w>(&'w OwnedFd);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        // Full: lost, as the engine would lose it.
        let _ = netio::tun::write(self.0, &packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Arrived, Leaving<'_>)> {
        let mut packet = vec![0; 2048];
        let length = netio::tun::read(&self.queue, &mut packet).ok().filter(|length| *length > 0)?;
        packet.truncate(length);
        let ip = Ipv4Packet::new_checked(&packet[..]).expect("a whole packet");
        assert!(ip.verify_checksum());
        if ip.more_frags() || ip.frag_offset() != 0 {
            self.fragments.push(packet.clone());
        } else if ip.next_header() == IpProtocol::Icmp {
            let icmp = Icmpv4Packet::new_checked(ip.payload()).unwrap();
            assert!(icmp.verify_checksum());
            self.icmp.push((icmp.msg_type(), icmp.msg_code(), ip.payload()[8..].to_vec()));
        }
        Some((Arrived(packet), Leaving(&self.queue)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&self.queue))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1400;
        capabilities
    }
}

pub(super) struct Client {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    started: Instant,
    next_port: u16,
}

impl Client {
    pub(super) fn new(queue: OwnedFd, address: Ipv4Addr) -> Self {
        let mut wire = Wire { queue, icmp: Vec::new(), fragments: Vec::new() };
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(address.into(), 22)).unwrap());
        interface.routes_mut().add_default_ipv4_route("10.8.0.1".parse().unwrap()).unwrap();
        Self {
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
            started: Instant::now(),
            next_port: 40_000,
        }
    }

    fn poll(&mut self) {
        let micros = i64::try_from(self.started.elapsed().as_micros()).unwrap();
        let now = smoltcp::time::Instant::from_micros(micros);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    /// Works until something is so.
    pub(super) fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = deadline();
        loop {
            self.poll();
            if let Some(value) = done(self) {
                return value;
            }
            assert!(Instant::now() < end, "waited in vain for {what}");
            std::thread::yield_now();
        }
    }

    /// Begins a connection.
    pub(super) fn connect(&mut self, far: SocketAddr) -> SocketHandle {
        self.next_port += 1;
        self.connect_from(self.next_port, far)
    }

    pub(super) fn connect_from(&mut self, port: u16, far: SocketAddr) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.connect(self.interface.context(), far, port).unwrap();
        self.sockets.add(socket)
    }

    pub(super) fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(super) fn connected(&mut self, far: SocketAddr) -> SocketHandle {
        let handle = self.connect(far);
        self.until("the connection", |client| client.tcp(handle).may_send().then_some(()));
        handle
    }

    /// Waits until a connection is closed, by whomever.
    pub(super) fn closed(&mut self, handle: SocketHandle) {
        self.until("the end of the connection", |client| {
            (client.tcp(handle).state() == tcp::State::Closed).then_some(())
        });
    }

    pub(super) fn udp(&mut self) -> SocketHandle {
        self.next_port += 1;
        self.udp_at(self.next_port)
    }

    pub(super) fn udp_at(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; BUFFER_BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    pub(super) fn send_udp(&mut self, handle: SocketHandle, far: SocketAddr, data: &[u8]) {
        self.sockets.get_mut::<udp::Socket<'static>>(handle).send_slice(data, far).unwrap();
        self.poll();
    }

    pub(super) fn receive_udp(&mut self, handle: SocketHandle) -> Option<Vec<u8>> {
        let socket = self.sockets.get_mut::<udp::Socket<'static>>(handle);
        socket.recv().ok().map(|(data, _)| data.to_vec())
    }

    /// A packet as it is.
    pub(super) fn send_raw(&mut self, packet: &[u8]) {
        loop {
            match netio::tun::write(&self.wire.queue, packet) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.poll(),
                other => return other.unwrap(),
            }
        }
    }

    pub(super) fn icmp(&self) -> &[(Icmpv4Message, u8, Vec<u8>)] {
        &self.wire.icmp
    }

    pub(super) fn fragments(&self) -> &[Vec<u8>] {
        &self.wire.fragments
    }

    /// Goes on at another queue.
    pub(super) fn use_queue(&mut self, queue: OwnedFd) {
        self.wire.queue = queue;
    }

    pub(super) fn into_queue(self) -> OwnedFd {
        self.wire.queue
    }
}
