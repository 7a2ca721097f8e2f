//! `ListSAMLProviderTags`: all at once.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::iam::saml::{self, TagAnswer};
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ListSamlProviderTags {
    #[query(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    arn: String,
    marker: Option<String>,
    #[query(range = "1..=1000")]
    max_items: Option<i32>,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct Answer {
    #[xml(item = "member")]
    tags: Vec<TagAnswer>,
    is_truncated: bool,
}

#[async_trait]
impl Action for ListSamlProviderTags {
    const NAME: &'static str = "ListSAMLProviderTags";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::SamlProvider(Some(self.arn.clone()), String::new()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        // There are 50 at most, and no page was ever cut short.
        let _ = (&self.marker, self.max_items);
        let found = saml::known(cx, &self.arn).await?.value;
        Ok(Decision::read(Answer { tags: saml::tag_list(&found.tags), is_truncated: false }))
    }
}
