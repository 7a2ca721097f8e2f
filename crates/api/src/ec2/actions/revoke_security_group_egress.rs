//! `RevokeSecurityGroupEgress`: by id, or by what the rules say in either style. One that is not there fails the call.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::Scope;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::ec2::network_shapes::Nothing;
use crate::ec2::security::{self, Asked, CidrIpRule, Direction, IpPermission, RevokedRule, ask};
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct RevokeSecurityGroupEgress {
    #[query(name = "SecurityGroupRuleId")]
    security_group_rule_ids: Vec<String>,
    group_id: String,
    source_security_group_name: Option<String>,
    source_security_group_owner_id: Option<String>,
    ip_protocol: Option<String>,
    from_port: Option<i32>,
    to_port: Option<i32>,
    cidr_ip: Option<String>,
    ip_permissions: Vec<IpPermission>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    r#return: bool,
    #[xml(name = "unknownIpPermissionSet")]
    unknown_ip_permissions: Vec<Nothing>,
    #[xml(name = "revokedSecurityGroupRuleSet")]
    revoked_security_group_rules: Vec<RevokedRule>,
}

#[async_trait]
impl Action for RevokeSecurityGroupEgress {
    const NAME: &'static str = "RevokeSecurityGroupEgress";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(self.asked(), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::group(Some(self.group_id.as_str())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let group = security::named(cx, Some(self.group_id.as_str()), None).await?;
        let ids = &self.security_group_rule_ids;
        let (revoked_security_group_rules, draft) =
            security::revoke(cx, &group, Direction::Egress, ids, self.asked()?).await?;
        let answer =
            Answer { r#return: true, unknown_ip_permissions: Vec::new(), revoked_security_group_rules };
        Ok(Decision::write(answer, draft))
    }
}

impl RevokeSecurityGroupEgress {
    fn asked(&self) -> Result<Vec<Asked>, ApiError> {
        let by_what_they_say = self.cidr_ip.is_some() || !self.ip_permissions.is_empty();
        if !self.security_group_rule_ids.is_empty() && !by_what_they_say {
            return Ok(Vec::new());
        }
        let own = CidrIpRule {
            protocol: self.ip_protocol.as_deref(),
            from_port: self.from_port,
            to_port: self.to_port,
            cidr_ip: self.cidr_ip.as_deref(),
            source_group: self
                .source_security_group_name
                .as_deref()
                .or(self.source_security_group_owner_id.as_deref()),
        };
        ask(&own, &self.ip_permissions)
    }
}
