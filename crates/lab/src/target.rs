//! What stands behind the tunnel: echo servers, and sinks that stamp what arrives.

use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use crate::net::Net;

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// How long a connection may take to be there.
const CONNECTS: Duration = Duration::from_secs(5);

/// Sends so many bytes over TCP to an echo service, from the network namespace of the calling thread, and reads them back.
///
/// # Errors
/// It cannot be reached, is silent for longer than `patience`, or what came back is not what was sent.
pub fn transfer((address, port): (&str, u16), bytes: usize, patience: Duration) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&format!("{address}:{port}").parse()?, CONNECTS)?;
    stream.set_read_timeout(Some(patience))?;
    let data: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap_or_default()).collect();
    let mut writer = stream.try_clone()?;
    let sent = data.clone();
    let sending = std::thread::spawn(move || writer.write_all(&sent));
    let mut back = vec![0; bytes];
    stream.read_exact(&mut back)?;
    sending.join().ok().context("the sender stopped")??;
    ensure!(back == data, "what came back is not what was sent");
    Ok(())
}

struct Threads {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// TCP and UDP echo on one port.
pub struct Echo {
    _threads: Threads,
}

impl Echo {
    /// Starts it in a namespace.
    pub fn start(net: &Net, port: u16) -> Result<Self> {
        Self::start_at(net, (Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// The same at an address.
    pub fn start_at(net: &Net, address: SocketAddr) -> Result<Self> {
        let (udp, tcp) =
            net.run(|| -> Result<_> { Ok((UdpSocket::bind(address)?, TcpListener::bind(address)?)) })?;
        udp.set_read_timeout(Some(LOOK))?;
        tcp.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (for_udp, for_tcp) = (stop.clone(), stop.clone());
        let datagrams = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !for_udp.load(Ordering::Relaxed) {
                if let Ok((length, from)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(buffer.get(..length).unwrap_or_default(), from);
                }
            }
        });
        let streams = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                while !for_tcp.load(Ordering::Relaxed) {
                    match tcp.accept() {
                        Ok((stream, _)) => drop(scope.spawn(|| echo(stream, &for_tcp))),
                        Err(_) => std::thread::sleep(LOOK),
                    }
                }
            });
        });
        Ok(Self { _threads: Threads { stop, threads: vec![datagrams, streams] } })
    }
}

/// Sends back what comes, until either side ends.
fn echo(mut stream: TcpStream, stop: &AtomicBool) {
    let set = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(LOOK)))
        .and_then(|()| stream.set_write_timeout(Some(LOOK)));
    let mut buffer = vec![0; 65_536];
    while set.is_ok() && !stop.load(Ordering::Relaxed) {
        let length = match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        let mut rest = buffer.get(..length).unwrap_or_default();
        // Who does not read may keep it waiting until the end.
        while !rest.is_empty() && !stop.load(Ordering::Relaxed) {
            match stream.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
        }
    }
}

/// A datagram that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Stamped {
    /// When the kernel took it from the wire.
    pub at: SystemTime,
    /// The sender's number: the payload's first eight bytes, big endian.
    pub number: u64,
    /// The sender's tag: the payload's next byte.
    pub tag: u8,
}

/// Receives numbered datagrams; the kernel stamps each as it arrives, however late it is read.
pub struct Sink {
    arrived: Arc<Mutex<Vec<Stamped>>>,
    _threads: Threads,
}

impl Sink {
    /// Starts it in a namespace.
    pub fn start(net: &Net, port: u16) -> Result<Self> {
        let socket = net.run(|| UdpSocket::bind(("0.0.0.0", port))).context("cannot bind the sink")?;
        socket.set_read_timeout(Some(LOOK))?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RcvBuf, &(8 << 20))?;
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (of_thread, stopped) = (arrived.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let (Some(stamped), Ok(mut list)) = (receive(&socket), of_thread.lock()) {
                    list.push(stamped);
                }
            }
        });
        Ok(Self { arrived, _threads: Threads { stop, threads: vec![thread] } })
    }

    /// What has arrived so far.
    pub fn arrived(&self) -> Vec<Stamped> {
        self.arrived.lock().map(|list| list.clone()).unwrap_or_default()
    }

    /// How much has arrived so far.
    pub fn count(&self) -> usize {
        self.arrived.lock().map(|list| list.len()).unwrap_or_default()
    }

    /// Forgets what has arrived.
    pub fn clear(&self) {
        if let Ok(mut list) = self.arrived.lock() {
            list.clear();
        }
    }
}

/// One datagram with the kernel's stamp.
fn receive(socket: &UdpSocket) -> Option<Stamped> {
    let mut buffer = [0; 2_048];
    let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).ok()?;
    let at = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(UNIX_EPOCH + Duration::from(time)),
        _ => None,
    })?;
    let length = message.bytes;
    if length < 9 {
        return None;
    }
    let number = buffer.first_chunk().map_or(0, |bytes: &[u8; 8]| u64::from_be_bytes(*bytes));
    Some(Stamped { at, number, tag: buffer.get(8).copied().unwrap_or_default() })
}

/// Sends numbered datagrams at a rate, from a namespace, until it is dropped.
pub struct Sender {
    sent: Arc<std::sync::atomic::AtomicU64>,
    _threads: Threads,
}

impl Sender {
    /// `tag` marks the sender.
    pub fn send(net: &Net, to: (&str, u16), tag: u8, per_second: u32) -> Result<Self> {
        let socket = net.run(|| UdpSocket::bind("0.0.0.0:0"))?;
        let to: std::net::SocketAddr = format!("{}:{}", to.0, to.1).parse()?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let mut payload = [0_u8; 64];
            payload[8] = tag;
            let mut number = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                let due = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
                    * u64::from(per_second)
                    / 1_000_000;
                while number < due {
                    payload[..8].copy_from_slice(&number.to_be_bytes());
                    let _ = socket.send_to(&payload, to);
                    number += 1;
                }
                count.store(number, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(Self { sent, _threads: Threads { stop, threads: vec![thread] } })
    }

    /// How many were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}
