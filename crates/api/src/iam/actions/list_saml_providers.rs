//! `ListSAMLProviders`.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Kind, SamlProvider};

use crate::action::{Action, Decision};
use crate::clock;
use crate::cx::Cx;
use crate::error::ApiError;
use crate::iam::saml;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ListSamlProviders {}

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct Answer {
    #[xml(name = "SAMLProviderList", model = "SAMLProviderList", item = "member")]
    providers: Vec<Row>,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
struct Row {
    arn: String,
    valid_until: String,
    create_date: String,
}

#[async_trait]
impl Action for ListSamlProviders {
    const NAME: &'static str = "ListSAMLProviders";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let row = |provider: &SamlProvider| Row {
            arn: saml::arn(cx.scope, &provider.name),
            valid_until: clock::iso(provider.valid_until),
            create_date: clock::iso(provider.created_at),
        };
        let all = cx.all::<SamlProvider>(Kind::SamlProvider).await?;
        Ok(Decision::read(Answer { providers: all.iter().map(|record| row(&record.value)).collect() }))
    }
}
