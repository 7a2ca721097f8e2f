//! What a worker holds for one session: keys, address, policy, counters. A verdict for every packet, both ways.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::{ClientAddresses, ClientNets};
use openvpn::Instant;
use openvpn::data::{self, Channel, Cipher, InBand, KeyMaterial, Role};
use openvpn::wire::{self, Opcode};

use crate::counters::{Counters, DropReason};
use crate::packet::{Header, clamp_mss, inner_room_bytes, quoted_destination};
use crate::policy::{Policy, Verdict};

/// A keepalive is due when nothing was sent for this long: what we push as `ping`.
pub const PING_AFTER: Duration = Duration::from_secs(1);

/// A session is dead when nothing authenticated came for this long (spec: openvpn-protocol §14).
pub const DEAD_AFTER: Duration = Duration::from_secs(40);

/// An address that the gateway refused is not moved to again for this long. Whoever keeps it may be gone by then.
pub const FLOAT_PAUSE: Duration = Duration::from_secs(1);

/// What a new path starts from.
#[derive(Clone, Debug)]
pub struct PathStart {
    /// Where the client's datagrams come from.
    pub peer: SocketAddr,
    /// Whether the client's address may change on the way: UDP, and packets that carry a peer id.
    pub floats: bool,
    /// The client's addresses in the tunnel.
    pub addresses: ClientAddresses,
    /// All clients' addresses: reached by a local route only, however broad the others are.
    pub client_cidr: ClientNets,
    /// Routes and rules.
    pub policy: Arc<Policy>,
    /// Where to count.
    pub counters: Arc<Counters>,
    /// Packets sent with a key before its successor is asked for.
    pub rekey_packets: u32,
}

/// One session's data channel. Owned by one worker; no allocation, lock or log per packet (I-9).
///
/// Driver's contract: feed [`up`](Self::up) and [`down`](Self::down); after `up` drain
/// [`poll_notice`](Self::poll_notice); call [`handle_tick`](Self::handle_tick) about twice a second. Time never
/// goes back. After a `Dead` tick or a `PeerExit` notice go on until told to remove the path.
pub struct DataPath {
    start: PathStart,
    channel: Channel,
    room_bytes: u16,
    last_sent: Instant,
    last_heard: Instant,
    /// Where the session may not be, and until when.
    refused: Option<(SocketAddr, Instant)>,
    notices: Notices,
}

/// Notices not yet polled: at most one of each kind, the newest, so that there is nothing to grow.
#[derive(Default)]
struct Notices {
    floated: Option<SocketAddr>,
    exit: bool,
    new_key: Option<u8>,
    rekey: bool,
    /// A re-key has been asked for under the current key.
    rekey_asked: bool,
}

/// A change of a path, from the gateway.
#[derive(Debug)]
pub enum PathUpdate {
    /// May receive under this key from now on.
    InstallKey {
        /// 0 to 7.
        key_id: u8,
        /// The keys.
        keys: Box<KeyMaterial>,
        /// The cipher.
        cipher: Cipher,
        /// The peer id of DATA_V2 packets; `None`: DATA_V1.
        v2_peer_id: Option<u32>,
    },
    /// Send with this key from now on.
    SendKey(u8),
    /// Forget this key.
    RetireKey(u8),
    /// Judge by this from now on.
    Policy(Arc<Policy>),
    /// The session may not be at the address it has moved to: another one is there.
    Unfloat {
        /// Where it goes back to, unless it has moved on.
        back_to: SocketAddr,
        /// Where it may not be, for [`FLOAT_PAUSE`].
        refused: SocketAddr,
    },
}

/// What became of a packet from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Up<'p> {
    /// An IP packet for the TUN.
    Forward(&'p [u8]),
    /// An IP packet for another client of the endpoint, or for nobody.
    Local(&'p mut [u8]),
    /// It was for the gateway itself.
    Consumed,
    /// Nothing comes of it.
    Drop(DropReason),
}

/// What became of a packet to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// A datagram was appended, for [`DataPath::peer`].
    Send,
    /// Nothing was appended.
    Drop(DropReason),
}

/// What a tick asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Nothing.
    Nothing,
    /// Send a [`DataPath::ping`].
    Ping,
    /// Tell the gateway that the client is gone. Repeated until the path is removed.
    Dead,
}

/// Something the gateway must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The client's datagrams come from this address now.
    Floated(SocketAddr),
    /// The client said in band that it leaves.
    PeerExit,
    /// The client uses this key.
    NewKeyUsed(u8),
    /// The sending key nears its limits.
    NeedsRekey,
}

impl DataPath {
    /// A path without keys: it drops everything until it has some.
    pub fn new(start: PathStart, now: Instant) -> Self {
        Self {
            channel: Channel::with_limits(
                Role::Server,
                data::Limits { rekey_packet_id: start.rekey_packets, ..data::Limits::default() },
            ),
            room_bytes: inner_room_bytes(&start.peer),
            start,
            last_sent: now,
            last_heard: now,
            refused: None,
            notices: Notices::default(),
        }
    }

    /// Takes a change. A key that the cipher refuses is not installed, and packets under it are dropped.
    pub fn apply(&mut self, update: PathUpdate, now: Instant) {
        match update {
            PathUpdate::InstallKey { key_id, keys, cipher, v2_peer_id } => {
                let _ = self.channel.install(key_id, &keys, cipher, v2_peer_id);
            }
            PathUpdate::SendKey(key_id) => {
                self.channel.send_with(key_id);
                self.notices.rekey_asked = false;
                self.last_sent = now;
            }
            PathUpdate::RetireKey(key_id) => self.channel.retire(key_id),
            PathUpdate::Policy(policy) => self.start.policy = policy,
            PathUpdate::Unfloat { back_to, refused } => {
                self.refused = Some((refused, now + FLOAT_PAUSE));
                if self.start.peer == refused {
                    self.move_to(back_to);
                }
            }
        }
    }

    /// Opens one data packet that came from `from`, in place. The client's address is changed only by a packet that
    /// was authenticated and is not a replay (I-4, spec: openvpn-protocol §12), and at once, so that no answer is lost;
    /// the gateway hears of it and may take it back.
    pub fn up<'p>(&mut self, packet: &'p mut [u8], from: SocketAddr, now: Instant) -> Up<'p> {
        let v2 = matches!(wire::opcode(packet), Some((Opcode::DataV2, _)));
        let moved = from != self.start.peer;
        if moved && !(v2 && self.start.floats) {
            return Up::Drop(DropReason::WrongAddress);
        }
        if self.refused.is_some_and(|(address, until)| address == from && now < until) {
            return Up::Drop(DropReason::FloatRefused);
        }
        let opened = match self.channel.open(packet) {
            Ok(opened) => opened,
            Err(error) => return Up::Drop(error.into()),
        };
        self.last_heard = now;
        self.start.counters.seen(now);
        if opened.first_use {
            self.notices.new_key = Some(opened.key_id);
        }
        if moved {
            self.move_to(from);
            self.notices.floated = Some(from);
        }
        match data::classify(opened.payload) {
            InBand::Ping | InBand::Occ => Up::Consumed,
            InBand::OccExit => {
                self.notices.exit = true;
                Up::Consumed
            }
            InBand::Other => Up::Drop(DropReason::Malformed),
            InBand::Ip4 | InBand::Ip6 => match self.judge_up(opened.payload) {
                Ok((packet_bytes, verdict)) => {
                    self.start.counters.ingress(packet_bytes);
                    let packet = opened.payload.get_mut(..packet_bytes).unwrap_or_default();
                    if verdict == Verdict::Local { Up::Local(packet) } else { Up::Forward(packet) }
                }
                Err(reason) => Up::Drop(reason),
            },
        }
    }

    fn move_to(&mut self, peer: SocketAddr) {
        self.start.peer = peer;
        self.room_bytes = inner_room_bytes(&peer);
    }

    /// Whether a client's packet may pass (I-5), its MSS clamped; the packet's own length, and which way.
    fn judge_up(&self, packet: &mut [u8]) -> Result<(usize, Verdict), DropReason> {
        let header = self.header(packet)?;
        if header.stays_on_link() {
            return Err(DropReason::LinkLocal);
        }
        if !self.start.addresses.has(header.source) {
            return Err(DropReason::Spoofed);
        }
        let verdict = self.pass(header.destination)?;
        clamp_mss(packet, &header, self.room_bytes);
        Ok((header.packet_bytes, verdict))
    }

    /// Reads the header of a packet of an IP version that the client has an address of.
    fn header(&self, packet: &[u8]) -> Result<Header, DropReason> {
        // Before the rest is looked at: what is not carried at all need not be well formed.
        match packet.first().map(|byte| byte >> 4) {
            Some(4) if self.start.addresses.v4.is_none() => Err(DropReason::Ipv4),
            Some(6) if self.start.addresses.v6.is_none() => Err(DropReason::Ipv6),
            _ => Ok(Header::parse(packet)?),
        }
    }

    /// Seals an IP packet for the client into a datagram appended to `out`. Judged by its source, so that a revoked
    /// rule also ends a running download.
    pub fn down(&mut self, inner: &mut [u8], now: Instant, out: &mut Vec<u8>) -> Down {
        match self.judge_down(inner).and_then(|bytes| self.seal(inner.get(..bytes).unwrap_or_default(), out))
        {
            Ok(packet_bytes) => {
                self.start.counters.egress(packet_bytes);
                self.last_sent = now;
                Down::Send
            }
            Err(reason) => Down::Drop(reason),
        }
    }

    fn judge_down(&self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let header = self.header(packet)?;
        if !self.start.addresses.has(header.destination) {
            return Err(DropReason::NotForClient);
        }
        // An ICMP error comes from any router on the way; path MTU discovery dies without it. No other client is one, and
        // nothing vouches for what it quotes.
        let routers = !self.start.client_cidr.contains(header.source);
        self.pass(header.source).or_else(|reason| {
            let quoted = quoted_destination(packet, &header, self.start.addresses);
            self.pass(quoted.filter(|_| routers).ok_or(reason)?)
        })?;
        clamp_mss(packet, &header, self.room_bytes);
        Ok(header.packet_bytes)
    }

    /// Whether routes and rules let the session speak with `far`. Other clients are reached by a local route only:
    /// a broad route through the association does not mean them (spec: aws-client-vpn §3.4).
    fn pass(&self, far: IpAddr) -> Result<Verdict, DropReason> {
        let verdict = self.start.policy.verdict(far);
        let client = self.start.client_cidr.contains(far);
        match (verdict, client) {
            (Verdict::Forward, true) | (Verdict::Local, false) => Err(DropReason::NoRoute),
            _ => DropReason::of(verdict).map_or(Ok(verdict), Err),
        }
    }

    fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<usize, DropReason> {
        self.channel.seal(payload, out)?;
        if self.channel.needs_rekey() && !self.notices.rekey_asked {
            self.notices.rekey_asked = true;
            self.notices.rekey = true;
        }
        Ok(payload.len())
    }

    /// Appends a keepalive datagram to `out`, if there is a key to send with.
    pub fn ping(&mut self, out: &mut Vec<u8>) -> bool {
        self.seal(&data::PING, out).is_ok()
    }

    /// What is due. After [`Tick::Ping`] a ping counts as sent.
    pub fn handle_tick(&mut self, now: Instant) -> Tick {
        if now.since(self.last_heard) >= DEAD_AFTER {
            return Tick::Dead;
        }
        if now.since(self.last_sent) >= PING_AFTER {
            self.last_sent = now;
            return Tick::Ping;
        }
        Tick::Nothing
    }

    /// The next thing the gateway must know.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let pending = &mut self.notices;
        if let Some(peer) = pending.floated.take() {
            return Some(Notice::Floated(peer));
        }
        if let Some(key_id) = pending.new_key.take() {
            return Some(Notice::NewKeyUsed(key_id));
        }
        if std::mem::take(&mut pending.rekey) {
            return Some(Notice::NeedsRekey);
        }
        std::mem::take(&mut pending.exit).then_some(Notice::PeerExit)
    }

    /// Where the client's datagrams go.
    pub fn peer(&self) -> SocketAddr {
        self.start.peer
    }

    /// The client's addresses in the tunnel.
    pub fn addresses(&self) -> ClientAddresses {
        self.start.addresses
    }

    /// The session's traffic.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.start.counters
    }
}

impl std::fmt::Debug for DataPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PathStart { peer, addresses, .. } = &self.start;
        f.debug_struct("DataPath").field("peer", peer).field("addresses", addresses).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
