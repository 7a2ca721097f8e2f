//! `AddTagsToCertificate`: adds tags and overwrites those of the same key.

use async_trait::async_trait;
use serde::Deserialize;

use super::import_certificate::known;
use crate::acm::tags::{self, MAX_TAGS, Tag, too_many};
use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::json::Empty;
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AddTagsToCertificate {
    certificate_arn: String,
    tags: Vec<Tag>,
}

#[async_trait]
impl Action for AddTagsToCertificate {
    const NAME: &'static str = "AddTagsToCertificate";
    type Answer = Empty;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        if let Err(fault) = tags::given(&self.tags) {
            faults.push(fault);
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let touch = Touch::of(Resource::Certificate(Some(self.certificate_arn.clone())));
        vec![touch.tagged(&tags::given(&self.tags).unwrap_or_default())]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let found = known(cx, &self.certificate_arn).await?;
        let mut changed = found.value.clone();
        changed.tags.extend(tags::given(&self.tags)?);
        if changed.tags.len() > MAX_TAGS {
            return Err(too_many());
        }
        let mut draft = Draft::default();
        draft.replace(&found, &changed);
        Ok(Decision::write(Empty {}, draft))
    }
}
