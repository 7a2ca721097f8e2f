//! `RemoveTagsFromCertificate`: a tag given with a value goes only if it has that value.

use async_trait::async_trait;
use serde::Deserialize;

use super::import_certificate::known;
use crate::acm::tags::Tag;
use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::json::Empty;
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct RemoveTagsFromCertificate {
    certificate_arn: String,
    tags: Vec<Tag>,
}

#[async_trait]
impl Action for RemoveTagsFromCertificate {
    const NAME: &'static str = "RemoveTagsFromCertificate";
    type Answer = Empty;

    fn touches(&self) -> Vec<Touch> {
        let touch = Touch::of(Resource::Certificate(Some(self.certificate_arn.clone())));
        vec![touch.keyed(self.tags.iter().map(|tag| &tag.key))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let found = known(cx, &self.certificate_arn).await?;
        let mut changed = found.value.clone();
        for tag in &self.tags {
            let same = |value: &String| tag.value.as_ref().is_none_or(|given| given == value);
            if changed.tags.get(&tag.key).is_some_and(same) {
                changed.tags.remove(&tag.key);
            }
        }
        let mut draft = Draft::default();
        draft.replace(&found, &changed);
        Ok(Decision::write(Empty {}, draft))
    }
}
