//! Scenarios, one by one, on the whole gateway under virtual time.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::pki::{client, pki};
use crate::world::{
    Told, World, association, association_id, endpoint, endpoint_id, route, rule, udp, udp_back,
};
use gateway::desired::{Route, Target};
use gateway::{DropReason, EndReason, Limits, PathNotice};
use openvpn::client::{HandshakeOrder, SessionConfig};
use openvpn::server::TlsFactory;
use openvpn::tls::Tls;
use openvpn::tls::double::{Double, Script};
use openvpn::wire::{AckIds, Control, Opcode};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn connects_and_carries_packets() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    let bob = world.connected(&client(1));
    let options = world.clients[alice].pushed.clone().unwrap();
    let expected = [
        "redirect-gateway def1 bypass-dhcp",
        "block-outside-dns",
        "dhcp-option DOMAIN-ROUTE .",
        "route-gateway 10.9.0.1",
        "topology subnet",
        "ping 1",
        "ping-restart 20",
        "explicit-exit-notify 1",
        "ifconfig 10.9.0.2 255.255.252.0",
        "peer-id 0",
    ];
    assert_eq!(options[..expected.len()], expected);
    let names: Vec<_> = world.live().iter().map(|s| (s.common_name.clone(), s.client.to_string())).collect();
    let names: BTreeSet<_> = names.into_iter().collect();
    let both = [("alice.example", "10.9.0.2"), ("bob.example", "10.9.0.3")];
    assert_eq!(names, both.map(|(n, ip)| (n.to_owned(), ip.to_owned())).into());
    let ip = world.clients[alice].ip().unwrap();
    let packet = udp(ip, "10.0.5.5");
    assert_eq!(world.send(alice, &packet), Ok(Some(packet.clone())));
    assert_eq!(world.send(bob, &packet), Err(DropReason::Spoofed));
    assert_eq!(world.send_down(alice, &udp_back("10.0.5.5", ip)), Ok(()));
    // It stays up: keepalives both ways for two minutes.
    world.run(secs(120));
    assert_eq!(world.live().len(), 2);
    let start = world.live()[0].clone();
    assert_eq!((start.established_at.0 - crate::world::EPOCH, start.association), (0, association_id(1)));
}

#[test]
fn old_and_odd_clients() {
    for (name, config, v2) in [
        (
            "2.4",
            SessionConfig {
                order: HandshakeOrder::AckAlone,
                peer_info: "IV_VER=2.4.12\nIV_PROTO=2\nIV_NCP=2\n".to_owned(),
                ..SessionConfig::default()
            },
            true,
        ),
        (
            "no peer id",
            SessionConfig { peer_info: "IV_VER=2.3\nIV_NCP=2\n".to_owned(), ..SessionConfig::default() },
            false,
        ),
        ("AWS", SessionConfig { dialect: openvpn::km2::Dialect::Aws, ..SessionConfig::default() }, true),
    ] {
        let mut world = World::serving(&[1]);
        world.connected(&client(3));
        let it = world.client_at("198.51.100.9:1".parse().unwrap(), &client(0), config);
        world.run(secs(3));
        let ip = world.clients[it].ip().unwrap_or_else(|| panic!("{name}: {:?}", world.clients[it].told));
        assert_eq!(world.clients[it].v2_peer_id.is_some(), v2, "{name}");
        assert_eq!(world.send(it, &udp(ip, "10.0.5.5")), Ok(Some(udp(ip, "10.0.5.5"))), "{name}");
        let path = world.paths.values().find(|(_, path)| path.addresses == ip.into()).unwrap();
        assert!(v2 || path.1.worker == 0, "{name}: nothing steers DATA_V1");
    }
}

#[test]
fn pushes_what_the_endpoint_says() {
    let mut world = World::serving(&[1]);
    let wanted = world.endpoint();
    wanted.split_tunnel = true;
    wanted.dns_servers = vec!["10.0.0.2".parse().unwrap(), "2001:db8::53".parse().unwrap()];
    let local = Route { destination: "10.9.0.0/22".parse().unwrap(), target: Target::Local };
    let routes = ["10.0.0.0/16", "172.16.8.0/21", "10.0.0.0/16", "2001:db8::/32"].map(route);
    wanted.associations.get_mut(&association_id(1)).unwrap().routes = [&routes[..], &[local]].concat();
    world.apply();
    let alice = world.connected(&client(0));
    let options = world.clients[alice].pushed.clone().unwrap();
    let expected = [
        "dhcp-option DNS 10.0.0.2",
        "dhcp-option DNS6 2001:db8::53",
        "route 10.0.0.0 255.255.0.0",
        "route 172.16.8.0 255.255.248.0",
        "route-gateway 10.9.0.1",
    ];
    assert_eq!(options[..expected.len()], expected);
    // Many rows take several messages; every client gets all of them.
    let many = (0..200).map(|n| route(&format!("172.20.{n}.0/24"))).collect();
    world.endpoint().associations.get_mut(&association_id(1)).unwrap().routes = many;
    world.apply();
    world.run(secs(3));
    assert_eq!(world.clients[alice].told, Some(Told::Restart("[P]".to_owned())));
    let bob = world.connected(&client(1));
    let options = world.clients[bob].pushed.clone().unwrap();
    assert_eq!(options.iter().filter(|o| o.starts_with("route 172.20.")).count(), 200);
    assert!(options.iter().all(|o| o.len() <= 255 && !o.contains(',')));
}

#[test]
fn strangers_are_told_and_nothing_is_given() {
    for certificate in [pki().stranger.clone(), pki().expired.clone(), vec![1, 2, 3]] {
        let mut world = World::serving(&[1]);
        let it = world.client(&certificate);
        world.run(secs(8));
        assert_eq!(world.clients[it].told, Some(Told::Rejected("Client certificate refused".to_owned())));
        assert!(world.starts.is_empty() && world.paths.is_empty());
        assert_eq!(world.gateway.stats().identity_refused, 1);
        assert_eq!((world.gateway.session_count(), world.gateway.half_open_count()), (0, 0));
    }
}

#[test]
fn a_revoked_rule_stops_packets_and_nothing_else() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    let ip = world.clients[alice].ip().unwrap();
    world.endpoint().rules = vec![rule("10.0.6.0/24")];
    world.apply();
    assert_eq!(world.send(alice, &udp(ip, "10.0.5.5")), Err(DropReason::NoRule));
    assert_eq!(world.send_down(alice, &udp_back("10.0.5.5", ip)), Err(DropReason::NoRule));
    assert_eq!(world.send_down(alice, &udp_back("10.0.6.5", ip)), Ok(()));
    world.endpoint().associations.get_mut(&association_id(1)).unwrap().routes = vec![route("10.0.5.0/24")];
    world.apply();
    assert_eq!(world.send(alice, &udp(ip, "10.0.6.5")), Err(DropReason::NoRoute));
    world.run(secs(3));
    assert_eq!((world.live().len(), &world.clients[alice].told), (1, &None));
}

/// The seed behaviour, at every step of the handshake: whatever is under way is refused or swept.
#[test]
fn disassociation_at_every_step() {
    let waits = SessionConfig { peer_info: "IV_PROTO=2\nIV_NCP=2\n".to_owned(), ..SessionConfig::default() };
    let old = SessionConfig { order: HandshakeOrder::AckAlone, ..waits.clone() };
    for (name, config) in
        [("pushed to", SessionConfig::default()), ("asks for its push", waits), ("2.4", old)]
    {
        let mut ends = BTreeSet::new();
        for steps in 0.. {
            match disassociation_after(steps, &config, name) {
                Some(end) => ends.insert(end),
                None => break,
            };
        }
        // The steps covered all three: nothing begun, under way, up.
        assert_eq!(ends, [(true, false), (false, false), (false, true)].into(), "{name}");
    }
}

/// One client, so many packets into its life. Whether it gave up unheard, and whether it was up; `None` once there
/// are no more packets to stop at.
fn disassociation_after(steps: usize, config: &SessionConfig, name: &str) -> Option<(bool, bool)> {
    let mut world = World::serving(&[1]);
    let it = world.client_at("198.51.100.7:1".parse().unwrap(), &client(0), config.clone());
    for _ in 0..steps {
        if world.wire.is_empty() {
            // Its time being over is none of the steps of its life.
            let at = world.next_timeout().filter(|at| at.since(world.now) < secs(3_600))?;
            world.advance_to(at);
        } else {
            let flying = world.wire.remove(0);
            world.deliver(flying);
        }
    }
    let was_up = !world.live().is_empty();
    world.endpoint().associations.clear();
    world.apply();
    assert!(world.paths.is_empty() && world.gateway.session_count() == 0, "{name} after {steps} steps");
    // A late word of the fabric about what is gone opens nothing.
    world.set_ready(1, true);
    world.run(secs(100));
    assert!(world.live().is_empty() && world.paths.is_empty() && world.gateway.session_count() == 0);
    assert_eq!(world.gateway.half_open_count(), 0);
    assert!(!world.gateway.farewells_pending(&endpoint_id(1)));
    assert_eq!(world.gateway.poll_timeout(), None, "{name}: nothing is left behind after {steps} steps");
    let told = world.clients[it].told.clone();
    assert!(matches!(told, Some(Told::Restart(_) | Told::Failed)), "{name} after {steps} steps: {told:?}");
    let ended = world.ends.iter().map(|end| end.reason).next();
    assert_eq!(ended.is_some(), was_up);
    assert!(ended.is_none_or(|reason| reason == EndReason::Disassociated));
    Some((matches!(told, Some(Told::Failed)), was_up))
}

#[test]
fn sessions_spread_over_associations_and_end_with_theirs() {
    let mut world = World::serving(&[1, 2]);
    let clients: Vec<usize> = (0..4).map(|n| world.connected(&client(n))).collect();
    let on = |world: &World, n| world.live().iter().filter(|s| s.association == association_id(n)).count();
    assert_eq!((on(&world, 1), on(&world, 2)), (2, 2));
    world.endpoint().associations.remove(&association_id(2));
    world.apply();
    world.run(secs(2));
    assert_eq!((on(&world, 1), on(&world, 2)), (2, 0));
    let told: Vec<_> = clients.iter().filter(|c| world.clients[**c].told.is_some()).collect();
    assert_eq!(told.len(), 2);
    // Back onto the other one. An association that is not ready gets nobody.
    world.endpoint().associations.insert(association_id(3), association(3));
    world.apply();
    world.connected(&client(0));
    assert_eq!((on(&world, 1), on(&world, 3)), (3, 0));
    world.set_ready(3, true);
    world.connected(&client(0));
    assert_eq!((on(&world, 1), on(&world, 3)), (3, 1));
}

#[test]
fn terminate_ends_one_connection_for_good() {
    let mut world = World::serving(&[1]);
    let (alice, again) = (world.connected(&client(0)), world.connected(&client(0)));
    let id = world.live().iter().find(|s| s.peer == world.clients[alice].address).unwrap().id.clone();
    world.endpoint().terminate.insert(id.clone());
    world.apply();
    assert_eq!(world.end_of(&id), Some(EndReason::Terminated));
    world.run(secs(2));
    assert_eq!(world.clients[alice].told, Some(Told::Halt(String::new())));
    assert_eq!((world.live().len(), &world.clients[again].told), (1, &None));
}

#[test]
fn sessions_last_as_long_as_the_endpoint_lets_them() {
    let mut world = World::serving(&[1]);
    world.endpoint().session_timeout = secs(100);
    world.apply();
    let alice = world.connected(&client(0));
    // Connecting takes three seconds.
    world.run(secs(40));
    let bob = world.connected(&client(1));
    world.run(secs(50));
    assert_eq!((&world.clients[alice].told, world.live().len()), (&None, 2));
    world.run(secs(7));
    let told = Some(Told::Rejected("SESSION: The maximum session duration is reached".to_owned()));
    assert_eq!((&world.clients[alice].told, &world.clients[bob].told), (&told, &None));
    assert_eq!(world.ends[0].reason, EndReason::SessionTimeout);
    // A lower limit holds for sessions that are there; those that may come back by themselves are told so.
    world.endpoint().session_timeout = secs(80);
    world.endpoint().disconnect_on_session_timeout = false;
    world.apply();
    world.run(secs(10));
    assert_eq!(world.clients[bob].told, None);
    world.run(secs(15));
    assert_eq!(world.clients[bob].told, Some(Told::Restart(String::new())));
    // One that is exceeded already ends at once, a higher one lets stay.
    let carol = world.connected(&client(0));
    world.run(secs(30));
    world.endpoint().session_timeout = secs(1_000);
    world.apply();
    world.run(secs(100));
    assert_eq!(world.clients[carol].told, None);
    world.endpoint().session_timeout = secs(60);
    world.apply();
    world.run(secs(2));
    assert_eq!(world.clients[carol].told, Some(Told::Restart(String::new())));
    assert!(world.live().is_empty());
}

#[test]
fn a_banner_is_shown_to_new_sessions_only() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    let long = "x".repeat(150);
    world.endpoint().banner = Some(format!("Say \"hello\", \\user\n{long}\u{e9}\n"));
    world.apply();
    world.run(secs(2));
    assert_eq!(world.clients[alice].told, None, "a banner interrupts nobody");
    let bob = world.connected(&client(1));
    let options = world.clients[bob].pushed.clone().unwrap();
    let echoes: Vec<_> = options.iter().filter_map(|o| o.strip_prefix("echo ")).collect();
    let expected = [
        "msg \"Say \\\"hello\\\"\u{201a} \\\\user\"".to_owned(),
        format!("msg-n \"{}\"", "x".repeat(120)),
        format!("msg \"{}\u{e9}\"", "x".repeat(30)),
        "msg-window \"Message of the network\"".to_owned(),
    ];
    assert_eq!(echoes, expected);
    world.endpoint().banner = Some("\u{1f600}".repeat(1_400));
    world.apply();
    let carol = world.connected(&client(2));
    let options = world.clients[carol].pushed.clone().unwrap();
    assert!(options.iter().all(|o| o.len() <= 255 && !o.contains(',')));
    assert_eq!(options.iter().map(|o| o.matches('\u{1f600}').count()).sum::<usize>(), 1_400);
}

#[test]
fn a_revocation_list_cuts_the_revoked_only() {
    let mut world = World::serving(&[1]);
    let (alice, bob) = (world.connected(&client(0)), world.connected(&client(1)));
    world.endpoint().crl = Some(crate::world::pki::crl(&[0], crate::world::EPOCH + 86_400).into());
    world.apply();
    world.run(secs(2));
    let told = Some(Told::Rejected("Client certificate revoked".to_owned()));
    assert_eq!((&world.clients[alice].told, &world.clients[bob].told), (&told, &None));
    assert_eq!(world.ends[0].reason, EndReason::Revoked);
    let again = world.client(&client(0));
    world.run(secs(3));
    assert!(matches!(world.clients[again].told, Some(Told::Rejected(_))));
    world.connected(&client(2));
    // One that has expired admits nobody, and still cuts no others than those it names.
    world.endpoint().crl = Some(crate::world::pki::crl(&[2], crate::world::EPOCH + 5).into());
    world.apply();
    world.run(secs(2));
    assert_eq!(world.live().len(), 1);
    let dave = world.client(&client(3));
    world.run(secs(3));
    assert!(matches!(world.clients[dave].told, Some(Told::Rejected(_))));
    // One that cannot be read shuts the gate.
    world.endpoint().crl = Some(vec![1, 2, 3].into());
    world.apply();
    let shut = world.gateway.stats().gate_closed;
    world.client(&client(3));
    world.run(secs(1));
    assert_eq!((world.gateway.stats().unreadable_crls, world.live().len()), (1, 1));
    assert!(world.gateway.stats().gate_closed > shut);
}

/// Clients show the authority between theirs and the endpoint's too, which can be revoked as well.
#[test]
fn a_revocation_list_cuts_those_below_a_revoked_authority() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    let chain = vec![pki().below.clone(), pki().sub.clone()];
    let shown = Arc::new(Mutex::new(chain[0].clone()));
    let tls: TlsFactory = Box::new(move || {
        let script = Script { seed: 4_000, certificates: chain.clone(), ..Script::default() };
        Ok(Box::new(Double::client(script)) as Box<dyn Tls>)
    });
    let at = "198.51.100.77:7".parse().unwrap();
    let below = world.client_with(endpoint_id(1), at, shown, SessionConfig::default(), tls);
    world.run(secs(6));
    assert!(world.clients[below].ip().is_some(), "{:?}", world.clients[below].told);
    // One that has expired cuts nobody that it does not name.
    world.endpoint().crl = Some(crate::world::pki::crl(&[2], crate::world::EPOCH + 5).into());
    world.apply();
    world.run(secs(2));
    assert_eq!((&world.clients[alice].told, &world.clients[below].told), (&None, &None));
    let serial = pki().sub_serial.clone();
    world.endpoint().crl = Some(crate::world::pki::crl_of(&[serial], crate::world::EPOCH + 86_400).into());
    world.apply();
    world.run(secs(2));
    let told = Some(Told::Rejected("Client certificate revoked".to_owned()));
    assert_eq!((&world.clients[alice].told, &world.clients[below].told), (&None, &told));
}

#[test]
fn endpoints_end_and_stop_admitting() {
    type Row = (&'static str, fn(&mut World), Told, EndReason);
    let rows: [Row; 6] = [
        (
            "deleted",
            |world| world.desired.endpoints.clear(),
            Told::Halt(String::new()),
            EndReason::EndpointDeleted,
        ),
        (
            "no login",
            |world| world.endpoint().admits = false,
            Told::Restart(String::new()),
            EndReason::NotAdmitted,
        ),
        (
            "other roots",
            |world| world.endpoint().client_roots = vec![pki().stranger.clone()].into(),
            Told::Rejected("Client certificate revoked".to_owned()),
            EndReason::Revoked,
        ),
        (
            "dns in full tunnel",
            |world| world.endpoint().dns_servers = vec!["10.0.0.2".parse().unwrap()],
            Told::Restart("[P]".to_owned()),
            EndReason::Reconfigured,
        ),
        (
            "split tunnel",
            |world| world.endpoint().split_tunnel = true,
            Told::Restart("[P]".to_owned()),
            EndReason::Reconfigured,
        ),
        (
            "another port",
            |world| world.endpoint().listen = Some("192.0.2.1:1194".parse().unwrap()),
            Told::Restart(String::new()),
            EndReason::Reconfigured,
        ),
    ];
    for (name, change, told, reason) in rows {
        let mut world = World::serving(&[1]);
        let alice = world.connected(&client(0));
        change(&mut world);
        world.apply();
        assert_eq!(world.ends.first().map(|end| end.reason), Some(reason), "{name}");
        assert!(world.gateway.farewells_pending(&endpoint_id(1)), "{name}");
        world.run(secs(2));
        assert!(!world.gateway.farewells_pending(&endpoint_id(1)), "{name}");
        assert_eq!(world.clients[alice].told, Some(told), "{name}");
    }
}

/// Each live change (D-2), seen by a client that takes updates and by one that does not: what each is told, and what
/// becomes of its packets.
#[test]
fn route_enforcement_is_told_to_those_who_look_after_it() {
    let mut world = World::serving(&[1]);
    world.endpoint().route_enforcement = true;
    world.apply();
    let enforcing = |updates: bool| SessionConfig {
        peer_info: format!("{}UV_ROUTE_ENFORCEMENT=1\n", if updates { "IV_PROTO=4110\n" } else { "" })
            + &SessionConfig::default().peer_info,
        ..SessionConfig::default()
    };
    let says = |world: &World, it: usize| {
        let options = world.clients[it].pushed.clone().unwrap();
        let said: Vec<_> = options.into_iter().filter(|option| option.contains("ENFORCEMENT")).collect();
        said
    };
    let alice = world.client_at("198.51.100.9:1".parse().unwrap(), &client(0), enforcing(false));
    let updates = world.client_at("198.51.100.9:2".parse().unwrap(), &client(1), enforcing(true));
    let plain = world.connected(&client(2));
    world.run(secs(3));
    assert_eq!(says(&world, alice), ["setenv-safe ROUTE_ENFORCEMENT 1"]);
    assert_eq!(says(&world, updates), ["setenv-safe ROUTE_ENFORCEMENT 1"]);
    assert!(says(&world, plain).is_empty());
    // They come back to be told otherwise, in an update it could not be; the others do not notice.
    world.endpoint().route_enforcement = false;
    world.apply();
    world.run(secs(2));
    assert_eq!(world.clients[alice].told, Some(Told::Restart("[P]".to_owned())));
    assert_eq!(world.clients[updates].told, Some(Told::Restart("[P]".to_owned())));
    assert_eq!(world.clients[plain].told, None);
    let again = world.client_at("198.51.100.9:3".parse().unwrap(), &client(0), enforcing(false));
    world.run(secs(3));
    assert_eq!(says(&world, again), ["setenv-safe ROUTE_ENFORCEMENT 0"]);
}

#[test]
fn live_changes_are_told_or_bring_a_comeback() {
    type Row = (&'static str, fn(&mut World), &'static [&'static str], &'static [&'static str], bool);
    const DNS: &str = "dhcp-option DNS 10.0.0.2";
    // What it is, the change, what is there afterwards and what is not, whether others must come back.
    let rows: [Row; 8] = [
        ("nothing", |_| {}, &[], &[], false),
        (
            "a route",
            |world| {
                let wanted = world.endpoint().associations.get_mut(&association_id(1)).unwrap();
                wanted.routes.push(route("10.7.0.0/16"));
            },
            &["route 10.0.0.0 255.255.0.0", "route 10.7.0.0 255.255.0.0"],
            &[],
            true,
        ),
        (
            "a hundred routes",
            |world| {
                let wanted = world.endpoint().associations.get_mut(&association_id(1)).unwrap();
                wanted.routes.extend((0..100).map(|n| route(&format!("172.16.{n}.0/24"))));
            },
            &[
                "route 10.0.0.0 255.255.0.0",
                "route 172.16.0.0 255.255.255.0",
                "route 172.16.99.0 255.255.255.0",
            ],
            &[],
            true,
        ),
        (
            "no routes",
            |world| world.endpoint().associations.get_mut(&association_id(1)).unwrap().routes.clear(),
            &[],
            &["route 10.0.0.0 255.255.0.0"],
            true,
        ),
        ("dns", |world| world.endpoint().dns_servers = vec!["10.0.0.2".parse().unwrap()], &[DNS], &[], true),
        (
            "full tunnel",
            |world| world.endpoint().split_tunnel = false,
            &["redirect-gateway def1 bypass-dhcp", "block-outside-dns", "dhcp-option DOMAIN-ROUTE ."],
            &["route 10.0.0.0 255.255.0.0"],
            true,
        ),
        (
            "a banner",
            |world| world.endpoint().banner = Some("hello".to_owned()),
            &["echo msg \"hello\""],
            &[],
            false,
        ),
        ("a rule", |world| world.endpoint().rules = vec![rule("10.0.0.0/24")], &[], &[], false),
    ];
    for (name, change, there, not_there, comes_back) in rows {
        let mut world = World::serving(&[1]);
        world.endpoint().split_tunnel = true;
        world.apply();
        // 2.7 closes its device for any update, and hears of a banner with the next one.
        let alone = name == "a banner";
        let line = if alone { openvpn::client::Line::OpenVpn3 } else { openvpn::client::Line::V2_7 };
        let alice = world.client_at("198.51.100.9:4000".parse().unwrap(), &client(0), line.config());
        let line = openvpn::client::Line::V2_7.config();
        let carol = alone.then(|| world.client_at("198.51.100.9:4001".parse().unwrap(), &client(0), line));
        let bob = world.connected(&client(1));
        let before = world.clients[alice].pushed.clone().unwrap();
        let packet = udp(world.clients[alice].ip().unwrap(), "10.0.0.5");
        assert!(world.send(alice, &packet).is_ok(), "{name}");
        change(&mut world);
        world.apply();
        world.run(secs(2));
        let after = world.clients[alice].pushed.clone().unwrap();
        for option in there {
            assert!(after.iter().any(|held| held == option), "{name}: {option} in {after:?}");
        }
        for option in not_there {
            assert!(after.iter().all(|held| held != option), "{name}: {option} in {after:?}");
        }
        assert!(there.len() + not_there.len() > 0 || after == before, "{name}: {after:?}");
        assert_eq!(world.clients[alice].told, None, "{name}: a client that takes updates stays");
        let routed = name != "no routes";
        assert_eq!(world.send(alice, &packet).is_ok(), routed, "{name}");
        let told = comes_back.then(|| Told::Restart("[P]".to_owned()));
        assert_eq!(world.clients[bob].told, told, "{name}: one that takes none");
        let updates = u64::from(there.len() + not_there.len() > 0);
        assert_eq!(world.gateway.stats().push_updates, updates, "{name}");
        if let Some(carol) = carol {
            let knows = |world: &World| {
                world.clients[carol].pushed.clone().unwrap().contains(&"echo msg \"hello\"".to_owned())
            };
            assert!(!knows(&world));
            world.endpoint().dns_servers = vec!["10.0.0.2".parse().unwrap()];
            world.apply();
            world.run(secs(2));
            assert!(knows(&world));
        }
    }
}

#[test]
fn a_new_server_certificate_is_for_new_handshakes() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    world.endpoint().server.fingerprint = [2; 32];
    world.apply();
    world.run(secs(2));
    world.connected(&client(1));
    assert_eq!((world.live().len(), &world.clients[alice].told), (2, &None));
}

#[test]
fn drain_sends_all_away_and_admits_nobody() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    let bob = world.client(&client(1));
    for _ in 0..4 {
        let flying = world.wire.remove(0);
        world.deliver(flying);
    }
    assert_eq!(world.gateway.half_open_count(), 1);
    world.drain();
    world.run(secs(10));
    assert_eq!(world.clients[alice].told, Some(Told::Restart(String::new())));
    assert_eq!(world.clients[bob].pushed, None);
    assert_eq!(world.ends[0].reason, EndReason::Draining);
    world.set_ready(1, true);
    world.client(&client(2));
    world.run(secs(100));
    assert_eq!((world.gateway.session_count(), world.starts.len()), (0, 1));
}

#[test]
fn the_gate_is_shut_until_the_fabric_is_ready() {
    let mut world = World::new(Limits::default());
    let mut wanted = endpoint(1);
    wanted.associations.insert(association_id(1), association(1));
    world.desired.endpoints.insert(wanted.id.clone(), Arc::new(wanted));
    world.apply();
    let early = world.client(&client(0));
    world.run(secs(1));
    assert_eq!((world.gateway.stats().handshakes, world.gateway.stats().answers), (0, 0));
    // Its next try, seconds later, finds the gate open.
    world.set_ready(1, true);
    world.run(secs(10));
    assert!(world.clients[early].pushed.is_some());
    // Shut again while a handshake is under way: it is refused at its login.
    let late = world.client(&client(1));
    let hello = world.wire.remove(0);
    world.deliver(hello);
    world.set_ready(1, false);
    world.run(secs(10));
    assert_eq!((world.live().len(), world.clients[late].pushed.is_some()), (1, false));
}

/// Also where it closed behind somebody who had begun.
#[test]
fn the_gate_is_looked_at_when_somebody_logs_in() {
    let mut world = World::serving(&[1]);
    let it = world.client(&client(0));
    begin(&mut world);
    assert_eq!(world.gateway.half_open_count(), 1);
    world.set_ready(1, false);
    world.run(secs(3));
    assert!(matches!(world.clients[it].told, Some(Told::Restart(_))), "{:?}", world.clients[it].told);
    assert_eq!((world.gateway.stats().gate_refused, world.gateway.session_count()), (1, 0));
}

#[test]
fn exits_and_silence() {
    let mut world = World::serving(&[1]);
    let (alice, bob) = (world.connected(&client(0)), world.connected(&client(1)));
    let id = |world: &World, c: usize| {
        world.starts.values().find(|s| s.peer == world.clients[c].address).unwrap().id.clone()
    };
    let (alice_id, bob_id) = (id(&world, alice), id(&world, bob));
    world.clients[alice].session.exit();
    world.drain_client(alice);
    world.flow();
    assert_eq!(world.end_of(&alice_id), Some(EndReason::ClientExit));
    world.clients[bob].sends = false;
    world.run(secs(39));
    assert_eq!(world.end_of(&bob_id), None);
    world.run(secs(3));
    assert_eq!(world.end_of(&bob_id), Some(EndReason::PingTimeout));
    assert_eq!(world.gateway.session_count(), 0);
    // In band, as clients without cc-exit do; and a worker that lost its path.
    let carol = world.connected(&client(2));
    let goodbye = [&openvpn::data::OCC[..], &[openvpn::data::OCC_EXIT]].concat();
    assert_eq!(world.send(carol, &goodbye), Ok(None));
    assert_eq!(world.end_of(&id(&world, carol)), Some(EndReason::ClientExit));
    let dave = world.connected(&client(3));
    let peer_id = *world.paths.keys().next().unwrap();
    world.gateway.handle_notice(&endpoint_id(2), peer_id, PathNotice::Removed, world.now);
    world.drain_gateway();
    assert_eq!(world.live().len(), 1, "another endpoint's word does not count");
    world.gateway.handle_notice(&endpoint_id(1), peer_id, PathNotice::Removed, world.now);
    world.drain_gateway();
    assert_eq!(world.end_of(&id(&world, dave)), Some(EndReason::WorkerLost));
}

/// What an endpoint has given is remembered when nobody is left and something of it changes.
#[test]
fn an_address_that_was_given_is_not_the_next_one_after_a_change() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    let ip = world.clients[alice].ip();
    world.clients[alice].session.exit();
    world.drain_client(alice);
    world.flow();
    world.run(secs(100));
    assert_eq!(world.gateway.session_count(), 0);
    world.endpoint().dns_servers = vec!["10.0.0.2".parse().unwrap()];
    world.apply();
    let bob = world.connected(&client(1));
    assert!(world.clients[bob].ip().is_some() && world.clients[bob].ip() != ip);
}

#[test]
fn a_closed_session_does_not_come_back_by_its_own_late_packets() {
    let mut world = World::serving(&[1]);
    let alice = world.client(&client(0));
    let mut sent = vec![];
    while !world.wire.is_empty() {
        let flying = world.wire.remove(0);
        sent.extend(flying.to_gateway.then(|| flying.clone()));
        world.deliver(flying);
    }
    world.run(secs(3));
    assert!(world.clients[alice].pushed.is_some());
    world.clients[alice].session.exit();
    world.drain_client(alice);
    world.flow();
    assert_eq!(world.gateway.session_count(), 0);
    let begun = world.gateway.stats().handshakes;
    for flying in sent {
        world.deliver(flying);
    }
    assert_eq!(world.gateway.stats().handshakes, begun);
    assert!(world.gateway.stats().tombstone_hits > 0);
}

#[test]
fn a_restarted_client_replaces_itself_only_once_it_is_known() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    let address = world.clients[alice].address;
    let ip = world.clients[alice].ip().unwrap();
    // Somebody else at that address, unknown: the live session stays.
    let eve = world.client_at(address, &pki().stranger, SessionConfig::default());
    world.run(secs(3));
    assert!(matches!(world.clients[eve].told, Some(Told::Rejected(_))));
    assert!(world.send(alice, &udp(ip, "10.0.5.5")).is_ok());
    assert_eq!(world.live().len(), 1);
    // Alice herself, started anew with a fixed port: the former session lasts until she uses the new one.
    let unused = world.client_at(address, &client(0), SessionConfig::default());
    world.flow();
    world.clients[unused].sends = false;
    assert_eq!((world.live().len(), world.ends.len()), (2, 0));
    assert_eq!(world.send_down(alice, &udp_back("10.0.5.5", ip)), Ok(()));
    assert!(world.send(alice, &udp(ip, "10.0.5.5")).is_ok());
    let anew = world.client_at(address, &client(0), SessionConfig::default());
    world.flow();
    assert_eq!(world.ends.len(), 1, "one at a time that nobody has used");
    assert!(world.send(alice, &udp(ip, "10.0.5.5")).is_ok());
    world.clients[alice].sends = false;
    let ip_anew = world.clients[anew].ip().unwrap();
    assert!(world.send(anew, &udp(ip_anew, "10.0.5.5")).is_ok());
    assert_eq!(world.ends.iter().map(|end| end.reason).collect::<Vec<_>>(), [EndReason::Replaced; 2]);
    world.run(secs(3));
    assert_eq!(world.live().len(), 1);
    assert_eq!(ip_anew, ip, "her interface has that address still");
    assert_eq!(world.send_down(anew, &udp_back("10.0.5.5", ip)), Ok(()));
    // Hard resets alone, from whoever writes that address on them, do nothing.
    for _ in 0..20 {
        world.client_at(address, &client(1), SessionConfig::default());
        let reset = world.wire.pop().unwrap();
        world.wire.clear();
        world.deliver(reset);
        world.wire.clear();
    }
    assert_eq!((world.live().len(), world.gateway.half_open_count()), (1, 0));
}

/// Its former session is none too many: it ends when the new one is used.
#[test]
fn who_begins_anew_finds_its_place_where_all_are_taken() {
    let mut world = World::serving_within(Limits { max_sessions: 2, ..Limits::default() }, &[1]);
    let (alice, bob) = (world.connected(&client(0)), world.connected(&client(1)));
    let late = world.client(&client(2));
    world.run(secs(3));
    assert!(told_to_come_back(&world, late).is_some());
    for former in [alice, bob] {
        world.clients[former].sends = false;
        let address = world.clients[former].address;
        let certificate = client(usize::from(former == bob));
        let anew = world.client_at(address, &certificate, SessionConfig::default());
        world.flow();
        let ip = world.clients[anew].ip().unwrap();
        assert!(world.send(anew, &udp(ip, "10.0.5.5")).is_ok());
    }
    assert_eq!(world.live().len(), 2);
}

#[test]
fn floating_moves_the_control_channel_too() {
    let mut world = World::serving(&[1]);
    let alice = world.connected(&client(0));
    let moved: SocketAddr = "203.0.113.99:9".parse().unwrap();
    world.clients[alice].address = moved;
    // Control packets from the new address are nobody's until a data packet has floated the session.
    world.clients[alice].session.renegotiate(world.now);
    world.drain_client(alice);
    world.flow();
    assert!(world.gateway.stats().not_proven > 0);
    let ip = world.clients[alice].ip().unwrap();
    assert!(world.send(alice, &udp(ip, "10.0.5.5")).is_ok());
    world.run(secs(10));
    assert!(world.send(alice, &udp(ip, "10.0.5.5")).is_ok());
    world.endpoint().associations.clear();
    world.apply();
    world.run(secs(2));
    assert_eq!(world.clients[alice].told, Some(Told::Restart(String::new())));
}

#[test]
fn renegotiation_demands_the_same_certificate() {
    let mut world = World::serving(&[1]);
    let (alice, bob) = (world.connected(&client(0)), world.connected(&client(1)));
    world.run(secs(2));
    for it in [alice, bob] {
        if it == bob {
            *world.clients[bob].certificate.lock().unwrap() = client(2);
        }
        world.clients[it].session.renegotiate(world.now);
        world.drain_client(it);
    }
    world.run(secs(10));
    assert_eq!(world.clients[alice].told, None);
    let ip = world.clients[alice].ip().unwrap();
    assert!(world.send(alice, &udp(ip, "10.0.5.5")).is_ok());
    assert_eq!(world.send_down(alice, &udp_back("10.0.5.5", ip)), Ok(()));
    assert!(matches!(world.clients[bob].told, Some(Told::Rejected(_))));
    assert_eq!(world.ends.iter().map(|e| e.reason).collect::<Vec<_>>(), [EndReason::IdentityChanged]);
    assert_eq!(world.gateway.stats().identity_refused, 1);
    // The gateway starts one itself when a key nears its limits.
    let peer_id = world.clients[alice].v2_peer_id.unwrap();
    let due = PathNotice::Notice(gateway::Notice::NeedsRekey);
    world.gateway.handle_notice(&endpoint_id(1), peer_id, due, world.now);
    world.drain_gateway();
    world.run(secs(10));
    assert!(world.send(alice, &udp(ip, "10.0.5.5")).is_ok());
    assert_eq!(world.live().len(), 1);
}

/// When a client was told to come back, in seconds.
fn told_to_come_back(world: &World, client: usize) -> Option<u32> {
    let Some(Told::Rejected(text)) = &world.clients[client].told else { return None };
    text.strip_prefix("TEMP[backoff ")?.split(',').next()?.parse().ok()
}

#[test]
fn renegotiation_demands_the_same_user() {
    let mut world = World::serving(&[1]);
    for (again, stays) in [(None, true), (Some("mallory"), false)] {
        let config = SessionConfig {
            username: Some("alice".to_owned()),
            username_again: again.map(str::to_owned),
            password: Some("-".to_owned().into()),
            ..SessionConfig::default()
        };
        let port = if stays { 1 } else { 2 };
        let alice = world.client_at(SocketAddr::from(([192, 0, 2, 1], port)), &client(0), config);
        world.run(secs(5));
        world.clients[alice].session.renegotiate(world.now);
        world.drain_client(alice);
        world.run(secs(10));
        assert_eq!(world.clients[alice].told.is_none(), stays, "{:?}", world.clients[alice].told);
    }
    assert_eq!(world.ends.iter().map(|end| end.reason).collect::<Vec<_>>(), [EndReason::IdentityChanged]);
}

#[test]
fn addresses_run_out_and_come_back() {
    let mut world = World::serving(&[1]);
    world.endpoint().client_cidr = "10.9.0.0/30".parse().unwrap();
    let wanted = world.desired.endpoints.remove(&endpoint_id(1)).unwrap();
    world.apply();
    world.desired.endpoints.insert(wanted.id.clone(), wanted);
    world.apply();
    world.set_ready(1, true);
    let alice = world.connected(&client(0));
    let ip = world.clients[alice].ip();
    let bob = world.client(&client(1));
    world.run(secs(3));
    assert!(told_to_come_back(&world, bob).is_some_and(|after_s| (5..=10).contains(&after_s)));
    assert_eq!(world.gateway.stats().addresses_refused, 1);
    world.clients[alice].session.exit();
    world.drain_client(alice);
    world.run(secs(58));
    world.client(&client(2));
    world.run(secs(1));
    assert_eq!(world.gateway.stats().addresses_refused, 2);
    world.run(secs(3));
    let carol = world.connected(&client(2));
    assert_eq!(world.clients[carol].ip(), ip);
}

#[test]
fn bounds_hold() {
    let limits = Limits {
        max_sessions: 2,
        max_half_open: 5,
        max_half_open_per_source: 3,
        max_farewells: 1,
        ..Limits::default()
    };
    let mut world = World::serving_within(limits, &[1]);
    for port in 0..5 {
        stalled(&mut world, 1, port);
    }
    assert_eq!((world.gateway.half_open_count(), world.gateway.stats().half_open_source_refused), (3, 2));
    for host in 2..6 {
        stalled(&mut world, host, 1);
    }
    // The oldest two have made room.
    assert_eq!((world.gateway.half_open_count(), world.gateway.stats().half_open_cut), (5, 2));
    assert_eq!(world.gateway.stats().half_open_refused, 0);
    assert_eq!(world.known.values().filter(|sessions| **sessions > 0).count(), 5);
    world.clients.clear();
    world.run(secs(29));
    assert_eq!(world.gateway.half_open_count(), 5);
    // Nothing comes from their clients.
    world.run(secs(2));
    assert_eq!((world.gateway.half_open_count(), world.gateway.stats().handshakes_failed), (0, 5));
    assert!(world.known.values().all(|sessions| *sessions == 0));
    // Sessions.
    world.connected(&client(0));
    world.connected(&client(1));
    let third = world.client(&client(2));
    world.run(secs(3));
    assert!(told_to_come_back(&world, third).is_some());
    assert_eq!(world.gateway.stats().sessions_refused, 1);
    let [refused] = &world.refused[..] else { panic!("{:?}", world.refused) };
    assert_eq!((refused.reason, refused.common_name.as_str()), ("quota-exceeded", "carol.example"));
    assert_eq!((refused.platform.as_deref(), refused.peer), (Some("linux"), world.clients[third].address));
    // Farewells: the second cuts the first one short.
    world.endpoint().associations.clear();
    world.apply();
    assert_eq!(world.gateway.stats().farewells_cut, 1);
    assert_eq!((world.live().len(), world.gateway.session_count()), (0, 0));
}

/// Carries the first three datagrams: the client has proved its address, and its session begins.
fn begin(world: &mut World) {
    for _ in 0..3 {
        let flying = world.wire.remove(0);
        world.deliver(flying);
    }
}

/// A client that proves its address and then stalls: its datagrams get lost from the third on. Where it is.
fn stalled(world: &mut World, host: u8, port: u16) -> SocketAddr {
    let peer = SocketAddr::from(([192, 0, 2, host], port));
    world.client_at(peer, &client(0), SessionConfig::default());
    begin(world);
    world.wire.clear();
    peer
}

/// Control messages with these ids, in the name of the client at this address.
fn say_for(world: &mut World, peer: SocketAddr, ids: std::ops::Range<u32>, payload: &[u8]) {
    let sid = world.known.iter().find(|((at, _), n)| *at == peer && **n > 0).map(|((_, sid), _)| *sid);
    for id in ids {
        let mut packet = Vec::new();
        Control {
            opcode: Opcode::ControlV1,
            key_id: 0,
            session: sid.unwrap(),
            acks: AckIds::default(),
            peer_session: None,
            message_id: Some(id),
            payload,
        }
        .encode(&mut packet);
        world.gateway.handle_control(&endpoint_id(1), peer, &packet, world.now, world.wall());
        world.drain_gateway();
    }
}

/// The same of what its TLS cannot take.
fn spoil(world: &mut World, peer: SocketAddr) {
    say_for(world, peer, 1..30, &[0xff, 0, 0, 0, 0]);
}

#[test]
fn sessions_that_fail_are_counted_and_gone() {
    let mut world = World::serving(&[1]);
    let peer = stalled(&mut world, 1, 1);
    assert_eq!((world.gateway.half_open_count(), world.gateway.stats().handshakes_failed), (1, 0));
    spoil(&mut world, peer);
    assert_eq!((world.gateway.half_open_count(), world.gateway.stats().handshakes_failed), (0, 1));
    // One that fails while it says farewell says no more, and is not waited for.
    let alice = world.connected(&client(0));
    assert_eq!(world.gateway.stats().admitted, 1);
    let peer = world.clients[alice].address;
    world.clients[alice].sends = false;
    world.endpoint().associations.clear();
    world.apply();
    assert!(world.known.iter().any(|((at, _), n)| *at == peer && *n > 0));
    spoil(&mut world, peer);
    assert!(world.known.iter().all(|((at, _), n)| *at != peer || *n == 0));
    assert_eq!(world.gateway.stats().handshakes_failed, 1);
}

#[test]
fn what_strangers_have_us_keep_is_bounded() {
    let limits = Limits { max_half_open_bytes: 10_000, ..Limits::default() };
    let mut world = World::serving_within(limits, &[1]);
    // A client proves its address, and sends what comes behind something that never comes.
    let greedy = |world: &mut World, host: u8| {
        let peer = stalled(world, host, 1);
        say_for(world, peer, 4..8, &[0; 1_000]);
        // It says no more.
        world.wire.clear();
        world.clients.clear();
    };
    for host in 1..3 {
        greedy(&mut world, host);
    }
    assert_eq!((world.gateway.half_open_count(), world.gateway.stats().half_open_cut), (2, 0));
    // The oldest makes room, again and again; a client beside them is let in.
    for host in 3..9 {
        greedy(&mut world, host);
    }
    assert_eq!((world.gateway.half_open_count(), world.gateway.stats().half_open_cut), (2, 6));
    world.connected(&client(1));
    // What is over is given back.
    world.run(secs(40));
    assert_eq!(world.gateway.half_open_count(), 0);
    for host in 10..12 {
        greedy(&mut world, host);
    }
    assert_eq!((world.gateway.half_open_count(), world.gateway.stats().half_open_cut), (2, 6));
}

#[test]
fn noise_is_counted_and_costs_nothing() {
    let mut world = World::serving(&[1]);
    let peer: SocketAddr = "192.0.2.66:6".parse().unwrap();
    let wall = world.wall();
    let mut noise: Vec<u8> = vec![];
    for n in 0..4000_u32 {
        noise.clear();
        noise.extend([[0x38, 0x20, 0x28, 0x18, 0x48][n as usize % 5]]);
        noise.extend((0..n % 40).map(|at| (n.wrapping_mul(2_654_435_761) >> (at % 24)).to_le_bytes()[0]));
        world.gateway.handle_control(&endpoint_id(1), peer, &noise, world.now, wall);
        world.drain_gateway();
    }
    world.gateway.handle_control(&endpoint_id(7), peer, &noise, world.now, wall);
    assert_eq!(world.gateway.stats().unknown_endpoint, 1);
    assert_eq!((world.gateway.half_open_count(), world.gateway.poll_timeout()), (0, None));
    assert!(world.gateway.stats().not_proven > 3000);
}
