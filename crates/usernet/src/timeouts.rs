//! How long flows are kept that nothing is heard of.

use std::time::Duration;

/// What a flow is given, by what it waits for. No setting of the operator's: another host's clients and far sides expect
/// what connection tracking and TCP do everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long the far side may take to accept a connection. A client that still tries then begins anew.
    pub dial: Duration,
    /// How long a client may take to finish its handshake.
    pub handshake: Duration,
    /// How long a client may leave what it has to acknowledge.
    pub unacknowledged: Duration,
    /// How often a silent client is asked whether it is still there.
    pub keep_alive: Duration,
    /// How long the far side may take to read the rest of a connection that the client has done with.
    pub linger: Duration,
    /// How long datagrams may cease that were never answered: as connection tracking has it.
    pub udp_unanswered: Duration,
    /// The same of those that were.
    pub udp: Duration,
    /// How long echo requests and answers may cease: as connection tracking has it.
    pub echo: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(30),
            handshake: Duration::from_secs(30),
            unacknowledged: Duration::from_secs(900),
            keep_alive: Duration::from_secs(300),
            linger: Duration::from_secs(60),
            udp_unanswered: Duration::from_secs(30),
            udp: Duration::from_secs(120),
            echo: Duration::from_secs(30),
        }
    }
}
