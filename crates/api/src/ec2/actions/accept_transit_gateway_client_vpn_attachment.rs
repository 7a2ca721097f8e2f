//! `AcceptTransitGatewayClientVpnAttachment` (spec: aws-client-vpn §2.2.20): takes up an attachment that another account asked for; its zones are associated.

use async_trait::async_trait;
use aws_query::FromQuery;
use model::{AttachmentCode, EndpointCode, Status};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::attachment_shapes::{self as attachment, AttachmentAnswer};
use crate::ec2::transit_gateways;
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct AcceptTransitGatewayClientVpnAttachment {
    transit_gateway_attachment_id: String,
}

#[async_trait]
impl Action for AcceptTransitGatewayClientVpnAttachment {
    const NAME: &'static str = "AcceptTransitGatewayClientVpnAttachment";
    type Answer = AttachmentAnswer;

    fn touches(&self) -> Vec<Touch> {
        attachment::touches(&self.transit_gateway_attachment_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<AttachmentAnswer>, ApiError> {
        let (endpoint, asked) = attachment::find(cx, &self.transit_gateway_attachment_id).await?;
        if asked.status != AttachmentCode::PendingAcceptance {
            return Err(attachment::wrong_state(&asked));
        }
        let mut accepted = attachment::moved(&endpoint.value, &asked, AttachmentCode::Pending);
        accepted.status = Status::of(EndpointCode::PendingAssociate);
        accepted.association_epoch = accepted.association_epoch.saturating_add(1);
        let mut draft = Draft::of(&accepted.id);
        draft.replace(&endpoint, &accepted);
        for zone in &asked.zones {
            transit_gateways::associate(cx, &mut draft, &accepted, zone);
        }
        let now = accepted.attachment.as_ref().unwrap_or(&asked);
        Ok(Decision::write(AttachmentAnswer::of(&accepted, now), draft))
    }
}
