//! `CreateLogStream`.

use async_trait::async_trait;
use model::{Key, LogStream};
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
pub(crate) struct CreateLogStream {
    log_group_name: String,
    log_stream_name: String,
}

#[async_trait]
impl Action for CreateLogStream {
    const NAME: &'static str = "CreateLogStream";
    type Answer = Empty;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        crate::check::keep(groups::stream_name(&self.log_stream_name), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::LogGroup(self.log_group_name.clone(), None))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let group = groups::known(cx, &self.log_group_name).await?;
        let key = Key::log_stream(cx.scope, &group.value.id, &self.log_stream_name);
        if cx.get::<LogStream>(&key).await?.is_some() {
            let message = "The specified log stream already exists";
            return Err(ApiError::new("ResourceAlreadyExistsException", message));
        }
        let now_ms = groups::ms(cx.now);
        let stream = LogStream::new(cx.uuid(), self.log_stream_name.clone(), &group.value, now_ms);
        let mut draft = Draft::default();
        // So that the end of the group meets a conflict.
        draft.touch(&group);
        draft.create(key, &stream);
        Ok(Decision::write(Empty {}, draft))
    }
}
