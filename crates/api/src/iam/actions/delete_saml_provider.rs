//! `DeleteSAMLProvider`. Endpoints that refer to it then admit nobody by it, as with the service.

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
pub(crate) struct DeleteSamlProvider {
    #[query(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    arn: String,
}

#[async_trait]
impl Action for DeleteSamlProvider {
    const NAME: &'static str = "DeleteSAMLProvider";
    type Answer = Nothing;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::SamlProvider(Some(self.arn.clone()), String::new()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Nothing>, ApiError> {
        let found = saml::known(cx, &self.arn).await?;
        let mut draft = Draft::default();
        draft.delete(&found);
        Ok(Decision::write(Nothing {}, draft))
    }
}
