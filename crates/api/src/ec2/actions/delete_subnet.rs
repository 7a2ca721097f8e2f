//! `DeleteSubnet`: refused while it is the target network of an endpoint.

use async_trait::async_trait;
use aws_query::FromQuery;
use model::Scope;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::Silent;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DeleteSubnet {
    subnet_id: String,
}

#[async_trait]
impl Action for DeleteSubnet {
    const NAME: &'static str = "DeleteSubnet";
    type Answer = Silent;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(check::subnet_id(&self.subnet_id), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Subnet(Some(self.subnet_id.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Silent>, ApiError> {
        // An association rewrites its subnet as it is made: one made meanwhile is a conflict.
        let subnet = cx.known_subnet(&self.subnet_id).await?;
        let id = &subnet.value.id;
        if cx
            .all_associations()
            .await?
            .iter()
            .any(|association| association.value.spec.subnet_id() == Some(id))
        {
            let message = format!("The subnet '{id}' has dependencies and cannot be deleted.");
            return Err(ApiError::new("DependencyViolation", message));
        }
        let mut draft = Draft::default();
        draft.delete(&subnet);
        Ok(Decision::write(Silent::yes(), draft))
    }
}
