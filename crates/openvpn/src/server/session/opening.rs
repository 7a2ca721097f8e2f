//! From a client's login to the push reply: what is agreed on key 0, and the two gates.

use super::{Pushed, Session};
use crate::data::Cipher;
use crate::keys::Derivation;
use crate::km2::ClientMessage;
use crate::peer_info::proto;
use crate::push::{self, Kind};
use crate::server::key::Decision;
use crate::server::{Event, FailReason, Login};
use crate::{Instant, PeerInfo};

impl Session {
    /// A client has presented itself.
    pub(super) fn log_in(&mut self, key_id: u8, message: ClientMessage, now: Instant) {
        if self.over {
            return;
        }
        let peer_info = PeerInfo::parse(message.peer_info.as_deref().unwrap_or(""));
        if self.goodbye.is_some() {
            if key_id == 0 {
                self.terms.peer_info = peer_info;
            }
            self.repeat_goodbye();
            return;
        }
        if key_id == 0 {
            let cipher = peer_info.choose_cipher(&message.options, &self.config.ciphers);
            let compresses = message.options.split(',').any(|option| option.trim().starts_with("comp-lzo"));
            let has_flags = peer_info.has(proto::CC_EXIT);
            let ekm = self.config.tls_ekm && peer_info.has(proto::TLS_EKM);
            let epochs = self.config.aead_epoch && ekm && has_flags && peer_info.has(proto::DATA_EPOCH);
            self.terms.derivation = Derivation { ekm, epochs };
            self.terms.dyn_tls_crypt =
                self.config.dyn_tls_crypt && has_flags && peer_info.has(proto::DYN_TLS_CRYPT);
            self.terms.peer_info = peer_info.clone();
            self.terms.dialect = Some(message.dialect);
            self.terms.cipher = cipher;
            if compresses {
                let text = "AUTH_FAILED,Compression is not supported by this server";
                return self.say_goodbye(text, None, Some(FailReason::Compression), now);
            }
            if cipher.is_none() {
                let text = "AUTH_FAILED,Data channel cipher negotiation failed (no shared cipher)";
                return self.say_goodbye(text, None, Some(FailReason::NoSharedCipher), now);
            }
        }
        let Some(key) = self.key_mut(key_id) else { return };
        key.decision = Decision::Pending;
        let certificates = key.exchange.tls().peer_certificates();
        self.events.push_back(Event::AuthenticationNeeded(Box::new(Login {
            key_id,
            certificates,
            username: message.username,
            password: message.password,
            peer_info,
        })));
    }

    /// A control message of the client.
    pub(super) fn hear(&mut self, text: &str, now: Instant) {
        if self.over {
            return;
        }
        match text.trim_end_matches(['\r', '\n']) {
            "PUSH_REQUEST" => self.push_request(now),
            "EXIT" => {
                self.retire_all();
                self.over = true;
                self.events.push_back(Event::PeerExit);
            }
            _ => {} // INFO, CR_RESPONSE, ACC and what may come: nothing here needs them
        }
    }

    pub(super) fn push_request(&mut self, now: Instant) {
        self.push_requested = true;
        match &mut self.pushed {
            None => self.push_when_asked(now),
            Some(pushed) if now.since(pushed.at) >= self.config.push_repeat && self.goodbye.is_none() => {
                pushed.at = now;
                self.send_push(now);
            }
            Some(_) => {}
        }
    }

    /// Opens the tunnel if the client wants its options and both gates of key 0 are open.
    pub(super) fn push_when_asked(&mut self, now: Instant) {
        let asked = self.push_requested || self.terms.peer_info.has(proto::UNSOLICITED_PUSH);
        let open = self.current.id() == 0
            && self.current.is_exchanged()
            && self.current.decision == Decision::Accepted
            && self.goodbye.is_none();
        let (true, true, None, Some(cipher)) = (asked, open, &self.pushed, self.terms.cipher) else { return };
        if let Err(error) = push::messages(Kind::Reply, &self.options(cipher)) {
            return self.fail(FailReason::Push(error));
        }
        match self.current.derive(self.terms.derivation, self.client_sid, self.server_sid) {
            Err(reason) => return self.fail(reason),
            Ok(None) => return,
            Ok(Some(keys)) => {
                let v2_peer_id = self.terms.v2_peer_id;
                self.events.push_back(Event::KeysReady { key_id: 0, keys, cipher, v2_peer_id });
            }
        }
        if self.terms.dyn_tls_crypt
            && let Err(error) = self.envelope.renew(self.current.exchange.tls())
        {
            return self.fail(FailReason::Tls(error));
        }
        self.send_push(now);
        self.current.deadline = None;
        self.settled_at = now;
        self.events.push_back(Event::SendKey { key_id: 0 });
        self.events.push_back(Event::Established);
    }

    /// The driver's options and our own, each only for clients that know it.
    pub(super) fn options(&self, cipher: Cipher) -> Vec<String> {
        let client = &self.terms.peer_info;
        let mut options = self.terms.options.clone();
        if let Some(id) = self.terms.v2_peer_id {
            options.push(format!("peer-id {id}"));
        }
        if client.negotiates_cipher() {
            options.push(format!("cipher {}", cipher.name()));
        }
        let has_flags = client.has(proto::CC_EXIT);
        let Derivation { ekm, epochs } = self.terms.derivation;
        let flags = [
            ("cc-exit", has_flags && self.config.cc_exit),
            ("tls-ekm", has_flags && ekm),
            ("dyn-tls-crypt", self.terms.dyn_tls_crypt),
            ("aead-epoch", epochs),
        ];
        let flags: Vec<&str> = flags.into_iter().filter_map(|(flag, on)| on.then_some(flag)).collect();
        if !flags.is_empty() {
            options.push(format!("protocol-flags {}", flags.join(" ")));
        }
        if ekm && !has_flags {
            options.push("key-derivation tls-ekm".to_owned());
        }
        if client.mtu.is_some() {
            options.push("tun-mtu 1500".to_owned());
        }
        options
    }

    /// Says all options, as they are wanted by now.
    pub(super) fn send_push(&mut self, now: Instant) {
        let Some(cipher) = self.terms.cipher else { return };
        let told = self.options(cipher);
        self.say(Kind::Reply, &told);
        self.pushed = Some(Pushed { told, at: now });
    }

    /// Says options on the newest key: after a renegotiation clients read control messages on no other.
    pub(super) fn say(&mut self, kind: Kind, options: &[String]) {
        let sent = push::messages(kind, options)
            .map_err(FailReason::Push)
            .and_then(|messages| messages.iter().try_for_each(|text| self.current.exchange.write_text(text)));
        if let Err(reason) = sent {
            self.fail(reason);
        }
    }
}
