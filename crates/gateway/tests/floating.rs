//! Clients that move to another address, and addresses that two claim (spec: openvpn-protocol §12).
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use crate::world::pki::{client, pki};
use crate::world::{Told, World, udp, udp_back};
use gateway::{DropReason, EndReason};
use openvpn::client::SessionConfig;
use openvpn::data;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A packet of a client, from where it is; whether it passed.
fn passes(world: &mut World, client: usize) -> Result<bool, DropReason> {
    let ip = world.clients[client].ip().unwrap();
    world.send(client, &udp(ip, "10.0.5.5")).map(|packet| packet.is_some())
}

/// Where packets to a client go.
fn sent_to(world: &World, client: usize) -> SocketAddr {
    let ip = world.clients[client].ip();
    world.paths.values().find(|(_, path)| path.addresses.v4 == ip).unwrap().1.path.peer()
}

#[test]
fn an_address_of_somebody_else_is_refused_until_it_is_free() {
    let mut world = World::serving(&[1]);
    let (alice, bob) = (world.connected(&client(0)), world.connected(&client(1)));
    let (home, taken) = (world.clients[alice].address, world.clients[bob].address);
    world.clients[alice].address = taken;
    // The first packet is hers, wherever it comes from; then it is known that she may not be there.
    assert_eq!(passes(&mut world, alice), Ok(true));
    assert_eq!(passes(&mut world, alice), Err(DropReason::FloatRefused));
    assert_eq!((sent_to(&world, alice), sent_to(&world, bob)), (home, taken));
    assert_eq!((world.gateway.stats().floats, world.gateway.stats().floats_refused), (0, 1));
    assert!(world.moved.is_empty());
    // Bob notices nothing, and hers still go home.
    assert_eq!(passes(&mut world, bob), Ok(true));
    let ip = world.clients[alice].ip().unwrap();
    assert_eq!(world.send_down(alice, &udp_back("10.0.5.5", ip)), Ok(()));
    // Back at home, or anywhere else, she is at once.
    world.clients[alice].address = home;
    assert_eq!(passes(&mut world, alice), Ok(true));
    let free: SocketAddr = "203.0.113.9:9".parse().unwrap();
    world.clients[alice].address = free;
    assert_eq!(passes(&mut world, alice), Ok(true));
    assert_eq!((sent_to(&world, alice), world.gateway.stats().floats), (free, 1));
    // Once Bob has left, the address is anybody's; it is asked for again after a second.
    world.run(secs(2));
    world.clients[alice].address = taken;
    assert_eq!(passes(&mut world, alice), Ok(true));
    assert_eq!(passes(&mut world, alice), Err(DropReason::FloatRefused));
    world.clients[bob].session.exit();
    world.drain_client(bob);
    world.flow();
    assert_eq!(passes(&mut world, alice), Err(DropReason::FloatRefused));
    world.run(secs(2));
    assert_eq!(passes(&mut world, alice), Ok(true));
    assert_eq!((sent_to(&world, alice), world.live().len()), (taken, 1));
    assert_eq!(world.moved.last().unwrap().1, taken);
}

#[test]
fn the_same_person_has_one_session_at_an_address() {
    let mut world = World::serving(&[1]);
    let (older, newer) = (world.connected(&client(0)), world.connected(&client(0)));
    let address = world.clients[older].address;
    world.clients[older].sends = false;
    world.clients[newer].address = address;
    assert_eq!(passes(&mut world, newer), Ok(true));
    assert_eq!(world.ends.iter().map(|end| end.reason).collect::<Vec<_>>(), [EndReason::Replaced]);
    assert_eq!((sent_to(&world, newer), world.live().len()), (address, 1));
    assert_eq!(passes(&mut world, newer), Ok(true));
    // Its end says where it was last.
    world.clients[newer].session.exit();
    world.drain_client(newer);
    world.flow();
    assert_eq!((world.ends[1].reason, world.ends[1].peer), (EndReason::ClientExit, address));
}

#[test]
fn another_user_of_the_same_certificate_is_somebody_else() {
    let mut world = World::serving(&[1]);
    let named = |name: &str| SessionConfig {
        username: Some(name.to_owned()),
        password: Some("-".to_owned().into()),
        ..SessionConfig::default()
    };
    let [one, two]: [SocketAddr; 2] = ["192.0.2.1:1", "192.0.2.2:2"].map(|text| text.parse().unwrap());
    let ann = world.client_at(one, &client(0), named("ann"));
    let ben = world.client_at(two, &client(0), named("ben"));
    world.run(secs(3));
    world.clients[ann].address = two;
    assert_eq!(passes(&mut world, ann), Ok(true));
    assert_eq!((world.gateway.stats().floats_refused, world.live().len()), (1, 2));
    assert_eq!((sent_to(&world, ann), sent_to(&world, ben)), (one, two));
}

#[test]
fn a_handshake_at_the_address_goes_on_beside() {
    // Somebody else's, then the same person's: the newer login is where it is, and the same person has one session.
    for (certificate, live) in [(client(1), 2), (client(0), 1)] {
        let mut world = World::serving(&[1]);
        let alice = world.connected(&client(0));
        let address: SocketAddr = "203.0.113.50:50".parse().unwrap();
        let other = world.client_at(address, &certificate, SessionConfig::default());
        for _ in 0..3 {
            let flying = world.wire.remove(0);
            world.deliver(flying);
        }
        assert_eq!(world.gateway.half_open_count(), 1);
        world.clients[alice].address = address;
        assert_eq!(passes(&mut world, alice), Ok(true));
        assert_eq!((sent_to(&world, alice), world.gateway.half_open_count()), (address, 1));
        world.clients[alice].sends = false;
        world.run(secs(3));
        assert!(world.clients[other].pushed.is_some());
        assert_eq!(world.live().len(), live);
        assert_eq!(passes(&mut world, other), Ok(true));
        // Whoever lost the address to somebody else floats to where she is.
        if live == 2 {
            world.clients[alice].address = "203.0.113.51:51".parse().unwrap();
            assert_eq!(passes(&mut world, alice), Ok(true));
            assert_eq!(sent_to(&world, alice), world.clients[alice].address);
        }
    }
}

#[test]
fn an_address_full_of_strangers_makes_place() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    let address: SocketAddr = "203.0.113.60:60".parse().unwrap();
    // Refused ones: their farewells are on their way for seconds, if nobody takes them.
    for _ in 0..6 {
        let stranger = world.client_at(address, &pki().stranger, SessionConfig::default());
        while world.clients[stranger].told.is_none() && !world.wire.is_empty() {
            let flying = world.wire.remove(0);
            world.deliver(flying);
        }
        world.wire.clear();
        world.clients.pop();
    }
    world.clients[alice].address = address;
    assert_eq!(world.send(alice, &data::PING), Ok(None));
    // The control channel has come along: a farewell reaches her.
    world.endpoint().associations.clear();
    world.apply();
    world.run(secs(2));
    assert_eq!(world.clients[alice].told, Some(Told::Restart(String::new())));
}

/// A client that begins anew where it was, and what becomes of the addresses when the former session moves or ends first.
#[test]
fn who_began_anew_gets_the_addresses_of_the_former_session_once() {
    for (former_ends, heir_used) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = World::serving(&[1]);
        let alice = world.connected(&client(0));
        let (address, ip) = (world.clients[alice].address, world.clients[alice].ip().unwrap());
        assert_eq!(passes(&mut world, alice), Ok(true));
        let anew = world.client_at(address, &client(0), SessionConfig::default());
        world.flow();
        assert_eq!(world.clients[anew].ip(), Some(ip));
        // What its client has beyond the tunnel goes on: it comes from the same worker.
        let stays = |world: &World| world.stays.iter().filter(|(_, _, at)| at.has(ip.into())).count();
        assert_eq!(stays(&world), 1);
        // The former one moves meanwhile; the heir is known by its session, not by where it is.
        world.clients[alice].address = "203.0.113.9:9".parse().unwrap();
        assert_eq!(passes(&mut world, alice), Ok(true));
        if former_ends {
            world.clients[alice].session.exit();
            world.drain_client(alice);
            world.flow();
            assert_eq!(world.send_down(anew, &udp_back("10.0.5.5", ip)), Ok(()));
        }
        if heir_used {
            assert_eq!(passes(&mut world, anew), Ok(true));
            assert_eq!(world.live().len(), 1);
            assert_eq!(world.send_down(anew, &udp_back("10.0.5.5", ip)), Ok(()));
        } else {
            world.clients[anew].session.exit();
            world.drain_client(anew);
            world.flow();
        }
        if !former_ends && !heir_used {
            assert_eq!(world.send_down(alice, &udp_back("10.0.5.5", ip)), Ok(()));
        }
        assert_eq!(stays(&world), usize::from(!former_ends || heir_used));
        // Whoever comes next gets other addresses: these are somebody's, or rest.
        let next = world.connected(&client(1));
        assert_ne!(world.clients[next].ip(), Some(ip));
    }
}
