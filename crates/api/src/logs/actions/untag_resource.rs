//! `UntagResource`.

use async_trait::async_trait;
use serde::Deserialize;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::json::Empty;
use crate::logs::groups;
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UntagResource {
    resource_arn: String,
    tag_keys: Vec<String>,
}

#[async_trait]
impl Action for UntagResource {
    const NAME: &'static str = "UntagResource";
    type Answer = Empty;

    fn touches(&self) -> Vec<Touch> {
        let touch = Touch::of(Resource::LogGroup(groups::name_in(&self.resource_arn).to_owned(), None));
        vec![touch.keyed(&self.tag_keys)]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let group = groups::of_arn(cx, &self.resource_arn).await?;
        let mut changed = group.value.clone();
        changed.tags.retain(|key, _| !self.tag_keys.contains(key));
        let mut draft = Draft::default();
        draft.replace(&group, &changed);
        Ok(Decision::write(Empty {}, draft))
    }
}
