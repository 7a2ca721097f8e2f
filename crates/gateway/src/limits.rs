//! Bounds, and counts of what was refused for them (I-8).

/// Bounds of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions that have been admitted and not ended.
    pub max_sessions: usize,
    /// Sessions before admission, over all sources: beyond it the oldest makes room. Each lives at most the handshake
    /// window, and less if nothing comes from its client.
    pub max_half_open: usize,
    /// Bytes that clients of such sessions have us keep, all together: beyond it the oldest makes room.
    pub max_half_open_bytes: usize,
    /// The same number from one source: an IPv4 address or an IPv6 /64.
    pub max_half_open_per_source: usize,
    /// Ended sessions whose farewell is still on its way (5 s at most); beyond this the oldest is cut short.
    pub max_farewells: usize,
    /// Sessions told apart behind one address and port.
    pub max_sessions_per_peer: usize,
    /// Remembered session ids of closed sessions; beyond this the oldest are forgotten early.
    pub max_tombstones: usize,
    /// Logins that wait for a connect handler.
    pub max_questions: usize,
    /// Stateless answers per second, over all sources.
    pub max_answers_per_s: u32,
    /// Stateless answers per second to one bucket of sources.
    pub max_answers_per_source_per_s: u32,
    /// Stateless answers per second to one bucket of prefixes: IPv4 /24, IPv6 /48.
    pub max_answers_per_prefix_per_s: u32,
    /// Clients that are told to come back in the first second, where many are sent away at once; those behind them are
    /// told to come later, as many each second.
    pub max_returns_per_s: u32,
    /// Stateless answers waiting to be polled.
    pub max_waiting_answers: usize,
    /// Packets sent with a data key before its successor is asked for.
    pub rekey_packets: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 16_384,
            max_half_open: 12_288,
            max_half_open_bytes: 64 << 20,
            max_half_open_per_source: 1_024,
            max_farewells: 16_384,
            max_sessions_per_peer: 4,
            max_tombstones: 32_768,
            max_questions: 1_024,
            max_answers_per_s: 100_000,
            max_answers_per_source_per_s: 1_024,
            max_answers_per_prefix_per_s: 4_096,
            max_returns_per_s: 256,
            max_waiting_answers: 1_024,
            rekey_packets: openvpn::data::Limits::default().rekey_packet_id,
        }
    }
}

impl Limits {
    /// The same with this part of the stateless answers.
    pub(crate) fn answers_shared_by(&self, share: u32) -> Self {
        let part = |of: u32| of.div_ceil(share.max(1));
        Self {
            max_answers_per_s: part(self.max_answers_per_s),
            max_answers_per_source_per_s: part(self.max_answers_per_source_per_s),
            max_answers_per_prefix_per_s: part(self.max_answers_per_prefix_per_s),
            ..*self
        }
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Counts since the start, each with the name it has in metrics.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats { $($(#[$doc])* pub $name: u64,)* }

        impl Stats {
            /// Every count with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$(($text, self.$name)),*].into_iter()
            }
        }
    };
}

stats! {
    /// Control packets for an endpoint that is not served.
    unknown_endpoint = "unknown-endpoint",
    /// Control packets without session while the gate was closed.
    gate_closed = "gate-closed",
    /// Control packets without session that prove nothing and deserve no answer.
    not_proven = "not-proven",
    /// Control packets that their session discarded.
    discarded = "discarded",
    /// Stateless answers given.
    answers = "answers",
    /// Stateless answers not given for their budget or full queue.
    answers_refused = "answers-refused",
    /// Late packets of closed sessions.
    tombstone_hits = "tombstone-hits",
    /// Handshakes begun.
    handshakes = "handshakes",
    /// Handshakes cut for newer ones: too many half-open, or too many bytes of them.
    half_open_cut = "half-open-cut",
    /// Handshakes refused: too many half-open, and all of them wait for a connect handler.
    half_open_refused = "half-open-refused",
    /// Handshakes refused: too many half-open from the source.
    half_open_source_refused = "half-open-source-refused",
    /// Handshakes refused: too many sessions behind one address and port.
    peer_sessions_refused = "peer-sessions-refused",
    /// Handshakes refused: no TLS configuration could be made of the endpoint's certificate.
    tls_config_refused = "tls-config-refused",
    /// Handshakes that failed before authentication.
    handshakes_failed = "handshakes-failed",
    /// Half-done handshakes that a change swept.
    handshakes_swept = "handshakes-swept",
    /// Logins refused for their certificate.
    identity_refused = "identity-refused",
    /// Logins refused because the gate had closed meanwhile.
    gate_refused = "gate-refused",
    /// Logins refused: too many sessions, or no peer id left.
    sessions_refused = "sessions-refused",
    /// Logins refused: no address of the client CIDR left.
    addresses_refused = "addresses-refused",
    /// Logins accepted.
    admitted = "admitted",
    /// Sessions that were told of a change without an interruption.
    push_updates = "push-updates",
    /// Farewells cut short for their bound.
    farewells_cut = "farewells-cut",
    /// Certificate revocation lists that cannot be read: nobody is admitted.
    unreadable_crls = "unreadable-crls",
    /// Authorization policies that cannot be read: they let nobody in.
    unreadable_policies = "unreadable-policies",
    /// Evaluations of an authorization policy that permit.
    policy_permits = "policy-permit",
    /// Evaluations of an authorization policy that deny.
    policy_denials = "policy-deny",
    /// Evaluations of an authorization policy in which nothing matched and something could not be evaluated.
    policy_errors = "policy-error",
    /// Logins refused by an authorization policy.
    policy_refused = "policy-refused",
    /// Sessions whose client moved to another address.
    floats = "floats",
    /// Moves taken back: a session of somebody else has that address.
    floats_refused = "floats-refused",
    /// Sessions ended by an authorization policy.
    policy_terminated = "policy-terminated",
    /// Questions to connect handlers.
    handler_questions = "handler-questions",
    /// Logins that a connect handler denied.
    handler_denials = "handler-denied-connections",
    /// Connect handlers that took too long.
    handler_timeouts = "handler-timeouts",
    /// Connect handlers that failed themselves.
    handler_execution_errors = "handler-other-execution-errors",
    /// Questions not asked, or not taken, for too many others.
    handler_throttled = "handler-throttling-errors",
    /// Answers of connect handlers that are none.
    handler_invalid_responses = "handler-invalid-responses",
    /// Connect handlers that could not be asked.
    handler_service_errors = "handler-failed-service-errors",
}
