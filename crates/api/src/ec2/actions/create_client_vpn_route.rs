//! `CreateClientVpnRoute` (spec: aws-client-vpn §2.2.9).

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use ipnet::IpNet;
use model::{
    AssociationSpec, Endpoint, EndpointCode, Key, Route, RouteCode, RouteOrigin, RouteTarget, Scope,
};

use crate::action::{Action, Decision};
use crate::check::{self, MAX_DESCRIPTION_CHARS};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

/// The target of routes between clients.
pub(crate) const LOCAL: &str = "local";

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct CreateClientVpnRoute {
    client_vpn_endpoint_id: String,
    destination_cidr_block: String,
    target_vpc_subnet_id: Option<String>,
    description: Option<String>,
    #[query(token)]
    client_token: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    status: Status,
}

#[async_trait]
impl Action for CreateClientVpnRoute {
    const NAME: &'static str = "CreateClientVpnRoute";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(self.destination(), faults);
        if let Some(id) = self.target_vpc_subnet_id.as_deref().filter(|target| *target != LOCAL) {
            check::keep(check::subnet_id(id), faults);
        }
        check::at_most("Description", self.description.as_deref(), MAX_DESCRIPTION_CHARS, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let mut touches = Touch::endpoint(&self.client_vpn_endpoint_id);
        if let Some(subnet) = self.target_vpc_subnet_id.as_deref().filter(|target| *target != LOCAL) {
            touches.push(Touch::of(Resource::Subnet(Some(subnet.to_owned()))));
        }
        touches
    }

    fn client_token(&self) -> Option<&str> {
        self.client_token.as_deref()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let (destination, target) = (self.destination()?, self.target(&endpoint.value)?);
        self.admissible(cx, &endpoint.value, &destination, &target).await?;
        let route = Route {
            endpoint: endpoint.value.id.clone(),
            scope: cx.scope.clone(),
            destination,
            target,
            origin: RouteOrigin::AddRoute,
            description: self.description.clone(),
            status: model::Status::of(RouteCode::Creating),
            created_at: cx.now,
        };
        let mut draft = Draft::of(&endpoint.value.id);
        // Whoever changes the associations rewrites the endpoint: the target is still one of them at commit.
        draft.unchanged(&endpoint);
        draft.create(Key::route(cx.scope, &route.endpoint, &route.destination, &route.target), &route);
        Ok(Decision::write(Answer { status: Status::from(&route.status) }, draft))
    }
}

impl CreateClientVpnRoute {
    fn destination(&self) -> Result<IpNet, ApiError> {
        check::network("DestinationCidrBlock", &self.destination_cidr_block)
    }

    /// A subnet must be named, unless there is a transit gateway: then none can be.
    fn target(&self, endpoint: &Endpoint) -> Result<RouteTarget, ApiError> {
        match (self.target_vpc_subnet_id.as_deref(), &endpoint.attachment) {
            (Some(LOCAL), _) => Ok(RouteTarget::Local),
            (None, Some(attachment)) => Ok(RouteTarget::TransitGateway(attachment.id.clone())),
            (None, None) => Err(ApiError::missing("TargetVpcSubnetId")),
            (Some(id), None) => Ok(RouteTarget::Subnet(check::subnet_id(id)?)),
            (Some(_), Some(_)) => Err(ApiError::combination(
                "TargetVpcSubnetId cannot be specified for an endpoint with a transit gateway",
            )),
        }
    }

    async fn admissible(
        &self,
        cx: &Cx<'_>,
        endpoint: &Endpoint,
        destination: &IpNet,
        target: &RouteTarget,
    ) -> Result<(), ApiError> {
        let associations = cx.associations(&endpoint.id).await?;
        let holding: Vec<&AssociationSpec> = associations
            .iter()
            .filter(|record| record.value.status.code.holds_endpoint())
            .map(|record| &record.value.spec)
            .collect();
        if endpoint.status.code != EndpointCode::Available || holding.is_empty() {
            let message = format!("The endpoint {} has no active association", endpoint.id);
            return Err(ApiError::new("InvalidClientVpnActiveAssociationNotFound", message));
        }
        if let RouteTarget::Subnet(subnet) = target
            && !holding.iter().any(|network| network.carries(target))
        {
            let message = format!("The subnet {subnet} is not a target network of the endpoint");
            return Err(ApiError::new("InvalidClientVpnSubnetId.NotFound", message));
        }
        self.fits(endpoint, destination, target)?;
        let routes = cx.routes(&endpoint.id).await?;
        if routes.iter().any(|route| route.value.destination == *destination && route.value.target == *target)
        {
            return Err(ApiError::new("InvalidClientVpnDuplicateRoute", "Route already exists"));
        }
        if routes.iter().filter(|route| route.value.target == *target).count()
            >= cx.config.quotas.routes_per_association
        {
            let message = "The maximum number of routes for the target network has been reached";
            return Err(ApiError::new("ClientVpnRouteLimitExceeded", message));
        }
        Ok(())
    }

    /// Destination against client CIDR and traffic type.
    fn fits(&self, endpoint: &Endpoint, destination: &IpNet, target: &RouteTarget) -> Result<(), ApiError> {
        let parameter = "DestinationCidrBlock";
        let text = &self.destination_cidr_block;
        let traffic = endpoint.spec.traffic_ip_type;
        if !traffic.carries(destination) {
            let expected = format!("The endpoint carries {} traffic only.", traffic.only());
            return Err(ApiError::value(parameter, text, &expected));
        }
        let clients = endpoint.spec.client_nets();
        match target {
            // AWS drops IPv6 between clients; here a route of its own lets it through, as that of IPv4 does.
            RouteTarget::Local if clients.iter().any(|client| client == *destination) => Ok(()),
            RouteTarget::Local => {
                let expected = format!("A local route's destination is the client CIDR block: {clients}.");
                Err(ApiError::value(parameter, text, &expected))
            }
            // UNVERIFIED: of blocks around the client CIDR only the default route is taken.
            RouteTarget::Subnet(_) | RouteTarget::TransitGateway(_)
                if destination.prefix_len() > 0
                    && clients.iter().any(|client| check::overlap(destination, &client)) =>
            {
                Err(ApiError::value(parameter, text, "The destination overlaps with the client CIDR block."))
            }
            RouteTarget::Subnet(_) | RouteTarget::TransitGateway(_) => Ok(()),
        }
    }
}
