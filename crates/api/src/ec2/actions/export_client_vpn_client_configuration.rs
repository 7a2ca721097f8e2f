//! `ExportClientVpnClientConfiguration` (spec: aws-client-vpn §2.2.19, §3.2).

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::profile;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ExportClientVpnClientConfiguration {
    client_vpn_endpoint_id: String,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    client_configuration: String,
}

#[async_trait]
impl Action for ExportClientVpnClientConfiguration {
    const NAME: &'static str = "ExportClientVpnClientConfiguration";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?.value;
        let arn = &endpoint.spec.server_certificate_arn;
        let certificate = cx.certificate(arn).await?.ok_or_else(|| {
            // UNVERIFIED: the service's answer when the certificate is gone.
            ApiError::invalid(format!("Certificate {arn} does not exist"))
        })?;
        let client_configuration = profile::text(&endpoint, &certificate.value, cx.config)?;
        Ok(Decision::read(Answer { client_configuration }))
    }
}
