//! `AuthorizeSecurityGroupEgress`: in both styles, many rules or one.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::Scope;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::ec2::security::{self, Asked, CidrIpRule, Direction, IpPermission, RULE, RuleAnswer, ask};
use crate::ec2::shapes::TagSpecification;
use crate::error::ApiError;
use crate::tags;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct AuthorizeSecurityGroupEgress {
    #[query(name = "TagSpecification", max = 50)]
    tag_specifications: Vec<TagSpecification>,
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
    #[xml(name = "securityGroupRuleSet")]
    security_group_rules: Vec<RuleAnswer>,
}

#[async_trait]
impl Action for AuthorizeSecurityGroupEgress {
    const NAME: &'static str = "AuthorizeSecurityGroupEgress";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(self.asked(), faults);
        tags::read(&self.tag_specifications, RULE, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let tags = tags::valid(&self.tag_specifications, RULE);
        let mut touches = vec![Touch::of(Resource::group(Some(self.group_id.as_str())))];
        if !tags.is_empty() {
            touches.extend(Touch::of(Resource::New(RULE)).created(Self::NAME, &tags));
        }
        touches
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let group = security::named(cx, Some(self.group_id.as_str()), None).await?;
        let tags = tags::valid(&self.tag_specifications, RULE);
        let (security_group_rules, draft) =
            security::authorize(cx, &group, Direction::Egress, self.asked()?, &tags).await?;
        Ok(Decision::write(Answer { r#return: true, security_group_rules }, draft))
    }
}

impl AuthorizeSecurityGroupEgress {
    fn asked(&self) -> Result<Vec<Asked>, ApiError> {
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
