//! `ApplySecurityGroupsToClientVpnTargetNetwork` (spec: aws-client-vpn §2.2.8): replaces the set of the endpoint, which all
//! its associations share.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::Applying;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::references;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ApplySecurityGroupsToClientVpnTargetNetwork {
    client_vpn_endpoint_id: String,
    vpc_id: String,
    #[query(name = "SecurityGroupId", required, max = 5)]
    security_group_ids: Vec<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "securityGroupIds")]
    security_group_ids: Vec<String>,
}

#[async_trait]
impl Action for ApplySecurityGroupsToClientVpnTargetNetwork {
    const NAME: &'static str = "ApplySecurityGroupsToClientVpnTargetNetwork";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        let mut touches = Touch::endpoint(&self.client_vpn_endpoint_id);
        touches.push(Touch::of(Resource::Vpc(Some(self.vpc_id.clone()))));
        touches
            .extend(self.security_group_ids.iter().map(|id| Touch::of(Resource::SecurityGroup(id.clone()))));
        touches
    }

    fn occupies(&self) -> Option<&str> {
        Some(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let record = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let vpc = cx.vpc(&self.vpc_id).await?.value;
        let groups = cx.groups_of(&vpc, &self.security_group_ids).await?;
        let associations = cx.associations(&record.value.id).await?;
        let held = |code: model::AssociationCode| code.holds_endpoint();
        if !associations
            .iter()
            .any(|row| row.value.spec.vpc_id() == Some(&vpc.id) && held(row.value.status.code))
        {
            // spec: aws-client-vpn §1.11
            let message = format!("No target network of the VPC {} is associated with the endpoint", vpc.id);
            return Err(ApiError::new("InvalidClientVpnActiveAssociationNotFound", message));
        }
        let answer = Answer { security_group_ids: groups.iter().map(ToString::to_string).collect() };
        let mut endpoint = record.value.clone();
        endpoint.spec.security_group_ids = groups;
        if endpoint.spec == record.value.spec {
            return Ok(Decision::read(answer));
        }
        if endpoint.applying == Applying::Nothing {
            endpoint.applying = Applying::Change;
        }
        let mut draft = Draft::of(&endpoint.id);
        draft.replace(&record, &endpoint);
        references::hold(cx, &mut draft, &endpoint.spec).await?;
        Ok(Decision::write(answer, draft))
    }
}
