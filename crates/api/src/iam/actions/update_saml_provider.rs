//! `UpdateSAMLProvider`: other metadata under the same ARN.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::iam::saml;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct UpdateSamlProvider {
    #[query(name = "SAMLMetadataDocument", model = "SAMLMetadataDocument")]
    metadata: Option<String>,
    #[query(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    arn: String,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct Answer {
    #[xml(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    arn: String,
}

#[async_trait]
impl Action for UpdateSamlProvider {
    const NAME: &'static str = "UpdateSAMLProvider";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::SamlProvider(Some(self.arn.clone()), String::new()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let found = saml::known(cx, &self.arn).await?;
        let mut changed = found.value.clone();
        if let Some(metadata) = &self.metadata {
            changed.valid_until = saml::valid_until(metadata, cx.now)?;
            changed.metadata = metadata.clone();
        }
        let mut draft = Draft::default();
        draft.replace(&found, &changed);
        Ok(Decision::write(Answer { arn: saml::arn(cx.scope, &changed.name) }, draft))
    }
}
