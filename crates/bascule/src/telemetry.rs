//! `GET /metrics`: what the API counts and times, and the data plane's integers, summed when somebody asks.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use engine::Snapshot;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of the buckets of times, seconds.
const TIME_BUCKETS_S: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Starts counting.
pub(crate) fn start() -> Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &TIME_BUCKETS_S)
        .context("the buckets of times")?
        .install_recorder()
        .context("cannot start counting")
}

/// The data plane's figures in the text form of Prometheus.
pub(crate) fn data_plane(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut figure = |name: &str, kind: &str, help: &str, rows: &[(&str, u64)]| {
        let _ = writeln!(text, "# HELP bascule_{name} {help}\n# TYPE bascule_{name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(text, "bascule_{name}{labels} {value}");
        }
    };
    figure("connections", "gauge", "Clients connected.", &[("", snapshot.connections)]);
    figure("applied_revision", "gauge", "Newest revision in force.", &[("", snapshot.applied_revision)]);
    let ways = |up, down| [(r#"{direction="ingress"}"#, up), (r#"{direction="egress"}"#, down)];
    let packets = ways(snapshot.ingress_packets, snapshot.egress_packets);
    figure("packets_total", "counter", "Inner packets that passed; ingress is from clients.", &packets);
    let bytes = ways(snapshot.ingress_bytes, snapshot.egress_bytes);
    figure("bytes_total", "counter", "Inner bytes that passed; ingress is from clients.", &bytes);
    let labelled = |label: &str, of: &std::collections::BTreeMap<&'static str, u64>| -> Vec<(String, u64)> {
        of.iter().map(|(name, value)| (format!("{{{label}=\"{name}\"}}"), *value)).collect()
    };
    let drops = labelled("reason", &snapshot.drops);
    let drops: Vec<(&str, u64)> = drops.iter().map(|(labels, value)| (labels.as_str(), *value)).collect();
    figure("dropped_packets_total", "counter", "Packets dropped, by reason.", &drops);
    let events = labelled("event", &snapshot.gateway);
    let events: Vec<(&str, u64)> = events.iter().map(|(labels, value)| (labels.as_str(), *value)).collect();
    figure("gateway_events_total", "counter", "Handshakes, refusals and farewells.", &events);
    figure("tcp_connections", "gauge", "TCP connections of clients.", &[("", snapshot.streams_open)]);
    let streams = labelled("event", &snapshot.streams);
    let streams: Vec<(&str, u64)> = streams.iter().map(|(labels, value)| (labels.as_str(), *value)).collect();
    let help = "TCP connections accepted and turned away, and why others were closed.";
    figure("tcp_connections_total", "counter", help, &streams);
    figure("handoffs_total", "counter", "Packets handed to another worker.", &[("", snapshot.handoffs)]);
    figure(
        "control_packets_total",
        "counter",
        "Control channel packets received.",
        &[("", snapshot.control_packets)],
    );
    figure("applies_total", "counter", "Desired snapshots applied.", &[("", snapshot.applies)]);
    figure(
        "fabric_failures_total",
        "counter",
        "Fabric steps that failed.",
        &[("", snapshot.fabric_failures)],
    );
    let unacknowledged = snapshot.farewells_unacknowledged;
    figure(
        "farewells_unacknowledged_total",
        "counter",
        "Sockets closed before every farewell was acknowledged.",
        &[("", unacknowledged)],
    );
    figure(
        "session_events_lost_total",
        "counter",
        "Session events that nobody took in time.",
        &[("", snapshot.events_lost)],
    );
    figure("worker_losses_total", "counter", "Worker threads that died.", &[("", snapshot.worker_losses)]);
    text
}

/// The user-space fabric's figures in the same form.
pub(crate) fn user_fabric(figures: &usernet::Figures) -> String {
    let mut text = String::new();
    let mut figure =
        |name: &str, kind: &str, help: &str, label: &str, rows: &std::collections::BTreeMap<&str, u64>| {
            let _ = writeln!(
                text,
                "# HELP bascule_userspace_{name} {help}\n# TYPE bascule_userspace_{name} {kind}"
            );
            for (row, value) in rows {
                let _ = writeln!(text, "bascule_userspace_{name}{{{label}=\"{row}\"}} {value}");
            }
        };
    figure("flows", "gauge", "Flows of clients in user space.", "protocol", &figures.open);
    figure("flows_total", "counter", "Flows of clients begun in user space.", "protocol", &figures.begun);
    figure("refused_total", "counter", "What was not carried in user space.", "reason", &figures.refused);
    let bytes = figures.buffer_bytes;
    let _ = writeln!(
        text,
        "# HELP bascule_userspace_buffer_bytes Memory that open connections may fill.\n# TYPE bascule_userspace_buffer_bytes gauge\nbascule_userspace_buffer_bytes {bytes}"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_text_form() {
        let mut snapshot = Snapshot { connections: 3, ingress_packets: 7, ..Snapshot::default() };
        snapshot.drops.insert("no-route", 5);
        let text = data_plane(&snapshot);
        assert!(text.contains("bascule_connections 3\n"));
        assert!(text.contains("bascule_packets_total{direction=\"ingress\"} 7\n"));
        assert!(text.contains("bascule_dropped_packets_total{reason=\"no-route\"} 5\n"));
    }
}
