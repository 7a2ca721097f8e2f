//! `DeleteSecurityGroup`: refused while an endpoint has it or another group's rule names it.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::SecurityGroup;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::security;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DeleteSecurityGroup {
    group_id: Option<String>,
    group_name: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    r#return: bool,
    group_id: String,
}

#[async_trait]
impl Action for DeleteSecurityGroup {
    const NAME: &'static str = "DeleteSecurityGroup";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::group(self.group_id.as_deref()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let group = security::named(cx, self.group_id.as_deref(), self.group_name.as_deref()).await?;
        let id = &group.value.id;
        if group.value.name == "default" {
            let message =
                format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
            return Err(ApiError::new("CannotDelete", message));
        }
        let names = |other: &SecurityGroup| {
            other.id != *id && other.ingress.iter().chain(&other.egress).any(|r| r.group.as_ref() == Some(id))
        };
        let in_use = cx.security_groups().await?.iter().any(|other| names(&other.value))
            || cx.endpoints().await?.iter().any(|e| e.value.spec.security_group_ids.contains(id));
        if in_use {
            let message = format!("resource {id} has a dependent object");
            return Err(ApiError::new("DependencyViolation", message));
        }
        let mut draft = Draft::default();
        security::delete(&mut draft, &group);
        Ok(Decision::write(Answer { r#return: true, group_id: id.to_string() }, draft))
    }
}
