//! The same world with the real TLS instead of the double: certificates are judged twice, by rustls's verifier and
//! at the login.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{Told, World, association, association_id, endpoint, endpoint_id, real, udp};
use gateway::{DropReason, Limits, Rustls};
use openvpn::client::SessionConfig;

/// Shows no certificate.
const NOBODY: usize = usize::MAX;

fn serving() -> World {
    let mut world = World::with(Limits::default(), Box::new(Rustls));
    let mut wanted = endpoint(1);
    wanted.server = real::server();
    wanted.associations.insert(association_id(1), association(1));
    world.desired.endpoints.insert(wanted.id.clone(), Arc::new(wanted));
    world.apply();
    world.set_ready(1, true);
    world
}

fn connect(world: &mut World, n: usize) -> usize {
    let port = 1 + u16::try_from(world.clients.len()).unwrap();
    let address = SocketAddr::from(([198, 51, 100, 7], port));
    let shown = Arc::new(Mutex::new(vec![]));
    world.client_with(endpoint_id(1), address, shown, SessionConfig::default(), real::client_tls(n))
}

#[test]
fn connects_renegotiates_and_is_revoked() {
    let mut world = serving();
    let (alice, bob) = (connect(&mut world, 0), connect(&mut world, 1));
    world.run(Duration::from_secs(3));
    for it in [alice, bob] {
        let ip = world.clients[it].ip().unwrap_or_else(|| panic!("{:?}", world.clients[it].told));
        assert_eq!(world.send(it, &udp(ip, "10.0.5.5")), Ok(Some(udp(ip, "10.0.5.5"))));
        world.clients[it].session.renegotiate(world.now);
        world.drain_client(it);
    }
    world.run(Duration::from_secs(10));
    let ip = world.clients[alice].ip().unwrap();
    assert!(world.send(alice, &udp(ip, "10.0.5.5")).is_ok());
    assert_eq!(world.live().len(), 2);
    world.endpoint().crl = Some(crate::world::pki::crl(&[0], crate::world::EPOCH + 80 * 365 * 86_400).into());
    world.apply();
    world.run(Duration::from_secs(2));
    assert!(matches!(world.clients[alice].told, Some(Told::Rejected(_))));
    assert_eq!(world.send(alice, &udp(ip, "10.0.5.5")), Err(DropReason::NoSendKey));
    let again = connect(&mut world, 0);
    world.run(Duration::from_secs(10));
    assert_eq!((world.clients[again].pushed.clone(), world.live().len()), (None, 1));
}

#[test]
fn without_a_certificate_nobody_comes_in() {
    let mut world = serving();
    let nobody = connect(&mut world, NOBODY);
    world.run(Duration::from_secs(70));
    assert_eq!((world.clients[nobody].pushed.clone(), world.starts.len()), (None, 0));
    assert_eq!((world.gateway.stats().handshakes_failed, world.gateway.half_open_count()), (1, 0));
}
