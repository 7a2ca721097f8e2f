//! Transit gateway attachments of Client VPN endpoints: finding one as the gateway's owner, and the answer of the three
//! actions on it (spec: aws-client-vpn §2.2.20).

use aws_query::ToXml;
use model::{Attachment, AttachmentCode, AttachmentEntry, AttachmentId, Endpoint, Key};
use store::typed::Record;

use crate::clock;
use crate::cx::Cx;
use crate::error::{ApiError, short};
use crate::touch::{Resource, Touch};

/// The answer of the three actions.
#[derive(ToXml)]
pub(crate) struct AttachmentAnswer {
    transit_gateway_client_vpn_attachment: AttachmentState,
}

#[derive(ToXml)]
struct AttachmentState {
    transit_gateway_attachment_id: String,
    transit_gateway_id: String,
    client_vpn_endpoint_id: String,
    client_vpn_owner_id: String,
    state: &'static str,
    creation_time: String,
}

impl AttachmentAnswer {
    /// As it is now.
    pub(crate) fn of(endpoint: &Endpoint, attachment: &Attachment) -> Self {
        Self {
            transit_gateway_client_vpn_attachment: AttachmentState {
                transit_gateway_attachment_id: attachment.id.to_string(),
                transit_gateway_id: attachment.gateway.to_string(),
                client_vpn_endpoint_id: endpoint.id.to_string(),
                client_vpn_owner_id: endpoint.scope.account.to_string(),
                state: attachment.status.as_str(),
                creation_time: clock::with_t(attachment.created_at),
            },
        }
    }
}

/// The one attachment a call is about.
pub(crate) fn touches(id: &str) -> Vec<Touch> {
    vec![Touch::of(Resource::TransitGatewayAttachment(id.to_owned()))]
}

/// The endpoint whose attachment this is, and the attachment. Only the owner of the transit gateway finds it.
///
/// # Errors
/// `InvalidTransitGatewayAttachmentID.NotFound`.
pub(crate) async fn find(cx: &Cx<'_>, id: &str) -> Result<(Record<Endpoint>, Attachment), ApiError> {
    let parsed: AttachmentId = id.parse().map_err(|_| unknown(id))?;
    let entry: Record<AttachmentEntry> =
        cx.get(&Key::attachment_entry(cx.scope, &parsed)).await?.ok_or_else(|| unknown(id))?;
    let key = Key::endpoint(&entry.value.endpoint_scope, &entry.value.endpoint);
    let endpoint: Record<Endpoint> = cx.get(&key).await?.ok_or_else(|| unknown(id))?;
    let attachment = endpoint.value.attachment.clone().filter(|attachment| attachment.id == parsed);
    attachment.map(|attachment| (endpoint, attachment)).ok_or_else(|| unknown(id))
}

/// Refuses what is not possible from where the attachment stands.
pub(crate) fn wrong_state(attachment: &Attachment) -> ApiError {
    let message = format!("{} is in invalid state: {}", attachment.id, attachment.status.as_str());
    ApiError::new("IncorrectState", message)
}

/// The endpoint with its attachment in another state.
pub(crate) fn moved(endpoint: &Endpoint, attachment: &Attachment, status: AttachmentCode) -> Endpoint {
    let attachment = Attachment { status, ..attachment.clone() };
    Endpoint { attachment: Some(attachment), ..endpoint.clone() }
}

fn unknown(id: &str) -> ApiError {
    let message = format!("Transit Gateway Attachment {} was deleted or does not exist.", short(id));
    ApiError::new("InvalidTransitGatewayAttachmentID.NotFound", message)
}
