//! Every parser of the protocol, under bytes that nobody should send: no panic, bounded, and true to what it says. Rows of
//! `corpus/` are replayed first, then thousands of seeded mutations of them and of recorded packets.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use foreign::Dice;
use openvpn::client::Line;
use openvpn::data::{self, Channel, Cipher, KeyMaterial, Role};
use openvpn::km2::{self, ClientParser, MAX_KM2_BYTES, ServerParser};
use openvpn::push::{Assembler, Kind};
use openvpn::server::{CookieJar, FirstPacket, Session, tcp_reset_wrapped};
use openvpn::tls::Tls;
use openvpn::tls::double::{Double, Script};
use openvpn::wire::{self, Control, MAX_PACKET_BYTES, Opcode, SessionId, frame};
use openvpn::wrap::{ClientKey, ControlWrap, ServerKey, StaticKey};
use openvpn::{Instant, PeerInfo, UnixTime, client};
use serde_json::Value;

const ROUNDS: u64 = 20_000;
const NOW: Instant = Instant(50_000_000);
const WALL: UnixTime = UnixTime(1_700_000_000);

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

static RECORDED: LazyLock<Vec<Value>> = LazyLock::new(|| {
    ["openvpn-2.4.12", "openvpn-2.7", "openvpn3", "aws-2.6.12", "wrapped-2.6.14"]
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(folder("vectors").join(format!("{file}.json"))).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            value["recordings"].as_array().unwrap().clone()
        })
        .collect()
});

/// Recorded bytes under a name: strings of a list, behind their direction, or objects' `hex` or `packet`.
fn recorded(list: &str, direction: &str) -> Vec<Vec<u8>> {
    let mut found = BTreeSet::new();
    for item in RECORDED.iter().flat_map(|recording| recording[list].as_array().into_iter().flatten()) {
        match item.as_str() {
            Some(line) => found.extend(line.strip_prefix(direction).map(|hex| unhex(hex.trim()))),
            None if item["dir"] == direction => {
                let hex = item["hex"].as_str().or(item["packet"].as_str());
                found.extend(hex.map(unhex));
            }
            None => {}
        }
    }
    assert!(!found.is_empty(), "{list}");
    found.into_iter().collect()
}

/// Replays the target's rows and `seeds`, then mutations of them.
fn storm(target: &str, seeds: Vec<Vec<u8>>, rounds: u64, run: impl FnMut(&[u8], &mut Dice)) {
    foreign::storm(&folder("corpus").join(format!("{target}.txt")), seeds, rounds, run);
}

#[test]
fn control_packets() {
    let seeds = [recorded("control", "c2s"), recorded("control", "s2c")].concat();
    let (mut good, mut bad) = (0, 0);
    storm("control", seeds, ROUNDS, |bytes, _| {
        let Ok(control) = Control::parse(bytes) else {
            bad += 1;
            return;
        };
        good += 1;
        assert!(!control.opcode.is_data() && control.key_id < 8 && control.acks.as_slice().len() <= 8);
        assert_eq!(control.peer_session.is_some(), !control.acks.is_empty());
        let mut again = Vec::new();
        control.encode(&mut again);
        assert_eq!(again, bytes);
    });
    assert!(good > 1000 && bad > 1000, "{good} {bad}");
}

#[test]
fn frames() {
    let seeds = recorded("control", "c2s");
    let framed = seeds.iter().take(30).map(|packet| {
        let mut out = Vec::new();
        for _ in 0..3 {
            assert!(frame::append(&mut out, |out| {
                out.extend_from_slice(packet);
                true
            }));
        }
        out
    });
    let mut cuts = 0;
    storm("frames", framed.collect(), ROUNDS, |bytes, _| {
        let mut owned = bytes.to_vec();
        let mut rest = owned.as_mut_slice();
        let mut used = 0;
        while let Ok(Some(packet)) = frame::cut(&mut rest) {
            assert!((1..=MAX_PACKET_BYTES).contains(&packet.len()));
            used += frame::HEADER_BYTES + packet.len();
            cuts += 1;
        }
        assert_eq!(used + rest.len(), bytes.len());
    });
    assert!(cuts > 1000, "{cuts}");
}

/// However a message is cut into records, the outcome is the same; and no parser holds more than its bound.
#[test]
fn key_method_2() {
    let mut seeds = recorded("messages", "c2s");
    seeds.retain(|bytes| bytes.len() < 2000);
    let (mut good, mut bad) = (0, 0);
    storm("km2-client", seeds, ROUNDS, |bytes, rng| {
        let whole = ClientParser::default().feed(bytes);
        let mut parser = ClientParser::default();
        let (first, second) = bytes.split_at(usize::try_from(rng.below(bytes.len() as u64 + 1)).unwrap());
        let pieces = match parser.feed(first) {
            Ok(None) => parser.feed(second),
            early => early,
        };
        match (&whole, &pieces) {
            (Ok(Some(one)), Ok(Some(two))) => {
                good += 1;
                assert_eq!(one.message.username, two.message.username);
                assert_eq!(one.message.encode(), two.message.encode());
                let info = PeerInfo::parse(one.message.peer_info.as_deref().unwrap_or(""));
                let _ = info.choose_cipher(&one.message.options, &Cipher::ALL);
                assert!(km2::mirrored_options(&one.message.options).len() <= 3000);
            }
            (Ok(None), Ok(None)) => {
                let _ = (parser.may_be_complete(), parser.finish());
            }
            (Err(_), Err(_)) => bad += 1,
            // What is wrong behind a message may be seen before or after it is cut off.
            (one, two) => assert!(one.is_err() || two.is_err(), "{one:?} {two:?}"),
        }
    });
    assert!(good > 500 && bad > 500, "{good} {bad}");
    let mut seeds = recorded("messages", "s2c");
    seeds.retain(|bytes| bytes.len() < 2000);
    storm("km2-server", seeds, ROUNDS, |bytes, _| {
        let mut parser = ServerParser::default();
        let _ = parser.feed(bytes);
    });
}

#[test]
fn key_method_2_is_bounded() {
    // Without end: each parser gives up by its bound.
    for lead in [[0, 0, 0, 0], [0xff, 0xff, 0x03, 0]] {
        let mut parser = ClientParser::default();
        let mut fed = 0;
        let mut bytes = [&lead[..], &[2]].concat();
        bytes.extend_from_slice(&[1; 112]);
        while let Ok(None) = parser.feed(&bytes) {
            fed += bytes.len();
            assert!(fed < 2 * MAX_KM2_BYTES, "unbounded");
            bytes = vec![0xff; 8192];
        }
    }
}

#[test]
fn peer_info() {
    let lines = Line::ALL.map(|line| line.config().peer_info.into_bytes());
    storm("peer-info", lines.to_vec(), ROUNDS, |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let info = PeerInfo::parse(&text);
        assert!(info.raw.len() <= 4096 && info.raw.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n')));
        let shown = [&info.version, &info.platform, &info.gui_version, &info.sso];
        for value in shown.into_iter().flatten() {
            assert!(value.len() <= 256 && value.bytes().all(|b| matches!(b, b' '..=b'~')));
        }
        assert!(info.ciphers.as_ref().is_none_or(|known| known.len() <= Cipher::ALL.len()));
        let chosen = info.choose_cipher(&text, &[Cipher::Aes256Gcm]);
        assert!(chosen.is_none_or(|cipher| cipher == Cipher::Aes256Gcm));
    });
}

#[test]
fn push_replies() {
    let mut seeds = recorded("messages", "s2c");
    seeds.retain(|bytes| bytes.starts_with(b"PUSH_REPLY"));
    let mut whole = 0;
    storm("push", seeds, ROUNDS, |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let mut assembler = Assembler::new(Kind::Reply);
        for part in [&text, &text] {
            if let Ok(Some(options)) = assembler.take(part) {
                assert!(options.len() <= 2 * text.len());
                whole += 1;
            }
        }
    });
    assert!(whole > 500, "{whole}");
    let mut assembler = Assembler::new(Kind::Reply);
    let endless = format!("PUSH_REPLY,{}push-continuation 2", "x,".repeat(1000));
    assert!((0..10).any(|_| assembler.take(&endless).is_err()), "collects without end");
}

fn file(name: &str) -> String {
    std::fs::read_to_string(folder("vectors").join(name)).unwrap()
}

fn wraps() -> [ControlWrap; 3] {
    [
        ControlWrap::Plain,
        ControlWrap::TlsCrypt(Arc::new(StaticKey::from_file(&file("tls-crypt.key")).unwrap())),
        ControlWrap::TlsCryptV2(Arc::new(ServerKey::from_file(&file("tls-crypt-v2-server.key")).unwrap())),
    ]
}

fn server_session(wrap: Option<(&ControlWrap, &[u8])>, client: SessionId) -> Session {
    let tls = Box::new(|| Ok(Box::new(Double::server(Script::default())) as Box<dyn Tls>));
    let session = Session::new(Arc::default(), tls, client, SessionId([2; 8]), [1; 32], NOW).unwrap();
    match wrap.and_then(|(wrap, packet)| wrap.session(packet, WALL)) {
        Some(wrap) => session.with_wrap(wrap),
        None => session,
    }
}

/// Packets of peers without a session: one small answer at most, no proof by guessing, nothing wrapped but whole.
#[test]
fn first_packets() {
    let jar = CookieJar::new([4; 32]);
    let peer: SocketAddr = "203.0.113.9:5000".parse().unwrap();
    let wraps = wraps();
    let seeds = [recorded("packets", "c2s"), recorded("control", "c2s")].concat();
    let known: BTreeSet<Vec<u8>> = seeds.iter().cloned().collect();
    let (mut answers, mut wrapped_answers) = (0, 0);
    let mut out = Vec::new();
    storm("first", seeds, ROUNDS, |bytes, _| {
        for (place, wrap) in wraps.iter().enumerate() {
            match jar.judge_wrapped(wrap, peer, bytes, NOW, WALL, &mut out) {
                FirstPacket::Answer => {
                    answers += 1;
                    wrapped_answers += u32::from(place > 0);
                    assert!(out.len() <= 72 && out.len() < 2 * bytes.len(), "amplifies {}", bytes.len());
                    assert!(place == 0 || known.contains(bytes), "answers what it has not authenticated");
                }
                FirstPacket::Drop => assert!(out.is_empty()),
                FirstPacket::Proven { .. } => panic!("a guess proves an address"),
            }
            let reset = tcp_reset_wrapped(wrap, bytes);
            assert!(reset.is_none() || place == 0 || known.contains(bytes));
            let session = wrap.session(bytes, WALL);
            assert!(session.is_none() || place == 0 || known.contains(bytes));
        }
    });
    assert!(answers > 100 && wrapped_answers > 1, "{answers} {wrapped_answers}");
}

/// Sessions of all kinds under garbage for them: whatever is not theirs is discarded.
#[test]
fn sessions() {
    let wraps = wraps();
    let packets = recorded("packets", "c2s");
    let first = |opcode: Opcode| {
        packets.iter().find(|packet| wire::opcode(packet) == Some((opcode, 0))).unwrap().clone()
    };
    let (v1_packet, v2_packet) = {
        let resets = packets.iter().filter(|packet| packet[0] == Opcode::HardResetClientV2.first_byte(0));
        (resets.max_by_key(|packet| packet.len()).unwrap().clone(), first(Opcode::HardResetClientV3))
    };
    let client_of = |packet: &[u8]| SessionId(*packet[1..].first_chunk().unwrap());
    let plain = first(Opcode::ControlV1);
    let known: BTreeSet<Vec<u8>> = packets.iter().cloned().collect();
    let mut sessions = [
        server_session(None, client_of(&plain)),
        server_session(Some((&wraps[1], &v1_packet)), client_of(&v1_packet)),
        server_session(Some((&wraps[2], &v2_packet)), client_of(&v2_packet)),
    ];
    let tls = Box::new(|| Ok(Box::new(Double::client(Script::default())) as Box<dyn Tls>));
    let config = Arc::new(Line::V2_7.config());
    let mut fresh = client::Session::new(config, tls, SessionId([1; 8]), [1; 32], NOW).unwrap();
    let mut out = Vec::new();
    storm("sessions", packets.clone(), ROUNDS, |bytes, rng| {
        for (place, session) in sessions.iter_mut().enumerate() {
            let taken = session.handle_packet(bytes, NOW).is_ok();
            assert!(!taken || place == 0 || known.contains(bytes), "takes what is not authentic");
            let mut sent = 0;
            while session.poll_transmit(NOW, &mut out) {
                assert!(out.len() <= 1250);
                sent += 1;
                assert!(sent < 20, "floods");
            }
            while session.poll_event().is_some() {}
        }
        let _ = fresh.handle_packet(bytes, NOW);
        while fresh.poll_transmit(NOW, &mut out) {}
        if rng.chance(5) {
            sessions[0] = server_session(None, client_of(&plain));
        }
    });
    // The wrapped ones are as good as new.
    assert!(!sessions[1].farewell_done() && !sessions[2].farewell_done());
}

/// Data packets in all formats: none opens but the sealed one, once.
#[test]
fn data_packets() {
    let keys = || KeyMaterial::new([7; 256]);
    let kinds = [(keys(), None), (keys(), Some(77)), (keys().in_epochs(), Some(77))];
    let mut seeds = Vec::new();
    let mut channels: Vec<Channel> = kinds
        .iter()
        .map(|(keys, peer)| {
            let (mut server, mut client) = (Channel::new(Role::Server), Channel::new(Role::Client));
            for channel in [&mut server, &mut client] {
                channel.install(0, keys, Cipher::Aes256Gcm, *peer).unwrap();
                channel.send_with(0);
            }
            for payload in [&b"E"[..], &data::PING, &[0x45; 900]] {
                let mut out = Vec::new();
                client.seal(payload, &mut out).unwrap();
                seeds.push(out);
            }
            server
        })
        .collect();
    let known: BTreeSet<Vec<u8>> = seeds.iter().cloned().collect();
    let seeds = [seeds, recorded("data", "c2s")].concat();
    let mut opened = BTreeSet::new();
    storm("data", seeds, ROUNDS, |bytes, _| {
        let _ = (wire::opcode(bytes), wire::peer_id(bytes), data::classify(bytes));
        for (place, channel) in channels.iter_mut().enumerate() {
            if channel.open(&mut bytes.to_vec()).is_ok() {
                assert!(known.contains(bytes), "forged");
                assert!(opened.insert((place, bytes.to_vec())), "replayed");
            }
        }
    });
    assert_eq!(opened.len(), 9);
}

#[test]
fn wrapped_keys_and_key_files() {
    let server = ServerKey::from_file(&file("tls-crypt-v2-server.key")).unwrap();
    let client = ClientKey::from_file(&file("tls-crypt-v2-client.key")).unwrap();
    storm("wrapped-key", vec![client.wrapped().to_vec()], ROUNDS, |bytes, _| {
        assert!(server.unwrap(bytes).is_err() || bytes == client.wrapped());
    });
    let files = ["tls-crypt.key", "tls-crypt-v2-server.key", "tls-crypt-v2-client.key"];
    let seeds = files.map(|name| file(name).into_bytes()).to_vec();
    let mut good = 0;
    storm("key-file", seeds, ROUNDS / 4, |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(key) = StaticKey::from_file(&text) {
            assert_eq!(StaticKey::from_file(&key.to_file()).unwrap().as_bytes(), key.as_bytes());
            good += 1;
        }
        if let Ok(key) = ServerKey::from_file(&text) {
            assert!(ServerKey::from_file(&key.to_file()).is_ok());
        }
        if let Ok(key) = ClientKey::from_file(&text) {
            assert_eq!(ClientKey::from_file(&key.to_file()).unwrap().wrapped(), key.wrapped());
        }
    });
    assert!(good > 10, "{good}");
}
