//! `DeleteVpc`, with its default security group; refused while anything else is in it.

use async_trait::async_trait;
use aws_query::FromQuery;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::security;
use crate::ec2::shapes::Silent;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DeleteVpc {
    vpc_id: String,
}

#[async_trait]
impl Action for DeleteVpc {
    const NAME: &'static str = "DeleteVpc";
    type Answer = Silent;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Vpc(Some(self.vpc_id.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Silent>, ApiError> {
        // Subnets, groups and endpoints rewrite the VPC as they are made: one made meanwhile is a conflict.
        let vpc = cx.vpc(&self.vpc_id).await?;
        let id = &vpc.value.id;
        let (default, others): (Vec<_>, Vec<_>) = cx
            .security_groups()
            .await?
            .into_iter()
            .filter(|group| group.value.vpc_id == *id)
            .partition(|group| group.value.id == vpc.value.default_security_group);
        let in_use = !others.is_empty()
            || cx.subnets().await?.iter().any(|subnet| subnet.value.vpc_id == *id)
            || cx.endpoints().await?.iter().any(|endpoint| endpoint.value.spec.vpc_id.as_ref() == Some(id));
        if in_use {
            let message = format!("The vpc '{id}' has dependencies and cannot be deleted.");
            return Err(ApiError::new("DependencyViolation", message));
        }
        let mut draft = Draft::default();
        draft.delete(&vpc);
        for group in &default {
            security::delete(&mut draft, group);
        }
        Ok(Decision::write(Silent::yes(), draft))
    }
}
