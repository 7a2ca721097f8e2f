//! The client lines our client machine imitates, byte for byte against recorded sessions of the real ones.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{Action, Net, Rng, Spy, World, double_pair};
use openvpn::Instant;
use openvpn::client::{self, Line, SessionConfig};
use openvpn::km2::{ClientMessage, ClientParser};
use openvpn::server;
use openvpn::tls::Tls;
use openvpn::tls::double::{Double, Script};
use openvpn::wire::{Control, Opcode, SessionId};
use serde_json::Value;

const FILES: [(&str, Line); 6] = [
    ("openvpn-2.4.12", Line::V2_4),
    ("openvpn-2.5.11", Line::V2_5),
    ("openvpn-2.6.14", Line::V2_6),
    ("openvpn-2.7", Line::V2_7),
    ("openvpn3", Line::OpenVpn3),
    ("aws-2.6.12", Line::Aws),
];
/// Where the randoms of a client's message stand: they alone may differ.
const RANDOMS: std::ops::Range<usize> = 5..5 + 48 + 32 + 32;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn sid(value: &Value) -> SessionId {
    SessionId(unhex(value.as_str().unwrap()).try_into().unwrap())
}

fn recordings() -> Vec<(String, Line, Value)> {
    let mut all = Vec::new();
    for (file, line) in FILES {
        let text = std::fs::read_to_string(folder().join(format!("{file}.json"))).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        for recording in value["recordings"].as_array().unwrap() {
            let name = format!("{file} {}", recording["name"].as_str().unwrap());
            all.push((name, line, recording.clone()));
        }
    }
    all
}

fn config(line: Line, recording: &Value) -> SessionConfig {
    if recording["transport"] == "tcp" { line.config_over_tcp() } else { line.config() }
}

/// Control packets of a direction.
fn control(recording: &Value, direction: &str) -> Vec<Vec<u8>> {
    let lines = recording["control"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    lines.filter_map(|line| Some(unhex(line.strip_prefix(direction)?.trim()))).collect()
}

/// Messages of the client under a key.
fn messages(recording: &Value, key_id: u8) -> Vec<Vec<u8>> {
    let all = recording["messages"].as_array().unwrap().iter();
    let of_key = all.filter(|message| message["dir"] == "c2s" && message["key_id"] == key_id);
    let bytes = |message: &Value| match message["file"].as_str() {
        Some(file) => std::fs::read(folder().join(file)).unwrap(),
        None => unhex(message["hex"].as_str().unwrap()),
    };
    of_key.map(bytes).collect()
}

/// All bytes of a packet before its payload.
fn header(packet: &[u8]) -> &[u8] {
    let control = Control::parse(packet).unwrap();
    &packet[..packet.len() - control.payload.len()]
}

/// Reset, acknowledgement, ClientHello: order, opcodes, ids, acknowledgements.
#[test]
fn the_first_packets_are_those_of_the_real_client() {
    let mut count = 0;
    for (name, line, recording) in recordings() {
        let theirs = control(&recording, "c2s");
        let resets = |packet: &&Vec<u8>| packet[0] >> 3 == Opcode::HardResetServerV2.number();
        let answer = control(&recording, "s2c").iter().find(resets).unwrap().clone();
        let tls = Box::new(|| Ok(Box::new(Double::client(Script::default())) as Box<dyn Tls>));
        let now = Instant(1_000_000);
        let config = Arc::new(config(line, &recording));
        let mut session =
            client::Session::new(config, tls, sid(&recording["client_sid"]), [1; 32], now).unwrap();
        let mut ours = Vec::new();
        let drain = |session: &mut client::Session, ours: &mut Vec<Vec<u8>>| {
            let mut out = Vec::new();
            while session.poll_transmit(now, &mut out) {
                ours.push(out.clone());
            }
        };
        drain(&mut session, &mut ours);
        session.handle_packet(&answer, now).unwrap();
        drain(&mut session, &mut ours);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(header(ours), header(theirs), "{name}");
            count += 1;
        }
        let expected = if matches!(line, Line::V2_4 | Line::V2_5) { 3 } else { 2 };
        assert_eq!(ours.len(), expected, "{name}");
        assert_eq!(ours[0], theirs[0], "{name}: the whole reset");
    }
    assert!(count > 70, "{count}");
}

fn parsed(bytes: &[u8]) -> ClientMessage {
    ClientParser::default().feed(bytes).unwrap().unwrap().message
}

fn same_but_for_randoms(ours: &[u8], theirs: &[u8], name: &str) {
    let blank = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[RANDOMS].fill(0);
        bytes
    };
    assert_eq!(blank(ours), blank(theirs), "{name}");
}

/// Key-method 2, PUSH_REQUEST, EXIT, and key-method 2 once more after a soft reset.
#[test]
fn messages_are_those_of_the_real_client() {
    let (mut exits, mut renewals) = (0, 0);
    for (name, line, recording) in recordings() {
        let theirs = messages(&recording, 0);
        let message = parsed(&theirs[0]);
        let mut config = config(line, &recording);
        (config.username, config.password) = (message.username, message.password);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (_, server_tls) = double_pair(&mut Rng(1));
        let (written, mut seed) = (Arc::clone(&seen), 0);
        let client_tls = Box::new(move || {
            seed += 1;
            let double = Double::client(Script { seed, ..Script::default() });
            Ok(Box::new(Spy(Box::new(double), Arc::clone(&written))) as Box<dyn Tls>)
        });
        let tls = (client_tls as crate::world::MakeTls, server_tls);
        let mut world = World::new(1, Net::PERFECT, config, server::SessionConfig::default(), tls);
        // Long enough for the first request, too short for a second.
        world.auth_delay_us = 3_000_000;
        assert!(world.run(Duration::from_secs(8), |w| w.up_at.is_some()), "{name}: {:?}", world.seen);
        let ours = std::mem::take(&mut *seen.lock().unwrap());
        same_but_for_randoms(&ours[0], &theirs[0], &name);
        assert_eq!((ours[1].as_slice(), ours.len()), (b"PUSH_REQUEST\0".as_slice(), 2), "{name}");
        assert_eq!(theirs[1], b"PUSH_REQUEST\0", "{name}");
        if let Some(again) = messages(&recording, 1).first() {
            world.run(Duration::from_secs(2), |_| false);
            world.act(Action::ServerRenegotiates);
            let done = world.run(Duration::from_secs(70), |w| w.seen.client_sends.len() > 1);
            assert!(done, "{name}: {:?}", world.seen);
            let ours = std::mem::take(&mut *seen.lock().unwrap());
            same_but_for_randoms(&ours[0], again, &name);
            renewals += 1;
        }
        let last = recording["messages"].as_array().unwrap().iter().rfind(|m| m["dir"] == "c2s").unwrap();
        if last["hex"].as_str() == Some("4558495400") {
            world.act(Action::ClientExits);
            assert_eq!(seen.lock().unwrap().last().unwrap(), b"EXIT\0", "{name}");
            exits += 1;
        }
    }
    assert!(exits > 15 && renewals > 5, "{exits} {renewals}");
}

#[test]
fn each_line_negotiates_what_it_can() {
    let rows = [
        (Line::V2_4, "", false),
        (Line::V2_5, "", false),
        (Line::V2_6, "protocol-flags cc-exit tls-ekm dyn-tls-crypt", false),
        (Line::V2_7, "protocol-flags cc-exit tls-ekm dyn-tls-crypt aead-epoch", true),
        (Line::OpenVpn3, "protocol-flags cc-exit tls-ekm dyn-tls-crypt aead-epoch", true),
        (Line::Aws, "protocol-flags cc-exit tls-ekm dyn-tls-crypt", false),
    ];
    for ((line, flags, epochs), all) in rows.into_iter().zip(Line::ALL) {
        assert_eq!(line, all, "a line without a row");
        let tls = double_pair(&mut Rng(3));
        let mut world = World::new(1, Net::PERFECT, line.config(), server::SessionConfig::default(), tls);
        assert!(world.run(Duration::from_secs(8), |w| w.up_at.is_some()), "{line:?}");
        let pushed = world.seen.pushed.clone().unwrap();
        let found = pushed.iter().find(|option| option.starts_with("protocol-flags"));
        assert_eq!(found.map_or("", String::as_str), flags, "{line:?}");
        assert!(pushed.contains(&"cipher AES-256-GCM".to_owned()), "{line:?}");
        let flows = world.run(Duration::from_secs(3), |w| w.seen.data_up > 3 && w.seen.data_down > 3);
        assert!(flows && world.has_epochs == epochs, "{line:?}: {:?}", world.seen);
    }
}

#[test]
fn lines_are_chosen_by_name() {
    for line in Line::ALL {
        assert_eq!(Line::from_name(line.name()), Some(line));
    }
    for name in ["", "2.3", "2.6.14", "AWS"] {
        assert_eq!(Line::from_name(name), None);
    }
    assert!(!Line::OpenVpn3.config_over_tcp().retransmits && Line::V2_6.config_over_tcp().retransmits);
}
