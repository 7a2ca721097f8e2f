//! `CreateClientVpnEndpoint` (spec: aws-client-vpn §2.2.1).

use std::net::SocketAddr;

use async_trait::async_trait;
use aws_query::{FromQuery, QueryEnum, ToXml};
use ipnet::Ipv4Net;
use model::{
    Attachment, Authentication, ClientNets, Endpoint, EndpointCode, EndpointId, EndpointSpec, IpType, Key,
    Kind, Listen, ListenerClaim, Scope, SecurityGroupId, TransitGateway, Transport, VpcId, prefix,
};
use store::typed::Record;

use crate::action::{Action, Decision};
use crate::check::{self, MAX_DESCRIPTION_CHARS};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::client_ipv6;
use crate::ec2::device_posture::DevicePostureOptions;
use crate::ec2::endpoint_options::{
    self as options, AuthenticationRequest, ClientConnectOptions, ClientLoginBannerOptions,
    ClientRouteEnforcementOptions, ConnectionLogOptions, TransitGatewayConfiguration,
};
use crate::ec2::references;
use crate::ec2::shapes::{Status, TagSpecification};
use crate::ec2::transit_gateways;
use crate::endpoint_keys::EndpointKeys;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};
use crate::{names, not_yet, tags};

const TAGGED: &str = "client-vpn-endpoint";

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct CreateClientVpnEndpoint {
    client_cidr_block: Option<String>,
    server_certificate_arn: String,
    #[query(name = "Authentication", required, max = 2)]
    authentication_options: Vec<AuthenticationRequest>,
    connection_log_options: ConnectionLogOptions,
    #[query(max = 2)]
    dns_servers: Vec<String>,
    transport_protocol: Option<TransportProtocol>,
    vpn_port: Option<i32>,
    description: Option<String>,
    split_tunnel: Option<bool>,
    #[query(token)]
    client_token: Option<String>,
    #[query(name = "TagSpecification", max = 50)]
    tag_specifications: Vec<TagSpecification>,
    #[query(name = "SecurityGroupId", max = 5)]
    security_group_ids: Vec<String>,
    vpc_id: Option<String>,
    self_service_portal: Option<SelfServicePortal>,
    client_connect_options: Option<ClientConnectOptions>,
    session_timeout_hours: Option<i32>,
    client_login_banner_options: Option<ClientLoginBannerOptions>,
    client_route_enforcement_options: Option<ClientRouteEnforcementOptions>,
    disconnect_on_session_timeout: Option<bool>,
    endpoint_ip_address_type: Option<AddressType>,
    traffic_ip_address_type: Option<AddressType>,
    transit_gateway_configuration: Option<TransitGatewayConfiguration>,
    device_posture_options: Option<DevicePostureOptions>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum TransportProtocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum SelfServicePortal {
    Enabled,
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum AddressType {
    Ipv4,
    Ipv6,
    DualStack,
}

impl AddressType {
    fn stored(kind: Option<Self>) -> IpType {
        match kind.unwrap_or(Self::Ipv4) {
            Self::Ipv4 => IpType::Ipv4,
            Self::Ipv6 => IpType::Ipv6,
            Self::DualStack => IpType::DualStack,
        }
    }
}

#[derive(ToXml)]
pub(crate) struct Answer {
    client_vpn_endpoint_id: String,
    status: Status,
    dns_name: String,
}

#[async_trait]
impl Action for CreateClientVpnEndpoint {
    const NAME: &'static str = "CreateClientVpnEndpoint";
    type Answer = Answer;

    fn check(&self, scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(self.client_cidr(), faults);
        check::keep(options::authentication(&self.authentication_options), faults);
        check::keep(self.connection_log_options.stored(), faults);
        check::keep(options::dns_servers(&self.dns_servers), faults);
        check::keep(options::vpn_port(self.vpn_port), faults);
        check::at_most("Description", self.description.as_deref(), MAX_DESCRIPTION_CHARS, faults);
        tags::read(&self.tag_specifications, TAGGED, faults);
        if !self.security_group_ids.is_empty() && self.vpc_id.is_none() {
            faults.push(ApiError::invalid("Security Groups cannot be specified without a VPC ID"));
        }
        check::keep(self.client_connect_options.as_ref().map(|o| o.stored(scope)).transpose(), faults);
        check::keep(options::session_timeout_hours(self.session_timeout_hours), faults);
        check::keep(self.client_login_banner_options.as_ref().map(|o| o.stored()).transpose(), faults);
        check::keep(self.transit_gateway_members(), faults);
        check::keep(self.device_posture_options.as_ref().map(|o| o.stored()).transpose(), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let endpoint = Touch::of(Resource::Endpoint(None)).brings(EndpointKeys {
            server_certificate_arn: Some(self.server_certificate_arn.clone()),
            authentication: options::authentication(&self.authentication_options).unwrap_or_default(),
            log: self.connection_log_options.keys(),
        });
        let mut touches = endpoint.created(Self::NAME, &tags::valid(&self.tag_specifications, TAGGED));
        touches.extend(self.vpc_id.iter().map(|id| Touch::of(Resource::Vpc(Some(id.clone())))));
        let gateway = self.transit_gateway_configuration.as_ref().and_then(|c| c.transit_gateway_id.as_ref());
        touches.extend(gateway.map(|id| Touch::of(Resource::Named(id.clone()))));
        touches
            .extend(self.security_group_ids.iter().map(|id| Touch::of(Resource::SecurityGroup(id.clone()))));
        touches
    }

    fn client_token(&self) -> Option<&str> {
        self.client_token.as_deref()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let most = cx.config.quotas.endpoints_per_region;
        if cx.keys(&prefix::of(cx.scope, Kind::Endpoint), most).await?.len() >= most {
            let message = "The maximum number of Client VPN endpoints has been reached.";
            return Err(ApiError::new("ClientVpnEndpointLimitExceeded", message));
        }
        let authentication = options::authentication(&self.authentication_options)?;
        self.certificates(cx, &authentication).await?;
        let (vpc_id, security_group_ids) = self.network(cx).await?;
        let client_ipv6 = match AddressType::stored(self.traffic_ip_address_type) {
            IpType::Ipv4 => None,
            IpType::Ipv6 | IpType::DualStack => Some(client_ipv6::free(cx).await?),
        };
        let clients = ClientNets { v4: self.client_cidr()?, v6: client_ipv6.as_ref().map(|free| free.block) };
        let gateway = self.transit_gateway(cx, clients).await?;
        let transport = match self.transport_protocol.unwrap_or(TransportProtocol::Udp) {
            TransportProtocol::Udp => Transport::Udp,
            TransportProtocol::Tcp => Transport::Tcp,
        };
        let vpn_port = options::vpn_port(self.vpn_port)?;
        let outside = AddressType::stored(self.endpoint_ip_address_type);
        let (place, second) = free_places(cx, transport, vpn_port, outside).await?;
        let id = EndpointId::from_entropy(cx.entropy());
        let spec = EndpointSpec {
            description: self.description.clone(),
            client_cidr: clients.v4,
            client_ipv6_cidr: clients.v6,
            server_certificate_arn: self.server_certificate_arn.clone(),
            authentication,
            connection_log: names::with_stream(self.connection_log_options.stored()?, &id, cx),
            dns_servers: options::dns_servers(&self.dns_servers)?,
            transport,
            vpn_port,
            split_tunnel: self.split_tunnel.unwrap_or(false),
            vpc_id,
            security_group_ids,
            self_service_portal: self.self_service_portal != Some(SelfServicePortal::Disabled),
            client_connect: match &self.client_connect_options {
                Some(options) => options.stored(cx.scope)?,
                None => Default::default(),
            },
            session_timeout_hours: options::session_timeout_hours(self.session_timeout_hours)?,
            banner: match &self.client_login_banner_options {
                Some(options) => options.stored()?,
                None => Default::default(),
            },
            route_enforcement: self
                .client_route_enforcement_options
                .as_ref()
                .and_then(|o| o.enforced)
                .unwrap_or(false),
            disconnect_on_session_timeout: self.disconnect_on_session_timeout.unwrap_or(true),
            endpoint_ip_type: outside,
            traffic_ip_type: AddressType::stored(self.traffic_ip_address_type),
            device_posture: match &self.device_posture_options {
                Some(options) => options.stored()?,
                None => Vec::new(),
            },
            tags: tags::valid(&self.tag_specifications, TAGGED),
            listen: Listen {
                address: place.map(|place| place.ip()),
                port: place.map_or(vpn_port, |place| place.port()),
                second,
            },
        };
        let claimed = id.clone();
        let mut decision = decide(cx, id, spec.clone(), gateway.as_ref().map(|(_, asked)| asked.clone()));
        references::hold(cx, &mut decision.draft, &spec).await?;
        if let Some(free) = &client_ipv6 {
            client_ipv6::claim(cx, &mut decision.draft, &claimed, free);
        }
        if let Some((gateway, _)) = &gateway {
            decision.draft.touch(gateway);
        }
        Ok(decision)
    }
}

impl CreateClientVpnEndpoint {
    fn client_cidr(&self) -> Result<Option<Ipv4Net>, ApiError> {
        let v6_only = self.traffic_ip_address_type == Some(AddressType::Ipv6);
        match &self.client_cidr_block {
            Some(_) if v6_only => Err(ApiError::combination(
                "ClientCidrBlock cannot be specified when TrafficIpAddressType is ipv6",
            )),
            Some(text) => check::ipv4_network("ClientCidrBlock", text, 12, 22).map(Some),
            None if v6_only => Ok(None),
            None => Err(ApiError::missing("ClientCidrBlock")),
        }
    }

    fn transit_gateway_members(&self) -> Result<(), ApiError> {
        let Some(configuration) = &self.transit_gateway_configuration else { return Ok(()) };
        if self.vpc_id.is_some() || !self.security_group_ids.is_empty() {
            let message = "TransitGatewayConfiguration cannot be specified with VpcId or SecurityGroupId";
            return Err(ApiError::combination(message));
        }
        if !configuration.availability_zones.is_empty() && !configuration.availability_zone_ids.is_empty() {
            return Err(ApiError::combination(
                "AvailabilityZone and AvailabilityZoneId cannot be specified together",
            ));
        }
        if configuration.transit_gateway_id.is_none() {
            return Err(ApiError::missing("TransitGatewayConfiguration.TransitGatewayId"));
        }
        Ok(())
    }

    /// The transit gateway, and what is asked of it.
    async fn transit_gateway(
        &self,
        cx: &Cx<'_>,
        clients: ClientNets,
    ) -> Result<Option<(Record<TransitGateway>, Attachment)>, ApiError> {
        let Some(configuration) = &self.transit_gateway_configuration else { return Ok(None) };
        let id = check::checked(configuration.transit_gateway_id.as_deref())?;
        let gateway = cx.any_transit_gateway(id).await?;
        transit_gateways::suits(&gateway.value, clients)?;
        let (names, ids) = (&configuration.availability_zones, &configuration.availability_zone_ids);
        let zones = transit_gateways::chosen_zones(cx.config, &cx.scope.region, names, ids)?;
        let asked = transit_gateways::ask(cx, &gateway.value, zones);
        Ok(Some((gateway, asked)))
    }

    /// Both certificates exist, and the server's names a domain.
    async fn certificates(&self, cx: &Cx<'_>, authentication: &[Authentication]) -> Result<(), ApiError> {
        cx.server_certificate(&self.server_certificate_arn).await?;
        for way in authentication {
            if let Authentication::Certificate { client_root_arn } = way
                && cx.certificate(client_root_arn).await?.is_none()
            {
                return Err(crate::cx::no_certificate(client_root_arn));
            }
        }
        Ok(())
    }

    /// VPC and security groups, the VPC's default group if none is given.
    async fn network(&self, cx: &Cx<'_>) -> Result<(Option<VpcId>, Vec<SecurityGroupId>), ApiError> {
        let Some(vpc) = &self.vpc_id else { return Ok((None, Vec::new())) };
        let vpc = cx.vpc(vpc).await?.value;
        let mut groups = cx.groups_of(&vpc, &self.security_group_ids).await?;
        if groups.is_empty() {
            groups.push(vpc.default_security_group);
        }
        Ok((Some(vpc.id), groups))
    }
}

fn decide(
    cx: &Cx<'_>,
    id: EndpointId,
    spec: EndpointSpec,
    attachment: Option<Attachment>,
) -> Decision<Answer> {
    not_yet::log(&id, &spec);
    let waits = attachment.as_ref().is_some_and(|attachment| !attachment.status.is_joined());
    let code = if waits { EndpointCode::Pending } else { EndpointCode::PendingAssociate };
    let endpoint = Endpoint {
        id,
        scope: cx.scope.clone(),
        spec,
        status: model::Status::of(code),
        created_at: cx.now,
        association_epoch: 0,
        applying: model::Applying::Nothing,
        attachment,
    };
    let mut draft = Draft::of(&endpoint.id);
    draft.create(Key::endpoint(cx.scope, &endpoint.id), &endpoint);
    claim_places(&mut draft, &endpoint);
    if let Some(attachment) = &endpoint.attachment {
        transit_gateways::enter(&mut draft, &endpoint, attachment);
        let zones = attachment.zones.iter().filter(|_| !waits);
        for zone in zones {
            transit_gateways::associate(cx, &mut draft, &endpoint, zone);
        }
    }
    let answer = Answer {
        client_vpn_endpoint_id: endpoint.id.to_string(),
        status: Status::from(&endpoint.status),
        dns_name: names::dns_name(&endpoint.id, cx.scope, cx.config),
    };
    Decision::write(answer, draft)
}

/// The places where an endpoint listens become its own.
pub(super) fn claim_places(draft: &mut Draft, endpoint: &Endpoint) {
    for at in endpoint.spec.listen.places() {
        let claim = ListenerClaim { endpoint: endpoint.id.clone(), scope: endpoint.scope.clone() };
        draft.create(Key::listener(at.ip(), endpoint.spec.transport, at.port()), &claim);
    }
}

/// The first place of the pool that nobody owns for this transport, of the endpoint's own IP version if there is one; and
/// the first IPv6 one besides, for a dual-stack endpoint that has an IPv4 one. Both are kept until the endpoint is deleted.
async fn free_places(
    cx: &Cx<'_>,
    transport: Transport,
    port: u16,
    outside: IpType,
) -> Result<(Option<SocketAddr>, Option<SocketAddr>), ApiError> {
    let taken = cx.listener_keys().await?;
    let free = |at: &SocketAddr| !taken.contains(Key::listener(at.ip(), transport, at.port()).as_str());
    let addresses = &cx.config.addresses;
    let place = addresses.places_for(outside, port).find(free);
    let wants_second = outside == IpType::DualStack && place.is_some_and(|at| at.is_ipv4());
    let second = wants_second.then(|| addresses.ipv6_places(port).find(free)).flatten();
    Ok((place, second))
}
