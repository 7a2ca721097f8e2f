//! `DeleteLogStream`, with its events.

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
pub(crate) struct DeleteLogStream {
    log_group_name: String,
    log_stream_name: String,
}

#[async_trait]
impl Action for DeleteLogStream {
    const NAME: &'static str = "DeleteLogStream";
    type Answer = Empty;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::LogGroup(self.log_group_name.clone(), Some(self.log_stream_name.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let group = groups::known(cx, &self.log_group_name).await?.value;
        let stream = groups::stream(cx, &group, &self.log_stream_name).await?;
        let mut draft = Draft::default();
        if !groups::empty(cx, &mut draft, std::slice::from_ref(&stream.value)).await? {
            return Ok(Decision::step(Empty {}, draft));
        }
        draft.delete(&stream);
        Ok(Decision::write(Empty {}, draft))
    }
}
