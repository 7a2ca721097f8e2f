//! `PutRetentionPolicy`: older events are not shown any more, and go when others come.

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
pub(crate) struct PutRetentionPolicy {
    log_group_name: String,
    retention_in_days: i64,
}

#[async_trait]
impl Action for PutRetentionPolicy {
    const NAME: &'static str = "PutRetentionPolicy";
    type Answer = Empty;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        crate::check::keep(groups::retention_days(self.retention_in_days), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::LogGroup(self.log_group_name.clone(), None))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let group = groups::known(cx, &self.log_group_name).await?;
        let mut changed = group.value.clone();
        changed.retention_days = Some(groups::retention_days(self.retention_in_days)?);
        let mut draft = Draft::default();
        draft.replace(&group, &changed);
        Ok(Decision::write(Empty {}, draft))
    }
}
