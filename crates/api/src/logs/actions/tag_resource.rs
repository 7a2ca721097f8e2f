//! `TagResource`: adds tags and overwrites those of the same key.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::json::Empty;
use crate::logs::{groups, tags};
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TagResource {
    resource_arn: String,
    tags: BTreeMap<String, String>,
}

#[async_trait]
impl Action for TagResource {
    const NAME: &'static str = "TagResource";
    type Answer = Empty;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        crate::check::keep(tags::check(&self.tags), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        vec![
            Touch::of(Resource::LogGroup(groups::name_in(&self.resource_arn).to_owned(), None))
                .tagged(&self.tags),
        ]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let group = groups::of_arn(cx, &self.resource_arn).await?;
        let mut changed = group.value.clone();
        changed.tags.extend(self.tags.clone());
        tags::few(&changed.tags)?;
        let mut draft = Draft::default();
        draft.replace(&group, &changed);
        Ok(Decision::write(Empty {}, draft))
    }
}
