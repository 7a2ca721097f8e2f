//! `DeleteClientVpnEndpointAuthorizationPolicy` (spec: aws-client-vpn, Appendix B): without a policy whoever authenticates may
//! connect, as before the first one.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{AuthorizationPolicy, PolicyCode, Status};

use crate::action::{Action, Decision};
use crate::cx::{Cx, no_policy};
use crate::draft::Draft;
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DeleteClientVpnEndpointAuthorizationPolicy {
    client_vpn_endpoint_id: String,
}

/// The status is a bare word here.
#[derive(ToXml)]
pub(crate) struct Answer {
    status: &'static str,
}

#[async_trait]
impl Action for DeleteClientVpnEndpointAuthorizationPolicy {
    const NAME: &'static str = "DeleteClientVpnEndpointAuthorizationPolicy";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?.value;
        let record = cx.authorization_policy(&endpoint.id).await?.ok_or_else(|| no_policy(&endpoint.id))?;
        let answer = Answer { status: PolicyCode::Deleting.as_str() };
        if record.value.status.code == PolicyCode::Deleting {
            return Ok(Decision::read(answer));
        }
        let status = Status::of(PolicyCode::Deleting);
        let mut draft = Draft::of(&endpoint.id);
        draft.replace(&record, &AuthorizationPolicy { status, ..record.value.clone() });
        Ok(Decision::write(answer, draft))
    }
}
