//! Clients over TCP, friendly and hostile, at the running engine.
#![allow(clippy::unwrap_used, clippy::panic)] // the helpers here are tests too

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::client::{Authority, Client, Farewell, packet};
use crate::common::{FakeFabric, World, association_id, desired, endpoint, endpoint_id, start_with};
use engine::{DataPlane, Engine, EngineConfig, SessionEvent, StreamLimits};
use gateway::EndReason;
use model::Transport;

const SERVER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 10);
/// Longest wait for something that comes.
const SOON: Duration = Duration::from_secs(5);
/// How long nothing must come to be called nothing.
const SILENCE: Duration = Duration::from_millis(100);

struct Bench {
    authority: Authority,
    fabric: FakeFabric,
    engine: Arc<Engine>,
    address: SocketAddr,
}

async fn bench(streams: StreamLimits) -> Bench {
    let fabric = FakeFabric::default();
    let authority = Authority::new();
    let engine = start_with(EngineConfig { workers: 2, streams, ..EngineConfig::new([9; 32]) }, &fabric);
    let applied = engine.apply(desired(1, [tcp(&authority, &[11])])).await;
    assert!(applied.failures.is_empty(), "{applied:?}");
    let address = engine.snapshot().listeners[&endpoint_id(1)];
    Bench { authority, fabric, engine, address }
}

fn tcp(authority: &Authority, associations: &[u128]) -> gateway::desired::Endpoint {
    let mut wanted = authority.equip(endpoint(1, associations));
    wanted.transport = Transport::Tcp;
    wanted
}

impl Bench {
    fn connect(&self, name: &str, v1: bool) -> Client {
        let mut client = Client::over_tcp(&self.authority, self.address, name, v1);
        client.until(|client| client.pushed.is_some());
        client
    }

    fn inject(&self, queue: usize, packet: &[u8]) {
        let world = self.fabric.world.lock().unwrap();
        rustix::io::write(&world.far[association_id(11).as_str()][queue], packet).unwrap();
    }

    /// One packet up, and one down by each queue.
    fn exchange(&self, client: &mut Client, text: &str) {
        let address = client.address();
        let up = packet(address, SERVER, text);
        client.send(&up);
        self.wait(|| {
            let world = self.fabric.world.lock().unwrap();
            world.far.values().any(|queues| World::arrived(queues).contains(&up))
        });
        for queue in 0..2 {
            let down = packet(SERVER, address, &format!("{text} down {queue}"));
            self.inject(queue, &down);
            assert_eq!(client.receive(SOON).as_ref(), Some(&down), "{:?}", self.engine.snapshot());
        }
    }

    fn wait(&self, holds: impl Fn() -> bool) {
        let end = Instant::now() + SOON;
        while !holds() {
            assert!(Instant::now() < end, "{:?}", self.engine.snapshot());
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn packets_pass_both_ways_over_both_workers() {
    let bench = bench(StreamLimits::default()).await;
    // Enough for both listeners to be hit by the kernel's hash; those without peer ids among them.
    let mut clients: Vec<_> = (0..10).map(|n| bench.connect(&format!("client-{n}"), n % 3 == 0)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        bench.exchange(client, &format!("client {n}"));
    }
    let snapshot = bench.engine.snapshot();
    assert_eq!((snapshot.connections, snapshot.streams_open, snapshot.ingress_packets), (10, 10, 10));
    let live = bench.engine.live();
    assert!(live.iter().all(|connection| connection.traffic.egress_packets == 2));
    // A packet that says it is another's is not.
    let other = packet(clients[0].address(), SERVER, "not mine");
    clients[1].send(&other);
    bench.wait(|| bench.engine.snapshot().drops["spoofed"] == 1);
}

#[tokio::test]
async fn a_closed_connection_ends_its_session_at_once() {
    let bench = bench(StreamLimits::default()).await;
    let (gone, mut stays) = (bench.connect("gone", false), bench.connect("stays", false));
    let id = bench
        .engine
        .live()
        .iter()
        .find(|it| it.start.client == gone.address().into())
        .unwrap()
        .start
        .id
        .clone();
    bench.engine.take_events();
    let address = gone.address();
    drop(gone);
    bench.wait(|| bench.engine.snapshot().connections == 1);
    bench.wait(|| !bench.fabric.world.lock().unwrap().forgotten.is_empty());
    let forgotten = bench.fabric.world.lock().unwrap().forgotten.clone();
    let [(_, clients)] = &forgotten[..] else { panic!("{forgotten:?}") };
    assert_eq!(clients.iter().map(|it| it.addresses).collect::<Vec<_>>(), [address.into()]);
    let events = bench.engine.take_events();
    let [SessionEvent::Ended(end)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&end.id, end.reason), (&id, EndReason::Disconnected));
    bench.exchange(&mut stays, "goes on");
    bench.wait(|| bench.engine.snapshot().streams_open == 1);
}

#[tokio::test]
async fn after_the_last_disassociation_nothing_passes_and_connections_are_refused() {
    let bench = bench(StreamLimits::default()).await;
    let mut clients: Vec<_> = (0..4).map(|n| bench.connect(&format!("client-{n}"), false)).collect();
    bench.exchange(&mut clients[0], "before");
    bench.engine.take_events();
    let mut half = Client::over_tcp(&bench.authority, bench.address, "half", false);
    half.turn(Duration::from_millis(1));
    let chatter = packet(clients[0].address(), SERVER, "chatter");
    let wanted = desired(2, [tcp(&bench.authority, &[])]);
    let mut apply = std::pin::pin!(bench.engine.apply(wanted));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let started = Instant::now();
    let applied = loop {
        clients[0].send(&chatter);
        for client in &mut clients {
            client.turn(Duration::from_millis(1));
        }
        if let std::task::Poll::Ready(applied) = apply.as_mut().poll(&mut context) {
            break applied;
        }
    };
    assert!(applied.failures.is_empty() && started.elapsed() < Duration::from_secs(1));
    assert_eq!(bench.engine.take_events().len(), 4);
    let refused = TcpStream::connect(bench.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(bench.engine.snapshot().streams_open, 0);
    World::arrived(&bench.fabric.world.lock().unwrap().gone);
    for client in &mut clients {
        client.until(|client| client.is_closed());
        assert_eq!(client.farewell, Some(Farewell::Restart(String::new())));
        client.send(&chatter);
    }
    half.until(|client| client.is_closed());
    assert_eq!(half.pushed, None);
    assert!(World::arrived(&bench.fabric.world.lock().unwrap().gone).is_empty());
    // The address is free, and good again.
    drop(TcpListener::bind(bench.address).unwrap());
    let applied = bench.engine.apply(desired(3, [tcp(&bench.authority, &[11])])).await;
    assert!(applied.failures.is_empty());
    let address = bench.engine.snapshot().listeners[&endpoint_id(1)];
    let mut again = Client::over_tcp(&bench.authority, address, "again", false);
    again.until(|client| client.pushed.is_some());
    bench.exchange(&mut again, "again");
}

#[tokio::test]
async fn a_terminated_client_is_told_and_its_connection_closed() {
    let bench = bench(StreamLimits::default()).await;
    let (mut ends, mut stays) = (bench.connect("ends", false), bench.connect("stays", false));
    let live = bench.engine.live();
    let mut wanted = tcp(&bench.authority, &[11]);
    let id = live.iter().find(|it| it.start.client == ends.address().into()).unwrap().start.id.clone();
    wanted.terminate.insert(id);
    bench.engine.apply(desired(2, [wanted])).await;
    ends.until(|client| client.is_closed());
    assert_eq!(ends.farewell, Some(Farewell::Halt(String::new())));
    bench.exchange(&mut stays, "goes on");
}

#[tokio::test]
async fn draining_says_farewell_to_all() {
    let bench = bench(StreamLimits::default()).await;
    let mut clients: Vec<_> = (0..3).map(|n| bench.connect(&format!("client-{n}"), false)).collect();
    let mut drained = std::pin::pin!(bench.engine.drain());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while drained.as_mut().poll(&mut context).is_pending() {
        for client in &mut clients {
            client.turn(Duration::from_millis(1));
        }
    }
    for client in &mut clients {
        client.until(|client| client.is_closed());
        assert_eq!(client.farewell, Some(Farewell::Restart(String::new())));
    }
    assert!(TcpStream::connect(bench.address).is_err());
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_data_but_neither_frames_nor_control() {
    let bench = bench(StreamLimits::default()).await;
    let (mut stalled, mut other) = (bench.connect("stalled", false), bench.connect("other", false));
    let address = stalled.address();
    let big = "x".repeat(1300);
    let mut given = 0_u32;
    let end = Instant::now() + Duration::from_secs(20);
    // Until it has lost some: socket buffers hold much.
    while bench.engine.snapshot().drops["stream-full"] < 200 {
        assert!(Instant::now() < end, "{:?}", bench.engine.snapshot());
        let world = bench.fabric.world.lock().unwrap();
        for _ in 0..32 {
            let down = packet(SERVER, address, &format!("{given} {big}"));
            given += u32::from(rustix::io::write(&world.far[association_id(11).as_str()][0], &down).is_ok());
        }
    }
    // Nobody else is held up.
    bench.exchange(&mut other, "meanwhile");
    let mut wanted = tcp(&bench.authority, &[11]);
    let live = bench.engine.live();
    wanted
        .terminate
        .insert(live.iter().find(|it| it.start.client == address.into()).unwrap().start.id.clone());
    bench.engine.apply(desired(2, [wanted])).await;
    // What was queued arrives whole and in order, and the farewell behind it.
    let (mut last, mut came) = (None, 0);
    stalled.until(|client| client.farewell.is_some());
    while let Some(inner) = stalled.receive(SILENCE) {
        let text = std::str::from_utf8(&inner[28..]).unwrap();
        let number: u32 = text.split(' ').next().unwrap().parse().unwrap();
        assert!(last < Some(number) && text.ends_with(&big));
        (last, came) = (Some(number), came + 1);
    }
    assert_eq!(stalled.farewell, Some(Farewell::Halt(String::new())));
    assert!(came > 64 && came < given, "{came} of {given}");
}

#[tokio::test]
async fn frames_may_come_in_any_pieces() {
    let bench = bench(StreamLimits::default()).await;
    let mut client = bench.connect("slow", false);
    let address = client.address();
    let ups: Vec<_> =
        (0..20).map(|n| packet(address, SERVER, &format!("{n} {}", "y".repeat(n * 60)))).collect();
    let bytes: Vec<u8> = ups.iter().flat_map(|up| client.framed(up)).collect();
    for piece in bytes.chunks(97) {
        client.write(piece);
        std::thread::yield_now();
    }
    let mut arrived = Vec::new();
    let end = Instant::now() + SOON;
    while arrived.len() < ups.len() {
        assert!(Instant::now() < end, "{}", arrived.len());
        let world = bench.fabric.world.lock().unwrap();
        arrived.extend(world.far.values().flat_map(|queues| World::arrived(queues)));
    }
    assert_eq!(arrived, ups);
}

/// Whether the server closes the connection after these bytes, and how it is then counted.
fn closes(bench: &Bench, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(bench.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[tokio::test]
async fn what_no_client_sends_closes_the_connection() {
    let bench = bench(StreamLimits::default()).await;
    let mut stays = bench.connect("stays", false);
    for (what, bytes) in [
        ("an empty frame", &[0, 0][..]),
        ("one that is too long", &[0x10, 1, 7 << 3]),
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01"),
        ("an unknown opcode", &[0, 1, 0xff]),
        ("data before anything else", &[0, 4, 0x48, 0, 0, 0]),
        ("a reset that is cut", &[0, 3, 0x38, 1, 2]),
        ("not a reset", &[0, 14, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 1]),
    ] {
        assert!(closes(&bench, bytes), "{what}");
    }
    // One with a session is closed too, where the stream cannot be made sense of any more.
    let mut broken = bench.connect("broken", false);
    broken.write(&[0, 0, 1, 2, 3]);
    broken.until(|client| client.is_closed());
    bench.wait(|| bench.engine.snapshot().connections == 1);
    bench.exchange(&mut stays, "goes on");
    assert!(bench.engine.snapshot().streams["malformed"] >= 5, "{:?}", bench.engine.snapshot());
}

#[tokio::test]
async fn silence_and_crowds_are_bounded() {
    let limits = StreamLimits {
        max_waiting_per_source: 3,
        first_packet_timeout: Duration::from_millis(200),
        ..StreamLimits::default()
    };
    let bench = bench(limits).await;
    let mut clients: Vec<_> = (0..5).map(|n| bench.connect(&format!("client-{n}"), false)).collect();
    let idle: Vec<_> = (0..3).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
    bench.wait(|| bench.engine.snapshot().streams["accepted"] == 8);
    // A fourth that waits is one too many, whatever it sends.
    assert!(closes(&bench, &[0]));
    assert_eq!(bench.engine.snapshot().streams["refused"], 1);
    // Those that say nothing go; half a frame is nothing.
    (&idle[0]).write_all(&[0, 14, 0x38]).unwrap();
    for mut stream in idle {
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
    }
    bench.wait(|| bench.engine.snapshot().streams["silent"] == 3);
    let mut late = bench.connect("late", false);
    bench.exchange(&mut late, "there is room again");
    bench.exchange(&mut clients[4], "nobody with a session minded");
}
