//! `DescribeClientVpnConnections` (spec: aws-client-vpn §2.2.15): stored rows, with the counters of those that live.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Connection, ConnectionCode, ConnectionId, EndpointId, Scope, Timestamp};

use crate::action::{Action, Decision};
use crate::clock;
use crate::cx::Cx;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &["connection-id", "username"];
/// How long an ended connection stays listed, seconds (spec: aws-client-vpn §1.7).
const LISTED_AFTER_END_SECONDS: i64 = 60 * 60;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeClientVpnConnections {
    client_vpn_endpoint_id: String,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
    next_token: Option<String>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    connections: Vec<ConnectionAnswer>,
    next_token: Option<String>,
}

#[derive(ToXml)]
struct ConnectionAnswer {
    client_vpn_endpoint_id: String,
    timestamp: String,
    connection_id: String,
    username: Option<String>,
    connection_established_time: String,
    ingress_bytes: String,
    egress_bytes: String,
    ingress_packets: String,
    egress_packets: String,
    client_ip: Option<String>,
    client_ipv6_address: Option<String>,
    common_name: String,
    status: Status,
    connection_end_time: String,
    #[xml(name = "postureComplianceStatusSet", omit_empty)]
    posture_compliance_statuses: Vec<String>,
    authorization_policy_last_evaluated_time: Option<String>,
}

#[async_trait]
impl Action for DescribeClientVpnConnections {
    const NAME: &'static str = "DescribeClientVpnConnections";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, false, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint_in_any_state(&self.client_vpn_endpoint_id).await?.value;
        let filters = Filters::new(&self.filters, FILTERS, false)?;
        let stored = cx.connections(&endpoint.id).await?.into_iter().map(|record| record.value);
        let mut rows = merged(stored, cx, &endpoint.id);
        rows.retain(|row| {
            let facets = vec![
                ("connection-id", vec![row.id.as_str()]),
                ("username", row.username.as_deref().into_iter().collect()),
            ];
            is_listed(row, cx.now) && filters.pass(&facets, &BTreeMap::new())
        });
        let (rows, next_token) =
            page(rows, |row| row.id.as_str(), self.next_token.as_deref(), self.max_results)?;
        let connections = rows.iter().map(|row| answer(row, cx.now)).collect();
        Ok(Decision::read(Answer { connections, next_token }))
    }
}

/// Stored rows with live counters, and live ones that are not stored yet; by id.
pub(crate) fn merged(
    stored: impl Iterator<Item = Connection>,
    cx: &Cx<'_>,
    endpoint: &EndpointId,
) -> Vec<Connection> {
    let mut rows: BTreeMap<ConnectionId, Connection> = stored.map(|row| (row.id.clone(), row)).collect();
    for live in cx.live.live(endpoint).into_iter().filter(|live| live.scope == *cx.scope) {
        match rows.get_mut(&live.id) {
            Some(row) if row.status.code != ConnectionCode::Terminated => {
                *row = Connection { status: row.status.clone(), ..live };
            }
            Some(_) => {}
            None => {
                rows.insert(live.id.clone(), live);
            }
        }
    }
    rows.into_values().collect()
}

fn is_listed(row: &Connection, now: Timestamp) -> bool {
    row.status.code != ConnectionCode::Terminated
        || row.ended_at.is_none_or(|end| now.0.saturating_sub(end.0) < LISTED_AFTER_END_SECONDS)
}

fn answer(row: &Connection, now: Timestamp) -> ConnectionAnswer {
    ConnectionAnswer {
        client_vpn_endpoint_id: row.endpoint.to_string(),
        timestamp: clock::with_space(row.ended_at.unwrap_or(now)),
        connection_id: row.id.to_string(),
        username: row.username.clone(),
        connection_established_time: clock::with_space(row.established_at),
        ingress_bytes: row.ingress_bytes.to_string(),
        egress_bytes: row.egress_bytes.to_string(),
        ingress_packets: row.ingress_packets.to_string(),
        egress_packets: row.egress_packets.to_string(),
        client_ip: row.client_ip.map(|address| address.to_string()),
        client_ipv6_address: row.client_ipv6.map(|address| address.to_string()),
        common_name: row.common_name.clone(),
        status: Status::from(&row.status),
        connection_end_time: row.ended_at.map_or_else(|| "-".to_owned(), clock::with_space),
        posture_compliance_statuses: row.posture.clone(),
        authorization_policy_last_evaluated_time: row.policy_evaluated_at.map(clock::with_space),
    }
}
