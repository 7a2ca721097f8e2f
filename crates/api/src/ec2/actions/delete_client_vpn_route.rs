//! `DeleteClientVpnRoute` (spec: aws-client-vpn §2.2.10).

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Route, RouteCode, RouteOrigin, Scope};
use store::typed::Record;

use super::create_client_vpn_route::LOCAL;
use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DeleteClientVpnRoute {
    client_vpn_endpoint_id: String,
    target_vpc_subnet_id: Option<String>,
    destination_cidr_block: String,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    status: Status,
}

#[async_trait]
impl Action for DeleteClientVpnRoute {
    const NAME: &'static str = "DeleteClientVpnRoute";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        if let Some(id) = self.target_vpc_subnet_id.as_deref().filter(|id| *id != LOCAL) {
            check::keep(check::subnet_id(id), faults);
        }
        check::keep(check::network("DestinationCidrBlock", &self.destination_cidr_block), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let mut touches = Touch::endpoint(&self.client_vpn_endpoint_id);
        if let Some(subnet) = self.target_vpc_subnet_id.as_deref().filter(|target| *target != LOCAL) {
            touches.push(Touch::of(Resource::Subnet(Some(subnet.to_owned()))));
        }
        touches
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let route = self.find(cx.routes(&endpoint.value.id).await?)?;
        if route.value.origin == RouteOrigin::Associate {
            let message = "Default route cannot be deleted; disassociate the target network";
            return Err(ApiError::new("OperationNotPermitted", message));
        }
        let answer = Answer { status: Status::of(RouteCode::Deleting.as_str()) };
        if route.value.status.code == RouteCode::Deleting {
            return Ok(Decision::read(answer));
        }
        let mut deleting = route.value.clone();
        deleting.status = model::Status::of(RouteCode::Deleting);
        let mut draft = Draft::of(&endpoint.value.id);
        draft.replace(&route, &deleting);
        Ok(Decision::write(answer, draft))
    }
}

impl DeleteClientVpnRoute {
    /// The one route that is meant: without a target, the only one with this destination.
    fn find(&self, routes: Vec<Record<Route>>) -> Result<Record<Route>, ApiError> {
        let destination = check::network("DestinationCidrBlock", &self.destination_cidr_block)?;
        let wanted = |route: &Record<Route>| {
            let target = self.target_vpc_subnet_id.as_deref();
            route.value.destination == destination
                && target.is_none_or(|target| target == route.value.target.as_str())
        };
        let mut found = routes.into_iter().filter(wanted);
        match (found.next(), found.next()) {
            (Some(route), None) => Ok(route),
            (Some(_), Some(_)) => Err(ApiError::missing("TargetVpcSubnetId")),
            (None, _) => {
                let message = format!("The route to {destination} does not exist");
                Err(ApiError::new("InvalidClientVpnRouteNotFound", message))
            }
        }
    }
}
