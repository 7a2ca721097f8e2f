//! What an engine is started with, and why it may not start.

use std::time::Duration;

use openvpn::wrap::ControlWrap;

/// Most worker threads: the worker's number must fit the steering program and the fabric's queue count.
pub const WORKERS_MAX: u16 = 64;

/// Bounds of TCP connections, over all endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections open at once; less where the system's limit of descriptors is lower.
    pub max_streams: usize,
    /// Those without a session yet.
    pub max_waiting: usize,
    /// The same from one source: an IPv4 address or an IPv6 /64.
    pub max_waiting_per_source: usize,
    /// How long a connection may be open before its first packet has come.
    pub first_packet_timeout: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            max_streams: 32_768,
            max_waiting: 8_192,
            max_waiting_per_source: 512,
            first_packet_timeout: Duration::from_secs(10),
        }
    }
}

/// How to start an [`crate::Engine`].
#[derive(Clone)]
pub struct EngineConfig {
    /// Worker threads; 0: one per core, rounded down to a power of two. At most [`WORKERS_MAX`].
    pub workers: u16,
    /// Secret entropy, drawn afresh for this start: session ids, cookies and connection ids come from it.
    pub seed: [u8; 32],
    /// Bounds of the gateway.
    pub limits: gateway::Limits,
    /// Bounds of TCP connections.
    pub streams: StreamLimits,
    /// How the control channels of all endpoints are wrapped.
    pub wrap: ControlWrap,
    /// Whether to attach the program that steers DATA_V2 to its session's worker; off only in tests of the hand-off.
    pub steering: bool,
}

impl EngineConfig {
    /// The defaults, with this start's entropy.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            workers: 0,
            seed,
            limits: gateway::Limits::default(),
            streams: StreamLimits::default(),
            wrap: ControlWrap::Plain,
            steering: true,
        }
    }

    /// The number of workers this configuration means on this machine.
    pub(crate) fn worker_count(&self) -> u16 {
        if self.workers != 0 {
            return self.workers.min(WORKERS_MAX);
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = u16::try_from(cores).unwrap_or(WORKERS_MAX).clamp(1, WORKERS_MAX);
        // A power of two keeps peer id → worker a matter of low bits.
        1 << cores.ilog2()
    }
}

impl std::fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineConfig").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What an earlier life left behind could not be removed.
    #[error("clearing what an earlier run left behind: {0}")]
    Sweep(#[from] netio::FabricError),
    /// The system refused a thread, an event queue or a wake-up descriptor.
    #[error("starting the engine's threads: {0}")]
    Threads(#[from] std::io::Error),
}
