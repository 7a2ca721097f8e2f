//! When clients that are sent away come back (spec: openvpn-protocol §9.5): not all at once, and not each second for ever.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use crate::world::pki::client;
use crate::world::{Told, World};
use gateway::Limits;
use openvpn::client::{Line, SessionConfig};

/// Clients that are up, each at an address of its own.
fn crowd(world: &mut World, size: u16, config: &SessionConfig) -> Vec<usize> {
    let first = u16::try_from(world.clients.len()).unwrap();
    let at = |n: u16| SocketAddr::from(([192, 0, 2, 1], 1_000 + n));
    let all: Vec<usize> =
        (first..first + size).map(|n| world.client_at(at(n), &client(0), config.clone())).collect();
    world.run(Duration::from_secs(4));
    assert!(all.iter().all(|it| world.clients[*it].pushed.is_some()));
    all
}

/// When a client comes back, in seconds from its farewell: by the time it was told, else by its line's habit.
fn returns(world: &World, client: usize) -> u32 {
    match world.clients[client].told.as_ref().unwrap() {
        Told::Restart(_) => 1,
        Told::Rejected(text) => {
            let time = text.strip_prefix("TEMP[backoff ").and_then(|rest| rest.split(',').next());
            time.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn those_sent_away_together_come_back_one_after_the_other() {
    for disassociate in [false, true] {
        let mut world = World::serving_within(Limits { max_returns_per_s: 5, ..Limits::default() }, &[1]);
        let old = SessionConfig { push_request_after: Duration::ZERO, ..Line::V2_5.config() };
        crowd(&mut world, 1, &old);
        crowd(&mut world, 23, &SessionConfig::default());
        if disassociate {
            world.endpoint().associations.clear();
            world.apply();
        } else {
            world.drain();
        }
        world.run(Duration::from_secs(3));
        let mut at: Vec<u32> = (0..24).map(|it| returns(&world, it)).collect();
        at.sort_unstable();
        let expected = [1, 2, 3, 4, 5].map(|second| [second; 5]).concat();
        assert_eq!(at, expected[..24], "five in each second");
        // A client that knows no times is told what it knows.
        assert_eq!(world.clients[0].told, Some(Told::Restart(String::new())));
    }
}

#[test]
fn the_more_find_no_place_the_later_they_come_back() {
    let mut world = World::serving_within(Limits { max_sessions: 1, ..Limits::default() }, &[1]);
    world.connected(&client(0));
    let mut waiting: Vec<(u64, usize)> = Vec::new();
    let begun = world.now;
    // They come back as told, for a minute; all of them want in at first.
    for n in 0..200 {
        waiting.push((0, n));
    }
    let mut tried = [0_u32; 60];
    for (second, tries) in (0_u64..).zip(&mut tried) {
        let due: Vec<(u64, usize)> = waiting.extract_if(.., |(at, _)| *at <= second).collect();
        *tries = u32::try_from(due.len()).unwrap();
        let mut these = Vec::new();
        for (_, n) in due {
            let port = 2_000 + u16::try_from(n).unwrap();
            world.clients.retain(|it| it.address.port() != port);
            these.push((world.clients.len(), n, port));
            world.client_at(SocketAddr::from(([192, 0, 2, 9], port)), &client(1), SessionConfig::default());
        }
        world.run(Duration::from_secs(1));
        for (_, n, port) in these {
            let it = world.clients.iter().position(|it| it.address.port() == port).unwrap();
            if world.clients[it].told.is_none() {
                world.run(Duration::from_millis(200));
            }
            waiting.push((second + 1 + u64::from(returns(&world, it)), n));
        }
    }
    assert!(world.now.since(begun) >= Duration::from_secs(60));
    let later: u32 = tried.iter().skip(20).sum();
    assert!(tried[0] == 200 && tried.iter().skip(1).all(|tries| *tries <= 60), "{tried:?}");
    assert!(later <= 40 * 25, "each comes a few times a minute: {tried:?}");
    assert!(tried.iter().skip(30).any(|tries| *tries > 0), "and they do come: {tried:?}");
}
