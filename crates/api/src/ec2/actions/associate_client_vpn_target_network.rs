//! `AssociateClientVpnTargetNetwork` (spec: aws-client-vpn §2.2.5).

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{
    Association, AssociationCode, AssociationId, AssociationSpec, Attachment, Endpoint, EndpointCode, IpType,
    Key, Route, RouteCode, RouteOrigin, RouteTarget, Scope, Subnet, TargetNetwork, Vpc, ZoneName,
};
use store::typed::Record;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::Status;
use crate::ec2::transit_gateways;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

/// The smallest subnet that can be a target network (spec: aws-client-vpn §2.1).
const SMALLEST_SUBNET_PREFIX: u8 = 27;
/// Zones of an endpoint with a transit gateway (spec: aws-client-vpn §6).
const MAX_ZONES: usize = 5;
const WAITING: &str = "The endpoint waits for its transit gateway attachment";

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct AssociateClientVpnTargetNetwork {
    client_vpn_endpoint_id: String,
    subnet_id: Option<String>,
    #[query(token)]
    client_token: Option<String>,
    availability_zone: Option<String>,
    availability_zone_id: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    association_id: String,
    status: Status,
}

#[async_trait]
impl Action for AssociateClientVpnTargetNetwork {
    const NAME: &'static str = "AssociateClientVpnTargetNetwork";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        let given = [&self.subnet_id, &self.availability_zone, &self.availability_zone_id];
        match given.iter().filter(|given| given.is_some()).count() {
            0 => faults.push(ApiError::missing("SubnetId")),
            1 => {}
            _ => faults.push(ApiError::combination(
                "Only one of SubnetId, AvailabilityZone and AvailabilityZoneId can be specified",
            )),
        }
        if let Some(id) = &self.subnet_id {
            check::keep(check::subnet_id(id), faults);
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let mut touches = Touch::endpoint(&self.client_vpn_endpoint_id);
        touches.extend(self.subnet_id.iter().map(|id| Touch::of(Resource::Subnet(Some(id.clone())))));
        touches
    }

    fn client_token(&self) -> Option<&str> {
        self.client_token.as_deref()
    }

    fn occupies(&self) -> Option<&str> {
        Some(&self.client_vpn_endpoint_id)
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        if endpoint.value.status.code == EndpointCode::Pending {
            return Err(ApiError::new("IncorrectState", WAITING));
        }
        if let Some(attachment) = &endpoint.value.attachment {
            return self.zone(cx, &endpoint, attachment).await;
        }
        if self.subnet_id.is_none() {
            return Err(ApiError::combination(
                "AvailabilityZone and AvailabilityZoneId are for endpoints with a transit gateway only",
            ));
        }
        let subnet = self.subnet(cx, &endpoint.value).await?;
        let vpc = cx.vpc(subnet.value.vpc_id.as_str()).await?;
        self.admissible(cx, &endpoint.value, &subnet.value, &vpc.value).await?;
        let id = AssociationId::from_entropy(cx.entropy());
        let draft = draft(cx, &endpoint, &id, &subnet, &vpc);
        let status = Status::of(AssociationCode::Associating.as_str());
        Ok(Decision::write(Answer { association_id: id.to_string(), status }, draft))
    }
}

impl AssociateClientVpnTargetNetwork {
    /// Another zone of an endpoint with a transit gateway.
    async fn zone(
        &self,
        cx: &Cx<'_>,
        endpoint: &Record<Endpoint>,
        attachment: &Attachment,
    ) -> Result<Decision<Answer>, ApiError> {
        if self.subnet_id.is_some() {
            return Err(ApiError::combination(
                "SubnetId cannot be specified for an endpoint with a transit gateway",
            ));
        }
        if !attachment.status.is_joined() {
            return Err(ApiError::new("IncorrectState", WAITING));
        }
        let names: Vec<String> = self.availability_zone.iter().cloned().collect();
        let ids: Vec<String> = self.availability_zone_id.iter().cloned().collect();
        let zones = transit_gateways::chosen_zones(cx.config, &cx.scope.region, &names, &ids)?;
        let zone = zones.first().ok_or_else(ApiError::internal)?;
        let others = cx.associations(&endpoint.value.id).await?;
        if others.iter().any(|other| other.value.spec.zone == *zone) {
            return Err(taken(zone));
        }
        if others.len() >= MAX_ZONES {
            let message = format!("The endpoint is associated in {MAX_ZONES} availability zones already");
            return Err(ApiError::invalid(message));
        }
        let mut draft = Draft::of(&endpoint.value.id);
        let mut counted = endpoint.value.clone();
        counted.association_epoch = counted.association_epoch.saturating_add(1);
        draft.replace(endpoint, &counted);
        let id = transit_gateways::associate(cx, &mut draft, &counted, zone);
        let status = Status::of(AssociationCode::Associating.as_str());
        Ok(Decision::write(Answer { association_id: id.to_string(), status }, draft))
    }

    /// The subnet, if it is in the VPC the endpoint is bound to.
    async fn subnet(&self, cx: &Cx<'_>, endpoint: &Endpoint) -> Result<Record<Subnet>, ApiError> {
        let id = check::checked(self.subnet_id.as_deref())?;
        let found = cx.subnet(&check::subnet_id(id)?).await?;
        let bound = |subnet: &Record<Subnet>| {
            endpoint.spec.vpc_id.as_ref().is_none_or(|vpc| *vpc == subnet.value.vpc_id)
        };
        found.filter(bound).ok_or_else(|| {
            ApiError::new(
                "InvalidClientVpnSubnetId.NotFound",
                format!("The subnet {id} does not exist in the VPC of the endpoint"),
            )
        })
    }

    async fn admissible(
        &self,
        cx: &Cx<'_>,
        endpoint: &Endpoint,
        subnet: &Subnet,
        vpc: &Vpc,
    ) -> Result<(), ApiError> {
        let others = cx.associations(&endpoint.id).await?;
        if others.iter().any(|other| other.value.spec.subnet_id() == Some(&subnet.id)) {
            let message =
                format!("The subnet {} is already associated with the endpoint {}", subnet.id, endpoint.id);
            return Err(ApiError::new("InvalidClientVpnDuplicateAssociationException", message));
        }
        if others.iter().any(|other| other.value.spec.zone == subnet.zone) {
            return Err(taken(&subnet.zone));
        }
        if endpoint.spec.traffic_ip_type != IpType::Ipv4 && subnet.ipv6_cidr.is_none() {
            // spec: aws-client-vpn §2.1. UNVERIFIED: the code and the message.
            let message = format!(
                "The subnet {} does not have an IPv6 CIDR block, which the endpoint's traffic needs",
                subnet.id
            );
            return Err(ApiError::invalid(message));
        }
        for client in endpoint.spec.client_nets().iter() {
            if let Some(block) =
                subnet.blocks().chain(vpc.blocks()).find(|block| check::overlap(block, &client))
            {
                let message = format!("The CIDR block {block} overlaps with the client CIDR block {client}");
                return Err(ApiError::new("InvalidClientVpnSubnetId.OverlappingCidr", message));
            }
        }
        if subnet.cidr.prefix_len() > SMALLEST_SUBNET_PREFIX {
            let message = format!("The subnet {} is smaller than a /{SMALLEST_SUBNET_PREFIX}", subnet.id);
            return Err(ApiError::invalid(message));
        }
        if vpc.instance_tenancy == "dedicated" {
            let message = format!("The VPC {} has dedicated tenancy", vpc.id);
            return Err(ApiError::invalid(message));
        }
        Ok(())
    }
}

fn taken(zone: &ZoneName) -> ApiError {
    let message = format!("A subnet in the availability zone {zone} is already associated with the endpoint");
    ApiError::new("InvalidClientVpnSubnetId.DuplicateAz", message)
}

fn draft(
    cx: &Cx<'_>,
    endpoint: &Record<Endpoint>,
    id: &AssociationId,
    subnet: &Record<Subnet>,
    vpc: &Record<Vpc>,
) -> Draft {
    let (subnet_record, subnet) = (subnet, &subnet.value);
    let mut draft = Draft::of(&endpoint.value.id);
    let mut bound = endpoint.value.clone();
    bound.association_epoch = bound.association_epoch.saturating_add(1);
    bound.spec.vpc_id = Some(subnet.vpc_id.clone());
    if bound.spec.security_group_ids.is_empty() {
        bound.spec.security_group_ids = vec![vpc.value.default_security_group.clone()];
    }
    draft.replace(endpoint, &bound);
    draft.touch(vpc);
    draft.touch(subnet_record);
    let association = Association {
        id: id.clone(),
        endpoint: bound.id.clone(),
        scope: cx.scope.clone(),
        spec: AssociationSpec {
            network: TargetNetwork::Subnet { subnet_id: subnet.id.clone(), vpc_id: subnet.vpc_id.clone() },
            zone: subnet.zone.clone(),
        },
        status: model::Status::of(AssociationCode::Associating),
        created_at: cx.now,
    };
    draft.create(Key::association(cx.scope, &bound.id, id), &association);
    draft.create(Key::subnet_claim(cx.scope, &bound.id, &subnet.id), id);
    draft.create(Key::zone_claim(cx.scope, &bound.id, &subnet.zone), id);
    let target = RouteTarget::Subnet(subnet.id.clone());
    for destination in vpc.value.blocks().filter(|block| bound.spec.traffic_ip_type.carries(block)) {
        let route = Route {
            endpoint: bound.id.clone(),
            scope: cx.scope.clone(),
            destination,
            target: target.clone(),
            origin: RouteOrigin::Associate,
            description: Some("Default Route".to_owned()),
            status: model::Status::of(RouteCode::Creating),
            created_at: cx.now,
        };
        draft.put(Key::route(cx.scope, &bound.id, &route.destination, &target), &route);
    }
    draft
}
