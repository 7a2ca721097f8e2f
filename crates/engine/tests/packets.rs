//! Packets of real clients through the running engine: both ways, over both workers, and not one after the end.
#![allow(clippy::unwrap_used)] // the helpers here are tests too

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::client::{Authority, Client, Farewell, packet};
use crate::common::{FakeFabric, World, association_id, desired, endpoint, endpoint_id, start_with};
use engine::{Applied, DataPlane, Engine, EngineConfig, SessionEvent};
use gateway::cedar::Decision;
use gateway::desired::{AuthorizationPolicy, Endpoint};
use gateway::{EndReason, EvaluationType};

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

async fn bench(steering: bool, associations: &[u128]) -> Bench {
    let fabric = FakeFabric::default();
    let authority = Authority::new();
    let engine = start_with(EngineConfig { workers: 2, steering, ..EngineConfig::new([9; 32]) }, &fabric);
    let applied = engine.apply(desired(1, [authority.equip(endpoint(1, associations))])).await;
    assert_eq!(applied, Applied { revision: 1, ..Applied::default() });
    let address = engine.snapshot().listeners[&endpoint_id(1)];
    Bench { authority, fabric, engine, address }
}

impl Bench {
    fn connect(&self, count: usize) -> Vec<Client> {
        (0..count).map(|n| Client::connect(&self.authority, self.address, &format!("client-{n}"))).collect()
    }

    /// Waits for this packet to come out of any TUN.
    fn expect(&self, wanted: &[u8]) {
        let end = Instant::now() + SOON;
        loop {
            let world = self.fabric.world.lock().unwrap();
            if world.far.values().any(|queues| World::arrived(queues).iter().any(|packet| packet == wanted)) {
                return;
            }
            drop(world);
            assert!(Instant::now() < end, "lost on the way up: {:?}", self.engine.snapshot());
            std::thread::yield_now();
        }
    }

    /// Puts a packet into one TUN queue, as the network would.
    fn inject(&self, association: u128, queue: usize, packet: &[u8]) {
        let world = self.fabric.world.lock().unwrap();
        rustix::io::write(&world.far[association_id(association).as_str()][queue], packet).unwrap();
    }

    /// Who the fabric was to forget so far: the addresses of each call, once there were that many calls.
    fn forgotten(&self, calls: usize) -> Vec<Vec<Ipv4Addr>> {
        let end = Instant::now() + SOON;
        loop {
            let forgotten = self.fabric.world.lock().unwrap().forgotten.clone();
            if forgotten.len() >= calls {
                assert!(forgotten.iter().all(|(key, _)| key == association_id(11).as_str()));
                let addresses = forgotten.into_iter().map(|(_, clients)| {
                    let mut addresses: Vec<_> = clients.iter().filter_map(|it| it.addresses.v4).collect();
                    addresses.sort();
                    addresses
                });
                return addresses.collect();
            }
            assert!(Instant::now() < end, "{:?}", self.engine.snapshot());
            std::thread::yield_now();
        }
    }

    /// A snapshot that terminates the connections of these clients.
    fn terminating(&self, clients: &[&Client]) -> Endpoint {
        let live = self.engine.live();
        let id = |client: &Client| {
            let it = live.iter().find(|it| it.start.client == client.address().into());
            it.unwrap().start.id.clone()
        };
        let mut wanted = self.authority.equip(endpoint(1, &[11]));
        wanted.terminate.extend(clients.iter().map(|client| id(client)));
        wanted
    }

    /// One packet up, and one down by each queue.
    fn exchange(&self, association: u128, client: &mut Client, text: &str) {
        let address = client.address();
        let up = packet(address, SERVER, text);
        client.send(&up);
        self.expect(&up);
        for queue in 0..2 {
            let down = packet(SERVER, address, &format!("{text} down {queue}"));
            self.inject(association, queue, &down);
            assert_eq!(client.receive(SOON).as_ref(), Some(&down), "{:?}", self.engine.snapshot());
        }
    }
}

#[tokio::test]
async fn packets_pass_both_ways_over_both_workers() {
    for steering in [true, false] {
        let bench = bench(steering, &[11]).await;
        let mut clients = bench.connect(4);
        for (n, client) in clients.iter_mut().enumerate() {
            bench.exchange(11, client, &format!("client {n}"));
        }
        let snapshot = bench.engine.snapshot();
        assert_eq!((snapshot.connections, snapshot.ingress_packets, snapshot.egress_packets), (4, 4, 8));
        // Every client has one queue that is not its worker's.
        assert!(snapshot.handoffs >= 4, "{snapshot:?}");
        let live = bench.engine.live();
        assert_eq!(live.len(), 4);
        for connection in &live {
            assert_eq!((connection.traffic.ingress_packets, connection.traffic.egress_packets), (1, 2));
            assert!(connection.seen_at >= connection.start.established_at);
        }
        let events = bench.engine.take_events();
        let connected = events.iter().filter(|event| matches!(event, SessionEvent::Connected(_))).count();
        assert_eq!((events.len(), connected), (4, 4));
    }
}

#[tokio::test]
async fn clients_without_peer_ids_are_found_by_their_address() {
    let bench = bench(true, &[11]).await;
    // Enough for both sockets to be hit by the kernel's hash.
    for n in 0..8 {
        let mut client = Client::new(&bench.authority, bench.address, &format!("old-{n}"), true);
        client.until(|client| client.pushed.is_some());
        bench.exchange(11, &mut client, &format!("old {n}"));
    }
}

#[tokio::test]
async fn a_client_that_moves_is_followed() {
    let bench = bench(true, &[11]).await;
    let mut client = bench.connect(1).remove(0);
    bench.exchange(11, &mut client, "before");
    for n in 0..4 {
        client.float();
        bench.exchange(11, &mut client, &format!("after {n}"));
    }
}

/// The newest evaluation of a policy stands with who is in, and goes with the policy or with them.
#[tokio::test]
async fn policies_are_told_of_with_who_is_in() {
    let bench = bench(true, &[11]).await;
    let _clients = bench.connect(2);
    assert!(bench.engine.live().iter().all(|live| live.start.evaluation.is_none()));
    bench.engine.take_events();
    let decide = |revision, effect: Option<&str>| {
        let mut wanted = bench.authority.equip(endpoint(1, &[11]));
        let document = effect.map(|effect| format!("{effect}(principal, action, resource);").as_str().into());
        wanted.policy = document.map(|document| AuthorizationPolicy { document, shadow: false });
        bench.engine.apply(desired(revision, [wanted]))
    };
    let evaluated = |event: &SessionEvent| match event {
        SessionEvent::Evaluated(evaluation) => {
            Some((evaluation.verdict.decision, evaluation.evaluation_type))
        }
        _ => None,
    };
    decide(2, Some("permit")).await;
    let told: Vec<_> = bench.engine.take_events().iter().map(evaluated).collect();
    assert_eq!(told, [Some((Decision::Permit, EvaluationType::Periodic)); 2]);
    for live in bench.engine.live() {
        assert_eq!(live.start.evaluation.unwrap().connection, live.start.id);
    }
    decide(3, None).await;
    assert!(bench.engine.live().iter().all(|live| live.start.evaluation.is_none()));
    assert!(bench.engine.take_events().is_empty());
    decide(4, Some("forbid")).await;
    let events = bench.engine.take_events();
    let denied = |event: &SessionEvent| match event {
        SessionEvent::Ended(end) => {
            end.evaluation.as_ref().is_some_and(|of| of.connection == end.id && !of.passes())
        }
        _ => false,
    };
    let count = |holds: &dyn Fn(&SessionEvent) -> bool| events.iter().filter(|event| holds(event)).count();
    assert_eq!((count(&|event| evaluated(event).is_some()), count(&denied), events.len()), (2, 2, 4));
}

#[tokio::test]
async fn what_is_not_allowed_does_not_pass() {
    let bench = bench(true, &[11]).await;
    let mut clients = bench.connect(2);
    let (a, b) = (clients[0].address(), clients[1].address());
    clients[0].send(&packet(b, SERVER, "spoofed"));
    clients[0].send(&packet(a, b, "to another client without a local route"));
    let last = packet(a, SERVER, "allowed");
    clients[0].send(&last);
    bench.expect(&last);
    bench.inject(11, 0, &packet(SERVER, Ipv4Addr::new(10, 8, 3, 3), "nobody's"));
    bench.inject(11, 0, &packet(SERVER, Ipv4Addr::new(192, 168, 0, 1), "no client's"));
    bench.inject(11, 0, b"\x60 no IPv4");
    bench.exchange(11, &mut clients[1], "still works");
    let drops = bench.engine.snapshot().drops;
    for (reason, count) in [("spoofed", 1), ("no-route", 1), ("no-such-address", 2), ("not-ip", 1)] {
        assert_eq!(drops[reason], count, "{reason}: {drops:?}");
    }
    assert_eq!(bench.engine.snapshot().ingress_packets, 2);
}

#[tokio::test]
async fn after_the_last_disassociation_nothing_passes() {
    let bench = bench(true, &[11]).await;
    let mut clients = bench.connect(4);
    bench.exchange(11, &mut clients[0], "before");
    bench.engine.take_events();
    let mut later = Client::new(&bench.authority, bench.address, "late", false);
    // Traffic while it happens.
    let chatter = packet(clients[0].address(), SERVER, "chatter");
    let apply = bench.engine.apply(desired(2, [bench.authority.equip(endpoint(1, &[]))]));
    let mut apply = std::pin::pin!(apply);
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
    assert_eq!(applied, Applied { revision: 2, ..Applied::default() });
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());

    // Everybody's end is known by now, and its counters do not move any more.
    let ended: Vec<_> = bench.engine.take_events();
    assert_eq!(ended.len(), 4);
    let SessionEvent::Ended(end) = &ended[0] else { panic!("{ended:?}") };
    assert_eq!(end.reason, EndReason::Disassociated);
    let carried: u64 = ended
        .iter()
        .map(|event| match event {
            SessionEvent::Ended(end) => end.counters.read().ingress_packets,
            other => panic!("{other:?}"),
        })
        .sum();
    let arrived = |world: &World| World::arrived(&world.gone).len();
    let before = arrived(&bench.fabric.world.lock().unwrap());
    // One came out and was taken by `exchange`.
    assert_eq!(u64::try_from(before).unwrap() + 1, carried);
    assert!(bench.engine.live().is_empty());

    // Nothing goes in any more, nothing comes back, nobody new gets in, and the port is closed.
    for client in &mut clients {
        assert_eq!(client.farewell, Some(Farewell::Restart(String::new())));
        client.send(&chatter);
        while client.turn(SILENCE) {}
        assert_eq!(client.receive(SILENCE), None);
    }
    while later.turn(SILENCE) {}
    assert_eq!(later.pushed, None);
    assert_eq!(arrived(&bench.fabric.world.lock().unwrap()), 0);
    assert_eq!(bench.engine.snapshot().farewells_unacknowledged, 0);
    assert!(std::net::UdpSocket::bind(bench.address).is_ok());

    // And all is well again once it is associated again.
    assert!(
        bench.engine.apply(desired(3, [bench.authority.equip(endpoint(1, &[12]))])).await.failures.is_empty()
    );
    let address = bench.engine.snapshot().listeners[&endpoint_id(1)];
    let mut again = Client::connect(&bench.authority, address, "again");
    bench.exchange(12, &mut again, "again");
}

#[tokio::test]
async fn one_of_two_associations_takes_only_its_own_sessions_along() {
    let bench = bench(true, &[11, 12]).await;
    let mut clients = bench.connect(4);
    let live = bench.engine.live();
    let on = |address: Ipv4Addr| {
        let connection = live.iter().find(|connection| connection.start.client == address.into()).unwrap();
        if connection.start.association == association_id(11) { 11 } else { 12 }
    };
    let homes: Vec<u128> = clients.iter().map(|client| on(client.address())).collect();
    assert_eq!(homes.iter().filter(|home| **home == 11).count(), 2, "spread evenly: {homes:?}");
    bench.engine.apply(desired(2, [bench.authority.equip(endpoint(1, &[12]))])).await;
    for (client, home) in clients.iter_mut().zip(&homes) {
        if *home == 12 {
            bench.exchange(12, client, "stays");
            assert_eq!(client.farewell, None);
        } else {
            client.send(&packet(client.address(), SERVER, "too late"));
            bench.inject(12, 0, &packet(SERVER, client.address(), "too late"));
            client.until(|client| client.farewell.is_some());
            assert_eq!(
                (client.farewell.clone(), client.receive(SILENCE)),
                (Some(Farewell::Restart(String::new())), None)
            );
        }
    }
    let world = bench.fabric.world.lock().unwrap();
    assert!(World::arrived(&world.gone).is_empty());
    assert!(world.far.values().all(|queues| World::arrived(queues).is_empty()));
}

#[tokio::test]
async fn a_terminated_connection_ends_alone_and_a_revoked_rule_at_once() {
    let bench = bench(true, &[11]).await;
    let mut clients = bench.connect(2);
    let live = bench.engine.live();
    let id = |client: &Client| {
        let connection = live.iter().find(|connection| connection.start.client == client.address().into());
        connection.unwrap().start.id.clone()
    };
    let mut wanted = bench.authority.equip(endpoint(1, &[11]));
    wanted.terminate.insert(id(&clients[0]));
    bench.engine.apply(desired(2, [wanted.clone()])).await;
    clients[0].until(|client| client.farewell.is_some());
    assert_eq!(clients[0].farewell, Some(Farewell::Halt(String::new())));
    bench.exchange(11, &mut clients[1], "lives");

    wanted.rules.clear();
    bench.engine.apply(desired(3, [wanted])).await;
    let (address, mut revoked) = (clients[1].address(), clients.remove(1));
    revoked.send(&packet(address, SERVER, "up"));
    bench.inject(11, 0, &packet(SERVER, address, "down"));
    assert_eq!(revoked.receive(SILENCE), None);
    let end = Instant::now() + SOON;
    while bench.engine.snapshot().drops["no-rule"] < 2 {
        assert!(Instant::now() < end, "{:?}", bench.engine.snapshot());
        std::thread::yield_now();
    }
    assert_eq!((revoked.farewell, bench.engine.snapshot().connections), (None, 1));
}

#[tokio::test]
async fn what_is_forbidden_ends_while_the_fabric_is_slow() {
    let bench = bench(true, &[11]).await;
    let mut clients = bench.connect(2);
    // A second association is on its way, and the fabric takes its time.
    let held = bench.fabric.gate.lock().unwrap();
    let slow = bench.engine.apply(desired(2, [bench.authority.equip(endpoint(1, &[11, 12]))]));
    let mut slow = std::pin::pin!(slow);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(slow.as_mut().poll(&mut context).is_pending());
    while bench.fabric.adding.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    let end = bench.engine.apply(desired(3, [bench.authority.equip(endpoint(1, &[12]))]));
    let mut end = std::pin::pin!(end);
    assert!(end.as_mut().poll(&mut context).is_pending());
    for client in &mut clients {
        client.until(|client| client.farewell.is_some());
        client.send(&packet(client.address(), SERVER, "too late"));
        bench.inject(11, 0, &packet(SERVER, client.address(), "too late"));
        assert_eq!(client.receive(SILENCE), None);
    }
    assert!(end.as_mut().poll(&mut context).is_pending(), "nothing is called done before it is");
    drop(held);
    assert_eq!((slow.await.revision, end.await.revision), (2, 3));
    let world = bench.fabric.world.lock().unwrap();
    assert!(World::arrived(&world.gone).is_empty());
    assert_eq!(world.far.len(), 1);
    drop(world);
    let mut again = Client::connect(&bench.authority, bench.address, "again");
    bench.exchange(12, &mut again, "again");
}

#[tokio::test]
async fn draining_says_farewell_to_all() {
    let bench = bench(true, &[11]).await;
    let mut clients = bench.connect(3);
    let drained = bench.engine.drain();
    let mut drained = std::pin::pin!(drained);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while drained.as_mut().poll(&mut context).is_pending() {
        for client in &mut clients {
            client.turn(Duration::from_millis(1));
        }
    }
    for client in &mut clients {
        client.until(|client| client.farewell.is_some());
        assert_eq!(client.farewell, Some(Farewell::Restart(String::new())));
    }
    let events = bench.engine.take_events();
    assert_eq!(events.iter().filter(|event| matches!(event, SessionEvent::Ended(_))).count(), 3);
    assert!(bench.fabric.world.lock().unwrap().far.is_empty());
}

#[tokio::test]
async fn the_fabric_is_told_who_has_left_once_and_of_nobody_else() {
    let bench = bench(true, &[11]).await;
    let mut clients = bench.connect(6);
    let at: Vec<Ipv4Addr> = clients.iter().map(Client::address).collect();
    clients[0].float();
    bench.exchange(11, &mut clients[0], "moved");
    clients[1].exit();
    // Not who moved: that was before.
    assert_eq!(bench.forgotten(1), [vec![at[1]]]);
    // Many at once are one call; each comes by the queue that its packets came by.
    let wanted = bench.terminating(&[&clients[2], &clients[3], &clients[4]]);
    bench.engine.apply(desired(2, [wanted])).await;
    assert_eq!(bench.forgotten(2), [vec![at[1]], vec![at[2], at[3], at[4]]]);
    let queues: Vec<u16> =
        bench.fabric.world.lock().unwrap().forgotten[1].1.iter().map(|it| it.queue).collect();
    assert!(queues.contains(&0) && queues.contains(&1), "{queues:?}");
    // Whoever is there goes with the association.
    bench.engine.apply(desired(3, [bench.authority.equip(endpoint(1, &[]))])).await;
    assert_eq!(bench.forgotten(2).len(), 2);
    assert!(bench.fabric.world.lock().unwrap().far.is_empty());
}

#[tokio::test]
async fn nobody_waits_while_the_fabric_forgets() {
    let bench = bench(true, &[11]).await;
    let mut clients = bench.connect(4);
    let at: Vec<Ipv4Addr> = clients.iter().map(Client::address).collect();
    let held = bench.fabric.gate.lock().unwrap();
    clients[0].exit();
    assert_eq!(bench.forgotten(1), [vec![at[0]]]);
    // It is at that now. Others come, and go, and are told so.
    let mut late = Client::connect(&bench.authority, bench.address, "late");
    bench.exchange(11, &mut late, "late");
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for (revision, n) in [(2, 1), (3, 2)] {
        let wanted = bench.terminating(&[&clients[n]]);
        let mut apply = std::pin::pin!(bench.engine.apply(desired(revision, [wanted])));
        let until = Instant::now() + SOON;
        while apply.as_mut().poll(&mut context).is_pending() {
            assert!(Instant::now() < until, "{:?}", bench.engine.snapshot());
            clients[n].turn(Duration::from_millis(1));
        }
        clients[n].until(|client| client.farewell.is_some());
    }
    let end = bench.engine.apply(desired(4, [bench.authority.equip(endpoint(1, &[12]))]));
    let mut end = std::pin::pin!(end);
    assert!(end.as_mut().poll(&mut context).is_pending());
    for client in [&mut clients[3], &mut late] {
        client.until(|client| client.farewell.is_some());
    }
    assert_eq!(bench.forgotten(1).len(), 1, "one call at a time");
    drop(held);
    assert_eq!(end.await.revision, 4);
    let mut again = Client::connect(&bench.authority, bench.address, "again");
    bench.exchange(12, &mut again, "again");
}
