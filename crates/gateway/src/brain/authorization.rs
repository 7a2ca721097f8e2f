//! The endpoint's authorization policy (spec: aws-client-vpn, Appendix B): asked when somebody is let in, when it
//! changes, and again while they stay. In shadow mode it is asked all the same and blocks nobody. One that cannot be read
//! decides `error` for everybody: fail closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_auth::cedar::{Decision, PolicySet, Record, Value, Verdict};
use model::{ConnectionId, EndpointId};
use openvpn::Instant;
use openvpn::peer_info::PeerInfo;
use openvpn::server::Farewell;
use pki::Identity;

use super::Gateway;
use super::admission::{Applicant, POLICY_DENY};
use super::slot::{SlotId, Stage};
use crate::counters::Counters;
use crate::desired::AuthorizationPolicy;
use crate::effect::{Effect, EndReason, EvaluationType, PolicyEvaluation};

/// How long after an evaluation a session is evaluated again (AWS's guide: device posture).
const EVALUATION_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How soon a session whose client has moved to another address is evaluated again; it may move with every packet.
const EVALUATION_AFTER_FLOAT: Duration = Duration::from_secs(1);

/// How clients of the AWS provided client name themselves. UNVERIFIED: what exactly they send.
const AWS_CLIENT: &str = "AWS";

/// A policy as it could be read.
pub(crate) struct Authorization {
    wanted: AuthorizationPolicy,
    /// `None`: it cannot be read.
    statements: Option<PolicySet>,
}

impl Authorization {
    /// What stands, if it is what is wanted; else what is wanted, and that it is new.
    pub(crate) fn refreshed(
        stands: Option<Arc<Self>>,
        wanted: Option<&AuthorizationPolicy>,
    ) -> (Option<Arc<Self>>, bool) {
        if stands.as_ref().map(|stands| &stands.wanted) == wanted {
            return (stands, false);
        }
        let read = |wanted: &AuthorizationPolicy| Self {
            wanted: wanted.clone(),
            statements: PolicySet::parse(&wanted.document).ok(),
        };
        (wanted.map(|wanted| Arc::new(read(wanted))), true)
    }

    /// Whether it could be read.
    pub(crate) fn readable(&self) -> bool {
        self.statements.is_some()
    }

    fn evaluate(&self, context: &Record) -> Verdict {
        self.statements.as_ref().map_or_else(Verdict::unreadable, |statements| statements.evaluate(context))
    }
}

/// What a client told of itself when it connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(super) platform: Option<String>,
    pub(super) platform_version: Option<String>,
    pub(super) open_vpn_version: Option<String>,
    aws_client_version: Option<String>,
    /// Whether it looks after route enforcement, and so is told of it.
    pub(super) enforces_routes: bool,
}

impl Told {
    pub(crate) fn of(peer_info: &PeerInfo) -> Self {
        Self {
            platform: peer_info.platform.clone(),
            platform_version: peer_info.platform_version.clone(),
            open_vpn_version: peer_info.version.clone(),
            aws_client_version: peer_info.gui_version.clone().filter(|name| name.starts_with(AWS_CLIENT)),
            enforces_routes: peer_info.enforces_routes,
        }
    }

    /// Whether it closes its device for a second at any update, whatever it says (OpenVPN 2.7, seen with 2.7.6).
    pub(super) fn reopens_for_an_update(&self) -> bool {
        self.open_vpn_version.as_deref().is_some_and(|version| version.starts_with("2."))
    }
}

/// Whom an evaluation is about.
pub(super) struct Subject {
    pub(super) endpoint: EndpointId,
    pub(super) connection: ConnectionId,
    pub(super) peer: SocketAddr,
    pub(super) common_name: String,
    pub(super) context: Record,
}

impl Subject {
    pub(super) fn new(
        endpoint: &EndpointId,
        connection: &ConnectionId,
        peer: SocketAddr,
        identity: &Identity,
        told: &Told,
    ) -> Self {
        Self {
            endpoint: endpoint.clone(),
            connection: connection.clone(),
            peer,
            common_name: identity.common_name.clone(),
            context: context(endpoint, connection, peer, identity, told),
        }
    }
}

/// What a policy may ask for. What is not known is not there.
///
/// UNVERIFIED: the spelling of all attributes; AWS's guide names what they are, and spells device signals in camelCase.
fn context(
    endpoint: &EndpointId,
    connection: &ConnectionId,
    peer: SocketAddr,
    identity: &Identity,
    told: &Told,
) -> Record {
    let about = [
        ("endpointId", Some(endpoint.to_string())),
        ("connectionId", Some(connection.to_string())),
        ("publicIp", Some(peer.ip().to_canonical().to_string())),
        ("platform", told.platform.clone()),
        ("platformVersion", told.platform_version.clone()),
        ("clientOpenVpnVersion", told.open_vpn_version.clone()),
        ("awsClientVersion", told.aws_client_version.clone()),
    ];
    let serial = identity.serial.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let certificate = [("commonName", Some(identity.common_name.clone())), ("serialNumber", Some(serial))];
    Record::from([
        ("connection".to_owned(), record(about)),
        ("mutual-authentication".to_owned(), record(certificate)),
    ])
}

fn record<const N: usize>(facts: [(&str, Option<String>); N]) -> Value {
    let known = facts.into_iter().filter_map(|(name, fact)| Some((name.to_owned(), Value::String(fact?))));
    Value::Record(known.collect())
}

/// What comes of asking a policy.
pub(super) struct Judgement {
    /// Whether the client may be here.
    pub(super) passes: bool,
    /// The evaluation; `None`: there is no policy to ask.
    pub(super) evaluation: Option<Arc<PolicyEvaluation>>,
}

impl Gateway {
    /// Whether the endpoint's policy lets this one be. Counted and told either way.
    pub(super) fn judge(
        &mut self,
        subject: Subject,
        evaluation_type: EvaluationType,
        counters: &Counters,
        now: Instant,
    ) -> Judgement {
        let Some(state) = self.endpoints.get(&subject.endpoint) else {
            return Judgement { passes: false, evaluation: None };
        };
        let Some(policy) = &state.authorization else { return Judgement { passes: true, evaluation: None } };
        let verdict = policy.evaluate(&subject.context);
        match verdict.decision {
            Decision::Permit => self.stats.policy_permits += 1,
            Decision::Deny => self.stats.policy_denials += 1,
            Decision::Error => self.stats.policy_errors += 1,
        }
        let (shadow, scope, at) = (policy.wanted.shadow, state.scope.clone(), self.clock.wall(now));
        counters.policy_evaluated(at);
        let Subject { endpoint, connection, peer, common_name, context } = subject;
        let evaluation = Arc::new(PolicyEvaluation {
            connection,
            endpoint,
            scope,
            peer,
            common_name,
            at,
            evaluation_type,
            shadow,
            verdict,
            context,
        });
        self.effects.push_back(Effect::PolicyEvaluated(Arc::clone(&evaluation)));
        Judgement { passes: evaluation.passes(), evaluation: Some(evaluation) }
    }

    /// When a session of this endpoint that is evaluated now is evaluated next.
    pub(super) fn next_evaluation(&self, endpoint: &EndpointId, now: Instant) -> Option<Instant> {
        self.endpoints.get(endpoint)?.authorization.as_ref()?;
        Some(now + EVALUATION_INTERVAL)
    }

    /// Evaluates an admitted session anew and ends it if it may not stay.
    pub(super) fn evaluate_again(&mut self, id: SlotId, now: Instant) {
        let Some(slot) = self.slots.get(&id) else { return };
        let Stage::Admitted(held) = &slot.stage else { return };
        let subject = Subject::new(&slot.endpoint, &held.connection, slot.peer, &held.identity, &held.told);
        let (counters, connected) = (Arc::clone(&held.counters), held.connected);
        let next = self.next_evaluation(&slot.endpoint, now);
        let asked_for = if connected { EvaluationType::Periodic } else { EvaluationType::ConnectionAttempt };
        let Judgement { passes, evaluation } = self.judge(subject, asked_for, &counters, now);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Stage::Admitted(held) = &mut slot.stage else { return };
        let lifted = evaluation.is_none() && held.evaluation.is_some();
        held.evaluate_at = next;
        held.evaluation = evaluation;
        if passes {
            if lifted && connected {
                let connection = held.connection.clone();
                self.effects.push_back(Effect::PolicyLifted { connection });
            }
            self.arm(id, now);
        } else {
            self.stats.policy_terminated += 1;
            if !connected {
                // It never was in, so what ends is an attempt.
                let applicant = Applicant::of(held);
                self.refuse(id, applicant, POLICY_DENY, now);
            }
            self.end(id, Some(Farewell::Halt(None)), EndReason::PolicyDenied, now);
            self.settle(id, now);
        }
    }

    /// The same once it is due.
    pub(super) fn evaluate_due(&mut self, id: SlotId, now: Instant) {
        let Some(slot) = self.slots.get(&id) else { return };
        if let Stage::Admitted(held) = &slot.stage
            && held.evaluate_at.is_some_and(|at| at <= now)
        {
            self.evaluate_again(id, now);
        }
    }

    /// A session's client comes from another address now: it is evaluated soon.
    pub(super) fn evaluate_soon(&mut self, id: SlotId, now: Instant) {
        if let Some(slot) = self.slots.get_mut(&id)
            && let Stage::Admitted(held) = &mut slot.stage
        {
            held.evaluate_at = held.evaluate_at.map(|at| at.min(now + EVALUATION_AFTER_FLOAT));
        }
    }
}
