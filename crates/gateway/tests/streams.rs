//! Clients over TCP: a connection carries one session, and either's end is the other's.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use crate::world::pki::client;
use crate::world::{Told, World, association_id, endpoint_id, udp, udp_back};
use gateway::{DropReason, EndReason, Limits};
use model::Transport;
use openvpn::client::SessionConfig;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A world whose endpoint is served over TCP.
fn over_tcp() -> World {
    let mut world = World::serving(&[]);
    let mut wanted = crate::world::endpoint(2);
    wanted.transport = Transport::Tcp;
    wanted.associations = [(association_id(7), crate::world::association(7))].into();
    world.desired.endpoints.insert(wanted.id.clone(), Arc::new(wanted));
    world.apply();
    world.set_ready(7, true);
    world
}

fn connect(world: &mut World, certificate: &[u8], port: u16, config: SessionConfig) -> usize {
    let address = ([198, 51, 100, 9], port).into();
    let client = world.client_to(endpoint_id(2), address, certificate, config);
    world.run(secs(3));
    client
}

#[test]
fn connects_without_a_cookie_on_the_connections_worker() {
    let mut world = over_tcp();
    let old = SessionConfig { peer_info: "IV_VER=2.3\nIV_NCP=2\n".to_owned(), ..SessionConfig::default() };
    for (port, config, v2) in [(1, SessionConfig::default(), true), (2, old, false)] {
        let it = connect(&mut world, &client(0), port, config);
        let options = world.clients[it].pushed.clone().unwrap();
        assert!(options.contains(&"socket-flags TCP_NODELAY".to_owned()), "{options:?}");
        assert!(!options.iter().any(|option| option.starts_with("explicit-exit-notify")), "{options:?}");
        assert_eq!(world.clients[it].v2_peer_id.is_some(), v2);
        let ip = world.clients[it].ip().unwrap();
        let packet = udp(ip, "10.0.5.5");
        assert_eq!(world.send(it, &packet), Ok(Some(packet)));
        assert_eq!(world.send_down(it, &udp_back("10.0.5.5", ip)), Ok(()));
    }
    assert_eq!((world.gateway.stats().answers, world.gateway.half_open_count()), (0, 0));
    world.run(secs(120));
    assert_eq!((world.live().len(), world.closed.len()), (2, 0));
    // Nobody else's packets count, and nobody floats.
    let address = ([198, 51, 100, 10], 1).into();
    let ip = world.clients[0].ip().unwrap();
    let mut datagram = Vec::new();
    world.clients[0].channel.seal(&udp(ip, "10.0.5.5"), &mut datagram).unwrap();
    assert_eq!(world.data_up(&mut datagram, address), Err(DropReason::WrongAddress));
}

#[test]
fn a_closed_connection_ends_its_session_at_once() {
    let mut world = over_tcp();
    let it = connect(&mut world, &client(0), 1, SessionConfig::default());
    let id = world.live()[0].id.clone();
    world.hang_up(it);
    assert_eq!(world.end_of(&id), Some(EndReason::Disconnected));
    assert!(world.paths.is_empty());
    assert_eq!(world.gateway.session_count(), 0);
    // In the middle of a handshake.
    let address = ([198, 51, 100, 9], 2).into();
    let half = world.client_to(endpoint_id(2), address, &client(0), SessionConfig::default());
    let first = world.wire.remove(0);
    world.deliver(first);
    assert_eq!(world.gateway.half_open_count(), 1);
    world.hang_up(half);
    assert_eq!((world.gateway.half_open_count(), world.gateway.stats().handshakes_failed), (0, 1));
    world.run(secs(120));
    assert_eq!(world.gateway.poll_timeout(), None, "nothing is left of either");
}

#[test]
fn farewells_are_said_and_then_the_connection_is_closed() {
    for (what, told, at_once) in [
        ("disassociated", Told::Restart(String::new()), true),
        ("deleted", Told::Halt(String::new()), true),
        ("drained", Told::Restart(String::new()), true),
    ] {
        let mut world = over_tcp();
        let it = connect(&mut world, &client(0), 1, SessionConfig::default());
        match what {
            "disassociated" => {
                world.wanted(2).unwrap().associations.clear();
                world.apply();
            }
            "deleted" => {
                world.desired.endpoints.remove(&endpoint_id(2));
                world.apply();
            }
            _ => world.drain(),
        }
        assert!(world.paths.is_empty(), "{what}: nothing passes from now on");
        world.run(secs(1));
        assert_eq!(world.clients[it].told, Some(told), "{what}");
        // Our client acknowledges, so that nothing more is to be said.
        assert_eq!(world.closed.len() == 1, at_once, "{what}");
        assert!(!world.gateway.farewells_pending(&endpoint_id(2)), "{what}");
    }
}

#[test]
fn a_farewell_that_is_never_acknowledged_is_given_up() {
    let mut world = over_tcp();
    connect(&mut world, &client(0), 1, SessionConfig::default());
    world.wanted(2).unwrap().associations.clear();
    world.apply();
    world.wire.clear();
    assert!(world.closed.is_empty());
    for _ in 0..14 {
        world.wire.clear();
        let at = world.now + Duration::from_millis(500);
        world.advance_to(at);
    }
    assert_eq!(world.closed.len(), 1);
}

#[test]
fn a_connection_that_begins_otherwise_is_closed() {
    for (what, bytes) in
        [("garbage", &b"GET / HTTP/1.1"[..]), ("nothing", &[]), ("acknowledgement", &[0x28; 22])]
    {
        let mut world = over_tcp();
        let it = world.client_to(
            endpoint_id(2),
            ([198, 51, 100, 9], 1).into(),
            &client(0),
            SessionConfig::default(),
        );
        world.wire.clear();
        let (stream, address) = (world.clients[it].stream.unwrap(), world.clients[it].address);
        world.gateway.handle_stream(&endpoint_id(2), stream, address, bytes, world.now, world.wall());
        world.drain_gateway();
        assert!(world.closed.contains(&stream), "{what}");
        assert_eq!(world.gateway.half_open_count(), 0);
    }
}

#[test]
fn shut_gates_and_bounds_close_connections() {
    let mut world = over_tcp();
    world.set_ready(7, false);
    connect(&mut world, &client(0), 1, SessionConfig::default());
    assert_eq!((world.closed.len(), world.gateway.stats().gate_closed), (1, 1));

    let mut world = World::new(Limits { max_half_open_per_source: 1, ..Limits::default() });
    let mut wanted = crate::world::endpoint(2);
    wanted.transport = Transport::Tcp;
    wanted.associations = [(association_id(7), crate::world::association(7))].into();
    world.desired.endpoints.insert(wanted.id.clone(), Arc::new(wanted));
    world.apply();
    world.set_ready(7, true);
    for port in 1..=2 {
        let address = ([198, 51, 100, 9], port).into();
        world.client_to(endpoint_id(2), address, &client(0), SessionConfig::default());
        let first = world.wire.remove(0);
        world.deliver(first);
        world.wire.clear();
    }
    assert_eq!((world.closed.len(), world.gateway.half_open_count()), (1, 1));
    // A handshake that goes nowhere is over within its window, and so is its connection.
    world.advance_to(world.now + secs(61));
    assert_eq!((world.closed.len(), world.gateway.half_open_count()), (2, 0));
}

#[test]
fn a_refused_certificate_is_told_so() {
    let mut world = over_tcp();
    let it = connect(&mut world, &crate::world::pki::pki().stranger, 1, SessionConfig::default());
    assert!(matches!(world.clients[it].told, Some(Told::Rejected(_))), "{:?}", world.clients[it].told);
    assert_eq!(world.closed.len(), 1);
}
