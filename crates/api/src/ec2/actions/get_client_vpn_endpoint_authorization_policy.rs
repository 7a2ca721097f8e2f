//! `GetClientVpnEndpointAuthorizationPolicy` (spec: aws-client-vpn, Appendix B): the policy as it was given.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};

use crate::action::{Action, Decision};
use crate::cx::{Cx, no_policy};
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct GetClientVpnEndpointAuthorizationPolicy {
    client_vpn_endpoint_id: String,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    client_vpn_endpoint_id: String,
    policy_document: String,
    description: Option<String>,
    shadow_mode: &'static str,
    status: &'static str,
}

#[async_trait]
impl Action for GetClientVpnEndpointAuthorizationPolicy {
    const NAME: &'static str = "GetClientVpnEndpointAuthorizationPolicy";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?.value;
        let policy =
            cx.authorization_policy(&endpoint.id).await?.ok_or_else(|| no_policy(&endpoint.id))?.value;
        Ok(Decision::read(Answer {
            client_vpn_endpoint_id: endpoint.id.to_string(),
            policy_document: policy.document,
            description: policy.description,
            shadow_mode: if policy.shadow { "enabled" } else { "disabled" },
            status: policy.status.code.as_str(),
        }))
    }
}
