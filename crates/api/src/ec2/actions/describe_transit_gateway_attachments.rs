//! `DescribeTransitGatewayAttachments`: those of type `client-vpn`, of the account's transit gateways and of its endpoints.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Attachment, AttachmentCode, Endpoint, Key, Scope};

use crate::action::{Action, Decision};
use crate::clock;
use crate::cx::Cx;
use crate::ec2::shapes::TagAnswer;
use crate::error::{ApiError, short};
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const KIND: &str = "client-vpn";
const FILTERS: &[&str] = &[
    "association.state",
    "association.transit-gateway-route-table-id",
    "resource-id",
    "resource-owner-id",
    "resource-type",
    "state",
    "transit-gateway-attachment-id",
    "transit-gateway-id",
    "transit-gateway-owner-id",
];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeTransitGatewayAttachments {
    transit_gateway_attachment_ids: Vec<String>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    next_token: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    transit_gateway_attachments: Vec<AttachmentRow>,
    next_token: Option<String>,
}

#[derive(ToXml)]
struct AttachmentRow {
    transit_gateway_attachment_id: String,
    transit_gateway_id: String,
    transit_gateway_owner_id: String,
    resource_owner_id: String,
    resource_type: &'static str,
    resource_id: String,
    state: &'static str,
    association: Option<AssociationAnswer>,
    creation_time: String,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
    nat_gateway_support: Option<&'static str>,
}

#[derive(ToXml)]
struct AssociationAnswer {
    transit_gateway_route_table_id: Option<String>,
    transit_gateway_policy_table_id: Option<String>,
    state: &'static str,
}

#[async_trait]
impl Action for DescribeTransitGatewayAttachments {
    const NAME: &'static str = "DescribeTransitGatewayAttachments";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        let mut found: BTreeMap<String, (Endpoint, Attachment)> = BTreeMap::new();
        let mut keep = |endpoint: Endpoint| {
            if let Some(attachment) = endpoint.attachment.clone()
                && attachment.status != AttachmentCode::Deleted
            {
                found.insert(attachment.id.to_string(), (endpoint, attachment));
            }
        };
        for record in cx.endpoints().await? {
            keep(record.value);
        }
        for entry in cx.attachment_entries().await? {
            let key = Key::endpoint(&entry.value.endpoint_scope, &entry.value.endpoint);
            if entry.value.endpoint_scope != *cx.scope
                && let Some(record) = cx.get::<Endpoint>(&key).await?
            {
                keep(record.value);
            }
        }
        let ids = &self.transit_gateway_attachment_ids;
        if let Some(unknown) = ids.iter().find(|id| !found.contains_key(id.as_str())) {
            let message =
                format!("Transit Gateway Attachment {} was deleted or does not exist.", short(unknown));
            return Err(ApiError::new("InvalidTransitGatewayAttachmentID.NotFound", message));
        }
        let asked = |id: &String| ids.is_empty() || ids.contains(id);
        let rows: Vec<AttachmentRow> = found
            .into_iter()
            .filter(|(id, _)| asked(id))
            .map(|(_, (endpoint, attachment))| row(&endpoint, &attachment))
            .filter(|row| passes(row, &filters))
            .collect();
        let (rows, next_token) = page(
            rows,
            |row| row.transit_gateway_attachment_id.as_str(),
            self.next_token.as_deref(),
            self.max_results,
        )?;
        Ok(Decision::read(Answer { transit_gateway_attachments: rows, next_token }))
    }
}

fn row(endpoint: &Endpoint, attachment: &Attachment) -> AttachmentRow {
    let joined = attachment.status == AttachmentCode::Available;
    AttachmentRow {
        transit_gateway_attachment_id: attachment.id.to_string(),
        transit_gateway_id: attachment.gateway.to_string(),
        transit_gateway_owner_id: attachment.gateway_scope.account.to_string(),
        resource_owner_id: endpoint.scope.account.to_string(),
        resource_type: KIND,
        resource_id: endpoint.id.to_string(),
        state: state(attachment.status),
        association: joined.then(|| AssociationAnswer {
            transit_gateway_route_table_id: Some(format!("tgw-rtb-{}", attachment.gateway.digits())),
            transit_gateway_policy_table_id: None,
            state: "associated",
        }),
        creation_time: clock::iso(attachment.created_at),
        tags: Vec::new(),
        nat_gateway_support: None,
    }
}

/// This action has words of its own for states.
fn state(code: AttachmentCode) -> &'static str {
    match code {
        AttachmentCode::PendingAcceptance => "pendingAcceptance",
        AttachmentCode::Pending => "pending",
        AttachmentCode::Rejected => "rejected",
        AttachmentCode::Available => "available",
        AttachmentCode::Deleting => "deleting",
        AttachmentCode::Deleted => "deleted",
    }
}

fn passes(row: &AttachmentRow, filters: &Filters<'_>) -> bool {
    let association = row.association.as_ref();
    let table = association.and_then(|tie| tie.transit_gateway_route_table_id.as_deref());
    let facets = vec![
        ("association.state", association.map(|tie| tie.state).into_iter().collect()),
        ("association.transit-gateway-route-table-id", table.into_iter().collect()),
        ("resource-id", vec![row.resource_id.as_str()]),
        ("resource-owner-id", vec![row.resource_owner_id.as_str()]),
        ("resource-type", vec![row.resource_type]),
        ("state", vec![row.state]),
        ("transit-gateway-attachment-id", vec![row.transit_gateway_attachment_id.as_str()]),
        ("transit-gateway-id", vec![row.transit_gateway_id.as_str()]),
        ("transit-gateway-owner-id", vec![row.transit_gateway_owner_id.as_str()]),
    ];
    filters.pass(&facets, &BTreeMap::new())
}
