//! The TCP/IP stack in user space that stands inside of a tunnel, and the probes that it carries.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use openvpn::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{HardwareAddress, IpCidr};

use crate::clock::{from_stack, of_stack};
use crate::echo::Pinger;
use crate::probe::Parts;
use crate::pushed::Pushed;
use crate::tally::Tally;
use crate::trial::Trial;

/// Packets that wait on either side of the stack; more are dropped.
const QUEUE_PACKETS: usize = 64;
/// Longest packet we send into a tunnel, so that what carries it fits 1,500 bytes.
const MTU_BYTES: usize = 1400;
/// Probes at work at once.
const MAX_TRIALS: usize = 1024;
/// How long a connection that served its purpose may take to close.
const CLOSING: Duration = Duration::from_secs(2);
/// Ephemeral ports.
const FIRST_PORT: u16 = 49_152;

/// What lies between the stack and the tunnel.
#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

struct Arrived(Vec<u8>);

struct Leaving<'w>(&'w mut VecDeque<Vec<u8>>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Arrived, Leaving<'_>)> {
        if self.outgoing.len() >= QUEUE_PACKETS {
            return None;
        }
        let packet = self.incoming.pop_front()?;
        Some((Arrived(packet), Leaving(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Leaving<'_>> {
        (self.outgoing.len() < QUEUE_PACKETS).then_some(Leaving(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU_BYTES;
        capabilities
    }
}

/// The stack of one tunnel.
pub(crate) struct Stack {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    pushed: Arc<Pushed>,
    trials: Vec<Trial>,
    pinger: Option<Pinger>,
    /// Connections that are closing, and when that is given up; at most as many as trials.
    closing: Vec<(SocketHandle, Instant)>,
    next_port: u16,
}

/// Gives the stack the addresses that were pushed.
fn address(interface: &mut Interface, pushed: &Pushed) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        // There is room for two; without an address nothing is sent.
        if let Some(net) = pushed.ipv4 {
            let _ = addresses.push(IpCidr::new(net.addr().into(), net.prefix_len()));
        }
        if let Some(net) = pushed.ipv6 {
            let _ = addresses.push(IpCidr::new(net.addr().into(), net.prefix_len()));
        }
    });
    // Everything goes into the tunnel; the gateways only have to be there.
    if let Some(net) = pushed.ipv4 {
        let _ = interface.routes_mut().add_default_ipv4_route(net.addr());
    }
    if let Some(net) = pushed.ipv6 {
        let _ = interface.routes_mut().add_default_ipv6_route(net.addr());
    }
}

impl Stack {
    /// A stack with the addresses that were pushed.
    pub(crate) fn new(pushed: Arc<Pushed>, seed: u64, now: Instant) -> Self {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, of_stack(now));
        address(&mut interface, &pushed);
        let next_port = FIRST_PORT | u16::try_from(seed & 0x3fff).unwrap_or(0);
        Self {
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
            pushed,
            trials: Vec::new(),
            pinger: None,
            closing: Vec::new(),
            next_port,
        }
    }

    /// The terms of the tunnel are others.
    pub(crate) fn retell(&mut self, pushed: &Arc<Pushed>) {
        if (pushed.ipv4, pushed.ipv6) != (self.pushed.ipv4, self.pushed.ipv6) {
            address(&mut self.interface, pushed);
        }
        self.pushed = Arc::clone(pushed);
    }

    /// A packet came out of the tunnel.
    pub(crate) fn deliver(&mut self, packet: &[u8]) {
        if self.wire.incoming.len() < QUEUE_PACKETS {
            self.wire.incoming.push_back(packet.to_vec());
        }
    }

    /// The next packet for the tunnel.
    pub(crate) fn outgoing(&mut self) -> Option<Vec<u8>> {
        self.wire.outgoing.pop_front()
    }

    /// A packet has gone into the tunnel: it counts for the probes that it may belong to.
    pub(crate) fn note_sent(&mut self, packet: &[u8]) {
        let destination = match packet.first().map(|byte| byte >> 4) {
            Some(4) => packet.get(16..20).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from),
            _ => packet.get(24..40).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from),
        };
        for trial in self.trials.iter_mut().filter(|trial| Some(trial.target()) == destination) {
            trial.note_sent();
        }
    }

    /// Begins a probe.
    pub(crate) fn begin(&mut self, mut trial: Trial, now: Instant) {
        if self.trials.len() >= MAX_TRIALS {
            return trial.give_up("too many probes at once", now);
        }
        let mut parts = Parts {
            sockets: &mut self.sockets,
            interface: &mut self.interface,
            pushed: &self.pushed,
            next_port: &mut self.next_port,
        };
        if trial.open(&mut parts, now) {
            self.trials.push(trial);
        } else {
            self.dismiss(trial, now);
        }
    }

    /// Pings an address from now on.
    pub(crate) fn ping(&mut self, address: IpAddr, every: Duration, now: Instant) {
        if self.pushed.source_for(address).is_some() {
            let mut parts = Parts {
                sockets: &mut self.sockets,
                interface: &mut self.interface,
                pushed: &self.pushed,
                next_port: &mut self.next_port,
            };
            self.pinger = Pinger::new(address, every, &mut parts, now);
        }
    }

    /// Moves packets and probes on. `heard_at`: when the server was last heard.
    pub(crate) fn poll(&mut self, heard_at: Instant, now: Instant, tally: &Tally) {
        let at = of_stack(now);
        self.interface.poll(at, &mut self.wire, &mut self.sockets);
        let mut parts = Parts {
            sockets: &mut self.sockets,
            interface: &mut self.interface,
            pushed: &self.pushed,
            next_port: &mut self.next_port,
        };
        if let Some(pinger) = &mut self.pinger {
            pinger.step(&mut parts, now, tally);
        }
        let mut done = Vec::new();
        for (place, trial) in self.trials.iter_mut().enumerate() {
            if trial.step(&mut parts, heard_at, now) {
                done.push(place);
            }
        }
        for place in done.into_iter().rev() {
            let trial = self.trials.swap_remove(place);
            self.dismiss(trial, now);
        }
        let sockets = &mut self.sockets;
        self.closing.retain(|(handle, until)| {
            let open = sockets.get::<tcp::Socket>(*handle).is_open() && *until > now;
            if !open {
                sockets.remove(*handle);
            }
            open
        });
        self.interface.poll(at, &mut self.wire, &mut self.sockets);
    }

    /// Ends a probe: its connections are closed politely.
    fn dismiss(&mut self, trial: Trial, now: Instant) {
        for (handle, is_tcp) in trial.into_sockets() {
            if is_tcp {
                let socket = self.sockets.get_mut::<tcp::Socket>(handle);
                socket.close();
                if socket.is_open() && self.closing.len() < MAX_TRIALS {
                    self.closing.push((handle, now + CLOSING));
                    continue;
                }
            }
            self.sockets.remove(handle);
        }
    }

    /// When [`Stack::poll`] is due.
    pub(crate) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let of_stack = self.interface.poll_at(of_stack(now), &self.sockets).map(from_stack);
        let of_trials = self.trials.iter().map(|trial| trial.deadline(&self.pushed, now)).min();
        let of_closing = self.closing.iter().map(|(_, until)| *until).min();
        let of_pinger = self.pinger.as_ref().map(Pinger::deadline);
        [of_stack, of_trials, of_closing, of_pinger].into_iter().flatten().min()
    }

    /// Nothing is at work here.
    pub(crate) fn is_idle(&self) -> bool {
        self.trials.is_empty() && self.pinger.is_none() && self.closing.is_empty()
    }

    /// The tunnel is gone.
    pub(crate) fn abandon(self, why: &str, now: Instant) {
        for trial in self.trials {
            trial.give_up(why, now);
        }
    }
}
