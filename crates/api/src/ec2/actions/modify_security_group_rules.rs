//! `ModifySecurityGroupRules`: other content under the same id; each rule is given whole.

use async_trait::async_trait;
use aws_query::FromQuery;
use model::{Scope, SecurityGroupId};

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::security::{self, Asked, Direction, RuleRequest, duplicate, no_rule, same};
use crate::ec2::shapes::Done;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ModifySecurityGroupRules {
    group_id: String,
    #[query(name = "SecurityGroupRule", required)]
    security_group_rules: Vec<Update>,
}

#[derive(Clone, Debug, FromQuery)]
struct Update {
    security_group_rule_id: String,
    security_group_rule: Option<RuleRequest>,
}

impl Update {
    fn asked(&self) -> Result<Asked, ApiError> {
        let missing = || ApiError::missing("SecurityGroupRule.1.SecurityGroupRule");
        self.security_group_rule.as_ref().ok_or_else(missing)?.asked()
    }
}

#[async_trait]
impl Action for ModifySecurityGroupRules {
    const NAME: &'static str = "ModifySecurityGroupRules";
    type Answer = Done;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        for update in &self.security_group_rules {
            check::keep(update.asked(), faults);
        }
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::SecurityGroup(self.group_id.clone()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Done>, ApiError> {
        let group = security::named(cx, Some(&self.group_id), None).await?;
        let mut changed = group.value.clone();
        let mut far_groups: Vec<SecurityGroupId> = Vec::new();
        for update in &self.security_group_rules {
            let id = &update.security_group_rule_id;
            let asked = update.asked()?;
            let far = asked.far_group(cx, &group.value).await?;
            let holds = |direction: &Direction| {
                direction.rules(&group.value).iter().any(|rule| rule.id.as_str() == id)
            };
            let direction = [Direction::Ingress, Direction::Egress].into_iter().find(holds);
            let rules = direction.ok_or_else(|| no_rule(id))?.rules_mut(&mut changed);
            if rules.iter().any(|rule| rule.id.as_str() != id && same(rule, &asked, far.as_ref())) {
                return Err(duplicate(&asked, far.as_ref()));
            }
            let rule = rules.iter_mut().find(|rule| rule.id.as_str() == id).ok_or_else(|| no_rule(id))?;
            rule.says = asked.says;
            rule.group = far.clone();
            rule.description = asked.description;
            far_groups.extend(far);
        }
        let mut draft = Draft::default();
        draft.replace(&group, &changed);
        security::hold(cx, &mut draft, far_groups).await?;
        Ok(Decision::write(Done::yes(), draft))
    }
}
