//! `TagLogGroup`: adds tags and overwrites those of the same key.

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
pub(crate) struct TagLogGroup {
    log_group_name: String,
    tags: BTreeMap<String, String>,
}

#[async_trait]
impl Action for TagLogGroup {
    const NAME: &'static str = "TagLogGroup";
    type Answer = Empty;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        crate::check::keep(tags::check(&self.tags), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::LogGroup(self.log_group_name.clone(), None)).tagged(&self.tags)]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let group = groups::known(cx, &self.log_group_name).await?;
        let mut changed = group.value.clone();
        changed.tags.extend(self.tags.clone());
        tags::few(&changed.tags)?;
        let mut draft = Draft::default();
        draft.replace(&group, &changed);
        Ok(Decision::write(Empty {}, draft))
    }
}
