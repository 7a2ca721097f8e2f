//! `DescribeSecurityGroups`.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Scope, SecurityGroup};

use crate::action::{Action, Decision};
use crate::arn;
use crate::cx::Cx;
use crate::ec2::security::{GROUP, Permission, permissions};
use crate::ec2::shapes::{TagAnswer, tag_set};
use crate::error::{ApiError, short};
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &["description", "group-id", "group-name", "owner-id", "vpc-id"];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeSecurityGroups {
    #[query(name = "GroupId")]
    group_ids: Vec<String>,
    #[query(name = "GroupName")]
    group_names: Vec<String>,
    next_token: Option<String>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    next_token: Option<String>,
    #[xml(name = "securityGroupInfo")]
    security_groups: Vec<Group>,
}

#[derive(ToXml)]
struct Group {
    group_id: String,
    ip_permissions_egress: Vec<Permission>,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
    vpc_id: String,
    security_group_arn: String,
    owner_id: String,
    group_name: String,
    #[xml(name = "groupDescription", model = "Description")]
    description: String,
    ip_permissions: Vec<Permission>,
}

#[async_trait]
impl Action for DescribeSecurityGroups {
    const NAME: &'static str = "DescribeSecurityGroups";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        for id in &self.group_ids {
            cx.security_group(id).await?;
        }
        let mut rows: Vec<SecurityGroup> =
            cx.security_groups().await?.into_iter().map(|record| record.value).collect();
        if let Some(unknown) = self.group_names.iter().find(|name| !rows.iter().any(|row| row.name == **name))
        {
            let message = format!("The security group '{}' does not exist", short(unknown));
            return Err(ApiError::new("InvalidGroup.NotFound", message));
        }
        rows.retain(|row| {
            let facets = vec![
                ("description", vec![row.description.as_str()]),
                ("group-id", vec![row.id.as_str()]),
                ("group-name", vec![row.name.as_str()]),
                ("owner-id", vec![row.scope.account.as_str()]),
                ("vpc-id", vec![row.vpc_id.as_str()]),
            ];
            (self.group_ids.is_empty() || self.group_ids.iter().any(|id| row.id.as_str() == id))
                && (self.group_names.is_empty() || self.group_names.contains(&row.name))
                && filters.pass(&facets, &row.tags)
        });
        let (rows, next_token) =
            page(rows, |row| row.id.as_str(), self.next_token.as_deref(), self.max_results)?;
        Ok(Decision::read(Answer { next_token, security_groups: rows.iter().map(group).collect() }))
    }
}

fn group(row: &SecurityGroup) -> Group {
    Group {
        group_id: row.id.to_string(),
        ip_permissions_egress: permissions(&row.egress, row),
        tags: tag_set(&row.tags),
        vpc_id: row.vpc_id.to_string(),
        security_group_arn: arn::ec2(&row.scope, GROUP, row.id.as_str()),
        owner_id: row.scope.account.to_string(),
        group_name: row.name.clone(),
        description: row.description.clone(),
        ip_permissions: permissions(&row.ingress, row),
    }
}
