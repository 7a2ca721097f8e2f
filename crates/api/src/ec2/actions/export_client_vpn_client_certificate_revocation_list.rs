//! `ExportClientVpnClientCertificateRevocationList` (spec: aws-client-vpn §2.2.18): the list as it was imported.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ExportClientVpnClientCertificateRevocationList {
    client_vpn_endpoint_id: String,
}

/// UNVERIFIED: without a list neither member is there.
#[derive(ToXml)]
pub(crate) struct Answer {
    certificate_revocation_list: Option<String>,
    status: Option<Status>,
}

#[async_trait]
impl Action for ExportClientVpnClientCertificateRevocationList {
    const NAME: &'static str = "ExportClientVpnClientCertificateRevocationList";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let list = cx.revocation_list(&endpoint.value.id).await?.map(|record| record.value);
        Ok(Decision::read(Answer {
            status: list.as_ref().map(|list| Status::from(&list.status)),
            certificate_revocation_list: list.map(|list| list.pem),
        }))
    }
}
