//! `UpdateSecurityGroupRuleDescriptionsEgress`: by id, or by what the rules say.

use async_trait::async_trait;
use aws_query::FromQuery;
use model::Scope;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::ec2::security::{self, Direction, IpPermission, RuleDescription};
use crate::ec2::shapes::Done;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct UpdateSecurityGroupRuleDescriptionsEgress {
    group_id: Option<String>,
    group_name: Option<String>,
    ip_permissions: Vec<IpPermission>,
    #[query(name = "SecurityGroupRuleDescription")]
    security_group_rule_descriptions: Vec<RuleDescription>,
}

#[async_trait]
impl Action for UpdateSecurityGroupRuleDescriptionsEgress {
    const NAME: &'static str = "UpdateSecurityGroupRuleDescriptionsEgress";
    type Answer = Done;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(
            security::ask_again(&self.ip_permissions, &self.security_group_rule_descriptions),
            faults,
        );
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::group(self.group_id.as_deref()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Done>, ApiError> {
        let group = security::named(cx, self.group_id.as_deref(), self.group_name.as_deref()).await?;
        let by_id = &self.security_group_rule_descriptions;
        let asked = security::ask_again(&self.ip_permissions, by_id)?;
        let draft = security::describe_anew(cx, &group, Direction::Egress, by_id, asked).await?;
        Ok(Decision::write(Done::yes(), draft))
    }
}
