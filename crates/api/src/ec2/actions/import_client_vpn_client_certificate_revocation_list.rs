//! `ImportClientVpnClientCertificateRevocationList` (spec: aws-client-vpn §2.2.17): replaces the endpoint's list. A gateway
//! then ends the sessions it revokes and no others.

use async_trait::async_trait;
use aws_query::FromQuery;
use model::{Key, RevocationCode, RevocationList, Status};
use pki::{Crl, TrustAnchors};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::Done;
use crate::error::ApiError;
use crate::touch::Touch;

const PARAMETER: &str = "CertificateRevocationList";

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ImportClientVpnClientCertificateRevocationList {
    client_vpn_endpoint_id: String,
    certificate_revocation_list: String,
}

#[async_trait]
impl Action for ImportClientVpnClientCertificateRevocationList {
    const NAME: &'static str = "ImportClientVpnClientCertificateRevocationList";
    type Answer = Done;

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Done>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let list =
            Crl::from_pem(&self.certificate_revocation_list).map_err(|error| invalid(&error.to_string()))?;
        let most = cx.config.quotas.revocation_list_entries;
        if list.entries() > most {
            let message = format!("The certificate revocation list has more than {most} entries");
            return Err(ApiError::new("ClientVpnCertificateRevocationListLimitExceeded", message));
        }
        let anchors = TrustAnchors { roots: cx.client_anchors(&endpoint.value).await? };
        if !list.is_signed_by_any(&anchors) {
            return Err(invalid(
                "it is not issued and signed by an authority of the endpoint's client certificates",
            ));
        }
        if list.next_update().is_some_and(|until| until < cx.now.0) {
            // As at AWS it is taken, and from then on nobody gets in.
            tracing::warn!(endpoint = %endpoint.value.id, "an expired revocation list is imported");
        }
        let record = RevocationList {
            endpoint: endpoint.value.id.clone(),
            scope: cx.scope.clone(),
            pem: self.certificate_revocation_list.clone(),
            status: Status::of(RevocationCode::Pending),
            imported_at: cx.now,
        };
        if store::typed::encode(&record).len() > store::MAX_VALUE_BYTES {
            return Err(invalid("it is too large"));
        }
        let mut draft = Draft::of(&record.endpoint);
        // A list is no child of an endpoint that goes at the same moment.
        draft.unchanged(&endpoint);
        draft.put(Key::revocation_list(cx.scope, &record.endpoint), &record);
        Ok(Decision::write(Done::yes(), draft))
    }
}

fn invalid(reason: &str) -> ApiError {
    ApiError::invalid(format!("The parameter {PARAMETER} is invalid: {reason}"))
}
