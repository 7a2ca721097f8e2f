//! `DeleteTransitGateway`: refused while an endpoint is attached to it.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{AttachmentCode, Endpoint, Key};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::transit_gateways::{self, TransitGatewayAnswer};
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DeleteTransitGateway {
    transit_gateway_id: String,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    transit_gateway: TransitGatewayAnswer,
}

#[async_trait]
impl Action for DeleteTransitGateway {
    const NAME: &'static str = "DeleteTransitGateway";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Named(self.transit_gateway_id.clone()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        // An endpoint rewrites the gateway as it is attached: one attached meanwhile is a conflict.
        let gateway = cx.transit_gateway(&self.transit_gateway_id).await?;
        let id = &gateway.value.id;
        let mut draft = Draft::default();
        let mut attached = Vec::new();
        let entries = cx.attachment_entries().await?;
        for entry in entries.iter().filter(|entry| entry.value.gateway == *id) {
            let key = Key::endpoint(&entry.value.endpoint_scope, &entry.value.endpoint);
            let endpoint = cx.get::<Endpoint>(&key).await?.map(|record| record.value);
            match endpoint.and_then(|endpoint| endpoint.attachment).map(|attachment| attachment.status) {
                None | Some(AttachmentCode::Rejected | AttachmentCode::Deleted) => draft.delete(entry),
                Some(_) => attached.push(entry.value.id.as_str()),
            }
        }
        if !attached.is_empty() {
            // UNVERIFIED: the message for attachments of this kind.
            let message = format!("{id} has non-deleted Client VPN Attachments: {}", attached.join(", "));
            return Err(ApiError::new("IncorrectState", message));
        }
        draft.delete(&gateway);
        draft.remove(transit_gateways::owner_key(cx.scope, id));
        let answer = Answer { transit_gateway: TransitGatewayAnswer::of(&gateway.value, "deleting") };
        Ok(Decision::write(answer, draft))
    }
}
