//! User names and passwords as long as they may be (spec: openvpn-protocol §7): spread over many packets they come in
//! whole, over UDP behind a cookie and over TCP, and with one byte more nobody comes in.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use crate::world::{Net, Rng, World, double_pair};
use openvpn::client::{self, Line};
use openvpn::server::{Event, FailReason, Outcome, Session, SessionConfig, tcp_reset};
use openvpn::tls::Tls;
use openvpn::tls::double::{Double, Script};
use openvpn::wire::SessionId;
use openvpn::{Instant, server};

/// Lengths of the AWS dialect have 32 bits; what it may be is said.
const AWS_MAX_BYTES: usize = 128 * 1024;
/// Lengths of the stock dialect have 16 bits, and count a NUL.
const STOCK_MAX_BYTES: usize = 65_534;
/// User name and password as the server is asked about them.
type Credentials = (Option<String>, Option<String>);

/// What came of a login: `Ok` with what the server was asked, `Err` with whose session failed of what.
type Outcomes = Result<Credentials, (&'static str, FailReason)>;
type Connect = fn(client::SessionConfig) -> Outcomes;

/// No two places in it look alike to somebody who is off by a record.
fn text(bytes: usize) -> String {
    (0..bytes).map(|at| char::from(b'!' + u8::try_from((at * at + at / 94) % 94).unwrap())).collect()
}

fn config(line: Line, over_tcp: bool, credentials: &Credentials) -> client::SessionConfig {
    let plain = if over_tcp { line.config_over_tcp() } else { line.config() };
    let (username, password) = credentials.clone();
    client::SessionConfig {
        username,
        password: password.map(Into::into),
        push_request_after: Duration::from_millis(1),
        ..plain
    }
}

fn over_udp(config: client::SessionConfig) -> Outcomes {
    let tls = double_pair(&mut Rng(5));
    let mut world = World::new(5, Net::PERFECT, config, server::SessionConfig::default(), tls);
    world.run(Duration::from_secs(50), |world| {
        let seen = &world.seen;
        let up = seen.client_up.is_some() && seen.server_up.is_some();
        up || seen.server_failed.is_some() || seen.client_failed.is_some()
    });
    assert!(world.seen.cookies > 0, "let in by a cookie");
    match (world.seen.server_failed.take(), world.seen.client_failed.take()) {
        (Some(reason), _) => Err(("server", reason)),
        (None, Some(reason)) => Err(("client", reason)),
        (None, None) => {
            assert!(world.up_at.is_some(), "neither up nor failed: {:?}", world.seen.logins);
            Ok(world.seen.credentials.remove(0))
        }
    }
}

fn factory(server: bool) -> server::TlsFactory {
    Box::new(move || {
        let script = Script { seed: 1 + u64::from(server), ..Script::default() };
        let double = if server { Double::server(script) } else { Double::client(script) };
        Ok(Box::new(double) as Box<dyn Tls>)
    })
}

fn over_tcp(config: client::SessionConfig) -> Outcomes {
    let (mut now, mut out) = (Instant(1_000_000), Vec::new());
    let sid = SessionId([1; 8]);
    let mut peer = client::Session::new(Arc::new(config), factory(false), sid, [3; 32], now).unwrap();
    assert!(peer.poll_transmit(now, &mut out));
    let sid = tcp_reset(&out).unwrap();
    let server = Arc::new(SessionConfig::default());
    let mut session = Session::over_tcp(server, factory(true), sid, SessionId([2; 8]), [1; 32], now).unwrap();
    let mut asked = None;
    for _ in 0..1000 {
        now = now + Duration::from_millis(10);
        while session.poll_transmit(now, &mut out) {
            peer.handle_packet(&out, now).unwrap();
        }
        while peer.poll_transmit(now, &mut out) {
            // A session that has failed takes nothing more.
            let _ = session.handle_packet(&out, now);
        }
        peer.handle_timeout(now);
        session.handle_timeout(now);
        while let Some(event) = session.poll_event() {
            match event {
                Event::AuthenticationNeeded(login) => {
                    let password = login.password.as_ref().map(|password| password.as_str().to_owned());
                    asked = Some((login.username.clone(), password));
                    session.authenticated(Outcome::Accept { peer_id: 5, push: vec![] }, now);
                }
                Event::Failed(reason) => return Err(("server", reason)),
                _ => {}
            }
        }
        while let Some(event) = peer.poll_event() {
            match event {
                client::Event::Pushed(_) => return Ok(asked.unwrap()),
                client::Event::Failed(reason) => return Err(("client", reason)),
                _ => {}
            }
        }
    }
    panic!("neither up nor failed")
}

#[test]
fn credentials_as_long_as_they_may_be_come_in_and_no_longer_ones() {
    for (line, max_bytes, who_refuses) in
        // A length of the stock dialect cannot say more than its bound: such a client fails by itself.
        [(Line::OpenVpn3, STOCK_MAX_BYTES, "client"), (Line::Aws, AWS_MAX_BYTES, "server")]
    {
        for bytes in [max_bytes - 1, max_bytes, max_bytes + 1] {
            let short = Some("short".to_owned());
            for credentials in [(Some(text(bytes)), short.clone()), (short, Some(text(bytes)))] {
                for (transport, connect) in [("UDP", over_udp as Connect), ("TCP", over_tcp as Connect)] {
                    let came = connect(config(line, transport == "TCP", &credentials));
                    let what = format!("{line:?} over {transport}, {bytes} bytes");
                    match came {
                        Ok(asked) => {
                            assert!(bytes <= max_bytes, "{what}: too long, and let in");
                            assert!(asked == credentials, "{what}: as they were given");
                        }
                        Err((who, reason)) => {
                            assert!(bytes > max_bytes, "{what}: {who} failed: {reason:?}");
                            assert_eq!(who, who_refuses, "{what}: {reason:?}");
                        }
                    }
                }
            }
        }
    }
}
