//! Thousands of schedules of a bad network, under virtual time, with a scripted TLS double.
//!
//! Every connection and every renegotiation must complete or fail by its deadline; keys that both ends have must be
//! the same; nothing may be handed out before the login was accepted. `BASCULE_SCHEDULES` sets how many, `BASCULE_SEED`
//! where they begin. Floats are of no concern here: the gateway's simulation has them.
#![allow(clippy::disallowed_methods)] // a test is told its length and seed by variables
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::sync::Arc;
use std::time::Duration;

use openvpn::client::{HandshakeOrder, Line, Wrap, WrapKey};
use openvpn::data::{Channel, Limits, Role};
use openvpn::server::FailReason;
use openvpn::wrap::{ControlWrap, ServerKey, StaticKey};
use openvpn::{UnixTime, client, server};
use world::{Action, Net, Rng, World, double_pair};

const DEADLINE: Duration = Duration::from_secs(60);
/// The client's own deadline ends later than the server's by what its first packets took.
const GRACE: Duration = Duration::from_secs(1);

/// In continuous integration; `cargo xtask campaign schedules` takes a million.
const SCHEDULES: u64 = 20_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// A share of all schedules, each with a seed that no other kind has. A number that fails is told.
fn schedules(kind: u64, per_mille: u64, mut run: impl FnMut(u64)) -> u32 {
    let count = (number("BASCULE_SCHEDULES", SCHEDULES) * per_mille / 1000).max(1);
    let first = number("BASCULE_SEED", 0);
    for n in first..first + count {
        let _told = Told(n);
        run(kind << 32 | n);
    }
    u32::try_from(count).unwrap()
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("BASCULE_SEED={} BASCULE_SCHEDULES=1 repeats it", self.0);
        }
    }
}

fn schedule(seed: u64) -> (World, bool) {
    let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let lossless = seed.is_multiple_of(8);
    let net = if lossless {
        Net { drop_per_mille: 0, repeat_per_mille: rng.below(300), delay_us: (500, 500 + rng.below(300_000)) }
    } else {
        Net {
            drop_per_mille: rng.below(350),
            repeat_per_mille: rng.below(200),
            delay_us: (500, 500 + rng.below(900_000)),
        }
    };
    let line = Line::ALL[usize::try_from(rng.below(6)).unwrap()];
    let mut config = line.config();
    if line == Line::Aws {
        config.username = Some("N/A".to_owned());
        config.password = Some("x".repeat(40_000).into());
    }
    let (wrap, theirs) = wrapping(&mut rng, line);
    config.wrap = theirs;
    let tls = double_pair(&mut rng);
    let mut world = World::new(rng.roll(), net, config, server::SessionConfig::default(), tls);
    world.wrap = wrap;
    // Epochs go by in seconds instead of years.
    let limits = Limits { epoch_packet_id: 12, rekey_epoch: u16::MAX, ..Limits::default() };
    world.client_channel = Channel::with_limits(Role::Client, limits);
    world.server_channel = Channel::with_limits(Role::Server, limits);
    world.auth_delay_us = rng.below(2_000_000);
    if rng.chance(300) {
        for n in 0..60 {
            world.push.push(format!("route 10.{n}.0.0 255.255.0.0"));
        }
    }
    (world, lossless)
}

/// No wrapping for half of the connections, tls-crypt or tls-crypt-v2 for the others. The 2.4 line has no v2, and
/// that of the 2.5 line needs state at the server, which ours does not keep.
fn wrapping(rng: &mut Rng, line: Line) -> (ControlWrap, Option<Wrap>) {
    let seed = [rng.roll().to_be_bytes()[7]; 32];
    let began_at = UnixTime(i64::try_from(rng.below(1 << 33)).unwrap());
    match rng.below(4) {
        0 if !matches!(line, Line::V2_4 | Line::V2_5) => {
            let server = ServerKey::from_seed([5; 32]);
            let metadata = vec![0; usize::try_from(rng.below(735)).unwrap()];
            let key =
                WrapKey::TlsCryptV2(Arc::new(server.wrap(StaticKey::from_seed(seed), &metadata).unwrap()));
            (ControlWrap::TlsCryptV2(Arc::new(server)), Some(Wrap { key, began_at }))
        }
        1 => {
            let key = Arc::new(StaticKey::from_seed(seed));
            let theirs = Wrap { key: WrapKey::TlsCrypt(Arc::clone(&key)), began_at };
            (ControlWrap::TlsCrypt(key), Some(theirs))
        }
        _ => (ControlWrap::Plain, None),
    }
}

/// Connects; true if both ends are up. Panics if an end is neither up nor failed when its time is over.
fn connect(world: &mut World) -> bool {
    let done = |w: &World| {
        w.up_at.is_some()
            || w.seen.client_failed.is_some() && (w.server.is_none() || w.seen.server_failed.is_some())
    };
    // The server's end may be up while the client never hears of it, and then only the client fails.
    let half = |w: &World| w.seen.server_up.is_some() && w.seen.client_failed.is_some();
    let over = world.run(DEADLINE + DEADLINE + GRACE, |w| done(w) || half(w));
    assert!(over, "neither up nor failed: {:?}", world.seen);
    world.up_at.is_some()
}

#[test]
fn every_connection_completes_or_fails_in_time() {
    let mut up = 0;
    let total = schedules(0, 600, |seed| {
        let (mut world, lossless) = schedule(seed);
        let born = world.now;
        let is_up = connect(&mut world);
        up += u32::from(is_up);
        assert!(!lossless || is_up, "seed {seed}: {:?}", world.seen);
        if let Some(at) = world.seen.client_up {
            assert!(at.since(born) <= DEADLINE, "seed {seed}");
        }
        assert!(
            world.server_age() <= DEADLINE
                || world.seen.server_failed.is_some()
                || world.seen.server_up.is_some()
        );
        assert!(world.seen.longest <= 1250, "seed {seed}: {}", world.seen.longest);
        if is_up {
            let want = world.push.clone();
            assert_eq!(world.seen.pushed.as_ref().unwrap()[..want.len()], want, "seed {seed}");
            let (u, d) = (world.seen.data_up, world.seen.data_down);
            let flows =
                world.run(Duration::from_secs(20), |w| w.seen.data_up > u + 3 && w.seen.data_down > d + 3);
            assert!(flows, "seed {seed}: no data: {:?}", world.seen);
        }
    });
    // Under half of the packets ever lost: most connections must come up, or the test proves nothing.
    assert!(total < 100 || up * 10 > total * 8, "{up} of {total}");
}

#[test]
fn renegotiations_keep_the_tunnel_up_or_fail_in_time() {
    let (mut rounds, mut wraps, mut renewed, mut in_epochs) = (0, 0, 0, 0);
    let total = schedules(1, 150, |seed| {
        let (mut world, lossless) = schedule(seed);
        world.net.drop_per_mille /= 3;
        if !connect(&mut world) {
            return;
        }
        let count = if seed % 20 == 0 { 10 } else { 2 };
        for round in 0..count {
            let action = [Action::ServerRenegotiates, Action::ClientRenegotiates, Action::BothRenegotiate];
            let action = action[usize::try_from(world.rng.below(3)).unwrap()];
            world.run(Duration::from_secs(10), |_| false);
            if world.seen.server_failed.is_some() || world.seen.client_failed.is_some() {
                break;
            }
            let before = (world.seen.server_sends.len(), world.seen.client_sends.len());
            world.act(action);
            // OpenVPN 3 stays with its old key for a minute after the exchange.
            let done = world.run(DEADLINE + DEADLINE + GRACE, |w| {
                w.seen.server_failed.is_some()
                    || w.seen.client_failed.is_some()
                    || w.seen.server_sends.len() > before.0 && w.seen.client_sends.len() > before.1
            });
            assert!(done, "seed {seed}, round {round}, {action:?}: {:?}", world.seen);
            rounds += 1;
            let failed = world.seen.server_failed.is_some() || world.seen.client_failed.is_some();
            assert!(!(lossless && failed), "seed {seed}: {:?}", world.seen);
            let expected = u8::try_from(world.seen.server_sends.len() - 1).unwrap();
            let expected = if expected > 7 { (expected - 1) % 7 + 1 } else { expected };
            if world.seen.server_failed.is_none() {
                assert_eq!(world.seen.server_sends.last(), Some(&expected), "seed {seed}: {:?}", world.seen);
            }
            wraps += u32::from(world.seen.server_sends.len() > 8);
            let pushed = world.seen.pushed.iter().flatten().any(|option| option.contains("dyn-tls-crypt"));
            if pushed || !matches!(world.wrap, ControlWrap::Plain) {
                let (count, clear) = (world.seen.renewed_packets, world.seen.renewed_in_clear);
                assert!(count > 4 && clear == 0, "seed {seed}: {clear} of {count} in clear");
                renewed += u32::from(pushed);
            } else {
                assert!(world.seen.renewed_in_clear > 0, "seed {seed}");
            }
            in_epochs += u32::from(world.seen.highest_epoch > 2);
            let (u, d) = (world.seen.data_up, world.seen.data_down);
            world.run(Duration::from_secs(15), |w| w.seen.data_up > u + 3 && w.seen.data_down > d + 3);
            if world.seen.server_failed.is_none() && world.seen.client_failed.is_none() {
                assert!(world.seen.data_up > u && world.seen.data_down > d, "seed {seed}: {:?}", world.seen);
            }
        }
    });
    assert!(
        total < 100 || rounds * 2 > total * 3 && wraps * 60 > total,
        "{rounds} rounds, {wraps} beyond key 7"
    );
    assert!(
        total < 100 || renewed * 3 > total && in_epochs * 6 > total,
        "{renewed} wrapped, {in_epochs} moved up"
    );
}

#[test]
fn farewells_end_within_five_seconds_and_keys_go_at_once() {
    let mut heard = 0;
    let total = schedules(2, 120, |seed| {
        let (mut world, lossless) = schedule(seed);
        if !connect(&mut world) {
            return;
        }
        if seed % 3 == 0 {
            world.act(Action::ServerRenegotiates);
            let pause = Duration::from_micros(world.rng.below(2_000_000));
            world.run(pause, |_| false);
            if world.seen.server_failed.is_some() {
                return;
            }
        }
        world.act(Action::Farewell);
        let mut out = Vec::new();
        assert!(
            world.server_channel.seal(b"x", &mut out).is_err(),
            "seed {seed}: data keys outlive the farewell"
        );
        // Nothing makes it longer.
        world.run(Duration::from_secs(3), |w| w.seen.farewell_done_at.is_some());
        let asked = world.seen.farewell_at;
        world.act(Action::Farewell);
        world.seen.farewell_at = asked;
        let done = world.run(Duration::from_secs(30), |w| w.seen.farewell_done_at.is_some());
        assert!(done, "seed {seed}: {:?}", world.seen);
        let took = world.seen.farewell_done_at.unwrap().since(asked.unwrap());
        assert!(took <= Duration::from_secs(5), "seed {seed}: {took:?}");
        if lossless {
            world.run(Duration::from_secs(1), |_| false);
            assert_eq!(
                world.seen.client_told.as_deref(),
                Some("restart [P]"),
                "seed {seed}: {:?}",
                world.seen
            );
        }
        heard += u32::from(world.seen.client_told.is_some());
    });
    assert!(total < 100 || heard * 2 > total, "{heard} of {total}");
}

#[test]
fn refused_logins_are_told_and_get_no_keys() {
    schedules(3, 70, |seed| {
        let (mut world, lossless) = schedule(seed);
        world.refuse_login = true;
        world.run(DEADLINE + DEADLINE, |w| w.seen.client_told.is_some() || w.seen.client_failed.is_some());
        assert!(world.seen.server_keys.is_empty() && world.seen.client_keys.is_empty(), "seed {seed}");
        assert!(world.seen.pushed.is_none() && world.seen.server_up.is_none(), "seed {seed}");
        if lossless {
            assert_eq!(
                world.seen.client_told.as_deref(),
                Some("rejected no"),
                "seed {seed}: {:?}",
                world.seen
            );
        }
    });
}

/// At once where nothing gets lost; elsewhere as soon as one copy of it arrives, also in mid-renegotiation.
#[test]
fn a_client_that_leaves_is_noticed() {
    let mut noticed = 0;
    let total = schedules(4, 60, |seed| {
        let (mut world, lossless) = schedule(seed);
        if !connect(&mut world) {
            assert!(!lossless);
            return;
        }
        if world.rng.chance(300) {
            world.act(Action::BothRenegotiate);
            let pause = Duration::from_micros(world.rng.below(3_000_000));
            world.run(pause, |_| false);
        }
        if world.seen.server_failed.is_some() || world.seen.client_failed.is_some() {
            return;
        }
        world.act(Action::ClientExits);
        let limit = Duration::from_secs(if lossless { 2 } else { 60 });
        let heard = world.run(limit, |w| w.seen.peer_exit || w.seen.server_failed.is_some());
        // It is said five times in that minute, and all five may get lost: then silence tells.
        assert!(heard || !lossless, "seed {seed}");
        if !heard {
            return;
        }
        noticed += u32::from(world.seen.peer_exit);
        let mut out = Vec::new();
        assert!(world.server_channel.seal(b"x", &mut out).is_err(), "data keys outlive the session");
    });
    assert!(total < 100 || noticed * 10 > total * 7, "{noticed} of {total}");
}

#[test]
fn a_login_without_answer_times_out() {
    let (mut world, _) = schedule(0);
    world.auth_delay_us = 3_600_000_000;
    world.run(DEADLINE + GRACE, |w| w.seen.server_failed.is_some());
    assert_eq!(world.seen.server_failed, Some(FailReason::HandshakeTimeout));
    assert!(world.server_age() <= DEADLINE);
}

/// The 2.4 order loses its only proof of address: the server's stateless repetition must bring it back.
#[test]
fn a_lost_bare_ack_is_recovered() {
    let mut rng = Rng(5);
    let config =
        client::SessionConfig { order: HandshakeOrder::AckAlone, ..client::SessionConfig::default() };
    let tls = double_pair(&mut rng);
    let mut world = World::new(1, Net::PERFECT, config, server::SessionConfig::default(), tls);
    // Reset up, reset down; then nothing arrives for a moment in which ACK and ClientHello are both lost.
    world.run(Duration::from_millis(2), |w| w.seen.cookies == 1 && w.seen.datagrams >= 2);
    world.net.drop_per_mille = 1000;
    world.run(Duration::from_millis(100), |_| false);
    world.net.drop_per_mille = 0;
    let start = world.now;
    assert!(world.run(DEADLINE, |w| w.up_at.is_some()), "{:?}", world.seen);
    assert!(world.now.since(start) < Duration::from_secs(6), "{:?}", world.now.since(start));
    assert_eq!(world.seen.cookies, 2);
    let opcodes: Vec<u8> = world.seen.first_packets.iter().map(|packet| packet[0] >> 3).collect();
    assert_eq!(opcodes[..4], [7, 8, 5, 4], "reset, reset, bare ACK, ClientHello");
    assert_eq!(world.seen.first_packets[3][9], 0, "no acknowledgement rides on the ClientHello");
}

/// Whatever is lost, and whatever is renegotiated meanwhile: those that take updates end with what is wanted, in the
/// tunnel they had; the others are left as they are, and the driver knows.
#[test]
fn updates_reach_those_that_take_them() {
    let (mut told, mut untold) = (0, 0);
    for seed in 60_000..60_400 {
        let (mut world, lossless) = schedule(seed);
        world.net.drop_per_mille /= 3;
        if !connect(&mut world) {
            continue;
        }
        let takes = world.server.as_ref().unwrap().peer_info().has(1 << 12);
        let own = world.seen.pushed.clone().unwrap();
        for count in [1_u64, 0, 80, 40] {
            if world.rng.chance(400) {
                world.act(Action::ServerRenegotiates);
            }
            let pause = Duration::from_millis(world.rng.below(3_000));
            world.run(pause, |_| false);
            let mut wanted = world.push.clone();
            wanted.retain(|option| !option.starts_with("route "));
            wanted.extend((0..count).map(|n| format!("route 172.16.{n}.0 255.255.255.0")));
            wanted.push("dhcp-option DNS 10.0.0.2".to_owned());
            assert_eq!(world.retell(wanted.clone()), takes, "seed {seed}");
            let holds = |world: &World| {
                let pushed = world.seen.pushed.as_ref().unwrap();
                wanted.iter().all(|option| pushed.contains(option))
                    && pushed.iter().filter(|o| o.starts_with("route ")).count() as u64 == count
            };
            // OpenVPN 3 may go on for a minute with its old key; control messages wait for no one's data.
            let done = world.run(DEADLINE + GRACE, |w| {
                !takes || holds(w) || w.seen.server_failed.is_some() || w.seen.client_failed.is_some()
            });
            assert!(done, "seed {seed}, {count} routes: {:?}", world.seen);
            if world.seen.server_failed.is_some() || world.seen.client_failed.is_some() {
                assert!(!lossless, "seed {seed}: {:?}", world.seen);
                break;
            }
            if takes {
                told += 1;
            } else {
                assert_eq!(world.seen.pushed.as_ref(), Some(&own), "seed {seed}");
                untold += 1;
            }
        }
        assert_eq!(world.seen.client_told, None, "seed {seed}");
    }
    assert!(told > 200 && untold > 400, "{told} {untold}");
}

#[test]
fn what_cannot_be_updated_is_not_tried_and_what_is_the_same_is_not_said() {
    let tls = double_pair(&mut Rng(3));
    let config = Line::V2_7.config();
    let mut world = World::new(1, Net::PERFECT, config, server::SessionConfig::default(), tls);
    assert!(connect(&mut world));
    let mut other = world.push.clone();
    other.push("ping 2".to_owned());
    assert!(!world.retell(other), "no client changes that while it is connected");
    assert!(world.retell(world.push.clone()), "the same as ever");
    world.run(Duration::from_secs(2), |_| false);
    assert_eq!((world.seen.updates, &world.seen.client_told), (0, &None));
    world.act(Action::Farewell);
    let mut late = world.push.clone();
    late.push("route 10.0.0.0 255.0.0.0".to_owned());
    assert!(world.retell(late), "who is leaving needs nothing");
    world.run(Duration::from_secs(2), |_| false);
    assert_eq!(world.seen.updates, 0);
}
