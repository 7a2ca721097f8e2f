//! Wrapped control channels: who is answered, who is let in, what a session takes; and OpenVPN's own files and
//! packets.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::world::{Net, Rng, World, double_pair};
use openvpn::client::{HandshakeOrder, Line, Wrap, WrapKey};
use openvpn::server::{
    CookieJar, Discard, FirstPacket, Session, SessionConfig, tcp_reset, tcp_reset_wrapped,
};
use openvpn::tls::Tls;
use openvpn::tls::double::{Double, Script};
use openvpn::wire::SessionId;
use openvpn::wrap::{ClientKey, ControlWrap, KeyFileError, ServerKey, StaticKey, WrapKeyError};
use openvpn::{Instant, UnixTime, client, server};

const NOW: Instant = Instant(100_000_000);
const WALL: UnixTime = UnixTime(1_700_000_000);
const PEER: &str = "203.0.113.9:5000";

fn address() -> SocketAddr {
    PEER.parse().unwrap()
}

fn server_key() -> ServerKey {
    ServerKey::from_seed([5; 32])
}

fn client_key(seed: u8) -> ClientKey {
    server_key().wrap(StaticKey::from_seed([seed; 32]), &[1, 0, 0, 0, 0, 0, 0, 0, 9]).unwrap()
}

fn shared_key(seed: u8) -> StaticKey {
    StaticKey::from_seed([seed; 32])
}

fn wrap(key: WrapKey) -> Option<Wrap> {
    Some(Wrap { key, began_at: WALL })
}

fn v1(seed: u8) -> Option<Wrap> {
    wrap(WrapKey::TlsCrypt(Arc::new(shared_key(seed))))
}

fn v2(seed: u8) -> Option<Wrap> {
    wrap(WrapKey::TlsCryptV2(Arc::new(client_key(seed))))
}

fn client(line: Line, wrap: Option<Wrap>) -> client::Session {
    let tls =
        Box::new(|| Ok(Box::new(Double::client(Script { seed: 1, ..Script::default() })) as Box<dyn Tls>));
    let config = client::SessionConfig { wrap, ..line.config() };
    client::Session::new(Arc::new(config), tls, SessionId([1; 8]), [3; 32], NOW).unwrap()
}

fn next(session: &mut client::Session, now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(session.poll_transmit(now, &mut out));
    out
}

fn judge(wrap: &ControlWrap, packet: &[u8]) -> (FirstPacket, Vec<u8>) {
    let mut out = vec![1];
    let jar = CookieJar::new([4; 32]);
    let verdict = jar.judge_wrapped(wrap, address(), packet, NOW, WALL, &mut out);
    (verdict, out)
}

fn static_wrap() -> ControlWrap {
    ControlWrap::TlsCrypt(Arc::new(shared_key(7)))
}

fn v2_wrap() -> ControlWrap {
    ControlWrap::TlsCryptV2(Arc::new(server_key()))
}

/// Reset, stateless answer, proof, session: by opcode and size.
#[test]
fn the_handshake_is_stateless_and_amplifies_little() {
    for (server, wrap, line, sizes, third) in [
        (ControlWrap::Plain, None, Line::V2_6, (14, 26), 4),
        (static_wrap(), v1(7), Line::V2_6, (54, 66), 4),
        (static_wrap(), v1(7), Line::V2_4, (54, 66), 5),
        (v2_wrap(), v2(1), Line::V2_6, (54 + 299, 72), 11),
    ] {
        let mut it = client(line, wrap);
        let reset = next(&mut it, NOW);
        let (verdict, answer) = judge(&server, &reset);
        assert_eq!((verdict, reset.len(), answer.len()), (FirstPacket::Answer, sizes.0, sizes.1));
        assert_eq!(answer[0], 8 << 3);
        it.handle_packet(&answer, NOW).unwrap();
        let proof = next(&mut it, NOW);
        assert_eq!(proof[0] >> 3, third, "{server:?}");
        let (verdict, out) = judge(&server, &proof);
        assert!(matches!(verdict, FirstPacket::Proven { client_sid: SessionId([1, ..]), .. }), "{verdict:?}");
        assert!(out.is_empty());
        assert!(server.session(&proof, WALL).is_some());
        // The same packets, cut or changed anywhere, are nobody's.
        let wrapped = !matches!(server, ControlWrap::Plain);
        for packet in [&reset, &proof].into_iter().filter(|_| wrapped) {
            for at in 0..packet.len() {
                assert_eq!(judge(&server, &packet[..at]).0, FirstPacket::Drop, "cut at {at}");
                let mut bad = packet.clone();
                bad[at] ^= 1;
                assert_eq!(judge(&server, &bad).0, FirstPacket::Drop, "byte {at}");
                assert!(server.session(&bad, WALL).is_none());
            }
        }
    }
}

#[test]
fn nobody_is_answered_without_the_key() {
    let other_server = ControlWrap::TlsCryptV2(Arc::new(ServerKey::from_seed([6; 32])));
    let rows = [
        ("plain at a wrapped server", static_wrap(), None, Line::V2_6),
        ("plain at a v2 server", v2_wrap(), None, Line::V2_6),
        ("another static key", static_wrap(), v1(8), Line::V2_6),
        ("tls-crypt at a v2 server", v2_wrap(), v1(7), Line::V2_6),
        ("v2 at a tls-crypt server", static_wrap(), v2(1), Line::V2_6),
        ("v2 at a plain server", ControlWrap::Plain, v2(1), Line::V2_6),
        ("another server's key", other_server, v2(1), Line::V2_6),
        // It could not bring its key a second time, and we keep none.
        ("v2 of the 2.5 line", v2_wrap(), v2(1), Line::V2_5),
    ];
    for (what, server, wrap, line) in rows {
        let reset = next(&mut client(line, wrap), NOW);
        let (verdict, out) = judge(&server, &reset);
        assert_eq!((verdict, out.len()), (FirstPacket::Drop, 0), "{what}");
    }
    // A wrapped packet at a plain server is just a packet with odd contents; it proves nothing.
    let reset = next(&mut client(Line::V2_6, v1(7)), NOW);
    assert!(!matches!(judge(&ControlWrap::Plain, &reset).0, FirstPacket::Proven { .. }));
}

#[test]
fn over_tcp_the_key_comes_with_the_reset() {
    for (server, wrap, line, good) in [
        (ControlWrap::Plain, None, Line::V2_6, true),
        (static_wrap(), v1(7), Line::V2_6, true),
        (static_wrap(), v1(8), Line::V2_6, false),
        (static_wrap(), None, Line::V2_6, false),
        (v2_wrap(), v2(1), Line::V2_6, true),
        (v2_wrap(), v2(1), Line::V2_5, true),
        (v2_wrap(), v1(7), Line::V2_6, false),
        (static_wrap(), v2(1), Line::V2_6, false),
    ] {
        let wrapped = !matches!(server, ControlWrap::Plain);
        let mut it = client(line, wrap);
        let reset = next(&mut it, NOW);
        assert_eq!(tcp_reset_wrapped(&server, &reset), good.then_some(SessionId([1; 8])), "{server:?}");
        assert_eq!(tcp_reset(&reset).is_some() && !wrapped, good && !wrapped);
        if !good {
            continue;
        }
        let tls =
            Box::new(
                || Ok(Box::new(Double::server(Script { seed: 2, ..Script::default() })) as Box<dyn Tls>),
            );
        let (own, theirs) = (SessionId([2; 8]), SessionId([1; 8]));
        let mut session = Session::over_tcp(Arc::default(), tls, theirs, own, [1; 32], NOW)
            .unwrap()
            .with_wrap(server.session(&reset, WALL).unwrap());
        let mut out = Vec::new();
        for _ in 0..4 {
            while session.poll_transmit(NOW, &mut out) {
                it.handle_packet(&out, NOW).unwrap();
            }
            while it.poll_transmit(NOW, &mut out) {
                session.handle_packet(&out, NOW).unwrap();
            }
        }
        let login = std::iter::from_fn(|| session.poll_event())
            .any(|event| matches!(event, server::Event::AuthenticationNeeded(_)));
        assert!(login, "{server:?}");
    }
}

#[test]
fn a_session_takes_nothing_twice_and_nothing_in_clear() {
    let mut it = client(Line::V2_6, v1(7));
    let server = static_wrap();
    let (_, answer) = judge(&server, &next(&mut it, NOW));
    it.handle_packet(&answer, NOW).unwrap();
    assert_eq!(it.handle_packet(&answer, NOW), Err(Discard::Replay));
    let proof = next(&mut it, NOW);
    let FirstPacket::Proven { client_sid, server_sid } = judge(&server, &proof).0 else { panic!() };
    let tls =
        Box::new(|| Ok(Box::new(Double::server(Script { seed: 2, ..Script::default() })) as Box<dyn Tls>));
    let mut session = Session::new(Arc::default(), tls, client_sid, server_sid, [1; 32], NOW)
        .unwrap()
        .with_wrap(server.session(&proof, WALL).unwrap());
    session.handle_packet(&proof, NOW).unwrap();
    assert_eq!(session.handle_packet(&proof, NOW), Err(Discard::Replay));
    let mut plain_client = client(Line::V2_6, None);
    let plain = next(&mut plain_client, NOW);
    assert_eq!(session.handle_packet(&plain, NOW), Err(Discard::Wrap));
    let mut forged = proof.clone();
    forged[30] ^= 1;
    assert_eq!(session.handle_packet(&forged, NOW), Err(Discard::Wrap));
    assert_eq!(
        session.handle_packet(&[0x58; 400], NOW),
        Err(Discard::Opcode),
        "a wrapped key where none is used"
    );
    // Retransmissions are wrapped anew, so they are no replays.
    let again = next(&mut it, NOW + Duration::from_secs(3));
    assert_ne!(again, proof);
    session.handle_packet(&again, NOW).unwrap();
}

/// The longest wrapped key leaves little room, but enough, and no datagram grows beyond what old clients read.
#[test]
fn the_longest_wrapped_key_fits() {
    let mut rng = Rng(9);
    for metadata_bytes in [0, 1, 734] {
        let key = server_key().wrap(shared_key(1), &vec![0; metadata_bytes]).unwrap();
        assert_eq!(key.wrapped().len(), 290 + metadata_bytes);
        let config =
            client::SessionConfig { wrap: wrap(WrapKey::TlsCryptV2(Arc::new(key))), ..Line::V2_7.config() };
        let tls = double_pair(&mut rng);
        let mut world = World::new(1, Net::PERFECT, config, SessionConfig::default(), tls);
        world.wrap = v2_wrap();
        assert!(world.run(Duration::from_secs(10), |w| w.up_at.is_some()), "{:?}", world.seen);
        assert_eq!(world.seen.first_accepted, Some(11));
        assert!((1200..=1250).contains(&world.seen.longest), "{}", world.seen.longest);
    }
    assert_eq!(server_key().wrap(shared_key(1), &[0; 735]).unwrap_err(), WrapKeyError::Metadata);
}

#[test]
fn wrapped_keys_are_checked_before_they_are_used() {
    let key = client_key(3);
    let good = key.wrapped().to_vec();
    let server = server_key();
    assert_eq!(server.unwrap(&good).unwrap().as_bytes(), key.key().as_bytes());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(server.unwrap(&bad).is_err(), "byte {at}");
        assert!(server.unwrap(&good[..at]).is_err(), "cut at {at}");
        assert!(server.unwrap(&good[at + 1..]).is_err(), "cut behind {at}");
    }
    for length in [0, 1, 2, 289, 1025, 65_535] {
        assert_eq!(server.unwrap(&vec![0xff; length]).unwrap_err(), WrapKeyError::Length, "{length}");
    }
    assert_eq!(ServerKey::from_seed([6; 32]).unwrap(&good).unwrap_err(), WrapKeyError::Forged);
}

fn file(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Files that `openvpn --genkey` of 2.6.14 wrote are read, and written again byte for byte.
#[test]
fn key_files_are_those_of_openvpn() {
    let (shared, server, client) =
        (file("tls-crypt.key"), file("tls-crypt-v2-server.key"), file("tls-crypt-v2-client.key"));
    let (shared_key, key) = (StaticKey::from_file(&shared).unwrap(), ClientKey::from_file(&client).unwrap());
    let server_key = ServerKey::from_file(&server).unwrap();
    assert_eq!(shared_key.to_file().as_str(), shared);
    assert_eq!(server_key.to_file().as_str(), server);
    assert_eq!(key.to_file().as_str(), client);
    assert_eq!(server_key.unwrap(key.wrapped()).unwrap().as_bytes(), key.key().as_bytes());
    // Wrapping is deterministic: the same key and metadata give the same file.
    let metadata_bytes = key.wrapped().len() - 290;
    assert_eq!(metadata_bytes, 9, "a time stamp");
}

#[test]
fn what_is_no_key_file_is_refused() {
    let (shared, server, client) =
        (file("tls-crypt.key"), file("tls-crypt-v2-server.key"), file("tls-crypt-v2-client.key"));
    let all = |text: &str| {
        (
            StaticKey::from_file(text).map(|_| ()),
            ServerKey::from_file(text).map(|_| ()),
            ClientKey::from_file(text).map(|_| ()),
        )
    };
    let frame = Err(KeyFileError::Frame);
    assert_eq!(all(&shared), (Ok(()), frame, frame));
    assert_eq!(all(&server), (frame, Ok(()), frame));
    assert_eq!(all(&client), (frame, frame, Ok(())));
    assert_eq!(all(&"x".repeat(70_000)).0, Err(KeyFileError::TooLong));
    assert_eq!(all(""), (frame, frame, frame));
    for (from, to, expected) in [
        ("bbfd", "bbf", KeyFileError::Length),
        ("bbfd", "bbfdaa", KeyFileError::Length),
        ("bbfd", "+bfd", KeyFileError::Encoding),
        ("bbfd", "bbäd", KeyFileError::Length),
    ] {
        let text = shared.replacen(from, to, 1);
        assert_ne!(text, shared, "{from}");
        assert_eq!(StaticKey::from_file(&text).map(|_| ()), Err(expected), "{to}");
    }
    let cut = server.replacen("GwCh", "", 1);
    assert_eq!(ServerKey::from_file(&cut).map(|_| ()), Err(KeyFileError::Length));
    let odd = server.replacen("GwCh", "!", 1);
    assert_eq!(ServerKey::from_file(&odd).map(|_| ()), Err(KeyFileError::Encoding));
    let cut = client.replacen("YAg7", "", 1);
    assert_eq!(ClientKey::from_file(&cut).map(|_| ()), Err(KeyFileError::Length));
}

#[test]
fn keys_say_nothing_about_themselves() {
    let text =
        format!("{:?} {:?} {:?} {:?} {:?}", shared_key(1), server_key(), client_key(1), v2_wrap(), v2(1));
    assert!(text.contains("StaticKey(..)") && !text.contains('['), "{text}");
}

/// A client that answers with a bare acknowledgement first cannot have its wrapped key asked for again.
#[test]
fn clients_before_2_6_do_not_say_that_they_can_resend() {
    for (line, expected) in [(Line::V2_5, 0), (Line::V2_6, 0x0f)] {
        assert_eq!(line.config().order == HandshakeOrder::AckAlone, expected == 0);
        assert_eq!(next(&mut client(line, v2(1)), NOW)[9], expected);
    }
}
