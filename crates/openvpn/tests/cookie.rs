//! The stateless handshake: who is answered, who is let in, and above all who is not.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{IpAddr, SocketAddr};

use openvpn::Instant;
use openvpn::server::{CookieJar, FirstPacket};
use openvpn::wire::{AckIds, Control, Opcode, SessionId};

const CLIENT: SessionId = SessionId([1, 2, 3, 4, 5, 6, 7, 8]);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn seconds(s: u64) -> Instant {
    Instant(s * 1_000_000)
}

fn packet(
    opcode: Opcode,
    key_id: u8,
    id: Option<u32>,
    acks: &[u32],
    peer: Option<SessionId>,
    payload: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    let acks: AckIds = acks.iter().copied().collect();
    Control { opcode, key_id, session: CLIENT, acks, peer_session: peer, message_id: id, payload }
        .encode(&mut out);
    out
}

fn reset() -> Vec<u8> {
    packet(Opcode::HardResetClientV2, 0, Some(0), &[], None, &[])
}

/// The server session id a reset is answered with.
fn cookie(jar: &CookieJar, peer: &str, now: Instant) -> SessionId {
    let mut out = vec![9; 100];
    assert_eq!(jar.judge(address(peer), &reset(), now, &mut out), FirstPacket::Answer);
    assert_eq!(out.len(), 26);
    let answer = Control::parse(&out).unwrap();
    assert_eq!((answer.opcode, answer.key_id, answer.message_id), (Opcode::HardResetServerV2, 0, Some(0)));
    assert_eq!((answer.acks.as_slice(), answer.peer_session), (&[0][..], Some(CLIENT)));
    answer.session
}

#[test]
fn the_first_packet_that_proves_the_address_is_let_in() {
    let jar = CookieJar::new([4; 32]);
    let peer = "203.0.113.9:5000";
    for start in [0, 29, 30, 1_000_003] {
        let sid = cookie(&jar, peer, seconds(start));
        for (opcode, id) in [(Opcode::ControlV1, Some(1)), (Opcode::AckV1, None)] {
            let payload: &[u8] = if id.is_some() { b"hello" } else { b"" };
            let third = packet(opcode, 0, id, &[0], Some(sid), payload);
            for (later, good) in [(0, true), (30, true), (60, true), (90, false), (3600, false)] {
                let verdict = jar.judge(address(peer), &third, seconds(start + later), &mut Vec::new());
                let expected = if good {
                    FirstPacket::Proven { client_sid: CLIENT, server_sid: sid }
                } else {
                    FirstPacket::Drop
                };
                assert_eq!(verdict, expected, "{opcode:?} {start}+{later}");
            }
        }
    }
}

#[test]
fn nobody_else_is() {
    let jar = CookieJar::new([4; 32]);
    let peer = "203.0.113.9:5000";
    let now = seconds(100);
    let sid = cookie(&jar, peer, now);
    let third = packet(Opcode::ControlV1, 0, Some(1), &[0], Some(sid), b"hello");
    let mut stranger = third.clone();
    stranger[3] ^= 0x40; // another client session id
    let wrong = SessionId({
        let mut bytes = sid.0;
        bytes[7] ^= 1;
        bytes
    });
    let other_key = CookieJar::new([5; 32]);
    let with = |acks: &[u32], id, key| packet(Opcode::ControlV1, key, Some(id), acks, Some(sid), b"hello");
    let rows: Vec<(&str, &CookieJar, &str, Vec<u8>)> = vec![
        ("other address", &jar, "203.0.113.8:5000", third.clone()),
        ("other port", &jar, "203.0.113.9:5001", third.clone()),
        ("other client session", &jar, peer, stranger),
        ("other server session", &jar, peer, packet(Opcode::ControlV1, 0, Some(1), &[0], Some(wrong), b"")),
        ("other secret", &other_key, peer, third.clone()),
        ("message id 2", &jar, peer, with(&[0], 2, 0)),
        ("acknowledges id 2", &jar, peer, with(&[2], 1, 0)),
        ("acknowledges 0 and 7", &jar, peer, with(&[0, 7], 1, 0)),
        ("key id 1", &jar, peer, with(&[0], 1, 1)),
        ("ACK of id 9", &jar, peer, packet(Opcode::AckV1, 0, None, &[9], Some(sid), &[])),
        ("soft reset", &jar, peer, packet(Opcode::SoftResetV1, 0, Some(0), &[0], Some(sid), &[])),
        ("server reset", &jar, peer, packet(Opcode::HardResetServerV2, 0, Some(0), &[0], Some(sid), &[])),
        ("reset with acks", &jar, peer, packet(Opcode::HardResetClientV2, 0, Some(0), &[0], Some(sid), &[])),
        ("reset of key 1", &jar, peer, packet(Opcode::HardResetClientV2, 1, Some(0), &[], None, &[])),
        ("reset with id 1", &jar, peer, packet(Opcode::HardResetClientV2, 0, Some(1), &[], None, &[])),
        ("V3 reset", &jar, peer, packet(Opcode::HardResetClientV3, 0, Some(0), &[], None, &[])),
        ("wrapped control", &jar, peer, packet(Opcode::ControlWkcV1, 0, Some(1), &[0], Some(sid), &[])),
        ("unproven control, id 2", &jar, peer, packet(Opcode::ControlV1, 0, Some(2), &[], None, b"x")),
        ("data", &jar, peer, vec![0x48; 60]),
        ("nothing", &jar, peer, vec![]),
    ];
    for (what, jar, peer, bytes) in rows {
        let mut out = vec![1];
        assert_eq!(jar.judge(address(peer), &bytes, now, &mut out), FirstPacket::Drop, "{what}");
        assert!(out.is_empty(), "{what}");
    }
    for cut in 0..26 {
        assert_eq!(
            jar.judge(address(peer), &third[..cut], now, &mut Vec::new()),
            FirstPacket::Drop,
            "cut at {cut}"
        );
    }
    // The row above must fail for its own reason only:
    assert!(matches!(jar.judge(address(peer), &third, now, &mut Vec::new()), FirstPacket::Proven { .. }));
}

/// One bit of the address or of the port is another peer, whichever: the cookie covers them whole.
#[test]
fn every_bit_of_address_and_port_counts() {
    let jar = CookieJar::new([4; 32]);
    let now = seconds(100);
    for peer in ["203.0.113.9:5000", "[2001:db8:1:2:a:b:c:d]:5000"] {
        let sid = cookie(&jar, peer, now);
        let third = packet(Opcode::ControlV1, 0, Some(1), &[0], Some(sid), b"hello");
        let judge = |from: SocketAddr| jar.judge(from, &third, now, &mut Vec::new());
        let at = address(peer);
        let bits = if at.is_ipv4() { 32 } else { 128 };
        let hosts = (0..bits).map(|bit| match at.ip() {
            IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) ^ 1 << bit).into()),
            IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) ^ 1 << bit).into()),
        });
        for other in hosts.map(|ip| SocketAddr::new(ip, at.port())) {
            assert_eq!(judge(other), FirstPacket::Drop, "{peer} is not {other}");
        }
        for bit in 0..16 {
            let other = SocketAddr::new(at.ip(), at.port() ^ 1 << bit);
            assert_eq!(judge(other), FirstPacket::Drop, "{peer} is not {other}");
        }
        assert!(matches!(judge(at), FirstPacket::Proven { .. }));
    }
    // The same number in the other version is another address, but for the mapped one.
    let sid = cookie(&jar, "203.0.113.9:5000", now);
    let third = packet(Opcode::ControlV1, 0, Some(1), &[0], Some(sid), b"hello");
    for other in ["[::203.0.113.9]:5000", "[64:ff9b::203.0.113.9]:5000", "[2002:cb00:7109::]:5000"] {
        assert_eq!(jar.judge(address(other), &third, now, &mut Vec::new()), FirstPacket::Drop, "{other}");
    }
}

#[test]
fn a_client_hello_without_acks_is_answered_by_the_reset_again() {
    let jar = CookieJar::new([4; 32]);
    let peer = "[2001:db8::1]:443";
    let now = seconds(10);
    let sid = cookie(&jar, peer, now);
    let hello = packet(Opcode::ControlV1, 0, Some(1), &[], None, &[0x16; 200]);
    let mut out = Vec::new();
    assert_eq!(jar.judge(address(peer), &hello, now, &mut out), FirstPacket::Answer);
    assert_eq!(Control::parse(&out).unwrap().session, sid);
    assert!(out.len() < hello.len());
}

#[test]
fn mapped_addresses_are_the_same_peer() {
    let jar = CookieJar::new([4; 32]);
    let sid = cookie(&jar, "203.0.113.9:5000", seconds(1));
    assert_eq!(cookie(&jar, "[::ffff:203.0.113.9]:5000", seconds(1)), sid);
}

#[test]
fn a_jar_shows_nothing_of_its_secret() {
    assert_eq!(format!("{:?}", CookieJar::new([7; 32])), "CookieJar(..)");
}
