//! `UntagSAMLProvider`.

use async_trait::async_trait;
use aws_query::FromQuery;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::iam::nothing::Nothing;
use crate::iam::saml;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct UntagSamlProvider {
    #[query(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    arn: String,
    #[query(name = "TagKeys.member", model = "TagKeys", required, max = 50)]
    tag_keys: Vec<String>,
}

#[async_trait]
impl Action for UntagSamlProvider {
    const NAME: &'static str = "UntagSAMLProvider";
    type Answer = Nothing;

    fn touches(&self) -> Vec<Touch> {
        let touch = Touch::of(Resource::SamlProvider(Some(self.arn.clone()), String::new()));
        vec![touch.keyed(&self.tag_keys)]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Nothing>, ApiError> {
        let found = saml::known(cx, &self.arn).await?;
        let mut changed = found.value.clone();
        changed.tags.retain(|key, _| !self.tag_keys.contains(key));
        let mut draft = Draft::default();
        draft.replace(&found, &changed);
        Ok(Decision::write(Nothing {}, draft))
    }
}
