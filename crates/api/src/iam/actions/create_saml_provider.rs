//! `CreateSAMLProvider`.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Key, Kind, SamlProvider, Scope};

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::iam::saml::{self, Tag, TagAnswer};
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct CreateSamlProvider {
    #[query(name = "SAMLMetadataDocument", model = "SAMLMetadataDocument")]
    metadata: String,
    name: String,
    #[query(name = "Tags.member", model = "Tags", max = 50)]
    tags: Vec<Tag>,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct Answer {
    #[xml(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    arn: String,
    #[xml(item = "member")]
    tags: Vec<TagAnswer>,
}

#[async_trait]
impl Action for CreateSamlProvider {
    const NAME: &'static str = "CreateSAMLProvider";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(saml::name(&self.name), faults);
        check::keep(saml::tags(&self.tags), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let touch = Touch::of(Resource::SamlProvider(None, self.name.clone()));
        vec![touch.tagged(&saml::tags(&self.tags).unwrap_or_default())]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let valid_until = saml::valid_until(&self.metadata, cx.now)?;
        let others = cx.all::<SamlProvider>(Kind::SamlProvider).await?;
        if others.iter().any(|other| other.value.name == self.name) {
            let message = format!("Provider with name {} already exists.", self.name);
            return Err(ApiError::new("EntityAlreadyExists", message).status(409));
        }
        if others.len() >= saml::MAX_PROVIDERS {
            let message = format!("Cannot exceed quota for SAMLProvidersPerAccount: {}", saml::MAX_PROVIDERS);
            return Err(ApiError::new("LimitExceeded", message).status(409));
        }
        let provider = SamlProvider {
            name: self.name.clone(),
            scope: cx.scope.clone(),
            uuid: cx.uuid(),
            metadata: self.metadata.clone(),
            valid_until,
            tags: saml::tags(&self.tags)?,
            created_at: cx.now,
        };
        let mut draft = Draft::default();
        draft.create(Key::saml_provider(cx.scope, &provider.name), &provider);
        let answer =
            Answer { arn: saml::arn(cx.scope, &provider.name), tags: saml::tag_list(&provider.tags) };
        Ok(Decision::write(answer, draft))
    }
}
