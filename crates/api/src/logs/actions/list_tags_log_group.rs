//! `ListTagsLogGroup`: the older way to ask.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::logs::groups;
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListTagsLogGroup {
    log_group_name: String,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    tags: BTreeMap<String, String>,
}

#[async_trait]
impl Action for ListTagsLogGroup {
    const NAME: &'static str = "ListTagsLogGroup";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::LogGroup(self.log_group_name.clone(), None))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let group = groups::known(cx, &self.log_group_name).await?.value;
        Ok(Decision::read(Answer { tags: group.tags }))
    }
}
