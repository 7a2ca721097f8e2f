//! `DeleteCertificate`: refused while an endpoint uses it.

use async_trait::async_trait;
use serde::Deserialize;

use super::describe_certificate::users;
use super::import_certificate::known;
use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::json::Empty;
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteCertificate {
    certificate_arn: String,
}

#[async_trait]
impl Action for DeleteCertificate {
    const NAME: &'static str = "DeleteCertificate";
    type Answer = Empty;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Certificate(Some(self.certificate_arn.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        // An endpoint rewrites its certificates as it is made: one made meanwhile is a conflict.
        let found = known(cx, &self.certificate_arn).await?;
        if let Some(user) = users(cx, &found.value).await?.first() {
            let message = format!("Certificate {} is in use by {user}.", found.value.arn);
            return Err(ApiError::new("ResourceInUseException", message));
        }
        let mut draft = Draft::default();
        draft.delete(&found);
        Ok(Decision::write(Empty {}, draft))
    }
}
