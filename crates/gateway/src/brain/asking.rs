//! Logins that wait for the endpoint's connect handler (spec: aws-client-vpn §4.5). Nothing is taken for them meanwhile but
//! the place of a half-open session; with the answer everything is looked at anew, as for a login that comes just then.

use std::sync::Arc;
use std::time::Duration;

use model::ConnectionId;
use openvpn::server::Login;
use openvpn::{Instant, UnixTime};
use pki::Identity;

use super::admission::Applicant;
use super::authorization::Told;
use super::slot::{SlotId, Stage};
use super::{Clock, Gateway};
use crate::effect::{Effect, EndReason};
use crate::handler::{
    HANDLER_TEXT_MAX_CHARS, HANDLER_TIME, HandlerAnswer, HandlerFailure, HandlerVerdict,
    POSTURE_STATUSES_MAX, Question,
};

/// What a client is told when its handler fails (spec: aws-client-vpn §4.5).
const HANDLER_FAILED: &str = "Error establishing connection. Please contact your administrator.";
/// The word for a denial in connection logs.
const DENIED: &str = "client-connect-failed";
/// Whoever asks gives up after [`HANDLER_TIME`]; if not even that is heard, this much later.
const ANSWER_GRACE: Duration = Duration::from_secs(3);

/// A login that waits.
pub(crate) struct Asked {
    pub(crate) connection: ConnectionId,
    function: Arc<str>,
    login: Login,
    identity: Identity,
    /// When it has waited too long.
    pub(crate) until: Instant,
}

impl Gateway {
    /// Asks the endpoint's connect handler about a login. One that nobody is to be asked about is handed back.
    pub(super) fn ask(&mut self, id: SlotId, login: Login, now: Instant) -> Option<Login> {
        let slot = self.slots.get(&id)?;
        let (endpoint, peer) = (slot.endpoint.clone(), slot.peer);
        let function =
            self.desired.endpoints.get(&endpoint).and_then(|wanted| wanted.connect_handler.clone());
        let Some(function) = function else { return Some(login) };
        // Whom the rest refuses anyway is not asked about.
        let Ok(identity) = self.identify(&endpoint, &login, now) else { return Some(login) };
        if !self.is_open(&endpoint) {
            return Some(login);
        }
        let connection = ConnectionId::from_entropy(self.draws.bits("connection"));
        if self.asked.len() >= self.limits.max_questions {
            let applicant = Applicant::new(connection, &identity, login, Vec::new());
            self.handler_failed(id, applicant, HandlerFailure::Throttled, now);
            return None;
        }
        let told = Told::of(&login.peer_info);
        let question = Question {
            connection: connection.clone(),
            endpoint,
            function: Arc::clone(&function),
            common_name: identity.common_name.clone(),
            username: login.username.clone().filter(|name| !name.is_empty()),
            platform: told.platform,
            platform_version: told.platform_version,
            open_vpn_version: told.open_vpn_version,
            public_ip: peer.ip().to_canonical(),
        };
        self.stats.handler_questions += 1;
        self.effects.push_back(Effect::Ask(Box::new(question)));
        self.asked.insert(connection.clone(), id);
        if let Some(slot) = self.slots.get_mut(&id) {
            let until = now + HANDLER_TIME + ANSWER_GRACE;
            // Its client has said all it has to say, and has shown who it is.
            if let Stage::HalfOpen { until: last, .. } = slot.stage {
                slot.deadline = Some(last.max(until));
            }
            self.unknown.remove(&id);
            slot.asked = Some(Box::new(Asked { connection, function, login, identity, until }));
        }
        self.arm(id, now);
        None
    }

    /// Takes a connect handler's answer. One to a question that nobody waits for any more is ignored.
    pub fn handle_answer(&mut self, answer: HandlerAnswer, now: Instant, wall: UnixTime) {
        self.clock = Clock { at: now, wall };
        let Some(id) = self.asked.get(&answer.connection).copied() else { return };
        self.answered(id, answer.said, now);
        self.settle(id, now);
    }

    /// Nobody has answered in time.
    pub(super) fn answer_due(&mut self, id: SlotId, now: Instant) {
        let late =
            self.slots.get(&id).and_then(|slot| slot.asked.as_ref()).is_some_and(|asked| asked.until <= now);
        if late {
            self.answered(id, Err(HandlerFailure::TimedOut), now);
            self.settle(id, now);
        }
    }

    fn answered(&mut self, id: SlotId, said: Result<HandlerVerdict, HandlerFailure>, now: Instant) {
        let Some(asked) = self.unask(id) else { return };
        if !matches!(self.slots.get(&id).map(|slot| &slot.stage), Some(Stage::HalfOpen { .. })) {
            return;
        }
        let Asked { connection, function, login, identity, .. } = *asked;
        let wanted = self.slots.get(&id).and_then(|slot| self.desired.endpoints.get(&slot.endpoint));
        if wanted.and_then(|wanted| wanted.connect_handler.as_ref()) != Some(&function) {
            // Another one is to be asked now, or none.
            self.login(id, login, now);
            return;
        }
        match said {
            Ok(HandlerVerdict { allow: true, posture, .. }) => {
                self.conclude(id, login, connection, bounded(posture), now);
            }
            Ok(HandlerVerdict { allow: false, message, posture }) => {
                self.stats.handler_denials += 1;
                let applicant = Applicant::new(connection, &identity, login, bounded(posture));
                self.refuse(id, applicant, DENIED, now);
                self.reject(id, &presentable(&message), EndReason::HandlerDenied, now);
            }
            Err(failure) => {
                let applicant = Applicant::new(connection, &identity, login, Vec::new());
                self.handler_failed(id, applicant, failure, now);
            }
        }
    }

    fn handler_failed(&mut self, id: SlotId, applicant: Applicant, failure: HandlerFailure, now: Instant) {
        let count = match failure {
            HandlerFailure::TimedOut => &mut self.stats.handler_timeouts,
            HandlerFailure::ExecutionError => &mut self.stats.handler_execution_errors,
            HandlerFailure::Throttled => &mut self.stats.handler_throttled,
            HandlerFailure::InvalidResponse => &mut self.stats.handler_invalid_responses,
            HandlerFailure::ServiceError => &mut self.stats.handler_service_errors,
        };
        *count += 1;
        self.refuse(id, applicant, failure.as_str(), now);
        self.reject(id, HANDLER_FAILED, EndReason::HandlerDenied, now);
    }

    /// Forgets that a session waits for an answer.
    pub(super) fn unask(&mut self, id: SlotId) -> Option<Box<Asked>> {
        let asked = self.slots.get_mut(&id)?.asked.take()?;
        self.asked.remove(&asked.connection);
        Some(asked)
    }
}

/// A message as a client may be shown it: one line, and none of the words that would have the client do something.
fn presentable(message: &str) -> String {
    let shown: String = message.chars().filter(|c| !c.is_control()).take(HANDLER_TEXT_MAX_CHARS).collect();
    match shown.trim() {
        "" => HANDLER_FAILED.to_owned(),
        // `AUTH_FAILED,CRV1:…` is a challenge, `AUTH_FAILED,TEMP…` an order to come back.
        text if text.starts_with("CRV1:") || text.starts_with("TEMP") => format!("\"{text}\""),
        text => text.to_owned(),
    }
}

fn bounded(posture: Vec<String>) -> Vec<String> {
    let short = |status: String| status.chars().take(HANDLER_TEXT_MAX_CHARS).collect();
    posture.into_iter().take(POSTURE_STATUSES_MAX).map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_order_the_client_about() {
        let long = "x".repeat(300);
        for (message, expected) in [
            ("No entry", "No entry"),
            ("No\nentry\r\0", "Noentry"),
            ("", HANDLER_FAILED),
            (" \n ", HANDLER_FAILED),
            ("CRV1:R,E:x:y:z", "\"CRV1:R,E:x:y:z\""),
            ("TEMP[backoff 1]", "\"TEMP[backoff 1]\""),
            (long.as_str(), &long[..255]),
        ] {
            assert_eq!(presentable(message), expected);
        }
    }
}
