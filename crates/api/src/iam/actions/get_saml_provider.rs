//! `GetSAMLProvider`.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};

use crate::action::{Action, Decision};
use crate::clock;
use crate::cx::Cx;
use crate::error::ApiError;
use crate::iam::saml::{self, TagAnswer};
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct GetSamlProvider {
    #[query(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    arn: String,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct Answer {
    #[xml(name = "SAMLProviderUUID", model = "SAMLProviderUUID")]
    uuid: String,
    #[xml(name = "SAMLMetadataDocument", model = "SAMLMetadataDocument")]
    metadata: String,
    create_date: String,
    valid_until: String,
    #[xml(item = "member")]
    tags: Vec<TagAnswer>,
}

#[async_trait]
impl Action for GetSamlProvider {
    const NAME: &'static str = "GetSAMLProvider";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::SamlProvider(Some(self.arn.clone()), String::new()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let found = saml::known(cx, &self.arn).await?.value;
        Ok(Decision::read(Answer {
            uuid: found.uuid,
            metadata: found.metadata,
            create_date: clock::iso(found.created_at),
            valid_until: clock::iso(found.valid_until),
            tags: saml::tag_list(&found.tags),
        }))
    }
}
