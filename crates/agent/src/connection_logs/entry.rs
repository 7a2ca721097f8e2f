//! The form of an entry (spec: aws-client-vpn §5.1).

use gateway::{Attempt, ConnectionStart, Traffic};
use serde::Serialize;

use super::evaluation::Evaluation;

/// What an entry says where there is nothing to say.
const NOTHING: &str = "NA";

/// An entry; its members in AWS's order, all of them text but for the evaluation.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Entry {
    connection_log_type: &'static str,
    connection_attempt_status: &'static str,
    connection_reset_status: &'static str,
    connection_attempt_failure_reason: &'static str,
    connection_id: String,
    client_vpn_endpoint_id: String,
    /// Set by who writes the entry.
    pub(super) transport_protocol: &'static str,
    connection_start_time: String,
    connection_last_update_time: String,
    client_ip: String,
    client_ip_v6: String,
    common_name: String,
    device_type: String,
    device_ip: String,
    port: String,
    ingress_bytes: String,
    egress_bytes: String,
    ingress_packets: String,
    egress_packets: String,
    /// Set by who writes the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authorization_policy_evaluation: Option<Evaluation>,
    connection_end_time: String,
    connection_duration_seconds: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// UNVERIFIED: how several statuses are told in one text.
    #[serde(skip_serializing_if = "String::is_empty")]
    posture_compliance_statuses: String,
}

impl Entry {
    /// A connection that is there.
    pub(super) fn live(start: &ConnectionStart, at_unix: i64, traffic: Traffic) -> Self {
        let duration = at_unix.saturating_sub(start.established_at.0).max(0);
        Self {
            connection_log_type: "connection-attempt",
            connection_attempt_status: "successful",
            connection_reset_status: NOTHING,
            connection_attempt_failure_reason: NOTHING,
            connection_id: start.id.to_string(),
            client_vpn_endpoint_id: start.endpoint.to_string(),
            transport_protocol: "",
            connection_start_time: time(start.established_at.0),
            connection_last_update_time: time(at_unix),
            client_ip: text(start.client.v4),
            client_ip_v6: text(start.client.v6),
            common_name: start.common_name.clone(),
            device_type: start.platform.clone().unwrap_or_else(|| NOTHING.to_owned()),
            device_ip: start.peer.ip().to_canonical().to_string(),
            port: start.peer.port().to_string(),
            ingress_bytes: traffic.ingress_bytes.to_string(),
            egress_bytes: traffic.egress_bytes.to_string(),
            ingress_packets: traffic.ingress_packets.to_string(),
            egress_packets: traffic.egress_packets.to_string(),
            authorization_policy_evaluation: None,
            connection_end_time: NOTHING.to_owned(),
            connection_duration_seconds: duration.to_string(),
            username: start.username.clone(),
            posture_compliance_statuses: start.posture.join(","),
        }
    }

    /// A connection that was there.
    pub(super) fn ended(start: &ConnectionStart, at_unix: i64, traffic: Traffic) -> Self {
        Self {
            connection_log_type: "connection-reset",
            connection_attempt_status: NOTHING,
            connection_end_time: time(at_unix),
            ..Self::live(start, at_unix, traffic)
        }
    }

    /// A connection that did not come to be.
    pub(super) fn refused(attempt: &Attempt) -> Self {
        let zero = || "0".to_owned();
        Self {
            connection_log_type: "connection-attempt",
            connection_attempt_status: "failed",
            connection_reset_status: NOTHING,
            connection_attempt_failure_reason: attempt.reason,
            connection_id: attempt.id.to_string(),
            client_vpn_endpoint_id: attempt.endpoint.to_string(),
            transport_protocol: "",
            connection_start_time: NOTHING.to_owned(),
            connection_last_update_time: time(attempt.at.0),
            client_ip: NOTHING.to_owned(),
            client_ip_v6: NOTHING.to_owned(),
            common_name: attempt.common_name.clone(),
            device_type: attempt.platform.clone().unwrap_or_else(|| NOTHING.to_owned()),
            device_ip: attempt.peer.ip().to_canonical().to_string(),
            port: attempt.peer.port().to_string(),
            ingress_bytes: zero(),
            egress_bytes: zero(),
            ingress_packets: zero(),
            egress_packets: zero(),
            authorization_policy_evaluation: None,
            connection_end_time: NOTHING.to_owned(),
            connection_duration_seconds: NOTHING.to_owned(),
            username: attempt.username.clone(),
            posture_compliance_statuses: attempt.posture.join(","),
        }
    }
}

/// `2020-03-26 20:37:15`, UTC.
fn time(unix_s: i64) -> String {
    let instant = jiff::Timestamp::from_second(unix_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// An address, if there is one.
fn text<T: ToString>(address: Option<T>) -> String {
    address.map_or_else(|| NOTHING.to_owned(), |address| address.to_string())
}
