//! The ends of keys and sessions: retirement, farewell, failure.

use std::collections::VecDeque;

use super::{Goodbye, MAX_TEXT_AWS_BYTES, MAX_TEXT_BYTES, Session};
use crate::Instant;
use crate::km2::Dialect;
use crate::peer_info::proto;
use crate::server::key::Key;
use crate::server::{Event, FailReason};
use crate::text::printable;

impl Session {
    pub(super) fn retire_old(&mut self) {
        if let Some((mut key, _)) = self.old.take() {
            Self::retire(&mut key, &mut self.events);
        }
    }

    pub(super) fn retire_all(&mut self) {
        self.retire_old();
        Self::retire(&mut self.current, &mut self.events);
        if let Some(next) = &mut self.next {
            Self::retire(next, &mut self.events);
        }
    }

    pub(super) fn retire(key: &mut Key, events: &mut VecDeque<Event>) {
        if key.disarm() {
            events.push_back(Event::KeyRetired { key_id: key.id() });
        }
    }

    pub(super) fn say_goodbye(
        &mut self,
        text: &str,
        temporary: Option<String>,
        reason: Option<FailReason>,
        now: Instant,
    ) {
        if self.over || self.goodbye.is_some() {
            return;
        }
        self.retire_all();
        let max_bytes = match self.terms.dialect {
            Some(Dialect::Aws) => MAX_TEXT_AWS_BYTES,
            _ => MAX_TEXT_BYTES,
        };
        let text = printable(text, max_bytes);
        let temporary = temporary.map(|text| printable(&text, max_bytes));
        let until = now + self.config.farewell_timeout;
        self.goodbye = Some(Goodbye { text, temporary, until, done: false, reason });
        self.repeat_goodbye();
    }

    /// Says the farewell on each key that can carry it and has not. Before a client's key-method-2 message there is
    /// none: the farewell waits, for what is left of its time.
    pub(super) fn repeat_goodbye(&mut self) {
        let Some(goodbye) = &self.goodbye else { return };
        let knows = self.terms.peer_info.has(proto::TEMPORARY_REFUSAL);
        let text = goodbye.temporary.as_ref().filter(|_| knows).unwrap_or(&goodbye.text).clone();
        let keys = [Some(&mut self.current), self.next.as_mut()];
        let mut outcome = Ok(());
        for key in keys.into_iter().flatten().filter(|key| key.is_exchanged() && !key.said_goodbye) {
            key.said_goodbye = true;
            outcome = outcome.and(key.exchange.write_text(&text));
        }
        if let Err(reason) = outcome {
            self.fail(reason);
        }
    }

    pub(super) fn farewell_is_over(&self) -> bool {
        self.goodbye.as_ref().is_some_and(|goodbye| goodbye.done)
    }

    pub(super) fn finish_goodbye(&mut self) {
        let Some(goodbye) = &mut self.goodbye else { return };
        if !std::mem::replace(&mut goodbye.done, true)
            && let Some(reason) = goodbye.reason.take()
        {
            self.events.push_back(Event::Failed(reason));
        }
    }

    pub(super) fn fail(&mut self, reason: FailReason) {
        if !self.over {
            self.retire_all();
            self.over = true;
            self.events.push_back(Event::Failed(reason));
        }
    }
}
