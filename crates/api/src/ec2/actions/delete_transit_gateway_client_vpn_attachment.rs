//! `DeleteTransitGatewayClientVpnAttachment` (spec: aws-client-vpn §2.2.20): takes an endpoint off its transit gateway. No attachment exists yet.

use async_trait::async_trait;
use aws_query::FromQuery;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::attachment_shapes::{self as attachment, AttachmentAnswer};
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

    async fn run(&self, _cx: &Cx<'_>) -> Result<Decision<AttachmentAnswer>, ApiError> {
        Err(attachment::unknown(&self.transit_gateway_attachment_id))
    }
}
