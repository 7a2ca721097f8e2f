//! `RevokeClientVpnIngress` (spec: aws-client-vpn §2.2.13).

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{RuleCode, Scope};

use super::authorize_client_vpn_ingress::group;
use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct RevokeClientVpnIngress {
    client_vpn_endpoint_id: String,
    target_network_cidr: String,
    access_group_id: Option<String>,
    revoke_all_groups: Option<bool>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    status: Status,
}

#[async_trait]
impl Action for RevokeClientVpnIngress {
    const NAME: &'static str = "RevokeClientVpnIngress";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(check::network("TargetNetworkCidr", &self.target_network_cidr), faults);
        check::keep(
            group(self.access_group_id.as_deref(), self.revoke_all_groups, "RevokeAllGroups"),
            faults,
        );
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let destination = check::network("TargetNetworkCidr", &self.target_network_cidr)?;
        let group = group(self.access_group_id.as_deref(), self.revoke_all_groups, "RevokeAllGroups")?;
        let rules = cx.rules(&endpoint.value.id).await?;
        let rule = rules
            .iter()
            .find(|rule| rule.value.destination == destination && rule.value.group == group)
            .ok_or_else(|| {
                let message = format!("The authorization rule for {destination} does not exist");
                ApiError::new("InvalidClientVpnEndpointAuthorizationRuleNotFound", message)
            })?;
        let answer = Answer { status: Status::of(RuleCode::Revoking.as_str()) };
        if rule.value.status.code == RuleCode::Revoking {
            return Ok(Decision::read(answer));
        }
        let mut revoking = rule.value.clone();
        revoking.status = model::Status::of(RuleCode::Revoking);
        let mut draft = Draft::of(&endpoint.value.id);
        draft.replace(rule, &revoking);
        Ok(Decision::write(answer, draft))
    }
}
