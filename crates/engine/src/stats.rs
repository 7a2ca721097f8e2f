//! Counters of the data plane: plain integers of one writer each, summed when somebody asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway::DropReason;
use model::EndpointId;

/// A counter with one writing thread.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        // One writer: a plain load and store, no locked instruction per packet.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

macro_rules! counts {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        #[repr(align(128))] // a cache line pair of its own: workers must not slow each other down
        pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: Count,)* /// By [`DropReason`], in its order.
            pub(crate) path_drops: [Count; DropReason::ALL.len()] }
    };
}

counts! {
    /// What one worker counts.
    WorkerStats {
        /// Inner packets from clients written to a TUN queue.
        ingress_packets,
        ingress_bytes,
        /// Inner packets to clients, sealed and sent.
        egress_packets,
        egress_bytes,
        /// Datagrams handed to another worker, inner packets too.
        handoffs,
        handoff_drops,
        control_packets,
        control_drops,
        /// Answers to senders without a session, and those that were refused, deserved none, or came to a shut gate.
        answers,
        answers_refused,
        /// Answers that a client of a live session would have taken for its own.
        answers_held,
        not_proven,
        gate_closed,
        no_session,
        malformed,
        not_ip,
        no_address,
        tun_drops,
        send_drops,
        /// Packets that a TCP connection had no room for.
        stream_drops,
        streams_accepted,
        /// TCP connections turned away for their bounds.
        streams_refused,
        /// TCP connections whose first packet did not come in time.
        streams_silent,
        /// TCP connections that sent what no client sends.
        streams_malformed,
        /// TCP connections that took nothing any more.
        streams_stalled,
    }
}

/// What the control thread counts.
#[derive(Debug, Default)]
pub(crate) struct ControlStats {
    pub(crate) connections: Count,
    pub(crate) applies: Count,
    pub(crate) fabric_failures: Count,
    pub(crate) transmits: Count,
    pub(crate) transmit_drops: Count,
    pub(crate) farewells_unacknowledged: Count,
    pub(crate) applied_revision: Count,
    pub(crate) worker_losses: Count,
}

/// The state of an engine at one moment. Counters count from its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Clients connected.
    pub connections: u64,
    /// Newest revision in force.
    pub applied_revision: u64,
    /// Snapshots applied.
    pub applies: u64,
    /// Fabric steps that failed.
    pub fabric_failures: u64,
    /// Inner packets from clients.
    pub ingress_packets: u64,
    /// Inner bytes from clients.
    pub ingress_bytes: u64,
    /// Inner packets to clients.
    pub egress_packets: u64,
    /// Inner bytes to clients.
    pub egress_bytes: u64,
    /// Packets that reached their session by way of another worker.
    pub handoffs: u64,
    /// Control packets received.
    pub control_packets: u64,
    /// Control datagrams sent.
    pub control_transmits: u64,
    /// Endpoints closed before every client had acknowledged its farewell.
    pub farewells_unacknowledged: u64,
    /// Session events nobody took in time.
    pub events_lost: u64,
    /// Worker threads that died.
    pub worker_losses: u64,
    /// What the gateway counts, by name: handshakes, refusals, farewells.
    pub gateway: BTreeMap<&'static str, u64>,
    /// Packets dropped, by reason.
    pub drops: BTreeMap<&'static str, u64>,
    /// TCP connections open right now.
    pub streams_open: u64,
    /// TCP connections accepted and turned away, and why others were closed.
    pub streams: BTreeMap<&'static str, u64>,
    /// Where each endpoint listens right now.
    pub listeners: BTreeMap<EndpointId, SocketAddr>,
}

impl WorkerStats {
    pub(crate) fn path_drop(&self, reason: DropReason) {
        if let Some(count) = self.path_drops.get(reason as usize) {
            count.add(1);
        }
    }
}

impl Snapshot {
    pub(crate) fn add_worker(&mut self, worker: &WorkerStats) {
        self.ingress_packets += worker.ingress_packets.get();
        self.ingress_bytes += worker.ingress_bytes.get();
        self.egress_packets += worker.egress_packets.get();
        self.egress_bytes += worker.egress_bytes.get();
        self.handoffs += worker.handoffs.get();
        self.control_packets += worker.control_packets.get();
        for (reason, count) in [
            ("handoff-full", &worker.handoff_drops),
            ("control-queue-full", &worker.control_drops),
            ("no-session", &worker.no_session),
            ("no-opcode", &worker.malformed),
            ("not-ip", &worker.not_ip),
            ("no-such-address", &worker.no_address),
            ("tun-full", &worker.tun_drops),
            ("socket-full", &worker.send_drops),
            ("stream-full", &worker.stream_drops),
        ] {
            *self.drops.entry(reason).or_default() += count.get();
        }
        for (what, count) in [
            ("answers", &worker.answers),
            ("answers-refused", &worker.answers_refused),
            ("answers-held", &worker.answers_held),
            ("not-proven", &worker.not_proven),
            ("gate-closed", &worker.gate_closed),
        ] {
            *self.gateway.entry(what).or_default() += count.get();
        }
        for (what, count) in [
            ("accepted", &worker.streams_accepted),
            ("refused", &worker.streams_refused),
            ("silent", &worker.streams_silent),
            ("malformed", &worker.streams_malformed),
            ("stalled", &worker.streams_stalled),
        ] {
            *self.streams.entry(what).or_default() += count.get();
        }
        for (reason, count) in DropReason::ALL.iter().zip(&worker.path_drops) {
            *self.drops.entry(reason.as_str()).or_default() += count.get();
        }
    }

    pub(crate) fn add_control(&mut self, control: &ControlStats) {
        self.connections = control.connections.get();
        self.applied_revision = control.applied_revision.get();
        self.applies = control.applies.get();
        self.fabric_failures = control.fabric_failures.get();
        self.control_transmits = control.transmits.get();
        self.farewells_unacknowledged = control.farewells_unacknowledged.get();
        self.worker_losses = control.worker_losses.get();
        *self.drops.entry("control-socket-full").or_default() += control.transmit_drops.get();
    }

    /// Hands every figure to the installed `metrics` recorder. Meant to be called when somebody scrapes.
    pub fn publish(&self) {
        metrics::gauge!("bascule_connections").set(lossy(self.connections));
        metrics::gauge!("bascule_applied_revision").set(lossy(self.applied_revision));
        for (name, way, value) in [
            ("bascule_packets_total", "ingress", self.ingress_packets),
            ("bascule_packets_total", "egress", self.egress_packets),
            ("bascule_bytes_total", "ingress", self.ingress_bytes),
            ("bascule_bytes_total", "egress", self.egress_bytes),
        ] {
            metrics::counter!(name, "direction" => way).absolute(value);
        }
        for (name, value) in [
            ("bascule_applies_total", self.applies),
            ("bascule_fabric_failures_total", self.fabric_failures),
            ("bascule_handoffs_total", self.handoffs),
            ("bascule_control_packets_total", self.control_packets),
            ("bascule_control_transmits_total", self.control_transmits),
            ("bascule_farewells_unacknowledged_total", self.farewells_unacknowledged),
            ("bascule_session_events_lost_total", self.events_lost),
            ("bascule_worker_losses_total", self.worker_losses),
        ] {
            metrics::counter!(name).absolute(value);
        }
        for (name, value) in &self.gateway {
            metrics::counter!("bascule_gateway_total", "what" => *name).absolute(*value);
        }
        metrics::gauge!("bascule_tcp_connections").set(lossy(self.streams_open));
        for (what, value) in &self.streams {
            metrics::counter!("bascule_tcp_connections_total", "what" => *what).absolute(*value);
        }
        for (reason, value) in &self.drops {
            metrics::counter!("bascule_drops_total", "reason" => *reason).absolute(*value);
        }
    }
}

/// Describes every metric to the installed recorder; once, after it is installed.
pub fn describe_metrics() {
    metrics::describe_gauge!("bascule_connections", "Clients connected");
    metrics::describe_gauge!("bascule_applied_revision", "Newest store revision fully in force");
    metrics::describe_counter!(
        "bascule_packets_total",
        "Inner packets carried, by direction (ingress: from clients)"
    );
    metrics::describe_counter!(
        "bascule_bytes_total",
        "Inner bytes carried, by direction (ingress: from clients)"
    );
    metrics::describe_counter!("bascule_applies_total", "Desired snapshots applied");
    metrics::describe_counter!("bascule_fabric_failures_total", "Steps behind the tunnel that failed");
    metrics::describe_counter!(
        "bascule_handoffs_total",
        "Packets that reached their session by way of another worker"
    );
    metrics::describe_counter!("bascule_control_packets_total", "Control packets received");
    metrics::describe_counter!("bascule_control_transmits_total", "Control datagrams sent");
    metrics::describe_counter!(
        "bascule_farewells_unacknowledged_total",
        "Endpoints closed before every client acknowledged its farewell"
    );
    metrics::describe_counter!("bascule_session_events_lost_total", "Session events nobody took in time");
    metrics::describe_counter!("bascule_worker_losses_total", "Worker threads that died");
    metrics::describe_counter!(
        "bascule_gateway_total",
        "What the gateway counts: handshakes, refusals, farewells"
    );
    metrics::describe_gauge!("bascule_tcp_connections", "TCP connections open");
    metrics::describe_counter!(
        "bascule_tcp_connections_total",
        "TCP connections accepted and turned away, and why others were closed"
    );
    metrics::describe_counter!("bascule_drops_total", "Packets dropped, by reason");
}

/// Gauges are floating point; beyond 2^53 they are off by one, which nobody will see.
#[allow(clippy::cast_precision_loss)]
fn lossy(value: u64) -> f64 {
    value as f64
}
