//! `ListTagsForResource`.

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
pub(crate) struct ListTagsForResource {
    resource_arn: String,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    tags: BTreeMap<String, String>,
}

#[async_trait]
impl Action for ListTagsForResource {
    const NAME: &'static str = "ListTagsForResource";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::LogGroup(groups::name_in(&self.resource_arn).to_owned(), None))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let group = groups::of_arn(cx, &self.resource_arn).await?.value;
        Ok(Decision::read(Answer { tags: group.tags }))
    }
}
