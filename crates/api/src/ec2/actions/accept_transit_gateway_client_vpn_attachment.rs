//! `AcceptTransitGatewayClientVpnAttachment` (spec: aws-client-vpn §2.2.20): takes up an attachment that another account asked for. No attachment exists yet.

use async_trait::async_trait;
use aws_query::FromQuery;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::attachment_shapes::{self as attachment, AttachmentAnswer};
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

    async fn run(&self, _cx: &Cx<'_>) -> Result<Decision<AttachmentAnswer>, ApiError> {
        Err(attachment::unknown(&self.transit_gateway_attachment_id))
    }
}
