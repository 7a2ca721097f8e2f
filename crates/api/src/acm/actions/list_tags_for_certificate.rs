//! `ListTagsForCertificate`.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::import_certificate::known;
use crate::acm::tags::{Tag, answered};
use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListTagsForCertificate {
    certificate_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Answer {
    tags: Vec<Tag>,
}

#[async_trait]
impl Action for ListTagsForCertificate {
    const NAME: &'static str = "ListTagsForCertificate";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Certificate(Some(self.certificate_arn.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let found = known(cx, &self.certificate_arn).await?;
        Ok(Decision::read(Answer { tags: answered(&found.value.tags) }))
    }
}
