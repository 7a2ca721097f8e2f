//! `DisassociateClientVpnTargetNetwork` (spec: aws-client-vpn §1.3, §2.2.6): marks the association and its routes;
//! controllers end it once no gateway carries or admits what it forbids.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::AssociationCode;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::disassociation::Leaving;
use crate::ec2::shapes::Status;
use crate::error::{ApiError, short};
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DisassociateClientVpnTargetNetwork {
    client_vpn_endpoint_id: String,
    association_id: String,
}

/// In the order of the published sample: status first.
#[derive(ToXml)]
pub(crate) struct Answer {
    status: Status,
    association_id: String,
}

#[async_trait]
impl Action for DisassociateClientVpnTargetNetwork {
    const NAME: &'static str = "DisassociateClientVpnTargetNetwork";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    fn occupies(&self) -> Option<&str> {
        Some(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let associations = cx.associations(&endpoint.value.id).await?;
        let association = associations
            .iter()
            .find(|record| record.value.id.as_str() == self.association_id)
            .filter(|record| record.value.status.code != AssociationCode::Disassociated)
            .ok_or_else(|| no_association(&self.association_id))?;
        let answer = Answer {
            status: Status::of(AssociationCode::Disassociating.as_str()),
            association_id: association.value.id.to_string(),
        };
        if association.value.status.code == AssociationCode::Disassociating {
            return Ok(Decision::read(answer));
        }
        let routes = cx.routes(&endpoint.value.id).await?;
        let leaving = Leaving { endpoint: &endpoint, associations: &associations, routes: &routes };
        let draft = leaving.draft(association, None);
        Ok(Decision::write(answer, draft))
    }
}

/// spec: aws-client-vpn §2.0.2 (no dot in this code)
pub(crate) fn no_association(id: &str) -> ApiError {
    ApiError::new(
        "InvalidClientVpnAssociationIdNotFound",
        format!("Association {} does not exist", short(id)),
    )
}
