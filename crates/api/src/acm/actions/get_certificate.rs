//! `GetCertificate`: the certificate and its chain, never the key.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::import_certificate::known;
use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GetCertificate {
    certificate_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Answer {
    certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_chain: Option<String>,
}

#[async_trait]
impl Action for GetCertificate {
    const NAME: &'static str = "GetCertificate";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Certificate(Some(self.certificate_arn.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let found = known(cx, &self.certificate_arn).await?.value;
        let answer = Answer { certificate: found.certificate_pem, certificate_chain: found.chain_pem };
        Ok(Decision::read(answer))
    }
}
