//! `DeleteClientVpnEndpoint` (spec: aws-client-vpn §1.2, §2.2.4).

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::EndpointCode;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DeleteClientVpnEndpoint {
    client_vpn_endpoint_id: String,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    status: Status,
}

#[async_trait]
impl Action for DeleteClientVpnEndpoint {
    const NAME: &'static str = "DeleteClientVpnEndpoint";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let associations = cx.associations(&endpoint.value.id).await?;
        if !associations.is_empty() {
            let ids: Vec<&str> = associations.iter().map(|record| record.value.id.as_str()).collect();
            // UNVERIFIED: how several ids are joined.
            let message =
                format!("The endpoint that you're trying to delete has associations {}", ids.join(", "));
            return Err(ApiError::new("ClientVpnEndpointAssociationExists", message));
        }
        let mut deleting = endpoint.value.clone();
        deleting.status = model::Status::of(EndpointCode::Deleting);
        let mut draft = Draft::of(&deleting.id);
        draft.replace(&endpoint, &deleting);
        Ok(Decision::write(Answer { status: Status::from(&deleting.status) }, draft))
    }
}
