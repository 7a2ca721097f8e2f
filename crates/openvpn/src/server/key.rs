//! One key of a server session: TLS, key-method 2, the decision about the login, then the keys.

use zeroize::Zeroizing;

use super::{FailReason, SessionConfig};
use crate::Instant;
use crate::data::KeyMaterial;
use crate::exchange::{Exchange, Texts};
use crate::keys::{ClientSource, Derivation, ServerSource, exporter_keys, prf_keys};
use crate::km2::{ClientMessage, ClientParser, Complete, ServerMessage, mirrored_options};
use crate::wire::SessionId;

/// What has been decided about the login of a key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The client has not presented itself yet.
    NotAsked,
    /// The driver owes an answer.
    Pending,
    /// Gate (b) is open.
    Accepted,
    /// For ever closed.
    Refused,
}

/// Both randoms, until the keys are derived.
struct Sources {
    client: ClientSource,
    server: ServerSource,
}

pub(super) struct Key {
    pub(super) exchange: Exchange,
    pub(super) decision: Decision,
    /// The data keys are with the driver.
    pub(super) installed: bool,
    /// A farewell has been queued on this key.
    pub(super) said_goodbye: bool,
    /// The negotiation must be over by then; `None` once it is. Of a replaced key: when its TLS is let go.
    pub(super) deadline: Option<Instant>,
    /// A key-method-2 message that may lack its peer info is taken as it is then.
    grace: Option<Instant>,
    /// `None` once the client's message has come.
    parser: Option<ClientParser>,
    sources: Option<Sources>,
    texts: Texts,
}

/// What a step of a key has brought.
#[derive(Default)]
pub(super) struct Progress {
    /// The client has presented itself.
    pub(super) login: Option<ClientMessage>,
    /// Control messages, only after that.
    pub(super) texts: Vec<Zeroizing<String>>,
}

impl Key {
    pub(super) fn new(exchange: Exchange, config: &SessionConfig, now: Instant) -> Self {
        Self {
            exchange,
            decision: Decision::NotAsked,
            installed: false,
            said_goodbye: false,
            deadline: Some(now + config.handshake_timeout),
            grace: None,
            parser: Some(ClientParser::default()),
            sources: None,
            texts: Texts::default(),
        }
    }

    pub(super) fn id(&self) -> u8 {
        self.exchange.key_id
    }

    /// Gate (a): TLS complete, the client's message read and ours sent.
    pub(super) fn is_exchanged(&self) -> bool {
        self.parser.is_none() && !self.exchange.tls().handshaking()
    }

    /// Moves received bytes through TLS and reads what comes out.
    pub(super) fn advance(
        &mut self,
        config: &SessionConfig,
        now: Instant,
        server: impl FnOnce() -> ServerSource,
    ) -> Result<Progress, FailReason> {
        let mut plaintext = Zeroizing::new(Vec::new());
        self.exchange.advance(&mut plaintext)?;
        if plaintext.is_empty() {
            return Ok(Progress::default());
        }
        let Some(parser) = &mut self.parser else {
            return Ok(Progress { login: None, texts: self.texts.take(&plaintext)? });
        };
        let Some(complete) = parser.feed(&plaintext).map_err(FailReason::KeyExchange)? else {
            self.grace = parser.may_be_complete().then(|| now + config.km2_grace);
            return Ok(Progress::default());
        };
        self.answer(complete, server())
    }

    /// When [`Key::finish_waiting`] is due.
    pub(super) fn grace(&self) -> Option<Instant> {
        self.grace
    }

    /// Takes the client's message as complete without peer info.
    pub(super) fn finish_waiting(
        &mut self,
        server: impl FnOnce() -> ServerSource,
    ) -> Result<Progress, FailReason> {
        self.grace = None;
        let Some(parser) = &self.parser else { return Ok(Progress::default()) };
        match parser.finish().map_err(FailReason::KeyExchange)? {
            Some(complete) => self.answer(complete, server()),
            None => Ok(Progress::default()),
        }
    }

    /// Answers the client's message: always, and before any decision, because clients look at control messages
    /// (a refusal too) only after it.
    fn answer(
        &mut self,
        complete: Complete<ClientMessage>,
        server: ServerSource,
    ) -> Result<Progress, FailReason> {
        let Complete { message, rest } = complete;
        self.parser = None;
        self.grace = None;
        let reply = ServerMessage { source: server, options: mirrored_options(&message.options) };
        self.exchange.write(&reply.encode().map_err(FailReason::KeyExchange)?)?;
        self.sources = Some(Sources { client: message.source.clone(), server: reply.source });
        Ok(Progress { login: Some(message), texts: self.texts.take(&rest)? })
    }

    /// The data keys, once: both gates must be open. `Ok(None)` if one is not.
    pub(super) fn derive(
        &mut self,
        derivation: Derivation,
        client_sid: SessionId,
        server_sid: SessionId,
    ) -> Result<Option<Box<KeyMaterial>>, FailReason> {
        if !self.is_exchanged() || self.decision != Decision::Accepted || self.installed {
            return Ok(None);
        }
        let Some(sources) = self.sources.take() else { return Ok(None) };
        let keys = if derivation.ekm {
            exporter_keys(self.exchange.tls()).map_err(FailReason::Tls)?
        } else {
            prf_keys(&sources.client, &sources.server, client_sid, server_sid)
        };
        self.installed = true;
        Ok(Some(Box::new(if derivation.epochs { keys.in_epochs() } else { keys })))
    }

    /// Nothing of this key may be used any more; its data keys are with the driver if this says so.
    pub(super) fn disarm(&mut self) -> bool {
        self.sources = None;
        self.decision = Decision::Refused;
        std::mem::take(&mut self.installed)
    }
}
