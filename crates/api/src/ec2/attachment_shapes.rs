//! Transit gateway attachments of Client VPN endpoints, as answered. There are none yet: endpoints with a transit gateway
//! are not built, so every id is unknown.

use aws_query::ToXml;

use crate::error::{ApiError, short};
use crate::touch::{Resource, Touch};

/// The answer of the three actions.
#[derive(ToXml)]
pub(crate) struct AttachmentAnswer {
    transit_gateway_client_vpn_attachment: Attachment,
}

#[derive(ToXml)]
struct Attachment {
    transit_gateway_attachment_id: String,
    transit_gateway_id: String,
    client_vpn_endpoint_id: String,
    client_vpn_owner_id: String,
    state: &'static str,
    creation_time: String,
}

/// The one attachment a call is about.
pub(crate) fn touches(id: &str) -> Vec<Touch> {
    vec![Touch::of(Resource::TransitGatewayAttachment(id.to_owned()))]
}

/// spec: aws-client-vpn §2.2.20
pub(crate) fn unknown(id: &str) -> ApiError {
    let message = format!("Transit Gateway Attachment {} was deleted or does not exist.", short(id));
    ApiError::new("InvalidTransitGatewayAttachmentID.NotFound", message)
}
