//! Everything that real clients sent, against our parsers, builders, key derivation and data channel.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use openvpn::data::{Channel, Cipher, KeyMaterial, Role};
use openvpn::keys::{ClientSource, ServerSource, prf_keys};
use openvpn::km2::{ClientMessage, ClientParser, Dialect, ServerParser, mirrored_options};
use openvpn::push::{Assembler, Kind};
use openvpn::wire::{Control, Opcode, SessionId};
use serde_json::Value;

const FILES: [&str; 6] =
    ["aws-2.6.12", "openvpn-2.4.12", "openvpn-2.5.11", "openvpn-2.6.14", "openvpn-2.7", "openvpn3"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().unwrap()
}

/// All recordings, with a name for messages.
fn recordings() -> Vec<(String, Value)> {
    FILES
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(folder().join(format!("{file}.json"))).unwrap();
            let file_value: Value = serde_json::from_str(&text).unwrap();
            let list = file_value["recordings"].as_array().unwrap().clone();
            list.into_iter()
                .map(move |recording| (format!("{file} {}", recording["name"].as_str().unwrap()), recording))
        })
        .collect()
}

fn sids(recording: &Value) -> (SessionId, SessionId) {
    (SessionId(array(&recording["client_sid"])), SessionId(array(&recording["server_sid"])))
}

#[test]
fn every_control_packet_parses_and_encodes_to_the_same_bytes() {
    let mut count = 0;
    for (name, recording) in recordings() {
        let (client, server) = sids(&recording);
        for line in recording["control"].as_array().unwrap() {
            let (direction, hex) = line.as_str().unwrap().split_once(' ').unwrap();
            let packet = unhex(&Value::from(hex));
            let control = Control::parse(&packet).unwrap_or_else(|error| panic!("{name}: {error}: {hex}"));
            let (own, peer) = if direction == "c2s" { (client, server) } else { (server, client) };
            assert_eq!(control.session, own, "{name}: {hex}");
            assert!(control.peer_session.is_none_or(|sid| sid == peer), "{name}: {hex}");
            assert_eq!(control.message_id.is_none(), control.opcode == Opcode::AckV1);
            let mut again = Vec::new();
            control.encode(&mut again);
            assert_eq!(again, packet, "{name}");
            for cut in 0..packet.len().min(10 + 4 * control.acks.as_slice().len()) {
                assert!(Control::parse(&packet[..cut]).is_err(), "{name}: cut at {cut}");
            }
            count += 1;
        }
    }
    assert!(count > 600, "{count}");
}

fn message_bytes(message: &Value) -> Vec<u8> {
    match message["file"].as_str() {
        Some(file) => std::fs::read(folder().join(file)).unwrap(),
        None => unhex(&message["hex"]),
    }
}

/// The first message of a key in a direction: its key-method-2 message.
fn first_message<'r>(recording: &'r Value, direction: &str, key_id: &Value) -> Option<&'r Value> {
    recording["messages"].as_array().unwrap().iter().find(|m| m["dir"] == direction && m["key_id"] == *key_id)
}

fn parse_in(pieces: &[&[u8]]) -> ClientMessage {
    let mut parser = ClientParser::default();
    let (last, before) = pieces.split_last().unwrap();
    for piece in before {
        assert!(parser.feed(piece).unwrap().is_none());
    }
    let complete = parser.feed(last).unwrap().unwrap();
    assert!(complete.rest.is_empty());
    complete.message
}

#[test]
fn key_method_2_of_every_client_whole_split_and_byte_by_byte() {
    let (mut count, mut long, mut aws) = (0, 0, 0);
    for (name, recording) in recordings() {
        for key in recording["keys"].as_array().unwrap() {
            let message = first_message(&recording, "c2s", &key["key_id"]).unwrap();
            let bytes = message_bytes(message);
            let mut records = Vec::new();
            let mut rest = bytes.as_slice();
            for size in message["records"].as_array().unwrap() {
                let (record, tail) = rest.split_at(usize::try_from(size.as_u64().unwrap()).unwrap());
                records.push(record);
                rest = tail;
            }
            assert!(rest.is_empty());
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            for pieces in [vec![bytes.as_slice()], records, single] {
                let parsed = parse_in(&pieces);
                assert_eq!(parsed.source.pre_master.as_slice(), unhex(&key["pre_master"]), "{name}");
                assert_eq!(parsed.source.random1.as_slice(), unhex(&key["client_random1"]), "{name}");
                assert_eq!(parsed.source.random2.as_slice(), unhex(&key["client_random2"]), "{name}");
                assert_eq!(parsed.username.as_deref(), recording["username"].as_str(), "{name}");
                let dialect = if recording["km2_dialect"] == "aws" { Dialect::Aws } else { Dialect::Stock };
                assert_eq!(parsed.dialect, dialect, "{name}");
                assert!(parsed.peer_info.as_deref().unwrap().contains("IV_VER="), "{name}");
                assert_eq!(parsed.encode().unwrap().as_slice(), bytes, "{name}");
            }
            count += 1;
            long += u32::from(bytes.len() > 40_000);
            aws += u32::from(recording["km2_dialect"] == "aws");
        }
    }
    assert!(count > 40 && long == 2 && aws > 5, "{count} {long} {aws}");
}

#[test]
fn what_follows_a_message_is_kept() {
    for (name, recording) in recordings() {
        let message = first_message(&recording, "c2s", &Value::from(0)).unwrap();
        let mut bytes = message_bytes(message);
        bytes.extend_from_slice(b"PUSH_REQUEST\0");
        let complete = ClientParser::default().feed(&bytes).unwrap().unwrap();
        assert_eq!(complete.rest.as_slice(), b"PUSH_REQUEST\0", "{name}");
    }
}

#[test]
fn server_replies_parse_encode_and_mirror_the_options() {
    for (name, recording) in recordings() {
        for key in recording["keys"].as_array().unwrap() {
            let request =
                parse_in(&[&message_bytes(first_message(&recording, "c2s", &key["key_id"]).unwrap())]);
            let bytes = message_bytes(first_message(&recording, "s2c", &key["key_id"]).unwrap());
            let mut parser = ServerParser::default();
            let mut reply = None;
            for byte in &bytes {
                assert!(reply.is_none());
                reply = parser.feed(&[*byte]).unwrap();
            }
            let reply = reply.unwrap().message;
            assert_eq!(reply.encode().unwrap().as_slice(), bytes, "{name}");
            // The recording server left the transport's role as it was.
            let mirrored = mirrored_options(&request.options).replace("TCPv4_SERVER", "TCPv4_CLIENT");
            assert_eq!(mirrored, reply.options, "{name}");
        }
    }
}

#[test]
fn push_replies_come_together() {
    let mut split = 0;
    for (name, recording) in recordings() {
        let mut assembler = Assembler::new(Kind::Reply);
        let mut parts = 0;
        for message in recording["messages"].as_array().unwrap().iter().filter(|m| m["dir"] == "s2c") {
            let bytes = message_bytes(message);
            let Some(text) = bytes.strip_suffix(b"\0").and_then(|text| std::str::from_utf8(text).ok()) else {
                continue;
            };
            parts += u32::from(text.starts_with("PUSH_REPLY"));
            let Some(options) = assembler.take(text).unwrap() else { continue };
            assert!(options.iter().any(|option| option.starts_with("ifconfig ")), "{name}: {options:?}");
            split += u32::from(parts > 1);
        }
    }
    assert!(split > 0);
}

fn material(recording: &Value, key: &Value) -> Option<KeyMaterial> {
    let keys = key["key_material"].as_str().map(|_| KeyMaterial::new(array(&key["key_material"])))?;
    Some(if recording["data_format"] == "epoch" { keys.in_epochs() } else { keys })
}

#[test]
fn the_prf_yields_the_recorded_keys() {
    let mut count = 0;
    for (name, recording) in recordings() {
        let (client_sid, server_sid) = sids(&recording);
        for key in recording["keys"].as_array().unwrap() {
            let Some(expected) = material(&recording, key) else { continue };
            let client = ClientSource {
                pre_master: array(&key["pre_master"]).into(),
                random1: array(&key["client_random1"]).into(),
                random2: array(&key["client_random2"]).into(),
            };
            let server = ServerSource {
                random1: array(&key["server_random1"]).into(),
                random2: array(&key["server_random2"]).into(),
            };
            let derived = prf_keys(&client, &server, client_sid, server_sid);
            let by_prf = recording["key_derivation"] == "prf";
            assert_eq!(derived.as_bytes() == expected.as_bytes(), by_prf, "{name}");
            count += u32::from(by_prf);
        }
    }
    assert!(count > 12, "{count}");
}

#[test]
fn every_data_packet_opens_and_is_rebuilt_byte_for_byte() {
    let (mut count, mut v1, mut epochs) = (0, 0, 0);
    for (name, recording) in recordings() {
        for key in recording["keys"].as_array().unwrap() {
            let packets = recording["data"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|packet| packet["key_id"] == key["key_id"]);
            let Some(keys) = material(&recording, key) else { continue };
            let key_id = u8::try_from(key["key_id"].as_u64().unwrap()).unwrap();
            let cipher = Cipher::from_name(recording["data_cipher"].as_str().unwrap()).unwrap();
            let peer_id = recording["peer_id"].as_u64().map(|id| u32::try_from(id).unwrap());
            let fresh = |role| {
                let mut channel = Channel::new(role);
                channel.install(key_id, &keys, cipher, peer_id).unwrap();
                channel.send_with(key_id);
                channel
            };
            let (mut server, mut client) = (fresh(Role::Server), fresh(Role::Client));
            for packet in packets {
                let (bytes, plaintext) = (unhex(&packet["packet"]), unhex(&packet["plaintext"]));
                let up = packet["dir"] == "c2s";
                let opener = if up { &mut server } else { &mut client };
                let mut tampered = bytes.clone();
                *tampered.last_mut().unwrap() ^= 1;
                assert!(opener.open(&mut tampered).is_err(), "{name}");
                let mut copy = bytes.clone();
                let opened = opener.open(&mut copy).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(opened.payload, plaintext, "{name}");
                assert_eq!(opened.key_id, key_id);
                assert!(opener.open(&mut bytes.clone()).is_err(), "{name}: replayed");
                let mut sealer = fresh(if up { Role::Client } else { Role::Server });
                let mut out = Vec::new();
                for _ in 0..packet["packet_id"].as_u64().unwrap() {
                    out.clear();
                    sealer.seal(&plaintext, &mut out).unwrap();
                }
                assert_eq!(out, bytes, "{name}");
                count += 1;
                v1 += u32::from(peer_id.is_none());
                epochs += u32::from(keys.has_epochs());
            }
        }
    }
    assert_eq!((count, v1, epochs), (436, 33, 36), "all that were recorded");
}

/// All data of a session in the order of the wire into one channel at each end, which has all the session's keys, as after a
/// renegotiation: nothing of either key is lost or taken for a replay, and each key's first packet is noticed once.
#[test]
fn all_data_of_a_session_go_through_one_channel() {
    let (mut sessions, mut mixed) = (0, 0);
    for (name, recording) in recordings() {
        let Some(cipher) = recording["data_cipher"].as_str().and_then(Cipher::from_name) else { continue };
        let peer_id = recording["peer_id"].as_u64().map(|id| u32::try_from(id).unwrap());
        let ready = |role| {
            let mut channel = Channel::new(role);
            for key in recording["keys"].as_array().unwrap() {
                let key_id = u8::try_from(key["key_id"].as_u64().unwrap()).unwrap();
                channel.install(key_id, &material(&recording, key).unwrap(), cipher, peer_id).unwrap();
            }
            channel
        };
        let (mut server, mut client) = (ready(Role::Server), ready(Role::Client));
        let (mut first_uses, mut last) = (std::collections::BTreeSet::new(), 0);
        for packet in recording["data"].as_array().unwrap() {
            let up = packet["dir"] == "c2s";
            let mut bytes = unhex(&packet["packet"]);
            let opener = if up { &mut server } else { &mut client };
            let opened = opener.open(&mut bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(opened.payload, unhex(&packet["plaintext"]), "{name}");
            let key_id = opened.key_id;
            if opened.first_use {
                assert!(first_uses.insert((up, key_id)), "{name}: key {key_id} is new only once");
            }
            assert!(first_uses.contains(&(up, key_id)), "{name}: key {key_id} is noticed");
            mixed += u32::from(key_id < last);
            last = key_id;
        }
        assert_eq!(first_uses.len(), 2 * recording["keys"].as_array().unwrap().len(), "{name}");
        sessions += 1;
    }
    assert!(sessions > 30 && mixed > 2, "{sessions} {mixed}");
}
