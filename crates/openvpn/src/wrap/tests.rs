//! Wrapped packets of a real client, opened and wrapped again byte for byte.

use serde_json::Value;

use super::keys::split_wrapped_key;
use super::*;
use crate::tls::{Tls, TlsError};
use crate::wire::{Control, SessionId};

const SHARED: &str = include_str!("../../tests/vectors/tls-crypt.key");
const SERVER: &str = include_str!("../../tests/vectors/tls-crypt-v2-server.key");
const CLIENT: &str = include_str!("../../tests/vectors/tls-crypt-v2-client.key");
const RECORDED: &str = include_str!("../../tests/vectors/wrapped-2.6.14.json");

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A TLS that exports what was recorded.
struct Recorded(Vec<u8>);

impl Tls for Recorded {
    fn feed(&mut self, _: &[u8]) -> Result<(), TlsError> {
        Ok(())
    }
    fn drain(&mut self, _: &mut Vec<u8>) {}
    fn write(&mut self, _: &[u8]) -> Result<(), TlsError> {
        Ok(())
    }
    fn read(&mut self, _: &mut Vec<u8>) -> Result<(), TlsError> {
        Ok(())
    }
    fn handshaking(&self) -> bool {
        false
    }
    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError> {
        assert_eq!(label, "EXPORTER-OpenVPN-dynamic-tls-crypt");
        out.copy_from_slice(&self.0);
        Ok(())
    }
}

/// Both ends as they are once the push reply is through.
fn ends(wrap: Option<&str>, tls: &Recorded) -> (Envelope, Envelope) {
    let client_key = ClientKey::from_file(CLIENT).unwrap();
    let shared = || StaticKey::from_file(SHARED).unwrap();
    let (mut server, mut client) = match wrap {
        None => (Envelope::plain(Role::Server), Envelope::plain(Role::Client)),
        Some("tls-crypt") => (Envelope::server(shared(), 1, false), Envelope::client(shared(), 1)),
        Some(_) => {
            let server = ServerKey::from_file(SERVER).unwrap();
            let key = server.unwrap(client_key.wrapped()).unwrap();
            (Envelope::server(key, 1, true), Envelope::client_v2(&client_key, 1, true))
        }
    };
    server.renew(tls).unwrap();
    client.renew(tls).unwrap();
    (server, client)
}

/// The key a packet was wrapped with, whichever end it came from.
fn keys(wrap: Option<&str>, exporter: &[u8]) -> (Option<StaticKey>, StaticKey) {
    let base = match wrap {
        None => None,
        Some("tls-crypt") => Some(StaticKey::from_file(SHARED).unwrap()),
        Some(_) => Some(ClientKey::from_file(CLIENT).unwrap().key().clone()),
    };
    let mut renewed = [0; StaticKey::BYTES];
    for (place, byte) in renewed.iter_mut().enumerate() {
        *byte = exporter[place] ^ base.as_ref().map_or(0, |key| key.as_bytes()[place]);
    }
    (base, StaticKey::new(renewed))
}

#[test]
fn every_packet_of_a_real_client_opens_and_is_wrapped_to_the_same_bytes() {
    let text: Value = serde_json::from_str(RECORDED).unwrap();
    let (mut count, mut renewed_count, mut carried) = (0, 0, 0);
    for recording in text["recordings"].as_array().unwrap() {
        let wrap = recording["wrap"].as_str();
        let tls = Recorded(unhex(recording["exporter"].as_str().unwrap()));
        let (mut server, mut client) = ends(wrap, &tls);
        let (base, renewed) = keys(wrap, &tls.0);
        let mut sids: [Option<SessionId>; 2] = [None; 2];
        for line in recording["packets"].as_array().unwrap() {
            let (direction, hex) = line.as_str().unwrap().split_once(' ').unwrap();
            let bytes = unhex(hex);
            let (opcode, key_id) = crate::wire::opcode(&bytes).unwrap();
            let (opener, sender) = if direction == "c2s" { (&mut server, 0) } else { (&mut client, 1) };
            let plain = opener.open(&bytes).unwrap_or_else(|error| panic!("{wrap:?} {error}: {hex}"));
            let control = Control::parse(&plain).unwrap();
            assert_eq!(*sids[sender].get_or_insert(control.session), control.session);
            if let (Some(peer), Some(known)) = (control.peer_session, sids[1 - sender]) {
                assert_eq!(peer, known);
            }
            let Some(key) = (if key_id > 0 { Some(&renewed) } else { base.as_ref() }) else { continue };
            let role = if direction == "c2s" { Role::Client } else { Role::Server };
            let [c0, c1, c2, c3, t0, t1, t2, t3] = *bytes[9..].first_chunk::<8>().unwrap();
            let (counter, time) =
                (u32::from_be_bytes([c0, c1, c2, c3]), u32::from_be_bytes([t0, t1, t2, t3]));
            let mut again = plain.into_owned();
            assert!(Wrapping::new(key, role, time, counter).seal(&mut again));
            if matches!(opcode, Opcode::HardResetClientV3 | Opcode::ControlWkcV1) {
                carried += 1;
                again.extend_from_slice(split_wrapped_key(&bytes).unwrap().1);
            }
            assert_eq!(again, bytes, "{wrap:?}");
            count += 1;
            renewed_count += u32::from(key_id > 0);
        }
    }
    assert!(count > 40 && renewed_count >= 30 && carried == 2, "{count} {renewed_count} {carried}");
}

#[test]
fn the_first_packets_of_a_real_client_are_told_apart() {
    let text: Value = serde_json::from_str(RECORDED).unwrap();
    let first = |place: usize| {
        let line = text["recordings"][place]["packets"][0].as_str().unwrap();
        unhex(line.strip_prefix("c2s ").unwrap())
    };
    let shared = ControlWrap::TlsCrypt(Arc::new(StaticKey::from_file(SHARED).unwrap()));
    let server = ServerKey::from_file(SERVER).unwrap();
    let own = ControlWrap::TlsCryptV2(Arc::new(server));
    let wraps = [&ControlWrap::Plain, &shared, &own];
    for (place, packet) in [first(0), first(1), first(2)].iter().enumerate() {
        for (at, wrap) in wraps.into_iter().enumerate().skip(1) {
            assert_eq!(wrap.first(packet).is_some(), at == place, "{place} {at}");
        }
    }
    assert!(own.first(&first(2)).unwrap().resends_key);
    // And the real client took our request for its key, or it could not have gone on.
    assert!(asks_for_key(&RESEND_WKC));
}

#[test]
fn requests_for_the_key_are_read_among_others() {
    for (payload, expected) in [
        (&[][..], false),
        (&[0, 1, 0, 2, 0, 1], true),
        (&[0, 1, 0, 2, 0, 3], true),
        (&[0, 1, 0, 2, 0, 2], false),
        (&[0, 9, 0, 1, 7, 0, 1, 0, 2, 0, 1], true),
        (&[0, 9, 0, 0, 0, 1, 0, 2, 0, 1], true),
        (&[0, 1, 0, 1, 1], false),
        (&[0, 1, 0, 9, 0, 1], false),
        (&[0, 1, 0, 2, 0], false),
        (&[0, 1], false),
        (&[0xff; 40], false),
    ] {
        assert_eq!(asks_for_key(payload), expected, "{payload:?}");
    }
}

/// Whoever has a key may still send nonsense under it: authentic is not well-formed (CVE-2026-35058, CVE-2025-2704).
#[test]
fn nonsense_under_a_good_key_is_dropped() {
    use crate::Instant;
    use crate::server::{CookieJar, FirstPacket, tcp_reset_wrapped};
    let client_key = ClientKey::from_file(CLIENT).unwrap();
    let shared = StaticKey::from_file(SHARED).unwrap();
    let wraps = [
        (ControlWrap::TlsCrypt(Arc::new(shared.clone())), shared, &[][..], 1),
        (
            ControlWrap::TlsCryptV2(Arc::new(ServerKey::from_file(SERVER).unwrap())),
            client_key.key().clone(),
            client_key.wrapped(),
            u32::from_be_bytes([EARLY_NEGOTIATION, 0, 0, 0]),
        ),
    ];
    let jar = CookieJar::new([3; 32]);
    let peer = "192.0.2.1:7".parse().unwrap();
    let mut state = 1_u64;
    let mut dice = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(state >> 56).unwrap()
    };
    for (wrap, key, wrapped_key, first) in wraps {
        for length in (0..60).cycle().take(6_000) {
            // Hard reset, CONTROL, ACK, soft reset, CONTROL_WKC, of any key, and one of random opcode.
            let op = [7, 4, 5, 3, 10, 11, dice() % 32][usize::from(dice()) % 7];
            let mut packet = vec![(op << 3) | (dice() % 8), 1, 2, 3, 4, 5, 6, 7, 8];
            // Counts of acknowledgements that are possible, and not.
            packet.extend((length > 0).then(|| dice() % 12));
            packet.extend((1..length).map(|_| dice()));
            let carries = matches!(op, 10 | 11);
            assert!(Wrapping::new(&key, Role::Client, 1, first + u32::from(dice())).seal(&mut packet));
            if carries {
                packet.extend_from_slice(wrapped_key);
            }
            let mut out = Vec::new();
            match jar.judge_wrapped(&wrap, peer, &packet, Instant(0), UnixTime(1), &mut out) {
                FirstPacket::Proven { .. } => panic!("nobody knows a cookie"),
                FirstPacket::Answer => {
                    assert!(out.len() <= packet.len() + 12, "{} for {}", out.len(), packet.len());
                    assert!(wrap.session(&packet, UnixTime(1)).is_some());
                }
                FirstPacket::Drop => assert!(out.is_empty()),
            }
            let _ = tcp_reset_wrapped(&wrap, &packet);
        }
    }
}
