//! One key of a client session: TLS, our key-method-2 message, the server's, then the keys.

use zeroize::Zeroizing;

use super::FailReason;
use crate::Instant;
use crate::data::KeyMaterial;
use crate::exchange::{Exchange, Texts};
use crate::keys::{ClientSource, Derivation, ServerSource, exporter_keys, prf_keys};
use crate::km2::{ClientMessage, Complete, ServerParser};
use crate::wire::SessionId;

pub(super) struct Key {
    pub(super) exchange: Exchange,
    /// The negotiation must be over by then; `None` once it is.
    pub(super) deadline: Option<Instant>,
    pub(super) installed: bool,
    client: Option<ClientSource>,
    sent: bool,
    /// `None` once the server's message has come.
    parser: Option<ServerParser>,
    server: Option<ServerSource>,
    texts: Texts,
}

impl Key {
    pub(super) fn new(exchange: Exchange, source: ClientSource, deadline: Instant) -> Self {
        Self {
            exchange,
            deadline: Some(deadline),
            installed: false,
            client: Some(source),
            sent: false,
            parser: Some(ServerParser::default()),
            server: None,
            texts: Texts::default(),
        }
    }

    pub(super) fn id(&self) -> u8 {
        self.exchange.key_id
    }

    /// Both key-method-2 messages are through.
    pub(super) fn is_exchanged(&self) -> bool {
        self.sent && self.parser.is_none()
    }

    /// Moves received bytes through TLS; sends our message when TLS is up. Yields control messages.
    pub(super) fn advance(
        &mut self,
        message: impl FnOnce(ClientSource) -> ClientMessage,
    ) -> Result<Vec<Zeroizing<String>>, FailReason> {
        let mut plaintext = Zeroizing::new(Vec::new());
        self.exchange.advance(&mut plaintext)?;
        if !self.sent
            && !self.exchange.tls().handshaking()
            && let Some(source) = &self.client
        {
            self.sent = true;
            let bytes = message(source.clone()).encode().map_err(FailReason::KeyExchange)?;
            self.exchange.write(&bytes)?;
        }
        if plaintext.is_empty() {
            return Ok(Vec::new());
        }
        let Some(parser) = &mut self.parser else { return self.texts.take(&plaintext) };
        let Some(Complete { message, rest }) = parser.feed(&plaintext).map_err(FailReason::KeyExchange)?
        else {
            return Ok(Vec::new());
        };
        self.parser = None;
        self.server = Some(message.source);
        self.texts.take(&rest)
    }

    /// The data keys, once. `Ok(None)` if it is too early or too late.
    pub(super) fn derive(
        &mut self,
        derivation: Derivation,
        client_sid: SessionId,
        server_sid: SessionId,
    ) -> Result<Option<Box<KeyMaterial>>, FailReason> {
        if !self.is_exchanged() || self.installed {
            return Ok(None);
        }
        let (Some(client), Some(server)) = (self.client.take(), self.server.take()) else { return Ok(None) };
        let keys = if derivation.ekm {
            exporter_keys(self.exchange.tls()).map_err(FailReason::Tls)?
        } else {
            prf_keys(&client, &server, client_sid, server_sid)
        };
        self.installed = true;
        Ok(Some(Box::new(if derivation.epochs { keys.in_epochs() } else { keys })))
    }
}
