//! `DeleteTags` (spec: aws-client-vpn §2.0.6): a tag with a value goes only if it has that value; without tags, all go.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::FromQuery;
use model::Scope;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::{Silent, Tag};
use crate::error::ApiError;
use crate::taggable;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DeleteTags {
    #[query(name = "ResourceId", required, max = 1000)]
    resources: Vec<String>,
    #[query(name = "Tag")]
    tags: Vec<Tag>,
}

#[async_trait]
impl Action for DeleteTags {
    const NAME: &'static str = "DeleteTags";
    type Answer = Silent;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        for tag in &self.tags {
            match tag.key.as_deref() {
                None | Some("") => faults.push(ApiError::missing("Tag.1.Key")),
                Some(key) if key.to_ascii_lowercase().starts_with("aws:") => faults
                    .push(ApiError::invalid("Tag keys starting with 'aws:' are reserved for internal use")),
                Some(_) => {}
            }
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let tags: BTreeMap<String, String> = self
            .tags
            .iter()
            .filter_map(|tag| Some((tag.key.clone()?, tag.value.clone().unwrap_or_default())))
            .collect();
        self.resources.iter().map(|id| Touch::of(taggable::resource(id)).tagged(&tags)).collect()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Silent>, ApiError> {
        let mut draft = Draft::default();
        for (row, entry) in cx.tagged(&self.resources).await? {
            let before = (row.read)(&entry.value)?;
            let mut tags = before.clone();
            tags.retain(|key, value| !self.takes(key, value));
            if tags != before {
                draft.rewrite(&entry, (row.write)(&entry.value, tags)?);
            }
        }
        Ok(Decision::write(Silent::yes(), draft))
    }
}

impl DeleteTags {
    fn takes(&self, key: &str, value: &str) -> bool {
        let names = |tag: &Tag| {
            tag.key.as_deref() == Some(key) && tag.value.as_deref().is_none_or(|wanted| wanted == value)
        };
        self.tags.is_empty() || self.tags.iter().any(names)
    }
}
