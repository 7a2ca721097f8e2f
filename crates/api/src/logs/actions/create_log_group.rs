//! `CreateLogGroup`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::{Key, LogGroup, Scope};
use serde::Deserialize;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::json::Empty;
use crate::logs::groups::{group_name, ms};
use crate::logs::{invalid, tags};
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateLogGroup {
    log_group_name: String,
    kms_key_id: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    log_group_class: Option<String>,
    deletion_protection_enabled: Option<bool>,
}

#[async_trait]
impl Action for CreateLogGroup {
    const NAME: &'static str = "CreateLogGroup";
    type Answer = Empty;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(group_name(&self.log_group_name), faults);
        check::keep(tags::check(&self.tags), faults);
        if !matches!(self.class(), "STANDARD" | "INFREQUENT_ACCESS" | "DELIVERY") {
            faults.push(invalid("logGroupClass must be STANDARD, INFREQUENT_ACCESS or DELIVERY"));
        }
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::LogGroup(self.log_group_name.clone(), None)).tagged(&self.tags)]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Empty>, ApiError> {
        let key = Key::log_group(cx.scope, &self.log_group_name);
        if cx.get::<LogGroup>(&key).await?.is_some() {
            let message = "The specified log group already exists";
            return Err(ApiError::new("ResourceAlreadyExistsException", message));
        }
        let group = LogGroup {
            id: cx.uuid(),
            name: self.log_group_name.clone(),
            scope: cx.scope.clone(),
            class: self.class().to_owned(),
            retention_days: None,
            kms_key_id: self.kms_key_id.clone(),
            deletion_protected: self.deletion_protection_enabled == Some(true),
            tags: self.tags.clone(),
            created_at_ms: ms(cx.now),
        };
        let mut draft = Draft::default();
        draft.create(key, &group);
        Ok(Decision::write(Empty {}, draft))
    }
}

impl CreateLogGroup {
    fn class(&self) -> &str {
        self.log_group_class.as_deref().unwrap_or("STANDARD")
    }
}
