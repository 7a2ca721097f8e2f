//! What goes between the gateway and the connect handlers of endpoints (spec: aws-client-vpn §4.5).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{ConnectionId, EndpointId};

/// How long a handler may take (spec: aws-client-vpn §4.5).
pub const HANDLER_TIME: Duration = Duration::from_secs(30);
/// Most characters of what a handler has a client told, and of a posture status.
pub const HANDLER_TEXT_MAX_CHARS: usize = 255;
/// Most posture statuses of an answer.
pub const POSTURE_STATUSES_MAX: usize = 10;

/// A client has proved who it is: may it in?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The connection that it would be. Names the question too.
    pub connection: ConnectionId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// ARN of the function that is to be asked.
    pub function: Arc<str>,
    /// The common name of the client's certificate.
    pub common_name: String,
    /// The user, where the login has one.
    pub username: Option<String>,
    /// What the client runs on, by its own word (`IV_PLAT`).
    pub platform: Option<String>,
    /// The version of that (`IV_PLAT_VER`).
    pub platform_version: Option<String>,
    /// The client's OpenVPN version (`IV_VER`).
    pub open_vpn_version: Option<String>,
    /// Where the client comes from.
    pub public_ip: IpAddr,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerAnswer {
    /// Whose question it answers.
    pub connection: ConnectionId,
    /// What the handler said, or why it said nothing.
    pub said: Result<HandlerVerdict, HandlerFailure>,
}

/// What a handler said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerVerdict {
    /// Whether the client may in.
    pub allow: bool,
    /// What a client is told that may not; at most [`HANDLER_TEXT_MAX_CHARS`].
    pub message: String,
    /// What is kept and shown with the connection; at most [`POSTURE_STATUSES_MAX`].
    pub posture: Vec<String>,
}

/// Why a handler said nothing that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerFailure {
    /// It took too long.
    TimedOut,
    /// It failed itself.
    ExecutionError,
    /// It, or we, had too much to do.
    Throttled,
    /// What it said is not what it has to say.
    InvalidResponse,
    /// It could not be asked.
    ServiceError,
}

impl HandlerFailure {
    /// The word for it in connection logs (spec: aws-client-vpn §4.5).
    pub const fn as_str(self) -> &'static str {
        match self {
            HandlerFailure::TimedOut => "client-connect-handler-timed-out",
            HandlerFailure::ExecutionError => "client-connect-handler-other-execution-error",
            HandlerFailure::Throttled => "client-connect-handler-throttled",
            HandlerFailure::InvalidResponse => "client-connect-handler-invalid-response",
            HandlerFailure::ServiceError => "client-connect-handler-service-error",
        }
    }
}
