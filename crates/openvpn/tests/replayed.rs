//! Everything that real clients sent in whole sessions, packet by packet, into our server's session. TLS alone cannot be
//! replayed: in its place stands a tape that takes the client's bytes and yields the recorded messages as they come.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use openvpn::Instant;
use openvpn::server::{Event, Outcome, Session, SessionConfig};
use openvpn::tls::{Tls, TlsError};
use openvpn::wire::{Control, Opcode, SessionId};
use serde_json::Value;

const FILES: [&str; 6] =
    ["aws-2.6.12", "openvpn-2.4.12", "openvpn-2.5.11", "openvpn-2.6.14", "openvpn-2.7", "openvpn3"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn sid(value: &Value) -> SessionId {
    SessionId(unhex(value.as_str().unwrap()).try_into().unwrap())
}

/// The client's bytes under one key, and what they say, each message with the number of bytes after which it is said.
#[derive(Clone, Default)]
struct Tape {
    expected: Vec<u8>,
    fed: usize,
    messages: VecDeque<(usize, Vec<u8>)>,
    written: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tls for Tape {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        let end = self.fed + bytes.len();
        assert_eq!(bytes, &self.expected[self.fed..end], "the client's bytes, in order");
        self.fed = end;
        Ok(())
    }
    fn drain(&mut self, _: &mut Vec<u8>) {}
    fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
        self.written.lock().unwrap().push(plaintext.to_vec());
        Ok(())
    }
    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        while self.messages.front().is_some_and(|(after, _)| *after <= self.fed) {
            out.extend(self.messages.pop_front().unwrap().1);
        }
        Ok(())
    }
    fn handshaking(&self) -> bool {
        self.fed == 0
    }
    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        vec![]
    }
    fn export(&self, _: &str, out: &mut [u8]) -> Result<(), TlsError> {
        out.fill(7);
        Ok(())
    }
}

struct Recording {
    name: String,
    value: Value,
    /// Client to server, in order.
    packets: Vec<Vec<u8>>,
}

fn recordings() -> Vec<Recording> {
    let mut all = Vec::new();
    for file in FILES {
        let text = std::fs::read_to_string(folder().join(format!("{file}.json"))).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        for value in list["recordings"].as_array().unwrap() {
            let name = format!("{file} {}", value["name"].as_str().unwrap());
            let lines = value["control"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
            let packets = lines.filter_map(|line| line.strip_prefix("c2s ")).map(unhex).collect();
            all.push(Recording { name, value: value.clone(), packets });
        }
    }
    all
}

impl Recording {
    /// What the client says under a key.
    fn messages(&self, key_id: u8) -> Vec<Vec<u8>> {
        let all = self.value["messages"].as_array().unwrap().iter();
        all.filter(|message| message["dir"] == "c2s" && message["key_id"] == key_id)
            .map(|message| match message["file"].as_str() {
                Some(file) => std::fs::read(folder().join(file)).unwrap(),
                None => unhex(message["hex"].as_str().unwrap()),
            })
            .collect()
    }

    /// The tape of a key: each message behind the first came in a packet of its own.
    fn tape(&self, key_id: u8) -> Tape {
        let mut payloads = BTreeMap::new();
        for packet in &self.packets {
            let control = Control::parse(packet).unwrap();
            if let (true, Some(id)) = (control.key_id == key_id, control.message_id) {
                payloads.insert(id, control.payload.to_vec());
            }
        }
        let lengths: Vec<usize> = payloads.values().map(Vec::len).collect();
        let total: usize = lengths.iter().sum();
        let messages = self.messages(key_id);
        let later = messages.len().saturating_sub(1);
        let messages = messages.into_iter().enumerate().map(|(number, message)| {
            let behind: usize = lengths.iter().rev().take(later - number).sum();
            (total - behind, without_dynamic_wrapping(message))
        });
        let messages = messages.collect();
        Tape { expected: payloads.into_values().flatten().collect(), messages, ..Tape::default() }
    }
}

/// The recorded server did not offer to wrap renewed keys, ours would: this client says that it cannot (bit 9 of
/// `IV_PROTO`). It takes no other number of digits.
fn without_dynamic_wrapping(message: Vec<u8>) -> Vec<u8> {
    let mut message = message;
    for (offered, without) in [("IV_PROTO=990\n", "IV_PROTO=478\n"), ("IV_PROTO=8094\n", "IV_PROTO=7582\n")] {
        let found = message.windows(offered.len()).position(|window| window == offered.as_bytes());
        if let Some(at) = found {
            message[at..at + offered.len()].copy_from_slice(without.as_bytes());
        }
    }
    message
}

/// What came of a session.
#[derive(Default)]
struct Seen {
    logins: Vec<(u8, Option<String>, Option<String>)>,
    keys: Vec<u8>,
    established: bool,
    left: bool,
}

fn replay(recording: &Recording) -> (Seen, Vec<Vec<u8>>) {
    let now = Instant(1_000_000);
    let written = Arc::new(Mutex::new(Vec::new()));
    let tapes: Vec<Tape> =
        (0..8).map(|key_id| Tape { written: Arc::clone(&written), ..recording.tape(key_id) }).collect();
    let mut next = tapes.into_iter();
    let tls = Box::new(move || Ok(Box::new(next.next().expect("a key of the recording")) as Box<dyn Tls>));
    let (client, server) = (sid(&recording.value["client_sid"]), sid(&recording.value["server_sid"]));
    let config = SessionConfig { renegotiation_pause: std::time::Duration::ZERO, ..SessionConfig::default() };
    let over_tcp = recording.value["transport"] == "tcp";
    let make = if over_tcp { Session::over_tcp } else { Session::new };
    let mut session = make(Arc::new(config), tls, client, server, [3; 32], now).unwrap();
    let (mut seen, mut out, mut renewed) = (Seen::default(), Vec::new(), 0);
    for packet in &recording.packets {
        let control = Control::parse(packet).unwrap();
        if control.opcode == Opcode::HardResetClientV2 {
            continue;
        }
        // The recorded server began a renegotiation where the client's first packet of a key acknowledges something.
        if control.key_id > renewed {
            renewed = control.key_id;
            if control.peer_session.is_some() {
                session.renegotiate(now);
            }
        }
        let taken = session.handle_packet(packet, now);
        assert!(taken.is_ok() || seen.left, "{}: {taken:?} of {control:?}", recording.name);
        while session.poll_transmit(now, &mut out) {
            assert!(out.len() <= 1250);
        }
        while let Some(event) = session.poll_event() {
            match event {
                Event::AuthenticationNeeded(login) => {
                    assert!(login.peer_info.version.is_some(), "{}", recording.name);
                    seen.logins.push((
                        login.key_id,
                        login.username.clone(),
                        login.password.as_ref().map(|password| password.as_str().to_owned()),
                    ));
                    let push = vec!["ifconfig 10.8.0.2 255.255.255.0".to_owned()];
                    session.authenticated(Outcome::Accept { peer_id: 5, push }, now);
                }
                Event::KeysReady { key_id, .. } => seen.keys.push(key_id),
                Event::Established => seen.established = true,
                Event::PeerExit => seen.left = true,
                Event::SendKey { .. } | Event::KeyRetired { .. } => {}
                Event::Failed(reason) => panic!("{}: {reason:?}", recording.name),
            }
        }
    }
    let written = written.lock().unwrap().clone();
    (seen, written)
}

#[test]
fn whole_sessions_of_every_client_go_through() {
    let (mut count, mut exits, mut renewals, mut long) = (0, 0, 0, 0);
    for recording in recordings() {
        let name = &recording.name;
        let (seen, written) = replay(&recording);
        let last =
            recording.value["messages"].as_array().unwrap().iter().rfind(|m| m["dir"] == "c2s").unwrap();
        let exits_at_last = last["hex"].as_str() == Some("4558495400");
        let keys = recording.value["keys"].as_array().unwrap().len();
        assert_eq!(seen.logins.len(), keys, "{name}: a login for each key");
        for (place, (key_id, username, password)) in seen.logins.iter().enumerate() {
            assert_eq!(usize::from(*key_id), place, "{name}");
            assert_eq!(username.as_deref(), recording.value["username"].as_str(), "{name}");
            long += u32::from(password.as_ref().is_some_and(|password| password.len() > 39_000));
        }
        let asked = recording.messages(0).iter().any(|message| message == b"PUSH_REQUEST\0");
        assert!(asked && seen.established, "{name}: asked, and answered");
        assert_eq!(seen.keys.len(), keys, "{name}: keys for each");
        assert_eq!(seen.left, exits_at_last, "{name}");
        // A key-method-2 message for each key, always the plain one (spec: openvpn-protocol §7.2), and a push reply.
        let replies = written.iter().filter(|message| message.starts_with(&[0, 0, 0, 0, 2])).count();
        assert_eq!(replies, keys, "{name}");
        let pushed = written.iter().find(|message| message.starts_with(b"PUSH_REPLY,")).unwrap();
        assert!(pushed.ends_with(b"\0") && pushed.len() <= 1024, "{name}");
        count += 1;
        exits += u32::from(exits_at_last);
        renewals += keys - 1;
    }
    assert!(count > 25 && exits > 10 && renewals > 5 && long == 2, "{count} {exits} {renewals} {long}");
}
