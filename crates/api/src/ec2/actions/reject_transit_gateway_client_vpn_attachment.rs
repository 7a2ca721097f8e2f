//! `RejectTransitGatewayClientVpnAttachment` (spec: aws-client-vpn §2.2.21): turns down an attachment that another account asked for.

use async_trait::async_trait;
use aws_query::FromQuery;
use model::AttachmentCode;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::attachment_shapes::{self as attachment, AttachmentAnswer};
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct RejectTransitGatewayClientVpnAttachment {
    transit_gateway_attachment_id: String,
}

#[async_trait]
impl Action for RejectTransitGatewayClientVpnAttachment {
    const NAME: &'static str = "RejectTransitGatewayClientVpnAttachment";
    type Answer = AttachmentAnswer;

    fn touches(&self) -> Vec<Touch> {
        attachment::touches(&self.transit_gateway_attachment_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<AttachmentAnswer>, ApiError> {
        let (endpoint, asked) = attachment::find(cx, &self.transit_gateway_attachment_id).await?;
        if asked.status != AttachmentCode::PendingAcceptance {
            return Err(attachment::wrong_state(&asked));
        }
        let rejected = attachment::moved(&endpoint.value, &asked, AttachmentCode::Rejected);
        let mut draft = Draft::of(&rejected.id);
        draft.replace(&endpoint, &rejected);
        let now = rejected.attachment.as_ref().unwrap_or(&asked);
        Ok(Decision::write(AttachmentAnswer::of(&rejected, now), draft))
    }
}
