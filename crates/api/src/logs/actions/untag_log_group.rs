//! `UntagLogGroup`.

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
pub(crate) struct UntagLogGroup {
    log_group_name: String,
    tags: Vec<String>,
}

#[async_trait]
impl Action for UntagLogGroup {
    const NAME: &'static str = "UntagLogGroup";
    type Answer = Empty;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::LogGroup(self.log_group_name.clone(), None)).keyed(&self.tags)]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let group = groups::known(cx, &self.log_group_name).await?;
        let mut changed = group.value.clone();
        changed.tags.retain(|key, _| !self.tags.contains(key));
        let mut draft = Draft::default();
        draft.replace(&group, &changed);
        Ok(Decision::write(Empty {}, draft))
    }
}
