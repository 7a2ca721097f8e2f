//! `CreateTags` (spec: aws-client-vpn §2.0.6): adds tags and overwrites those of the same key, on all resources or none.

use async_trait::async_trait;
use aws_query::FromQuery;
use model::Scope;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::{Silent, Tag};
use crate::error::ApiError;
use crate::taggable;
use crate::tags::{self, MAX_TAGS};
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct CreateTags {
    #[query(name = "ResourceId", required, max = 1000)]
    resources: Vec<String>,
    #[query(name = "Tag", required)]
    tags: Vec<Tag>,
}

#[async_trait]
impl Action for CreateTags {
    const NAME: &'static str = "CreateTags";
    type Answer = Silent;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        tags::given(&self.tags, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let tags = tags::given(&self.tags, &mut Vec::new());
        self.resources.iter().map(|id| Touch::of(taggable::resource(id)).tagged(&tags)).collect()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Silent>, ApiError> {
        let given = tags::given(&self.tags, &mut Vec::new());
        let mut draft = Draft::default();
        for (row, entry) in cx.tagged(&self.resources).await? {
            let mut tags = (row.read)(&entry.value)?;
            tags.extend(given.clone());
            if tags.len() > MAX_TAGS {
                let message = format!("The maximum number of tags for a resource is {MAX_TAGS}");
                return Err(ApiError::new("TagLimitExceeded", message));
            }
            draft.rewrite(&entry, (row.write)(&entry.value, tags)?);
        }
        Ok(Decision::write(Silent::yes(), draft))
    }
}
