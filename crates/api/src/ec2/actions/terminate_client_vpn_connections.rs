//! `TerminateClientVpnConnections` (spec: aws-client-vpn §2.2.16): marks the connections and orders their end; a gateway
//! ends them and a controller says so.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Connection, ConnectionCode, Key, Scope, Termination};
use store::typed::Record;

use super::describe_client_vpn_connections::merged;
use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::Status;
use crate::error::{ApiError, short};
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct TerminateClientVpnConnections {
    client_vpn_endpoint_id: String,
    connection_id: Option<String>,
    username: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    client_vpn_endpoint_id: String,
    username: Option<String>,
    connection_statuses: Vec<ConnectionStatus>,
}

#[derive(ToXml)]
struct ConnectionStatus {
    connection_id: String,
    previous_status: Status,
    current_status: Status,
}

#[async_trait]
impl Action for TerminateClientVpnConnections {
    const NAME: &'static str = "TerminateClientVpnConnections";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        match (&self.connection_id, &self.username) {
            (Some(_), Some(_)) => {
                faults.push(ApiError::combination("ConnectionId and Username cannot be specified together"));
            }
            (None, None) => faults.push(ApiError::missing("ConnectionId")),
            _ => {}
        }
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?.value;
        let stored = cx.connections(&endpoint.id).await?;
        let rows = merged(stored.iter().map(|record| record.value.clone()), cx, &endpoint.id);
        let chosen = self.chosen(rows, cx.config.quotas.terminate_by_username)?;
        let mut draft = Draft::of(&endpoint.id);
        for row in &chosen {
            end(row, &stored, &mut draft);
        }
        let connection_statuses = chosen
            .iter()
            .map(|row| ConnectionStatus {
                connection_id: row.id.to_string(),
                previous_status: Status::from(&row.status),
                current_status: Status::of(ConnectionCode::Terminating.as_str()),
            })
            .collect();
        let answer = Answer {
            client_vpn_endpoint_id: endpoint.id.to_string(),
            username: self.username.clone(),
            connection_statuses,
        };
        Ok(Decision::write(answer, draft))
    }
}

impl TerminateClientVpnConnections {
    /// The connections that are meant and still live.
    fn chosen(
        &self,
        mut rows: Vec<Connection>,
        most_by_username: usize,
    ) -> Result<Vec<Connection>, ApiError> {
        rows.retain(|row| row.status.code != ConnectionCode::Terminated);
        if let Some(id) = &self.connection_id {
            rows.retain(|row| row.id.as_str() == id);
            if rows.is_empty() {
                let message = format!("Connection {} does not exist", short(id));
                return Err(ApiError::new("InvalidClientVpnConnection.IdNotFound", message));
            }
            return Ok(rows);
        }
        rows.retain(|row| row.username.is_some() && row.username == self.username);
        if rows.is_empty() {
            let name = self.username.as_deref().unwrap_or_default();
            let message = format!("User {} has no active connection", short(name));
            return Err(ApiError::new("InvalidClientVpnConnection.UserNotFound", message));
        }
        if rows.len() > most_by_username {
            let message = format!("The user has more than {most_by_username} active connections");
            return Err(ApiError::new("ClientVpnTerminateConnectionsLimitExceeded", message));
        }
        Ok(rows)
    }
}

fn end(row: &Connection, stored: &[Record<Connection>], draft: &mut Draft) {
    if row.status.code == ConnectionCode::Terminating {
        return;
    }
    let mut ending = row.clone();
    ending.status = model::Status::of(ConnectionCode::Terminating);
    match stored.iter().find(|record| record.value.id == row.id) {
        Some(record) => draft.replace(record, &ending),
        None => draft.create(Key::connection(&row.scope, &row.endpoint, &row.id), &ending),
    }
    let order =
        Termination { connection: row.id.clone(), endpoint: row.endpoint.clone(), scope: row.scope.clone() };
    draft.put(Key::termination(&row.scope, &row.endpoint, &row.id), &order);
}
