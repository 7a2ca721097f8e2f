//! Sessions over TCP: no cookie, the answer to the reset is the session's own, nothing is sent twice.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use openvpn::server::{Event, Outcome, Session, SessionConfig, tcp_reset};
use openvpn::tls::Tls;
use openvpn::tls::double::{Double, Script};
use openvpn::wire::{AckIds, Control, Opcode, SessionId};
use openvpn::{Instant, client};

const CLIENT: SessionId = SessionId([1; 8]);
const SERVER: SessionId = SessionId([2; 8]);

fn packet(opcode: Opcode, key_id: u8, acks: &[u32], message_id: Option<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    let acks: AckIds = acks.iter().copied().collect();
    let peer_session = Some(SERVER);
    Control { opcode, key_id, session: CLIENT, acks, peer_session, message_id, payload: &[] }
        .encode(&mut out);
    out
}

fn factory(server: bool) -> openvpn::server::TlsFactory {
    let mut seed = 0;
    Box::new(move || {
        seed += 1;
        let script = Script { seed: seed + u64::from(server) * 100, ..Script::default() };
        let double = if server { Double::server(script) } else { Double::client(script) };
        Ok(Box::new(double) as Box<dyn Tls>)
    })
}

fn sent(session: &mut Session, now: Instant) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    std::iter::from_fn(|| session.poll_transmit(now, &mut out).then(|| out.clone())).collect()
}

#[test]
fn only_a_hard_reset_begins_a_session() {
    let reset = packet(Opcode::HardResetClientV2, 0, &[], Some(0));
    assert_eq!(tcp_reset(&reset), Some(CLIENT));
    for (bytes, why) in [
        (packet(Opcode::HardResetClientV2, 1, &[], Some(0)), "another key"),
        (packet(Opcode::HardResetClientV2, 0, &[], Some(1)), "another id"),
        (packet(Opcode::HardResetClientV2, 0, &[0], Some(0)), "it acknowledges something"),
        (packet(Opcode::HardResetServerV2, 0, &[], Some(0)), "a server's"),
        (packet(Opcode::ControlV1, 0, &[], Some(1)), "not a reset"),
        (packet(Opcode::AckV1, 0, &[0], None), "an acknowledgement"),
        (packet(Opcode::HardResetClientV3, 0, &[], Some(0)), "wrapped"),
        (reset[..13].to_vec(), "cut"),
        (vec![], "nothing"),
        (b"GET / HTTP/1.1".to_vec(), "another protocol"),
    ] {
        assert_eq!(tcp_reset(&bytes), None, "{why}");
    }
}

#[test]
fn the_reset_is_answered_once_and_again_only_when_asked() {
    let now = Instant(1_000_000);
    let config = Arc::new(SessionConfig::default());
    let mut session = Session::over_tcp(config, factory(true), CLIENT, SERVER, [1; 32], now).unwrap();
    let first = sent(&mut session, now);
    assert_eq!(first.len(), 1);
    let answer = Control::parse(&first[0]).unwrap();
    assert_eq!(
        (answer.opcode, answer.session, answer.peer_session),
        (Opcode::HardResetServerV2, SERVER, Some(CLIENT))
    );
    assert_eq!((answer.message_id, answer.acks.as_slice()), (Some(0), &[0][..]));
    // Stock clients repeat what they sent, even over TCP.
    session.handle_packet(&packet(Opcode::HardResetClientV2, 0, &[], Some(0)), now).unwrap();
    let again = sent(&mut session, now);
    assert_eq!(Control::parse(&again[0]).unwrap().opcode, Opcode::AckV1);
    // Time brings nothing but the end of the handshake.
    let late = now + Duration::from_secs(59);
    assert_eq!(
        (sent(&mut session, late).len(), session.poll_timeout()),
        (0, Some(now + SessionConfig::default().handshake_timeout))
    );
    session.handle_timeout(now + Duration::from_secs(60));
    assert!(matches!(session.poll_event(), Some(Event::Failed(_))));
}

#[test]
fn a_client_gets_in_and_renegotiates_without_a_packet_twice() {
    let mut now = Instant(1_000_000);
    let config = client::SessionConfig {
        push_request_after: Duration::from_millis(1),
        options: client::SessionConfig::default().options.replace("UDPv4", "TCPv4_CLIENT"),
        ..client::SessionConfig::default()
    };
    let mut peer = client::Session::new(Arc::new(config), factory(false), CLIENT, [3; 32], now).unwrap();
    let mut out = Vec::new();
    assert!(peer.poll_transmit(now, &mut out));
    let sid = tcp_reset(&out).unwrap();
    let config = Arc::new(SessionConfig { renegotiation_pause: Duration::ZERO, ..SessionConfig::default() });
    let mut session = Session::over_tcp(config, factory(true), sid, SERVER, [1; 32], now).unwrap();
    let (mut pushed, mut server_keys, mut ids) = (false, vec![], std::collections::BTreeSet::new());
    for turn in 0..400 {
        now = now + Duration::from_millis(100);
        if turn == 100 {
            session.renegotiate(now);
        }
        for packet in sent(&mut session, now) {
            let control = Control::parse(&packet).unwrap();
            if let Some(id) = control.message_id {
                assert!(ids.insert((control.key_id, id)), "twice: {:?}", (control.key_id, id));
            }
            peer.handle_packet(&packet, now).unwrap();
        }
        peer.handle_timeout(now);
        session.handle_timeout(now);
        while let Some(event) = session.poll_event() {
            match event {
                Event::AuthenticationNeeded(_) => {
                    session.authenticated(Outcome::Accept { peer_id: 5, push: vec![] }, now);
                }
                Event::SendKey { key_id } => server_keys.push(key_id),
                Event::Failed(reason) => panic!("{reason}"),
                _ => {}
            }
        }
        while let Some(event) = peer.poll_event() {
            pushed |= matches!(event, client::Event::Pushed(_));
        }
        while peer.poll_transmit(now, &mut out) {
            session.handle_packet(&out, now).unwrap();
        }
    }
    assert!(pushed);
    assert_eq!(server_keys, [0, 1]);
}
