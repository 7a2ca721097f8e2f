//! `TagSAMLProvider`: adds tags and overwrites those of the same key.

use async_trait::async_trait;
use aws_query::FromQuery;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::iam::nothing::Nothing;
use crate::iam::saml::{self, Tag};
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct TagSamlProvider {
    #[query(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    arn: String,
    #[query(name = "Tags.member", model = "Tags", required, max = 50)]
    tags: Vec<Tag>,
}

#[async_trait]
impl Action for TagSamlProvider {
    const NAME: &'static str = "TagSAMLProvider";
    type Answer = Nothing;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        crate::check::keep(saml::tags(&self.tags), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let touch = Touch::of(Resource::SamlProvider(Some(self.arn.clone()), String::new()));
        vec![touch.tagged(&saml::tags(&self.tags).unwrap_or_default())]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Nothing>, ApiError> {
        let found = saml::known(cx, &self.arn).await?;
        let mut changed = found.value.clone();
        changed.tags.extend(saml::tags(&self.tags)?);
        saml::few(&changed.tags)?;
        let mut draft = Draft::default();
        draft.replace(&found, &changed);
        Ok(Decision::write(Nothing {}, draft))
    }
}
