//! `DeleteLogGroup`, with its streams and their events: in steps, if there are many.

use async_trait::async_trait;
use model::prefix;
use serde::Deserialize;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::json::Empty;
use crate::logs::groups;
use crate::touch::{Resource, Touch};

/// Streams deleted in one transaction.
const MAX_STREAMS_AT_ONCE: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DeleteLogGroup {
    log_group_name: String,
}

#[async_trait]
impl Action for DeleteLogGroup {
    const NAME: &'static str = "DeleteLogGroup";
    type Answer = Empty;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::LogGroup(self.log_group_name.clone(), None))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let group = groups::known(cx, &self.log_group_name).await?;
        if group.value.deletion_protected {
            let message = "The log group is protected from deletion";
            return Err(crate::logs::invalid(message));
        }
        let mut draft = Draft::default();
        let streams = groups::streams(cx, &group.value).await?;
        if !groups::empty(cx, &mut draft, &streams).await? {
            return Ok(Decision::step(Empty {}, draft));
        }
        for key in cx.keys(&prefix::log_streams(cx.scope, &group.value.id), MAX_STREAMS_AT_ONCE).await? {
            draft.remove(key);
        }
        if streams.len() > MAX_STREAMS_AT_ONCE {
            return Ok(Decision::step(Empty {}, draft));
        }
        draft.delete(&group);
        Ok(Decision::write(Empty {}, draft))
    }
}
