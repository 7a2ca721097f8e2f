//! `DeleteTransitGatewayClientVpnAttachment` (spec: aws-client-vpn §2.2.22): takes an endpoint off its transit gateway, with the consequences of a last disassociation; the endpoint is `pending` from then on.

use async_trait::async_trait;
use aws_query::FromQuery;
use model::{AttachmentCode, Kind, RouteCode, Status, prefix};
use store::typed::Record;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::attachment_shapes::{self as attachment, AttachmentAnswer};
use crate::ec2::disassociation;
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DeleteTransitGatewayClientVpnAttachment {
    transit_gateway_attachment_id: String,
}

#[async_trait]
impl Action for DeleteTransitGatewayClientVpnAttachment {
    const NAME: &'static str = "DeleteTransitGatewayClientVpnAttachment";
    type Answer = AttachmentAnswer;

    fn touches(&self) -> Vec<Touch> {
        attachment::touches(&self.transit_gateway_attachment_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<AttachmentAnswer>, ApiError> {
        let (endpoint, stands) = attachment::find(cx, &self.transit_gateway_attachment_id).await?;
        match stands.status {
            AttachmentCode::Deleting => {
                return Ok(Decision::read(AttachmentAnswer::of(&endpoint.value, &stands)));
            }
            AttachmentCode::Deleted => return Err(attachment::wrong_state(&stands)),
            AttachmentCode::PendingAcceptance
            | AttachmentCode::Pending
            | AttachmentCode::Rejected
            | AttachmentCode::Available => {}
        }
        let mut deleting = attachment::moved(&endpoint.value, &stands, AttachmentCode::Deleting);
        deleting.association_epoch = deleting.association_epoch.saturating_add(1);
        let mut draft = Draft::of(&deleting.id);
        draft.replace(&endpoint, &deleting);
        // The endpoint may be another account's.
        let under = |kind| prefix::under(&deleting.scope, kind, &deleting.id);
        let associations: Vec<Record<model::Association>> = cx.list(&under(Kind::Association)).await?;
        disassociation::all_leave(&mut draft, &associations);
        let routes: Vec<Record<model::Route>> = cx.list(&under(Kind::Route)).await?;
        for record in routes {
            if record.value.status.code != RouteCode::Deleting {
                let mut leaving = record.value.clone();
                leaving.status = Status::of(RouteCode::Deleting);
                draft.replace(&record, &leaving);
            }
        }
        let now = deleting.attachment.as_ref().unwrap_or(&stands);
        Ok(Decision::write(AttachmentAnswer::of(&deleting, now), draft))
    }
}
