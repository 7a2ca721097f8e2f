//! The server's session under a client that is written packet by packet: what is pushed to whom, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use crate::world::{Net, Rng, World, double_pair};
use openvpn::km2::{ClientMessage, Dialect};
use openvpn::server::{Discard, Event, FailReason, Farewell, Outcome, Session, SessionConfig};
use openvpn::tls::Tls;
use openvpn::tls::double::{Double, Script};
use openvpn::wire::{AckIds, Control, Opcode, SessionId};
use openvpn::{Instant, client, keys};

const CLIENT: SessionId = SessionId([1; 8]);
const SERVER: SessionId = SessionId([2; 8]);
const PUSHED: Duration = Duration::from_secs(10);

/// A client on a perfect wire, in full control of what it sends.
struct Raw {
    session: Session,
    now: Instant,
    tls: Double,
    key_id: u8,
    next_id: u32,
    texts: Vec<String>,
    events: Vec<Event>,
    opcodes: Vec<(Opcode, u8)>,
    /// Acknowledge nothing.
    withhold: bool,
}

impl Raw {
    fn new(config: SessionConfig) -> Self {
        let mut seed = 0;
        let tls = Box::new(move || {
            seed += 1;
            Ok(Box::new(Double::server(Script { seed, ..Script::default() })) as Box<dyn Tls>)
        });
        let now = Instant(5_000_000);
        let session = Session::new(Arc::new(config), tls, CLIENT, SERVER, [1; 32], now).unwrap();
        let tls = Double::client(Script { seed: 100, ..Script::default() });
        Self {
            session,
            now,
            tls,
            key_id: 0,
            next_id: 1,
            texts: vec![],
            events: vec![],
            opcodes: vec![],
            withhold: false,
        }
    }

    fn send(&mut self, opcode: Opcode, id: Option<u32>, acks: &[u32], payload: &[u8]) -> Result<(), Discard> {
        let mut packet = Vec::new();
        let acks: AckIds = acks.iter().copied().collect();
        let peer_session = (!acks.is_empty()).then_some(SERVER);
        Control { opcode, key_id: self.key_id, session: CLIENT, acks, peer_session, message_id: id, payload }
            .encode(&mut packet);
        let outcome = self.session.handle_packet(&packet, self.now);
        self.settle();
        outcome
    }

    /// Takes what the server says, acknowledges it, and lets TLS answer.
    fn settle(&mut self) {
        let mut out = Vec::new();
        for _ in 0..1000 {
            let mut acks = Vec::new();
            while self.session.poll_transmit(self.now, &mut out) {
                let control = Control::parse(&out).unwrap();
                self.opcodes.push((control.opcode, control.key_id));
                if control.key_id == self.key_id
                    && let Some(id) = control.message_id
                {
                    acks.push(id);
                    let _ = self.tls.feed(control.payload);
                }
            }
            while let Some(event) = self.session.poll_event() {
                self.events.push(event);
            }
            let mut plaintext = Vec::new();
            self.tls.read(&mut plaintext).unwrap();
            let texts = plaintext.split(|byte| *byte == 0).filter(|text| !text.is_empty());
            self.texts.extend(texts.filter_map(|text| String::from_utf8(text.to_vec()).ok()));
            let mut bytes = Vec::new();
            self.tls.drain(&mut bytes);
            if acks.is_empty() && bytes.is_empty() {
                return;
            }
            let mut send = |opcode, id, acks: &[u32], payload: &[u8]| {
                let mut packet = Vec::new();
                let acks: AckIds = acks.iter().copied().collect();
                let peer_session = (!acks.is_empty()).then_some(SERVER);
                Control {
                    opcode,
                    key_id: self.key_id,
                    session: CLIENT,
                    acks,
                    peer_session,
                    message_id: id,
                    payload,
                }
                .encode(&mut packet);
                let _ = self.session.handle_packet(&packet, self.now);
            };
            for chunk in acks.chunks(8).filter(|_| !self.withhold) {
                send(Opcode::AckV1, None, chunk, &[]);
            }
            for chunk in bytes.chunks(1000) {
                send(Opcode::ControlV1, Some(self.next_id), &[], chunk);
                self.next_id += 1;
            }
        }
        panic!("never comes to rest");
    }

    /// TLS and key-method 2 with this peer info.
    fn log_in(&mut self, peer_info: &str) {
        self.settle();
        let bytes = self.message(peer_info).encode().unwrap();
        self.tls.write(&bytes).unwrap();
        self.settle();
    }

    fn message(&self, peer_info: &str) -> ClientMessage {
        ClientMessage {
            dialect: Dialect::Stock,
            source: keys::ClientSource {
                pre_master: [1; 48].into(),
                random1: [2; 32].into(),
                random2: [3; 32].into(),
            },
            options: "V4,cipher AES-128-GCM,tls-client".to_owned(),
            username: Some("u".to_owned()),
            password: Some("p".to_owned().into()),
            peer_info: Some(peer_info.to_owned()),
        }
    }

    fn say(&mut self, text: &str) {
        self.tls.write(format!("{text}\0").as_bytes()).unwrap();
        self.settle();
    }

    fn accept(&mut self) {
        self.session.authenticated(Outcome::Accept { peer_id: 7, push: vec!["ping 1".to_owned()] }, self.now);
        self.settle();
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    fn has(&self, wanted: fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }

    fn pushes(&self) -> usize {
        self.texts.iter().filter(|text| text.starts_with("PUSH_REPLY")).count()
    }
}

const MODERN: &str = "IV_PROTO=990\nIV_NCP=2\nIV_CIPHERS=AES-256-GCM\nIV_MTU=1600\n";
/// Modern, but for the wrapping of renegotiations: this client is written packet by packet.
const PLAIN: &str = "IV_PROTO=478\nIV_NCP=2\nIV_CIPHERS=AES-256-GCM\nIV_MTU=1600\n";
const NEWEST: &str = "IV_PROTO=8094\nIV_NCP=2\nIV_CIPHERS=AES-256-GCM\nIV_MTU=1600\n";
const OLD: &str = "IV_PROTO=2\nIV_NCP=2\n";

#[test]
fn each_client_is_pushed_what_it_knows() {
    let rows: [(&str, bool, &str); 12] = [
        (
            MODERN,
            true,
            "ping 1,peer-id 7,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500",
        ),
        (
            MODERN,
            false,
            "ping 1,peer-id 7,cipher AES-256-GCM,protocol-flags cc-exit dyn-tls-crypt,tun-mtu 1500",
        ),
        (
            NEWEST,
            true,
            "ping 1,peer-id 7,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt aead-epoch,\
             tun-mtu 1500",
        ),
        // Epochs need the exporter, a peer id, and the option they stand in.
        (
            NEWEST,
            false,
            "ping 1,peer-id 7,cipher AES-256-GCM,protocol-flags cc-exit dyn-tls-crypt,tun-mtu 1500",
        ),
        (
            "IV_PROTO=8092\nIV_CIPHERS=AES-256-GCM\n",
            true,
            "ping 1,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt",
        ),
        (
            "IV_PROTO=7966\nIV_CIPHERS=AES-256-GCM\n",
            true,
            "ping 1,peer-id 7,cipher AES-256-GCM,key-derivation tls-ekm",
        ),
        (
            "IV_PROTO=1162\nIV_CIPHERS=AES-256-GCM\n",
            true,
            "ping 1,peer-id 7,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm aead-epoch",
        ),
        (OLD, true, "ping 1,peer-id 7,cipher AES-256-GCM"),
        (
            "IV_PROTO=10\nIV_CIPHERS=CHACHA20-POLY1305:AES-128-GCM\n",
            true,
            "ping 1,peer-id 7,cipher AES-128-GCM,key-derivation tls-ekm",
        ),
        (
            "IV_PROTO=130\nIV_CIPHERS=chacha20-poly1305\n",
            true,
            "ping 1,peer-id 7,cipher CHACHA20-POLY1305,protocol-flags cc-exit",
        ),
        ("IV_PROTO=0\nIV_NCP=2\n", true, "ping 1,cipher AES-256-GCM"),
        ("IV_VER=2.3.18\n", true, "ping 1"),
    ];
    for (peer_info, tls_ekm, expected) in rows {
        let mut raw = Raw::new(SessionConfig { tls_ekm, ..SessionConfig::default() });
        raw.log_in(peer_info);
        raw.accept();
        raw.say("PUSH_REQUEST");
        assert!(raw.texts.contains(&format!("PUSH_REPLY,{expected}")), "{peer_info}: {:?}", raw.texts);
        let keys = raw.events.iter().find_map(|event| match event {
            Event::KeysReady { v2_peer_id, keys, .. } => Some((*v2_peer_id, keys.has_epochs())),
            _ => None,
        });
        let v2_peer_id = expected.contains("peer-id").then_some(7);
        assert_eq!(keys, Some((v2_peer_id, expected.contains("aead-epoch"))), "{peer_info}");
    }
}

#[test]
fn what_the_server_is_not_to_offer_is_not_pushed() {
    let off =
        SessionConfig { dyn_tls_crypt: false, aead_epoch: false, cc_exit: false, ..SessionConfig::default() };
    let mut raw = Raw::new(off);
    raw.log_in(NEWEST);
    raw.accept();
    let expected = "PUSH_REPLY,ping 1,peer-id 7,cipher AES-256-GCM,protocol-flags tls-ekm,tun-mtu 1500";
    assert!(raw.texts.contains(&expected.to_owned()), "{:?}", raw.texts);
}

#[test]
fn a_client_without_shared_cipher_or_with_compression_is_told() {
    for (peer_info, options, why, text) in [
        (
            "IV_CIPHERS=BF-CBC:AES-192-GCM\n",
            "V4,cipher AES-256-GCM",
            FailReason::NoSharedCipher,
            "no shared cipher",
        ),
        ("", "V4,cipher BF-CBC", FailReason::NoSharedCipher, "no shared cipher"),
        ("", "V4", FailReason::NoSharedCipher, "no shared cipher"),
        ("IV_CIPHERS=\n", "V4,cipher AES-256-GCM", FailReason::NoSharedCipher, "no shared cipher"),
        ("IV_CIPHERS=AES-256-CBC\nIV_NCP=2\n", "V4", FailReason::NoSharedCipher, "no shared cipher"),
        ("IV_NCP=1\n", "V4,cipher AES-256-CBC", FailReason::NoSharedCipher, "no shared cipher"),
        (MODERN, "V4,comp-lzo,cipher AES-256-GCM", FailReason::Compression, "Compression"),
        (MODERN, "V4,cipher AES-256-GCM, comp-lzo", FailReason::Compression, "Compression"),
        (OLD, "V4,comp-lzo no", FailReason::Compression, "Compression"),
        // Compression goes first: who has both is told what it can change by itself.
        ("IV_CIPHERS=BF-CBC\n", "V4,comp-lzo", FailReason::Compression, "Compression"),
    ] {
        let mut raw = Raw::new(SessionConfig::default());
        raw.settle();
        let message = ClientMessage { options: options.to_owned(), ..raw.message(peer_info) };
        raw.tls.write(&message.encode().unwrap()).unwrap();
        raw.settle();
        assert!(
            raw.texts.iter().any(|t| t.starts_with("AUTH_FAILED,") && t.contains(text)),
            "{:?}",
            raw.texts
        );
        assert!(!raw.has(|event| matches!(event, Event::AuthenticationNeeded(_))));
        let failed = raw.events.iter().any(|event| matches!(event, Event::Failed(reason) if *reason == why));
        assert!(failed, "{:?}", raw.events);
    }
}

#[test]
fn nothing_is_pushed_before_the_login_is_accepted() {
    for peer_info in [MODERN, OLD] {
        let mut raw = Raw::new(SessionConfig::default());
        raw.accept(); // an answer without a question
        raw.settle();
        raw.accept();
        raw.log_in(peer_info);
        raw.say("PUSH_REQUEST");
        raw.say("PUSH_REQUEST");
        assert_eq!(raw.pushes(), 0);
        assert!(!raw.has(|event| matches!(event, Event::KeysReady { .. } | Event::Established)));
        assert!(!raw.session.is_established());
        raw.accept();
        assert_eq!(raw.pushes(), 1);
        assert!(raw.session.is_established());
        raw.accept();
        assert_eq!(raw.events.iter().filter(|event| matches!(event, Event::KeysReady { .. })).count(), 1);
    }
}

#[test]
fn old_clients_are_pushed_to_only_when_they_ask() {
    let mut raw = Raw::new(SessionConfig::default());
    raw.log_in(OLD);
    raw.accept();
    assert_eq!(raw.pushes(), 0);
    raw.say("PUSH_REQUEST");
    assert_eq!(raw.pushes(), 1);
}

#[test]
fn repeated_push_requests_are_ignored_for_thirty_seconds() {
    let mut raw = Raw::new(SessionConfig::default());
    raw.log_in(OLD);
    raw.accept();
    for _ in 0..5 {
        raw.say("PUSH_REQUEST");
        raw.wait(Duration::from_secs(5));
    }
    assert_eq!(raw.pushes(), 1);
    raw.wait(PUSHED);
    raw.say("PUSH_REQUEST");
    assert_eq!(raw.pushes(), 2);
    assert_eq!(raw.events.iter().filter(|event| matches!(event, Event::Established)).count(), 1);
}

#[test]
fn foreign_and_misplaced_packets_are_discarded() {
    let mut raw = Raw::new(SessionConfig::default());
    raw.settle();
    let now = raw.now;
    let packet = |session, opcode, key_id, id, peer: Option<SessionId>| {
        let mut out = Vec::new();
        let acks = AckIds::from_iter(peer.map(|_| 0));
        Control { opcode, key_id, session, acks, peer_session: peer, message_id: id, payload: b"" }
            .encode(&mut out);
        out
    };
    let stranger = SessionId([8; 8]);
    let rows = [
        (packet(stranger, Opcode::ControlV1, 0, Some(2), Some(SERVER)), Discard::Session),
        (packet(CLIENT, Opcode::ControlV1, 0, Some(2), Some(stranger)), Discard::Session),
        (packet(CLIENT, Opcode::ControlV1, 1, Some(0), Some(SERVER)), Discard::Key),
        (packet(CLIENT, Opcode::ControlV1, 0, Some(4000), Some(SERVER)), Discard::Window),
        (packet(CLIENT, Opcode::SoftResetV1, 1, Some(0), Some(SERVER)), Discard::Key),
        (packet(CLIENT, Opcode::SoftResetV1, 0, Some(0), Some(SERVER)), Discard::Key),
        (packet(CLIENT, Opcode::HardResetServerV2, 0, Some(0), Some(SERVER)), Discard::Opcode),
        (packet(CLIENT, Opcode::HardResetClientV3, 0, Some(0), None), Discard::Opcode),
    ];
    for (bytes, expected) in rows {
        assert_eq!(raw.session.handle_packet(&bytes, now), Err(expected), "{bytes:02x?}");
    }
    raw.log_in(PLAIN);
    raw.accept();
    assert!(raw.session.is_established());
    raw.wait(Duration::from_secs(2));
    for (key_id, id, good) in [(2, 0, false), (1, 1, false), (7, 0, false), (1, 0, true)] {
        let bytes = packet(CLIENT, Opcode::SoftResetV1, key_id, Some(id), None);
        assert_eq!(raw.session.handle_packet(&bytes, raw.now).is_ok(), good, "key {key_id}, id {id}");
    }
}

#[test]
fn at_most_six_messages_are_in_flight() {
    let script = Script { flight_bytes: 20_000, ..Script::default() };
    let tls = Box::new(move || Ok(Box::new(Double::server(script.clone())) as Box<dyn Tls>));
    let raw = Raw::new(SessionConfig::default());
    let session = Session::new(Arc::default(), tls, CLIENT, SERVER, [1; 32], raw.now).unwrap();
    let mut raw = Raw { session, withhold: true, ..raw };
    raw.settle();
    raw.send(Opcode::ControlV1, Some(2), &[], &[]).unwrap();
    let hello = [&[1, 0, 0, 0, 8][..], &[0; 8]].concat();
    let _ = raw.send(Opcode::ControlV1, Some(1), &[], &hello);
    let sent = |raw: &Raw| raw.opcodes.iter().filter(|(opcode, _)| *opcode == Opcode::ControlV1).count();
    assert_eq!(sent(&raw), 6);
    raw.send(Opcode::AckV1, None, &[2, 3], &[]).unwrap();
    assert_eq!(sent(&raw), 6, "the oldest holds the window");
    raw.send(Opcode::AckV1, None, &[1], &[]).unwrap();
    assert_eq!(sent(&raw), 9);
}

#[test]
fn a_repeated_hard_reset_is_acknowledged_again() {
    let mut raw = Raw::new(SessionConfig::default());
    raw.log_in(MODERN);
    raw.opcodes.clear();
    raw.send(Opcode::HardResetClientV2, Some(0), &[], &[]).unwrap();
    assert_eq!(raw.opcodes, [(Opcode::AckV1, 0)]);
}

#[test]
fn a_renegotiation_with_a_refused_login_ends_the_session() {
    let mut raw = Raw::new(SessionConfig::default());
    raw.log_in(PLAIN);
    raw.accept();
    raw.wait(Duration::from_secs(2));
    raw.session.renegotiate(raw.now);
    raw.key_id = 1;
    raw.next_id = 1;
    raw.tls = Double::client(Script { seed: 200, ..Script::default() });
    raw.send(Opcode::SoftResetV1, Some(0), &[0], &[]).unwrap();
    raw.log_in(PLAIN);
    assert!(raw.has(|event| matches!(event, Event::AuthenticationNeeded(login) if login.key_id == 1)));
    raw.session.authenticated(Outcome::Reject { reason: "CRV1:R:x\n".to_owned() }, raw.now);
    raw.settle();
    assert!(raw.texts.contains(&"AUTH_FAILED,CRV1:R:x?".to_owned()), "{:?}", raw.texts);
    assert!(raw.has(|event| matches!(event, Event::KeyRetired { key_id: 0 })));
    assert!(!raw.has(|event| matches!(event, Event::KeysReady { key_id: 1, .. })));
    assert!(raw.session.farewell_done());
}

#[test]
fn a_new_key_is_sent_with_only_once_the_client_has_it() {
    for by_data in [true, false] {
        let mut raw = Raw::new(SessionConfig::default());
        raw.log_in(PLAIN);
        raw.accept();
        raw.wait(Duration::from_secs(2));
        raw.withhold = true;
        raw.session.renegotiate(raw.now);
        raw.key_id = 1;
        raw.next_id = 1;
        raw.tls = Double::client(Script { seed: 200, ..Script::default() });
        raw.send(Opcode::SoftResetV1, Some(0), &[0], &[]).unwrap();
        raw.log_in(PLAIN);
        raw.session.note_new_key_used(1, raw.now); // it cannot be: there are no keys yet
        raw.accept();
        assert!(raw.has(|event| matches!(event, Event::KeysReady { key_id: 1, .. })));
        assert!(!raw.has(|event| matches!(event, Event::SendKey { key_id: 1 })));
        if by_data {
            raw.session.note_new_key_used(1, raw.now);
            raw.settle();
        } else {
            raw.send(Opcode::AckV1, None, &[0, 1, 2, 3, 4, 5], &[]).unwrap();
        }
        assert!(raw.has(|event| matches!(event, Event::SendKey { key_id: 1 })));
        assert!(!raw.has(|event| matches!(event, Event::KeyRetired { .. })));
        raw.wait(Duration::from_secs(3600));
        assert!(raw.has(|event| matches!(event, Event::KeyRetired { key_id: 0 })));
        assert!(!raw.has(|event| matches!(event, Event::Failed(_))));
    }
}

#[test]
fn a_renegotiation_that_never_ends_fails_the_session() {
    let mut raw = Raw::new(SessionConfig::default());
    raw.log_in(MODERN);
    raw.accept();
    raw.wait(Duration::from_secs(100));
    raw.session.renegotiate(raw.now);
    raw.wait(Duration::from_secs(59));
    assert!(!raw.has(|event| matches!(event, Event::Failed(_))));
    raw.wait(Duration::from_secs(1));
    assert!(raw.has(|event| matches!(event, Event::Failed(FailReason::HandshakeTimeout))));
    assert!(raw.has(|event| matches!(event, Event::KeyRetired { key_id: 0 })));
    assert_eq!(raw.session.poll_timeout(), None);
}

#[test]
fn very_old_clients_without_peer_info_are_understood_after_a_moment() {
    let mut raw = Raw::new(SessionConfig::default());
    raw.settle();
    let bytes = ClientMessage { peer_info: None, ..raw.message("") }.encode().unwrap();
    raw.tls.write(&bytes[..bytes.len() - 2]).unwrap();
    raw.settle();
    assert!(!raw.has(|event| matches!(event, Event::AuthenticationNeeded(_))));
    raw.wait(Duration::from_secs(2));
    assert!(raw.has(|event| matches!(event, Event::AuthenticationNeeded(_))));
}

#[test]
fn farewell_words() {
    for (farewell, text) in [
        (Farewell::Restart, "RESTART".to_owned()),
        (Farewell::RestartKeep, "RESTART,[P]".to_owned()),
        (Farewell::Halt(None), "HALT".to_owned()),
        (Farewell::Halt(Some("the end".to_owned())), "HALT,the end".to_owned()),
        (Farewell::AuthFailed(None), "AUTH_FAILED".to_owned()),
        (Farewell::AuthFailed(Some("x".repeat(5000))), format!("AUTH_FAILED,{}", "x".repeat(2046 - 12))),
    ] {
        let mut raw = Raw::new(SessionConfig::default());
        raw.log_in(MODERN);
        raw.accept();
        raw.session.farewell(farewell, raw.now);
        raw.session.farewell(Farewell::Halt(Some("too late".to_owned())), raw.now);
        raw.settle();
        assert_eq!(raw.texts.last(), Some(&text));
        assert!(raw.session.farewell_done());
    }
}

/// Those that know temporary refusals are told when to come back, also if they have not said so yet.
#[test]
fn a_time_to_come_back_is_told_to_those_that_know_it() {
    let farewell = || Farewell::ComeBack { after_s: 7, text: "later".to_owned() };
    let told = Some("AUTH_FAILED,TEMP[backoff 7,advance no]:later");
    for (info, told) in [(MODERN, told), (OLD, Some("RESTART,later"))] {
        let mut raw = Raw::new(SessionConfig::default());
        raw.log_in(info);
        raw.accept();
        raw.session.farewell(farewell(), raw.now);
        raw.settle();
        assert_eq!(raw.texts.last().map(String::as_str), told);
        let mut raw = Raw::new(SessionConfig::default());
        raw.session.farewell(farewell(), raw.now);
        raw.log_in(info);
        assert_eq!(raw.texts.last().map(String::as_str), told);
        assert!(raw.session.farewell_done());
    }
}

/// A farewell in the middle of a handshake is said as soon as the client can read it, within its time.
#[test]
fn farewell_before_the_login() {
    let mut raw = Raw::new(SessionConfig::default());
    raw.session.farewell(Farewell::RestartKeep, raw.now);
    assert!(!raw.session.farewell_done());
    raw.log_in(MODERN);
    assert_eq!(raw.texts.last().map(String::as_str), Some("RESTART,[P]"));
    assert!(!raw.has(|event| matches!(event, Event::AuthenticationNeeded(_))));
    assert!(raw.session.farewell_done());

    let mut mute = Raw::new(SessionConfig::default());
    mute.session.farewell(Farewell::RestartKeep, mute.now);
    mute.wait(Duration::from_secs(5));
    assert!(mute.session.farewell_done());
    assert_eq!(mute.session.poll_timeout(), None);
}

#[test]
fn a_broken_tls_sends_its_alert_then_fails() {
    let mut raw = Raw::new(SessionConfig::default());
    raw.send(Opcode::ControlV1, Some(1), &[0], &[9, 0, 0, 0, 0]).unwrap();
    assert!(raw.has(|event| matches!(event, Event::Failed(FailReason::Tls(_)))));
    let tls = Box::new(|| {
        Ok(Box::new(Double::server(Script { refuse: true, ..Script::default() })) as Box<dyn Tls>)
    });
    let mut raw = Raw {
        session: Session::new(Arc::default(), tls, CLIENT, SERVER, [1; 32], Instant(0)).unwrap(),
        ..raw
    };
    raw.next_id = 1;
    raw.tls = Double::client(Script::default());
    raw.opcodes.clear();
    raw.settle();
    assert!(raw.has(|event| matches!(event, Event::Failed(FailReason::Tls(_)))));
    assert_eq!(raw.opcodes.last(), Some(&(Opcode::ControlV1, 0)), "the alert");
    assert_eq!(raw.send(Opcode::ControlV1, Some(9), &[], &[]), Err(Discard::Over));
}

#[test]
fn excess_is_refused() {
    // A handshake that never ends.
    let mut raw = Raw::new(SessionConfig::default());
    let mut sent = 0;
    let mut id = 1;
    let record = [&[1, 0, 0x7f, 0xff, 0xff][..], &[0; 995]].concat();
    while raw.send(Opcode::ControlV1, Some(id), &[], if id == 1 { &record } else { &[0; 1000] }).is_ok() {
        id += 1;
        sent += 1000;
        assert!(sent < 200_000, "unbounded before the handshake");
    }
    assert!(raw.has(|event| matches!(event, Event::Failed(FailReason::Excess(_)))));
    // A message without end.
    let mut raw = Raw::new(SessionConfig::default());
    raw.log_in(MODERN);
    for _ in 0..70 {
        let _ = raw.tls.write(&[b'x'; 1000]);
        raw.settle();
    }
    assert!(raw.has(|event| matches!(event, Event::Failed(FailReason::Excess(_)))));
}

#[test]
fn key_method_2_that_cannot_be_read_fails() {
    for bytes in [&[0, 0, 0, 0, 1][..], &[0xff; 8], &[1, 0, 0, 0, 2]] {
        let mut raw = Raw::new(SessionConfig::default());
        raw.settle();
        raw.tls.write(bytes).unwrap();
        raw.settle();
        assert!(raw.has(|event| matches!(event, Event::Failed(FailReason::KeyExchange(_)))), "{bytes:?}");
    }
}

/// Sessions and channels move between threads.
#[test]
fn sessions_and_channels_are_send() {
    fn send<T: Send>() {}
    send::<Session>();
    send::<client::Session>();
    send::<openvpn::data::Channel>();
}

/// Random and mutated packets at every stage: nothing panics, and an established session survives what is not its own.
#[test]
fn garbage_harms_nobody() {
    let mut rng = Rng(77);
    let (mut born, mut up) = (0, 0);
    for round in 0..300 {
        let tls = double_pair(&mut rng);
        let net = Net { drop_per_mille: 50, repeat_per_mille: 100, delay_us: (100, 50_000) };
        let mut world =
            World::new(round, net, client::SessionConfig::default(), SessionConfig::default(), tls);
        for _ in 0..40 {
            let pause = Duration::from_micros(rng.below(80_000));
            world.run(pause, |_| false);
            let mut bytes = match world.seen.first_packets.get(usize::try_from(rng.below(6)).unwrap()) {
                Some(real) if rng.chance(700) => real.clone(),
                _ => (0..rng.below(80)).map(|_| rng.roll().to_be_bytes()[7]).collect(),
            };
            for _ in 0..rng.below(4) {
                // Header bytes beyond the session id: a foreign session id is what protects a session.
                let at = usize::try_from(rng.below(10)).unwrap();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = rng.roll().to_be_bytes()[7];
                }
            }
            bytes.truncate(usize::try_from(rng.below(60)).unwrap());
            let now = world.now;
            let _ = world.client.handle_packet(&bytes, now);
            if let Some(server) = &mut world.server {
                let _ = server.handle_packet(&bytes, now);
            }
            let _ = world.server_channel.open(&mut bytes.clone());
            let _ = world.client_channel.open(&mut bytes);
        }
        born += u32::from(world.server.is_some());
        up += u32::from(world.up_at.is_some());
    }
    assert!(born > 150 && up > 50, "{born} sessions, {up} up: the garbage met nobody");
}
