//! `DisassociateClientVpnTargetNetwork` (spec: aws-client-vpn §1.3, §2.2.6): marks the association and its routes;
//! controllers end it once no gateway carries or admits what it forbids.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Association, AssociationCode, Route, RouteCode, RouteTarget};
use store::typed::Record;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
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
        let mut draft = Draft::of(&endpoint.value.id);
        let mut counted = endpoint.value.clone();
        counted.association_epoch = counted.association_epoch.saturating_add(1);
        draft.replace(&endpoint, &counted);
        let mut leaving = association.value.clone();
        leaving.status = model::Status::of(AssociationCode::Disassociating);
        draft.replace(association, &leaving);
        let is_last = !associations
            .iter()
            .any(|other| other.value.id != leaving.id && other.value.status.code.holds_endpoint());
        for route in cx.routes(&endpoint.value.id).await? {
            if ends_with(&route, &leaving, is_last) {
                let mut deleting = route.value.clone();
                deleting.status = model::Status::of(RouteCode::Deleting);
                draft.replace(&route, &deleting);
            }
        }
        Ok(Decision::write(answer, draft))
    }
}

/// Whether a route goes with the association: every one to its subnet; with the last, those that need no certain one.
fn ends_with(route: &Record<Route>, leaving: &Association, is_last: bool) -> bool {
    let goes = match &route.value.target {
        target @ RouteTarget::Subnet(_) => leaving.spec.carries(target),
        RouteTarget::TransitGateway(_) | RouteTarget::Local => is_last,
    };
    goes && route.value.status.code != RouteCode::Deleting
}

/// spec: aws-client-vpn §2.0.2 (no dot in this code)
pub(crate) fn no_association(id: &str) -> ApiError {
    ApiError::new(
        "InvalidClientVpnAssociationIdNotFound",
        format!("Association {} does not exist", short(id)),
    )
}
